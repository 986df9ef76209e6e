"""Options that every command takes, before its name or after it, and how settings reach options.

`Command` and `Group` are click's, and take defaults from `regfs.cli.settings`. A broken
configuration file is an error of every command, but `regfs --help` still prints help.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import click
from click.core import ParameterSource

from regfs.cli.options import Size
from regfs.cli.settings import RAISED, SHOWN, TYPED, OptionSettings, Scope, Setting, load_settings
from regfs.errors import DocumentInvalid, did_you_mean

UNITS: Final = ("decimal", "binary")

_SETTINGS: Final = "regfs.settings"
_USED: Final = "regfs.settings.used"


def given_root(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return the root that was given; refuse an empty one, an unset variable most likely."""
    if value == "":
        raise click.BadParameter("is empty; leave it out, or give a folder", ctx, param)
    return value


def _json() -> click.Option:
    words = "One JSON document on standard output."
    return click.Option(["--json", "as_json"], is_flag=True, help=words)


def common_options(*, brief: bool, document: bool = True) -> list[click.Parameter]:
    """Return the options of every command that prints a `document`, or of any other.

    A `brief` help leaves out those rarely needed.
    """
    return [
        click.Option(
            ["-r", "--root"],
            metavar="ROOT",
            callback=given_root,
            help="The registry: a folder, a tar (- is standard input), podman://CONTAINER, s3://BUCKET.",
        ),
        click.Option(
            ["--allow-empty"], is_flag=True, help="Accept an empty folder as a fresh registry."
        ),
        *([_json()] if document else []),
        click.Option(["-q", "--quiet"], is_flag=True, help="Print only answers and problems."),
        click.Option(["-v", "--verbose"], count=True, help="Print more; twice for everything."),
        *_on_the_terminal(hidden=brief),
        *_of_the_cache(hidden=brief),
        click.Option(
            ["--max-requests-per-second"],
            metavar="NUMBER",
            type=click.FloatRange(min=0, min_open=True),
            hidden=brief,
            help="Ask a bucket at most so often; default: as often as it answers.",
        ),
    ]


def _on_the_terminal(*, hidden: bool) -> list[click.Parameter]:
    return [
        click.Option(
            ["--color/--no-color"],
            default=None,
            hidden=hidden,
            help="Colours; by default on a terminal, unless NO_COLOR is set.",
        ),
        click.Option(
            ["--units"],
            type=click.Choice(UNITS),
            hidden=hidden,
            help="Sizes by 1000 (MB) or by 1024 (MiB); default: decimal.",
        ),
        click.Option(
            ["--pager"],
            metavar="COMMAND",
            hidden=hidden,
            help="Show answers longer than the terminal with this; default: $PAGER, or less.",
        ),
        click.Option(["--no-pager"], is_flag=True, hidden=hidden, help="Use no pager."),
    ]


def _of_the_cache(*, hidden: bool) -> list[click.Parameter]:
    return [
        click.Option(
            ["--cache"],
            metavar="FOLDER",
            hidden=hidden,
            help="Keep what layers hold, and manifests of buckets, there; default: ~/.cache/regfs.",
        ),
        click.Option(
            ["--cache-size"],
            metavar="SIZE",
            type=Size(),
            hidden=hidden,
            help="Bytes that the cache may take; default: 2G.",
        ),
        click.Option(
            ["--no-cache"],
            is_flag=True,
            hidden=hidden,
            help="Keep nothing of layers and manifests.",
        ),
    ]


TYPED_HELP: Final = "command line only"
"""What `regfs config` says of options that no setting can give."""

COMMON: Final = frozenset(str(option.name) for option in common_options(brief=True))
"""The names of these options in Python."""


def scope_of(ctx: click.Context) -> Scope:
    """Return the names of a command, without that of the program."""
    return () if ctx.parent is None else (*scope_of(ctx.parent), str(ctx.info_name))


def key_of(option: click.Parameter) -> str:
    """Return how settings call an option: `delete-untagged`."""
    return max(option.opts, key=len).lstrip("-")


def settable(command: click.Command, scope: Scope) -> Iterator[click.Option]:
    """Yield the options of a command that settings can give; common ones belong to no command."""
    for option in command.params:
        if isinstance(option, click.Option) and not (scope and option.name in COMMON):
            yield option


class _WithSettings(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take defaults from the settings; what is wrong with them is raised after --help."""
        if ctx.resilient_parsing:  # completion
            return super().parse_args(ctx, args)
        problem: DocumentInvalid | None = None
        try:
            ctx.default_map = self._defaults(ctx)
        except DocumentInvalid as error:
            problem = error
        rest = super().parse_args(ctx, args)
        if problem is not None:
            raise problem
        return rest

    def _defaults(self, ctx: click.Context) -> dict[str, Any]:
        settings, scope = settings_of(ctx), scope_of(ctx)
        check_keys(settings, self, ctx)
        found: dict[str, Any] = {}
        used = ctx.meta.setdefault(_USED, {})
        for option in settable(self, scope):
            setting = settings.find(scope, key_of(option))
            # A root in a file goes after the current folder: see `Session.root_and_source`.
            in_file = setting is not None and setting.source != setting.key
            if setting is None or (option.name == "root" and in_file):
                continue
            found[str(option.name)] = converted(ctx, option, setting)
            used[scope, option.name] = setting
        return found


class Command(_WithSettings):
    """A command that takes defaults from the settings."""

    def __init__(self, name: str | None, *, help: str | None = None, **options: Any) -> None:
        """In `help`, click leaves a paragraph as it is after a backspace; docstrings are raw."""
        kept = help and help.replace("\\b\n", "\b\n")
        super().__init__(name, help=kept, **options)


class Group(_WithSettings, click.Group):
    """A group of such commands."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is meant; name one like it if there is none."""
        name = args[0]
        if not ctx.resilient_parsing and self.get_command(ctx, name) is None:
            hint = did_you_mean(name, self.list_commands(ctx), WORDS)
            raise click.UsageError(f"no such command: {name}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def headings(self) -> Mapping[str, str]:
        """Return the heading in --help of each command."""
        return dict.fromkeys(sorted(self.commands), "Commands")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands under their headings, each with its whole first sentence."""
        headings = self.headings()
        for heading in dict.fromkeys(headings.values()):
            rows = []
            for name in (name for name, under in headings.items() if under == heading):
                found = self.get_command(ctx, name)
                rows.append((name, found.get_short_help_str(limit=_LONGEST) if found else ""))
            with formatter.section(heading):
                formatter.write_dl(rows)


_LONGEST: Final = 90
"""Characters of the first sentence of a command's help."""

WORDS: Final = {
    "check": "verify",
    "delete": "rm",
    "fsck": "verify",
    "garbage-collect": "gc",
    "history": "log",
    "inspect": "show",
    "list": "ls",
    "move": "mv",
    "prune": "gc",
    "remove": "rm",
    "rename": "mv",
    "repair": "heal",
    "scrub": "verify",
    "stats": "info",
    "tags": "ls",
    "tree": "ls",
}
"""What other programs call a command -> what it is called here."""


def settings_of(ctx: click.Context) -> OptionSettings:
    """Return the settings of this run, read once.

    Raises:
        DocumentInvalid: a file cannot be read.
    """
    if _SETTINGS not in ctx.meta:
        ctx.meta[_SETTINGS] = load_settings()
    found: OptionSettings = ctx.meta[_SETTINGS]
    return found


def check_keys(settings: OptionSettings, command: click.Command, ctx: click.Context) -> None:
    """Check that each key in the table of a command is one of its options or commands.

    Raises:
        DocumentInvalid: one is not.
    """
    scope = scope_of(ctx)
    for file in settings.files:
        table = file.within(scope)
        if not table:
            continue
        options = {key_of(option) for option in settable(command, scope)}
        commands: list[str] = []
        if isinstance(command, click.Group):
            commands = command.list_commands(ctx)
            for name in commands if scope else ():
                below = command.get_command(ctx, name)
                if below is not None:
                    options |= {key_of(option) for option in settable(below, (*scope, name))}
        for key, value in table.items():
            place = f"{file.path}: {'.'.join((*scope, key))}"
            if key not in options and key not in commands:
                hint = did_you_mean(key, [*options, *commands])
                raise DocumentInvalid(f"{place}: is no option{hint}")
            if isinstance(value, dict) != (key in commands) and key not in options:
                raise DocumentInvalid(f"{place}: must be a table")
            if isinstance(value, dict) and key not in commands:
                raise DocumentInvalid(f"{place}: must not be a table")


def converted(ctx: click.Context, option: click.Option, setting: Setting) -> Any:
    """Return a setting as click takes a default.

    Raises:
        DocumentInvalid: it is not valid for the option, or only the command line can give it.
    """
    key = key_of(option)
    if key in TYPED:
        raise DocumentInvalid(
            f"{setting.place}: only the command line can give --{key}, so that nothing is deleted "
            "or left unguarded unseen"
        )
    value = _text(option, setting)
    try:
        made = option.type_cast_value(ctx, value)
    except click.BadParameter as error:
        raise DocumentInvalid(f"{setting.place}: {error.message}") from None
    if key in RAISED and made < option.type_cast_value(ctx, option.default):
        raise DocumentInvalid(
            f"{setting.place}: only the command line can make it shorter than {option.default}"
        )
    return value


def _text(option: click.Option, setting: Setting) -> Any:
    """Return a value as the command line would give it."""
    value = setting.value
    if option.multiple:
        values = value.split() if isinstance(value, str) else value
        if isinstance(values, list) and all(isinstance(one, str) for one in values):
            return values
        raise DocumentInvalid(f"{setting.place}: must be an array of strings")
    if option.is_flag:
        if isinstance(value, bool | str):
            return value
        raise DocumentInvalid(f"{setting.place}: must be true or false")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DocumentInvalid(f"{setting.place}: must be a string or a number")
    return str(value)


def shown_settings(ctx: click.Context) -> Iterator[str]:
    """Yield a line for each setting in use that decides what the command changes."""
    used = ctx.meta.get(_USED, {})
    for option in ctx.command.params:
        key = key_of(option)
        setting = used.get((scope_of(ctx), option.name))
        if key in SHOWN and setting is not None:
            name = str(option.name)
            if ctx.get_parameter_source(name) is ParameterSource.DEFAULT_MAP:
                yield f"--{key} {setting.value} (from {setting.place})"
