"""What is about an image, for people: the tree of referrers, attestations, packages of an SBOM."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from regfs.render.reports import lines, say
from regfs.render.tables import plural, printable, short, table
from regfs.reports.attestations import COUNTED
from regfs.units import human_size

if TYPE_CHECKING:
    from rich.console import Console

    from regfs.content.provenance import Material, Provenance
    from regfs.content.sbom import Sbom
    from regfs.reports.attestations import ReadDocument
    from regfs.reports.referrers import ReferrerTree, TreeRow
    from regfs.reports.sboms import ListedPackages

_DEEPEST: Final = 12
"""Levels of a tree that are indented; those below stand at the same edge."""
_MATERIALS: Final = 5
_ARGUMENTS: Final = 10
"""How many are named; the rest are only counted."""
_TAGS: Final = 3
"""Tags that are named in a row of the tree."""
_VALUE: Final = 200
"""Characters of a build argument that are shown."""
_DIGITS: Final = 12
_IMAGE: Final = re.compile(r"pkg:docker/([^@?]+)(?:@([^?]+))?(?:\?platform=([^&]+))?")


def show_referrers(report: ReferrerTree, console: Console) -> None:
    """Print `referrers`: each manifest below what it is about."""
    lines(console, _tree(report))
    if not any(row.way not in ("asked", "listed") for row in report.rows):
        say(console)
        say(console, "Nothing is about it: no signature, no SBOM, no other referrer.")


def _tree(report: ReferrerTree) -> Iterator[str]:
    last = _last_of_their_kind(report.rows)
    open_: list[bool] = []
    """For each level above: whether more follows there."""
    for row, is_last in zip(report.rows, last, strict=True):
        del open_[max(row.depth - 1, 0) :]
        lead = "".join("|  " if more else "   " for more in open_[:_DEEPEST])
        if row.depth:
            lead += "`- " if is_last else "|- "
            open_.append(not is_last)
        yield lead + (_line(row) if row.depth else f"{report.reference}  {_line(row)}")


def _last_of_their_kind(rows: Sequence[TreeRow]) -> list[bool]:
    """Return of each row whether no other one follows at its level, below the same row."""
    found, following = [], set[int]()
    for row in reversed(rows):
        found.append(row.depth not in following)
        following = {depth for depth in following if depth < row.depth} | {row.depth}
    return found[::-1]


def _line(row: TreeRow) -> str:
    is_about = row.way not in ("asked", "listed")
    what = ", ".join(row.holds) or (row.artifact_type if is_about else "") or row.kind
    text = "  ".join(filter(None, (short(row.digest), row.platform, what)))
    notes = ["MISSING" if row.kind == "missing" else human_size(row.size), _WAYS.get(row.way, "")]
    if row.depth and row.way != "cosign tag":
        notes += row.tags[:_TAGS]
        if len(row.tags) > _TAGS:
            notes.append(f"and {len(row.tags) - _TAGS} more tags")
    if row.repeated:
        notes.append("see above")
    return printable(f"{text}, {', '.join(filter(None, notes))}")


_WAYS: Final = {
    "subject": "by its subject",
    "fallback tag": "by the fallback tag",
    "cosign tag": "by cosign's tag",
    "index": "beside it in an index",
}


# -- attestations ------------------------------------------------------------------------------


def show_attestations(found: Sequence[ReadDocument], console: Console) -> None:
    """Print what the documents about an image say."""
    several = len({one.document.about for one in found}) > 1
    for number, one in enumerate(found):
        if number:
            say(console)
        document = one.document
        what = " ".join(filter(None, (document.form, document.kind)))
        about = f", about {short(document.about)}" if several else ""
        signed = ", in a signed envelope" if "envelope" in one.wrappings else ""
        head = f"{what}, {human_size(document.size)}{signed}{about}"
        say(console, head, lead=f"{short(document.digest)}  ")
        for name, value in _pairs(one):
            say(console, value, lead=f"  {name:<12} ")


def _pairs(one: ReadDocument) -> Iterator[tuple[str, str]]:
    if one.provenance is not None:
        yield from provenance_pairs(one.provenance)
    elif one.sbom is not None:
        yield from sbom_pairs(one.sbom)
    elif one.document.kind == "SBOM" and not one.problem:
        large = one.document.size > COUNTED
        why = "it is large: regfs sbom --packages lists them" if large else "it is not in JSON"
        yield "packages", f"not counted, {why}"
    elif one.predicate_type:
        yield "predicate", one.predicate_type


def provenance_pairs(made: Provenance) -> Iterator[tuple[str, str]]:
    """Yield what a provenance says, as names and values."""
    mode = f", mode {made.mode}" if made.mode else ""
    yield "provenance", f"SLSA {made.slsa}{mode}"
    for name, value in (
        ("builder", made.builder),
        ("build type", "" if made.mode else made.build_type),
        ("frontend", made.frontend),
        ("built on", made.platform),
        ("built", _span(made.started, made.finished)),
        ("source", f"{made.source} at {made.commit}" if made.commit else made.source),
        ("file", made.entry_point),
        ("target", made.target),
    ):
        if value:
            yield name, value
    for number, (key, text) in enumerate(made.arguments.items()):
        if number == _ARGUMENTS:
            yield "argument", f"and {len(made.arguments) - _ARGUMENTS} more"
            break
        yield "argument", f"{key}={text[:_VALUE]}"
    if made.secrets:
        yield "secrets", ", ".join(made.secrets)
    for material in made.materials[:_MATERIALS]:
        yield "material", _material(material)
    if len(made.materials) > _MATERIALS:
        yield "material", f"and {len(made.materials) - _MATERIALS} more"
    if made.complete is not None:
        yield "materials", "all are named" if made.complete else "not all may be named"
    if made.dockerfile:
        yield "Dockerfile", f"in it, {plural(len(made.dockerfile.splitlines()), 'line')}"


def _span(start: str, end: str) -> str:
    return f"{start} to {end}" if start and end else start or end


def _material(one: Material) -> str:
    """Return a material; an image as people name it, not as a package URL does."""
    uri = one.uri
    if found := _IMAGE.fullmatch(uri):
        platform = f" ({unquote(found[3])})" if found[3] else ""
        uri = f"{unquote(found[1])}{f':{unquote(found[2])}' if found[2] else ''}{platform}"
    digests = ", ".join(f"{kind}:{text[:_DIGITS]}" for kind, _, text in map(_parted, one.digests))
    return f"{uri} {digests}".strip()


def _parted(digest: str) -> tuple[str, str, str]:
    return digest.partition(":")


def sbom_pairs(sbom: Sbom) -> Iterator[tuple[str, str]]:
    """Yield what an SBOM says of itself, as names and values."""
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sbom.kinds.items())
    files = f"; {plural(sbom.files, 'file')}" if sbom.files else ""
    yield "packages", f"{sbom.packages:,}{f' ({kinds})' if kinds else ''}{files}"
    version = sbom.version if sbom.version.startswith(sbom.form) else f"{sbom.form} {sbom.version}"
    yield "format", version.strip() or "not known to regfs"
    for name, value in (
        ("name", sbom.name),
        ("created", sbom.created),
        ("tools", ", ".join(sbom.tools)),
    ):
        if value:
            yield name, value


def show_packages(report: ListedPackages, console: Console) -> None:
    """Print `sbom --packages`."""
    read = report.read
    if report.packages:
        rows: Iterable[tuple[str, ...]] = (
            (one.name, one.version, one.kind, one.licence) for one in report.packages
        )
        console.print(table("", ["Package", "Version", "Kind", "Licence"], rows))
        say(console)
    for name, value in sbom_pairs(read.sbom) if read.sbom else ():
        say(console, value, lead=f"{name:<12} ")
