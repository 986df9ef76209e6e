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
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import zip_longest

from regfs import layout
from regfs.digest import Digest
from regfs.errors import ManifestUnknown, NameUnknown
from regfs.reports.image_parts import ImageParts, image_parts
from regfs.stores import stat_or_none
from regfs.tree.registry import Registry
from regfs.units import utc_time


@dataclass(frozen=True, slots=True)
class LayerSize:
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


class _TagReader:
    """Reads the tags of one repository; each manifest once."""

    def __init__(self, registry: Registry, name: str) -> None:
        self._registry = registry
        self._name = name
        self._images: dict[Digest, ImageParts] = {}

    def entries(self, tag: str) -> Iterator[LogEntry]:
        """Yield what a tag pointed to, newest first."""
        name, path = self._name, layout.path_of(layout.TagCurrent(self._name, tag))
        times = dict(self._registry.history(name, tag))
        current = self._registry.link(path).digest
        order = list(times)
        for digest, before in zip_longest(order, order[1:]):
            image = self._image(digest)
            entry = LogEntry(
                name,
                tag,
                digest,
                utc_time(times[digest]),
                digest == current,
                image.state,
                image.problem,
                image.kind,
                sum(image.sizes.values()) if image.sizes else None,
            )
            yield entry if before is None else self._compared(entry, image, before)

    def _compared(self, entry: LogEntry, image: ImageParts, before: Digest) -> LogEntry:
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

    def _image(self, digest: Digest) -> ImageParts:
        if digest not in self._images:
            self._images[digest] = image_parts(self._registry, self._name, digest)
        return self._images[digest]
