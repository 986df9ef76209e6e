"""What a request asks for, and whether it may be shown: addresses and queries -> digests.

Everything raises Refusal, which becomes a page, for what is not there or may not be shown. The
two look the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web

from regfs.digest import Digest
from regfs.errors import DigestInvalid
from regfs.manifests import Role
from regfs.server.ui.addresses import PageAddress
from regfs.server.ui.views.parts import Look
from regfs.tree.inventory import RepositoryInventory, TagInfo
from regfs.tree.registry import Target


@dataclass
class Refusal(Exception):
    """A page that does not exist, or that this user may not see."""

    status: int
    title: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


def text_in(request: web.Request, name: str) -> str:
    """Return a parameter of the query; empty without it."""
    return request.query.get(name, "")[:1000]


def page_in(request: web.Request) -> int:
    """Return the number of the page of a long list that is asked for."""
    text = request.query.get("page", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 1


def repository_of(look: Look, place: PageAddress) -> RepositoryInventory:
    """Return the repository of an address."""
    one = look.repository(place.name)
    if one is None:
        raise Refusal(404, "Not found", f"No such repository: {place.name}")
    return one


def tag_of(one: RepositoryInventory, place: PageAddress) -> TagInfo:
    """Return the tag of an address."""
    info = one.tags.get(place.reference)
    if info is None:
        raise Refusal(404, "Not found", f"No such tag: {one.name}:{place.reference}")
    return info


def removable(look: Look, place: PageAddress) -> None:
    """Check that a tag is there, and that all that it shares may be shown."""
    tag_of(repository_of(whole(look), place), place)


def in_repository(
    look: Look, one: RepositoryInventory, text: str, *, configs: bool = False
) -> Digest:
    """Return a digest that is a manifest of a repository, or one of their configs."""
    digest, graph = digest_of(text), look.snapshot.graph
    if look.has(one.name, digest) and (
        (digest in graph.manifests and digest not in graph.problems)
        or digest in graph.named(one)
        or (configs and _is_config(look, one, digest))
    ):
        return digest
    raise Refusal(404, "Not found", f"No such manifest in {one.name}: {text}")


def target_in(look: Look, text: str) -> Target:
    """Return what `NAME:TAG`, `NAME@DIGEST` or `NAME` (its tag `latest`) leads to."""
    text = text.strip()
    name, at, digest = text.partition("@")
    if at:
        # What is pasted may have both a tag and a digest: the digest counts.
        one = look.repository(name) or look.repository(name.rpartition(":")[0])
        if one is not None:
            return Target(one.name, None, in_repository(look, one, digest))
        raise Refusal(404, "Not found", f"No such repository: {name}")
    name, colon, tag = text.rpartition(":")
    name, tag = (name, tag) if colon and "/" not in tag else (text, "latest")
    one = repository_of(look, PageAddress(name))
    info = tag_of(one, PageAddress(name, "", tag))
    if info.current is None:
        raise Refusal(404, "Not found", f"The tag {tag} points to nothing")
    return Target(name, tag, in_repository(look, one, info.current))


def _is_config(look: Look, one: RepositoryInventory, digest: Digest) -> bool:
    """Return whether a manifest of a repository has a blob as its config."""
    graph = look.snapshot.graph
    return any(
        leaf.digest == digest and leaf.role is Role.CONFIG
        for holder in graph.manifests_naming(digest)
        if look.has(one.name, holder)
        for leaf in graph.leaves(holder)
    )


def blob_of(look: Look, text: str) -> Digest:
    """Return the digest of a blob that is named or stored."""
    digest = digest_of(text)
    snapshot = look.snapshot
    graph = snapshot.graph
    known = (
        digest in snapshot.inventory.blobs
        or graph.predecessors(digest)
        or graph.manifests_naming(digest)
    )
    if not known or not look.holds(digest):
        raise Refusal(404, "Not found", f"No such blob: {text}")
    return digest


def digest_of(text: str) -> Digest:
    """Return a digest as it is written."""
    try:
        return Digest.parse(text)
    except DigestInvalid as error:
        raise Refusal(404, "Not found", str(error)) from None


def whole(look: Look) -> Look:
    """Return a look that sees everything, for pages with totals over everything."""
    if look.everything:
        return look
    raise Refusal(
        403,
        "Not for you",
        "This page adds up all repositories, and there are some that you may not read.",
    )
