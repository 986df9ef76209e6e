"""docker-registry 2.8 as what it does to the disk, step by step: requests that can be held up.

    site = Site(root, clock)
    request = site.put_manifest("app", "v1", content)     # a generator: each next() is one step
    for _ in request: ...                                 # Refused is what the client gets to see

The steps and their order are those of distribution: linkedBlobStatter.Stat, blobStore.Put,
blobWriter.moveBlob, blobStore.link, tagStore.Tag, and PutContent of the filesystem driver,
which opens a file at its place, truncates and writes it. It has no cache of descriptors.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.builder import TreeBuilder
from tests.support.images import Blob, Content
from tests.support.live import blobs_of

Request = Iterator[None]


class Refused(Exception):
    """An answer that is no success."""


class Site:
    """One registry on a tree; `clock` is what its host takes for the time."""

    def __init__(self, root: Path, clock: Callable[[], float]) -> None:
        self.tree = TreeBuilder(root)
        self.acknowledged: dict[tuple[str, str], Content] = {}
        """(repository, tag) -> what was put last, unless it was deleted since."""
        self._clock = clock
        self._uploads = 0
        self._deleted: list[tuple[str, str]] = []
        self._untagged: list[tuple[str, str]] = []

    # -- what a driver does -------------------------------------------------------

    def _put(self, path: Path, data: bytes) -> Request:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
        except FileNotFoundError as error:
            raise Refused(f"500: {error}") from error
        try:
            yield
            os.ftruncate(descriptor, 0)
            self._touch(descriptor)
            yield
            os.write(descriptor, data)
            self._touch(descriptor)
        finally:
            os.close(descriptor)

    def _touch(self, file: int | Path) -> None:
        os.utime(file, (self._clock(), self._clock()))

    def _is_linked(self, link: Path, digest: str) -> bool:
        """Return whether a link and what it names are there, as every look of the registry does."""
        text = self._read(link)
        return text == digest.encode() and self._exists(self.tree.blob_path(digest))

    def _exists(self, path: Path) -> bool:
        return path.exists()

    def _read(self, path: Path) -> bytes | None:
        """Return what is in a file; None if there is none."""
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None

    def _remove(self, path: Path) -> None:
        path.unlink()

    def _remove_tree(self, folder: Path) -> None:
        shutil.rmtree(folder)

    def _tags(self, name: str) -> list[str]:
        return self.tree.tags(name)

    # -- requests -----------------------------------------------------------------

    def has(self, name: str, digest: str) -> bool:
        """Answer a HEAD."""
        return self._is_linked(self.tree.layer_path(name, digest), digest)

    def upload(self, name: str, blob: Blob) -> Request:
        """Take a blob whose bytes have all arrived."""
        self._uploads += 1
        folder = self.tree.upload_path(name, f"00000000-0000-4000-8000-{self._uploads:012}")
        sent, place = folder / "data", self.tree.blob_path(blob.digest)
        folder.mkdir(parents=True)
        sent.write_bytes(blob.data)
        self._touch(sent)
        yield
        there = place.exists()
        yield
        if not there:
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                sent.rename(place)
            except FileNotFoundError as error:
                raise Refused(f"500: {error}") from error
        yield
        yield from self._put(self.tree.layer_path(name, blob.digest), blob.digest.encode())
        yield
        shutil.rmtree(folder, ignore_errors=True)

    def mount(self, source: str, target: str, digest: str) -> Request:
        """Link a blob of one repository into another."""
        if not self.has(source, digest):
            raise Refused("404")
        yield
        yield from self._put(self.tree.layer_path(target, digest), digest.encode())

    def put_manifest(self, name: str, reference: str, content: Content) -> Request:
        """Take a manifest, by tag or by its own digest."""
        tag = None if reference == content.digest else reference
        seen, untagged = len(self._deleted), len(self._untagged)
        if tag is not None:  # from here on the old or the new one may be there
            self.acknowledged.pop((name, tag), None)
        for blob in content.blobs:
            if not self.has(name, blob.digest):
                raise Refused(f"MANIFEST_BLOB_UNKNOWN {blob.digest}")
            yield
        for child in content.children:
            if not self._is_linked(self.tree.revision_path(name, child.digest), child.digest):
                raise Refused(f"MANIFEST_BLOB_UNKNOWN {child.digest}")
            yield
        place = self.tree.blob_path(content.digest)
        there = self._exists(place)
        yield
        if not there:
            yield from self._put(place, content.data)
        link = content.digest.encode()
        yield from self._put(self.tree.revision_path(name, content.digest), link)
        if tag is None:
            return
        yield
        yield from self._put(self.tree.tag_index_path(name, tag, content.digest), link)
        yield
        yield from self._put(self.tree.tag_path(name, tag), link)
        gone = {digest for where, digest in self._deleted[seen:] if where == name}
        self.acknowledged.pop((name, tag), None)  # another may have been put meanwhile
        # A tag that is deleted meanwhile takes with it what is written to a file still open.
        if gone.isdisjoint(blobs_of(content)) and (name, tag) not in self._untagged[untagged:]:
            self.acknowledged[name, tag] = content

    def delete(self, name: str, digest: str) -> Request:
        """Delete a manifest, and the tags that point to it."""
        link = self.tree.revision_path(name, digest)
        if not self._is_linked(link, digest):
            raise Refused("404")
        self._forget(name, digest)
        self._remove(link)
        yield
        for tag in self._tags(name):
            if self._read(self.tree.tag_path(name, tag)) == digest.encode():
                self._remove_tree(self.tree.tag_folder(name, tag))
                self._untagged.append((name, tag))
        self._forget(name, digest)

    def _forget(self, name: str, digest: str) -> None:
        self._deleted.append((name, digest))
        for key, content in list(self.acknowledged.items()):
            if key[0] == name and digest in blobs_of(content):
                del self.acknowledged[key]

    # -- what must be there -----------------------------------------------------------

    def assert_whole(self) -> None:
        """Be sure that everything acknowledged can be pulled, by its tag and byte for byte."""
        for (name, tag), content in self.acknowledged.items():
            current = self._read(self.tree.tag_path(name, tag))
            assert current == content.digest.encode(), (name, tag, current)
            self._assert_manifest(name, content)

    def _assert_manifest(self, name: str, content: Content) -> None:
        link = self.tree.revision_path(name, content.digest)
        assert self._is_linked(link, content.digest), link
        assert self._read(self.tree.blob_path(content.digest)) == content.data
        for blob in content.blobs:
            assert self.has(name, blob.digest), (name, blob.digest)
            assert self._read(self.tree.blob_path(blob.digest)) == blob.data
        for child in content.children:
            self._assert_manifest(name, child)


class Client:
    """Somebody who sends requests one after the other, as pushers do, and may be refused."""

    def __init__(self, requests: Iterator[Request]) -> None:
        self.done = False
        self.refused = False
        self._requests = requests
        self._under_way: Request | None = None

    @property
    def waits(self) -> bool:
        """Whether a request is under way."""
        return self._under_way is not None

    def step(self) -> None:
        """Let the registry do one step for it."""
        try:
            if self._under_way is None:
                self._under_way = next(self._requests)
            try:
                next(self._under_way)
            except StopIteration:
                self._under_way = None
        except StopIteration:
            self.done = True
        except Refused:
            self.done = self.refused = True
            self._under_way = None

    def finish_request(self) -> None:
        """Let what is under way come to its end: no request takes for ever."""
        while self._under_way is not None:
            self.step()


def push(site: Site, name: str, tag: str, content: Content) -> Iterator[Request]:
    """Push as clients do: what the registry says it has is not sent again."""
    for child in content.children:
        yield from push(site, name, child.digest, child)
    for blob in content.blobs:
        if not site.has(name, blob.digest):
            yield site.upload(name, blob)
    yield site.put_manifest(name, tag, content)


def mount_and_put(
    site: Site, source: str, target: str, tag: str, content: Content
) -> Iterator[Request]:
    """Mount the layers of an image from another repository, and push its manifest here."""
    for child in content.children:
        yield from mount_and_put(site, source, target, child.digest, child)
    for blob in content.blobs:
        yield site.mount(source, target, blob.digest)
    yield site.put_manifest(target, tag, content)
