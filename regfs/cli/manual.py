"""Man pages, made of the help of the commands: `regfs.1`, `regfs-gc-plan.1` and so on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

import click

from regfs import __version__
from regfs.cli.common import Group, scope_of

_TOP: Final = r"""
.SH ENVIRONMENT
.TP
\fBREGFS_\fP\fICOMMAND\fP\fB_\fP\fIOPTION\fP
Any option, such as REGFS_GC_MIN_AGE or, of all commands, REGFS_ROOT; see \fBregfs\-config\fP(1).
.TP
\fBREGFS_CONFIG\fP
The file to read instead of those below; /dev/null is none.
.TP
\fBREGFS_PAGER\fP, \fBPAGER\fP
What shows long answers on a terminal.
.TP
\fBNO_COLOR\fP
No colours.
.TP
\fBREGFS_TRACEBACK\fP
Print where an internal error happened.
.SH FILES
.TP
\fI$XDG_CONFIG_HOME/regfs/regfs.toml\fP, \fI/etc/regfs/regfs.toml\fP
Settings.
.TP
\fI.regfs\fP
Journals, quarantine and ledger, at the root of a tree.
"""
_SECTIONS: Final = {"Examples": "EXAMPLES", "Exit codes": "EXIT STATUS"}


def pages(ctx: click.Context) -> Iterator[tuple[str, str]]:
    """Yield the file name and the text of the page of a command and of those below it."""
    yield f"{name_of(ctx)}.1", page(ctx)
    if isinstance(ctx.command, Group):
        for name in ctx.command.list_commands(ctx):
            found = ctx.command.get_command(ctx, name)
            if found is not None:
                yield from pages(click.Context(found, parent=ctx, info_name=name))


def name_of(ctx: click.Context) -> str:
    """Return what the page of a command is called: `regfs-gc-plan`."""
    return "-".join(("regfs", *scope_of(ctx)))


def page(ctx: click.Context) -> str:
    """Return the page of a command."""
    command, name = ctx.command, name_of(ctx)
    short = command.get_short_help_str(limit=200).rstrip(".")
    usage = " ".join((ctx.command_path, *command.collect_usage_pieces(ctx)))
    lines = [
        f'.TH "{_plain(name.upper())}" "1" "" "regfs {__version__}" "regfs"',
        ".SH NAME",
        f"{_plain(name)} \\- {_plain(short)}",
        ".SH SYNOPSIS",
        rf"\fB{_plain(usage)}\fP",
        ".SH DESCRIPTION",
        *_text(command.help or ""),
        ".SH OPTIONS",
        *_records(_options(ctx)),
        *_commands(ctx),
        *_text(command.epilog or ""),
    ]
    if ctx.parent is None:
        lines.append(_TOP.strip())
    lines += [".SH SEE ALSO", ", ".join(_see_also(ctx))]
    return "\n".join(lines) + "\n"


def _options(ctx: click.Context) -> Iterator[tuple[str, str] | None]:
    for option in ctx.command.get_params(ctx):
        if isinstance(option, click.Option):
            yield option.get_help_record(ctx)


def _commands(ctx: click.Context) -> Iterator[str]:
    if isinstance(ctx.command, Group):
        yield ".SH COMMANDS"
        for name in ctx.command.list_commands(ctx):
            found = ctx.command.get_command(ctx, name)
            if found is not None:
                yield from _records([(name, found.get_short_help_str(limit=200))])


def _see_also(ctx: click.Context) -> Iterator[str]:
    if ctx.parent is not None:
        yield rf"\fB{_plain(name_of(ctx.parent))}\fP(1)"
    if isinstance(ctx.command, Group):
        for name in ctx.command.list_commands(ctx):
            yield rf"\fB{_plain(f'{name_of(ctx)}-{name}')}\fP(1)"


def _records(records: Iterable[tuple[str, str] | None]) -> Iterator[str]:
    """Yield terms with their explanations; hidden options have none."""
    for record in records:
        if record is not None:
            yield from (".TP", rf"\fB{_plain(record[0])}\fP", _plain(record[1]))


def _text(text: str) -> Iterator[str]:
    r"""Yield paragraphs; those that begin with a line `\b` keep their lines, as with click."""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lines = paragraph.strip("\n").splitlines()
        kept = lines[:1] == ["\b"]
        lines = lines[kept:]
        section = _SECTIONS.get(lines[0].rstrip(":")) if lines else None
        if section:
            yield f".SH {section}"
            lines = lines[1:]
        elif lines:
            yield ".PP"
        if kept and lines:
            yield from (".nf", *map(_plain, lines), ".fi")
        elif lines:
            yield _plain(" ".join(line.strip() for line in lines))


def _plain(text: str) -> str:
    """Return text without what roff would act on."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped
