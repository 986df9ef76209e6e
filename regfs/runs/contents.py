"""What lies in the quarantine of a run, and which line of the journal names it.

Everything that lies there is listed, never only what lines name. A file belongs to the line of
its own path, to that of the folder that was moved (a tag, an upload), or it was being written
when its folder was moved: a temporary file of the registry, or of a run that was killed.

What no line names is a stray. A line is durable before what it names is moved, so a
stray says that lines are gone, or that somebody has put it there: the run is damaged.

In a damaged run a thing is known by where it lies: its path in quarantine is its place in the
tree, and tells by the layout what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from regfs import layout
from regfs.errors import StoreError
from regfs.runs.journal import REPLACED, UNDONE, Journal, quarantine_of
from regfs.runs.lines import Line
from regfs.runs.totals import ActionKind
from regfs.stores import UNFINISHED, Store, folders_above

FOLDERS: Final = frozenset({ActionKind.TAG.value, ActionKind.UPLOAD.value})
"""Kinds of which a folder is moved with all that it holds."""
_TREE: Final = "docker/"
"""Nothing outside of it is ever moved."""


class Area(Enum):
    """Why a thing lies in quarantine."""

    MOVED = ""
    UNDONE = f"{UNDONE}/"
    """The run had put it in place, and a restore took it out."""
    REPLACED = f"{REPLACED}/"
    """It lay at the place of something good that went back."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing in quarantine."""

    run: str
    area: Area
    path: str
    """Its place in the tree."""
    kind: str
    digest: str | None
    line: Line | None
    """The line that names it; None when it is known by its path only."""
    files: list[str]
    """Where its files lie now."""
    size: int
    """Bytes, as its line tells, or as they are."""

    @property
    def lies(self) -> str:
        """Where it lies now."""
        return f"{quarantine_of(self.run)}/{self.area.value}{self.path}"


@dataclass(slots=True)
class Contents:
    """What lies in the quarantine of one run."""

    run: str
    things: list[Thing] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    """Paths in the store of what no line names, or that cannot be looked at."""
    folders: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    """Paths in the store of what no path says the place of."""

    @property
    def damage(self) -> str | None:
        """What is wrong with it; None when a line names each thing."""
        return None if not self.strays else f"no line names {self.strays[0]}"


def contents(store: Store, journal: Journal) -> Contents:
    """Return what lies in the quarantine of a run."""
    found = Contents(journal.run)
    entries: set[str] = set()
    """What lies in folders and is no folder, and folders that cannot be read."""
    # What a link leads to does not lie here.
    listings = store.tree(
        quarantine_of(journal.run), lambda finding: entries.add(finding.path), links=False
    )
    for listing in listings:
        found.folders.append(listing.path)
        entries.update(f"{listing.path}/{name}" for name in [*listing.files, *listing.others])
    named, others = _by_line(journal, sorted(entries), found.folders)
    if journal.damage is None:
        found.strays = others
    things = {(thing.area, thing.path): thing for thing in named}
    _add_by_path(store, found, others, things)
    found.things = list(things.values())
    return found


def _by_line(
    journal: Journal, entries: list[str], folders: list[str]
) -> tuple[list[Thing], list[str]]:
    """Return the things that lines name, and what no line names."""
    run, start = journal.run, len(quarantine_of(journal.run)) + 1
    names = _named(journal)
    things: dict[tuple[Area, str], Thing] = {}
    others: list[str] = []

    def thing_of(area: Area, line: Line) -> Thing:
        key = area, str(line["path"])
        if key not in things:
            made = Thing(run, *key, line["kind"], line["digest"], line, [], line["size"])
            things[key] = made
        return things[key]

    for entry in entries:
        area, path = _area(entry[start:])
        line = _line_of(names[area], path)
        if line is None:
            others.append(entry)
        else:
            thing_of(area, line).files.append(entry)
    for folder in folders:  # one that was moved may be empty
        area, path = _area(folder[start:])
        if path in names[area]:
            thing_of(area, names[area][path])
    return list(things.values()), others


def _line_of(lines: Mapping[str, Line], path: str) -> Line | None:
    """Return the line that names a file, a folder it was moved with, or what was being written."""
    if path in lines:
        return lines[path]
    above = next((folder for folder in folders_above(path) if folder in lines), None)
    return lines.get(above or _finished(path))


def _area(path: str) -> tuple[Area, str]:
    for area in (Area.UNDONE, Area.REPLACED):
        if path.startswith(area.value):
            return area, path[len(area.value) :]
    return Area.MOVED, path


def _named(journal: Journal) -> dict[Area, dict[str, Line]]:
    """Return by area which paths lines name, each with its line."""
    moved: dict[str, Line] = {}
    made: dict[str, Line] = {}
    replaced: dict[str, Line] = {}
    for line in journal.lines:
        if "move" in line:
            moved[line["path"]] = line
        elif "create" in line:
            made[line["create"]] = {**line, "path": line["create"]}
        elif "replace" in line:
            replaced[line["replace"]] = {**line, "path": line["replace"]}
    return {Area.MOVED: moved, Area.UNDONE: made, Area.REPLACED: replaced}


def _finished(path: str) -> str:
    """Return which file was being written, when one of this name was."""
    folder, _, name = path.rpartition("/")
    if layout.is_temporary(path):  # `<name>.<uuid>.tmp` of the registry
        return path[: -len(".tmp")].rpartition(".")[0]
    if name.startswith(".") and name.endswith(UNFINISHED):  # `.<name>.<random>.regfs-tmp`
        return f"{folder}/{name[1 : -len(UNFINISHED)].rpartition('.')[0]}"
    return ""


def _add_by_path(
    store: Store, found: Contents, files: list[str], things: dict[tuple[Area, str], Thing]
) -> None:
    """Add what no line names, by its path."""
    run, start = found.run, len(quarantine_of(found.run)) + 1
    places = [(file, *_area(file[start:])) for file in files]
    tags = {
        path.rpartition("/current/")[0]
        for _, _, path in places
        if isinstance(layout.key_of(path), layout.TagCurrent)
    }
    for file, area, path in places:
        if not path.startswith(_TREE):
            found.outside.append(file)
            continue
        kind, place, digest = _told_by(path, tags)
        size = _size_of(store, file)
        before = things.get((area, place)) or Thing(run, area, place, kind, digest, None, [], 0)
        files_of = [*before.files, file]
        things[area, place] = replace(before, files=files_of, size=before.size + size)


def _size_of(store: Store, path: str) -> int:
    try:
        return store.stat(path).size
    except StoreError:
        return 0


def _told_by(path: str, tags: set[str]) -> tuple[str, str, str | None]:
    """Return by its path of what kind a file is, what it belongs to, and its digest."""
    key = layout.key_of(path)
    match key:
        case layout.BlobData():
            return ActionKind.BLOB, path, str(key.digest)
        case layout.LayerLink():
            return ActionKind.LAYER_LINK, path, str(key.digest)
        case layout.RevisionLink():
            return ActionKind.REVISION, path, str(key.digest)
        case layout.TagCurrent():
            return ActionKind.TAG, path.rpartition("/current/")[0], None
        case layout.TagIndex():
            folder = path.rpartition("/index/")[0]
            if folder in tags:
                return ActionKind.TAG, folder, None
            return ActionKind.TAG_INDEX, path, str(key.digest)
        case layout.UploadData() | layout.UploadStartedAt() | layout.UploadHashState():
            name = f"{layout.uploads_folder(key.name)}/{key.id}"
            return ActionKind.UPLOAD, name, None
    return ActionKind.TEMPORARY, path, None
