"""Asking many things: in order, one by one while it is fast, at once when it is slow."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.parallel import THREADS, adaptive_map


@given(st.lists(st.integers(), max_size=200), st.integers(-1, 60))
def test_it_is_map(items: list[int], slow_at: int) -> None:
    seen: list[int] = []

    def is_slow(waited: float, answer: int) -> bool:
        assert waited > -0.1
        seen.append(answer)
        return len(seen) - 1 == slow_at

    assert list(adaptive_map(lambda n: n * 2, iter(items), is_slow)) == [n * 2 for n in items]
    # Nobody asks again once the disk is known to be cold.
    expected = len(items) if slow_at < 0 else min(len(items), slow_at + 1)
    assert seen == [n * 2 for n in items[:expected]]


def test_fast_answers_stay_in_this_thread() -> None:
    used = set(adaptive_map(lambda _: threading.get_ident(), range(50), lambda *_: False))
    assert used == {threading.get_ident()}


def test_a_slow_disk_is_asked_several_things_at_once() -> None:
    together = threading.Barrier(THREADS, timeout=60)

    def ask(number: int) -> int:
        # The first is asked alone; then none returns before all are under way.
        if number:
            together.wait()
        return number

    assert list(adaptive_map(ask, range(THREADS + 1), lambda *_: True)) == list(range(THREADS + 1))


def test_no_more_than_a_window_is_asked_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10_000):
            taken.append(number)
            yield number

    answers = adaptive_map(lambda n: n, items(), lambda *_: True)
    assert next(answers) == 0
    assert len(taken) == 1
    assert next(answers) == 1
    assert len(taken) < 200
    answers.close()  # type: ignore[attr-defined]  # it is a generator


@pytest.mark.parametrize("slow", [False, True])
def test_an_error_comes_out_where_it_happened(slow: bool) -> None:
    def ask(number: int) -> int:
        if number == 5:
            raise LookupError("five")
        return number

    got = []
    with pytest.raises(LookupError, match="five"):
        for answer in adaptive_map(ask, range(10), lambda *_: slow):
            got.append(answer)  # noqa: PERF402  # what came before the error is the point
    assert got == [0, 1, 2, 3, 4]


def test_nothing_to_ask() -> None:
    assert list(adaptive_map(lambda n: n, list[int](), lambda *_: True)) == []
