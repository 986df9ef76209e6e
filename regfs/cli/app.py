"""The group of commands, loaded one at a time, and how errors become exit codes.

Only here does an exception become a line on standard error and an exit code. `EXITS`
maps errors to codes; the help of every command lists its codes.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Mapping
from typing import Any, Final

import click
from click.core import ParameterSource

from regfs import __version__
from regfs.cli.common import Group, common_options
from regfs.cli.session import Exit, Session, drop_output
from regfs.errors import (
    AttestationInvalid,
    ContentMismatch,
    Invalid,
    LayerInvalid,
    ManifestInvalid,
    NotARegistry,
    PathDenied,
    Refused,
    RegfsError,
    RightMissing,
    StoreError,
    Unknown,
)
from regfs.units import use_units

COMMANDS: Final[dict[str, str]] = {
    "info": "See",
    "ls": "See",
    "show": "See",
    "cat": "See",
    "why": "See",
    "log": "See",
    "browse": "See",
    "graph": "See",
    "files": "Look inside images",
    "diff": "Look inside images",
    "buildkit": "Look inside images",
    "sbom": "Look inside images",
    "referrers": "Look inside images",
    "du": "Measure",
    "reuse": "Measure",
    "waste": "Measure",
    "bases": "Measure",
    "verify": "Check",
    "heal": "Check",
    "rm": "Change",
    "untag": "Change",
    "tag": "Change",
    "rollback": "Change",
    "mv": "Change",
    "cp": "Change",
    "export": "Move",
    "import": "Move",
    "gc": "Clean",
    "serve": "Serve",
    "completion": "Manual",
    "config": "Manual",
    "help": "Manual",
    "man": "Manual",
    "schema": "Manual",
}
"""Command -> the heading it stands under; each lives in the module of its name."""

_HELP: Final = """Look into, check and clean the disk of a Docker/OCI registry.

ROOT is a folder that holds docker/registry/v2, a bucket (s3://BUCKET/PREFIX, az://),
or the config.yml of a registry; to read only, also a tar of one (- is standard input),
podman://CONTAINER, docker://CONTAINER, gs:// or an OCI layout. Without -r it is
$REGFS_ROOT, else the current folder if it holds a tree, else /var/lib/registry.

Options that all commands have may stand before or after the command. Every option can
be set by a variable or in regfs.toml; see regfs config --help.
"""

EXITS: Final[tuple[tuple[type[RegfsError], Exit], ...]] = (
    (ContentMismatch, Exit.FINDINGS),
    (ManifestInvalid, Exit.FINDINGS),
    (LayerInvalid, Exit.FINDINGS),
    (AttestationInvalid, Exit.FINDINGS),
    (NotARegistry, Exit.NOT_FOUND),
    (Unknown, Exit.NOT_FOUND),
    (Refused, Exit.REFUSED),
    (Invalid, Exit.USAGE),
    (StoreError, Exit.STORAGE),
    (RegfsError, Exit.STORAGE),
)
"""Error class -> exit code; the first match counts."""


class LazyGroup(Group):
    """A group that imports a command when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of the tour."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"regfs.cli.{cmd_name}")
        found: click.Command = module.command
        if ctx.resilient_parsing:
            from regfs.cli.values import complete_arguments

            complete_arguments(found)
        return found

    def headings(self) -> Mapping[str, str]:
        """Return the heading in --help of each command."""
        return COMMANDS


class _Program(LazyGroup):
    def __init__(self) -> None:
        codes = "; ".join(f"{code.value} {code.meaning}" for code in Exit)
        super().__init__(
            name="regfs",
            help=_HELP,
            epilog=f"Exit codes: {codes}.",
            params=common_options(brief=False),
            context_settings={"help_option_names": ["-h", "--help"]},
            callback=_start,
        )


@click.pass_context
def _start(ctx: click.Context, /, **options: Any) -> None:
    ctx.obj = session = Session()
    use_units(binary=False)
    session.configure(**options)
    if ctx.get_parameter_source("root") is ParameterSource.DEFAULT_MAP:
        session.root_source = "REGFS_ROOT"


cli = click.version_option(__version__, message="regfs %(version)s")(_Program())


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code, whatever is raised on the way."""
    if sys.stdout is None:
        _say("standard output is closed: there is nowhere to write to")
        return Exit.STORAGE.value
    try:
        if "_REGFS_COMPLETE" in os.environ:
            _complete()
        result = cli.main(args=arguments, prog_name="regfs", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else Exit.CLEAN.value
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return Exit.USAGE.value
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted")
        return Exit.INTERRUPTED.value
    except (BrokenPipeError, SystemExit):
        # SystemExit is how click ends when the reader of its help has left.
        drop_output()
        return Exit.CLEAN.value
    except RegfsError as error:
        of_user = isinstance(error, PathDenied) and not isinstance(error, RightMissing)
        _say(f"{error}{_ADVICE}" if of_user else str(error))
        return next(code.value for kind, code in EXITS if isinstance(error, kind))
    except Exception as error:
        if os.environ.get("REGFS_TRACEBACK"):
            traceback.print_exc()
        if isinstance(error, OSError):
            # Trouble with a tree is a RegfsError: this is, say, a full disk below `> file`.
            drop_output()
            _say(f"{error.filename or 'standard output'}: {error.strerror or error}")
        else:  # a bug: still one line, with the traceback on demand
            _say(
                f"internal error: {type(error).__name__}: {error} "
                "(set REGFS_TRACEBACK=1 to see where; please report it)"
            )
        return Exit.STORAGE.value


def _complete() -> None:
    """Let click answer the completion script of a shell."""
    from regfs.cli.completion import register

    register()


_ADVICE: Final = "; run as the owner of the tree, or as root"


def _say(message: str) -> None:
    from regfs.render.tables import printable

    click.echo(f"regfs: {printable(message)}", err=True)
