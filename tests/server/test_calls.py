"""Short calls of the storage: on the spot while it answers at once, in a thread otherwise."""

from __future__ import annotations

import asyncio
import threading

import pytest

from regfs.server.calls import PAUSE, SLOW, ShortCalls


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def where(calls: ShortCalls, clock: Clock, seconds: float = 0.0) -> str:
    """Make a call that takes so long; return where it was made."""

    def work(seconds: float) -> int:
        clock.now += seconds
        return threading.get_ident()

    async def ask() -> tuple[int, int]:
        return threading.get_ident(), await calls.make(work, seconds)

    loop, made = asyncio.run(ask())
    return "here" if loop == made else "in a thread"


def test_calls_stay_in_the_loop_until_one_is_slow(clock: Clock) -> None:
    calls = ShortCalls(clock)
    assert where(calls, clock, SLOW * 0.9) == "here"
    assert where(calls, clock, SLOW * 2) == "here"
    assert where(calls, clock) == "in a thread"
    clock.now += PAUSE * 0.9
    assert where(calls, clock) == "in a thread"
    clock.now += PAUSE * 0.2
    assert where(calls, clock) == "here"


def test_a_slow_call_that_fails_counts_as_slow(clock: Clock) -> None:
    calls = ShortCalls(clock)

    def fail() -> None:
        clock.now += SLOW * 2
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        asyncio.run(calls.make(fail))
    assert where(calls, clock) == "in a thread"
