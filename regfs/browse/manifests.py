"""What one manifest lists: the platforms of an index, the layers of an image, what is about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from regfs.browse.places import (
    Details,
    FilesOf,
    Line,
    LineColumn,
    Listed,
    Measure,
    NeedersOf,
    OneManifest,
    Standing,
)
from regfs.browse.tree_data import TreeData
from regfs.digest import Digest
from regfs.facade import Tree
from regfs.render.tables import plural, short
from regfs.reports.history import BuildStep
from regfs.reports.image import Bounds, ListedEntry, Shown, ShownImage, ShownReferrer, show
from regfs.reports.listing import ListedReference, entries
from regfs.reports.start import Config
from regfs.tree.registry import Target
from regfs.units import human_size, rfc3339

_NO_LAYER: Final = "no layer"


def early_manifest_page(tree: Tree, place: OneManifest) -> Listed:
    """Return what a manifest names, by its own words alone."""
    found = entries(tree.view, place.label, place.digest)

    def line(item: ListedReference, measure: Measure | None) -> Line:
        opens = None
        if item.role == "manifest" and item.present:
            digest = Digest(item.digest)
            opens = OneManifest(place.name, None, digest, item.platform or digest.short)
        gone = "" if item.present is not False else "not there"
        return Line(
            item.platform or short(item.digest),
            measure(item) if measure else None,
            cells=(item.role, short(item.digest)),
            aside=gone,
            opens=opens,
            about=Digest(item.digest),
        )

    return Listed(
        place.label,
        found.entries,
        line,
        lambda item: item.platform or item.digest,
        measures={"size": lambda item: item.size if item.size >= 0 else None},
        columns=(LineColumn("Role", 11, 50), LineColumn("Digest", 12, 70)),
        heading="What",
        note=f"{found.media_type}; instructions and sharing come once the tree is read",
        whole=False,
    )


def manifest_page(data: TreeData, place: OneManifest) -> Listed:
    """Return what an index lists, or how an image was built, and what is about either.

    Raises:
        Unknown, ContentMismatch, ManifestInvalid: the manifest cannot be read.
    """
    target = Target(place.name, place.tag, place.digest)
    bounds = Bounds(among=data.images, only=place.digest)
    shown = show(data.graph, data.tree.view, target, place.digest, bounds)
    if shown.entries:
        return _index_page(data, place, shown)
    return _image_page(data, place, shown)


def _summary(shown: Shown) -> Iterator[tuple[str, str]]:
    yield "Manifest", shown.digest
    yield "Kind", f"{shown.kind}, {shown.media_type}"
    yield "Pushed", rfc3339(shown.pushed)
    if len(shown.tags) > 1:
        yield "Tags", " ".join(shown.tags)


# -- an index ----------------------------------------------------------------------------


def _index_page(data: TreeData, place: OneManifest, shown: Shown) -> Listed:
    def size(item: ListedEntry | ShownReferrer) -> int:
        if isinstance(item, ShownReferrer):
            return item.size
        digest = Digest(item.digest)
        manifests = data.graph.reachable([digest])
        return data.size(manifests) or max(item.size, 0)

    def line(item: ListedEntry | ShownReferrer, measure: Measure | None) -> Line:
        if isinstance(item, ShownReferrer):
            return _referrer_line(data, place, item, measure)
        return _entry_line(data, place, item, measure)

    count = plural(len(shown.entries), "entry", "entries")
    return Listed(
        place.label,
        [*shown.entries, *shown.referrers],
        line,
        _entry_name,
        measures={"stored": size},
        columns=(LineColumn("Kind", 11, 50), LineColumn("Digest", 12, 60)),
        heading="Platform",
        note=f"{shown.kind} of {count}",
        problems=shown.problems,
        summary=tuple(_summary(shown)),
    )


def _entry_name(item: ListedEntry | ShownReferrer) -> str:
    return (item.platform if isinstance(item, ListedEntry) else "") or short(item.digest)


def _entry_line(
    data: TreeData, place: OneManifest, item: ListedEntry, measure: Measure | None
) -> Line:
    digest = Digest(item.digest)
    absent = item.kind in ("missing", "unseen")
    is_manifest = digest in data.graph.manifests
    name = item.platform or digest.short
    about = "" if item.about is None else f"about {short(item.about)}"
    standing = data.standing(data.graph.reachable([digest]))
    return Line(
        name if item.platform != "unknown/unknown" else digest.short,
        measure(item) if measure else None,
        Standing.DAMAGED if item.kind == "missing" else standing,
        (item.kind, digest.short),
        about,
        OneManifest(place.name, None, digest, name) if is_manifest and not absent else None,
        digest,
        files=FilesOf(place.name, digest, None, "", name) if item.kind == "image" else None,
        details=(
            ("Entry", item.digest),
            ("Kind", f"{item.kind}, {item.media_type}"),
            *(("About", item.about) for _ in [0] if item.about),
            *sorted(item.annotations.items()),
        ),
    )


# -- an image ----------------------------------------------------------------------------


def _image_page(data: TreeData, place: OneManifest, shown: Shown) -> Listed:
    image = next(iter(shown.images), None)
    steps = image.steps if image else ()
    config = image.config if image else None
    items: list[BuildStep | Config | ShownReferrer] = [*steps]
    items += [config] if config else []
    items += shown.referrers
    blobs = data.graph.inventory.blobs
    layered = [step for step in steps if step.digest]
    opens = {
        id(step): FilesOf(place.name, place.digest, number, "", f"layer {number + 1}")
        for number, step in enumerate(layered)
        if step.present
    }

    def size(item: BuildStep | Config | ShownReferrer) -> int | None:
        if isinstance(item, BuildStep):
            return None if item.digest is None else max(item.size, 0)
        return item.size if isinstance(item, ShownReferrer) else blobs.size(Digest(item.digest))

    def line(item: BuildStep | Config | ShownReferrer, measure: Measure | None) -> Line:
        if isinstance(item, BuildStep):
            return _step_line(data, item, measure, opens.get(id(item)))
        if isinstance(item, ShownReferrer):
            return _referrer_line(data, place, item, measure)
        return _config_line(data, item, measure)

    return Listed(
        place.label,
        items,
        line,
        _step_name,
        measures={"size": size},
        columns=(LineColumn("Others", 6, 60, right=True), LineColumn("Layer", 12, 70)),
        heading="Instruction",
        note=_note(shown, image),
        problems=shown.problems,
        summary=tuple(_summary(shown)),
    )


def _note(shown: Shown, image: ShownImage | None) -> str:
    if image is None:
        return f"{shown.kind} of {human_size(shown.size)}"
    layers = plural(len({one.digest for one in image.steps if one.digest}), "layer")
    platform = f" for {image.platform}" if image.platform else ""
    shared = f", {human_size(image.shared)} shared" if image.shared else ""
    return f"{shown.kind}{platform}: {layers}, {human_size(image.size)}{shared}"


def _step_name(item: BuildStep | Config | ShownReferrer) -> str:
    if isinstance(item, BuildStep):
        return item.instruction or short(item.digest or "")
    return f"config {short(item.digest)}" if isinstance(item, Config) else short(item.digest)


def _where(item: BuildStep) -> str:
    """Return where the layer of a step is, if it is not in the registry."""
    if item.digest is None or item.present:
        return ""
    if item.elsewhere:
        return "at its URLs"
    return "cannot be read" if item.present is None else "not there"


def _step_line(
    data: TreeData, item: BuildStep, measure: Measure | None, files: FilesOf | None
) -> Line:
    digest = Digest(item.digest) if item.digest else None
    standing = data.standing([digest]) if digest else Standing.UNKNOWN
    lost = digest is not None and item.present is False and not item.elsewhere
    others = f"{item.images:,}" if digest and item.images else ""
    return Line(
        item.instruction or "(no instruction is known)",
        measure(item) if measure else None,
        Standing.DAMAGED if lost else standing,
        (others, digest.short if digest else _NO_LAYER),
        _where(item),
        files,
        digest,
        faint=item.empty,
        details=_step_details(item),
    )


def _step_details(item: BuildStep) -> Details:
    found = [("Instruction", item.created_by or item.instruction)]
    if item.digest:
        found += [("Layer", f"{item.digest}, {human_size(max(item.size, 0))}")]
        found += [("Media type", item.media_type)]
        found += [("Also in", plural(item.images, "other image"))]
    if item.folded_into:
        found += [("Written by", f"the layer {item.folded_into}")]
    if item.created:
        found += [("Created", item.created)]
    if item.comment:
        found += [("Comment", item.comment)]
    return tuple(found)


def _config_line(data: TreeData, item: Config, measure: Measure | None) -> Line:
    digest = Digest(item.digest)
    start = [*item.entrypoint, *item.command]
    labels = ", ".join(f"{key}={value}" for key, value in item.labels.items())
    pairs = (
        ("Config", item.digest),
        ("Starts", " ".join(start)),
        ("User", item.user),
        ("Folder", item.working_dir),
        ("Environment", " ".join(item.environment)),
        ("Ports", " ".join(item.ports)),
        ("Volumes", " ".join(item.volumes)),
        ("Labels", labels),
        ("Created", item.created or ""),
    )
    return Line(
        "(config)",
        measure(item) if measure else None,
        data.standing([digest]),
        ("", digest.short),
        " ".join(start),
        NeedersOf(digest),
        digest,
        details=tuple(pair for pair in pairs if pair[1]),
    )


def _referrer_line(
    data: TreeData, place: OneManifest, item: ShownReferrer, measure: Measure | None
) -> Line:
    digest = Digest(item.digest)
    kind = item.artifact_type or "referrer"
    known = digest in data.graph.manifests
    tag = item.tags[0].rpartition(":")[2] if item.tags else None
    return Line(
        f"(about it) {kind}",
        measure(item) if measure else None,
        data.standing(data.graph.reachable([digest])),
        ("", digest.short),
        "",
        OneManifest(place.name, tag, digest, kind) if known else None,
        digest,
        details=(("Referrer", item.digest), ("Type", kind), ("Tags", " ".join(item.tags))),
    )
