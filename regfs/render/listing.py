"""`ls` for people: a name on each line, or tables with details."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from regfs.render.tables import printable, short, table
from regfs.units import human_size

if TYPE_CHECKING:
    from rich.console import Console

    from regfs.reports.listing import Entries, Repositories, Repository, Tag, Tags, UploadListing
    from regfs.reports.orphans import Orphans

_ABSENT: Final = {True: "", False: " MISSING", None: " UNREADABLE"}


def show_listing(report: Any, console: Console, *, details: bool) -> None:
    """Print any report of `ls`."""
    # By name: the types are loaded with the report that is asked for, and no other.
    show: dict[str, Callable[[Any, Console, bool], None]] = {
        "Repositories": _repositories,
        "Tags": _tags,
        "Entries": _entries,
        "UploadListing": _uploads,
        "Orphans": _orphans,
    }
    show[type(report).__name__](report, console, details)


def _line(console: Console, text: str) -> None:
    console.print(Text(printable(text)), soft_wrap=True)


def _repositories(report: Repositories, console: Console, details: bool) -> None:
    if not details:
        for one in report.repositories:
            _line(console, one.name)
        return
    rows = [
        (one.name, *(_number(n, one) for n in (one.tags, one.revisions, one.uploads)), one.changed)
        for one in report.repositories
    ]
    columns = ["Repository", ">Tags", ">Manifests", ">Uploads", "=Changed"]
    console.print(table("", columns, rows))


def _number(seen: int | None, one: Repository) -> str:
    """Return a count, marked with `?` if not everything could be read."""
    return f"{seen}" if one.complete else f"{seen or ''}?"


def _tags(report: Tags, console: Console, details: bool) -> None:
    if not details:
        for one in report.tags:
            _line(console, _reference(one))
        return
    several = len({one.repository for one in report.tags}) > 1
    rows = [
        (
            one.repository if one.name is None else _reference(one) if several else one.name,
            short(one.digest) if one.digest else "",
            one.kind or "unreadable",
            "" if one.size is None else human_size(one.size),
            one.changed,
            _remark(one),
        )
        for one in report.tags
    ]
    untagged = any(one.name is None for one in report.tags)
    columns = [
        "Repository" if untagged else "Tag",
        "=Digest",
        "=Kind",
        ">Size",
        "=Changed",
        "Platforms",
    ]
    console.print(table("", columns, rows))


def _remark(one: Tag) -> str:
    about = [f"about {short(one.subject)}"] if one.subject else []
    return one.problem or ", ".join([*one.platforms, *about])


def _reference(one: Tag) -> str:
    return (
        f"{one.repository}:{one.name}" if one.name is not None else f"{one.repository}@{one.digest}"
    )


def _entries(report: Entries, console: Console, details: bool) -> None:
    rows = [
        (
            one.role,
            one.digest if details else short(one.digest),
            human_size(one.size) if one.size >= 0 else "?",
            f"{one.platform}{_ABSENT[one.present]}".strip(),
            one.media_type,
        )
        for one in report.entries
    ]
    columns = ["=What", "=Digest", ">Size", "Platform", "/Media type"]
    console.print(table("", columns, rows))


def _uploads(report: UploadListing, console: Console, details: bool) -> None:
    rows = [
        (one.repository, one.id, human_size(one.size), one.started_at) for one in report.uploads
    ]
    if rows:
        console.print(table("", ["Repository", "=Upload", ">Size", "=Begun"], rows))


def _orphans(report: Orphans, console: Console, details: bool) -> None:
    if not details:
        for one in report.orphans:
            _line(console, one.digest)
        return
    rows = [
        (
            short(one.digest),
            one.kind,
            human_size(one.size),
            one.changed,
            one.state if one.problem is None else f"{one.state}: {one.problem}",
            ", ".join(one.platforms),
        )
        for one in report.orphans
    ]
    columns = ["=Digest", "=Kind", ">Size", "=Written", "State", "Platforms"]
    console.print(table("", columns, rows))
