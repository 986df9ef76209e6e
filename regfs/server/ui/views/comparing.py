"""Two images side by side: layers, config, packages and files that differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from regfs.content.entries import EntryKind
from regfs.files.difference import FileDelta
from regfs.reports.diff import DiffReport, ImageDifference
from regfs.reports.diff_config import FieldChange
from regfs.reports.diff_layers import LayerAt, LayerChange, LayerFate
from regfs.server.ui import addresses
from regfs.server.ui.views.parts import Few, Hyperlink, PagedRows, page_of
from regfs.tree.registry import Target

FILES: Final = 200
"""Files of one page."""
LONGEST: Final = 300
"""Characters of a value."""
_FATES: Final = {
    LayerFate.SHARED: ("shared", ""),
    LayerFate.MOVED: ("moved", "changed"),
    LayerFate.REPACKED: ("packed anew", "changed"),
    LayerFate.ADDED: ("added", "added"),
    LayerFate.REMOVED: ("removed", "removed"),
}
"""What becomes of a layer -> its words, and their colour."""


@dataclass(frozen=True, slots=True)
class ComparedLayerRow:
    """A layer of one or both."""

    fate: str
    colour: str
    digest: str
    href: str
    """Its blob, where it is in the newer one, or in the older one if that is all."""
    size: int | None
    instruction: str


@dataclass(frozen=True, slots=True)
class ComparedFileRow:
    """A file that differs."""

    fate: str
    path: str
    before: int | None
    after: int | None
    what: str
    href: str
    """Where it is shown: in the newer image unless it was removed."""


@dataclass(frozen=True, slots=True)
class ComparedPackageRow:
    """A package that differs."""

    fate: str
    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class ComparedPlatform:
    """Two images for one platform."""

    platform: str
    size_before: int
    size_after: int
    layers: Few[ComparedLayerRow]
    shared: int
    """Number of layers that both have."""
    fields: Few[FieldChange]
    steps: Few[FieldChange]
    """Of the history of its config."""
    packages: Few[ComparedPackageRow]
    files_total: str
    """How many files differ, in words; empty if they were not compared."""
    files: PagedRows[ComparedFileRow]


@dataclass(frozen=True, slots=True)
class CompareView:
    """The view."""

    asked: tuple[str, str]
    """What was asked for; empty texts if nothing was."""
    before: Hyperlink | None
    after: Hyperlink | None
    swapped_href: str
    report: DiffReport | None
    """None if nothing was asked for."""
    fields: Few[FieldChange]
    """Of the indexes themselves."""
    images: tuple[ComparedPlatform, ...]


def comparison(
    asked: tuple[str, str], sides: tuple[Target, Target], report: DiffReport, number: int
) -> CompareView:
    """Return the view of what differs between two manifests; `number` is the page of files."""
    first, second = asked

    def address(page: int) -> str:
        return addresses.with_query("/compare", a=first, b=second, page=page if page > 1 else "")

    names = (str(sides[0].name), str(sides[1].name))
    return CompareView(
        asked=asked,
        before=_link(sides[0]),
        after=_link(sides[1]),
        swapped_href=addresses.with_query("/compare", a=second, b=first),
        report=report,
        fields=Few.of(report.fields),
        images=tuple(
            _image(names, one, page_of(_changes(one), number, address, FILES))
            for one in report.images
        ),
    )


def nothing(asked: tuple[str, str]) -> CompareView:
    """Return the view that asks for two images."""
    return CompareView(asked, None, None, "", None, Few((), 0), ())


def _link(one: Target) -> Hyperlink:
    name, digest = str(one.name), str(one.digest)
    if one.tag is not None:
        return Hyperlink(f"{name}:{one.tag}", addresses.of_tag(name, one.tag))
    return Hyperlink(f"{name}@{digest}", addresses.of_manifest(name, digest))


def _changes(one: ImageDifference) -> tuple[FileDelta, ...]:
    return one.files.changes if one.files else ()


def _image(
    names: tuple[str, str], one: ImageDifference, page: PagedRows[FileDelta]
) -> ComparedPlatform:
    files = one.files
    packages = files.packages if files else ()
    changes = Counter(str(change.change) for change in _changes(one))
    return ComparedPlatform(
        platform=one.platform,
        size_before=one.size_before,
        size_after=one.size_after,
        layers=Few.of([_layer(layer) for layer in one.layers]),
        shared=sum(layer.change is LayerFate.SHARED for layer in one.layers),
        fields=Few.of([field for field in one.fields if not _is_step(field)]),
        steps=Few.of([field for field in one.fields if _is_step(field)]),
        packages=Few.of(
            [
                ComparedPackageRow(str(p.change), p.name, p.before or "", p.after or "")
                for p in packages
            ]
        ),
        files_total="" if files is None else _counted(changes.items()) or "none",
        files=page.replaced(_file(names, one, change) for change in page.rows),
    )


def _is_step(one: FieldChange) -> bool:
    return one.field.startswith("step")


def _counted(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{count:,} {word}" for word, count in sorted(counts))


def _layer(one: LayerChange) -> ComparedLayerRow:
    layer: LayerAt | None = one.after or one.before
    if layer is None:
        raise ValueError("a change of no layer")
    return ComparedLayerRow(
        fate=_FATES[one.change][0],
        colour=_FATES[one.change][1],
        digest=layer.digest,
        href=addresses.of_blob(layer.digest),
        size=layer.size if layer.size >= 0 else None,
        instruction=layer.instruction or layer.media_type,
    )


def _file(names: tuple[str, str], image: ImageDifference, one: FileDelta) -> ComparedFileRow:
    fate = str(one.change)
    removed = fate == "removed"
    name, digest = (names[0], image.before) if removed else (names[1], image.after)
    is_file = one.kind is EntryKind.FILE
    return ComparedFileRow(
        fate=fate,
        path=f"/{one.path}{'/' if one.kind is EntryKind.FOLDER and one.path else ''}",
        before=one.before if is_file and fate != "added" else None,
        after=one.after if is_file and not removed else None,
        what=", ".join(one.what),
        href=addresses.of_files(name, digest, one.path),
    )


def value_of(text: str | None) -> str:
    """Return a value as far as a page shows it."""
    if not text:
        return "" if text is None else "set"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text):,} characters)"
