"""`regfs gc`: plan, apply, run, restore, purge, runs."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from regfs.cli.gc_carry_out import carry_out, prepare
from regfs.cli.gc_parts import check, merged, parts_options, read_share
from regfs.cli.gc_roots import read_file, read_roots, roots_options
from regfs.cli.gc_runs import purge_command, restore_command, runs_command
from regfs.cli.options import Duration, Size, cluster_option, option_group
from regfs.cli.report_file import metrics_option
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command
from regfs.cli.session import group as regfs_group
from regfs.cli.spelled import spelled
from regfs.errors import DocumentInvalid, Refused, StoreError
from regfs.gc.policy import Policy
from regfs.units import human_size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from regfs.gc.plan import Plan, Preview
    from regfs.gc.retention import RetentionPolicy
    from regfs.runs import Run

DOCUMENTS = {
    "plan": "regfs.gc.plan:Plan",
    "plan subset": "regfs.graph.share:ShareRead",
    "apply": "regfs.gc.sweep:Applied",
    "run": "regfs.gc.sweep:Applied",
    "restore": "regfs.runs:Restored",
    "purge": "regfs.runs:Purged",
    "purge dry-run": "regfs.gc.collect:Purgeable",
    "runs": "regfs.runs:Runs",
}
"""Sub-command -> the type of its JSON document."""


_HELP = """Free space: plan, review, apply, undo.

`gc apply` deletes nothing: it moves what a plan names into a quarantine within
the tree (.regfs), and `gc restore` moves it back. `gc purge` frees the space. On
a full disk, `gc run --offline --purge` works without a quarantine. The registry
may keep running: whatever comes back into use is put back, and nothing is deleted
before --wait has passed. But a registry that caches blob descriptors
(storage.cache) must be restarted before the purge.

\b
Examples:
  regfs gc plan -m -o plan.json    what would go, untagged manifests too
  regfs gc apply plan.json         move it into quarantine
  regfs gc restore RUN             undo it
  regfs gc purge --older-than 7d   free the space of runs a week old

\b
RUN is a run as `gc runs` lists it, the beginning of its name, or `latest`.

\b
Exit codes:
  0   clean
  1   something was kept because it is in doubt, something that a restored
      run needs is lost, or one of --roots is not on this disk (see the
      findings)
  2   usage
  3   refused (stale plan, lock held, damaged run, one of --roots not on
      this disk, doubt that needs a decision)
  4   not a registry tree, or no such run
  5   storage failure
  130 interrupted
"""


command = regfs_group(name="gc", help=_HELP)


_policy_options = option_group(
    click.option(
        "-m",
        "--delete-untagged",
        is_flag=True,
        help="Also delete manifests that no tag reaches, unless --policy keeps them.",
    ),
    click.option(
        "--min-age",
        type=Duration(),
        default="1h",
        show_default=True,
        help="Touch nothing younger; anything younger counts as in use.",
    ),
    click.option(
        "--offline", is_flag=True, help="Nobody else writes to the tree: same as --min-age 0."
    ),
    click.option(
        "--allow-tagless",
        metavar="NAME",
        multiple=True,
        help="With -m: this repository has no tags on purpose; its manifests may be deleted. "
        "Repeatable.",
    ),
    click.option(
        "--allow-no-manifests",
        is_flag=True,
        help="The tree has no manifests on purpose: everything may be deleted.",
    ),
    click.option(
        "--uploads-older-than",
        type=Duration(),
        default="7d",
        show_default=True,
        help="Delete unfinished uploads that began longer ago.",
    ),
    click.option(
        "--policy",
        "policy_file",
        metavar="FILE",
        type=click.Path(dir_okay=False),
        help="Rules for which tags may be deleted, by repository: TOML or JSON.",
    ),
    roots_options(
        help="Images in use elsewhere, one per line: NAME:TAG, NAME@DIGEST or DIGEST. The run is "
        "refused if one of them is not on this disk.",
    ),
    click.option(
        "--keep-referrers-of-dangling/--delete-referrers-of-dangling",
        default=True,
        show_default=True,
        help="With -m: signatures and other referrers whose image is missing.",
    ),
    click.option(
        "--keep-referrers-of-subject/--delete-referrers-of-subject",
        default=True,
        show_default=True,
        help="With -m: untagged signatures and other referrers of images that stay.",
    ),
    click.option(
        "--tag-history",
        metavar="N",
        type=click.IntRange(0),
        help="Keep only the last N former digests in the history of each tag.",
    ),
    click.option(
        "--leftovers",
        is_flag=True,
        help="Walk the whole tree for partial files, partial copies and empty folders too.",
    ),
    click.option("--empty-repositories", is_flag=True, help="Delete empty repositories."),
    click.option(
        "--max-freed",
        metavar="SIZE",
        type=Size(),
        help="Stop once this much is freed: take the largest blobs first, and only the manifests "
        "and links that belong to them.",
    ),
)


_carry_out_options = option_group(
    click.option(
        "--purge",
        is_flag=True,
        help="Delete after the wait, also what interrupted runs have left; there is no undo.",
    ),
    click.option(
        "--wait",
        type=Duration(),
        help="How long to wait for pushes under way before deleting; default: --min-age.",
    ),
    metrics_option,
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


def _interrupted(session: Session) -> list[Run]:
    from regfs.gc.collect import interrupted

    return interrupted(session.tree.runs())


def _confirm(session: Session, left: Iterable[Run], *, purge: bool) -> None:
    """Ask whether to carry out the plan that was shown.

    Raises:
        Refused: no, or nobody can be asked.
    """
    if not sys.stdin.isatty():
        raise Refused("cannot ask for confirmation: give --yes to continue, or -n to see the plan")
    for one in left:
        session.note(
            f"Run {one.run} was interrupted, and what it has left in quarantine is deleted "
            f"too: {human_size(one.done.bytes)}"
        )
    what = "Delete this for good" if purge else "Move this into quarantine"
    if not click.confirm(f"{what}?", err=True):
        raise Refused("nothing was done")


_REPEATED: Final = (
    *("delete_untagged", "min_age", "offline", "allow_tagless", "allow_no_manifests"),
    *("uploads_older_than", "policy_file", "roots", "roots_hosts", "ignore_missing_roots"),
    *("keep_referrers_of_dangling", "keep_referrers_of_subject", "tag_history", "leftovers"),
    *("empty_repositories", "max_freed", "purge", "wait"),
)
"""Options that the next command repeats."""


def _show(
    session: Session,
    out: Console,
    made: Plan,
    *,
    apply: str | None = None,
    explain: bool = False,
    ahead: bool = True,
    ask: bool = True,
) -> None:
    """Print a plan for people; `ahead` of a run also the command that carries it out."""
    from regfs.render.gc_plan import NextSteps, show_decisions, show_plan

    if explain:
        show_decisions(out, made.decisions)
    # What is not asked about needs no second look at the tree.
    wanted = (ahead or ask) and not made.policy.delete_untagged
    untagged = _preview(session, replace(made.policy, delete_untagged=True)) if wanted else None
    run = spelled(session, "gc", "run", options=_REPEATED)
    with_untagged = spelled(session, "gc", "run", options=_REPEATED, add=["-m"])
    steps = NextSteps(untagged, apply or run, with_untagged) if ahead else NextSteps(untagged)
    show_plan(out, made, steps, verbose=session.verbose)


def _preview(session: Session, policy: Policy) -> Preview | None:
    """Return what another policy would free of the tree as it was just planned for."""
    from regfs.gc.plan import preview

    latest = session.tree.latest
    graph = None if latest is None else latest.graph
    if graph is None:
        return None
    with session.progress() as progress:
        progress.start("Looking at untagged manifests")
        return preview(graph, policy, time.time(), session.registry.manifest_bytes)


@regfs_command(
    name="plan",
    examples=[
        "regfs gc plan",
        "regfs gc plan -m --min-age 1d -o plan.json",
        "regfs gc plan --policy keep.toml --explain",
        "regfs gc plan --subset 3/16 -o part3",
        "regfs gc plan --merge part1 part2 part3 -o plan.json",
        "regfs gc plan --json",
    ],
    exits=[Exit.FINDINGS, Exit.REFUSED],
    pages=True,
)
@_policy_options
@click.option("-o", "--output", metavar="FILE", help="Write the plan there, for gc apply.")
@click.option("--explain", is_flag=True, help="Print every decision of --policy with its reason.")
@cluster_option
@parts_options
def plan_command(
    session: Session,
    /,
    output: str | None,
    explain: bool,
    files: tuple[str, ...],
    subset: Any,
    merge: bool,
    cluster: str | None,
    **options: Any,
) -> Exit:
    """Print what would be deleted, what stays and why; delete nothing.

    With -o the plan is also written to a file, to be reviewed and given to gc apply.
    """
    from regfs.render.tables import json_pieces

    share = check(files, subset, output, merge=merge)
    if share is not None and output is not None:
        return read_share(session, share, output)
    if explain and options["policy_file"] is None:
        raise click.UsageError("--explain needs --policy FILE")
    with session.connected(cluster), merged(session, files) as parts:
        made = session.tree.plan(_policy(session, options), parts)
    if output is not None:
        try:
            with open(output, "w", encoding="ascii") as stream:
                stream.writelines(json_pieces(made))
                stream.write("\n")
        except OSError as error:
            raise StoreError(f"{output}: {os.strerror(error.errno or 0)}") from None

    apply = None if output is None else spelled(session, "gc", "apply", output)
    outcome = Exit.FINDINGS if made.doubtful else Exit.CLEAN
    session.emit(
        made,
        lambda out: _show(session, out, made, apply=apply, explain=explain),
        None if output is None else outcome,
    )
    if output is not None:
        session.note(f"Plan written to {output}; carry it out with: {apply}")
    return outcome


@regfs_command(
    name="apply",
    examples=["regfs gc apply plan.json", "regfs gc apply plan.json --purge"],
    exits=[Exit.FINDINGS, Exit.REFUSED],
)
@click.argument("plan_file", metavar="PLAN", type=click.Path(dir_okay=False, allow_dash=True))
@_carry_out_options
@click.option("--offline", is_flag=True, help="Nobody else writes to the tree: do not wait.")
def apply_command(session: Session, /, plan_file: str, offline: bool, **options: Any) -> Exit:
    """Check a plan against the tree as it is now, then move what it names into quarantine.

    Anything that is in use again, or has changed since the plan was made, stays.
    """
    from regfs.gc.plan import load

    data = read_file(plan_file)
    try:
        planned = load(data)
    except DocumentInvalid as error:
        raise DocumentInvalid(f"{plan_file}: {error}") from None
    in_place = spelled(session, "gc", "apply", plan_file, "--offline", "--purge")
    return carry_out(session, planned, offline=offline, in_place=in_place, **options)


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
    """Plan and apply in one step; show the plan and ask first."""
    from regfs.gc.sweep import check_roots

    made = session.tree.plan(_policy(session, options))
    left = _interrupted(session) if purge else []
    asks = bool(made.actions or left) and not yes
    if dry_run or not session.json:
        outcome = None if dry_run or asks or made.doubtful else Exit.CLEAN
        session.emit(
            made, lambda out: _show(session, out, made, ahead=dry_run, ask=not yes), outcome
        )
    if dry_run:
        return Exit.FINDINGS if made.doubtful else Exit.CLEAN
    check_roots(made)
    offline = options["offline"]
    names = [name for name in _REPEATED if name not in ("min_age", "offline", "purge", "wait")]
    in_place = spelled(session, "gc", "run", options=names, add=["--offline", "--purge"])
    prepare(session, made, purge=purge, wait=0.0 if offline else wait, in_place=in_place)
    if asks:
        _confirm(session, left, purge=purge)
    return carry_out(
        session,
        made,
        purge=purge,
        wait=wait,
        offline=offline,
        metrics=metrics,
        in_place=in_place,
    )


for _made in (
    plan_command,
    apply_command,
    run_command,
    restore_command,
    purge_command,
    runs_command,
):
    command.add_command(_made)
