"""One repository: its tags, untagged manifests and unfinished uploads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

from regfs import layout
from regfs.digest import Digest
from regfs.findings import Finding
from regfs.graph import Graph
from regfs.graph.attached import attached_to, is_own
from regfs.names import name_problem, natural
from regfs.reports.contents import holdings_of
from regfs.server.ui import addresses
from regfs.server.ui.views.parts import (
    Column,
    Look,
    Order,
    PagedRows,
    Usage,
    below,
    page_of,
    usage_of,
)
from regfs.tree.inventory import RepositoryInventory, TagInfo
from regfs.units import utc_time


@dataclass(frozen=True, slots=True)
class TagRow:
    """One tag."""

    tag: str
    href: str
    digest: str | None
    kind: str
    platforms: str
    size: int
    """Bytes of all it reaches, without sharing."""
    pushed: datetime | None
    history: int
    """Number of digests it has pointed to."""
    problem: str
    path: str
    """The path of its current link."""


@dataclass(frozen=True, slots=True)
class RevisionRow:
    """One manifest that no tag reaches."""

    digest: str
    href: str
    kind: str
    media_type: str
    size: int
    pushed: datetime | None
    about: str | None
    """The digest of its subject."""
    path: str


@dataclass(frozen=True, slots=True)
class UploadRow:
    """One unfinished upload."""

    id: str
    size: int
    started: datetime | None
    changed: datetime
    path: str


@dataclass(frozen=True, slots=True)
class RepositoryView:
    """The view."""

    name: str
    href: str
    path: str
    problem: str
    """Why no client can request it."""
    usage: Usage | None
    manifests: int
    layer_links: int
    query: str
    sort: str
    columns: dict[str, Column]
    """What the tags can be sorted by."""
    tags: int
    tagless: bool
    """Whether it has images and no tag of their own: gc treats them with care."""
    page: PagedRows[TagRow]
    untagged: tuple[RevisionRow, ...]
    untagged_omitted: int
    uploads: tuple[UploadRow, ...]
    uploads_omitted: int
    findings: tuple[Finding, ...]


LISTED: Final = 200
"""Untagged manifests, uploads and findings that are listed."""


_COLUMNS: Final = {
    "name": "Tag",
    "version": "by version",
    "size": "Size",
    "history": "History",
    "pushed": "Pushed",
}
"""What tags can be sorted by -> its words."""
USUAL: Final = "pushed"


def repository(
    look: Look, one: RepositoryInventory, query: str, sort: str, number: int
) -> RepositoryView:
    """Return the view of a repository, with the tags that contain `query`."""
    snapshot, name = look.snapshot, one.name
    by_tag = look.once(("holdings", name), lambda: _by_tag(snapshot.graph, one))
    tagged = set().union(*[manifests for tag, manifests in by_tag.items() if tag is not None])
    untagged = [digest for digest in by_tag.get(None, set()) - tagged if digest in one.revisions]
    untagged.sort(key=lambda digest: (one.revisions[digest].mtime, digest), reverse=True)
    findings = (row.finding for row in snapshot.wrong)
    order = Order.parse(sort, list(_COLUMNS), USUAL)
    return RepositoryView(
        name=name,
        href=addresses.of_repository(name),
        path=below(layout.repository_folder(name)),
        problem=name_problem(name) or "",
        usage=usage_of(look).get(name),
        manifests=len(one.revisions),
        layer_links=len(one.layers),
        query=query,
        sort=str(order),
        columns={key: _column(one.name, key, order, query) for key in _COLUMNS},
        tags=len(one.tags),
        tagless=bool(one.revisions) and not any(is_own(snapshot.graph, one, t) for t in one.tags),
        page=_tags(look, one, by_tag, query, order, number),
        untagged=tuple(_untagged(look, one, untagged[:LISTED])),
        untagged_omitted=max(len(untagged) - LISTED, 0),
        uploads=_uploads(one)[:LISTED],
        uploads_omitted=max(len(one.uploads) - LISTED, 0),
        findings=tuple(islice((found for found in findings if found.repository == name), LISTED)),
    )


def _by_tag(graph: Graph, one: RepositoryInventory) -> _ByTag:
    return {holding.tag: holding.manifests for holding in holdings_of(graph, one)}


_ByTag = dict[str | None, set[Digest]]
"""Tag -> the manifests that it reaches; None -> those that no tag reaches."""


def _tags(
    look: Look,
    one: RepositoryInventory,
    by_tag: _ByTag,
    query: str,
    order: Order,
    number: int,
) -> PagedRows[TagRow]:
    needle = query.casefold()
    tags = [tag for tag in one.tags if not needle or needle in tag.casefold()]
    _sort(look, one, by_tag, tags, order)

    def address(page: int) -> str:
        sort = "" if str(order) == USUAL else order
        path = addresses.of_repository(one.name)
        return addresses.with_query(path, q=query, sort=sort, page=page if page > 1 else "")

    page = page_of(tags, number, address)
    platforms = _platforms(look, one.name, set(page.rows))
    return page.replaced(
        _tag_row(look, one, tag, _size(look, one, by_tag, tag), platforms.get(tag, []))
        for tag in page.rows
    )


def _sort(
    look: Look, one: RepositoryInventory, by_tag: _ByTag, tags: list[str], order: Order
) -> None:
    """Sort tags: names from a, all else with the largest and the newest first."""
    tags.sort()
    if order.key == "version":
        tags.sort(key=natural, reverse=not order.reverse)
    elif order.key == "name":
        tags.sort(reverse=order.reverse)
    elif order.key == "size":
        tags.sort(key=lambda tag: _size(look, one, by_tag, tag), reverse=not order.reverse)
    elif order.key == "history":
        tags.sort(key=lambda tag: len(one.tags[tag].history), reverse=not order.reverse)
    else:
        tags.sort(key=lambda tag: one.tags[tag].mtime, reverse=not order.reverse)


def _size(look: Look, one: RepositoryInventory, by_tag: _ByTag, tag: str) -> int:
    """Return the bytes of all that a tag reaches; each is added up once."""
    sizes = look.once(("sizes", one.name), dict[str, int])
    if tag not in sizes:
        sizes[tag] = look.snapshot.own.weight(one.name, by_tag.get(tag, ()))
    return sizes[tag]


def _column(name: str, key: str, order: Order, query: str) -> Column:
    turned = order.turned(key)
    rising = (key == "name") != order.reverse
    return Column(
        key=key,
        label=_COLUMNS[key],
        href=addresses.with_query(
            addresses.of_repository(name), q=query, sort="" if str(turned) == USUAL else turned
        ),
        sorted=("ascending" if rising else "descending") if key == order.key else "",
        number=key in ("size", "history"),
        minor=key == "history",
    )


def _uploads(one: RepositoryInventory) -> tuple[UploadRow, ...]:
    """Return the unfinished uploads, the latest first."""
    return tuple(
        UploadRow(
            id=upload,
            size=info.size,
            started=None if info.started_at is None else utc_time(info.started_at),
            changed=utc_time(info.mtime),
            path=_within(one.name, layout.upload_folder(one.name, upload)),
        )
        for upload, info in sorted(one.uploads.items(), key=lambda item: -item[1].mtime)
    )


def _platforms(look: Look, name: str, tags: set[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for image in look.images_of(name):
        if image.tag in tags and image.platform:
            found.setdefault(str(image.tag), []).append(image.platform)
    return found


def _tag_row(
    look: Look,
    one: RepositoryInventory,
    tag: str,
    size: int,
    platforms: list[str],
) -> TagRow:
    info, graph = one.tags[tag], look.snapshot.graph
    return TagRow(
        tag=tag,
        href=addresses.of_tag(one.name, tag),
        digest=info.current,
        kind=_kind_of_tag(graph, tag, info),
        platforms=", ".join(dict.fromkeys(platforms)),
        size=size,
        pushed=utc_time(info.mtime) if info.mtime else None,
        history=len(info.history),
        problem=_problem(graph, info),
        path=_within(one.name, layout.path_of(layout.TagCurrent(one.name, tag))),
    )


def _within(name: str, path: str) -> str:
    """Return a path relative to the folder of its repository."""
    return path.removeprefix(layout.repository_folder(name) + "/")


def _problem(graph: Graph, info: TagInfo) -> str:
    if info.current is None:
        return "points to nothing" if info.problem is None else info.problem.value
    problem = graph.problems.get(info.current)
    return "" if problem is None else problem.code.value


def _kind_of_tag(graph: Graph, tag: str, info: TagInfo) -> str:
    """Return the kind of what a tag points to; for an attached tag, what it holds."""
    known = info.current in graph.manifests
    found = attached_to(graph, tag, info.current) if known else None
    return kind_of(graph, info.current) if found is None else found.holds


def kind_of(graph: Graph, digest: Digest | None) -> str:
    """Return the kind of a manifest; `?` if it cannot be read."""
    info = None if digest is None else graph.manifests.get(digest)
    if info is None:
        return "?"
    if info.kind.value == "image" and info.artifact_type:
        return "artifact"
    return info.kind.value


def _untagged(
    look: Look, one: RepositoryInventory, manifests: Iterable[Digest]
) -> Iterator[RevisionRow]:
    graph = look.snapshot.graph
    for digest in manifests:
        info = graph.manifests.get(digest)
        yield RevisionRow(
            digest=digest,
            href=addresses.of_manifest(one.name, digest),
            kind=kind_of(graph, digest),
            media_type=info.media_type if info else "",
            size=look.snapshot.own.weight(one.name, [digest]),
            pushed=utc_time(one.revisions[digest].mtime),
            about=info.subject if info else None,
            path=_within(one.name, layout.path_of(layout.RevisionLink(one.name, digest))),
        )
