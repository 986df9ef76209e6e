"""What lies at the place of an item in quarantine: a good copy, nothing, or bad bytes.

This is checked before an item is deleted for good, and before it is put back. A name proves
nothing: the reference registry syncs nothing, so after a power cut a blob that was pushed again
may be empty or short, and the copy in quarantine the last good one. So what lies there is
compared by size, which costs nothing, and then by digest.

    blob                 has the bytes of its digest
    link                 holds a digest: that of its path, if the path has one
    tag                  `current/link` holds a digest, any digest
    upload, leftover     anything: nobody relies on it
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from enum import Enum
from typing import Final

from regfs import layout
from regfs.digest import Digest, hash_stream
from regfs.errors import DigestInvalid, PathMissing, StoreError
from regfs.findings import Finding
from regfs.runs.records import Item
from regfs.runs.totals import LINK_KINDS, ActionKind
from regfs.stores import Entry, FileKind, Store

_LONGEST: Final = 4096
"""Bytes of a link that are read."""
UNREADABLE: Final = (-1, 0.0)
"""Size and mtime of what cannot be read."""


class Place(Enum):
    """What lies at the place of an item."""

    FREE = "nothing"
    GOOD = "what it should be"
    BAD = "something that is empty, short or wrong"
    UNKNOWN = "something that cannot be checked"


def place_of(store: Store, item: Item) -> Place:
    """Return what lies at the place of an item."""
    try:
        entry = store.stat(item.path)
    except PathMissing:
        return Place.FREE
    except StoreError:
        return Place.UNKNOWN
    is_file = item.kind == ActionKind.BLOB and entry.kind is FileKind.FILE
    if is_file and entry.size != item.size and is_good(store, item):
        return Place.BAD  # without reading it
    found = _look(store, item, item.path)
    # A link may hold its digest in another algorithm, as the one in quarantine does.
    if found is Place.UNKNOWN and item.kind in LINK_KINDS and _are_alike(store, item):
        return Place.GOOD
    return found


def is_good(store: Store, item: Item) -> bool:
    """Return whether an item in quarantine is what it should be."""
    return _look(store, item, item.quarantine_path) is Place.GOOD


def _look(store: Store, item: Item, path: str) -> Place:
    """Return what lies at a path, as a copy of an item."""
    try:
        if item.kind == ActionKind.TAG:
            return _tag(store, path)
        entry = store.stat(path)
        if item.kind == ActionKind.BLOB:
            return _blob(store, entry, item.digest)
        if item.kind in LINK_KINDS:
            return _link(store, entry, item.digest)
    except PathMissing:
        return Place.FREE
    except (StoreError, DigestInvalid):
        return Place.UNKNOWN
    return Place.GOOD


def _blob(store: Store, entry: Entry, digest: str | None) -> Place:
    if entry.kind is not FileKind.FILE or digest is None:
        return Place.UNKNOWN
    expected = Digest.parse(digest)
    with store.open(entry.path) as stream:
        (found,), _ = hash_stream(stream, (expected.algorithm,))
    return Place.GOOD if found == expected else Place.BAD


def _link(store: Store, entry: Entry, digest: str | None) -> Place:
    if entry.kind is not FileKind.FILE:
        return Place.UNKNOWN
    try:
        said = layout.parse_link(store.read(entry.path, _LONGEST))
    except DigestInvalid:
        return Place.BAD
    # A link to another digest than that of its path is for a person to judge.
    return Place.GOOD if digest in (None, said) else Place.UNKNOWN


def _are_alike(store: Store, item: Item) -> bool:
    try:
        here, there = (store.read(path, _LONGEST) for path in (item.path, item.quarantine_path))
    except StoreError:
        return False
    return here == there


def present(store: Store, paths: Iterable[str]) -> dict[str, tuple[int, float]]:
    """Return size and mtime at each of many paths where something lies, or UNREADABLE."""
    found: dict[str, tuple[int, float]] = {}
    usual: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    single: list[str] = []
    for path in paths:
        folder, _, leaf = path.rpartition("/")
        above, _, name = folder.rpartition("/")
        if above and leaf in ("data", "link"):
            usual[above, leaf][name] = path
        else:
            single.append(path)
    # There may be 10^5 of these: those in one folder are asked for together.
    for (above, leaf), named in usual.items():
        trouble: list[Finding] = []
        leaves = store.leaves(above, leaf, trouble.append, only=named.keys())
        if trouble or leaves.others:
            single.extend(named.values())
            continue
        for name, size, mtime in zip(leaves.names, leaves.sizes, leaves.mtimes, strict=True):
            found[named[name]] = (size, mtime)
    for path in single:
        try:
            entry = store.stat(path)
            found[path] = (entry.size, entry.mtime)
        except PathMissing:
            continue
        except StoreError:
            found[path] = UNREADABLE
    return found


def _tag(store: Store, path: str) -> Place:
    entry = store.stat(path)
    link = path if entry.kind is FileKind.FILE else f"{path}/current/link"
    return _link(store, store.stat(link), None)
