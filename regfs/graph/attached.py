"""Which tags are attached to an image, and which are an image's own; the referrers of an image.

    sha256-<hex>         a list of the referrers of sha256:<hex>, or one referrer itself
    sha256-<hex>.sig     what cosign has made for sha256:<hex>; .att and .sbom likewise
    sha256-<hex>         of the very manifest it points to, or of an image that a tool has
                         converted: an ordinary tag

The name alone does not tell the first from the last: what the tag points to does. A tag of
which that cannot be known counts as attached: it never speaks for the untagged manifests of a
repository, and never goes unless its image does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from regfs.manifests.media_types import Kind
from regfs.names import SubjectTag, cosign_tags, fallback_tag, subject_tag
from regfs.tree.fallback import About, is_about, listed
from regfs.tree.inventory import INCOMPLETE

if TYPE_CHECKING:
    from regfs.digest import Digest
    from regfs.graph.model import Graph
    from regfs.tree.inventory import RepositoryInventory


def attached_to(graph: Graph, tag: str, current: Digest | None) -> SubjectTag | None:
    """Return what a tag is attached to; None of an ordinary tag."""
    found = subject_tag(tag)
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
    if current is None or attached_to(graph, tag, current) is not None:
        return False
    named = subject_tag(tag)
    if named is None or _is_named_after(graph, named, current):
        return True
    return not named.among(repository.revisions)


def lives(graph: Graph, found: SubjectTag, live: Collection[Digest]) -> bool:
    """Return whether what a tag is attached to is among manifests that live, by any digest."""
    if found.among(live):
        return True
    aliases = graph.aliases.items()
    return any(found.names(alias) and not stored.isdisjoint(live) for alias, stored in aliases)


def lists(graph: Graph, index: Digest, subjects: Collection[Digest]) -> list[Digest]:
    """Return what a list of referrers holds of a subject: no child that names another one."""
    return listed(subjects, graph.children(index), partial(_about, graph))


def is_gone(graph: Graph, found: SubjectTag) -> bool:
    """Return whether nothing in the tree is left of what a tag is attached to.

    Neither a link nor a blob, and nothing that could not be read or seen may be it.
    """
    known = (graph.inventory.blobs, graph.problems, graph.aliases, graph.revised)
    if graph.incomplete or any(found.among(digests) for digests in known):
        return False
    return not any(one.code in INCOMPLETE for one in graph.inventory.findings)


def _is_named_after(graph: Graph, found: SubjectTag, current: Digest) -> bool:
    if found.names(current):
        return True
    aliases = graph.aliases.items()
    return any(current in stored and found.names(alias) for alias, stored in aliases)


def _is_about(graph: Graph, found: SubjectTag, current: Digest) -> bool:
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


class Way(StrEnum):
    """How it is known that one manifest is about another."""

    SUBJECT = "subject"
    """Its subject field names it."""
    FALLBACK = "fallback tag"
    """The fallback tag of the other lists it."""
    COSIGN = "cosign tag"
    """cosign's tag of the other points to it."""
    INDEX = "index"
    """An index lists both, and says of the one that it is about the other."""


class Attachment(NamedTuple):
    """A manifest that is about another one."""

    digest: Digest
    way: Way
    tag: str | None = None
    """`repository:tag` of cosign's tag, which alone names the subject."""
    holds: str = ""
    """What that tag says it holds: `signature`, `attestation`, `SBOM`."""


def attachments(
    graph: Graph, subject: Digest, repository: str | None = None
) -> Iterator[Attachment]:
    """Yield all that is about a manifest: referrers, then what cosign's tags point to.

    With `repository`, only what it has itself.
    """
    by_field = set(graph.referrers_by_field(subject))
    for digest in referrers(graph, subject, repository):
        way = Way.SUBJECT if digest in by_field else Way.FALLBACK
        yield Attachment(digest, way)
    every = graph.inventory.repositories
    for name in every if repository is None else {repository} & every.keys():
        for tag in cosign_tags(subject):
            info, found = every[name].tags.get(tag), subject_tag(tag)
            if info is not None and info.current is not None and found is not None:
                yield Attachment(info.current, Way.COSIGN, f"{name}:{tag}", found.holds)


def referrers(graph: Graph, subject: Digest, repository: str | None = None) -> list[Digest]:
    """Return the manifests about `subject`: by their subject field, or in its fallback tag.

    With `repository`, only those it has as revisions, as its server lists them.
    """
    by_field = graph.referrers_by_field(subject)
    every = graph.inventory.repositories
    if repository is None:
        listed = [child for one in every.values() for child in _in_lists(graph, one, {subject})]
        return list(dict.fromkeys([*by_field, *listed]))
    if repository not in every:
        return []
    one = every[repository]
    subjects = {subject, *_revision_aliases(graph, repository, subject)}
    named = [referrer for referrer in by_field if graph.manifests[referrer].subject in subjects]
    found = [*named, *_in_lists(graph, one, subjects)]
    return list(dict.fromkeys(digest for digest in found if digest in one.revisions))


def _revision_aliases(graph: Graph, repository: str, digest: Digest) -> list[Digest]:
    """Return the digests in another algorithm under which a repository has a manifest."""
    links = graph.redirected.get(repository, {}).items()
    return [
        link for link, targets in links if link.algorithm != digest.algorithm and digest in targets
    ]


def _in_lists(
    graph: Graph, repository: RepositoryInventory, subjects: Collection[Digest]
) -> list[Digest]:
    """Return what the fallback tags of a manifest list."""
    found: list[Digest] = []
    for tag in map(fallback_tag, subjects):
        info = repository.tags.get(tag)
        current = None if info is None else info.current
        if current is None or current not in repository.revisions:
            continue
        if attached_to(graph, tag, current) is not None:
            found += lists(graph, current, subjects)
    return found
