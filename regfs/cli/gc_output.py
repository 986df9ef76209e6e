"""What the gc commands print for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from rich.console import Console

from regfs.gc.policy import DAY
from regfs.render.gc import in_words, on_disk
from regfs.render.reports import say
from regfs.render.tables import plural, print_finding, printable, table
from regfs.runs.totals import Totals, sum_up
from regfs.units import human_size, rfc3339

if TYPE_CHECKING:
    from regfs.gc.collect import Purgeable
    from regfs.gc.sweep import Applied
    from regfs.runs import Purged, Restored, Returned, Run, Skipped

SHOWN: Final = 20
"""Rows of a long list that are shown without -v."""


def _say(out: Console, text: str) -> None:
    """Print a line without folding it, so that it can be copied."""
    out.print(printable(text), markup=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class AfterRun:
    """What may follow a run that has moved things into quarantine."""

    allocated: int
    """Bytes of disk blocks of what it planned to move, as far as they are known."""
    purge_from: datetime
    undo: str
    """The command that undoes it."""
    purge: str
    """The command that frees the space."""
    purge_now: str
    """The same without a wait; empty when there is none."""


def has_moved(applied: Applied) -> bool:
    """Return whether a run has left something in quarantine, which can be put back."""
    return not applied.purged and applied.done != Totals()


def show_applied(out: Console, applied: Applied, after: AfterRun, *, verbose: int) -> None:
    """Print what a run did, and how to undo it or free the space."""
    _show_skipped(out, applied.skipped, verbose=verbose)
    if not applied.in_place:
        say(out, in_words(applied.done), lead="Moved into quarantine: ")
    _show_returned(out, applied.returned, verbose=verbose)
    if applied.purged:
        say(out, in_words(applied.deleted), lead="Deleted: ")
        show_waiting(out, applied.waiting)
    elif has_moved(applied):
        allocated = 0 if applied.skipped else after.allocated
        taken = on_disk(applied.done.bytes, allocated)
        say(out, f"{taken}, until it is purged", lead="Still taken:    ")
        _say(out, f"Undo:           {after.undo}")
        _say(out, f"Free the space: {after.purge}")
        if after.purge_now:
            when = rfc3339(after.purge_from).replace("T", " ")
            _say(out, f"                from {when}: a push from before may need some of it")
            _say(out, f"Free it now:    {after.purge_now}")
            _say(out, "                only while nobody else writes to the tree")
    if applied.purged or applied.done != Totals():
        say(out, "Restart the registry if it caches blob descriptors (storage.cache).")


def _show_skipped(out: Console, skipped: Iterable[Skipped], *, verbose: int) -> None:
    everything = list(skipped)
    if verbose:
        for skip in everything:
            _say(out, f"Kept: {skip.path}: {skip.reason}")
        return
    for reason, count in Counter(skip.reason for skip in everything).most_common(SHOWN):
        _say(out, f"Kept: {plural(count, 'item')}: {reason}")


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
    _say(out, f"Restored: {plural(restored.restored, 'item')} of run {restored.run}, {size}")
    _show_replaced(out, restored.replaced)
    if restored.along:
        totals = sum_up((one.kind, one.size) for one in restored.along)
        runs = ", ".join(sorted({one.run for one in restored.along}))
        _say(out, f"Needed by it, and put back from run {runs}: {in_words(totals)}")
    if restored.removed:
        created = plural(restored.removed, "item")
        _say(out, f"Moved into quarantine: {created} that the run created")


def show_waiting(out: Console, runs: Iterable[str]) -> None:
    """Print which runs have not waited long enough."""
    for run in runs:
        _say(out, f"Not deleted yet: run {run} is younger than its wait (--offline: delete now)")


def show_purged(out: Console, purged: Purged, *, verbose: int) -> None:
    """Print what was deleted for good, and what was not."""
    for finding in purged.findings[:SHOWN]:
        print_finding(out, finding)
    if len(purged.findings) > SHOWN:
        out.print(f"... and {len(purged.findings) - SHOWN} more roots that are not on this disk")
    _show_returned(out, purged.returned, verbose=verbose)
    show_waiting(out, purged.waiting)
    files, runs = plural(purged.files, "file"), plural(len(purged.runs), "run")
    size = human_size(purged.bytes)
    _say(out, f"Deleted: {f'{files} of {runs}, {size}' if purged.runs else 'nothing'}")
    if purged.pruned:
        journals = plural(len(purged.pruned), "journal")
        _say(out, f"Pruned: {journals} of runs purged long ago (--keep-journals)")


def show_purgeable(out: Console, found: Purgeable, allocated: int, now: float) -> None:
    """Print what a purge would delete, and what has to wait."""
    _show_table(out, [*found.runs, *found.waiting], now, verbose=0)
    for one in [*found.damaged, *found.future]:
        _say(out, f"Stays: run {one.path}: {one.reason}")
    if found.waiting:
        _say(out, f"Waits: {plural(len(found.waiting), 'run')} (--offline: delete it now)")
    size = sum(run.done.bytes for run in found.runs)
    what = f"{on_disk(size, allocated)} of {plural(len(found.runs), 'run')}" if found.runs else ""
    _say(out, f"To delete: {what or 'nothing'}")
    if found.runs:
        _say(out, "What is in use again by then is put back instead.")


def show_runs(out: Console, runs: Sequence[Run], now: float, *, verbose: int) -> None:
    """Print the runs of a tree."""
    _show_table(out, runs, now, verbose=verbose)
    if not runs:
        out.print("No runs.")


def _show_table(out: Console, runs: Sequence[Run], now: float, *, verbose: int) -> None:
    rows = [
        (
            run.run,
            run.kind.value,
            run.state,
            human_size(run.done.bytes),
            f"{_items(run):,}",
            _when(run.purge_from, now),
            *([rfc3339(run.moved_at), _done(run)] if verbose else []),
        )
        for run in runs
    ]
    columns = ["=run", "=kind", "=state", ">size", ">items", "=purge from"]
    if rows:
        out.print(table("", [*columns, *(["=moved", "what"] if verbose else [])], rows))


def _items(run: Run) -> int:
    counts: dict[str, int] = asdict(run.done if run.done != Totals() else run.made)
    return sum(counts.values()) - counts["bytes"]


def _when(time: datetime | None, now: float) -> str:
    """Return a time as the hour if it is within a day, else as the day; in UTC."""
    if time is None:
        return "-"
    ahead = time.timestamp() - now
    if ahead <= 0:
        return "now"
    return f"{time:%H:%M:%SZ}" if ahead < DAY else f"{time:%Y-%m-%d}"


def _done(run: Run) -> str:
    """Return what a run moved into quarantine and what it put in place."""
    parts = [in_words(run.done)] if run.done != Totals() or run.made == Totals() else []
    parts += [f"not moved: {in_words(run.left)}"] if run.left != Totals() else []
    parts += [f"put in place: {in_words(run.made)}"] if run.made != Totals() else []
    return "; ".join(parts)
