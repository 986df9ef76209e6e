"""What a blob is that is no manifest: a layer, a config, or something that nothing names."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from regfs import layout
from regfs.digest import Digest
from regfs.errors import RegfsError
from regfs.graph import Graph
from regfs.manifests import Manifest, Reference
from regfs.reports.paths import needs
from regfs.tree.registry import Target

_READ: Final = 20
"""Manifests that are read for what they say of it."""
_NAMED: Final = 10
"""Tags that are named."""


@dataclass(frozen=True, slots=True)
class ShownPart:
    """The report."""

    reference: str
    digest: str
    role: str
    """`layer`, `config` or `blob`; empty if no manifest names it."""
    media_type: str
    """As manifests say; empty if none does."""
    content: str
    """As its first bytes show: `gzip`, `zstd`, `tar`, `JSON`, `text` or `data`."""
    size: int
    path: str
    tags: tuple[str, ...]
    """The first tags that need it, as `repository:tag`."""
    tag_count: int
    repositories: int
    """In how many repositories these tags are."""


def is_part(graph: Graph, digest: Digest) -> bool:
    """Return whether a blob is part of images, or needed by nothing, and no manifest itself."""
    return digest not in graph.manifests and digest not in graph.revised


def part(
    graph: Graph,
    read: Callable[[Digest], Manifest],
    target: Target,
    digest: Digest,
    content: str,
    size: int,
) -> ShownPart:
    """Describe the blob `digest`, which `target` led to."""
    said = next(_references(graph, read, digest), None)
    tagged = [one for one in needs(graph, digest) if one.tag is not None]
    return ShownPart(
        reference=str(target),
        digest=digest,
        role="" if said is None else said.role.value,
        media_type="" if said is None else said.media_type,
        content=content,
        size=size,
        path=layout.blob_path(digest),
        tags=tuple(one.name for one in tagged[:_NAMED]),
        tag_count=len(tagged),
        repositories=len({one.repository for one in tagged}),
    )


def _references(
    graph: Graph, read: Callable[[Digest], Manifest], digest: Digest
) -> Iterator[Reference]:
    """Yield what manifests say of a blob."""
    for manifest in graph.manifests_naming(digest)[:_READ]:
        try:
            references = read(manifest).references()
        except RegfsError:  # damaged since it was listed
            continue
        yield from (one for one in references if one.digest == digest)


def content_of(begin: bytes) -> str:
    """Return what content is, by its first bytes, at least 512 if there are as many."""
    for magic, name in _MAGIC.items():
        if begin.startswith(magic):
            return name
    if begin[257:262] == b"ustar":
        return "tar"
    if not is_text(begin):
        return "data"
    return "JSON" if begin.lstrip().startswith((b"{", b"[")) else "text"


_MAGIC: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


def is_text(begin: bytes) -> bool:
    """Return whether bytes are text, whose last character may be cut."""
    return not TextCheck().is_broken_by(begin)


class TextCheck:
    """Checks pieces of content, in order, for what a terminal would not just print."""

    def __init__(self) -> None:
        self._decoder = getincrementaldecoder("utf-8")()

    def is_broken_by(self, piece: bytes) -> bool:
        """Return whether a piece holds control characters, or bytes that are no text."""
        try:
            text = self._decoder.decode(piece)
        except UnicodeDecodeError:
            return True
        return not all(one.isprintable() or one in "\n\r\t" for one in text)
