"""What `gc run`, `gc apply` and `gc purge` share: carrying out, waiting, and metrics."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import click

from regfs.cli.report_file import write_report
from regfs.cli.session import Exit, Session
from regfs.cli.spelled import spelled
from regfs.errors import StoreFull
from regfs.units import utc_time, written

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from regfs.cli.gc_output import AfterRun
    from regfs.gc.plan import Plan
    from regfs.gc.sweep import Applied
    from regfs.runs import Skipped
    from regfs.runs.totals import Totals

_SHOWN: Final = 20
"""Lines of a long list that are shown."""


@contextmanager
def _spelled_out(in_place: str) -> Iterator[None]:
    """Name the command that needs no space as it has to be typed: the library cannot know it."""
    from regfs.gc.space import IN_PLACE

    try:
        yield
    except StoreFull as error:
        raise StoreFull(str(error).replace(IN_PLACE, in_place)) from None


def prepare(
    session: Session, made: Plan, *, purge: bool, wait: float | None, in_place: str
) -> None:
    """Check that a plan can be carried out, before the user is asked to confirm it.

    `in_place` is the command that needs no space.

    Raises:
        PathDenied, StoreError: the tree is not writable.
        StoreFull: there is no space for a quarantine.
    """
    from regfs.gc.space import changed_folders, check_room
    from regfs.runs import require_writable

    if not made.actions:
        return
    store = session.store
    require_writable(store, changed_folders(made.actions))
    at_once = purge and (made.policy.min_age if wait is None else wait) <= 0
    with _spelled_out(in_place):
        found = check_room(store, made, at_once=at_once)
    if not found:
        session.note(
            "There is no space for a quarantine: everything is deleted in place, references first."
        )


def carry_out(
    session: Session,
    made: Plan,
    *,
    purge: bool,
    wait: float | None,
    offline: bool,
    metrics: str | None,
    in_place: str,
) -> Exit:
    """Carry out a plan, settle, purge after the wait if asked to, and print what was done.

    `in_place` is the command that needs no space.
    """
    measure = Measure(session, metrics)
    wait = 0.0 if offline else made.policy.min_age if wait is None else wait
    with _spelled_out(in_place):
        applied = _collect(session, made, purge=purge, wait=wait)
    measure.write(applied.deleted, applied.freed)
    outcome = Exit.FINDINGS if applied.doubtful or applied.stays else Exit.CLEAN
    did_anything = made.actions or applied.returned or applied.purged or applied.waiting
    if session.json or did_anything:
        from regfs.cli.gc_output import show_applied

        after, verbose = after_run(session, made, wait), session.verbose
        session.emit(
            applied, lambda out: show_applied(out, applied, after, verbose=verbose), outcome
        )
    report_kept(session, applied.stays)
    if applied.purged:
        note_freed_later(session)
    return outcome


def _collect(session: Session, made: Plan, *, purge: bool, wait: float) -> Applied:
    """Carry out a plan with progress, and say how to go on when that is interrupted."""
    from regfs.gc.collect import collect

    try:
        with session.progress() as progress:
            return collect(
                made,
                session.registry,
                wait=wait,
                purge=purge,
                latest=session.tree.latest,
                progress=progress,
                pause=partial(_pause, session),
            )
    except KeyboardInterrupt:
        purged, undone = (spelled(session, "gc", do, made.id) for do in ("purge", "restore"))
        session.complain(
            f"what was moved stays in quarantine; to go on after the wait: {purged}; "
            f"to undo: {undone}"
        )
        raise


def after_run(session: Session, made: Plan, wait: float) -> AfterRun:
    """Return what may follow a run that has just ended, and waits so many seconds for a purge."""
    from regfs.cli.gc_output import AfterRun

    purge = spelled(session, "gc", "purge", made.id)
    return AfterRun(
        made.allocated,
        utc_time(math.ceil(time.time() + wait)),
        spelled(session, "gc", "restore", made.id),
        purge,
        f"{purge} --offline" if wait else "",
    )


def _pause(session: Session, seconds: float) -> None:
    session.note(
        f"Waiting {written(seconds)} for pushes that may be under way; then what was moved is "
        "deleted. If the registry caches blob descriptors (storage.cache), restart it now."
    )
    time.sleep(seconds)


def report_kept(session: Session, stays: Sequence[Skipped], *, discard: bool = False) -> None:
    """Report what a purge has left in quarantine, and why."""
    for one in stays[:_SHOWN]:
        session.complain(f"not deleted: {one.path}: {one.reason}")
    if len(stays) > _SHOWN:
        session.complain(f"and {len(stays) - _SHOWN} more were not deleted (--json names all)")
    if stays and not discard:
        session.note("To delete what is bad of that as well: regfs gc purge --discard")


def note_freed_later(session: Session) -> None:
    """Say that what was deleted takes space yet, where it does."""
    if session.store.freed_later:
        session.note(session.store.freed_later)


class Measure:
    """Measures the time of one command, and writes its metrics if a file is given."""

    def __init__(self, session: Session, file: str | None) -> None:
        if file == "-":
            if session.json:
                raise click.UsageError("only one document can go to standard output")
            session.out = session.err
        self._session = session
        self._file = file
        self._started = time.monotonic()

    def write(self, deleted: Totals, freed: int) -> None:
        """Write the metrics of the command.

        Raises:
            StoreError: the file cannot be written.
        """
        if self._file is None:
            return
        from regfs.gc.collect import quarantined
        from regfs.render.gc_metrics import Work, gc_metrics_text

        store = self._session.store
        seconds = time.monotonic() - self._started
        work = Work(store.url, seconds, time.time(), deleted, freed, quarantined(store))
        write_report(self._file, lambda before: [gc_metrics_text(work, before)])
