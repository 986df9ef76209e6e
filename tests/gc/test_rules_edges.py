"""Rules of retention at their edges, one by one: what laws meet only now and then."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from regfs.gc.roots import parse_roots
from tests.support.builder import TreeBuilder, image
from tests.support.registries import by_repository, going
from tests.support.retention import fact, judged, kept, policy, reasons


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("key", "last_of_one", "first_of_next"),
    [
        ("keepHourly", "2026-01-13T10:59:59", "2026-01-13T11:00:00"),
        ("keepDaily", "2026-01-12T23:59:59", "2026-01-13T00:00:00"),
        ("keepWeekly", "2026-01-11T23:59:59", "2026-01-12T00:00:00"),
        ("keepMonthly", "2025-11-30T23:59:59", "2025-12-01T00:00:00"),
        ("keepMonthly", "2025-12-31T23:59:59", "2026-01-01T00:00:00"),
        ("keepYearly", "2025-12-31T23:59:59", "2026-01-01T00:00:00"),
    ],
)
def test_a_period_ends_to_the_second(key: str, last_of_one: str, first_of_next: str) -> None:
    end, begin = at(last_of_one), at(first_of_next)
    facts = [fact("before", end - 1), fact("end", end), fact("begin", begin), fact("in", begin + 9)]
    assert kept(policy({key: 2}), facts) == {"end", "in"}
    assert kept(policy({key: 1}), facts) == {"in"}


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("2024-12-15", "2026-01-01"),
        ("2024-01-15", "2025-01-01"),
        ("2024-11-15", "2025-10-01"),
        ("2025-02-15", "2025-03-01"),
    ],
)
def test_months_of_different_years_are_different_and_in_order(older: str, newer: str) -> None:
    facts = [fact("older", at(older)), fact("newer", at(newer))]
    assert kept(policy({"keepMonthly": 2}), facts) == {"older", "newer"}
    assert kept(policy({"keepMonthly": 1}), facts) == {"newer"}


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        ("1.0.0-rc.2", "1.0.0-rc.10"),
        ("1.0.0-1", "1.0.0-alpha"),
        ("1.0.0-alpha", "1.0.0-beta"),
        ("1.0.0-rc", "1.0.0-rc.1"),
        ("1.0.0-rc.9", "1.0.0"),
    ],
)
def test_of_two_versions_the_higher_is_kept(lower: str, higher: str) -> None:
    rule = policy({"semver": {"by": "major", "keep": 1}})
    assert kept(rule, [fact(lower), fact(higher)]) == {higher}
    assert kept(rule, [fact(higher), fact(lower)]) == {higher}


def test_the_first_reason_is_told() -> None:
    both = policy({"mostRecentlyPushedCount": 1, "pushedWithin": "1d", "keepDaily": 1})
    (reason,) = reasons(both, fact("v1"))
    assert "among mostRecentlyPushedCount 1" in reason


@pytest.mark.parametrize("glob", ["**/infra**", "infra**/**", "a/**b/**"])
def test_two_stars_stand_alone_in_every_component(glob: str) -> None:
    with pytest.raises(ValidationError, match="must be a component by itself"):
        policy({"patterns": ["v1"]}, repositories=[glob])


# -- roots ----------------------------------------------------------------------------


def test_a_repository_may_be_called_localhost() -> None:
    roots = parse_roots(b"localhost:v1", "roots.txt", {"localhost"}.__contains__)
    assert by_repository(roots) == {"localhost": {"v1"}}
    roots = parse_roots(b"localhost/app:v1", "roots.txt", {"app"}.__contains__)
    assert by_repository(roots) == {"app": {"v1"}}


def test_a_tag_that_is_a_root_speaks_for_what_it_is_and_not_for_what_it_was(
    tree: TreeBuilder,
) -> None:
    was = tree.push("app", "v1", image(["was"]))
    tree.push("app", "v1", image(["is"]))
    planned = judged(tree, None, delete_untagged=True, roots=("app:v1",))  # type: ignore[arg-type]
    assert going(planned, "revision") == {was}
