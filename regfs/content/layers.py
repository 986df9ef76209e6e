"""How a layer is packed, and its tar as a stream; `tar` and `entries` say what is in that.

    media type -> packing_of -> Packing.GZIP
    blob -> open_layer -> LayerReader -> pieces -> TarCheck        (and a digest: the diffID)
                                               -> read_entries

Only bytes are known here, no store and no manifest, so that verify, reports and workers in
processes of their own can use it. Everything is streamed. Memory holds one piece, the window of
the decompressor (zstd: at most 128 MiB) and one extended header, whatever sizes hostile headers
claim and however much a small blob unpacks to.

As for every client, the data says how it is packed; the media type says only whether to expect a
tar at all.
"""

from __future__ import annotations

import io
import re
from enum import StrEnum
from typing import BinaryIO, Final, cast

from regfs.digest import BUFFER_SIZE
from regfs.errors import LayerInvalid
from regfs.stores.archive.decompressors import GZIP, Bytes, is_zstd, open_gzip, open_zstd

_PACKED: Final = 64 << 10
"""Bytes of a layer to read at a time; many layers are small."""


class Packing(StrEnum):
    """The compression of a layer."""

    TAR = "tar"
    """Not packed."""
    GZIP = "gzip"
    ZSTD = "zstd"


_TAR_TYPE: Final = re.compile(
    r"application/vnd\.(?:"
    r"oci\.image\.layer\.(?:nondistributable\.)?v1\.tar(?:\+(?P<oci>gzip|zstd))?"
    r"|docker\.image\.rootfs\.(?:foreign\.)?diff\.tar(?:\.(?P<docker>gzip|zstd))?"
    r")(?P<encrypted>\+encrypted)?"
)


def packing_of(media_type: str) -> Packing | None:
    """Return how a layer of a media type is packed; None if it has no readable tar."""
    found = _TAR_TYPE.fullmatch(media_type)
    if found is None or found["encrypted"]:
        return None
    return Packing(found["oci"] or found["docker"] or "tar")


def is_filesystem(media_type: str) -> bool:
    """Return whether a layer of a media type is part of a root filesystem, readable or not."""
    return _TAR_TYPE.fullmatch(media_type) is not None


# -- unpacking --------------------------------------------------------------------------


class LayerReader:
    """The tar of a layer, as a stream."""

    def __init__(self, source: Bytes, packing: Packing, broken: tuple[type[Exception], ...]):
        self.packing = packing
        self._source = source
        self._broken = broken

    def read(self, size: int = BUFFER_SIZE, /) -> bytes:
        """Return up to `size` bytes; none at the end.

        Raises:
            LayerInvalid: the packed data is damaged, truncated or continues after its end.
            StoreError: the blob cannot be read.
        """
        try:
            return self._source.read(size)
        except self._broken as error:
            raise LayerInvalid(f"{self.packing}: {error}") from None


_FOREIGN_MAGIC: Final = {b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}


def open_layer(stream: BinaryIO) -> LayerReader:
    """Return the tar in a layer, unpacked while it is read; `stream` is a raw file.

    gzip with many members (eStargz, pigz) is one tar, and zeros may follow; so is zstd with many
    frames, including skippable ones (zstd:chunked).

    Raises:
        LayerInvalid: it is packed in a way that layers are not.
        StoreError: the blob cannot be read.
    """
    buffered = io.BufferedReader(cast(io.RawIOBase, stream), _PACKED)
    magic = buffered.peek(6)[:6]
    source = cast(BinaryIO, buffered)
    if magic.startswith(GZIP):
        tar, broken = open_gzip(source)
        return LayerReader(tar, Packing.GZIP, (OSError, *broken))
    if is_zstd(magic):
        tar, broken = open_zstd(source)
        return LayerReader(tar, Packing.ZSTD, (OSError, *broken))
    for beginning, name in _FOREIGN_MAGIC.items():
        if magic.startswith(beginning):
            raise LayerInvalid(f"packed with {name}, which is not allowed for layers")
    return LayerReader(source, Packing.TAR, ())
