"""`regfs config`: which settings there are, and where each comes from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from regfs.cli.common import TYPED_HELP, converted, key_of, scope_of, settable, settings_of
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command
from regfs.cli.settings import TYPED, OptionSettings, Scope, candidates, variable

if TYPE_CHECKING:
    from rich.console import Console

DOCUMENTS: Final = {"": "regfs.cli.config:ConfigReport"}
_OTHERS: Final = frozenset({"REGFS_CONFIG", "REGFS_TRACEBACK"})
"""Variables that are no options."""
_SECRETS: Final = frozenset({"creds"})
"""Options whose values are not printed."""


@dataclass(frozen=True, slots=True)
class ConfigValue:
    """The value of one option."""

    command: str
    """In words; empty for options that all commands have."""
    option: str
    value: str
    source: str
    """A variable, the path of a file, `default`, or what says where the root is."""


@dataclass(frozen=True, slots=True)
class LookedFor:
    """A file that may hold settings."""

    path: str
    found: bool


@dataclass(frozen=True, slots=True)
class ConfigReport:
    """What --json prints."""

    files: list[LookedFor]
    values: list[ConfigValue]
    unused: list[str]
    """Variables that begin with REGFS_ and set nothing."""


@regfs_command(
    name="config",
    examples=["regfs config", "regfs config --all", "REGFS_UNITS=binary regfs config --json"],
    pages=True,
)
@click.option("--all", "everything", is_flag=True, help="Show options that are not set too.")
def command(session: Session, *, everything: bool) -> Exit:
    r"""Show the root, and what the environment and regfs.toml set.

    The command line goes first, then the environment, then
    $XDG_CONFIG_HOME/regfs/regfs.toml (or ~/.config), then /etc/regfs/regfs.toml.
    $REGFS_CONFIG names a file to read instead of these two; /dev/null is none.

    \b
    REGFS_ROOT=/srv/registry        root = "/srv/registry"
    REGFS_GC_MIN_AGE=1d             [gc]
                                    min-age = "1d"
    REGFS_GC_PURGE_OLDER_THAN=7d    [gc.purge]
                                    older-than = "7d"

    A root in a file is used where no tree is in the current folder. Options that delete
    more, ask less or wait less (--all marks them) are refused here: only the command
    line can give them. --min-age and --uploads-older-than can only be made longer. What
    else decides what is deleted is printed on standard error when it is used.
    """
    ctx = click.get_current_context()
    settings = settings_of(ctx)
    top = ctx.find_root()
    rows = [row for at, scope in _commands(top) for row in _values(session, settings, at, scope)]
    unset = ("default", TYPED_HELP)
    shown = [row for row in rows if everything or row.option == "root" or row.source not in unset]
    report = ConfigReport(_files(settings), shown, _unused(settings, top))
    session.emit(report, lambda out: _show(out, report))
    return Exit.CLEAN


def _commands(ctx: click.Context) -> Iterator[tuple[click.Context, Scope]]:
    """Yield a context for every command, groups too, and its names."""
    yield ctx, scope_of(ctx)
    if isinstance(ctx.command, click.Group):
        for name in ctx.command.list_commands(ctx):
            made = ctx.command.get_command(ctx, name)
            if made is not None:
                yield from _commands(click.Context(made, parent=ctx, info_name=name))


def _values(
    session: Session, settings: OptionSettings, ctx: click.Context, scope: Scope
) -> Iterator[ConfigValue]:
    command = " ".join(scope)
    for option in settable(ctx.command, scope):
        key = key_of(option)
        if not scope and key == "root":
            yield ConfigValue(command, key, *session.root_and_source())
        elif key in TYPED:
            yield ConfigValue(command, key, "", TYPED_HELP)
        elif key not in ("help", "version"):
            setting = settings.find(scope, key)
            if setting is None:
                yield ConfigValue(command, key, _said(option.get_default(ctx)), "default")
            else:
                value = _said(converted(ctx, option, setting))
                value = "(hidden)" if key in _SECRETS else value
                yield ConfigValue(command, key, value, setting.source)


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    return str(value) if isinstance(value, str | int | float) else ""


def _files(settings: OptionSettings) -> list[LookedFor]:
    read = {file.path for file in settings.files}
    return [LookedFor(path, path in read) for path in candidates(os.environ)]


def _unused(settings: OptionSettings, top: click.Context) -> list[str]:
    known = set(_OTHERS)
    for ctx, scope in _commands(top):
        for option in settable(ctx.command, scope):
            scopes = [scope[:length] for length in range(1, len(scope) + 1)] or [scope]
            known |= {variable(one, key_of(option)) for one in scopes}
    return sorted(set(settings.environment) - known)


def _show(out: Console, report: ConfigReport) -> None:
    from regfs.render.tables import printable, table

    rows = [
        (f"{one.command} --{one.option}".strip(), one.value, one.source) for one in report.values
    ]
    out.print(table("", ("Option", "Value", "From"), rows))
    for file in report.files:
        words = "read" if file.found else "not there"
        out.print(printable(f"{file.path}: {words}"), markup=False, soft_wrap=True)
    for name in report.unused:
        out.print(printable(f"{name}: sets no option"), markup=False, soft_wrap=True)
