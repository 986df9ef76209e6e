"""Search: a few letters may be part of a name or tag, or the beginning of a digest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from regfs.digest import Digest
from regfs.server.ui import addresses
from regfs.server.ui.views.parts import Hyperlink, Look, blob_path

FOUND: Final = 50
"""Hits of one kind that are shown."""
_DIGEST = re.compile(r"(?:(sha256|sha384|sha512):)?([0-9a-f]{4,128})")


@dataclass(frozen=True, slots=True)
class BlobHit:
    """A blob whose digest begins with the query."""

    digest: str
    href: str
    size: int
    what: str
    path: str


@dataclass(frozen=True, slots=True)
class Search:
    """The view."""

    query: str
    exact: Hyperlink | None
    """The reference that the query is."""
    repositories: tuple[Hyperlink, ...]
    tags: tuple[Hyperlink, ...]
    blobs: tuple[BlobHit, ...]
    cut: bool
    """Whether there are more hits than are shown."""

    @property
    def nothing(self) -> bool:
        """Whether nothing was found."""
        return not (self.exact or self.repositories or self.tags or self.blobs)


def search(look: Look, query: str) -> Search:
    """Return what matches the query and may be shown."""
    query = query.strip()
    if not query:
        return Search("", None, (), (), (), False)
    repositories = tuple(islice(_repositories(look, query.casefold()), FOUND + 1))
    tags = tuple(islice(_tags(look, query.casefold()), FOUND + 1))
    blobs = tuple(islice(_blobs(look, query), FOUND + 1))
    return Search(
        query=query,
        exact=_exact(look, query, blobs),
        repositories=repositories[:FOUND],
        tags=tags[:FOUND],
        blobs=blobs[:FOUND],
        cut=max(len(repositories), len(tags), len(blobs)) > FOUND,
    )


def _exact(look: Look, query: str, blobs: Sequence[BlobHit]) -> Hyperlink | None:
    """Return what the query names exactly, or unambiguously."""
    if query in look.repositories:
        return Hyperlink(query, addresses.of_repository(query))
    name, _, digest = query.partition("@")
    if name in look.repositories and Digest(digest) in look.repositories[name].revisions:
        return Hyperlink(query, addresses.of_manifest(name, digest))
    name, _, tag = query.rpartition(":")
    if name in look.repositories and tag in look.repositories[name].tags:
        return Hyperlink(query, addresses.of_tag(name, tag))
    return Hyperlink(blobs[0].digest, blobs[0].href) if len(blobs) == 1 else None


def _repositories(look: Look, needle: str) -> Iterator[Hyperlink]:
    for name in sorted(look.repositories):
        if needle in name.casefold():
            yield Hyperlink(name, addresses.of_repository(name))


def _tags(look: Look, needle: str) -> Iterator[Hyperlink]:
    """Yield tags that contain the text; if it has a colon, `name:tag` has to contain it."""
    whole = ":" in needle
    for name, repository in look.repositories.items():
        for tag in sorted(repository.tags):
            text = f"{name}:{tag}" if whole else tag
            if needle in text.casefold():
                yield Hyperlink(f"{name}:{tag}", addresses.of_tag(name, tag))


def _blobs(look: Look, query: str) -> Iterator[BlobHit]:
    found = _DIGEST.fullmatch(query.lower())
    if not found:
        return
    algorithm, start = found.groups()
    inventory, graph = look.snapshot.inventory, look.snapshot.graph
    for digest in inventory.known.starting_with(start):
        if digest not in inventory.blobs or (algorithm and digest.algorithm != algorithm):
            continue
        if look.holds(digest):
            info = graph.manifests.get(digest)
            yield BlobHit(
                digest=digest,
                href=addresses.of_blob(digest),
                size=inventory.blobs[digest].size,
                what=_what(look, digest, None if info is None else info.kind.value),
                path=blob_path(digest),
            )


def _what(look: Look, digest: Digest, kind: str | None) -> str:
    if kind is not None:
        return kind if kind != "unknown" else "manifest"
    graph = look.snapshot.graph
    roles = {
        leaf.role.value
        for holder in islice(filter(look.holds, graph.manifests_naming(digest)), 1)
        for leaf in graph.leaves(holder)
        if leaf.digest == digest
    }
    return ", ".join(sorted(roles)) or "named by no manifest"
