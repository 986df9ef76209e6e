"""The history of a tag: what it has pointed to, what came and went, and how to set it back.

What `regfs log` says, from the graph alone: nothing is read for it, however many manifests a
tag has pointed to and however large these are.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import zip_longest
from typing import Final

from regfs.digest import Digest
from regfs.manifests import Role
from regfs.names import name_problem, tag_problem
from regfs.render.tables import plural, short
from regfs.reports.contents import missing
from regfs.server.ui import addresses
from regfs.server.ui.snapshot import LARGEST
from regfs.server.ui.views.parts import Few, Look
from regfs.tree.references import newest_first
from regfs.units import human_size, utc_time

ENTRIES: Final = 50
"""Entries that are listed."""


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One digest that a tag points to or has pointed to."""

    digest: str
    href: str
    set_at: datetime
    """When the tag was last set to it."""
    current: bool
    state: str
    """`whole`, `incomplete`, `gone` or `unreadable`, as in `regfs log`."""
    size: int | None
    """Bytes of all it reaches; None if it is gone or unreadable."""
    change: str
    """Which layers came and went since the one before, in words."""
    compare_href: str
    """Where it is compared with the one before; empty where that cannot be."""
    command: str
    """Sets the tag back to it; empty where that is of no use."""


def tag_history(look: Look, name: str, tag: str) -> Few[HistoryRow]:
    """Return what a tag has pointed to, the latest first."""
    info = look.snapshot.inventory.repositories[name].tags[tag]
    latest = newest_first(info.history, info.current)
    # Each is compared with the next.
    shown = latest[:ENTRIES]
    contents = [_Pointed.of(look, name, entry.digest) for entry in latest[: ENTRIES + 1]]
    safe = name_problem(name) is None and tag_problem(tag) is None
    rows = []
    for entry, content, before in zip_longest(shown, contents[: len(shown)], contents[1:]):
        current = entry.digest == info.current
        back = safe and not current and content.state == "whole"
        rows.append(
            HistoryRow(
                digest=entry.digest,
                href="" if content.state == "gone" else addresses.of_manifest(name, entry.digest),
                set_at=utc_time(entry.mtime),
                current=current,
                state=content.state,
                size=content.size,
                change="" if before is None else _change(content, before),
                compare_href=_compared(name, before, content),
                command=f"regfs rollback {name}:{tag} {short(entry.digest)}" if back else "",
            )
        )
    return Few(tuple(rows), len(latest) - len(shown))


@dataclass(frozen=True, slots=True)
class _Pointed:
    """What a manifest consists of, as far as its repository has it."""

    digest: str
    state: str
    size: int | None = None
    layers: tuple[tuple[Digest, int], ...] = ()
    """With their bytes by the manifests."""

    @classmethod
    def of(cls, look: Look, name: str, digest: Digest) -> _Pointed:
        graph = look.snapshot.graph
        if not look.has(name, digest):
            return cls(digest, "gone")
        if digest in graph.problems or digest not in graph.manifests:
            return cls(digest, "unreadable")
        reached = graph.reachable([digest])
        read = partial(look.snapshot.registry.skim, limit=LARGEST)
        lacks = any(next(missing(graph, one, read), None) for one in reached)
        stored = (one for one in graph.needs(reached) if one in graph.inventory.blobs)
        whole = not lacks and all(look.has(name, one) for one in stored)
        layers = {
            leaf.digest: max(leaf.size, 0)
            for manifest in reached
            for leaf in graph.leaves(manifest)
            if leaf.role is Role.LAYER
        }
        size = look.snapshot.own.weight(name, reached)
        return cls(digest, "whole" if whole else "incomplete", size, tuple(layers.items()))


def _compared(name: str, old: _Pointed | None, new: _Pointed) -> str:
    if old is None or old.size is None or new.size is None or name_problem(name):
        return ""
    return addresses.with_query("/compare", a=f"{name}@{old.digest}", b=f"{name}@{new.digest}")


def _change(new: _Pointed, old: _Pointed) -> str:
    if new.size is None or old.size is None:
        return ""
    before, after = dict(old.layers), dict(new.layers)
    came = [size for layer, size in after.items() if layer not in before]
    went = [size for layer, size in before.items() if layer not in after]
    parts = [
        f"{sign}{plural(len(sizes), 'layer')} ({human_size(sum(sizes))})"
        for sign, sizes in (("+", came), ("-", went))
        if sizes
    ]
    return ", ".join(parts) or "same layers"
