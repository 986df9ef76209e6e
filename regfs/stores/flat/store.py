"""A store over a flat listing: whatever brings the listing and the bytes brings nothing else.

    FlatSource      lists once, in any order, and opens what it has listed
    FlatStore   answers every question of the contract from the sorted rows of that listing

Links are never followed here, and there are no disk blocks. Folders are those that something
lies in, and those that the listing names.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import BinaryIO, Final, NamedTuple, Protocol

from regfs.errors import PathMissing, PathUnsafe, Refused, StoreError, printable
from regfs.findings import Code, Finding
from regfs.parallel import map_in_windows
from regfs.stores import (
    NO_URLS,
    Capability,
    Entry,
    FileId,
    FileKind,
    Leaves,
    Listing,
    PathState,
    Report,
    Room,
    Spec,
    Store,
    Unlisted,
    ignore,
)
from regfs.stores.flat.rows import V2, Rows, checked, key_of, path_of
from regfs.stores.readonly import NO_REQUESTS, ReadOnly

_WORD: Final = (1 << 64) - 1
_WINDOW: Final = 4
"""Contents that are held, for each read at once."""
# Named here because `list` is a method inside the class.
_Entries = list[Entry]
_Contents = list[bytes | None]


class FlatSource(Protocol):
    """Where a flat listing and the bytes come from."""

    url: str
    """What `open_store` opens again; for messages too."""
    refusal: str
    """Why nothing is changed there, and what to do instead."""
    capabilities: Capability
    ahead: int
    """Reads at once that are faster than one by one; 1 where none are."""

    def rows(self) -> Rows:
        """List everything, once.

        Raises:
            NotARegistry, StoreError: there is no tree, or it cannot be read.
        """

    def open(self, row: int, offset: int, length: int | None) -> BinaryIO:
        """Open a part of a file that was listed, unbuffered.

        Raises:
            StoreError: its bytes cannot be had.
        """

    def read(self, row: int, limit: int) -> bytes:
        """Return the first bytes of a file that was listed.

        Raises:
            As `open`.
        """

    def known(self, row: int) -> bytes | None:
        """Return all that is in a file, if the listing says so."""

    def digest(self, row: int, algorithm: str) -> str | None:
        """Return the digest of a file, if it was taken while the file passed."""


class _Child(NamedTuple):
    """What is directly in a folder."""

    name: bytes
    row: int
    """-1 for a folder that the listing does not name."""
    first: int
    last: int
    """The slice of what is below it."""
    kind: FileKind


class FlatStore(ReadOnly):
    """The store over one source. May be used from several threads."""

    def __init__(
        self,
        source: FlatSource,
        spec: Spec | None = None,
        *,
        taken_at: float | None = None,
        requests: Mapping[str, int] = NO_REQUESTS,
    ) -> None:
        """The source is listed now; what it has may be as of `taken_at`, as in `Store`.

        `spec` opens what it is a listing of; `requests` are those that the source makes.
        """
        self._source = source
        self.spec = spec
        self.url = source.url
        self.refusal = source.refusal
        self.capabilities = source.capabilities
        self.taken_at = taken_at
        self.requests = requests
        self._rows = source.rows()
        # Threads begin when something is read by them.
        self._pool = ThreadPoolExecutor(source.ahead)

    @property
    def problems(self) -> Sequence[Finding]:
        """What is wrong with the listing as a whole."""
        return self._rows.problems

    # -- listing -----------------------------------------------------------------------

    def snapshot(self) -> Store:
        """Return itself: it is one."""
        return self

    def list(self, folder: str, report: Report) -> _Entries:
        """Return what is directly in `folder`, sorted by the bytes of the name."""
        key = checked(folder)
        self._report_top(key, report)
        return [self._entry(key, child, report) for child in self._children(key, report)]

    def walk(self, folder: str, report: Report) -> Iterator[Entry]:
        """Yield everything below `folder`, folders before what they hold, each once."""
        key = checked(folder)
        self._report_top(key, report)
        pending = [(key, self._children(key, report))]
        while pending:
            above, children = pending[-1]
            child = next(children, None)
            if child is None:
                pending.pop()
                continue
            yield self._entry(above, child, report)
            if child.kind is FileKind.FOLDER:
                inner = _joined(above, child.name)
                pending.append((inner, self._within(inner, child.first, child.last)))

    def tree(
        self, folder: str, report: Report, *, leaf: str = "", limit: int = 0, links: bool = True
    ) -> Iterator[Listing]:
        """Yield `folder` and every folder below it, in the order of the bytes of their names."""
        key = checked(folder)
        self._report_top(key, report)
        first, last = self._rows.below(key)
        if first == last and not self._is_folder(key, report):
            return
        wanted = os.fsencode(leaf)
        pending = [iter([(key, first, last)])]
        while pending:
            found = next(pending[-1], None)
            if found is None:
                pending.pop()
                continue
            if (name := self._only_file(*found)) is not None:  # as in most folders
                content = self._begin(found[1], limit) if name == wanted else None
                yield Listing(path_of(found[0]), [], [os.fsdecode(name)], [], content)
                continue
            children = list(self._within(*found))
            yield self._listing(found[0], children, report, wanted, limit)
            inner = [
                (_joined(found[0], child.name), child.first, child.last)
                for child in children
                if child.kind is FileKind.FOLDER
            ]
            if inner:
                pending.append(iter(inner))

    def _only_file(self, key: bytes, first: int, last: int) -> bytes | None:
        """Return the name of the file that a folder holds, if it holds nothing else."""
        rows = self._rows
        if last != first + 1 or rows.odd or rows.kind(first) is not FileKind.FILE:
            return None
        name = rows.keys[first][len(key) + 1 :] if key else rows.keys[first]
        return None if b"\0" in name else name

    def _listing(
        self, key: bytes, children: Collection[_Child], report: Report, leaf: bytes, limit: int
    ) -> Listing:
        folders, files, others = [], [], []
        content: bytes | StoreError | None = None
        for child in children:
            name = os.fsdecode(child.name)
            if self._rows.odd:
                self._report(_joined(key, child.name), report)
            if child.kind is FileKind.FOLDER:
                folders.append(name)
            elif child.kind is not FileKind.FILE:
                others.append(name)
            else:
                files.append(name)
                if leaf == child.name:
                    content = self._begin(child.row, limit)
        return Listing(path_of(key), folders, files, others, content)

    def subfolders(self, folder: str, report: Report) -> Sequence[str] | None:
        """Return the names in `folder` when all are folders, else None."""
        children = list(self._children(checked(folder), report))
        if any(child.kind is not FileKind.FOLDER for child in children):
            return None
        return [os.fsdecode(child.name) for child in children]

    def leaves(
        self,
        folder: str,
        leaf: str,
        report: Report,
        *,
        limit: int = 0,
        only: Collection[str] | None = None,
    ) -> Leaves:
        """Return the files `<folder>/*/<leaf>`, sorted."""
        key, wanted = checked(folder), checked(leaf)
        contents: _Contents = []
        read: list[int] = []
        found = Leaves([], [], [], [], [], [], contents)
        for child in self._children(key, report):
            name = os.fsdecode(child.name)
            if only is not None and name not in only:
                continue
            if child.kind is not FileKind.FOLDER:
                found.others.append(self._entry(key, child, report))
                continue
            row = self._leaf(_joined(key, child.name), wanted, child)
            if row is None:
                found.absent.append(name)
            elif isinstance(row, bytes):
                found.others.append(self._entry_at(row, report))
            else:
                self._add_leaf(found, name, row, report)
                read.append(row)
        if limit:
            for row, content in zip(read, self._begin_each(read, limit), strict=True):
                contents.append(self._reported(row, content, report))
        return found

    def _add_leaf(self, found: Leaves, name: str, row: int, report: Report) -> None:
        rows = self._rows
        self._report(rows.keys[row], report)
        found.names.append(name)
        found.sizes.append(rows.sizes[row])
        found.mtimes.append(rows.mtimes[row])
        found.allocated.append(-1)

    def _reported(self, row: int, content: bytes | StoreError, report: Report) -> bytes | None:
        if isinstance(content, bytes):
            return content
        path = path_of(self._rows.keys[row])
        reason = str(content).removeprefix(f"{path}: ")
        report(Finding(Code.PATH_UNREADABLE, path, actual=reason))
        return None

    def _leaf(self, folder: bytes, leaf: bytes, child: _Child) -> int | bytes | None:
        """Return the row of a leaf; the key of what is in its place or on the way to it; None."""
        rows = self._rows
        wanted = folder + b"\0" + leaf
        if child.first == child.last:
            return None
        row = child.first
        if rows.keys[row] != wanted:
            row = rows.find(wanted) if child.last > child.first + 1 else -1
        if row >= 0 and rows.kind(row) is FileKind.FILE:
            return row
        wanted = folder
        for part in leaf.split(b"\0"):
            wanted += b"\0" + part
            there = self._child(wanted)
            if there is None:
                return None
            if there.kind is not FileKind.FOLDER:
                return wanted
        return wanted

    # -- reading -----------------------------------------------------------------------

    def contents(
        self, folder: str, names: Iterable[str], leaf: str, limit: int, *, seen: bool = False
    ) -> Iterator[bytes | StoreError]:
        """Yield the first bytes of each leaf."""
        yield from self._begin_each((f"{folder}/{name}/{leaf}" for name in names), limit)

    def identify(self, folder: str, names: Iterable[str], leaf: str) -> Iterator[FileId | None]:
        """Yield what a listing has of ETags in place of inodes; None where there is neither."""
        rows, known = self._rows, Capability.IDENTITIES in self.capabilities
        for name in names:
            row = rows.find(key_of(f"{folder}/{name}/{leaf}")) if known else -1
            if row < 0 or rows.kind(row) is not FileKind.FILE:
                yield None
            else:
                yield FileId(rows.places[row] & _WORD, rows.marks[row] & _WORD or 1, 0)

    def stat(self, path: str) -> Entry:
        """Return what is at `path`."""
        key = checked(path)
        if not key:
            return Entry("", 0, max(self._rows.mtimes, default=0.0), kind=FileKind.FOLDER)
        return self._entry_at(key, ignore)

    def examine(
        self, paths: Iterable[str | PathState], *, limit: int = 0
    ) -> Iterator[PathState | StoreError]:
        """Yield what is at each path, and whether its folder holds nothing else."""
        for given in paths:
            path = given if isinstance(given, str) else given.entry.path
            try:
                entry = self.stat(path)
                above = checked(path).rpartition(b"\0")[0]
                alone = len(list(self._within(above, *self._rows.below(above)))) == 1
                is_file = entry.kind is FileKind.FILE
                content = self._begin(self._row(path), limit) if limit and is_file else None
                yield PathState(entry, alone, content=content)
            except StoreError as error:
                yield error

    def open(self, path: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        """Open a file for reading `length` bytes from `offset`, unbuffered."""
        return self._source.open(self._row(path), offset, length)

    def read(self, path: str, limit: int) -> bytes:
        """Return the first `limit` bytes of a file: all of it when it is shorter."""
        return self._source.read(self._row(path), limit)

    def digest(self, path: str, algorithm: str) -> str | None:
        """Return the digest of a file in hexadecimal, if it was taken while the file passed."""
        return self._source.digest(self._row(path), algorithm)

    def signed_url(self, path: str, seconds: float) -> str:
        """Refuse: what was listed is read by this process."""
        raise Refused(f"{printable(self.url)}: {NO_URLS}")

    def room(self, folder: str = "") -> Room:
        """Return that nothing more goes in."""
        return Room(0, -1, 0)

    def unlisted(self) -> Unlisted:
        """Return nothing: all is listed."""
        return Unlisted(0, 0)

    def apart(self, home: str, folders: Iterable[str]) -> Sequence[str]:
        """Return nothing: it is one listing."""
        return ()

    # -- rows --------------------------------------------------------------------------

    def _row(self, path: str) -> int:
        key = checked(path)
        row = self._rows.find(key)
        if row < 0 and self._child(key) is None:
            raise self._missing(key)
        if row < 0 or self._rows.kind(row) is not FileKind.FILE:
            raise PathUnsafe(f"{printable(path)}: not a regular file")
        return row

    def _begin(self, where: int | str, limit: int) -> bytes | StoreError:
        """Return what a row or path begins with, or why that cannot be told."""
        try:
            row = self._row(where) if isinstance(where, str) else where
            return self._source.read(row, limit)
        except StoreError as error:
            return error

    def _begin_each(self, places: Iterable[int | str], limit: int) -> Iterator[bytes | StoreError]:
        """Yield what each row or path begins with, in order."""
        if self._source.ahead == 1:
            for place in places:
                yield self._begin(place, limit)
            return
        remaining = iter(places)
        while window := tuple(islice(remaining, _WINDOW * self._source.ahead)):
            told = [self._known(where, limit) for where in window]
            rest = [where for where, one in zip(window, told, strict=True) if one is None]
            read = map_in_windows(
                self._pool, lambda where: self._begin(where, limit), rest, len(rest)
            )
            yield from (next(read) if one is None else one for one in told)

    def _known(self, where: int | str, limit: int) -> bytes | None:
        """Return what a row or path begins with, if the listing says so."""
        row = self._rows.find(checked(where)) if isinstance(where, str) else where
        known = self._source.known(row) if row >= 0 else None
        return None if known is None else known[:limit]

    def _missing(self, key: bytes) -> StoreError:
        path = printable(path_of(key)) or "/"
        barred = self._barred(key)
        if barred is not None:
            return PathUnsafe(f"{path}: {printable(barred.path)} is not followed")
        return PathMissing(f"{path}: no such file or folder")

    def _barred(self, key: bytes) -> Finding | None:
        """Return what bars the way to a key: something that is no folder, and is not read."""
        while b"\0" in key:
            key = key.rpartition(b"\0")[0]
            row = self._rows.find(key)
            if row >= 0 and self._rows.kind(row) in (FileKind.LINK, FileKind.SPECIAL):
                return self._rows.odd.get(key)
        return None

    def _is_folder(self, key: bytes, report: Report) -> bool:
        """Return whether a key with nothing below it is a folder; report what bars the way."""
        child = self._child(key) if key else None
        if child is not None and child.kind is not FileKind.FOLDER:
            self._report(key, report)
        elif child is None and (barred := self._barred(key)) is not None:
            report(barred)
        return child is not None and child.kind is FileKind.FOLDER

    def _children(self, key: bytes, report: Report) -> Iterator[_Child]:
        """Return what is directly in a folder; report why it cannot be listed."""
        first, last = self._rows.below(key)
        if first == last:
            self._is_folder(key, report)
        return self._within(key, first, last)

    def _within(self, key: bytes, first: int, last: int) -> Iterator[_Child]:
        """Yield what is directly in a folder, sorted, from the slice of what is below it."""
        rows, start = self._rows, len(key) + 1 if key else 0
        row = first
        while row < last:
            whole = rows.keys[row]
            cut = whole.find(b"\0", start)
            if cut < 0:
                end = rows.end(whole, row + 1, last)
                kind = FileKind.FOLDER if end > row + 1 else rows.kind(row)
                yield _Child(whole[start:], row, row + 1, end, kind)
            else:
                end = rows.end(whole[:cut], row, last)
                yield _Child(whole[start:cut], -1, row, end, FileKind.FOLDER)
            row = end

    def _child(self, key: bytes) -> _Child | None:
        """Return what is at a key."""
        row = self._rows.find(key)
        first, last = self._rows.below(key)
        if row < 0 and first == last:
            return None
        kind = FileKind.FOLDER if first < last else self._rows.kind(row)
        return _Child(key.rpartition(b"\0")[2], row, first, last, kind)

    def _entry(self, above: bytes, child: _Child, report: Report) -> Entry:
        rows, key = self._rows, _joined(above, child.name)
        self._report(key, report)
        if child.kind is FileKind.FOLDER:
            # One that is not named holds one file, or was never listed by itself.
            row = child.row if child.row >= 0 else child.first
            return Entry(path_of(key), 0, rows.mtimes[row], kind=FileKind.FOLDER)
        size, mtime = rows.sizes[child.row], rows.mtimes[child.row]
        etag = flat_etag(rows.places[child.row], size) if child.kind is FileKind.FILE else ""
        return Entry(path_of(key), size, mtime, etag, child.kind)

    def _entry_at(self, key: bytes, report: Report) -> Entry:
        child = self._child(key)
        if child is None:
            raise self._missing(key)
        return self._entry(key.rpartition(b"\0")[0], child, report)

    def _report(self, key: bytes, report: Report) -> None:
        finding = self._rows.odd.get(key) if self._rows.odd else None
        if finding is not None:
            report(finding)

    def _report_top(self, key: bytes, report: Report) -> None:
        """Report what is wrong with the whole to who lists the top of the tree."""
        if (V2 + b"\0").startswith(key + b"\0" if key else b""):
            for finding in self._rows.problems:
                report(finding)


def flat_etag(place: int, size: int) -> str:
    """Return the etag of a file, by where its source finds it."""
    return f"{place % (1 << 64):x}-{size:x}"


def _joined(above: bytes, name: bytes) -> bytes:
    return above + b"\0" + name if above else name
