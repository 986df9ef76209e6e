"""A plan for people: by repository, what stays and what to do next; single items on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Final

from regfs import layout
from regfs.digest import Digest
from regfs.findings import Code, Severity
from regfs.render.gc import in_words, kept_in_words, on_disk
from regfs.render.reports import line, say
from regfs.render.tables import plural, print_cause, print_finding, table
from regfs.reports.causes import Causes
from regfs.reports.planned import Loss, LossPlace, losses
from regfs.runs.totals import ActionKind
from regfs.units import human_size, rfc3339

if TYPE_CHECKING:
    from rich.console import Console

    from regfs.gc.decisions import Decision
    from regfs.gc.kept import KeptItem
    from regfs.gc.plan import Action, Plan, Preview

SHOWN: Final = 20
"""Rows of a long list that are shown without -v."""
_OF_THE_RUN: Final = frozenset({Code.ROOT_MISSING, Code.PATTERN_SLOW})
"""Findings about the input of the run, which verify does not report."""


@dataclass(frozen=True, slots=True)
class NextSteps:
    """What may follow a plan."""

    untagged: Preview | None = None
    """What the same plan would free with --delete-untagged; None when it was given."""
    carry_out: str = ""
    """The command that carries out this plan; empty when it is being carried out."""
    carry_out_untagged: str = ""
    """The same with --delete-untagged."""


def show_plan(out: Console, plan: Plan, steps: NextSteps, *, verbose: int) -> None:
    """Print what each repository loses, what is kept, the totals, and the next command."""
    if plan.actions:
        _show_losses(out, plan, verbose)
        out.print()
    if plan.actions and verbose:
        _show_actions(out, plan.actions)
        out.print()
    _show_kept(out, plan, verbose)
    _show_doubt(out, plan)
    say(out, in_words(plan.totals, plan.allocated), lead="Eligible: ")
    say(out, _left(plan), lead="Stays:    ")
    _show_next(out, plan, steps)


def _show_losses(out: Console, plan: Plan, verbose: int) -> None:
    found = losses(plan)
    rows = [_loss_row(one, plan) for one in (found if verbose else found[:SHOWN])]
    columns = ["Repository", ">Untagged", ">Frees", ">On disk", ">Tags left"]
    if plan.totals.tags:
        columns.insert(2, ">Tags")
    out.print(table("To delete", columns, rows))
    if len(found) > len(rows):
        line(out, f"... and {plural(len(found) - len(rows), 'more row')} (-v shows all)")


def _loss_row(loss: Loss, plan: Plan) -> list[object]:
    is_repository = not isinstance(loss.place, LossPlace)
    row: list[object] = [
        loss.place if isinstance(loss.place, str) else f"({loss.place.value})",
        f"{loss.manifests:,}" if is_repository else "",
        human_size(loss.bytes),
        human_size(loss.allocated) if loss.allocated else "",
        f"{loss.tags_left:,}" if is_repository else "",
    ]
    if plan.totals.tags:
        row.insert(2, f"{loss.tags:,}" if is_repository else "")
    return row


def _show_actions(out: Console, actions: Sequence[Action]) -> None:
    # People look for the large items.
    largest = sorted(actions, key=lambda action: (-action.size, action.path))
    rows = [
        (one.kind.value, human_size(one.size), one.repository or "", _name(one), one.reason)
        for one in largest
    ]
    out.print(table("", ("what", ">size", "repository", "=which", "why"), rows))


def _name(action: Action) -> str:
    if action.kind in (ActionKind.DIRECTORY, ActionKind.TAG):
        # Two folders, or two tags of one manifest, may have the same digest.
        return action.path.partition("/_manifests/tags/")[2] or layout.name_of(action.path)
    return Digest(action.digest).short if action.digest else layout.name_of(action.path)


def _show_kept(out: Console, plan: Plan, verbose: int) -> None:
    for reason, words in kept_in_words(plan):
        items = [one for one in plan.kept_items if one.reason == reason]
        # Only a time in the future needs attention.
        named = items if verbose else items[: reason == "future"]
        say(out, words, lead="Kept: ")
        for one in named:
            line(out, f"      {_kept(one)}")
        if named and plan.kept[reason] > len(named):
            line(out, f"      and {plan.kept[reason] - len(named):,} more")


def _kept(item: KeptItem) -> str:
    when = "" if item.mtime is None else f", {rfc3339(item.mtime)}"
    size = f", {human_size(item.size)}" if item.size else ""
    return f"{item.path.removeprefix(layout.PREFIX + '/')}{size}{when}"


def _show_doubt(out: Console, plan: Plan) -> None:
    grave = list(
        Causes(
            one
            for one in plan.findings
            if one.severity is Severity.ERROR or one.code in _OF_THE_RUN
        )
    )
    for cause in islice(grave, SHOWN):
        if cause.count > 1:
            print_cause(out, cause)
        else:
            print_finding(out, cause.first)
    if len(grave) > SHOWN:
        more = sum(cause.count for cause in grave[SHOWN:])
        out.print(f"... and {more} more findings (regfs verify lists all)")


def _left(plan: Plan) -> str:
    left = plan.stays
    counts = (
        plural(left.tags, "tag"),
        plural(left.manifests, "manifest"),
        plural(left.blobs, "blob"),
    )
    return f"{', '.join(counts)} in {plural(left.repositories, 'repository', 'repositories')}"


def _show_next(out: Console, plan: Plan, steps: NextSteps) -> None:
    more, command = steps.untagged, steps.carry_out if plan.actions else ""
    if more is not None:
        count = more.totals.manifests - plan.totals.manifests
        added = _added(plan, more, count) if count > 0 else "nothing more"
        say(out, added, lead="With -m:  ")
        if count > 0 and not command and steps.carry_out:
            command = steps.carry_out_untagged
    if command:
        line(out, f"Next:     {command}")


def _added(plan: Plan, more: Preview, count: int) -> str:
    blocks = max(more.allocated - plan.allocated, 0)
    size = on_disk(more.totals.bytes - plan.totals.bytes, blocks)
    return f"{size} more, of {plural(count, 'untagged manifest')} (--delete-untagged)"


def show_decisions(out: Console, decisions: Sequence[Decision]) -> None:
    """Print what a retention policy says of each tag and untagged manifest, and why."""
    rows = [
        (
            one.repository,
            one.tag or "(untagged)",
            Digest(one.digest).short if one.digest else "?",
            "keep" if one.keep else "drop",
            _day(one.pushed),
            _day(one.created),
            one.reason,
        )
        for one in decisions
    ]
    if rows:
        columns = ("repository", "tag", "=digest", "", "=pushed", "=created", "why")
        out.print(table("Decisions", columns, rows))
    else:
        out.print("The policy applies to no tag of this tree.")


def _day(seconds: float | None) -> str:
    """Return a day in UTC, or a dash if the time is unknown or was not needed."""
    if seconds is None:
        return "-"
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
    except (OverflowError, ValueError, OSError):
        return "after 9999"
