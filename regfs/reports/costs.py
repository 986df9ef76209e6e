"""What looking at a bucket costs, before it is done: requests, bytes, and by a price list money.

    plan     the listing, and each manifest once; the second time the manifests are known
    verify   the listing, and every blob

Links cost nothing, as long as the listing tells what they hold. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regfs.graph import Graph

if TYPE_CHECKING:
    from regfs.documents.prices import Prices


@dataclass(frozen=True, slots=True)
class Cost:
    """An estimate."""

    list: int
    """Pages of a listing."""
    get: int
    """Objects that are read."""
    bytes: int
    """Of these."""
    money: float | None
    """In the currency of the prices; None without any."""


@dataclass(frozen=True, slots=True)
class Costs:
    """The estimates for a root that is asked by requests."""

    plan: Cost
    plan_again: Cost
    """With the manifests in the cache."""
    verify: Cost
    currency: str | None


def costs(graph: Graph, pages: int, prices: Prices | None = None) -> Costs:
    """Estimate what a plan and a verify take; a listing took so many `pages`."""
    blobs = graph.inventory.blobs
    sizes = [blobs.size(digest) for digest in graph.manifests if digest in blobs]

    def cost(get: int, size: int) -> Cost:
        money = None
        if prices is not None:
            money = (pages * prices.list + get * prices.get) / 1000 + size * prices.out / 1e9
        return Cost(pages, get, size, money)

    return Costs(
        plan=cost(len(sizes), sum(sizes)),
        plan_again=cost(0, 0),
        verify=cost(len(blobs), sum(blobs.sizes)),
        currency=None if prices is None else prices.currency,
    )
