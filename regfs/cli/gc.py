"""`regfs gc`: plan, apply, run, restore, purge, runs."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from regfs.cli.gc_carry_out import Measure, carry_out, prepare, tell_stays
from regfs.cli.gc_roots import read_file, read_roots, roots_options
from regfs.cli.options import Duration, Size, option_group
from regfs.cli.report_file import ReportFile
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command
from regfs.errors import Refused, StoreError
from regfs.gc.policy import Policy

if TYPE_CHECKING:
    from rich.console import Console

    from regfs.gc.plan import Plan
    from regfs.gc.retention import RetentionPolicy
    from regfs.gc.roots import Roots
    from regfs.runs import Purged

DOCUMENTS = {
    "plan": "regfs.gc.plan:Plan",
    "apply": "regfs.gc.sweep:Applied",
    "run": "regfs.gc.sweep:Applied",
    "restore": "regfs.runs:Restored",
    "purge": "regfs.runs:Purged",
    "runs": "regfs.runs:Runs",
}
"""Sub-command -> the type of its JSON document."""


_HELP = """Give space back: plan, review, apply, undo.

Nothing is deleted by apply: what a plan names is moved into quarantine within
the tree (.regfs), from where `gc restore` brings it back. `gc purge` frees the
space. On a full disk `gc run --offline --purge` does without a quarantine. The
registry may go on running: what comes back into use is put back, and is only
deleted --wait after it was moved. But a registry that caches blob descriptors
(storage.cache) has to be restarted before the purge.

\b
Examples:
  regfs gc plan -m -o plan.json      what would go, manifests without a tag too
  regfs gc apply plan.json           move it into quarantine
  regfs gc restore RUN               take it all back
  regfs gc purge --older-than 7d     free the space of runs a week old

\b
Exit codes:
  0   clean
  1   something was kept because it could not be known, something is lost that a
      restored run needs, or a plan was made although one of --roots is not on this
      disk (see the findings)
  2   usage
  3   refused (stale plan, lock held, damaged run, one of --roots not on this disk,
      doubt that needs a decision)
  4   not a registry tree, or no such run
  5   storage failure
  130 interrupted
"""


@click.group(name="gc", help=_HELP)
def command() -> None:
    """Hold the commands of a collection."""


_policy_options = option_group(
    click.option(
        "-m",
        "--delete-untagged",
        is_flag=True,
        help="Manifests that no tag reaches go too, but where --policy says that they stay.",
    ),
    click.option(
        "--min-age",
        type=Duration(),
        default="1h",
        show_default=True,
        help="Touch nothing younger, and take what is younger for in use.",
    ),
    click.option("--offline", is_flag=True, help="Nobody else writes: --min-age 0."),
    click.option(
        "--allow-tagless",
        metavar="NAME",
        multiple=True,
        help="With -m: this repository has no tags on purpose; its manifests may go.",
    ),
    click.option(
        "--allow-no-manifests",
        is_flag=True,
        help="Not one manifest is in this tree, and that is on purpose: all may go.",
    ),
    click.option(
        "--uploads-older-than",
        type=Duration(),
        default="7d",
        show_default=True,
        help="Uploads that were begun longer ago and never finished go.",
    ),
    click.option(
        "--policy",
        "policy_file",
        metavar="FILE",
        type=click.Path(dir_okay=False),
        help="Which tags may go, by repository: TOML or JSON.",
    ),
    roots_options(
        help="What is in use elsewhere, one a line: NAME:TAG, NAME@DIGEST or DIGEST. One that "
        "is not on this disk refuses the run.",
    ),
    click.option(
        "--keep-referrers-of-dangling/--delete-referrers-of-dangling",
        default=True,
        show_default=True,
        help="With -m: signatures and the like whose image is not there.",
    ),
    click.option(
        "--keep-referrers-of-subject/--delete-referrers-of-subject",
        default=True,
        show_default=True,
        help="With -m: untagged signatures and the like of an image that stays.",
    ),
    click.option(
        "--tag-history",
        metavar="N",
        type=click.IntRange(0),
        help="Of each tag, only the last N digests it pointed to before stay listed.",
    ),
    click.option(
        "--leftovers",
        is_flag=True,
        help="Walk the whole tree for halves of files and copies, and empty folders too.",
    ),
    click.option(
        "--empty-repositories", is_flag=True, help="Repositories that hold nothing any more go."
    ),
    click.option(
        "--max-freed",
        metavar="SIZE",
        type=Size(),
        help="Take blobs, the largest first, until so much is freed, and only the manifests "
        "and links that go with them.",
    ),
)


_metrics_option = click.option(
    "--metrics",
    metavar="FILE",
    type=ReportFile(),
    help="Write metrics for node_exporter's textfile collector, which wants a name in .prom.",
)


_carry_out_options = option_group(
    click.option("--purge", is_flag=True, help="Delete after the wait; there is no way back then."),
    click.option(
        "--wait",
        type=Duration(),
        help="How long a push under way may take to need what was moved; default --min-age.",
    ),
    _metrics_option,
)


def _policy(session: Session, options: dict[str, Any]) -> Policy:
    file = options["policy_file"]
    roots = read_roots(
        session,
        options["roots"],
        options["roots_hosts"],
        ignore_missing=options["ignore_missing_roots"],
        exists=session.is_repository,
    )
    return Policy(
        delete_untagged=options["delete_untagged"],
        min_age=0.0 if options["offline"] else options["min_age"],
        uploads_older_than=options["uploads_older_than"],
        allow_tagless=tuple(options["allow_tagless"]),
        allow_no_manifests=options["allow_no_manifests"],
        keep_referrers_of_dangling=options["keep_referrers_of_dangling"],
        keep_referrers_of_subject=options["keep_referrers_of_subject"],
        tag_history=options["tag_history"],
        leftovers=options["leftovers"],
        empty_repositories=options["empty_repositories"],
        max_freed=options["max_freed"],
        retention=None if file is None else _retention(file),
        roots=None if roots is None else roots.texts,
        ignore_missing_roots=options["ignore_missing_roots"],
    )


def _retention(file: str) -> RetentionPolicy:
    from regfs.gc.policy_file import load_policy

    return load_policy(read_file(file), file)


def _make_plan(session: Session, policy: Policy) -> Plan:
    import time

    from regfs.gc.plan import plan
    from regfs.gc.scanning import scan_for_plan
    from regfs.gc.sweep import check_owners

    with session.progress() as progress:
        session.inventory = scan_for_plan(session.store, policy, progress)
    check_owners(session.inventory)
    return plan(session.graph, policy, time.time(), session.registry.manifest_bytes)


@regfs_command(
    name="plan",
    examples=[
        "regfs gc plan",
        "regfs gc plan -m --min-age 1d -o plan.json",
        "regfs gc plan --policy keep.toml --explain",
        "regfs gc plan --json",
    ],
    exits=[Exit.FINDINGS, Exit.REFUSED],
)
@_policy_options
@click.option("-o", "--output", metavar="FILE", help="Write the plan there, for gc apply.")
@click.option("--explain", is_flag=True, help="Every decision of --policy, with its reason.")
def plan_command(session: Session, /, output: str | None, explain: bool, **options: Any) -> Exit:
    """Print what would go, what stays and why; delete nothing.

    With -o the plan is also written to a file, to be reviewed and given to gc apply.
    """
    from regfs.cli.gc_output import show_decisions, show_plan
    from regfs.render.tables import json_pieces

    if explain and options["policy_file"] is None:
        raise click.UsageError("--explain tells what --policy FILE has decided; give both")
    made = _make_plan(session, _policy(session, options))
    if output is not None:
        try:
            with open(output, "w", encoding="ascii") as stream:
                stream.writelines(json_pieces(made))
                stream.write("\n")
        except OSError as error:
            raise StoreError(f"{output}: {os.strerror(error.errno or 0)}") from None

    def show(out: Console) -> None:
        if explain:
            show_decisions(out, made.decisions)
        show_plan(out, made, verbose=session.verbose)

    session.emit(made, show)
    if output is not None:
        session.note(f"Plan written to {output}; carry it out with: regfs gc apply {output}")
    return Exit.FINDINGS if made.doubtful else Exit.CLEAN


@regfs_command(
    name="apply",
    examples=["regfs gc apply plan.json", "regfs gc apply plan.json --purge"],
    exits=[Exit.FINDINGS, Exit.REFUSED],
)
@click.argument("plan_file", metavar="PLAN", type=click.Path(dir_okay=False, allow_dash=True))
@_carry_out_options
@click.option("--offline", is_flag=True, help="Nobody else writes: do not wait.")
def apply_command(session: Session, /, plan_file: str, offline: bool, **options: Any) -> Exit:
    """Check a plan against the tree as it is now, and carry it out into quarantine.

    What is in use again, or has changed since the plan was made, stays.
    """
    from regfs.gc.plan import load

    return carry_out(session, load(read_file(plan_file)), offline=offline, **options)


@regfs_command(
    name="run",
    examples=["regfs gc run -n", "regfs gc run -m --yes", "regfs gc run --offline --purge --yes"],
    exits=[Exit.FINDINGS, Exit.REFUSED],
)
@_policy_options
@click.option("-n", "-d", "--dry-run", is_flag=True, help="Stop after the plan.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@_carry_out_options
def run_command(
    session: Session,
    /,
    dry_run: bool,
    yes: bool,
    purge: bool,
    wait: float | None,
    metrics: str | None,
    **options: Any,
) -> Exit:
    """Plan and apply in one go; shows the plan and asks first."""
    from regfs.cli.gc_output import show_plan
    from regfs.gc.sweep import check_roots

    made = _make_plan(session, _policy(session, options))
    if dry_run or not session.json:
        session.emit(made, lambda out: show_plan(out, made, verbose=session.verbose))
    if dry_run:
        return Exit.FINDINGS if made.doubtful else Exit.CLEAN
    check_roots(made)
    offline = options["offline"]
    prepare(session, made, purge=purge, wait=0.0 if offline else wait)
    if made.actions and not yes:
        if not sys.stdin.isatty():
            raise Refused("nobody to ask: say --yes to go on, or -n to only see the plan")
        what = "Delete this for good" if purge else "Move this into quarantine"
        if not click.confirm(f"{what}?", err=True):
            raise Refused("nothing was done")
    return carry_out(session, made, purge=purge, wait=wait, offline=offline, metrics=metrics)


@regfs_command(
    name="restore",
    examples=[
        "regfs gc restore 20261123T181853Z-4f0c2a",
        "regfs gc restore 20261123T181853Z-4f0c2a --digest sha256:25b1600519c0...",
    ],
    exits=[Exit.FINDINGS, Exit.REFUSED],
)
@click.argument("run", metavar="RUN")
@click.option("--digest", "digests", metavar="DIGEST", multiple=True, help="Only this; repeatable.")
def restore_command(session: Session, /, run: str, digests: tuple[str, ...]) -> Exit:
    """Put back what a run moved into quarantine. Safe to repeat.

    What that needs and other runs have moved comes back with it. Where something bad lies
    at the place of a good copy, it makes room and stays in quarantine.
    """
    from regfs.cli.gc_output import show_restored
    from regfs.digest import Digest
    from regfs.gc.restoring import restore

    wanted = frozenset(Digest.parse(digest) for digest in digests)
    with session.progress() as progress:
        done = restore(session.store, run, digests=wanted, progress=progress)
    session.emit(done, lambda out: show_restored(out, done))
    for one in done.lost:
        session.complain(f"{one.path}: needed by what was restored, and lost: {one.reason}")
    return Exit.FINDINGS if done.lost else Exit.CLEAN


@regfs_command(
    name="purge",
    examples=[
        "regfs gc purge --older-than 7d",
        "regfs gc purge --roots in-use.txt",
        "regfs gc purge --discard",
        "regfs gc purge 20261123T181853Z-4f0c2a",
    ],
    exits=[Exit.FINDINGS, Exit.REFUSED],
)
@click.argument("run", metavar="[RUN]", required=False)
@click.option(
    "--older-than",
    type=Duration(),
    default="0",
    help="Only what was moved at least so long ago; default all.",
)
@click.option("--offline", is_flag=True, help="Nobody else writes: there is no wait.")
@click.option(
    "--discard",
    is_flag=True,
    help="Delete bad bytes too for which no good ones have come; there may be no other copy.",
)
@roots_options(
    help="What is in use elsewhere, as in gc plan: it is put back, not deleted. One that is "
    "neither on this disk nor in quarantine refuses the purge.",
)
@_metrics_option
def purge_command(
    session: Session,
    /,
    run: str | None,
    older_than: float,
    offline: bool,
    discard: bool,
    roots: str | None,
    roots_hosts: tuple[str, ...],
    ignore_missing_roots: bool,
    metrics: str | None,
) -> Exit:
    """Delete for good what runs have moved into quarantine; this frees the space.

    What has come back into use since is put back instead. A run that is younger than its
    wait stays: a push that began before it may still be under way. The last good copy of
    something goes back to its place, and bad bytes stay until good ones have come.
    """
    from regfs.cli.gc_output import show_purged
    from regfs.gc.collect import purge

    measure = Measure(session, metrics)
    said = _roots(session, roots, roots_hosts, ignore_missing_roots)
    with session.progress() as progress:
        done = purge(
            session.registry,
            run,
            older_than=older_than,
            offline=offline,
            discard=discard,
            roots=said,
            ignore_missing_roots=ignore_missing_roots,
            progress=progress,
        )
    measure.write(done.deleted, done.bytes)
    session.emit(done, lambda out: show_purged(out, done, verbose=session.verbose))
    return _tell_left(session, done)


def _tell_left(session: Session, done: Purged) -> Exit:
    """Say what a purge has not deleted, and why."""
    tell_stays(session, done.stays)
    for run in done.future:
        session.complain(f"not deleted: run {run.path}: {run.reason}")
    for run in done.damaged:
        session.complain(
            f"not deleted: run {run.path} is damaged ({run.reason}); put back what lies in its "
            f"quarantine with: regfs gc restore {run.path}"
        )
    if done.damaged:
        return Exit.REFUSED
    return Exit.FINDINGS if done.stays or done.future else Exit.CLEAN


def _roots(
    session: Session, file: str | None, hosts: tuple[str, ...], ignore_missing: bool
) -> Roots | None:
    """Read a list of roots; the repository that one names may be in quarantine only."""
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
    """List the runs of this tree, and what has become of what they moved.

    A run is damaged when its journal does not account for what lies in its quarantine.
    """
    from regfs.cli.gc_output import show_runs
    from regfs.runs import RUNS, runs

    found = runs(session.store)
    session.store.list(RUNS, session.unread.append)  # what cannot be seen is not "no runs"
    session.emit(found, lambda out: show_runs(out, found))
    damaged = [one for one in found if one.damage is not None]
    for one in damaged:
        session.complain(
            f"run {one.run} is damaged ({one.damage}); put back what lies in its quarantine with: "
            f"regfs gc restore {one.run}"
        )
    return Exit.FINDINGS if damaged else Exit.CLEAN


for _made in (
    plan_command,
    apply_command,
    run_command,
    restore_command,
    purge_command,
    runs_command,
):
    command.add_command(_made)
