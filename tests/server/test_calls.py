"""Short calls of the storage: on the spot while it answers at once, in a thread otherwise."""

from __future__ import annotations

import asyncio
import threading

import pytest

from regfs.server.calls import PAUSE, SLOW, ShortCalls
from regfs.stores import Capability, Store, open_store
from tests.support.builder import TreeBuilder


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tree: TreeBuilder) -> Store:
    return open_store(str(tree.root))


def where(calls: ShortCalls, clock: Clock, seconds: float = 0.0) -> str:
    """Make a call that takes so long; return where it was made."""

    def work(seconds: float) -> int:
        clock.now += seconds
        return threading.get_ident()

    async def ask() -> tuple[int, int]:
        return threading.get_ident(), await calls.make(work, seconds)

    loop, made = asyncio.run(ask())
    return "here" if loop == made else "in a thread"


def test_calls_are_made_on_the_spot_until_one_has_taken_long(store: Store, clock: Clock) -> None:
    calls = ShortCalls(store, clock)
    assert where(calls, clock, SLOW * 0.9) == "here"
    assert where(calls, clock, SLOW * 2) == "here"
    assert where(calls, clock) == "in a thread"
    clock.now += PAUSE * 0.9
    assert where(calls, clock) == "in a thread"
    clock.now += PAUSE * 0.2
    assert where(calls, clock) == "here"


def test_a_long_call_that_fails_has_taken_long_too(store: Store, clock: Clock) -> None:
    calls = ShortCalls(store, clock)

    def fail() -> None:
        clock.now += SLOW * 2
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        asyncio.run(calls.make(fail))
    assert where(calls, clock) == "in a thread"


def test_a_store_that_is_not_near_is_never_asked_on_the_spot(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = property(lambda self: Capability.WRITE | Capability.RANDOM_ACCESS)
    monkeypatch.setattr(type(store), "capabilities", far)
    assert where(ShortCalls(store, clock), clock) == "in a thread"
