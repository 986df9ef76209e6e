"""Where blobs and links go: in the layout of a registry, and in an OCI image layout.

    TreeFormat     docker/registry/v2/blobs/..., then links, then tags
    LayoutFormat   oci-layout, blobs/<algorithm>/<hex>, then index.json
                   NAME:TAG, and NAME@DIGEST of a manifest without a tag, stand in it as
                   org.opencontainers.image.ref.name

An OCI layout has no links of layers, no times and no history of tags. Names in it are whole, so
that one layout holds many repositories; skopeo and others take them as `oci:FOLDER:NAME:TAG`.

A manifest keeps its media type: another one would be another digest. One of Docker's is in a layout
as such, which the specification leaves to its readers. Older skopeo passes over such an entry when
it looks for a name, and takes it where it is the only one (`oci:FOLDER`); so it is told of.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, Protocol

from regfs import layout
from regfs.digest import Digest
from regfs.errors import StoreError, quoted
from regfs.exchange.copying import CopyItem
from regfs.exchange.media import Medium, put
from regfs.exchange.selection import RepositoryPart, Wanted
from regfs.graph import Graph
from regfs.stores import Store, ignore, stat_or_none
from regfs.tree.inventory import Inventory
from regfs.tree.oci.names import OWN, looks_like_host
from regfs.tree.scan import scan

REF_NAME: Final = "org.opencontainers.image.ref.name"
INDEX: Final = "index.json"
_LAYOUT: Final = "oci-layout"
_VERSION: Final = b'{"imageLayoutVersion":"1.0.0"}'
_INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"
_UNKNOWN: Final = "application/octet-stream"
_DOCKER: Final = "application/vnd.docker."
_INDEX_LIMIT: Final = 256 << 20
"""Bytes of an index.json that is read again."""


class LinkCount(NamedTuple):
    """What was written that refers to blobs."""

    tags: int
    manifests: int
    layer_links: int
    docker: tuple[str, ...] = ()
    """Names in an OCI layout, among others, that lead to manifests of Docker's media types."""


class CopyFormat(Protocol):
    """A layout that blobs and what refers to them are written in."""

    def items(self, selection: Wanted, graph: Graph) -> Iterator[CopyItem]:
        """Yield where each blob goes."""

    def size_of(self, item: CopyItem) -> int | None:
        """Return the bytes of what is at the place of a blob already; None if nothing is."""

    def moved(self, selection: Wanted) -> list[str]:
        """Return the tags that are there already and point elsewhere."""

    def write_links(self, selection: Wanted, there: Iterable[Digest], graph: Graph) -> LinkCount:
        """Write what refers to the blobs that are there, after these."""


class TreeFormat:
    """The layout of a registry."""

    def __init__(self, medium: Medium) -> None:
        """What the medium has already is listed now."""
        self._medium = medium
        self._present = Inventory(medium.url, 0.0)
        if medium.store is not None and stat_or_none(medium.store, layout.PREFIX) is not None:
            self._present = scan(medium.store)

    def items(self, selection: Wanted, graph: Graph) -> Iterator[CopyItem]:
        """Yield each blob with its path."""
        for digest, size in selection.blobs.items():
            yield CopyItem(digest, digest, size, layout.blob_path(digest))

    def size_of(self, item: CopyItem) -> int | None:
        """Return the bytes of a blob that is there."""
        info = self._present.blobs.get(item.digest)
        return None if info is None else info.size

    def moved(self, selection: Wanted) -> list[str]:
        """Return the tags that point elsewhere."""
        found = []
        for part in selection.parts:
            here = self._present.repositories.get(part.name)
            for tag, info in part.tags.items() if here else ():
                there = here.tags.get(tag) if here else None
                if there is not None and there.current not in (None, info.current):
                    found.append(f"{part.name}:{tag}")
        return found

    def write_links(self, selection: Wanted, there: Iterable[Digest], graph: Graph) -> LinkCount:
        """Write links of layers and manifests, then the history of tags, then tags.

        Where there is nothing to write and nothing is there, an empty registry will be.
        """
        known = set(there)
        if not (known or self._present.blobs or self._present.repositories):
            for folder in (layout.BLOBS, layout.REPOSITORIES):
                self._medium.folder(folder)
        tags = manifests = layers = 0
        for part in selection.parts:
            for layer, linked in part.layers.items():
                if linked.stored in known:
                    layers += 1
                    self._write(layout.LayerLink(part.name, layer), linked.stored, linked.mtime)
            for revision, linked in part.revisions.items():
                if linked.stored in known:
                    manifests += 1
                    key = layout.RevisionLink(part.name, revision)
                    self._write(key, linked.stored, linked.mtime)
        self._medium.barrier()
        pointing = [(part, self._whole_tags(part, known)) for part in selection.parts]
        for part, names in pointing:
            for tag in names:
                for entry in part.tags[tag].history:
                    if _leads(part, entry.digest, known):
                        former = layout.TagIndex(part.name, tag, entry.digest)
                        self._write(former, entry.digest, entry.mtime)
        self._medium.barrier()
        for part, names in pointing:
            for tag in names:
                info = part.tags[tag]
                if info.current is not None:
                    tags += 1
                    self._write(layout.TagCurrent(part.name, tag), info.current, info.mtime)
        return LinkCount(tags, manifests, layers)

    def _whole_tags(self, part: RepositoryPart, known: set[Digest]) -> list[str]:
        return [
            tag
            for tag, info in part.tags.items()
            if info.current is not None and _leads(part, info.current, known)
        ]

    def _write(self, key: layout.Key, digest: Digest, mtime: float) -> None:
        if not self._has(key, digest):
            put(self._medium, layout.path_of(key), digest.encode("ascii"), mtime)

    def _has(self, key: layout.Key, digest: Digest) -> bool:
        """Return whether a link is there already, and says the same."""
        match key:
            case layout.LayerLink(name, layer):
                here = self._present.repositories.get(name)
                info = None if here is None else here.layers.get(layer)
                return info is not None and info.size == len(digest)
            case layout.RevisionLink(name, revision):
                here = self._present.repositories.get(name)
                if here is None or revision not in here.revisions:
                    return False
                link = here.links.get(revision)
                return digest == (revision if link is None else link.digest)
            case layout.TagIndex(name, tag, _):
                here = self._present.repositories.get(name)
                there = None if here is None else here.tags.get(tag)
                sizes = () if there is None else there.history
                return any(e.digest == digest and e.size == len(digest) for e in sizes)
            case layout.TagCurrent(name, tag):
                here = self._present.repositories.get(name)
                there = None if here is None else here.tags.get(tag)
                return there is not None and (there.current, there.problem) == (digest, None)
        return False


def _leads(part: RepositoryPart, digest: Digest, known: set[Digest]) -> bool:
    """Return whether what a tag names is there, under this digest or as an alias."""
    linked = part.revisions.get(digest)
    return digest in known or (linked is not None and linked.stored in known)


class LayoutFormat:
    """An OCI image layout."""

    def __init__(self, medium: Medium) -> None:
        """What the medium has already is listed now."""
        self._medium = medium
        self._sizes: dict[str, int] = {}
        self._entries: dict[str, dict[str, Any]] = {}
        if medium.store is not None:
            self._list(medium.store)

    def _list(self, store: Store) -> None:
        for folder in store.list("blobs", ignore):
            self._sizes |= {one.path: one.size for one in store.list(folder.path, ignore)}
        if stat_or_none(store, INDEX) is None:
            return
        try:
            index = json.loads(store.read(INDEX, _INDEX_LIMIT))
            for entry in index["manifests"]:
                self._entries[str(entry["annotations"][REF_NAME])] = entry
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            where = f"{self._medium.url}: {INDEX}"
            raise StoreError(f"{where}: not as an export leaves it: {quoted(str(error))}") from None

    def items(self, selection: Wanted, graph: Graph) -> Iterator[CopyItem]:
        """Yield each blob with its path, an alias as well: here only the path tells what it is."""
        for digest, size in selection.blobs.items():
            yield CopyItem(digest, digest, size, _blob(digest))
        for alias, targets in graph.aliases.items():
            for stored in targets:
                if stored in selection.blobs and alias != stored:
                    yield CopyItem(alias, stored, selection.blobs[stored], _blob(alias))

    def size_of(self, item: CopyItem) -> int | None:
        """Return the bytes of a blob that is there."""
        return self._sizes.get(item.target)

    def moved(self, selection: Wanted) -> list[str]:
        """Return the tags that point elsewhere."""
        return [
            f"{part.name}:{tag}"
            for part in selection.parts
            for tag, info in part.tags.items()
            if self._entries.get(f"{part.name}:{tag}", {}).get("digest", info.current)
            != info.current
        ]

    def write_links(self, selection: Wanted, there: Iterable[Digest], graph: Graph) -> LinkCount:
        """Write the index, and say that this is a layout."""
        known = set(there)
        tags = manifests = 0
        put(self._medium, _LAYOUT, _VERSION)
        for part in selection.parts:
            for tag, info in part.tags.items():
                if info.current is not None and _leads(part, info.current, known):
                    tags += 1
                    self._add(part.name, f":{tag}", info.current, selection, graph)
            for digest in _tops(part, graph):
                if _leads(part, digest, known):
                    manifests += 1
                    self._add(part.name, f"@{digest}", digest, selection, graph)
        entries = [self._entries[name] for name in sorted(self._entries)]
        index = {"schemaVersion": 2, "mediaType": _INDEX_TYPE, "manifests": entries}
        put(self._medium, INDEX, json.dumps(index, indent=1).encode())
        docker = sorted(name for name, one in self._entries.items() if _is_docker(one))
        return LinkCount(tags, manifests, 0, tuple(docker if len(entries) > 1 else ()))

    def _add(
        self, repository: str, which: str, digest: Digest, selection: Wanted, graph: Graph
    ) -> None:
        name = repository + which
        notes = {REF_NAME: name}
        if looks_like_host(repository):
            notes[OWN] = repository
        stored = next((one for one in graph.named_as(digest) if one in selection.blobs), digest)
        info = graph.manifests.get(stored)
        self._entries[name] = {
            "mediaType": info.media_type if info is not None and info.media_type else _UNKNOWN,
            "digest": digest,
            "size": selection.blobs[stored],
            "annotations": notes,
        }


def _is_docker(entry: Mapping[str, Any]) -> bool:
    return str(entry.get("mediaType", "")).startswith(_DOCKER)


def _blob(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.encoded}"


def _tops(part: RepositoryPart, graph: Graph) -> Iterator[Digest]:
    """Yield the manifests of a repository that no tag points to and none of its indexes lists."""
    named = {info.current for info in part.tags.values()}
    for linked in part.revisions.values():
        named.update(graph.children(linked.stored))
    for digest, linked in part.revisions.items():
        if named.isdisjoint((digest, linked.stored)):
            yield digest
