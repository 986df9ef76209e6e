"""What heal prints for people: plan, outcome, and links written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from rich.console import Console

from regfs.render.tables import plural, printable, short, table
from regfs.runs import Skipped
from regfs.units import human_size

if TYPE_CHECKING:
    from regfs.heal.report import (
        Ambiguous,
        Healed,
        HealPlan,
        Left,
        LinkToWrite,
        Quarantined,
        Relinked,
    )
    from regfs.heal.report import RelinkPlan as Plan

SHOWN: Final = 100
"""Rows of a list that are shown without -v."""
_USERS: Final = 3
_AGAIN: Final = "Push the images again, or run regfs heal"


def show_heal_plan(out: Console, plan: HealPlan, *, verbose: int) -> None:
    """Print what would be fetched."""
    if not plan.items:
        out.print("Nothing is missing or corrupt.")
        return
    rows: list[tuple[object, ...]] = [
        (
            item.digest if verbose else short(item.digest),
            human_size(item.size) if item.size >= 0 else "?",
            item.code,
            _users(item.repositories),
            item.problem or "fetch",
        )
        for item in plan.items
    ]
    columns = ("=digest", ">size", "what is wrong", "used in", "source")
    out.print(table("To heal", columns, _cut(rows, verbose)))
    _more(out, len(rows), verbose)
    lacking = f", {plural(plan.lacking, 'digest')} not there" if plan.lacking else ""
    out.print(
        f"To fetch from {printable(plan.source)}: {plural(plan.fetch, 'digest')}, "
        f"{human_size(plan.bytes)}{lacking}",
        markup=False,
        soft_wrap=True,
    )


def _users(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _USERS} more" if len(names) > _USERS else ""
    return ", ".join(names[:_USERS]) + more


def _cut(rows: list[tuple[object, ...]], verbose: int) -> list[tuple[object, ...]]:
    return rows if verbose else rows[:SHOWN]


def _more(out: Console, count: int, verbose: int) -> None:
    if count > SHOWN and not verbose:
        out.print(f"... and {count - SHOWN} more (-v shows all)")


def show_healed(out: Console, healed: Healed, *, verbose: int, undo: str) -> None:
    """Print the outcome for each digest, and the command to undo it."""
    if not healed.outcomes and healed.stopped is None:
        out.print("Nothing is missing or corrupt.")
        return
    rows: list[tuple[object, ...]] = [
        (
            one.digest if verbose else short(one.digest),
            one.state.value,
            human_size(one.size) if one.size else "",
            one.message,
        )
        for one in healed.outcomes
    ]
    out.print(table("", ("=digest", "outcome", ">size", ""), _cut(rows, verbose)))
    _more(out, len(rows), verbose)
    broken = f"; still broken: {healed.broken}" if healed.broken else ""
    out.print(
        f"Healed: {plural(healed.healed, 'digest')}, {human_size(healed.bytes)}{broken}",
        markup=False,
    )
    if healed.run is not None and healed.healed:
        _undo(out, undo)


def _undo(out: Console, command: str) -> None:
    out.print(f"Undo: {command}", markup=False, soft_wrap=True)


def show_relink_plan(out: Console, plan: Plan, *, verbose: int) -> None:
    """Print which links would be written."""
    _show_links(out, "Links to write", plan.links, verbose)
    _show_open(out, plan.ambiguous, plan.skipped)


def show_relinked(out: Console, relinked: Relinked, *, verbose: int, undo: str) -> None:
    """Print which links were written, and the command to undo it."""
    _show_links(out, "Links written", relinked.written, verbose)
    _show_open(out, relinked.ambiguous, relinked.skipped)
    if relinked.run is not None and relinked.written:
        _undo(out, undo)


def _show_links(out: Console, title: str, links: Iterable[LinkToWrite], verbose: int) -> None:
    rows: list[tuple[object, ...]] = [
        (
            link.kind.value,
            link.repository + (f":{link.tag}" if link.tag else ""),
            link.digest if verbose else short(link.digest),
            link.reason,
        )
        for link in links
    ]
    if not rows:
        out.print("No missing link can be proven.")
        return
    out.print(table(title, ("what", "where", "=digest", "why"), _cut(rows, verbose)))
    _more(out, len(rows), verbose)


def _show_open(out: Console, ambiguous: Iterable[Ambiguous], skipped: Iterable[Skipped]) -> None:
    for one in ambiguous:
        name = printable(f"{one.repository}:{one.tag}")
        out.print(f"Ambiguous: {name}: {one.reason}", markup=False, soft_wrap=True)
        for digest in one.candidates[:SHOWN]:
            out.print(f"    {digest}", markup=False, soft_wrap=True)
    show_skipped(out, skipped)


def show_left(out: Console, rows: Sequence[Left], *, linked: bool) -> None:
    """Print what is still wrong."""
    if not rows:
        return
    codes = ", ".join(f"{one.code} {one.count:,}" for one in rows)
    count = plural(sum(one.count for one in rows), "error")
    more = "" if linked else "; --relink writes links that can be proven"
    text = f"Still wrong: {count} ({codes}); `regfs verify` lists them{more}"
    out.print(text, markup=False, soft_wrap=True)


def show_skipped(out: Console, skipped: Iterable[Skipped]) -> None:
    """Print what was left as it was, and why."""
    for one in skipped:
        text = f"Kept: {printable(one.path)}: {printable(one.reason)}"
        out.print(text, markup=False, soft_wrap=True)


def show_quarantined(out: Console, moved: Quarantined, *, is_cache: bool, undo: str) -> None:
    """Print what was moved into quarantine, and what to do next."""
    show_skipped(out, moved.skipped)
    count = plural(len(moved.moved), "corrupt blob")
    out.print(f"Moved into quarantine: {count}, {human_size(moved.bytes)}", markup=False)
    if moved.run is not None:
        what = "The next pull fetches it again" if is_cache else _AGAIN
        out.print(f"{what}; a registry that caches blob")
        out.print("descriptors (storage.cache) must be restarted first.")
        _undo(out, undo)
