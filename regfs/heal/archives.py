"""Sources in a tar file, as skopeo (oci-archive:, docker-archive:) and `docker save` write them.

One pass over the headers finds the position of each member. Nothing is ever unpacked under its
name, so a name with `..` does no harm. Which member has which digest is only guessed from names;
the reader compares.

    blobs/<alg>/<hex>                     an OCI layout, docker save since 25
    <hex>.json, <hex>.tar                 the config, and layers by diffID
    <id>/layer.tar                        older docker save: by the diffIDs in the config

The layers of a docker-archive are uncompressed tars. The bytes of a compressed layer cannot be
made from them: other compressors give other bytes.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import posixpath
import re
import stat
import tarfile
import tempfile
from typing import IO, Any, BinaryIO, Final, NamedTuple, cast

from regfs.digest import BUFFER_SIZE, Digest
from regfs.errors import DigestInvalid, NotARegistry, SourceError, SourceLacks
from regfs.heal.source import BlobRequest
from regfs.manifests import LIMIT
from regfs.stores.archive.decompressors import GZIP, Decompressor, is_zstd, open_gzip, open_zstd

_BLOB: Final = re.compile(r"blobs/(sha256|sha384|sha512)/([0-9a-f]{64,128})")
_NAMED: Final = re.compile(r"([0-9a-f]{64})(?:\.json|\.tar)?")
_HEADER: Final = 1 << 20
"""Maximum bytes of a header: a long name, or pax records."""
_HOPS: Final = 8
"""Maximum number of links within an archive that are followed to a layer."""
_UNPLAIN: Final = (
    "the archive does not have it (a docker-archive has uncompressed layers: the bytes of a "
    "compressed layer cannot be made from them)"
)


class _Span(NamedTuple):
    offset: int
    size: int


class _Headers:
    """The file that tarfile reads headers from; it refuses to read a huge one."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _HEADER:
            raise tarfile.ReadError("a header is too long")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


class _Member(io.RawIOBase):
    """One member, read by position, so that several can be read at the same time."""

    def __init__(self, descriptor: int, place: _Span, url: str) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._offset, self._left = place
        self._url = url

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        with memoryview(buffer) as view:
            try:
                data = os.pread(self._descriptor, min(len(view), self._left), self._offset)
            except OSError as error:
                raise SourceError(f"{self._url}: {error.strerror}") from error
            view[: len(data)] = data
        self._offset += len(data)
        self._left -= len(data)
        return len(data)


class Archive:
    """A tar file; `index` has to be called first."""

    def __init__(self, file: BinaryIO, url: str) -> None:
        self.url = url
        self._file = file
        self._files: dict[str, _Span] = {}
        self._links: dict[str, str] = {}
        self._places: dict[Digest, _Span] = {}
        self._docker = False

    def size(self, request: BlobRequest) -> int:
        """Return the size of the member."""
        return self._find(request).size

    def open(self, request: BlobRequest) -> BinaryIO:
        """Open the member."""
        member = _Member(self._file.fileno(), self._find(request), self.url)
        return cast(BinaryIO, member)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _find(self, request: BlobRequest) -> _Span:
        place = self._places.get(request.digest)
        if place is None:
            raise SourceLacks(_UNPLAIN if self._docker else "the source does not have it")
        return place

    def index(self) -> None:
        """Find out which member has which digest.

        Raises:
            NotARegistry: it contains no image.
            SourceError: it cannot be read.
        """
        try:
            self._list()
        except (tarfile.TarError, ValueError, EOFError, OSError) as error:
            raise SourceError(f"{self.url}: not a tar archive that can be read: {error}") from error
        if "oci-layout" not in self._files and "manifest.json" not in self._files:
            raise NotARegistry(
                f"{self.url}: neither an OCI archive nor one of docker save: no oci-layout and "
                "no manifest.json in it"
            )
        self._docker = "oci-layout" not in self._files
        for name, place in self._files.items():
            if found := _BLOB.fullmatch(name):
                self._take(f"{found[1]}:{found[2]}", place)
            elif found := _NAMED.fullmatch(name):
                self._take(f"sha256:{found[1]}", place)
        self._read_manifest()

    def _list(self) -> None:
        with tarfile.open(fileobj=cast(IO[bytes], _Headers(self._file)), mode="r:") as tar:
            while (member := tar.next()) is not None:
                vars(tar)["members"] = []  # tarfile would keep them all
                name = posixpath.normpath(member.name)
                if member.isreg() and not member.issparse():
                    # As in unpacking, the last member of a name counts.
                    self._files[name] = _Span(member.offset_data, member.size)
                elif member.issym():
                    target = posixpath.join(posixpath.dirname(name), member.linkname)
                    self._links[name] = posixpath.normpath(target)
                elif member.islnk():
                    self._links[name] = posixpath.normpath(member.linkname)

    def _take(self, text: object, place: _Span) -> None:
        try:
            self._places[Digest.parse(str(text))] = place
        except DigestInvalid:
            return

    def _resolve(self, name: object) -> _Span | None:
        path = posixpath.normpath(str(name))
        for _ in range(_HOPS):
            if path in self._files:
                return self._files[path]
            if path not in self._links:
                return None
            path = self._links[path]
        return None

    def _read_manifest(self) -> None:
        """Find the layers of `docker save` by the diffIDs of their configs."""
        images = self._json(self._resolve("manifest.json"))
        for image in images if isinstance(images, list) else []:
            if not isinstance(image, dict):
                continue
            config, layers = self._json(self._resolve(image.get("Config"))), image.get("Layers")
            rootfs = config.get("rootfs") if isinstance(config, dict) else None
            diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
            if isinstance(layers, list) and isinstance(diff_ids, list):
                for diff_id, layer in zip(diff_ids, layers, strict=False):
                    place = self._resolve(layer)
                    if place is not None and diff_id not in self._places:
                        self._take(diff_id, place)

    def _json(self, place: _Span | None) -> Any:
        if place is None or place.size > LIMIT:
            return None
        try:
            return json.loads(os.pread(self._file.fileno(), place.size, place.offset))
        except (ValueError, RecursionError, OSError):
            return None


def open_archive(path: str) -> Archive:
    """Open a tar file; a compressed one is decompressed into a temporary file first.

    Raises:
        NotARegistry: there is no such file, or it contains no image.
        SourceError: it cannot be read.
    """
    try:
        file = _open_plain(path)
    except FileNotFoundError:
        raise NotARegistry(f"{path}: no such archive") from None
    except (OSError, EOFError, gzip.BadGzipFile) as error:
        raise SourceError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    try:
        archive = Archive(file, os.path.abspath(path))
        archive.index()
        return archive
    except BaseException:
        file.close()
        raise


def _open_plain(path: str) -> BinaryIO:
    # O_NONBLOCK: it could be a FIFO that nobody writes to.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    file = open(descriptor, "rb")  # noqa: SIM115 - closed with the source
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise SourceError(f"{path}: not a regular file")
        start = os.pread(descriptor, 4, 0)
        if start[:2] == GZIP:
            return _unpacked(open_gzip(file), file)
        if is_zstd(start):
            return _unpacked(open_zstd(file), file)
    except BaseException:
        file.close()
        raise
    return file


def _unpacked(decompressor: Decompressor, file: BinaryIO) -> BinaryIO:
    """Decompress a file into a temporary one, which can be read at any position."""
    stream = cast(BinaryIO, decompressor[0])
    plain = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the source
    try:
        while piece := stream.read(BUFFER_SIZE):
            plain.write(piece)
        plain.flush()
        plain.seek(0)
    except BaseException as error:
        plain.close()
        if isinstance(error, Exception) and not isinstance(error, OSError):
            raise SourceError(f"the archive cannot be decompressed: {error}") from error
        raise
    finally:
        stream.close()
        file.close()
    return cast(BinaryIO, plain)
