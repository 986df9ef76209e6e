"""The bytes of manifests, folder by folder: read now, or read before and checked again.

What comes out of here had the digest it is asked for by, and lies in a blob that was listed. Where
bytes are kept (`content.kept_manifests`), only those of other manifests are asked for.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from regfs import layout
from regfs.digest import Digest
from regfs.errors import StoreError
from regfs.manifests.media_types import LIMIT
from regfs.tree.digests import Digests
from regfs.tree.inventory import Inventory
from regfs.tree.registry import Fetch, Registry

_ALGORITHM: Final = 6
"""Letters in the name of every algorithm."""
_FOLDER: Final = _ALGORITHM + 3
"""Letters of a digest that say in which folder its blob lies."""


class _FoundKept(NamedTuple):
    """What is kept of the manifests of one folder."""

    wanted: list[Digest]
    kept: Mapping[str, bytes]
    """All that is kept of the folder, unchecked."""
    known: Mapping[Digest, bytes]
    """What of it is wanted, listed and right."""
    lacking: list[Digest]
    """The others that are wanted."""


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
        found = self._find_kept(members)
        return self._merged(found, self._read(found.lacking))

    def each(self, folders: Iterable[array[int]], fetch: Fetch) -> Iterator[Iterator[bytes | None]]:
        """Yield the same for each folder; what is not kept is fetched, a few folders ahead."""
        pending: deque[_FoundKept] = deque()

        def lacking() -> Iterator[list[Digest]]:
            for members in folders:
                pending.append(self._find_kept(members))
                yield pending[-1].lacking

        for fetched in fetch(lacking()):
            found = pending.popleft()
            yield self._merged(found, _right(found.lacking, fetched))

    def _find_kept(self, members: array[int]) -> _FoundKept:
        wanted = list(map(self._known.__getitem__, members))
        known: dict[Digest, bytes] = {}
        if self._kept is None:
            return _FoundKept(wanted, {}, known, wanted)
        kept = self._kept.folder(wanted[0][:_FOLDER])
        for digest, size, _, _ in self._blobs.files(self._blobs.rows_of(members)):
            content = kept.get(digest.encoded)
            if content is None or len(content) != size:
                continue
            if Digest.of(content, digest.algorithm) == digest:
                known[digest] = content
        lacking = [digest for digest in wanted if digest not in known]
        return _FoundKept(wanted, kept, known, lacking)

    def _merged(self, found: _FoundKept, read: Iterator[bytes | None]) -> Iterator[bytes | None]:
        """Yield what is kept and what is read, in order; keep what is new."""
        added = {}
        for digest in found.wanted:
            content = found.known.get(digest)
            if content is None and (content := next(read)) is not None and self._kept is not None:
                added[digest.encoded] = content
            yield content
        if added and self._kept is not None:
            folder = found.wanted[0][:_FOLDER]
            start = folder[: _ALGORITHM + 1]
            listed = [name for name in found.kept if start + name in self._blobs]
            self._kept.keep(folder, {name: found.kept[name] for name in listed}, added)

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


def _right(wanted: Iterable[Digest], fetched: Mapping[str, bytes]) -> Iterator[bytes | None]:
    """Yield what was fetched of manifests; None of what was not, or has another digest."""
    for digest in wanted:
        content = fetched.get(digest.encoded)
        right = content is not None and Digest.of(content, digest.algorithm) == digest
        yield content if right else None


def by_folder(known: Digests, numbers: Iterable[int]) -> list[array[int]]:
    """Return digests by the folders that their blobs lie in; all are given by their numbers."""
    folders: dict[str, array[int]] = defaultdict(lambda: array("I"))
    for number in numbers:
        folders[known[number][:_FOLDER]].append(number)
    return list(folders.values())
