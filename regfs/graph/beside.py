"""Which tags only stand beside an image, and which are an image's own.

    sha256-<hex>         a list of the referrers of sha256:<hex>, or one referrer itself
    sha256-<hex>.sig     what cosign has made for sha256:<hex>; .att and .sbom likewise
    sha256-<hex>         of the very manifest it points to, or of an image that a tool has
                         converted: an ordinary tag

The name alone tells nothing of the first and the last: what it points to is looked at. What
cannot be known counts as standing beside: such a tag never speaks for the untagged manifests
of a repository, and never goes unless its image does.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING

from regfs import layout
from regfs.manifests.media_types import Kind
from regfs.tree.fallback import About, is_about, listed
from regfs.tree.inventory import INCOMPLETE

if TYPE_CHECKING:
    from regfs.digest import Digest
    from regfs.graph.model import Graph
    from regfs.tree.inventory import RepositoryInventory


def beside(graph: Graph, tag: str, current: Digest | None) -> layout.SubjectTag | None:
    """Return what a tag stands beside; None of an ordinary tag."""
    found = layout.subject_tag(tag)
    if found is None or current is None:
        return found
    if _is_named_after(graph, found, current):
        return None
    if found.is_fallback and not _is_about(graph, found, current):
        return None
    return found


def is_own(graph: Graph, repository: RepositoryInventory, tag: str) -> bool:
    """Return whether a tag surely is an image's own, so that the repository tags its images.

    A list that also names what is no referrer is ordinary, and yet is no image's own as long
    as the manifest that its name speaks of is in the repository.
    """
    current = repository.tags[tag].current
    if current is None or beside(graph, tag, current) is not None:
        return False
    named = layout.subject_tag(tag)
    if named is None or _is_named_after(graph, named, current):
        return True
    return not named.among(repository.revisions)


def lives(graph: Graph, found: layout.SubjectTag, live: Collection[Digest]) -> bool:
    """Return whether what a tag stands beside is among manifests that live, by any digest."""
    if found.among(live):
        return True
    aliases = graph.aliases.items()
    return any(found.names(alias) and not stored.isdisjoint(live) for alias, stored in aliases)


def lists(graph: Graph, index: Digest, subjects: Collection[Digest]) -> list[Digest]:
    """Return what a list of referrers holds of a subject: no child that names another one."""
    return listed(subjects, graph.children(index), partial(_about, graph))


def is_gone(graph: Graph, found: layout.SubjectTag) -> bool:
    """Return whether nothing in the tree is left of what a tag stands beside.

    Neither a link nor a blob, and nothing that could not be read or seen may be it.
    """
    known = (graph.inventory.blobs, graph.problems, graph.aliases, graph.revised)
    if graph.incomplete or any(found.among(digests) for digests in known):
        return False
    return not any(one.code in INCOMPLETE for one in graph.inventory.findings)


def _is_named_after(graph: Graph, found: layout.SubjectTag, current: Digest) -> bool:
    if found.names(current):
        return True
    aliases = graph.aliases.items()
    return any(current in stored and found.names(alias) for alias, stored in aliases)


def _is_about(graph: Graph, found: layout.SubjectTag, current: Digest) -> bool:
    """Return whether a manifest is a list of referrers, or is itself about what the tag names."""
    info = graph.manifests.get(current)
    if info is None:
        return True
    is_list = info.kind is Kind.INDEX and not any(graph.leaves(current))
    children = graph.children(current) if is_list else None
    return is_about(found, info.subject, children, partial(_about, graph))


def _about(graph: Graph, manifest: Digest) -> About | None:
    info = graph.manifests.get(manifest)
    return None if info is None else About(info.subject, info.artifact_type)
