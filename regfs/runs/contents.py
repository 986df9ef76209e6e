"""What lies in the quarantine of a run, and which line of the journal names it.

Everything that lies there is listed, not only what lines name. A file belongs to the line of
its own path, or of the folder that was moved (a tag, an upload); or it was being written when
its folder was moved: a temporary file of the registry, or of a killed run.

What no line names is a stray. A line is durable before what it names is moved, so a stray
shows that lines are lost, or that somebody has put it there: the run is damaged.

In a damaged run the path of a thing in quarantine is its place in the tree, and by the layout
says what it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from regfs import layout
from regfs.digest import Digest
from regfs.errors import StoreError
from regfs.runs.journal import Journal
from regfs.runs.paths import quarantine_of
from regfs.runs.records import Change, Item
from regfs.runs.totals import ActionKind
from regfs.stores import Store, folders_above
from regfs.stores.unfinished import finished_name

_TREE: Final = "docker/"
"""Nothing outside this folder is ever moved."""

_Place = tuple[Change, str]
"""Why something lies in quarantine, and its place in the tree."""


@dataclass(slots=True)
class Contents:
    """What lies in the quarantine of one run."""

    run: str
    items: list[Item] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    """Paths in the store that no line names, or that cannot be read."""
    folders: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    """Paths in the store that correspond to no place in the tree."""

    @property
    def damage(self) -> str | None:
        """What is wrong with it; None when a line names everything."""
        return None if not self.strays else f"no line names {self.strays[0]}"


def contents(store: Store, journal: Journal) -> Contents:
    """Return what lies in the quarantine of a run."""
    found = Contents(journal.run)
    entries: set[str] = set()
    """All that is no folder, and folders that cannot be read."""
    # A symbolic link is not followed: what it leads to does not lie here.
    listings = store.tree(
        quarantine_of(journal.run), lambda finding: entries.add(finding.path), links=False
    )
    for listing in listings:
        found.folders.append(listing.path)
        entries.update(f"{listing.path}/{name}" for name in [*listing.files, *listing.others])
    named, others = _by_line(journal, sorted(entries), found.folders)
    if journal.damage is None:
        found.strays = others
    _add_by_path(store, found, others, named)
    found.items = list(named.values())
    return found


def _by_line(
    journal: Journal, entries: list[str], folders: list[str]
) -> tuple[dict[_Place, Item], list[str]]:
    """Return the items that lines name, and what no line names."""
    start = len(quarantine_of(journal.run)) + 1
    # The last line of a path counts.
    names = {(item.change, item.path): item for item in journal.account.items}
    files: defaultdict[_Place, list[str]] = defaultdict(list)
    others: list[str] = []
    for entry in entries:
        change, path = _place(entry[start:])
        named = _named_path(names, change, path)
        if named is None:
            others.append(entry)
        else:
            files[change, named].append(entry)
    for folder in folders:  # one that was moved may be empty
        place = _place(folder[start:])
        if place in names:
            files[place] += []
    return {place: names[place]._replace(files=tuple(of)) for place, of in files.items()}, others


def _named_path(names: Mapping[_Place, Item], change: Change, path: str) -> str | None:
    """Return the path of the item that a file belongs to: itself, or what it was moved with."""
    if (change, path) in names:
        return path
    above = next((folder for folder in folders_above(path) if (change, folder) in names), None)
    found = above or _finished(path)
    return found if (change, found) in names else None


def _place(path: str) -> _Place:
    for change in (Change.CREATE, Change.REPLACE):
        if path.startswith(change.folder):
            return change, path.removeprefix(change.folder)
    return Change.MOVE, path


def _finished(path: str) -> str:
    """Return the file that a temporary file was to become; "" for any other name."""
    folder, _, name = path.rpartition("/")
    if layout.is_temporary(path):  # `<name>.<uuid>.tmp` of the registry
        return path[: -len(".tmp")].rpartition(".")[0]
    finished = finished_name(name)
    return "" if finished is None else f"{folder}/{finished}"


def _add_by_path(
    store: Store, found: Contents, files: list[str], items: dict[_Place, Item]
) -> None:
    """Add items for files that no line names, by their paths."""
    start = len(quarantine_of(found.run)) + 1
    places = [(file, *_place(file[start:])) for file in files]
    tags = {
        path.rpartition("/current/")[0]
        for _, _, path in places
        if isinstance(layout.key_of(path), layout.TagCurrent)
    }
    for file, change, path in places:
        if not path.startswith(_TREE):
            found.outside.append(file)
            continue
        kind, place, digest = _by_path(path, tags)
        known = items.get((change, place)) or Item(
            found.run, change, place, kind, digest, 0, source=place, named=False
        )
        size = known.size + _size_of(store, file)
        items[change, place] = known._replace(size=size, files=(*known.files, file))


def _size_of(store: Store, path: str) -> int:
    try:
        return store.stat(path).size
    except StoreError:
        return 0


def _by_path(path: str, tags: set[str]) -> tuple[ActionKind, str, Digest | None]:
    """Return the kind of a file by its path, the path of the item it is of, and its digest."""
    key = layout.key_of(path)
    match key:
        case layout.BlobData():
            return ActionKind.BLOB, path, key.digest
        case layout.LayerLink():
            return ActionKind.LAYER_LINK, path, key.digest
        case layout.RevisionLink():
            return ActionKind.REVISION, path, key.digest
        case layout.TagCurrent():
            return ActionKind.TAG, path.rpartition("/current/")[0], None
        case layout.TagIndex():
            folder = path.rpartition("/index/")[0]
            if folder in tags:
                return ActionKind.TAG, folder, None
            return ActionKind.TAG_INDEX, path, key.digest
        case layout.UploadData() | layout.UploadStartedAt() | layout.UploadHashState():
            name = f"{layout.uploads_folder(key.name)}/{key.id}"
            return ActionKind.UPLOAD, name, None
    return ActionKind.TEMPORARY, path, None
