"""The tree of what is about an image: signatures, SBOMs, provenance, and what is about those.

    referrer_tree(graph, registry, target, digest) -> ReferrerTree.rows
        app:v1                     depth 0
        linux/amd64 c9d2fffb93da   depth 1: an index has its images below it
        12f0b24c6641  SBOM         depth 2: what is about the image
        77aa03b1c2d4  signature    depth 3: and what is about that

Each manifest is followed once; where it comes again, its row says so. Cosign's tags can lead in a
circle, and nothing limits how many referrers share one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from regfs import layout
from regfs.digest import Digest
from regfs.graph import Graph, ManifestInfo
from regfs.graph.attached import Way
from regfs.manifests import Kind
from regfs.reports.attestations import Carrier, DocumentFinder
from regfs.tree.registry import Registry, Target


@dataclass(frozen=True, slots=True)
class TreeRow:
    """A manifest in the tree."""

    depth: int
    """0 for what was asked for."""
    digest: str
    about: str | None
    """The digest one level up."""
    kind: str
    """`image`, `index`, `artifact`, `missing` or `unknown`."""
    way: str
    """How it is known: `asked`, `listed` by an index, or as `attached_documents` has it."""
    artifact_type: str
    platform: str
    size: int
    """Bytes of the manifest and of what it names, as far as that is present."""
    tags: tuple[str, ...]
    """Tags that point to it; of the repository that was asked for."""
    holds: tuple[str, ...]
    """Its documents: `signature`, `SPDX SBOM`, `provenance`, or the type of a predicate."""
    repeated: bool
    """Whether it stands further up as well, where what is about it is listed."""


@dataclass(frozen=True, slots=True)
class ReferrerTree:
    """The report."""

    reference: str
    rows: tuple[TreeRow, ...]
    """Each manifest stands below what it is about."""
    problems: tuple[str, ...]
    """What could not be read."""


def referrer_tree(
    graph: Graph,
    registry: Registry,
    target: Target,
    digest: Digest,
    has: Callable[[Digest], bool] = lambda _: True,
) -> ReferrerTree:
    """Return all that is about a manifest, and about what an index lists; within `has`."""
    walk = _Walk(graph, DocumentFinder(graph, registry, target.name, has), target.name)
    rows = tuple(walk.rows(digest))
    return ReferrerTree(str(target), rows, tuple(dict.fromkeys(walk.problems)))


class _Walk:
    def __init__(self, graph: Graph, finder: DocumentFinder, name: str | None) -> None:
        self._graph = graph
        self._finder = finder
        self.problems: list[str] = []
        self._tags: dict[Digest, list[str]] = {}
        every = graph.inventory.repositories
        for repository in every.values() if name is None else [every[name]]:
            for tag, info in sorted(repository.tags.items()):
                if info.current is not None:
                    self._tags.setdefault(info.current, []).append(f"{repository.name}:{tag}")

    def rows(self, digest: Digest) -> Iterator[TreeRow]:
        """Yield the rows of the tree from the top down."""
        top = Carrier(digest, digest, "", None)
        pending = [(0, top, self._finder.indexed(digest))]
        seen: set[Digest] = set()
        while pending:
            depth, one, beside = pending.pop()
            row = self._row(depth, one)
            if one.digest in seen:
                yield replace(row, repeated=True)
                continue
            seen.add(one.digest)
            yield row
            below = {found.digest: found for found in self._below(one, beside)}
            index = list(self._finder.listed(one.digest)) if self._is_index(one.digest) else []
            pending.extend((depth + 1, found, index) for found in reversed(below.values()))

    def _below(self, one: Carrier, beside: list[Carrier]) -> Iterator[Carrier]:
        """Yield what stands below a manifest: `beside` are the attestations of its index."""
        if self._is_index(one.digest):
            for image, platform in self._finder.images(one.digest):
                yield Carrier(image, one.digest, platform, None)
        yield from self._finder.attached(one.digest, "")
        yield from (found for found in beside if found.about == one.digest)

    def _is_index(self, digest: Digest) -> bool:
        info = self._graph.manifests.get(digest)
        return info is not None and info.kind is Kind.INDEX

    def _row(self, depth: int, one: Carrier) -> TreeRow:
        graph, blobs = self._graph, self._graph.inventory.blobs
        info = graph.manifests.get(one.digest)
        if info is None:
            self._lacks(one.digest)
        way = one.way.value if one.way else "listed" if depth else "asked"
        documents = self._finder.documents(one) if one.way else ()
        holds = [
            " ".join(filter(None, (two.form, _name(two.kind, two.predicate_type))))
            for two in documents
        ]
        return TreeRow(
            depth=depth,
            digest=one.digest,
            about=one.about if depth else None,
            kind=_kind(info, one.way) if info else self._unknown(one.digest),
            way=way,
            artifact_type=(info.artifact_type or "") if info else "",
            platform=one.platform if way == "listed" else "",
            size=sum(map(blobs.size, graph.needs([one.digest]))),
            tags=tuple(self._tags.get(one.digest, ())),
            holds=tuple(dict.fromkeys(holds)),
            repeated=False,
        )

    def _unknown(self, digest: Digest) -> str:
        return "unknown" if digest in self._graph.inventory.blobs else "missing"

    def _lacks(self, digest: Digest) -> None:
        path = layout.blob_path(digest)
        unseen = self._graph.is_unseen(digest)
        if digest not in self._graph.inventory.blobs:
            self.problems.append(
                f"{path}: manifest {'cannot be seen' if unseen else 'is not there'}"
            )


def _kind(info: ManifestInfo, way: Way | None) -> str:
    # An old attestation of BuildKit has the config of an image.
    is_artifact = info.artifact_type is not None or way is Way.INDEX
    return "artifact" if info.kind is Kind.IMAGE and is_artifact else info.kind.value


def _name(kind: str, predicate_type: str) -> str:
    return predicate_type if kind == "attestation" and predicate_type else kind
