"""Two images side by side, for pages: the report of `regfs diff`, of what both repositories have.

A manifest may name what its repository does not have. Who may not read everything gets no
comparison then: it would tell of content of others.
"""

from __future__ import annotations

from regfs.content.cache import Cache
from regfs.digest import Digest
from regfs.errors import TooManyEntries
from regfs.files.layers import Layers
from regfs.graph import Graph
from regfs.reports.diff import DiffReport, DiffTarget, diff
from regfs.server.ui.image_files import MOST, NotOwn
from regfs.server.ui.jobs import Deadline
from regfs.server.ui.snapshot import LARGEST, Snapshot
from regfs.tree.registry import Target


def compare(
    snapshot: Snapshot,
    before: Target,
    after: Target,
    cache: Cache | None,
    progress: Deadline,
) -> DiffReport:
    """Compare two manifests.

    Raises:
        ReferenceInvalid: they cannot be compared.
        RegfsError: one of them cannot be read.
    """
    layers = Layers(snapshot.registry, progress, cache, most=MOST)
    old, new = (DiffTarget(one, Digest(one.digest or "")) for one in (before, after))
    return diff(snapshot.registry, layers, old, new)


def check_comparable(snapshot: Snapshot, one: Target, *, everything: bool) -> None:
    """Check that a manifest and what it reaches can be read for a page, and may be.

    Raises:
        NotOwn: its repository lacks some of it.
        TooManyEntries: a manifest is too large to be parsed for a page.
    """
    graph, digest = snapshot.graph, Digest(one.digest or "")
    for manifest in _reached(graph, digest):
        if graph.inventory.blobs.size(manifest) > LARGEST:
            raise TooManyEntries(f"{manifest.short} has more than {LARGEST >> 10} KiB")
        named = (manifest, *(leaf.digest for leaf in graph.leaves(manifest)))
        if not everything:
            for part in named:
                if not snapshot.own.has(str(one.name), part):
                    raise NotOwn(f"{one} names {part.short}, which its repository does not have")


def _reached(graph: Graph, digest: Digest) -> set[Digest]:
    """Return a manifest and all that it lists, be it there or not."""
    found, pending = set[Digest](), [digest]
    while pending:
        one = pending.pop()
        if one not in found:
            found.add(one)
            pending.extend(graph.children(one))
    return found
