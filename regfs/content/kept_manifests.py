"""Manifests that were read before, for stores where each read is a request.

    ManifestCache(cache, url).folder("sha256:0a") -> {hexadecimal digits: bytes}
                             .keep("sha256:0a", kept, added)

What is kept are the bytes of manifests, not what was made of them, and nothing here is believed.
`graph.read` takes a kept manifest in place of the one in the store only if

- the store has just listed a blob of that digest and of that size, and
- its bytes have that digest: it is hashed each time, as one that was read.

So whoever could write to the cache can make it slow, but cannot make it say something else: what
a manifest names follows from its digest alone. What is damaged, torn or somebody else's is read
again. Of a blob whose bytes have rotted in the store since, a graph shows what its digest means.
That keeps more, never less; `verify` builds its graph without what is kept, and finds it.

All manifests of a tree whose digests begin alike are one item of the cache, written again when
one of them is new; those that are listed no more are left out then. Two runs at once overwrite
each other's items, and so at worst keep less.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from itertools import accumulate
from typing import Final, Protocol

from regfs.content.cache import Cache
from regfs.digest import Digest

LARGEST: Final = 256 << 10
"""Bytes of a manifest that is kept; nearly all have a hundredth of it."""
MOST: Final = 256 << 20
"""Bytes of all manifests of one folder that are kept."""

_KIND: Final = "manifests"
_WIDTH: Final = 4
"""Bytes of a number."""


class KeptManifests(Protocol):
    """Where manifests come from that were read before, and where those go that are read."""

    def folder(self, name: str) -> Mapping[str, bytes]:
        """Return what is kept of a folder of blobs, by the digits of digests: nothing is checked.

        `name` is the algorithm and the first two digits: `sha256:0a`.
        """

    def keep(self, name: str, kept: Mapping[str, bytes], added: Mapping[str, bytes]) -> None:
        """Keep what was kept of a folder and is still listed, and what was read now; no others."""


class ManifestCache:
    """The manifests of one tree, in a cache of this user."""

    def __init__(self, cache: Cache, url: str) -> None:
        """Trees of one URL share what is kept, and only lose by it if they are not the same."""
        self._cache = cache
        self._url = url

    def folder(self, name: str) -> Mapping[str, bytes]:
        """Return what is kept of a folder of blobs."""
        data = self._cache.get(_KIND, self._key(name))
        return {} if data is None else unpack(data)

    def keep(self, name: str, kept: Mapping[str, bytes], added: Mapping[str, bytes]) -> None:
        """Keep all these of a folder, and no others."""
        self._cache.put(_KIND, self._key(name), pack({**kept, **added}))

    def _key(self, name: str) -> Digest:
        return Digest.of(f"{name} {self._url}".encode(errors="surrogateescape"))


def pack(manifests: Mapping[str, bytes]) -> bytes:
    """Return manifests of one folder, by the digits of their digests, as bytes."""
    taken: dict[str, bytes] = {}
    total = 0
    for name, data in manifests.items():
        total += len(data)
        if len(data) <= LARGEST and total <= MOST:
            taken[name] = data
    lengths = array("I", map(len, taken.values()))
    names = "".join(taken)
    head = array("I", [len(taken), len(names) // (2 * max(len(taken), 1))])
    return b"".join([head.tobytes(), lengths.tobytes(), bytes.fromhex(names), *taken.values()])


def unpack(data: bytes) -> dict[str, bytes]:
    """Return what `pack` was given; nothing if these are other bytes."""
    if len(data) < 2 * _WIDTH:
        return {}
    count, width = array("I", data[: 2 * _WIDTH])
    names = (2 + count) * _WIDTH
    begin = names + count * width
    if begin > len(data):
        return {}
    ends = list(accumulate(array("I", data[2 * _WIDTH : names]), initial=begin))
    if ends[-1] != len(data):
        return {}
    texts = data[names:begin].hex()
    digits = [texts[at : at + 2 * width] for at in range(0, len(texts), 2 * width or 1)]
    return {name: data[ends[at] : ends[at + 1]] for at, name in enumerate(digits)}
