"""Who needs something, what is known to be wrong, and what removing marked things would free."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from regfs.browse.places import (
    Line,
    LineColumn,
    Listed,
    Measure,
    OneManifest,
    OneRepository,
    Standing,
)
from regfs.browse.tree_data import TreeData
from regfs.digest import Digest
from regfs.findings import Severity
from regfs.render.tables import plural, short
from regfs.reports.paths import NeededBy, needs, reasons
from regfs.reports.removal import Removal, removal
from regfs.tree.registry import Target
from regfs.units import human_size
from regfs.verify.report import ReportedFinding

_STANDINGS: Final = {
    Severity.ERROR: Standing.DAMAGED,
    Severity.WARNING: Standing.PARTLY,
    Severity.INFO: Standing.UNKNOWN,
}


# -- who needs it ------------------------------------------------------------------------


def needers_page(data: TreeData, digest: Digest) -> Listed:
    """Return the tags, and the untagged manifests, that need a blob or manifest."""
    found = needs(data.graph, digest)
    size = data.graph.inventory.blobs.size(digest)

    def line(item: NeededBy, measure: Measure | None) -> Line:
        way = [item.name, *(short(one) for one in item.through), digest.short]
        return Line(
            item.name,
            standing=_standing(data, item),
            cells=(item.role,),
            aside=f"through {short(item.through[0])}" if item.through else "",
            opens=_opens(data, item),
            reference=item.name,
            details=(
                ("Needed as", item.role),
                ("Path", " > ".join(way)),
            ),
        )

    count = plural(len(found), "tag or manifest", "tags and manifests")
    summary = [("Blob", digest), ("Size", human_size(size))]
    if not found:
        summary.append(("Kept by", _nothing(data, digest)))
    return Listed(
        f"why {digest.short}",
        found,
        line,
        lambda item: item.name,
        columns=(LineColumn("As", 8, 40),),
        heading="Needed by",
        note=f"{count} {'needs' if len(found) == 1 else 'need'} it",
        summary=tuple(summary),
    )


def _nothing(data: TreeData, digest: Digest) -> str:
    """Return why a blob that no image needs is there all the same."""
    found = reasons(data.graph, Target(None, None, digest), digest, 1)
    if found.doubtful:
        return "an image that cannot be read may need it: gc keeps it"
    return "nothing: `regfs gc run` frees it"


def _standing(data: TreeData, item: NeededBy) -> Standing:
    known = data.verified
    return (
        known.of_tag.get((item.repository, item.tag), Standing.UNKNOWN)
        if known
        else Standing.UNKNOWN
    )


def _opens(data: TreeData, item: NeededBy) -> OneManifest | OneRepository:
    repository = data.graph.inventory.repositories.get(item.repository)
    if repository is not None and item.tag is not None and item.tag in repository.tags:
        current = repository.tags[item.tag].current
        if current is not None:
            return OneManifest(item.repository, item.tag, current, item.name)
    return OneRepository(item.repository)


# -- findings ----------------------------------------------------------------------------


def findings_page(data: TreeData) -> Listed:
    """Return what is known to be wrong, by the listing and by earlier verifications."""
    known = data.verified
    if known is None:
        return Listed("findings", (), _finding_line, str, note="not worked out yet", whole=False)
    errors = sum(one.finding.severity is Severity.ERROR for one in known.findings)
    count = f"{plural(errors, 'error')}, {len(known.findings) - errors:,} more; "
    return Listed(
        "findings",
        known.findings,
        _finding_line,
        lambda item: f"{item.finding.code} {item.finding.path}",
        columns=(LineColumn("Code", 20, 60),),
        heading="Where",
        note=(count if known.findings else "no damage is known; ") + known.words,
    )


def _finding_line(item: ReportedFinding, measure: Measure | None) -> Line:
    finding = item.finding
    images = " ".join(item.images[:20])
    return Line(
        finding.path,
        standing=_STANDINGS[finding.severity],
        cells=(finding.code.value,),
        faint=finding.severity is Severity.INFO,
        details=(
            (finding.severity.value.capitalize(), finding.message),
            ("Path", finding.path),
            ("Remedy", finding.remedy),
            *(("Images", images) for _ in [0] if images),
        ),
    )


# -- what is marked ----------------------------------------------------------------------


def marks_page(data: TreeData, references: Sequence[str]) -> Listed:
    """Return what is marked, with what removing all of it would free.

    Raises:
        Unknown: one of it is not there any more.
    """
    find = data.tree.view.find_all
    targets = list(dict.fromkeys(target for text in references for target in find(text)))
    effect = removal(data.graph, targets) if targets else None

    def alone(reference: str) -> int | None:
        name, _, tag = reference.partition(":")
        whole = data.used.get(reference)
        used = data.used_by_tag.get(name, {}).get(tag) if tag else whole
        return used.unique if used else None

    def line(item: str, measure: Measure | None) -> Line:
        size = measure(item) if measure else None
        return Line(item, size, reference=item, details=(("Marked", item),))

    freed = human_size(effect.freed.bytes) if effect else "nothing"
    return Listed(
        "marked",
        references,
        line,
        str,
        measures={"alone": alone},
        heading="Marked; each alone would free its size",
        note=f"{len(references):,} marked; removing all frees {freed}"
        if effect
        else "nothing is marked: d marks",
        summary=tuple(_effect(effect)) if effect else (),
    )


def _effect(effect: Removal) -> Iterator[tuple[str, str]]:
    yield "Tags", f"{plural(len(effect.tags), 'tag')} would go"
    freed = f"{human_size(effect.freed.bytes)} in {plural(effect.freed.blobs, 'blob')}"
    yield "Frees", f"{freed}, once collected"
    yield "Stays", f"{human_size(effect.kept.bytes)} that other images need"
    for keeper in effect.keepers[:3]:
        yield "Needed by", f"{keeper.name}: {human_size(keeper.bytes)}"
    for name in effect.tagless[:3]:
        yield "No tag left", name
    for name in effect.frozen[:3]:
        yield "Damaged", f"{name} keeps all it names"
    if effect.incomplete:
        yield "Frees nothing", "parts of the tree cannot be read"
