"""A tar whose bytes pass once: from a pipe, from a container, or out of a compressed file.

As it passes, what reports need is kept: every small file (links), and every larger one that looks
like JSON (manifests, configs) up to the size of the largest manifest. That goes to a temporary
file, so memory holds the names and no bytes. All else is hashed, if somebody wants to verify it,
and dropped.

What was not kept can be had again where the archive can be opened again: a compressed file is
decompressed up to there, a container is asked for the one file. Standard input has passed. For
who will read all of it (a copy), everything is kept.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tempfile
import weakref
from array import array
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, Final, NamedTuple, cast

from regfs.errors import NotARegistry, StoreError, printable
from regfs.findings import Code, Finding
from regfs.progress import SILENT, Progress
from regfs.stores import Capability, FileKind
from regfs.stores.archive.decompressors import Bytes
from regfs.stores.archive.headers import ArchiveDamaged, TarMember, entries
from regfs.stores.archive.seekable import (
    ADVICE,
    SPARSE,
    open_part,
    read_part,
    truncated,
)
from regfs.stores.archive.unpacking import PIECE, PlainStream
from regfs.stores.flat.gathering import Gathering
from regfs.stores.flat.rows import V2, Rows, path_of

SMALL: Final = 16 << 10
"""Bytes up to which every file is kept."""
KEPT: Final = (4 << 20) + 1
"""Bytes that are kept of a file that looks like JSON: a larger one is no manifest."""
_WHITE: Final = b" \t\r\n"
_REST: Final = 1 << 20
"""Bytes after the end of the archive that are read, so that who writes it is not cut off."""

Opened = AbstractContextManager[Bytes]


class StreamOptions(NamedTuple):
    """What is wanted of an archive while it passes."""

    algorithm_of: Callable[[bytes], str | None] = lambda name: None
    """Name of a file -> the algorithm to hash it by, if it is to be hashed."""
    progress: Progress = SILENT
    whole: bool = False
    """Whether everything is kept in the temporary file: all of it will be asked for."""
    layouts: bool = False
    """Whether an OCI image layout is opened as it is, where there is no registry's tree."""


class CutOff(Exception):
    """What brought the archive failed; the message says how."""


class StreamedTar:
    """The source of a flat store over a stream."""

    capabilities = Capability.DIGESTS
    ahead = 1

    def __init__(
        self,
        url: str,
        opened: Callable[[], Opened],
        options: StreamOptions,
        *,
        again: Callable[[int, bytes], Opened] | None = None,
    ) -> None:
        """`opened` begins the stream; leaving it raises CutOff if not all came.

        `again` gets where the content of a file begins and its name as in the archive, and
        returns a stream that begins with that content.
        """
        self.url = url
        self.refusal = f"{printable(url)}: {ADVICE}"
        self._opened = opened
        self._again = again
        self._options = options
        self._kept_of_each = sys.maxsize if options.whole else KEPT
        self._starts, self._spots = array("q"), array("q")
        """For each file: where its content is in the archive, and in what was kept, or -1."""
        self._sums: dict[int, tuple[str, bytes]] = {}
        """File -> algorithm and digest."""
        self._bad: dict[int, str] = {}
        """File -> why it has no content."""
        self._rows = Rows([])
        self._name_of: Callable[[bytes], bytes] = bytes
        kept = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed with this object
        self._kept = os.dup(kept.fileno())
        kept.close()
        weakref.finalize(self, os.close, self._kept)
        self._end = 0
        self._unwritten = bytearray()

    # -- the pass ----------------------------------------------------------------------

    def rows(self) -> Rows:
        """Let the archive pass."""
        what = f"{printable(self.url)}: an archive"
        gathering = Gathering(what, layouts=self._options.layouts)
        progress = self._options.progress
        progress.start("Reading the archive", None, "bytes")
        try:
            with self._opened() as raw:
                self._pass(PlainStream(raw, progress.advance), gathering)
        except ArchiveDamaged as error:
            self._damaged(gathering, error)
        except CutOff as error:
            if not gathering.count:
                raise StoreError(f"{printable(self.url)}: {error}") from None
            words = str(error)
            gathering.problems.append(Finding(Code.ARCHIVE_TRUNCATED, path_of(V2), actual=words))
        finally:
            progress.finish()
        self._write()
        self._rows = gathering.finish()
        self._name_of = gathering.name_of
        return self._rows

    def _damaged(self, gathering: Gathering, error: ArchiveDamaged) -> None:
        if not gathering.count:
            raise NotARegistry(f"{printable(self.url)}: not a tar archive: {error}") from None
        gathering.problems.append(truncated(error))

    def _pass(self, stream: PlainStream, gathering: Gathering) -> None:
        for member in entries(stream):
            place = -1
            if member.kind is FileKind.FILE and member.target is None:
                place = len(self._starts)
                self._starts.append(member.position)
                self._spots.append(-1)
                gathering.add(member, place)
                if member.sparse:
                    self._bad[place] = SPARSE
                else:
                    self._take(place, member, stream)
            else:
                gathering.add(member, place)
        stream.skip_to(stream.position + _REST)

    def _take(self, place: int, member: TarMember, stream: PlainStream) -> None:
        """Keep or hash the content of a file, and drop what need not be either."""
        left = member.size
        piece = stream.read(left) if left else b""
        keeps = self._options.whole or left <= SMALL or piece.lstrip(_WHITE)[:1] == b"{"
        algorithm = self._options.algorithm_of(member.name)
        if not (keeps or algorithm):
            return
        make = None if algorithm is None else getattr(hashlib, algorithm)
        hasher = None if make is None else make(usedforsecurity=False)
        if keeps:
            self._spots[place] = self._end
        room = self._kept_of_each if keeps else 0
        while piece:
            left -= len(piece)
            if hasher is not None:
                hasher.update(piece)
            elif not room:
                return
            if room:
                room -= self._keep(piece[:room])
            piece = stream.read(left) if left else b""
        if left:
            self._bad[place] = "the archive ends within it"
        elif hasher is not None and algorithm is not None:
            self._sums[place] = algorithm, hasher.digest()

    def _keep(self, piece: bytes) -> int:
        self._unwritten += piece
        self._end += len(piece)
        if len(self._unwritten) >= PIECE:
            self._write()
        return len(piece)

    def _write(self) -> None:
        """Write what is to be kept, many files at once."""
        try:
            while self._unwritten:
                done = os.pwrite(self._kept, self._unwritten, self._end - len(self._unwritten))
                del self._unwritten[:done]
        except OSError as error:
            words = f"no temporary file for what is to be kept of it: {error.strerror}"
            raise StoreError(f"{printable(self.url)}: {words}") from error

    # -- what was kept, or comes again ---------------------------------------------------

    def read(self, row: int, limit: int) -> bytes:
        """Return the first bytes of a file."""
        spot = self._spot(row)
        size = min(self._rows.sizes[row], limit)
        if spot >= 0 and size <= self._kept_of_each:
            return read_part(self._kept, spot, size, self._rows.keys[row])
        with self.open(row, 0, limit) as part:
            return part.read()

    def open(self, row: int, offset: int, length: int | None) -> BinaryIO:
        """Open a part of a file."""
        rows, spot = self._rows, self._spot(row)
        path = path_of(rows.keys[row])
        left = max(rows.sizes[row] - offset, 0)
        size = left if length is None else min(left, length)
        if spot >= 0 and offset + size <= self._kept_of_each:
            return open_part(self._kept, spot + offset, size, path)
        if self._again is None:
            raise StoreError(
                f"{printable(path)}: has passed with the archive, which is read once; save the "
                "archive to a file, and give that"
            )
        again = self._again(self._starts[rows.places[row]], self._name_of(rows.keys[row]))
        return cast(BinaryIO, _Again(again, offset, size, path))

    def _spot(self, row: int) -> int:
        place = self._rows.places[row]
        if place in self._bad:
            raise StoreError(f"{printable(path_of(self._rows.keys[row]))}: {self._bad[place]}")
        return self._spots[place]

    def known(self, row: int) -> bytes | None:
        """Return None: every file is read."""
        return None

    def digest(self, row: int, algorithm: str) -> str | None:
        """Return the digest that was taken as the file passed."""
        self._spot(row)
        found = self._sums.get(self._rows.places[row])
        return found[1].hex() if found is not None and found[0] == algorithm else None


class _Again(io.RawIOBase):
    """A part of a file, from a stream that begins with its content."""

    def __init__(self, opened: Opened, offset: int, left: int, path: str) -> None:
        super().__init__()
        self._opened = opened
        self._left = left
        self._path = path
        self._stream = opened.__enter__()
        self._to_skip = offset

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read into `buffer`; return the number of bytes."""
        if not self._left:
            return 0
        while self._to_skip:
            self._to_skip -= len(self._piece(self._to_skip))
        with memoryview(buffer) as view:
            piece = self._piece(min(len(view), self._left))
            view[: len(piece)] = piece
        self._left -= len(piece)
        return len(piece)

    def _piece(self, size: int) -> bytes:
        try:
            piece = self._stream.read(min(size, PIECE))
        except ArchiveDamaged as error:
            raise StoreError(f"{printable(self._path)}: {error}") from None
        if not piece:
            raise StoreError(f"{printable(self._path)}: the archive ends within it")
        return piece

    def close(self) -> None:
        """End the stream."""
        if not self.closed:
            self._opened.__exit__(None, None, None)
        super().close()
