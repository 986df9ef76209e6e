"""`files` for people: names, a table as of `ls -l`, or a tree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final

from regfs.content.entries import EntryKind, mode_text
from regfs.render.reports import say
from regfs.render.tables import plural, printable, table
from regfs.units import human_size, rfc3339

if TYPE_CHECKING:
    from rich.console import Console

    from regfs.files.file_list import FileList, ListedFile
    from regfs.reports.file_search import FoundFiles

_LINES: Final = 1000
"""Lines that are printed at once: rich takes a tenth of a millisecond for each print."""
_NAMED: Final = 5
"""Images that are named for one file."""


def show_files(report: FileList, console: Console, *, tree: bool) -> None:
    """Print what `files` lists, as a tree or as a table."""
    if tree:
        print_lines(console, _tree(report))
        return
    rows = ((*_details(row), _named(row)) for row in report.entries)
    columns = ["=Mode", "=Owner", ">Size", "=Modified", "Path"]
    console.print(table("", columns, rows))


def show_found(report: FoundFiles, console: Console) -> None:
    """Print which images hold a file."""
    where = (
        f"{plural(report.searched_layers, 'layer')} of {plural(report.searched_images, 'image')}"
    )
    if not report.files:
        say(console, f"No such file in {where}.")
        return
    rows = [(one.path, human_size(one.size), one.layer, _some(one.images)) for one in report.files]
    console.print(table("", ["Path", ">Size", "=Layer", "Images"], rows))
    say(console, f"{plural(len(rows), 'file')} in {where}")


def _some(images: tuple[str, ...]) -> str:
    more = len(images) - _NAMED
    return ", ".join(images[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def print_lines(console: Console, lines: Iterable[str]) -> None:
    """Print many lines as they are."""
    from rich.segment import Segment, Segments

    remaining = iter(lines)
    while some := list(islice(remaining, _LINES)):
        text = "\n".join(map(printable, some))
        console.print(Segments([Segment(f"{text}\n")]), end="", soft_wrap=True)


def _plain(row: ListedFile) -> str:
    return f"{row.path}/" if row.kind is EntryKind.FOLDER else row.path


def _named(row: ListedFile) -> str:
    if row.kind is EntryKind.SYMLINK:
        return f"{row.path} -> {row.target}"
    return f"{row.path} link to {row.target}" if row.kind is EntryKind.HARDLINK else _plain(row)


def _details(row: ListedFile) -> tuple[str, str, str, str]:
    mode = mode_text(row.kind, row.mode) + ("+" if row.xattrs else "")
    owner = f"{row.owner or row.uid}:{row.group or row.gid}"
    size = human_size(row.size) if row.device is None else f"{row.device[0]}, {row.device[1]}"
    time = "" if row.time is None else rfc3339(row.time, "minutes").replace("T", " ").rstrip("Z")
    return mode, owner, size, time


def _tree(report: FileList) -> Iterator[str]:
    """Yield the lines of a drawing; the rows come folder by folder."""
    yield f"/{report.path}"
    rows = report.entries
    base = report.path.count("/") + 1 if report.path else 0
    levels = [row.path.count("/") - base for row in rows]
    ends = _ends(levels)
    bars: list[str] = []
    for row, level, end in zip(rows, levels, ends, strict=True):
        del bars[level:]
        name = _named(row)[row.path.rfind("/") + 1 :]
        yield f"{''.join(bars)}{'└── ' if end else '├── '}{name}"
        bars.append("    " if end else "│   ")


def _ends(levels: list[int]) -> list[bool]:
    """Return for each row whether none of its own level follows in its folder."""
    found: list[bool] = []
    open_levels: set[int] = set()
    for level in reversed(levels):
        found.append(level not in open_levels)
        open_levels = {one for one in open_levels if one <= level} | {level}
    return found[::-1]
