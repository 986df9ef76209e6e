"""What a retention policy keeps, and the reasons it gives."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from regfs.digest import Digest
from regfs.gc.retention import (
    Decision,
    RetentionPolicy,
    TagFacts,
    created_of,
    created_time,
    decide,
    decide_untagged,
    labels_of,
)
from regfs.manifests.image_config import parse_config
from tests.support.retention import DAY, DIGEST, NOW, ago, days, fact, kept, policy, reasons

# -- which block ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("glob", "name", "matches"),
    [
        ("**", "a", True),
        ("**", "a/b/c", True),
        ("*", "a", True),
        ("*", "a/b", False),
        ("infra/**", "infra/a/b", True),
        ("infra/**", "infra", True),
        ("infra/**", "infrared", False),
        ("prod/*", "prod/a", True),
        ("prod/*", "prod", False),
        ("prod/*", "prod/a/b", False),
        ("**/app", "app", True),
        ("**/app", "x/y/app", True),
        ("**/app", "x/yapp", False),
        ("a/**/z", "a/z", True),
        ("a/**/z", "a/b/c/z", True),
        ("team-*", "team-a", True),
        ("team-*", "team-", True),
        ("team.x", "teamyx", False),
        ("*a*", "bab", True),
        ("a", "ab", False),
    ],
)
def test_a_glob_matches_whole_names(glob: str, name: str, matches: bool) -> None:
    rules = policy({"patterns": ["none"]}, repositories=[glob], allowEmpty=True)
    assert (kept(rules, [fact("v1")], name) == set()) == matches


def test_the_first_block_that_matches_is_the_one() -> None:
    made = RetentionPolicy.model_validate(
        {
            "policies": [
                {"repositories": ["prod/*", "main"]},
                {"repositories": ["**"], "keepTags": [{"patterns": ["v.*"]}]},
            ]
        }
    )
    tags = [fact("v1"), fact("old")]
    assert kept(made, tags, "prod/app") == kept(made, tags, "main") == {"v1", "old"}
    assert kept(made, tags, "other") == {"v1"}
    assert reasons(made, fact("old"), fact("v1"), name="other")[0].endswith(
        "no rule of policies[1] keeps it"
    )


def test_a_repository_that_no_block_matches_loses_nothing() -> None:
    made = policy({"patterns": ["v"]}, repositories=["prod/*"])
    assert reasons(made, fact("x")) == ["no block of the policy covers this repository"]
    assert kept(made, [fact("x")]) == {"x"}
    assert all(one.keep for one in decide_untagged(made, [fact(None)], "app", NOW))


def test_without_entries_every_tag_stays() -> None:
    assert reasons(policy(), fact("v1")) == ["policies[0] has no keepTags: every tag stays"]
    assert kept(policy(), [fact("v1")]) == {"v1"}


# -- single rules ---------------------------------------------------------------------


def test_an_entry_without_a_rule_keeps_what_it_matches() -> None:
    tags = [fact("v1"), fact("x"), fact("y")]
    assert kept(policy({"patterns": ["v.*", "x"]}), tags) == {"v1", "x"}
    assert kept(policy({}), [fact("a")]) == {"a"}
    assert kept(policy({"age": "created"}), [fact("a")]) == {"a"}


def test_patterns_are_found_anywhere_as_in_zot() -> None:
    tags = [fact(tag) for tag in ("v1", "v10", "rev1", "v2")]
    assert kept(policy({"patterns": ["v1"]}), tags) == {"v1", "v10", "rev1"}
    assert kept(policy({"patterns": ["^v1"]}), tags) == {"v1", "v10"}
    assert kept(policy({"patterns": ["^v1$"]}), tags) == {"v1"}


def test_the_most_recently_pushed_are_kept() -> None:
    rules = policy({"patterns": ["v.*"], "mostRecentlyPushedCount": 2})
    assert kept(rules, days(v1=3, v2=2, v3=1, other=0)) == {"v2", "v3"}
    assert kept(rules, days(v1=3)) == {"v1"}
    assert kept(rules, days(other=1)) == {"other"}, "none would be left"


def test_those_that_share_the_last_place_all_have_it() -> None:
    assert kept(policy({"mostRecentlyPushedCount": 1}), days(a=1, b=1, c=2)) == {"a", "b"}
    assert kept(policy({"keepDaily": 1}), days(a=1, b=1, c=1.1)) == {"a", "b"}


def test_what_was_pushed_within_is_kept_to_the_second() -> None:
    rules = policy({"pushedWithin": "30d"})
    assert kept(rules, [fact("a", ago(30)), fact("b", ago(30) - 1), fact("c")]) == {"a", "c"}


def test_created_within_goes_by_the_config() -> None:
    rules = policy({"createdWithin": "90d"})
    tags = [fact("a", ago(300), created=ago(90)), fact("b", ago(1), created=ago(91))]
    assert kept(rules, tags) == {"a"}


def test_labels_must_all_match() -> None:
    rules = policy({"labels": {"keep": "^(yes|always)$", "team": ""}})
    tags = [
        fact("a", labels=[{"keep": "yes", "team": ""}]),
        fact("b", labels=[{"keep": "yes"}]),
        fact("c", labels=[{"keep": "yes!", "team": "x"}]),
        fact("d", labels=[{"keep": "no", "team": "x"}, {"keep": "always", "team": "x"}]),
    ]
    assert kept(rules, tags) == {"a", "d"}


TAGS = ["1.0.0", "v1.0.1", "1.1.0", "1.2.0-rc.1", "2.0.0-beta", "2.0.0", "2.0.1", "latest", "2.1"]


@pytest.mark.parametrize(
    ("rule", "stay"),
    [
        ({"by": "major"}, {"1.2.0-rc.1", "2.0.1"}),
        ({"by": "major", "groups": 1, "keep": 2}, {"2.0.0", "2.0.1"}),
        ({"by": "minor"}, {"v1.0.1", "1.1.0", "1.2.0-rc.1", "2.0.1"}),
        ({"by": "minor", "groups": 2}, {"2.0.1", "1.2.0-rc.1"}),
        ({"by": "patch", "groups": 2}, {"2.0.1", "2.0.0"}),
        ({"by": "patch", "groups": 2, "keep": 5}, {"2.0.1", "2.0.0", "2.0.0-beta"}),
    ],
)
def test_the_highest_versions_of_the_highest_groups(rule: dict[str, Any], stay: set[str]) -> None:
    assert kept(policy({"semver": rule}), [fact(tag) for tag in TAGS]) == stay


def test_one_version_under_two_tags_takes_one_place() -> None:
    tags = [fact("v1.0.0"), fact("1.0.0"), fact("0.9.0")]
    assert kept(policy({"semver": {"by": "minor", "groups": 1}}), tags) == {"v1.0.0", "1.0.0"}


# -- keep wins ------------------------------------------------------------------------------


def test_every_entry_that_matches_is_asked() -> None:
    first = {"patterns": ["v.*"], "mostRecentlyPushedCount": 1}
    second = {"patterns": [".*-lts"], "pushedWithin": "1y"}
    tags = [fact("v1-lts", ago(300)), fact("v2", ago(200)), fact("v3", ago(1))]
    assert kept(policy(first, second), tags) == {"v1-lts", "v3"}


def test_immutable_tags_are_kept_whatever_the_rules_say() -> None:
    rules = policy({"patterns": ["x"]}, immutable=["^v\\d+$", "main"])
    tags = [fact("v1"), fact("main"), fact("v1y"), fact("x")]
    assert kept(rules, tags) == {"v1", "main", "x"}
    assert reasons(rules, *tags)[0] == "immutable[1] of policies[0]"


def test_a_repository_does_not_lose_its_last_tag_unless_that_is_allowed() -> None:
    entry = {"patterns": ["v.*"]}
    assert kept(policy(entry), [fact("a"), fact("b")]) == {"a", "b"}
    assert reasons(policy(entry), fact("a")) == [
        "policies[0] would drop every tag, and allowEmpty is not set"
    ]
    assert kept(policy(entry, allowEmpty=True), [fact("a"), fact("b")]) == set()
    assert decide(policy(entry), [], "app", NOW) == []


# -- words ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"pushedWithin": "30d"}, "pushed 2026-01-02 (12 d ago): within pushedWithin 30d of "),
        ({"mostRecentlyPushedCount": 3}, "pushed 2026-01-02 (12 d ago): among mostRecently"),
        ({"keepWeekly": 3}, "pushed 2026-01-02 (12 d ago): the newest of its week, keepWeekly 3"),
        ({"createdWithin": "36h"}, "created 2026-01-14 (2 h ago): within createdWithin 1d12h of "),
        ({"labels": {"x": "1"}}, "its labels match keepTags[0] (x)"),
        ({"semver": {"by": "minor"}}, "among the highest 1 of 1.2, semver of keepTags[0]"),
        ({"patterns": ["1.*"]}, "keepTags[0] has no rule, so it keeps what it matches"),
    ],
)
def test_a_reason_names_rule_and_age(entry: dict[str, Any], reason: str) -> None:
    tag = fact("1.2.3", ago(12), ago(2 / 24), [{"x": "1"}])
    (decision,) = decide(policy(entry), [tag], "app", NOW)
    assert decision.keep
    assert decision.reason.startswith(reason)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s ago"), (59, "59 s ago"), (60, "1 min ago"), (7199, "1 h ago"), (2 * DAY, "2 d ago")],
)
def test_an_age_is_told_in_one_unit(seconds: float, words: str) -> None:
    assert f"({words})" in reasons(policy({"pushedWithin": "9d"}), fact("a", NOW - seconds))[0]


def test_a_time_beyond_all_calendars_is_told_too() -> None:
    assert reasons(policy({"pushedWithin": "9d"}), fact("a", 1e15)) == [
        "pushed after 9999 (in the future): dated in the future: pushedWithin 9d of keepTags[0]"
    ]


def test_a_decision_tells_what_it_went_by() -> None:
    rules = policy({"createdWithin": "1d"}, allowEmpty=True)
    assert decide(rules, [fact("a", ago(3), ago(2))], "app", NOW) == [
        Decision(
            "app",
            "a",
            DIGEST,
            False,
            "pushed 2026-01-11 (3 d ago): no rule of policies[0] keeps it",
            ago(3),
            ago(2),
        )
    ]


# -- untagged manifests -------------------------------------------------------------------------


def untagged(*ages: float) -> list[TagFacts]:
    return [TagFacts(None, Digest.of(str(age).encode()), ago(age)) for age in ages]


def test_untagged_manifests_go_by_default() -> None:
    decided = decide_untagged(policy(), untagged(1, 2), "app", NOW)
    assert [one.keep for one in decided] == [False, False]
    assert decided[0].reason.endswith("no rule of policies[0] keeps it untagged")
    assert [one.digest for one in decided] == sorted(one.digest or "" for one in decided)


def test_untagged_manifests_stay_where_that_is_said() -> None:
    (decision,) = decide_untagged(policy(deleteUntagged=False), untagged(900), "app", NOW)
    assert decision.keep
    assert decision.reason == "policies[0] does not delete untagged manifests"


def test_untagged_manifests_are_kept_by_the_same_rules() -> None:
    rules = policy(keepUntagged={"pushedWithin": "7d"})
    decided = decide_untagged(rules, untagged(1, 8), "app", NOW)
    assert {one.pushed for one in decided if one.keep} == {ago(1)}
    count = policy(keepUntagged={"mostRecentlyPushedCount": 1})
    decided = decide_untagged(count, untagged(5, 8), "app", NOW)
    assert {one.pushed for one in decided if one.keep} == {ago(5)}
    everything = policy(keepUntagged={})
    assert all(one.keep for one in decide_untagged(everything, untagged(900), "app", NOW))


# -- facts of configs -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-14T12:00:00Z", NOW),
        ("2026-01-14T12:00:00.123456789Z", NOW + 0.123456),
        ("2026-01-14T14:00:00+02:00", NOW),
        ("2026-01-14t12:00:00z", NOW),
        ("0001-01-01T00:00:00Z", None),
        ("1970-01-01T00:00:00Z", None),
        ("1980-01-01T00:00:01Z", None),
        ("2026-01-14T12:00:00", None),
        ("2026-13-14T12:00:00Z", None),
        ("0001-01-01T00:00:00+23:00", None),
        ("2026-01-14", None),
        ("", None),
        (None, None),
    ],
)
def test_the_time_in_a_config(text: str | None, time: float | None) -> None:
    assert created_time(text) == (None if time is None else pytest.approx(time))


def test_an_index_is_as_young_as_the_youngest_of_its_images() -> None:
    old = parse_config(b'{"created": "2025-01-14T12:00:00Z", "config": {"Labels": {"a": "b"}}}')
    new = parse_config(b'{"created": "2026-01-14T12:00:00Z"}')
    timeless = parse_config(b"{}")
    assert created_of([old, new]) == NOW
    assert labels_of([old, new]) == [{"a": "b"}, {}]
    for unknown in (None, timeless):
        assert created_of([new, unknown]) is None
    assert created_of([]) is None
    assert labels_of([old, None]) is None
    assert labels_of([]) == []


# -- the model ----------------------------------------------------------------------------------


WHOLE: dict[str, Any] = {
    "policies": [
        {
            "repositories": ["infra/**"],
            "immutable": ["v\\d+"],
            "deleteReferrers": True,
            "keepUntagged": {"pushedWithin": "7d"},
            "keepTags": [
                {
                    "patterns": ["v.*"],
                    "createdWithin": "1d12h",
                    "age": "created",
                    "labels": {"a": "b|c"},
                    "semver": {"by": "patch", "groups": 3, "keep": 2},
                }
            ],
        }
    ]
}


def test_a_policy_goes_through_json_and_back() -> None:
    made = RetentionPolicy.model_validate(WHOLE)
    assert RetentionPolicy.model_validate_json(made.model_dump_json(by_alias=True)) == made
    shown = made.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert shown == WHOLE


def test_a_policy_can_be_written_in_snake_case() -> None:
    made = RetentionPolicy.model_validate(WHOLE)
    snake = made.model_dump(mode="json", exclude_unset=True)
    assert "keep_tags" in snake["policies"][0]
    assert RetentionPolicy.model_validate(snake) == made


def test_a_policy_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        policy().policies[0].allow_empty = True  # type: ignore[misc]  # that it fails is the point
