"""FairQueue: who waits for whom."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.server.lines import FairQueue, LineFull, client_of


async def served(lines: FairQueue, asked: list[str], left: Collection[int] = ()) -> list[int]:
    """Let requests of these clients come at once; return them in the order of their turns."""
    order: list[int] = []
    go = asyncio.Event()

    async def one(number: int) -> None:
        async with lines.turn(asked[number], longest=1000):
            order.append(number)
            await go.wait()

    tasks = [asyncio.ensure_future(one(number)) for number in range(len(asked))]
    await asyncio.sleep(0)
    for number in left:
        tasks[number].cancel()
    await asyncio.sleep(0)
    go.set()
    with suppress(asyncio.CancelledError):
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
    return order


def test_each_client_has_one_turn_before_any_has_two() -> None:
    asked = ["a"] * 10 + ["b"] + ["c"] * 2
    order = asyncio.run(served(FairQueue(1), asked))
    assert [asked[number] for number in order[:6]] == ["a", "a", "b", "c", "a", "c"]


@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=30),
    st.integers(1, 3),
    st.sets(st.integers(0, 29)),
)
def test_requests_of_one_client_keep_their_order(
    asked: list[str], at_once: int, left: set[int]
) -> None:
    left = {number for number in left if number < len(asked)}
    lines = FairQueue(at_once)
    order = asyncio.run(served(lines, asked, left))
    assert {*order} | left == {*range(len(asked))}
    for client in "abc":
        own = [number for number in order if asked[number] == client]
        assert own == sorted(own)
    # Nothing is left behind: as many turns as at the beginning, and nobody who waits.
    assert (lines._free, lines._lines, lines._present) == (at_once, {}, {})


def test_a_full_queue_refuses_only_its_client() -> None:
    async def story() -> None:
        lines = FairQueue(1)
        async with lines.turn("a", longest=1):
            with pytest.raises(LineFull):
                async with lines.turn("a", longest=1):
                    pass
            waiting = asyncio.ensure_future(served(lines, ["b"]))
            await asyncio.sleep(0)
        assert await waiting == [0]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("remote", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::2", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (None, ""),
        ("", ""),
    ],
)
def test_clients_are_addresses_or_ipv6_prefixes(remote: str | None, client: str) -> None:
    request: Any = SimpleNamespace(remote=remote)
    assert client_of(request) == client
