"""What the gc commands print for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from rich.console import Console

from regfs.render.gc import in_words
from regfs.render.tables import print_finding, printable, table
from regfs.runs.totals import Totals, sum_up
from regfs.units import human_size, rfc3339

if TYPE_CHECKING:
    from regfs.gc.sweep import Applied
    from regfs.runs import Purged, Restored, Returned, Run, Skipped

SHOWN: Final = 20
"""Rows of a long list that are shown without -v."""


def _say(out: Console, text: str) -> None:
    """Print a line without folding it, so that it can be copied."""
    out.print(printable(text), markup=False, soft_wrap=True)


def show_applied(out: Console, applied: Applied, *, verbose: int) -> None:
    """Print what a run did, and how to undo it or free the space."""
    _show_skipped(out, applied.skipped, verbose=verbose)
    if not applied.in_place:
        _say(out, f"Moved into quarantine: {in_words(applied.done)}")
    _show_returned(out, applied.returned, verbose=verbose)
    if applied.purged:
        _say(out, f"Deleted: {in_words(applied.deleted)}")
        out.print("Restart the registry if it caches blob descriptors (storage.cache).")
        return
    if applied.done != Totals():
        _say(out, f"Undo:           regfs gc restore {applied.run}")
        _say(out, f"Free the space: regfs gc purge {applied.run}")
        out.print("Restart the registry if it caches blob descriptors (storage.cache).")


def _show_skipped(out: Console, skipped: Iterable[Skipped], *, verbose: int) -> None:
    everything = list(skipped)
    if verbose:
        for skip in everything:
            _say(out, f"Kept: {skip.path}: {skip.reason}")
        return
    for reason, count in Counter(skip.reason for skip in everything).most_common(SHOWN):
        _say(out, f"Kept: {count} x {reason}")


def _show_returned(out: Console, returned: Sequence[Returned], *, verbose: int) -> None:
    """Print what is in use again and was put back."""
    if returned:
        totals = sum_up((one.kind, one.size) for one in returned)
        _say(out, f"In use again, and put back: {in_words(totals)}")
    for one in returned if verbose else ():
        _say(out, f"Put back: {one.path}")
    _show_replaced(out, [one.path for one in returned if one.replaced])


def _show_replaced(out: Console, paths: Sequence[str]) -> None:
    """Print where a good copy has replaced bad bytes."""
    for path in paths:
        _say(out, f"Replaced bad bytes by the good copy: {path}")
    if paths:
        out.print("The bad bytes stay in quarantine until the next purge.")


def show_restored(out: Console, restored: Restored) -> None:
    """Print what was put back."""
    _show_skipped(out, restored.skipped, verbose=1)
    size = human_size(restored.bytes)
    _say(out, f"Restored: {restored.restored} of run {restored.run}, {size}")
    _show_replaced(out, restored.replaced)
    if restored.along:
        totals = sum_up((one.kind, one.size) for one in restored.along)
        runs = ", ".join(sorted({one.run for one in restored.along}))
        _say(out, f"Needed by it, and put back from run {runs}: {in_words(totals)}")
    if restored.removed:
        _say(out, f"Moved into quarantine: {restored.removed} that the run had put in place")


def show_purged(out: Console, purged: Purged, *, verbose: int) -> None:
    """Print what was deleted for good, and what was not."""
    for finding in purged.findings[:SHOWN]:
        print_finding(out, finding)
    if len(purged.findings) > SHOWN:
        out.print(f"... and {len(purged.findings) - SHOWN} more roots that are not on this disk")
    _show_returned(out, purged.returned, verbose=verbose)
    for run in purged.waiting:
        _say(out, f"Not deleted yet: run {run} is younger than its wait (--offline: delete now)")
    count = len(purged.runs)
    runs = "1 run" if count == 1 else f"{count} runs"
    _say(out, f"Deleted: {purged.files} files of {runs}, {human_size(purged.bytes)}")


def show_runs(out: Console, runs: Sequence[Run]) -> None:
    """Print the runs of a tree."""
    rows = [
        (
            run.run,
            run.kind.value,
            rfc3339(run.moved_at),
            run.state,
            human_size(run.done.bytes),
            _done(run),
        )
        for run in runs
    ]
    if rows:
        out.print(table("", ("run", "kind", "when", "state", ">size", "what"), rows))
    else:
        out.print("No runs.")


def _done(run: Run) -> str:
    """Return what a run moved into quarantine and what it put in place."""
    parts = [in_words(run.done)] if run.done != Totals() or run.made == Totals() else []
    parts += [f"not moved: {in_words(run.left)}"] if run.left != Totals() else []
    parts += [f"put in place: {in_words(run.made)}"] if run.made != Totals() else []
    return "; ".join(parts)
