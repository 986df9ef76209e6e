"""The root file system of an image as one tar, streamed.

    b"".join(tar_pieces(image, layers))      folders, then files layer by layer, then links

Each layer is read once and nothing is held but one piece, so the order is that of the layers and
not that of the paths. Links come last: nobody who unpacks it writes through one.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import Final

from regfs.content.entries import EntryKind, TarEntry
from regfs.digest import BUFFER_SIZE
from regfs.files.changes import Placed
from regfs.files.image import ImageFiles
from regfs.files.layers import Layers

_TYPES: Final = {
    EntryKind.FILE: tarfile.REGTYPE,
    EntryKind.FOLDER: tarfile.DIRTYPE,
    EntryKind.SYMLINK: tarfile.SYMTYPE,
    EntryKind.HARDLINK: tarfile.LNKTYPE,
    EntryKind.CHARACTER: tarfile.CHRTYPE,
    EntryKind.BLOCK: tarfile.BLKTYPE,
    EntryKind.FIFO: tarfile.FIFOTYPE,
}


def tar_pieces(image: ImageFiles, layers: Layers) -> Iterator[bytes]:
    """Yield the tar of an image in pieces.

    Raises:
        LayerInvalid, StoreError: a layer cannot be read; the tar ends there.
    """
    names: dict[tuple[int, int], list[Placed]] = {}
    """Layer and position of a content -> all its paths."""
    others: list[Placed] = []
    root = image.merged.get("")
    for placed in image.merged:
        source = image.merged.content(placed)
        if source.entry.kind is EntryKind.FILE:
            key = (source.layer, source.entry.position)
            names.setdefault(key, []).append(placed._replace(entry=source.entry))
        elif source.entry.kind is EntryKind.FOLDER:
            yield _header(placed.path, placed.entry)
        else:
            others.append(placed._replace(entry=source.entry))
    if root is not None and root.entry.position >= 0:
        yield _header(".", root.entry)
    for layer, digest in enumerate(image.layers):
        positions = sorted(position for number, position in names if number == layer)
        if positions:
            streams = layers.stream(digest, positions)
            for position, stream in zip(positions, streams, strict=True):
                first, *more = names[layer, position]
                yield _header(first.path, first.entry)
                while piece := stream.read(BUFFER_SIZE):
                    yield piece
                yield bytes(-first.entry.size % tarfile.BLOCKSIZE)
                others += [_linked(one, first) for one in more]
    for placed in others:
        yield _header(placed.path, placed.entry)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _linked(placed: Placed, first: Placed) -> Placed:
    entry = placed.entry._replace(kind=EntryKind.HARDLINK, target=first.path, size=0)
    return placed._replace(entry=entry)


def _header(path: str, entry: TarEntry) -> bytes:
    info = tarfile.TarInfo(path)
    info.type = _TYPES[entry.kind]
    info.mode, info.uid, info.gid = entry.mode, entry.uid, entry.gid
    info.uname, info.gname = entry.owner, entry.group
    info.size, info.mtime = entry.size, entry.mtime
    info.linkname = entry.target
    if entry.device is not None:
        info.devmajor, info.devminor = entry.device
    info.pax_headers = {
        f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape")
        for name, value in entry.xattrs.items()
    }
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
