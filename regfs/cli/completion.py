"""`regfs completion`: the script by which a shell completes commands, options and values.

The scripts call regfs itself with `_REGFS_COMPLETE` set. What differs from click's own: bash cuts
words at `:` and `@`, which references hold, and a value such as `team/` is not the end of a word.
"""

from __future__ import annotations

import os
from typing import Final

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

VARIABLE: Final = "_REGFS_COMPLETE"
"""Set by the scripts: `bash_complete` and so on."""

_BASH: Final = """\
# bash completion of regfs (bash 4.4 or later)
%(complete_func)s() {
    local IFS=$'\\n' type value line
    local said=$(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_BREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
    COMPREPLY=()
    for line in $said; do
        type=${line%%%%,*} value=${line#*,}
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            *) COMPREPLY+=("$value") ;;
        esac
    done
    # The rest of the word follows.
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[/:] ]]; then
        compopt -o nospace
    fi
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

_ZSH: Final = """\
#compdef %(prog_name)s
# zsh completion of regfs
%(complete_func)s() {
    local -a said values open described
    local type key descr
    said=("${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) \\
        %(complete_var)s=zsh_complete ${words[1]} 2>/dev/null)}")
    for type key descr in ${said}; do
        case $type in
            dir) _path_files -/ ;;
            file) _path_files -f ;;
            *)
                if [[ $descr != _ ]]; then
                    described+=("$key:$descr")
                elif [[ $key == *[/:] ]]; then
                    open+=("$key")
                else
                    values+=("$key")
                fi ;;
        esac
    done
    (( $#described )) && _describe -V unsorted described -U
    (( $#values )) && compadd -U -V unsorted -a values
    # The rest of the word follows.
    (( $#open )) && compadd -S '' -U -V unsorted -a open
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""


class ReferenceBash(BashComplete):
    """Completion for bash, whose words may hold `:` and `@`."""

    source_template = _BASH

    def source(self) -> str:
        """Return the script, without asking which bash is installed here."""
        return ShellComplete.source(self)

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor, and the one that it is in."""
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)[1:]
        incomplete = "" if line[-1:].isspace() or not words else words.pop()
        return words, incomplete

    def format_completion(self, item: CompletionItem) -> str:
        """Return a value without what bash takes for earlier words."""
        _, incomplete = self.get_completion_args()
        breaks = os.environ.get("COMP_BREAKS", "")
        cut = max((at + 1 for at, one in enumerate(incomplete) if one in breaks), default=0)
        value = item.value[cut:] if item.value.startswith(incomplete[:cut]) else item.value
        return f"{item.type},{value}"


class ReferenceZsh(ZshComplete):
    """Completion for zsh, which goes on after `team/`."""

    source_template = _ZSH


SHELLS: Final[dict[str, type[ShellComplete]]] = {
    "bash": ReferenceBash,
    "zsh": ReferenceZsh,
    "fish": FishComplete,
}


def register() -> None:
    """Let click answer the scripts."""
    for name, kind in SHELLS.items():
        add_completion_class(kind, name)


@regfs_command(
    name="completion",
    document=False,
    examples=[
        "regfs completion bash > /usr/share/bash-completion/completions/regfs",
        "regfs completion zsh > /usr/local/share/zsh/site-functions/_regfs",
        "regfs completion fish > ~/.config/fish/completions/regfs.fish",
        'eval "$(regfs completion bash)"    (for this shell only)',
    ],
)
@click.argument("shell", type=click.Choice(list(SHELLS)))
def command(session: Session, shell: str) -> Exit:
    """Print the script that completes commands, options, references and runs in a shell."""
    top = click.get_current_context().find_root()
    click.echo(SHELLS[shell](top.command, {}, "regfs", VARIABLE).source(), nl=False)
    return Exit.CLEAN
