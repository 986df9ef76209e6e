"""Content addresses: parsing them, computing them, and reading bytes that must match them.

A digest is `<algorithm>:<hex>`, e.g. `sha256:e3b0c442...`. Three algorithms
exist in practice (sha256, sha384, sha512), hexadecimal in lower case only
(opencontainers/image-spec, descriptor.md, "Digests").
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from typing import BinaryIO, Final, Protocol, Self

from regfs.errors import AlgorithmUnsupported, ContentMismatch, DigestInvalid, quoted

ALGORITHMS: Final = {"sha256": 64, "sha384": 96, "sha512": 128}
"""Algorithm -> length of its encoded part in characters."""

CANONICAL: Final = "sha256"
"""The algorithm a registry stores blobs under."""

BUFFER_SIZE: Final = 256 * 1024
"""Bytes read at a time while hashing; measured flat between 128 KiB and 1 MiB."""

_SUPPORTED = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
_GRAMMAR = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[A-Za-z0-9=_-]+")
_ANYWHERE = re.compile(
    rb"(?<![0-9a-z])(?:sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})(?![0-9a-f])"
)
_NOTED = re.compile(
    r"(?<![0-9a-z])(?:(sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})"
    r"|([0-9a-f]{64}))(?![0-9a-f])"
)


class Digest(str):
    """A parsed digest: a str that is known to be one. Make it with `Digest.parse`."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return `text` as a digest.

        Raises:
            AlgorithmUnsupported: well formed, but not sha256, sha384 or sha512.
            DigestInvalid: anything else that is no digest.
        """
        if _SUPPORTED.fullmatch(text):
            return cls(text)
        shown = quoted(text, 160)
        if _GRAMMAR.fullmatch(text) and text.partition(":")[0] not in ALGORITHMS:
            raise AlgorithmUnsupported(f"unsupported digest algorithm: {shown}")
        raise DigestInvalid(f"not a digest: {shown}")

    @classmethod
    def of(cls, data: bytes, algorithm: str = CANONICAL) -> Self:
        """Return the digest of `data`."""
        return cls(f"{algorithm}:{hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()}")

    @property
    def algorithm(self) -> str:
        """The part before the colon."""
        return self.partition(":")[0]

    @property
    def encoded(self) -> str:
        """The hexadecimal part."""
        return self.partition(":")[2]

    @property
    def prefix(self) -> str:
        """The first two hexadecimal characters: the fan-out folder of the blob."""
        return self.encoded[:2]

    @property
    def short(self) -> str:
        """The first twelve hexadecimal characters, as in `docker images`."""
        return self.encoded[:12]

    @property
    def is_of_nothing(self) -> bool:
        """Whether it is the digest of no bytes: only such a blob may be empty."""
        return self == Digest.of(b"", self.algorithm)

    def __repr__(self) -> str:
        return f"Digest({str(self)!r})"


def digests_in(data: bytes) -> list[Digest]:
    """Return every digest written anywhere in `data`, in order, each once."""
    return list(dict.fromkeys(Digest(found.decode()) for found in _ANYWHERE.findall(data)))


def digests_noted(texts: Iterable[str]) -> list[Digest]:
    """Return every digest in some notes that people or tools have made, in order, each once.

    Tools write them bare too: nydus names its blobs as `["<64 digits>", ...]`.
    """
    found = (match for text in texts for match in _NOTED.finditer(text))
    return list(dict.fromkeys(Digest(one[1] or f"{CANONICAL}:{one[2]}") for one in found))


class Hasher:
    """A running digest."""

    def __init__(self, algorithm: str = CANONICAL) -> None:
        if algorithm not in ALGORITHMS:
            raise AlgorithmUnsupported(f"unsupported digest algorithm: {quoted(algorithm)}")
        self.algorithm = algorithm
        self.size = 0
        self._state = hashlib.new(algorithm, usedforsecurity=False)

    def update(self, data: bytes | memoryview) -> None:
        """Add bytes."""
        self._state.update(data)
        self.size += len(data)

    def digest(self) -> Digest:
        """Return the digest of the bytes so far."""
        return Digest(f"{self.algorithm}:{self._state.hexdigest()}")


class Readable(Protocol):
    """Anything that bytes can be read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes; none at the end."""


def hash_stream(
    stream: BinaryIO,
    algorithms: Iterable[str] = (CANONICAL,),
    advance: Callable[[int], None] | None = None,
) -> tuple[list[Digest], int]:
    """Read `stream` to its end; return its digest in each algorithm, and its size in bytes.

    `advance` is called with the number of bytes of each piece.
    """
    hashers = [Hasher(algorithm) for algorithm in algorithms]
    buffer = bytearray(BUFFER_SIZE)
    view = memoryview(buffer)
    size = 0
    readinto = stream.readinto  # type: ignore[attr-defined]  # every raw and buffered file has it
    while count := readinto(buffer):
        for hasher in hashers:
            hasher.update(view[:count])
        size += count
        if advance is not None:
            advance(count)
    return [hasher.digest() for hasher in hashers], size


class VerifiedReader:
    """A reader that refuses to end well unless the bytes match their digest.

    The last `read` raises `ContentMismatch` instead of returning the end of the
    stream, so a consumer that copies until the end cannot miss it.
    """

    def __init__(self, source: Readable, digest: Digest, where: str = "") -> None:
        self._source = source
        self._digest = digest
        self._where = where or str(digest)
        self._hasher = Hasher(digest.algorithm)

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, all that are left if `size` is negative.

        Raises:
            ContentMismatch: the stream has ended, and its digest is another one.
        """
        if size < 0:
            pieces = iter(lambda: self.read(BUFFER_SIZE), b"")
            return b"".join(pieces)
        data = self._source.read(size)
        if data or size == 0:
            self._hasher.update(data)
            return data
        found = self._hasher.digest()
        if found != self._digest:
            raise ContentMismatch(
                f"{self._where}: content does not match its digest: expected {self._digest}, "
                f"found {found} ({self._hasher.size} bytes)"
            )
        return data
