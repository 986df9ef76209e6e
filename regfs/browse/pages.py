"""What each place lists: repositories, tags, manifests, and who needs something.

Before the tree is read, point reads give names and what a manifest lists; sizes and sharing
come with `TreeData`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from regfs.browse.files import FileReading, files_page, text_page
from regfs.browse.places import (
    AllRepositories,
    FilesOf,
    KnownFindings,
    Line,
    LineColumn,
    Listed,
    MarkedThings,
    Measure,
    NeedersOf,
    OneManifest,
    OneRepository,
    Place,
    Standing,
    TextOf,
    UntaggedOf,
)
from regfs.browse.repositories import MEASURES, WAITS, NamedItem, repositories_page, used_words
from regfs.browse.status_pages import findings_page, marks_page, needers_page
from regfs.browse.tree_data import TreeData
from regfs.digest import Digest
from regfs.facade import Tree
from regfs.graph.attached import attached_to
from regfs.names import natural
from regfs.render.tables import plural
from regfs.reports.listing import Tag, tags
from regfs.units import human_size, rfc3339


def page_of(place: Place, tree: Tree, data: TreeData | None, files: FileReading) -> Listed:
    """Return what is listed at a place; without `data` what point reads can tell.

    Raises:
        Unknown, ContentMismatch, ManifestInvalid, StoreError: it is not there, or cannot be read.
    """
    match place:
        case AllRepositories():
            return repositories_page(data, ())
        case OneRepository(name):
            return _early_tags(tree, name) if data is None else _tags_page(data, name)
        case FilesOf():
            return files_page(files, place)
        case TextOf():
            return text_page(files, place)
        case OneManifest():
            from regfs.browse.manifests import early_manifest_page, manifest_page

            return early_manifest_page(tree, place) if data is None else manifest_page(data, place)
    if data is None:
        return Listed("", (), lambda item, measure: Line(""), str, note=WAITS, whole=False)
    match place:
        case UntaggedOf(name):
            return _untagged_page(data, name)
        case NeedersOf(digest):
            return needers_page(data, digest)
        case KnownFindings():
            return findings_page(data)
        case MarkedThings(references):
            return marks_page(data, references)


# -- tags --------------------------------------------------------------------------------


def _early_tags(tree: Tree, name: str) -> Listed:
    found = tags(tree.view, name).tags

    def line(item: Tag, measure: Measure | None) -> Line:
        opens = _manifest_of(tree, name, item.name or "")
        return Line(
            item.name or "",
            cells=(rfc3339(item.changed)[:10],),
            opens=opens,
            reference=f"{name}:{item.name}",
        )

    return Listed(
        name,
        found,
        line,
        lambda item: item.name,
        columns=(LineColumn("Set", 10, 50),),
        heading="Tag",
        note=f"{plural(len(found), 'tag')}; {WAITS}",
        whole=False,
    )


def _manifest_of(tree: Tree, name: str, tag: str) -> OneManifest | None:
    from regfs.errors import RegfsError

    try:
        return OneManifest(name, tag, tree.view.tag(name, tag), tag)
    except RegfsError:
        return None


def _tags_page(data: TreeData, name: str) -> Listed:
    from regfs.errors import NameUnknown

    repository = data.graph.inventory.repositories.get(name)
    if repository is None:
        raise NameUnknown(f"no such repository: {name}")
    used = data.used_by_tag.get(name, {})
    items = [
        NamedItem(tag, used.get(tag), info.current, info.mtime)
        for tag, info in sorted(repository.tags.items(), key=lambda pair: natural(pair[0]))
    ]
    if None in used:
        items.append(NamedItem(None, used[None]))

    def line(item: NamedItem, measure: Measure | None) -> Line:
        return _tag_line(data, name, item, measure)

    total = data.used.get(name)
    sizes = (
        f"; {human_size(total.stored)} stored, {human_size(total.unique)} unique" if total else ""
    )
    return Listed(
        name,
        items,
        line,
        lambda item: item.name or "(untagged)",
        measures=MEASURES,
        columns=(LineColumn("Unique", 8, 70, right=True), LineColumn("Set", 10, 50)),
        heading="Tag",
        note=plural(len(repository.tags), "tag") + sizes,
        by_size=True,
    )


def _tag_line(data: TreeData, name: str, item: NamedItem, measure: Measure | None) -> Line:
    used, known = item.used, data.verified
    standing = known.of_tag.get((name, item.name), Standing.UNKNOWN) if known else Standing.UNKNOWN
    size = measure(item) if measure else None
    unique = human_size(used.unique) if used else ""
    if item.name is None:
        details = tuple(used_words(used))
        opens = UntaggedOf(name)
        return Line(
            "(untagged)", size, standing, (unique, ""), "", opens, faint=True, details=details
        )
    words = _kind(data, name, item)
    opened = OneManifest(name, item.name, item.digest, item.name) if item.digest else None
    return Line(
        item.name,
        size,
        standing if item.digest else Standing.DAMAGED,
        (unique, rfc3339(item.changed)[:10]),
        words,
        opened,
        item.digest,
        FilesOf(name, item.digest, None, "", item.name) if item.digest else None,
        f"{name}:{item.name}",
        details=(
            ("Tag", f"{name}:{item.name}"),
            ("Points to", f"{item.digest or 'nothing'} {words}"),
            ("Set", rfc3339(item.changed)),
            *used_words(used),
        ),
    )


def _kind(data: TreeData, name: str, item: NamedItem) -> str:
    """Return what a tag points to, in words; empty for a single image."""
    if item.digest is None:
        return "its link names no digest"
    attached = attached_to(data.graph, item.name or "", item.digest)
    if attached is not None:
        return attached.holds
    if platforms := data.platforms(name, item.name):
        return ", ".join(platforms)
    info = data.graph.manifests.get(item.digest)
    if info is None:
        return "its manifest is not there, or cannot be read"
    return "" if info.kind.value == "image" and not info.artifact_type else info.kind.value


# -- untagged ----------------------------------------------------------------------------


def _untagged_page(data: TreeData, name: str) -> Listed:
    repository = data.graph.inventory.repositories.get(name)
    found = sorted(data.held(name, None))

    def size(item: Digest) -> int:
        return data.size(data.graph.reachable([item]))

    def line(item: Digest, measure: Measure | None) -> Line:
        info = data.graph.manifests.get(item)
        is_linked = repository is not None and item in repository.revisions
        kind = info.kind.value if info else "cannot be read"
        return Line(
            item,
            measure(item) if measure else None,
            data.standing(data.graph.reachable([item])),
            (kind,),
            "" if is_linked else "part of an index",
            OneManifest(name, None, item, item.short) if info else None,
            item,
            reference=f"{name}@{item}" if is_linked else "",
            details=(
                ("Manifest", item),
                ("Kind", kind),
                ("Media type", info.media_type if info else "not known"),
            ),
        )

    return Listed(
        "(untagged)",
        found,
        line,
        _text,
        measures={"stored": size},
        columns=(LineColumn("Kind", 8, 50),),
        heading="Manifest",
        note=f"{plural(len(found), 'manifest')} that no tag of {name} reaches",
    )


_text: Final[Callable[[Any], str]] = str
