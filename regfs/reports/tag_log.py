"""What tags pointed to and when, newest first, by point reads alone.

    tag_log(registry, "app", "v1")
        2026-11-28  v1 -> sha256:4f0c..  current  whole       12 MB  +1 layer, 3 MB
        2026-11-20  v1 -> sha256:25b1..           incomplete  11 MB

`tags/<tag>/index` holds one link for each digest that a tag has pointed to, written anew each
time the tag is set to it: so the log knows the last time of each digest, not all of them. An
index entry is compared with the one before it in time by the layers of its images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from itertools import zip_longest
from typing import NamedTuple

from regfs import layout
from regfs.digest import Digest
from regfs.errors import ManifestUnknown, NameUnknown, RegfsError, StoreError
from regfs.findings import Finding
from regfs.manifests.media_types import Role
from regfs.stores import stat_or_none
from regfs.tree.inventory import INCOMPLETE
from regfs.tree.registry import Registry
from regfs.units import utc_time


class LayerSize(NamedTuple):
    """A layer, and its bytes by the manifest; -1 if it does not say."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One digest that a tag points to or has pointed to."""

    repository: str
    tag: str
    digest: str
    set_at: datetime
    """When the tag was last set to it."""
    current: bool
    state: str
    """`whole`; `partial`: an index, and the repository does not have each manifest that it lists;
    `incomplete`: content is missing; `gone`: the repository does not have the manifest;
    `unreadable`."""
    problem: str | None = None
    """What is missing first, or why it cannot be read."""
    kind: str | None = None
    size: int | None = None
    """Bytes of the manifest and of all it names, each digest once, by descriptors."""
    before: str | None = None
    """The digest that the tag pointed to before, with which the layers are compared."""
    added: tuple[LayerSize, ...] = ()
    removed: tuple[LayerSize, ...] = ()


@dataclass(frozen=True, slots=True)
class TagLog:
    """What tags pointed to, newest first."""

    entries: tuple[LogEntry, ...]


@dataclass(slots=True)
class _LoggedImage:
    """What a manifest and its children name."""

    state: str = "whole"
    problem: str | None = None
    kind: str | None = None
    sizes: dict[Digest, int] = field(default_factory=dict)
    """Bytes of the manifests and of all they name."""
    layers: dict[Digest, int] = field(default_factory=dict)

    def lacks(self, state: str, problem: str) -> None:
        """Note what is missing; the first counts, unless something worse follows."""
        if self.state == "whole" or (self.state == "partial" and state != "partial"):
            self.state, self.problem = state, problem


def tag_log(registry: Registry, name: str, tag: str | None = None) -> TagLog:
    """Return what a tag, or every tag of a repository, pointed to.

    Raises:
        NameUnknown: there is no such repository.
        ManifestUnknown: there is no such tag.
        StoreError: the tag cannot be read.
    """
    if tag is None:
        tags = list(registry.tags(name))
    elif not registry.exists(name):
        raise NameUnknown(f"no such repository: {name}")
    elif stat_or_none(registry.store, layout.tag_folder(name, tag)) is None:
        raise ManifestUnknown(f"no such tag: {name}:{tag}")
    else:
        tags = [tag]
    reader = _TagReader(registry, name)
    entries = [entry for one in tags for entry in reader.entries(one)]
    return TagLog(tuple(sorted(entries, key=lambda one: one.set_at, reverse=True)))


def history(registry: Registry, name: str, tag: str) -> list[tuple[Digest, float]]:
    """Return each digest that a tag has pointed to and when it was last set, newest first.

    Raises:
        StoreError: a part of it cannot be read.
    """
    unread: list[Finding] = []
    found = registry.link_times(partial(layout.tag_index_folder, name, tag), unread.append)
    for finding in unread:
        if finding.code in INCOMPLETE:
            raise StoreError(f"{finding.path}: {finding.message}")
    return sorted(found.items(), key=lambda one: (-one[1], one[0]))


class _TagReader:
    """Reads the tags of one repository; each manifest once."""

    def __init__(self, registry: Registry, name: str) -> None:
        self._registry = registry
        self._name = name
        self._images: dict[Digest, _LoggedImage] = {}

    def entries(self, tag: str) -> Iterator[LogEntry]:
        """Yield what a tag pointed to, newest first."""
        name, path = self._name, layout.path_of(layout.TagCurrent(self._name, tag))
        times = dict(history(self._registry, name, tag))
        link = self._registry.link(path)
        if link.digest is not None and link.digest not in times:
            times[link.digest] = self._registry.store.stat(path).mtime
        order = sorted(times, key=lambda one: (times[one], one == link.digest), reverse=True)
        for digest, before in zip_longest(order, order[1:]):
            image = self._image(digest)
            entry = LogEntry(
                name,
                tag,
                digest,
                utc_time(times[digest]),
                digest == link.digest,
                image.state,
                image.problem,
                image.kind,
                sum(image.sizes.values()) if image.sizes else None,
            )
            yield entry if before is None else self._compared(entry, image, before)

    def _compared(self, entry: LogEntry, image: _LoggedImage, before: Digest) -> LogEntry:
        earlier = self._image(before)
        if not (image.sizes and earlier.sizes):
            return replace(entry, before=before)
        new, old = image.layers, earlier.layers
        return replace(
            entry,
            before=before,
            added=tuple(LayerSize(one, size) for one, size in new.items() if one not in old),
            removed=tuple(LayerSize(one, size) for one, size in old.items() if one not in new),
        )

    def _image(self, digest: Digest) -> _LoggedImage:
        if digest not in self._images:
            self._images[digest] = self._read(digest)
        return self._images[digest]

    def _read(self, digest: Digest) -> _LoggedImage:
        found = _LoggedImage()
        pending, seen = [digest], {digest}
        while pending:  # not by recursion: indexes can be nested as deeply as anybody likes
            one = pending.pop()
            for child in self._add(found, one, is_first=one == digest):
                if child not in seen:
                    seen.add(child)
                    pending.append(child)
        return found

    def _add(self, found: _LoggedImage, digest: Digest, *, is_first: bool) -> Iterator[Digest]:
        """Add what a manifest names; yield the manifests that it lists."""
        registry, name = self._registry, self._name
        try:
            stored = registry.revision(name, digest)
            manifest = registry.manifest(stored)
            found.sizes[stored] = registry.blob(stored).size
        except ManifestUnknown:
            state = "gone" if is_first else "partial"
            found.lacks(state, f"{name} does not have manifest {digest}")
            return
        except RegfsError as error:
            found.lacks("unreadable" if is_first else "incomplete", str(error))
            return
        found.kind = manifest.kind.value if is_first else found.kind
        for one in manifest.references():
            if one.role is Role.MANIFEST:
                found.sizes.setdefault(one.digest, max(one.size, 0))
                yield one.digest
            elif one.role is not Role.SUBJECT:
                found.sizes[one.digest] = max(one.size, 0)
                if one.role is Role.LAYER:
                    found.layers[one.digest] = one.size
                if not one.elsewhere and not self._has(one.digest):
                    found.lacks("incomplete", f"{one.role} {one.digest} is missing")

    def _has(self, blob: Digest) -> bool:
        try:
            return self._registry.linked(layout.LayerLink(self._name, blob)) is not None
        except StoreError:
            return False
