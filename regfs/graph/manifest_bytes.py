"""The bytes of manifests, folder by folder: read now, or read before and checked again.

What comes out of here had the digest it is asked for by, and lies in a blob that was listed. Where
bytes are kept (`content.kept_manifests`), only those of other manifests are asked for.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from regfs import layout
from regfs.digest import Digest
from regfs.errors import StoreError
from regfs.manifests.media_types import LIMIT
from regfs.tree.digests import Digests
from regfs.tree.inventory import Inventory
from regfs.tree.registry import Registry

_ALGORITHM: Final = 6
"""Letters in the name of every algorithm."""
_FOLDER: Final = _ALGORITHM + 3
"""Letters of a digest that say in which folder its blob lies."""


class ManifestBytes:
    """Reads manifests that were listed. May be used from several threads."""

    def __init__(self, registry: Registry, inventory: Inventory) -> None:
        self._store = registry.store
        self._kept = registry.kept
        self._known = inventory.known
        self._blobs = inventory.blobs

    def of(self, members: array[int]) -> Iterator[bytes | None]:
        """Yield the bytes of manifests of one folder; None of what is not what its digest says.

        They are given by the numbers of their digests.
        """
        wanted = list(map(self._known.__getitem__, members))
        if self._kept is None:
            yield from self._read(wanted)
            return
        folder = wanted[0][:_FOLDER]
        kept = self._kept.folder(folder)
        known = {}
        for digest, size, _, _ in self._blobs.files(self._blobs.rows_of(members)):
            content = kept.get(digest.encoded)
            if content is None or len(content) != size:
                continue
            if Digest.of(content, digest.algorithm) == digest:
                known[digest] = content
        read = self._read([digest for digest in wanted if digest not in known])
        added = {}
        for digest in wanted:
            content = known.get(digest)
            if content is None and (content := next(read)) is not None:
                added[digest.encoded] = content
            yield content
        if added:
            start = folder[: _ALGORITHM + 1]
            listed = {name: kept[name] for name in kept if start + name in self._blobs}
            self._kept.keep(folder, listed, added)

    def _read(self, wanted: list[Digest]) -> Iterator[bytes | None]:
        """Read manifests of one folder."""
        if not wanted:
            return
        folder = layout.parent_of(layout.blob_folder(wanted[0]))
        make = getattr(hashlib, wanted[0].algorithm)
        names = [digest[_ALGORITHM + 1 :] for digest in wanted]
        contents = self._store.contents(folder, names, "data", LIMIT + 1)
        for name, content in zip(names, contents, strict=True):
            if (
                isinstance(content, StoreError)
                or len(content) > LIMIT
                or make(content, usedforsecurity=False).hexdigest() != name
            ):
                yield None
            else:
                yield content


def by_folder(known: Digests, numbers: Iterable[int]) -> list[array[int]]:
    """Return digests by the folders that their blobs lie in; all are given by their numbers."""
    folders: dict[str, array[int]] = defaultdict(lambda: array("I"))
    for number in numbers:
        folders[known[number][:_FOLDER]].append(number)
    return list(folders.values())
