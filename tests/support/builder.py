"""A registry tree written by hand, byte for byte as a registry would: the oracle of the format.

Nothing of regfs is used here, so a mistake in regfs cannot hide itself; that the
trees are true is proven in test_builder.py, where a real registry serves them.
What is pushed is made in tests/support/images.py and can be imported from here; how
trees are damaged is in tests/support/damage.py.

    tree = TreeBuilder(tmp_path)                       # everything is two days old
    base = layer({"etc/hello": b"x"})
    tree.push("app", "v1", image([base]))
    tree.push("app", "multi", index(image([base]), image(["other"], platform="linux/arm64")))
    tree.push("app", "v1", image([base, "more"]))      # the first v1 is an untagged revision now
    tree.upload("app", 100)
    tree.break_("blob-flipped", "app", "v1")
    with tree.at_age(0):
        tree.push("app", "young", image(["young"]))
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.images import (
    ATTESTATION,
    CACHE_CONFIG,
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    DOCKER_SCHEMA1,
    IN_TOTO,
    OCI_ARTIFACT,
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Blob,
    Content,
    Document,
    Layer,
    artifact,
    attestation,
    blob_of,
    buildkit,
    cache_index,
    digest_of,
    dumps,
    image,
    index,
    layer,
    oci_artifact,
    raw,
    schema1,
    tar,
)

__all__ = [
    "ATTESTATION",
    "CACHE_CONFIG",
    "DOCKER_CONFIG",
    "DOCKER_LAYER",
    "DOCKER_LIST",
    "DOCKER_MANIFEST",
    "DOCKER_SCHEMA1",
    "IN_TOTO",
    "OCI_ARTIFACT",
    "OCI_CONFIG",
    "OCI_EMPTY",
    "OCI_INDEX",
    "OCI_LAYER",
    "OCI_MANIFEST",
    "TreeBuilder",
    "Blob",
    "Content",
    "Document",
    "Layer",
    "artifact",
    "attestation",
    "blob_of",
    "buildkit",
    "cache_index",
    "digest_of",
    "dumps",
    "image",
    "index",
    "layer",
    "oci_artifact",
    "raw",
    "schema1",
    "tar",
]


class TreeBuilder:
    """A registry's root folder, and the ways to change it as a registry would."""

    def __init__(self, root: Path, age: float = 172_800) -> None:
        """Begin a tree in `root`, where everything written is `age` seconds old."""
        self.root = root
        self.v2 = root / "docker/registry/v2"
        self._age = age
        self._uploads = 0
        for part in ("blobs", "repositories"):  # as any push leaves them
            self.folder(self.v2 / part)

    # Where things are

    def blob_path(self, digest: str) -> Path:
        """Return the folder of a blob's `data`, and `data`."""
        algorithm, _, encoded = digest.partition(":")
        return self.v2 / "blobs" / algorithm / encoded[:2] / encoded / "data"

    def repository_path(self, name: str) -> Path:
        return self.v2 / "repositories" / name

    def layer_path(self, name: str, digest: str) -> Path:
        return self.repository_path(name) / "_layers" / digest.replace(":", "/") / "link"

    def revision_path(self, name: str, digest: str) -> Path:
        folder = self.repository_path(name) / "_manifests/revisions"
        return folder / digest.replace(":", "/") / "link"

    def tag_folder(self, name: str, tag: str) -> Path:
        return self.repository_path(name) / "_manifests/tags" / tag

    def tag_path(self, name: str, tag: str) -> Path:
        return self.tag_folder(name, tag) / "current/link"

    def tag_index_path(self, name: str, tag: str, digest: str) -> Path:
        return self.tag_folder(name, tag) / "index" / digest.replace(":", "/") / "link"

    def upload_path(self, name: str, upload: str) -> Path:
        return self.repository_path(name) / "_uploads" / upload

    def relative(self, path: Path) -> str:
        """Return a path as regfs names it: relative to the root."""
        return path.relative_to(self.root).as_posix()

    # Writing

    def write(self, path: Path, data: bytes | str) -> Path:
        """Write a file of the tree, and give it and the folders above it their age."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        self._touch(path)
        return path

    def folder(self, path: Path) -> Path:
        """Make a folder of the tree."""
        path.mkdir(parents=True, exist_ok=True)
        self._touch(path)
        return path

    def _touch(self, path: Path) -> None:
        while path != self.root:
            if os.path.lexists(path):
                self.set_age(path, self._age)
            path = path.parent

    @contextmanager
    def at_age(self, seconds: float) -> Iterator[None]:
        """Write everything in the block as if so long ago; negative is in the future."""
        before, self._age = self._age, seconds
        try:
            yield
        finally:
            self._age = before

    def set_age(self, path: Path, seconds: float) -> None:
        """Set how long ago a file or folder was modified."""
        then = time.time() - seconds
        os.utime(path, (then, then), follow_symlinks=False)

    def age(self, seconds: float) -> None:
        """Set how long ago everything was modified."""
        for path in self._walk(self.root):
            self.set_age(path, seconds)

    def blob(self, data: bytes) -> str:
        """Store a blob that nothing links to; one that is there is left alone, as registries do."""
        digest = digest_of(data)
        path = self.blob_path(digest)
        if not path.exists():
            self.write(path, data)
        return digest

    def layer_link(self, name: str, digest: str, target: str | None = None) -> Path:
        """Link a blob into a repository; with `target` the link names another digest."""
        return self.write(self.layer_path(name, digest), target or digest)

    def revision(self, name: str, digest: str) -> Path:
        """Link a manifest into a repository."""
        return self.write(self.revision_path(name, digest), digest)

    def tag(self, name: str, tag: str, digest: str) -> Path:
        """Point a tag at a manifest; its history grows by one."""
        self.write(self.tag_index_path(name, tag, digest), digest)
        return self.write(self.tag_path(name, tag), digest)

    def add_blob(self, name: str, content: Layer) -> str:
        """Push a blob into a repository, as a client does before the manifest."""
        blob = blob_of(content)
        digest = self.blob(blob.data)
        self.folder(self.repository_path(name) / "_uploads")
        self.layer_link(name, digest)
        if blob.digest != digest:
            self.layer_link(name, blob.digest, digest)
        return digest

    def push(self, name: str, tag: str | None, content: Content | None = None) -> str:
        """Push a manifest with all that belongs to it; by digest only when `tag` is None."""
        content = image() if content is None else content
        for child in content.children:
            self.push(name, None, child)
        for blob in content.blobs:
            if blob.stored:
                self.add_blob(name, blob)
        digest = self.blob(content.data)
        self.revision(name, digest)
        if tag is not None:
            self.tag(name, tag, digest)
        return digest

    def fallback(self, name: str, subject: str, *referrers: Content) -> str:
        """Push referrers, and the tag that stands in for the referrers API."""
        return self.push(name, subject.replace(":", "-"), index(*referrers))

    def mount(self, source: str, target: str, digest: str) -> Path:
        """Link a blob of one repository into another, as `POST ...?mount=` does."""
        assert self.layer_path(source, digest).exists(), "mounted from where it is not"
        return self.layer_link(target, digest)

    def upload(
        self,
        name: str,
        data: int | bytes = 0,
        *,
        started_at: str | None = None,
        upload: str | None = None,
        hash_state: bool = False,
    ) -> str:
        """Leave an upload unfinished (a number is so many bytes); return its id."""
        self._uploads += 1
        upload = upload or str(uuid.UUID(int=self._uploads << 64, version=4))
        if started_at is None:
            then = time.gmtime(time.time() - self._age)
            started_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", then)
        folder = self.upload_path(name, upload)
        content = data if isinstance(data, bytes) else b"u" * data
        if hash_state:
            state = b"sha\x03" + bytes(104)
            self.write(folder / f"hashstates/sha256/{len(content)}", state)
        self.write(folder / "startedat", started_at)
        self.write(folder / "data", content)
        return upload

    # Deleting, as a registry does

    def untag(self, name: str, tag: str) -> None:
        """Remove a tag with its history."""
        shutil.rmtree(self.tag_folder(name, tag))
        self._touch(self.tag_folder(name, tag).parent)

    def delete_revision(self, name: str, digest: str) -> None:
        """Remove a revision's link and nothing else: its folder stays, so do its tags."""
        self.revision_path(name, digest).unlink()
        self._touch(self.revision_path(name, digest).parent)

    def delete_manifest(self, name: str, digest: str) -> None:
        """Remove a manifest as `DELETE /v2/<name>/manifests/<digest>`: its link, then its tags."""
        self.delete_revision(name, digest)
        for tag in [tag for tag in self.tags(name) if self.current(name, tag) == digest]:
            self.untag(name, tag)

    def delete_layer_link(self, name: str, digest: str) -> None:
        """Remove a layer link as `DELETE /v2/<name>/blobs/<digest>`: its folder stays."""
        self.layer_path(name, digest).unlink()
        self._touch(self.layer_path(name, digest).parent)

    def delete_blob(self, digest: str) -> None:
        """Remove a blob's folder, as the registry's garbage collector does."""
        shutil.rmtree(self.blob_path(digest).parent)
        self._touch(self.blob_path(digest).parent.parent)

    def break_(self, kind: str, name: str, tag: str, digest: str | None = None) -> str:
        """Damage an image in one way of `tests.support.damage.DAMAGE`; return the damaged path."""
        from tests.support.damage import DAMAGE, Victim  # it needs this module

        path = DAMAGE[kind](Victim(self, name, tag, digest))
        self._touch(path)
        return self.relative(path)

    # Looking

    def tags(self, name: str) -> list[str]:
        folder = self.repository_path(name) / "_manifests/tags"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    def current(self, name: str, tag: str) -> str:
        """Return the digest a tag points to."""
        return self.tag_path(name, tag).read_text()

    def document(self, digest: str) -> Document:
        """Return a stored manifest."""
        return dict(json.loads(self.blob_path(digest).read_bytes()))

    def blobs(self) -> set[str]:
        """Return the digest of every blob folder that has data."""
        found = (self.v2 / "blobs").glob("*/*/*/data")
        return {f"{path.parts[-4]}:{path.parts[-2]}" for path in found}

    def _walk(self, top: Path) -> Iterator[Path]:
        for folder, names, files in os.walk(top, topdown=False):
            yield from (Path(folder, name) for name in (*files, *names))

    def files(self, below: str = "docker") -> dict[str, str]:
        """Return every path that is no folder with its sha256, link target or kind."""
        found = {}
        for path in self._walk(self.root / below):
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                found[self.relative(path)] = f"-> {path.readlink()}"
            elif stat.S_ISREG(mode):
                with path.open("rb") as file:
                    found[self.relative(path)] = hashlib.file_digest(file, "sha256").hexdigest()
            elif not stat.S_ISDIR(mode):
                found[self.relative(path)] = "special"
        return found

    def folders(self, below: str = "docker") -> set[str]:
        """Return every folder."""
        paths = self._walk(self.root / below)
        return {self.relative(path) for path in paths if stat.S_ISDIR(path.lstat().st_mode)}

    def _inodes(self, below: str) -> list[os.stat_result]:
        states = (path.lstat() for path in self._walk(self.root / below))
        files = {(found.st_dev, found.st_ino): found for found in states}
        return [found for found in files.values() if stat.S_ISREG(found.st_mode)]

    def size_on_disk(self, below: str = "docker") -> int:
        """Return the bytes in all regular files, each inode once."""
        return sum(found.st_size for found in self._inodes(below))

    def allocated(self, below: str = "docker") -> int:
        """Return the bytes of disk blocks of all regular files, each inode once."""
        return sum(found.st_blocks * 512 for found in self._inodes(below))
