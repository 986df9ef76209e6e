"""Reading manifests: each is hashed, and its references are taken; in two processes when many.

    plain images    come as columns, their blobs as numbers of the inventory
    all others      one by one, to be looked at with care

No manifest is believed unread: what comes out of here had the digest it is named by
(`graph.manifest_bytes`).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from itertools import compress
from operator import not_
from sys import intern
from typing import TYPE_CHECKING, Final, NamedTuple

from regfs import layout
from regfs.digest import Digest
from regfs.errors import DescriptorInvalid, ManifestInvalid, PathMissing, StoreError
from regfs.findings import Code, Finding
from regfs.graph.manifest_bytes import ManifestBytes, by_folder
from regfs.graph.manifests import Images
from regfs.manifests.media_types import BASES, LIMIT, Kind
from regfs.manifests.skim import Skimmed, skim
from regfs.parallel import adaptive_map, map_in_two_processes
from regfs.progress import Progress
from regfs.stores import Capability, Store
from regfs.tree.digests import DigestSet
from regfs.tree.inventory import Inventory
from regfs.tree.registry import Registry

if TYPE_CHECKING:
    from regfs.manifests import Manifest

_COLD: Final = 1e-3
"""Seconds of waiting for one manifest above which the disk is taken for cold.

Where each is a request, those of one folder are asked for at once, and any waiting is for them.
"""

MANY: Final = 1000
"""Manifests that a second process is worth its start for."""

_Image = tuple[int, str, str | None, int, int, bool]
"""An image: its place among those of its folder, media and artifact type, bytes, blobs, and
whether it names its base."""
_Packed = tuple[list[_Image], bytes, bytes, list[tuple[int, bytes | None]]]
"""What came of one folder: its images, their blobs and the lengths of these; and all others,
with the bytes of those that are what their digest says."""


class Reading(NamedTuple):
    """What came of reading one manifest."""

    digest: Digest
    data: bytes
    manifest: Manifest | Skimmed | None
    problem: Finding | None


class Reader:
    """Reads manifests, level by level."""

    def __init__(
        self, registry: Registry, inventory: Inventory, special: DigestSet, progress: Progress
    ) -> None:
        """An image that names any `special` blob is none of the plain ones."""
        self._store = registry.store
        self._fetch = registry.fetch
        self._contents = ManifestBytes(registry, inventory)
        self._known = inventory.known
        self._blobs = inventory.blobs
        self._special = special
        self._progress = progress

    def read(self, numbers: Iterable[int]) -> Iterator[Images | Reading]:
        """Yield what comes of manifests: folder by folder, then of those that are not listed.

        Manifests are given by the numbers of their digests.
        """
        every = list(numbers)
        is_listed = [self._blobs.row_of(number) is not None for number in every]
        wanted = by_folder(self._known, compress(every, is_listed))
        for here, packed in zip(wanted, self._packed(wanted), strict=True):
            yield from self._unpacked(here, packed)
        # The listing has not seen these as plain files, so the store has to look what they are.
        for number in compress(every, map(not_, is_listed)):
            yield read_manifest(self._store, self._known[number])
            self._progress.advance(1)

    def _packed(self, wanted: list[array[int]]) -> Iterator[_Packed]:
        """Read folder by folder: here, in another process too, or elsewhere."""
        if self._fetch is not None:
            for members, contents in zip(
                wanted, self._contents.each(wanted, self._fetch), strict=True
            ):
                yield self._folder(contents)
                self._progress.advance(len(members))
            return

        def read(item: int) -> _Packed:
            return self._folder(self._contents.of(wanted[item]))

        cold = 0.0 if Capability.REQUESTS in self._store.capabilities else _COLD

        def is_slow(waited: float, packed: _Packed) -> bool:
            return waited > cold * (len(packed[0]) + len(packed[3]))

        def work(items: Iterator[int]) -> Iterator[_Packed]:
            return adaptive_map(read, items, is_slow)

        def advance(items: Iterable[int]) -> None:
            self._progress.advance(sum(len(wanted[item]) for item in items))

        many = sum(map(len, wanted)) >= MANY
        yield from map_in_two_processes(work, len(wanted), fork=many, advance=advance)

    def read_one(self, number: int) -> Reading:
        """Read one blob that was listed, and may be a manifest."""
        (content,) = self._contents.of(array("I", [number]))
        digest = self._known[number]
        return (
            read_manifest(self._store, digest) if content is None else _understood(digest, content)
        )

    def _folder(self, contents: Iterable[bytes | None]) -> _Packed:
        """Take what lies in one folder, in this process or in another one."""
        images: list[_Image] = []
        numbers = array("I")
        lengths: list[int] = []
        others: list[tuple[int, bytes | None]] = []
        for place, content in enumerate(contents):
            if content is None:
                others.append((place, None))
                continue
            found = skim(content)
            row = None if found is None else self._blobs_of(found)
            if found is None or row is None:
                others.append((place, content))
                continue
            based = not BASES.isdisjoint(found.annotations)
            kinds = intern(found.media_type), found.artifact_type
            images.append((place, *kinds, len(content), len(row), based))
            numbers += row
            lengths += found.sizes
        return images, numbers.tobytes(), array("q", lengths).tobytes(), others

    def _blobs_of(self, found: Skimmed) -> array[int] | None:
        """Return the blobs of a plain image, the usual case; None when it is not so plain."""
        if found.kind is not Kind.IMAGE or (
            found.noted and any(map(self._blobs.__contains__, found.noted))
        ):
            return None
        numbers = self._known.find_all(found.digests)
        if numbers is None or not self._blobs.has_all(numbers) or self._special.has_any(numbers):
            return None  # one that is not there, or is not only a blob
        return numbers

    def _unpacked(self, wanted: array[int], packed: _Packed) -> Iterator[Images | Reading]:
        images, numbers, lengths, others = packed
        if images:
            places, kinds, artifact_types, sizes, counts, based = zip(*images, strict=True)
            manifests = [wanted[place] for place in places]
            columns = (array("I", numbers), array("q", lengths), compress(manifests, based))
            yield Images(manifests, kinds, artifact_types, sizes, counts, *columns)
        for place, content in others:
            digest = self._known[wanted[place]]
            if content is None:
                yield read_manifest(self._store, digest)
            else:
                yield _understood(digest, content)


def read_manifest(store: Store, digest: Digest) -> Reading:
    """Read, check and parse one manifest."""
    try:
        content = store.read(layout.blob_path(digest), LIMIT + 1)
    except PathMissing:
        return _broken(digest, b"", Code.BLOB_MISSING, None)
    except StoreError as error:
        return _broken(digest, b"", Code.BLOB_UNREADABLE, str(error))
    if len(content) > LIMIT:
        limit = f"at most {LIMIT} bytes"
        return _broken(digest, b"", Code.MANIFEST_TOO_LARGE, "more", expected=limit)
    found = Digest.of(content, digest.algorithm)
    if found != digest:
        return _broken(digest, content, Code.BLOB_CORRUPT, found, expected=digest)
    return _understood(digest, content)


def _understood(digest: Digest, content: bytes) -> Reading:
    """Return what a manifest says; its bytes are what its digest names."""
    found: Manifest | Skimmed | None = skim(content)
    if found is not None:
        return Reading(digest, content, found, None)
    from regfs.manifests import parse  # the models, which most trees do without

    try:
        return Reading(digest, content, parse(content), None)
    except DescriptorInvalid as error:
        return _broken(digest, content, Code.DESCRIPTOR_INVALID, str(error))
    except ManifestInvalid as error:
        return _broken(digest, content, Code.MANIFEST_UNREADABLE, str(error))


def _broken(
    digest: Digest, content: bytes, code: Code, actual: str | None, expected: str | None = None
) -> Reading:
    path = layout.blob_path(digest)
    problem = Finding(code, path, digest, expected=expected, actual=actual)
    return Reading(digest, content, None, problem)
