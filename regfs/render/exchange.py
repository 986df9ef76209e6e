"""Exports and imports for people: what was written, what was there, and what is not in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rich.text import Text

from regfs.exchange.report import Format
from regfs.findings import Severity
from regfs.render.tables import plural, print_cause, print_finding, printable
from regfs.reports.causes import Causes
from regfs.units import human_size

if TYPE_CHECKING:
    from rich.console import Console

    from regfs.exchange.report import BlobCount, ExportReport
    from regfs.findings import Finding


_NAMED: Final = 3
"""Images that are named without -v."""


def show_exported(out: Console, done: ExportReport, *, verbose: int) -> None:
    """Print what an export did."""
    show_findings(out, done.findings, verbose=verbose)
    counted = [
        (done.tags, plural(done.tags, "tag")),
        (done.manifests, plural(done.manifests, *_manifests(done.format))),
        (done.layer_links, plural(done.layer_links, "layer link")),
    ]
    what = ", ".join(words for count, words in counted if count)
    where = plural(done.repositories, "repository", "repositories")
    _say(out, f"Exported to {done.to}: {f'{what} of {where}' if what else 'nothing'}")
    counts = [
        ("Copied", done.copied),
        ("There already", done.present),
        ("Left out, a former export has it", done.left_out),
    ]
    for words, count in counts:
        if count.blobs:
            _say(out, f"{words}: {_blobs(count)}")
    if done.docker:
        shown = done.docker if verbose else done.docker[:_NAMED]
        more = len(done.docker) - len(shown)
        names = ", ".join(shown) + (f" and {more} more (-v names them)" if more else "")
        _say(out, f"Of Docker's media types: {names}")
        _say(out, "Older skopeo does not find these by name, but alone in a layout, as oci:FOLDER;")
        _say(out, "regfs import takes them, and skopeo from regfs serve.")
    if done.lacking:
        lacking = plural(done.lacking, "blob")
        _say(out, f"Not in it: {lacking} that images need; see above")


def show_findings(out: Console, findings: Sequence[Finding], *, verbose: int) -> None:
    """Print findings, those of one cause once; with `verbose` each, those of severity info too."""
    shown = [one for one in findings if verbose or one.severity is not Severity.INFO]
    causes = Causes()
    for finding in shown:
        if causes.add(finding) or verbose:
            print_finding(out, finding)
    for cause in causes:
        if cause.count > 1 and not verbose:
            print_cause(out, cause)


def _manifests(form: Format) -> tuple[str, str]:
    if form is Format.TREE:
        return "manifest", "manifests"
    return "manifest without a tag", "manifests without a tag"


def _blobs(count: BlobCount) -> str:
    return f"{plural(count.blobs, 'blob')}, {human_size(count.bytes)}"


def _say(out: Console, text: str) -> None:
    """Print a line without folding it, so that it can be copied."""
    out.print(Text(printable(text)), soft_wrap=True)
