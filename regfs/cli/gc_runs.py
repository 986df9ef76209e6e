"""`regfs gc restore`, `purge` and `runs`: what becomes of what was moved."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from regfs.cli.gc_carry_out import Measure, note_freed_later, report_kept
from regfs.cli.gc_roots import read_roots, roots_options
from regfs.cli.options import Duration
from regfs.cli.report_file import metrics_option
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command
from regfs.errors import Refused

if TYPE_CHECKING:
    from regfs.gc.collect import Purgeable
    from regfs.gc.roots import Roots
    from regfs.runs import Purged


@regfs_command(
    name="restore",
    examples=[
        "regfs gc restore latest",
        "regfs gc restore 20261123T181853Z-4f0c2a --digest sha256:25b1600519c0...",
    ],
    exits=[Exit.FINDINGS, Exit.REFUSED],
)
@click.argument("run", metavar="RUN")
@click.option("--digest", "digests", metavar="DIGEST", multiple=True, help="Only this; repeatable.")
def restore_command(session: Session, /, run: str, digests: tuple[str, ...]) -> Exit:
    """Put back what a run moved into quarantine. Safe to repeat.

    Whatever it needs that other runs have moved comes back with it. Bad bytes at the place
    of a good copy are moved into quarantine.
    """
    from regfs.cli.gc_output import show_restored
    from regfs.digest import Digest

    wanted = frozenset(Digest.parse(digest) for digest in digests)
    done = session.tree.restore(run, wanted)
    outcome = Exit.FINDINGS if done.lost else Exit.CLEAN
    session.emit(done, lambda out: show_restored(out, done), outcome)
    for one in done.lost:
        session.complain(f"{one.path}: needed by what was restored, but lost: {one.reason}")
    return outcome


@regfs_command(
    name="purge",
    examples=[
        "regfs gc purge -n",
        "regfs gc purge --older-than 7d --yes",
        "regfs gc purge --roots in-use.txt",
        "regfs gc purge latest --offline",
        "regfs gc purge 20261123T181853Z-4f0c2a",
    ],
    exits=[Exit.FINDINGS, Exit.REFUSED],
)
@click.argument("run", metavar="[RUN]", required=False)
@click.option(
    "--older-than",
    type=Duration(),
    default="0",
    help="Only what was moved at least this long ago; default: everything.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be deleted, and stop.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask. Without a terminal nobody is asked.")
@click.option("--offline", is_flag=True, help="Nobody else writes to the tree: do not wait.")
@click.option(
    "--discard",
    is_flag=True,
    help="Also delete bad bytes that have no good copy yet; there may be no other copy.",
)
@click.option(
    "--keep-journals",
    type=Duration(),
    default="90d",
    show_default=True,
    help="Delete the journals of runs that were purged longer ago.",
)
@roots_options(
    help="Images in use elsewhere, as in gc plan: they are put back, not deleted. The purge is "
    "refused if one of them is neither on this disk nor in quarantine.",
)
@metrics_option
def purge_command(
    session: Session,
    /,
    run: str | None,
    dry_run: bool,
    yes: bool,
    roots: str | None,
    roots_hosts: tuple[str, ...],
    metrics: str | None,
    **options: Any,
) -> Exit:
    """Delete for good what runs have moved into quarantine; this frees the space.

    Anything that is in use again is put back instead. A run younger than its wait stays: a
    push that began before it may still be under way. The last good copy of anything is put
    back, and bad bytes stay until there is a good copy.

    On a terminal it shows what would be deleted, and asks first.
    """
    from regfs.cli.gc_output import show_purged

    if dry_run or not (yes or session.json or not sys.stdin.isatty()):
        found = _preview(session, run, options, dry_run=dry_run)
        if dry_run:
            return Exit.FINDINGS if found.damaged or found.future else Exit.CLEAN
        if found.runs and not click.confirm("Delete this for good?", err=True):
            raise Refused("nothing was deleted")
    measure = Measure(session, metrics)
    said = _roots(session, roots, roots_hosts, options["ignore_missing_roots"])
    done = session.tree.purge(run, roots=said, **options)
    measure.write(done.deleted, done.bytes)
    session.emit(
        done, lambda out: show_purged(out, done, verbose=session.verbose), _purge_outcome(done)
    )
    return _report_left(session, done, discard=options["discard"])


def _preview(
    session: Session, run: str | None, options: dict[str, Any], *, dry_run: bool
) -> Purgeable:
    """Return what a purge would delete now; print it, unless a purge of nothing says so itself."""
    from regfs.cli.gc_output import show_purgeable
    from regfs.gc.collect import purgeable
    from regfs.runs import find_run, occupied

    store = session.store
    name = None if run is None else find_run(store, run)
    older_than, offline = options["older_than"], options["offline"]
    found = purgeable(session.registry, name, older_than=older_than, offline=offline)
    if not (dry_run or found.runs):
        return found
    taken = 0 if session.json else occupied(store, *(one.run for one in found.runs)).allocated
    session.emit(found, lambda out: show_purgeable(out, found, taken, time.time()))
    return found


def _purge_outcome(done: Purged) -> Exit:
    if done.damaged:
        return Exit.REFUSED
    return Exit.FINDINGS if done.stays or done.future else Exit.CLEAN


def _report_left(session: Session, done: Purged, *, discard: bool) -> Exit:
    """Report what a purge has not deleted, and why."""
    report_kept(session, done.stays, discard=discard)
    if done.bytes:
        note_freed_later(session)
    for run in done.future:
        session.complain(f"not deleted: run {run.path}: {run.reason}")
    for run in done.damaged:
        session.complain(
            f"not deleted: run {run.path} is damaged ({run.reason}); put back what lies in its "
            f"quarantine with: regfs gc restore {run.path}"
        )
    return _purge_outcome(done)


def _roots(
    session: Session, file: str | None, hosts: tuple[str, ...], ignore_missing: bool
) -> Roots | None:
    """Read a list of roots; a repository that it names may be in quarantine only."""
    from regfs.gc.external_roots import repositories_in_quarantine

    gone = repositories_in_quarantine(session.store) if file is not None else set()
    return read_roots(
        session,
        file,
        hosts,
        ignore_missing=ignore_missing,
        exists=lambda name: session.is_repository(name) or name in gone,
    )


@regfs_command(name="runs", examples=["regfs gc runs", "regfs gc runs --json"], answers=True)
def runs_command(session: Session, /) -> Exit:
    """List the runs of this tree: the state of each, what it moved, and from when to purge it.

    A run is damaged when its journal does not account for what lies in its quarantine.
    """
    from regfs.cli.gc_output import show_runs

    found = session.tree.runs()
    session.emit(found, lambda out: show_runs(out, found, time.time(), verbose=session.verbose))
    damaged = [one for one in found if one.damage is not None]
    for one in damaged:
        session.complain(
            f"run {one.run} is damaged ({one.damage}); put back what lies in its quarantine with: "
            f"regfs gc restore {one.run}"
        )
    return Exit.FINDINGS if damaged else Exit.CLEAN
