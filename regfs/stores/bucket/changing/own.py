"""What lies below the folder of all runs, by the paths that everybody else knows.

A listing is asked for each time; while this process holds the lock alone, it is asked once, and
kept up to date with what is changed here. What this process has written, and a listing does not
show, is looked at by itself: the listing may be an old one.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterable
from itertools import count, takewhile
from typing import BinaryIO, Final, NamedTuple

from regfs.errors import PathMissing, RightMissing, StoreError, printable
from regfs.stores import Capability, Entry
from regfs.stores.bucket.changing.objects import objects_in
from regfs.stores.bucket.listing.aside import (
    RUNS,
    Aside,
    AsideKind,
    original_of,
    parse_aside,
    parse_segment,
    plain_etag,
    segment_key,
)
from regfs.stores.bucket.listing.uploads import UploadsUnderWay, key_of_upload
from regfs.stores.bucket.requests.client import Client, KeyOdd, Object
from regfs.stores.flat.gathering import Gathering, NamedFile
from regfs.stores.flat.rows import Rows
from regfs.stores.flat.store import FlatStore

_CHUNK: Final = 1 << 20
_KEPT: Final = 32 << 20
"""Bytes of journals that are kept in memory."""


class OwnFile(NamedTuple):
    """One file of a run."""

    path: str
    objects: tuple[Object, ...]
    """Where its bytes are, in order; of what is set aside its copy or stub."""
    aside: Aside | None = None
    grown: Object | None = None
    """What an upload that is set aside has by now."""

    @property
    def size(self) -> int:
        """Bytes."""
        if self.grown is not None:
            return self.grown.size
        return sum(one.size for one in self.objects) if self.aside is None else self.aside.size

    @property
    def mtime(self) -> float:
        """Last modification; of what is set aside, that of the original."""
        if self.grown is not None:
            return max(self.grown.mtime, self.aside.mtime if self.aside else 0.0)
        return self.moved if self.aside is None else self.aside.mtime

    @property
    def moved(self) -> float:
        """When it came where it is, by the server's clock."""
        return max(one.mtime for one in self.objects)

    @property
    def entry(self) -> Entry:
        """What a store says of it."""
        etag = plain_etag("-".join(one.etag for one in self.objects))
        return Entry(self.path, self.size, self.mtime, etag)


class OwnFiles:
    """The files of all runs in one bucket. May be used from several threads."""

    def __init__(self, client: Client, uploads: UploadsUnderWay) -> None:
        self._client = client
        self._uploads = uploads
        self._base = client.bucket.base
        self._all: dict[str, OwnFile] | None = None
        """While the lock is held, once it was asked for."""
        self._holding = False
        self._store: FlatStore | None = None
        self._written: dict[str, Object] = {}
        """By key what this process has put there."""
        self._parts: dict[str, bytes] = {}
        """By key what was read of files that grow."""
        self._changing = threading.RLock()

    # -- what is there -----------------------------------------------------------------

    def hold(self, holding: bool) -> None:
        """Say whether nobody else changes these files from now on."""
        with self._changing:
            self._holding, self._all, self._store = holding, None, None

    def find(self, path: str) -> OwnFile | None:
        """Return the file at a path; None if there is none."""
        if self._holding:
            return self._held().get(path)
        return self._listed(path.rpartition("/")[0], one_level=True).get(path)

    def store(self, folder: str) -> FlatStore:
        """Return what lies below a folder, as a store of its own."""
        if not self._holding:
            return FlatStore(_OwnSource(self, self._listed(folder).values()))
        with self._changing:
            if self._store is None:
                self._store = FlatStore(_OwnSource(self, self._held().values()))
            return self._store

    def moved_at(self, folder: str) -> float:
        """Return when something came into a folder last, by the server's clock; 0.0 if never."""
        files = self._held() if self._holding else self._listed(folder)
        times = (one.moved for path, one in files.items() if path.startswith(f"{folder}/"))
        return max(times, default=0.0)

    def _held(self) -> dict[str, OwnFile]:
        with self._changing:
            if self._all is None:
                self._all = self._listed(RUNS)
            return self._all

    def _listed(self, folder: str, *, one_level: bool = False) -> dict[str, OwnFile]:
        above = f"{self._base}{folder}"
        objects = objects_in(self._client, above, one_level=one_level)
        there = {one.key for one in objects}
        with self._changing:
            missed = [
                key
                for key in self._written
                if key not in there
                and key.startswith(f"{above}/")
                and not (one_level and "/" in key[len(above) + 1 :])
            ]
        objects += [found for key in missed if (found := self._client.find(key)) is not None]
        return self._placed(objects)

    def _placed(self, objects: Iterable[Object]) -> dict[str, OwnFile]:
        """Return files by their paths; a second one of the same path keeps the name of its key."""
        found: dict[str, OwnFile] = {}
        parts: dict[str, dict[int, Object]] = {}
        for one in sorted(objects):
            name = one.key[len(self._base) :]
            if (segment := parse_segment(name)) is not None:
                parts.setdefault(segment[0], {})[segment[1]] = one
                continue
            path, aside = parse_aside(name) or (name, None)
            path, aside = (name, None) if path in found else (path, aside)
            found[path] = OwnFile(path, (one,), aside, self._grown(path, aside))
        for path, numbered in parts.items():
            whole = list(takewhile(numbered.__contains__, count(1)))
            if whole:
                found.setdefault(path, OwnFile(path, tuple(map(numbered.__getitem__, whole))))
            for at in numbered.keys() - whole:  # what follows a gap keeps the name of its key
                name = numbered[at].key[len(self._base) :]
                found[name] = OwnFile(name, (numbered[at],))
        return found

    def _grown(self, path: str, aside: Aside | None) -> Object | None:
        if aside is None or aside.kind is not AsideKind.UPLOAD:
            return None
        try:
            return self._uploads.now(key_of_upload(self._base, path), aside.id)
        except RightMissing:
            return None  # who may not ask for it cannot drop it either

    def uploads(self, folder: str) -> set[tuple[str, str]]:
        """Return the key and the id of each upload below a folder that is set aside."""
        try:
            keys = [
                one.key
                for run in self._client.level(f"{self._base}{RUNS}")[0]
                for page in self._client.pages(f"{run}/quarantine/{folder}")
                for one in page
            ]
        except KeyOdd:
            raise StoreError(f"{RUNS}: keys in it are no paths (an empty part)") from None
        with self._changing:
            keys += self._written
        asides = (parse_aside(key[len(self._base) :]) for key in keys)
        return {
            (key_of_upload(self._base, found[0]), found[1].id)
            for found in asides
            if found is not None and found[1].kind is AsideKind.UPLOAD
        }

    # -- what is changed here ----------------------------------------------------------

    def added(self, found: Object, *, part_of: str = "") -> None:
        """Note that an object was put there by this process."""
        with self._changing:
            self._written[found.key] = found
            if self._all is None:
                return
            if part_of:
                before = self._all.get(part_of)
                objects = (*(before.objects if before else ()), found)
                self._all[part_of] = OwnFile(part_of, objects)
            else:
                self._all |= self._placed([found])
            self._store = None

    def removed(self, placed: OwnFile) -> None:
        """Note that a file was deleted, or is back in its place."""
        with self._changing:
            for one in placed.objects:
                self._written.pop(one.key, None)
            if self._all is not None:
                self._all.pop(placed.path, None)
                self._store = None

    def parts(self, path: str) -> int:
        """Return how many parts a file that grows has by now."""
        found = self.find(path)
        number = 0 if found is None else len(found.objects)
        while True:
            # A listing may not show the last ones yet.
            more = self._client.find(f"{self._base}{segment_key(path, number + 1)}")
            if more is None:
                return number
            self.added(more, part_of=path)
            number += 1

    def grows(self, placed: OwnFile) -> bool:
        """Return whether a file has parts, to which others may be added."""
        return parse_segment(placed.objects[0].key[len(self._base) :]) is not None

    # -- reading -----------------------------------------------------------------------

    def open(self, placed: OwnFile, offset: int, length: int | None) -> BinaryIO:
        """Open a part of a file, unbuffered."""
        left = max(placed.size - offset, 0)
        size = left if length is None else min(left, length)
        if self.grows(placed):
            return io.BytesIO(self._joined(placed.objects)[offset : offset + size])
        key, version = placed.objects[0].key, ""
        if placed.aside is not None and placed.aside.kind is not AsideKind.COPY:
            if placed.aside.kind is AsideKind.UPLOAD:
                raise PathMissing(f"{printable(placed.path)}: its upload was never finished")
            key, version = f"{self._base}{original_of(placed.path)}", placed.aside.id
        return self._client.open(key, offset, size, placed.size, version=version)

    def _joined(self, objects: Iterable[Object]) -> bytes:
        return b"".join(map(self._part, objects))

    def _part(self, one: Object) -> bytes:
        """Return a part of a file that grows: nobody replaces one, so it is read once."""
        if (known := self._parts.get(one.key)) is not None and len(known) == one.size:
            return known
        data = self._client.read(one.key, one.size, one.size)
        with self._changing:
            if sum(map(len, self._parts.values())) + len(data) > _KEPT:
                self._parts.clear()
            self._parts[one.key] = data
        return data


class _OwnSource:
    """Files of runs, as the source of a flat store."""

    capabilities = Capability(0)
    ahead = 16

    def __init__(self, files: OwnFiles, placed: Iterable[OwnFile]) -> None:
        self.url = self.refusal = ""
        self._files = files
        self._placed = list(placed)
        self._rows = Rows([])

    def rows(self) -> Rows:
        """Return all files."""
        gathering = Gathering("the runs of a bucket")
        for place, one in enumerate(self._placed):
            gathering.add(NamedFile(os.fsencode(one.path), one.size, one.mtime), place)
        self._rows = gathering.finish(anchored=True)
        return self._rows

    def open(self, row: int, offset: int, length: int | None) -> BinaryIO:
        """Open a part of a file."""
        return self._files.open(self._placed[self._rows.places[row]], offset, length)

    def read(self, row: int, limit: int) -> bytes:
        """Return what a file begins with."""
        pieces = []
        with self.open(row, 0, limit) as stream:
            while piece := stream.read(_CHUNK):
                pieces.append(piece)
        return b"".join(pieces)

    def known(self, row: int) -> bytes | None:
        """Return None: every file is read."""
        return None

    def digest(self, row: int, algorithm: str) -> str | None:
        """Return None: nothing was hashed."""
        return None
