"""Laws of retention, over versions, calendars and random policies."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import semver
from hypothesis import given
from hypothesis import strategies as st

from regfs.gc.retention import RetentionPolicy, TagFacts, decide
from regfs.gc.retention.rules import version_of
from tests.support.retention import DAY, HOUR, NOW, ago, days, fact, kept, policy

# -- versions -----------------------------------------------------------------------------


PARTS = st.sampled_from(["0", "1", "2", "10", "rc", "alpha", "a-1"])
VERSIONS = st.builds(
    "{}.{}.{}{}".format,
    *[st.integers(0, 2)] * 3,
    st.just("") | st.lists(PARTS, min_size=1, max_size=3).map(lambda p: "-" + ".".join(p)),
)


@given(VERSIONS, VERSIONS)
def test_versions_sort_as_semver_says(left: str, right: str) -> None:
    order = semver.Version.parse(left).compare(right)
    mine = version_of(left), version_of("v" + right)
    assert (mine[0] > mine[1]) - (mine[0] < mine[1]) == order


# -- calendars --------------------------------------------------------------------------


PERIODS: dict[str, Callable[[datetime], Any]] = {
    "keepHourly": lambda time: f"{time:%Y%m%d%H}",
    "keepDaily": lambda time: f"{time:%Y%m%d}",
    "keepWeekly": lambda time: time.isocalendar()[:2],
    "keepMonthly": lambda time: f"{time:%Y%m}",
    "keepYearly": lambda time: f"{time:%Y}",
}


def slowly(key: str, count: int, pushed: dict[str, float]) -> set[str]:
    """Walk from the newest to the oldest, as one would with a calendar on the wall."""
    stay: set[str] = set()
    seen: list[Any] = []
    previous = None
    for tag in sorted(pushed, key=lambda tag: -pushed[tag]):
        period = PERIODS[key](datetime.fromtimestamp(pushed[tag], UTC))
        if period not in seen:
            if len(seen) == count:
                break
            seen.append(period)
            previous = pushed[tag]
            stay.add(tag)
        elif pushed[tag] == previous:
            stay.add(tag)
    return stay


MOMENTS = st.one_of(
    st.floats(ago(3), NOW),
    st.floats(ago(900), NOW),
    st.integers(0, 800).map(lambda hours: NOW - hours * HOUR),
    st.integers(0, 900).map(lambda days: NOW - NOW % DAY - days * DAY),
    st.integers(0, 900).map(lambda days: NOW - NOW % DAY - days * DAY - 1),
)
PUSHED = st.lists(MOMENTS, min_size=1, max_size=30).map(
    lambda times: {f"t{number}": time for number, time in enumerate(times)}
)


@given(st.sampled_from(sorted(PERIODS)), st.integers(1, 6), PUSHED)
def test_calendars_keep_what_a_walk_through_them_keeps(
    key: str, count: int, pushed: dict[str, float]
) -> None:
    expected = slowly(key, count, pushed)
    assert kept(policy({key: count}), [fact(tag, t) for tag, t in pushed.items()]) == expected
    created = [fact(tag, NOW, created=time) for tag, time in pushed.items()]
    assert kept(policy({key: count, "age": "created"}), created) == expected


def test_a_period_without_a_tag_takes_no_place() -> None:
    assert kept(policy({"keepDaily": 2}), days(a=0, b=0.1, c=40, d=41)) == {"a", "c"}


def test_weeks_begin_on_monday() -> None:
    monday = datetime(2026, 1, 12, tzinfo=UTC)
    tags = [
        fact("sunday", (monday - timedelta(seconds=1)).timestamp()),
        fact("monday", monday.timestamp()),
        fact("saturday", (monday - timedelta(days=2)).timestamp()),
    ]
    assert kept(policy({"keepWeekly": 2}), tags) == {"sunday", "monday"}


# -- laws ---------------------------------------------------------------------------------------


RULES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "mostRecentlyPushedCount": st.integers(1, 4),
        "pushedWithin": st.sampled_from(["1h", "3d", "400d"]),
        "createdWithin": st.sampled_from(["1h", "3d", "400d"]),
        "keepHourly": st.integers(1, 3),
        "keepDaily": st.integers(1, 3),
        "keepWeekly": st.integers(1, 3),
        "keepMonthly": st.integers(1, 3),
        "keepYearly": st.integers(1, 3),
        "labels": st.just({"keep": "yes"}),
        "semver": st.fixed_dictionaries(
            {"by": st.sampled_from(["major", "minor", "patch"]), "keep": st.integers(1, 2)},
            optional={"groups": st.integers(1, 2)},
        ),
    },
)
SHAPES = st.fixed_dictionaries(
    {},
    optional={
        "patterns": st.lists(st.sampled_from(["v.*", "1.*", ".*-x", "[a-c]+"]), min_size=1),
        "age": st.sampled_from(["pushed", "created"]),
    },
)
ENTRIES = st.builds(lambda rules, shape: {**rules, **shape}, RULES, SHAPES)
NAMES = st.sampled_from(["v1", "v2", "a", "b", "c", "v1-x"]) | VERSIONS
FACTS = st.lists(
    st.builds(
        fact,
        NAMES,
        st.none() | MOMENTS | st.just(NOW + DAY),
        st.none() | MOMENTS | st.just(NOW + DAY),
        st.none() | st.lists(st.sampled_from([{"keep": "yes"}, {"keep": "no"}, {}]), max_size=2),
    ),
    unique_by=lambda known: known.tag,
    max_size=12,
)


def free(*entries: dict[str, Any], **block: Any) -> RetentionPolicy:
    """Return a policy that may drop every tag: where none is left, all are kept after all."""
    return policy(*entries, allowEmpty=True, **block)


@given(st.lists(ENTRIES, min_size=1, max_size=3), ENTRIES, FACTS)
def test_one_more_entry_never_drops_more(
    entries: list[dict[str, Any]], more: dict[str, Any], facts: list[TagFacts]
) -> None:
    assert kept(free(*entries), facts) <= kept(free(*entries, more), facts)


@given(ENTRIES, RULES, FACTS)
def test_one_more_rule_never_drops_more(
    entry: dict[str, Any], more: dict[str, Any], facts: list[TagFacts]
) -> None:
    if entry.keys() - {"patterns", "age"}:  # the first rule narrows: without any all is kept
        assert kept(free(entry), facts) <= kept(free({**more, **entry}), facts)


@given(st.lists(ENTRIES, max_size=3), FACTS, st.randoms(), st.booleans())
def test_no_order_matters(
    entries: list[dict[str, Any]], facts: list[TagFacts], random: Any, allowed: bool
) -> None:
    rules = policy(*entries, allowEmpty=allowed)
    expected = decide(rules, facts, "app", NOW)
    random.shuffle(facts)
    assert decide(rules, facts, "app", NOW) == expected
    random.shuffle(entries)
    other = decide(policy(*entries, allowEmpty=allowed), facts, "app", NOW)
    assert [one.keep for one in other] == [one.keep for one in expected]


@given(
    st.fixed_dictionaries(
        {}, optional={"mostRecentlyPushedCount": st.integers(1, 4), "pushedWithin": st.just("3d")}
    ),
    FACTS,
)
def test_no_younger_tag_goes_while_an_older_one_stays(
    rule: dict[str, Any], facts: list[TagFacts]
) -> None:
    decided = [one for one in decide(free(rule), facts, "app", NOW) if one.pushed is not None]
    ages = {
        keep: [one.pushed or 0 for one in decided if one.keep is keep] for keep in (True, False)
    }
    assert max(ages[False], default=0) <= min(ages[True], default=NOW + DAY)


@given(st.lists(ENTRIES, max_size=3), FACTS)
def test_immutable_is_always_kept(entries: list[dict[str, Any]], facts: list[TagFacts]) -> None:
    stay = kept(free(*entries, immutable=["v.*"]), facts)
    assert {str(known.tag) for known in facts if str(known.tag).startswith("v")} <= stay


@given(st.lists(ENTRIES, max_size=3), FACTS)
def test_no_repository_is_emptied_unasked(
    entries: list[dict[str, Any]], facts: list[TagFacts]
) -> None:
    assert kept(policy(*entries), facts) or not facts


@given(st.lists(ENTRIES, max_size=3), FACTS)
def test_every_tag_is_decided_once(entries: list[dict[str, Any]], facts: list[TagFacts]) -> None:
    decided = decide(policy(*entries), facts, "app", NOW)
    assert [one.tag for one in decided] == sorted(str(known.tag) for known in facts)
    assert all(one.reason for one in decided)
