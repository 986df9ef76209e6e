"""What is read this time, and in which order: laws of the schedule."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.digest import Digest
from regfs.errors import Invalid
from regfs.findings import Code
from regfs.stores import FileId
from regfs.tree.inventory import DigestTable
from regfs.verify import Level, Selection
from regfs.verify.content import BATCH_BYTES
from regfs.verify.ledger import Ledger, LedgerEntry
from regfs.verify.schedule import SHARDS_LIMIT, ByteCount, Known, Schedule, Shard, Share, schedule
from tests.support.strategies import digests

DAY = 86400.0
NOW = 100 * DAY
MTIME = 5.0
FILE = FileId(1, 2, 3)


def name(number: int) -> Digest:
    return Digest.of(str(number).encode())


def listed(sizes: Sequence[int], mtimes: Sequence[float] | None = None) -> DigestTable:
    """Return a listing of the blobs 0, 1, 2 and so on."""
    table = DigestTable()
    names = [name(number) for number in range(len(sizes))]
    times = [MTIME] * len(sizes) if mtimes is None else list(mtimes)
    numbers = table.known.add_names("sha256", [one.encoded for one in names])
    table.extend(numbers, sizes, times, [0] * len(sizes))
    return table


def the_same(row: int) -> FileId:
    return FILE


@pytest.mark.parametrize("other", [(9, 2, 3), (1, 9, 3), (1, 2, 9), None])
def test_another_file_in_its_place_was_never_verified(other: tuple[int, int, int] | None) -> None:
    past = known({0: 1.0})
    assert schedule(listed([1]), [name(0)], Selection(max_age=DAY), past).due == []
    file = None if other is None else FileId(*other)
    past = past._replace(file_at=lambda row: file)
    assert schedule(listed([1]), [name(0)], Selection(max_age=DAY), past).due == [name(0)]


def known(
    ages: dict[int, float], broken: Sequence[int] = (), size: int = 1, level: Level = Level.DIGESTS
) -> Known:
    """Return what a ledger says: blob -> seconds since it was verified."""
    ledger = Ledger()
    for number, age in ages.items():
        code = Code.BLOB_CORRUPT if number in broken else None
        ledger.put(name(number), LedgerEntry(size, MTIME, code, level, NOW - age, FILE))
    return Known(ledger, Level.DIGESTS, NOW, the_same)


def numbers(plan: Schedule | list[Digest]) -> list[int]:
    names = {name(number): number for number in range(300)}
    return [names[one] for one in (plan.due if isinstance(plan, Schedule) else plan)]


# -- order ------------------------------------------------------------------------


def test_broken_ones_come_first_then_new_ones_then_the_oldest() -> None:
    blobs = listed([1] * 5)
    past = known({0: DAY, 1: 50 * DAY, 2: 9 * DAY, 4: 0.0}, broken=[4])
    assert numbers(schedule(blobs, blobs, Selection(), past)) == [4, 3, 1, 2, 0]


def test_within_a_day_blobs_come_as_they_were_written_and_the_large_before() -> None:
    large = BATCH_BYTES + 1
    blobs = listed([1, 1, large, large + 1, 1], [9.0, 3.0, 1.0, 2.0, 6.0])
    assert numbers(schedule(blobs, blobs, Selection())) == [3, 2, 1, 4, 0]


ages = st.dictionaries(st.integers(0, 19), st.floats(0, 90 * DAY), max_size=20)


@given(ages, st.sets(st.integers(0, 19)))
def test_nothing_that_was_verified_later_comes_before(
    past: dict[int, float], broken: set[int]
) -> None:
    blobs = listed([1] * 20)
    order = numbers(schedule(blobs, blobs, Selection(), known(past, list(broken))))
    assert sorted(order) == list(range(20))

    def step(number: int) -> float:
        if number not in past:
            return -1.0
        return -2.0 if number in broken else (NOW - past[number]) // DAY

    assert [step(number) for number in order] == sorted(map(step, range(20)))


# -- age ----------------------------------------------------------------------------


@given(ages, st.sets(st.integers(0, 19)), st.floats(0, 90 * DAY))
def test_only_what_was_found_intact_lately_is_skipped(
    past: dict[int, float], broken: set[int], limit: float
) -> None:
    blobs = listed([1] * 20)
    plan = schedule(blobs, blobs, Selection(max_age=limit), known(past, list(broken)))
    fresh = {n for n, age in past.items() if NOW - (NOW - age) < limit and n not in broken}
    assert set(numbers(plan)) == set(range(20)) - fresh
    assert (plan.skipped, plan.left) == (len(fresh), [])


@pytest.mark.parametrize(
    ("sizes", "mtimes", "past"),
    [
        ([2], [MTIME], known({0: 1.0})),  # another size
        ([1], [MTIME + 1e-6], known({0: 1.0})),  # written since
        ([1], [MTIME], known({0: 1.0}, level=Level.SIZES)),  # looked at less deeply
        ([1], [MTIME], known({0: -2 * DAY})),  # by a clock that was wrong
    ],
)
def test_what_is_not_known_as_it_is_now_is_read(
    sizes: list[int], mtimes: list[float], past: Known
) -> None:
    blobs = listed(sizes, mtimes)
    assert numbers(schedule(blobs, blobs, Selection(max_age=1e9), past)) == [0]


def test_a_clock_that_is_ahead_by_minutes_is_forgiven() -> None:
    blobs = listed([1])
    assert schedule(blobs, blobs, Selection(max_age=DAY), known({0: -600.0})).skipped == 1


def test_what_must_be_looked_at_again_is_due_however_young() -> None:
    blobs = listed([1, 1])
    past = known({0: 1.0, 1: 1.0})
    plan = schedule(blobs, blobs, Selection(max_age=DAY), past, fresh={name(1)})
    assert (numbers(plan), plan.skipped) == ([1], 1)


# -- shards ---------------------------------------------------------------------------


@given(digests(), st.integers(1, SHARDS_LIMIT))
def test_every_blob_is_in_exactly_one_shard(digest: Digest, total: int) -> None:
    width = 2 if total <= 256 else 4
    mine = int(digest.encoded[:width], 16) % total + 1
    assert Shard(mine, total).has(digest)
    others = {1, total, mine % total + 1, max(1, mine - 1)} - {mine}
    assert not any(Shard(number, total).has(digest) for number in others)


@given(st.integers(1, 40))
def test_shards_cover_everything_and_are_disjoint(total: int) -> None:
    blobs = listed([1] * 200)
    plans = [schedule(blobs, blobs, Selection(Shard(n + 1, total))) for n in range(total)]
    assert sorted(number for plan in plans for number in numbers(plan)) == list(range(200))
    assert all(not plan.left for plan in plans)


# -- as much as there is room for -----------------------------------------------------

sizes = st.lists(st.integers(0, 50), min_size=1, max_size=20)


@given(sizes, st.integers(0, 300))
def test_a_limit_is_kept_unless_the_first_is_above_it(lengths: list[int], limit: int) -> None:
    blobs = listed(lengths)
    plan = schedule(blobs, blobs, Selection(max_bytes=limit))
    total = sum(lengths[number] for number in numbers(plan))
    assert total <= limit or len(plan.due) == 1
    everything = schedule(blobs, blobs, Selection())
    assert plan.due + plan.left == everything.due
    if plan.left:  # and it is used as far as the next blob allows
        assert total + lengths[numbers(plan.left)[0]] > limit


@given(sizes, st.integers(0, 60))
def test_run_after_run_everything_is_read(lengths: list[int], limit: int) -> None:
    blobs = listed(lengths)
    ledger = Ledger()
    for night in range(len(lengths)):
        now = NOW + night * DAY
        past = Known(ledger, Level.DIGESTS, now, the_same)
        plan = schedule(blobs, blobs, Selection(max_bytes=limit), past)
        for digest in plan.due:
            entry = LedgerEntry(blobs[digest].size, MTIME, None, Level.DIGESTS, now, FILE)
            ledger.put(digest, entry)
    assert {digest for digest, _ in ledger} == set(blobs)


def test_a_broken_blob_above_the_limit_does_not_keep_the_others_from_their_turn() -> None:
    blobs = listed([100, 10, 10])
    past = known({0: DAY}, broken=[0], size=100)
    plan = schedule(blobs, blobs, Selection(max_bytes=20), past)
    assert (numbers(plan), numbers(plan.left)) == ([1, 2], [0])
    assert plan.broken == [name(0)]
    plan = schedule(blobs, blobs, Selection(max_bytes=115), past)
    assert (numbers(plan), numbers(plan.left)) == ([0, 1], [2])


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(Share(0.5)), 5),
        (Selection(Share(1.0)), 10),
        (Selection(Share(0.001)), 1),
        (Selection(ByteCount(30)), 3),
        (Selection(ByteCount(30), max_bytes=20), 2),
        (Selection(Share(0.5), max_bytes=1000), 5),
        (Selection(Shard(1, 1), max_bytes=40), 4),
    ],
)
def test_a_share_and_an_amount_are_of_what_is_due_first(
    selection: Selection, expected: int
) -> None:
    blobs = listed([10] * 10)
    past = known({number: (20 - number) * DAY for number in range(10)}, size=10)
    plan = schedule(blobs, blobs, selection, past)
    assert numbers(plan) == list(range(expected))
    assert numbers(plan.left) == list(range(expected, 10))


def test_a_share_is_one_of_everything_asked_for_not_of_what_is_due() -> None:
    blobs = listed([10] * 10)
    past = known({number: DAY for number in range(5)}, size=10)
    plan = schedule(blobs, blobs, Selection(Share(0.4), max_age=2 * DAY), past)
    assert (len(plan.due), len(plan.left), plan.skipped) == (4, 1, 5)


def test_without_memory_a_share_is_a_random_one() -> None:
    blobs = listed([1] * 200)
    picks = [
        schedule(blobs, blobs, Selection(Share(0.1)), sample=Random(seed)) for seed in range(30)
    ]
    assert all(len(plan.due) == 20 and len(plan.left) == 180 for plan in picks)
    assert len({digest for plan in picks for digest in plan.due}) > 150
    whole = schedule(blobs, blobs, Selection(), sample=Random(1))
    assert whole.due == schedule(blobs, blobs, Selection()).due


# -- what makes no sense ----------------------------------------------------------------


@pytest.mark.parametrize(
    "selection",
    [
        Selection(Shard(1, 2)),
        Selection(max_age=1.0),
        Selection(max_bytes=1),
        Selection(max_duration=1.0),
    ],
)
@pytest.mark.parametrize("level", [Level.LINKS, Level.SIZES])
def test_levels_that_read_no_content_have_nothing_to_select(
    selection: Selection, level: Level
) -> None:
    with pytest.raises(Invalid, match=f"level {level}"):
        selection.check(level, ledger=True)
    Selection().check(level, ledger=False)
    selection.check(Level.CONTENT, ledger=True)


def test_an_age_needs_a_ledger() -> None:
    with pytest.raises(Invalid, match="needs a ledger"):
        Selection(max_age=1.0).check(Level.DIGESTS, ledger=False)
