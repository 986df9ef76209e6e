"""The files of a report of S3 Inventory: `manifest.json`, and the CSV files that it names.

    manifest.json        which bucket, when, which columns, which files, the MD5 of each
    manifest.checksum    the MD5 of manifest.json
    data/<id>.csv.gz     a line for each object; keys are URL-encoded

They lie in a bucket, or were copied from there into folders of the same names. A file is not
believed unless it has the size and the MD5 that `manifest.json` states: part of a report would be
taken for the whole bucket. Of a bucket with versions only what is there counts: no version that
is not the latest, and no delete marker.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final, NamedTuple, Protocol, cast

from regfs.errors import NotARegistry, PathDenied, PathMissing, StoreError, printable
from regfs.stores.archive.decompressors import GZIP, Bytes, open_gzip
from regfs.stores.bucket.listing.report_lines import ReportPage, pages_of
from regfs.stores.bucket.requests.client import Client, KeyOdd

MANIFEST: Final = "manifest.json"
_CHECKSUM: Final = "manifest.checksum"
_LARGEST: Final = 16 << 20
"""Bytes of a manifest.json: 50,000 files, of a million objects each."""
_PIECE: Final = 256 << 10
_UNPACKED: Final = 1 << 20
"""Bytes of lines that are looked at together."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_ABOVE: Final = 4
"""Folders above that of manifest.json in which its files are looked for."""

_NO_MANIFEST: Final = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    RecursionError,
    OverflowError,
    OSError,
)
"""What making sense of JSON raises that is no manifest; the last two of a time."""


class ReportFiles(Protocol):
    """Where the files of a report are."""

    def open(self, name: str) -> BinaryIO:
        """Open a file by its key.

        Raises:
            PathMissing, StoreError: it is not there; it cannot be read.
        """

    def manifest(self, name: str) -> BinaryIO:
        """Open a file beside `manifest.json`, or that one.

        Raises:
            As `open`.
        """


class BucketFiles:
    """Those in a bucket."""

    def __init__(self, client: Client, key: str) -> None:
        """`key` is that of `manifest.json`."""
        self._client = client
        self._folder = key.removesuffix(MANIFEST)

    def open(self, name: str) -> BinaryIO:
        """Open an object."""
        try:
            return self._client.open(name)
        except KeyOdd:
            words = "a key with an empty part (a//b), which cannot be asked for"
            raise StoreError(f"{printable(name)}: {words}") from None

    def manifest(self, name: str) -> BinaryIO:
        """Open an object beside manifest.json."""
        return self.open(self._folder + name)


class CopiedFiles:
    """Those that were copied from a bucket, into folders of the same names or into one."""

    def __init__(self, path: str) -> None:
        """`path` is that of `manifest.json`."""
        self._folder = os.path.dirname(path)

    def open(self, name: str) -> BinaryIO:
        """Open the file with the longest part of a key in its path."""
        parts = name.split("/")
        if not name or {"", ".", ".."} & set(parts) or "\0" in name:
            raise StoreError(f"{printable(name)}: not a path")
        above = [self._folder]
        while len(above) <= _ABOVE and os.path.dirname(above[-1]) != above[-1]:
            above.append(os.path.dirname(above[-1]))
        for start in range(len(parts)):
            for folder in above:
                place = os.path.join(folder, *parts[start:])
                if os.path.lexists(place):
                    return _file(place)
        raise PathMissing(f"{printable(name)}: not beside manifest.json, nor above it")

    def manifest(self, name: str) -> BinaryIO:
        """Open a file beside manifest.json."""
        return _file(os.path.join(self._folder, name))


def _file(path: str) -> BinaryIO:
    try:
        # Not to wait for the writer of a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        raise PathMissing(f"{printable(path)}: no such file") from None
    except PermissionError:
        raise PathDenied(f"{printable(path)}: permission denied") from None
    except (OSError, ValueError) as error:
        raise StoreError(f"{printable(path)}: {error}") from None
    file = open(descriptor, "rb", buffering=0)  # noqa: SIM115 - closed by who reads it
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise StoreError(f"{printable(path)}: not a regular file")
    return cast(BinaryIO, file)


class _FileOfReport(NamedTuple):
    """A CSV file as manifest.json names it."""

    name: str
    size: int
    md5: str


class ReportManifest(NamedTuple):
    """What manifest.json says."""

    bucket: str
    """The bucket that the report is of."""
    taken_at: float
    """When the report was begun, in seconds since the epoch."""
    columns: tuple[str, ...]
    files: tuple[_FileOfReport, ...]

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(one.size for one in self.files)


def read_report(files: ReportFiles, url: str) -> ReportManifest:
    """Read `manifest.json`; `url` is that of the report, for messages.

    Raises:
        NotARegistry: there is none, or no such report that is read here.
        StoreError: it cannot be read, or does not have its checksum.
    """
    try:
        data = _whole(files.manifest(MANIFEST), url)
    except PathMissing:
        raise NotARegistry(f"{url}: there is no such object or file") from None
    try:
        stated = _whole(files.manifest(_CHECKSUM), url).strip().lower()
    except PathMissing:
        stated = b""
    if stated and stated != _md5(data).encode():
        raise StoreError(
            f"{url}: is not what manifest.checksum says; it is being written, or was changed"
        )
    try:
        return _understood(json.loads(data))
    except _NO_MANIFEST as error:
        words = " ".join(str(error).split())[:200] or "nested too deep"
        raise NotARegistry(f"{url}: not a manifest of S3 Inventory: {printable(words)}") from None
    except NotARegistry as error:
        raise NotARegistry(f"{url}: {error}") from None


def _whole(file: BinaryIO, url: str) -> bytes:
    data = bytearray()
    with file:
        while len(data) <= _LARGEST and (piece := file.read(_PIECE)):
            data += piece
    if len(data) > _LARGEST:
        raise NotARegistry(f"{url}: larger than {_LARGEST} bytes")
    return bytes(data)


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _understood(document: Any) -> ReportManifest:
    """Return what a manifest says.

    Raises:
        NotARegistry: it is of a form that is not read.
        ValueError, TypeError, KeyError, AttributeError: it is no manifest.
    """
    form = document["fileFormat"]
    if form != "CSV":
        raise NotARegistry(
            f"a report in {printable(str(form)[:20])}, which is not read; set the format of the "
            "inventory to CSV"
        )
    columns = tuple(one.strip() for one in document["fileSchema"].split(","))
    lacking = [one for one in ("Key", "Size") if one not in columns]
    if lacking:
        raise NotARegistry(
            f"a report without the column {lacking[0]}; add it to the inventory's configuration"
        )
    bucket = document["sourceBucket"]
    if not _NAME.fullmatch(bucket):
        raise ValueError("sourceBucket is no name of a bucket")
    taken_at = int(document["creationTimestamp"]) / 1000
    datetime.fromtimestamp(taken_at, UTC)  # it raises what cannot be meant
    files = tuple(
        _FileOfReport(str(one["key"]), int(one["size"]), str(one["MD5checksum"]).lower())
        for one in document["files"]
    )
    return ReportManifest(bucket, taken_at, columns, files)


def report_pages(
    report: ReportManifest, files: ReportFiles, url: str, advance: Callable[[int], None]
) -> Iterator[ReportPage]:
    """Yield all objects that are in a bucket; `advance` gets the bytes that were read.

    Raises:
        StoreError: a file is not there, cannot be read, or is not what manifest.json says. What
            was yielded is a part of the bucket then, and not to be used.
    """
    for file in report.files:
        where = f"{url}: {printable(file.name)}"
        try:
            stream = files.open(file.name)
        except PathMissing:
            raise StoreError(f"{where}: is not there, and belongs to the report") from None
        with stream:
            source = _Counted(stream, advance)
            try:
                yield from pages_of(_pieces(source, where), report.columns, report.taken_at)
            except (csv.Error, ValueError, OverflowError) as error:
                words = " ".join(str(error).split())[:200]
                raise StoreError(
                    f"{where}: not a file of this report: {printable(words)}"
                ) from None
            while source.read(_PIECE):
                pass
        if (source.size, source.hasher.hexdigest()) != (file.size, file.md5):
            raise StoreError(f"{where}: is not what manifest.json says: its size or MD5 differs")


class _Counted(io.RawIOBase):
    """A file that is hashed as it is read."""

    def __init__(self, stream: BinaryIO, advance: Callable[[int], None]) -> None:
        super().__init__()
        self._stream = stream
        self._advance = advance
        self.hasher = hashlib.md5(usedforsecurity=False)
        self.size = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read into `buffer`; return the number of bytes."""
        with memoryview(buffer) as view:
            try:
                piece = self._stream.read(len(view))
            except OSError as error:
                raise StoreError(f"cannot be read: {error.strerror or error}") from None
            view[: len(piece)] = piece
        self.hasher.update(piece)
        self.size += len(piece)
        self._advance(len(piece))
        return len(piece)


def _pieces(source: _Counted, where: str) -> Iterator[bytes]:
    """Yield the bytes of a file, decompressed.

    Raises:
        StoreError: it cannot be decompressed.
    """
    head = source.read(2) or b""
    plain: Bytes = cast(Bytes, _WithHead(head, source))
    broken: tuple[type[Exception], ...] = ()
    if head == GZIP:
        plain, broken = open_gzip(plain)
    while True:
        try:
            piece = plain.read(_UNPACKED)
        except broken as error:
            words = " ".join(str(error).split())[:200]
            raise StoreError(f"{where}: cannot be decompressed: {words}") from None
        if not piece:
            return
        yield piece


class _WithHead(io.RawIOBase):
    """A file of which the first bytes have been read."""

    def __init__(self, head: bytes, source: _Counted) -> None:
        super().__init__()
        self._head = head
        self._source = source

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read into `buffer`; return the number of bytes."""
        if not self._head:
            return self._source.readinto(buffer)
        with memoryview(buffer) as view:
            count = min(len(view), len(self._head))
            view[:count] = self._head[:count]
        self._head = self._head[count:]
        return count
