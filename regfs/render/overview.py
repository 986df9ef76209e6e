"""`info` for people: what is there, then what can be freed and by which command."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from regfs.render.gc import on_disk
from regfs.render.reports import line, percent, say
from regfs.render.tables import plural, table
from regfs.units import human_size, rfc3339

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import Console

    from regfs.gc.plan import Preview
    from regfs.reports.costs import Cost, Costs
    from regfs.reports.overview import Overview, Reclaimable
    from regfs.reports.summary import Blobs, Summary

_MOMENT: Final = timedelta(minutes=1)
"""What became garbage within that time is one thing."""
Row = tuple[str, str]
"""A word and what it stands for."""


class Commands(NamedTuple):
    """The command that frees each kind of space."""

    now: str
    untagged: str
    uploads: str
    by_policy: str
    purge: str


def show_overview(report: Overview, commands: Commands, console: Console) -> None:
    """Print `info`."""
    for name, value in (*_content(report), *_state(report)):
        say(console, value, lead=f"{name:<13} ")
    say(console)
    for name, value in _space(report, commands):
        line(console, f"{name:<13} {value}")
    if report.manifests:
        say(console)
        kinds = [(kind or "(not known)", count) for kind, count in report.manifests.items()]
        console.print(table("", ["/Media type of manifests", ">Manifests"], kinds))


def _content(report: Overview) -> Iterator[Row]:
    yield "root", report.root
    yield "kind", report.owner.meaning
    if report.listed_at is not None:
        yield "as of", f"{rfc3339(report.listed_at)}, by a report of S3 Inventory"
    if report.config is not None:
        caches = "; it caches blob descriptors" if report.config.caches_descriptors else ""
        yield "config", f"{report.config.path}{caches}"
    yield "repositories", f"{report.repositories:,}"
    yield "tags", f"{report.tags:,}"
    yield "manifests", f"{report.revisions:,} ({report.untagged:,} untagged)"
    yield "layer links", f"{report.layer_links:,}"
    yield "blobs", _blobs(report.blobs)
    yield "in use", _blobs(report.needed)
    yield "unreferenced", _blobs(report.unreferenced)
    if report.doubtful.count:
        yield "doubtful", _blobs(report.doubtful)
    if report.missing.count:
        yield "missing", _blobs(report.missing)
    if report.uploads.count:
        yield "uploads", f"{report.uploads.count:,}, {human_size(report.uploads.bytes)}"
    if report.saved:
        yield (
            "sharing",
            f"saves {human_size(report.saved)} of {human_size(report.apparent)} "
            f"({percent(report.saved, report.apparent)})",
        )


def _blobs(blobs: Blobs) -> str:
    return f"{blobs.count:,}, {on_disk(blobs.bytes, blobs.allocated)}"


def _state(report: Overview) -> Iterator[Row]:
    if report.oldest is not None and report.newest is not None:
        yield "written", f"{rfc3339(report.oldest)} to {rfc3339(report.newest)}"
    yield "verified", "never" if report.last_verify is None else rfc3339(report.last_verify)
    last = report.last_gc
    if last is None:
        yield "collected", "never"
    else:
        yield "collected", f"{rfc3339(last.moved_at)}, run {last.run} ({last.state})"
    yield "health", _health(report)


def _health(report: Summary) -> str:
    found = report.findings
    if report.missing.count:
        blobs = plural(report.missing.count, "blob is", "blobs are")
        return f"{blobs} needed but missing; `regfs verify` names them"
    if not any(found.values()):
        return "no problem seen so far; `regfs verify` checks the content"
    counts = ", ".join(
        plural(found[key], word)
        for key, word in (("error", "error"), ("warning", "warning"), ("info", "remark"))
        if found[key]
    )
    return f"{counts}; `regfs verify` lists them"


def _space(report: Overview, commands: Commands) -> Iterator[Row]:
    if report.space.total:
        used = report.space.total - report.space.free
        free, total = human_size(report.space.free), human_size(report.space.total)
        yield "disk", f"{free} free of {total} ({percent(used, report.space.total)} used)"
    others = report.unlisted
    if others is not None and others.count:
        count = plural(others.count, "other upload")
        words = "which no listing shows: writes that are under way, or were cut off"
        yield "in parts", f"{human_size(others.bytes)} in {count}, {words}"
    if report.reclaimable is None:
        yield "to free", f"nothing by regfs: {report.refusal}"
    else:
        yield from _reclaimable(report.reclaimable, commands)
    if report.costs is not None:
        yield from _costs(report.costs)
    held = report.quarantine
    if held.runs or held.bytes:
        size = on_disk(held.bytes, held.allocated)
        runs = plural(held.runs, "run")
        yield "quarantine", f"{size} of {runs}{_from(held.purge_from)}: {commands.purge}"


def _costs(found: Costs) -> Iterator[Row]:
    yield "a plan", _cost(found.plan, found.currency)
    yield "  again", _cost(found.plan_again, found.currency)
    yield "verify", _cost(found.verify, found.currency)


def _cost(one: Cost, currency: str | None) -> str:
    words = f"takes {plural(one.list, 'listing page')}"
    if one.get:
        words += f" and {plural(one.get, 'read')} of {human_size(one.bytes)}"
    return words if one.money is None else f"{words}: {one.money:.4g} {currency}"


def _from(time: datetime | None) -> str:
    return "" if time is None else f", from {_spelled(time)}"


def _reclaimable(found: Reclaimable, commands: Commands) -> Iterator[Row]:
    yield "to free", _freed(found.now, commands.now)
    if found.untagged != found.now:
        yield "  with -m", _freed(found.untagged, commands.untagged)
    if found.uploads.count:
        size = on_disk(found.uploads.bytes, found.uploads.allocated)
        uploads = plural(found.uploads.count, "unfinished upload")
        yield "  uploads", f"{size} more of {uploads}: {commands.uploads}"
    if found.by_policy is not None:
        yield "  by policy", _freed(found.by_policy, commands.by_policy)
    if found.now.young > found.uploads.bytes:
        young = human_size(found.now.young - found.uploads.bytes)
        more = " more" if found.now.totals.bytes else ""
        yield "  too young", f"{young}{more}{_when(found.now)}"


def _when(found: Preview) -> str:
    """Return when what is too young is old enough."""
    first, last = found.young_from, found.young_until
    if first is None or last is None:
        return " when it is older"
    until = "" if last - first < _MOMENT else f" to {_spelled(last)}"
    return f", from {_spelled(first)}{until or ' on'}"


def _spelled(time: datetime) -> str:
    return rfc3339(time).replace("T", " ")


def _freed(found: Preview, command: str) -> str:
    if not found.totals.bytes and not found.totals.repositories:
        return "nothing now"
    return f"{on_disk(found.totals.bytes, found.allocated)}: {command}"
