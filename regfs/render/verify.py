"""A verification for people, while it runs and at its end, and as JSON.

    print_row    one finding with the images it affects, at once
    show_result  totals, findings by severity and code, images, and the verdict
    result_document, row_document    what --json and --ndjson print

junit.py and metrics.py write it for other programs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from regfs.findings import RULES, Code, Severity
from regfs.render.tables import plural, print_finding, printable, table
from regfs.tree.inventory import INCOMPLETE
from regfs.units import human_duration, human_size, rfc3339, utc_time
from regfs.verify.report import CoverageDocument, FindingDocument, MoreDocument, VerifyDocument

if TYPE_CHECKING:
    from rich.console import Console

    from regfs.verify import ImageDamage, ReportedFinding, Result
    from regfs.verify.report import Checked, Coverage

_UNREAD: Final = INCOMPLETE | {Code.BLOB_UNREADABLE}

SHOWN: Final = 10
"""Images that are named for one finding on a terminal."""
LISTED: Final = 20
"""Images that are named in the summary without -v."""


def result_document(result: Result) -> VerifyDocument:
    """Return a result as the JSON document of the command."""
    return VerifyDocument(
        root=result.root,
        level=result.level,
        checked=result.checked,
        findings=[row_document(row) for row in result.findings],
        more=_more(result.more),
        interrupted=result.interrupted,
        started_at=utc_time(result.started),
        finished_at=utc_time(result.finished),
        seconds=round(result.seconds, 3),
    )


def _more(counts: Mapping[tuple[Severity, Code], int]) -> list[MoreDocument]:
    return [
        MoreDocument(code.value, severity, count)
        for (severity, code), count in sorted(counts.items())
    ]


def row_document(row: ReportedFinding) -> FindingDocument:
    """Return a finding with the images that it affects."""
    return FindingDocument(**row.finding.written(), images=list(row.images), affected=row.affected)


def print_row(console: Console, row: ReportedFinding) -> None:
    """Print a finding and the images that it affects."""
    print_finding(console, row.finding)
    if row.affected:
        more = row.affected - SHOWN
        text = ", ".join(row.images[:SHOWN]) + (f" and {more} more" if more > 0 else "")
        console.print(f"        affects {printable(text)}", soft_wrap=True, markup=False)


def show_result(
    console: Console, result: Result, *, verbose: int, note: Callable[[str], None]
) -> None:
    """Print the summary; `note` prints remarks that are not part of it."""
    done = result.checked
    totals = (
        f"level {result.level.value}: {plural(done.blobs, 'blob')} "
        f"({human_size(done.bytes)} hashed), {plural(done.links, 'link')}, "
        f"{plural(done.manifests, 'manifest')}"
    )
    console.print(totals, soft_wrap=True, markup=False)
    for line in _unread(done):
        console.print(line, soft_wrap=True, markup=False)
    counts = result.counts
    if counts:
        order = list(Severity)
        rows = [
            (severity.value, code.value, count, RULES[code].message)
            for (severity, code), count in sorted(
                counts.items(), key=lambda item: (order.index(item[0][0]), item[0][1])
            )
        ]
        console.print(table("Findings", ["severity", "code", ">count", "what"], rows))
    hidden = _list_images(console, result.images, verbose)
    console.print(verdict(result), soft_wrap=True, markup=False)
    console.print(_speed(result), soft_wrap=True, markup=False)
    if hidden:
        note(f"regfs: and {plural(hidden, 'more image')}; -v lists them")
    if not verbose and any(severity is Severity.INFO for severity, _ in counts):
        note("regfs: findings of severity info are counted only; -v lists them")


def _unread(done: Checked) -> Iterator[str]:
    if done.skipped:
        yield f"{plural(done.skipped, 'blob')} not read: found intact recently"
    if done.remaining:
        size = human_size(done.remaining_bytes)
        yield f"{plural(done.remaining, 'blob')} ({size}) not read: left for the next run"


def show_coverage(console: Console, found: Coverage) -> None:
    """Print what a ledger says of a tree."""
    lines = [
        f"level {found.level.value}: {plural(found.verified, 'blob')} "
        f"({human_size(found.bytes)}) verified"
    ]
    if found.oldest is not None:
        lines[0] += f", the first of them at {rfc3339(found.oldest)}"
    if found.unknown:
        size = human_size(found.unknown_bytes)
        lines.append(f"{plural(found.unknown, 'blob')} ({size}) never verified, or changed since")
    weights = Counter(row.finding.severity for row in found.findings)
    for (severity, _), count in found.more.items():
        weights[severity] += count
    leftovers = weights.pop(Severity.INFO, 0)
    counts = [plural(n, weight.value) for weight in Severity if (n := weights[weight])]
    line = f"findings: {', '.join(counts)}" if counts else "no known problems"
    lines.append(line + (f"; {plural(leftovers, 'leftover')} of normal use" if leftovers else ""))
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)


def coverage_document(found: Coverage) -> CoverageDocument:
    """Return what a ledger says of a tree as the JSON document of `--merge`."""
    return CoverageDocument(
        root=found.root,
        level=found.level,
        verified=found.verified,
        bytes=found.bytes,
        unknown=found.unknown,
        unknown_bytes=found.unknown_bytes,
        oldest=None if found.oldest is None else utc_time(found.oldest),
        findings=[row_document(row) for row in found.findings],
        more=_more(found.more),
    )


def verdict(result: Result) -> str:
    """Return the verdict in words."""
    weights: Counter[Severity] = Counter()
    for (severity, _), count in result.counts.items():
        weights[severity] += count
    so_far = " so far" if result.interrupted else ""
    if errors := weights[Severity.ERROR]:
        broken = sum(1 for harm in result.images.values() if harm.errors)
        grave = {code for severity, code in result.counts if severity is Severity.ERROR}
        if broken and grave <= _UNREAD:
            return f"{plural(broken, 'image')} could not be checked{so_far}: not all can be read"
        if not broken:
            return f"{plural(errors, 'error')}{so_far}, but no image is known to be damaged"
        return f"{plural(broken, 'image is', 'images are')} damaged{so_far}"
    if warnings := weights[Severity.WARNING]:
        return f"no errors{so_far}; {plural(warnings, 'warning')} to look at"
    if leftovers := weights[Severity.INFO]:
        return f"no errors{so_far}; {plural(leftovers, 'leftover')} of normal use"
    return f"no problems found{so_far}"


def _speed(result: Result) -> str:
    seconds = result.seconds
    # An interrupted run does not count what it read of its last blobs.
    if result.interrupted or not result.checked.bytes or not seconds:
        return f"took {human_duration(seconds)}"
    rate = human_size(int(result.checked.bytes / seconds))
    return f"took {human_duration(seconds)}, {rate}/s"


def _list_images(console: Console, images: Mapping[str, ImageDamage], verbose: int) -> int:
    """Print what is wrong with each image, the worst first; return how many are left out."""
    if not images:
        return 0
    order = sorted(images, key=lambda name: (-images[name].errors, name))
    shown = order if verbose else order[:LISTED]
    rows = [
        (
            name,
            images[name].errors,
            images[name].warnings,
            "" if (worst := images[name].worst) is None else worst.finding.code.value,
        )
        for name in shown
    ]
    console.print(table("Images affected", ["image", ">errors", ">warnings", "worst"], rows))
    return len(order) - len(shown)
