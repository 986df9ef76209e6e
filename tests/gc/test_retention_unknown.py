"""What a retention policy does with what is not known, and when it asks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from regfs.gc.retention import TagFacts, decide
from tests.support.retention import DAY, DIGEST, NOW, ago, days, fact, kept, policy, reasons


def nobody_asks() -> Any:
    raise AssertionError("the config was asked for")


# -- what is not known ------------------------------------------------------------------


BY_PUSHED: list[dict[str, Any]] = [
    {"mostRecentlyPushedCount": 1},
    {"pushedWithin": "1d"},
    {"keepHourly": 1},
    {"keepDaily": 1},
    {"keepWeekly": 1},
    {"keepMonthly": 1},
    {"keepYearly": 1},
]
BY_CREATED: list[dict[str, Any]] = [
    {"createdWithin": "1d"},
    *({**rule, "age": "created"} for rule in BY_PUSHED[2:]),
]


@pytest.mark.parametrize("rule", BY_PUSHED)
@pytest.mark.parametrize("unknown", [None, 0.0, -62135596800.0])
def test_an_unknown_time_of_push_keeps_and_takes_no_place(
    rule: dict[str, Any], unknown: float | None
) -> None:
    tags = [fact("dark", unknown), fact("young"), fact("old", ago(800))]
    assert kept(policy(rule), tags) == {"dark", "young"}
    assert "when it was pushed is not known" in reasons(policy(rule), *tags)[0]


@pytest.mark.parametrize("rule", BY_CREATED)
@pytest.mark.parametrize("unknown", [None, 0.0, -62135596800.0])
def test_an_unknown_time_of_creation_keeps_and_takes_no_place(
    rule: dict[str, Any], unknown: float | None
) -> None:
    tags = [
        fact("dark", ago(900), created=unknown),
        fact("old", created=ago(800)),
        fact("young", ago(900), created=NOW),
        TagFacts("bare", DIGEST, ago(900)),
    ]
    assert kept(policy(rule), tags) == {"bare", "dark", "young"}


@pytest.mark.parametrize("rule", [*BY_PUSHED, *BY_CREATED])
def test_a_time_in_the_future_is_young_and_takes_no_place(rule: dict[str, Any]) -> None:
    tags = [
        fact("tomorrow", NOW + DAY, created=NOW + DAY),
        fact("far", 1e15, created=1e15),
        fact("now", NOW, created=NOW),
        fact("old", ago(800), created=ago(800)),
    ]
    assert kept(policy(rule), tags) == {"far", "tomorrow", "now"}
    assert "(in the future)" in reasons(policy(rule), *tags)[0]


@pytest.mark.parametrize("rule", [{"labels": {"a": "b"}}, {"semver": {"by": "major"}}])
def test_an_unknown_age_matters_only_to_rules_that_go_by_it(rule: dict[str, Any]) -> None:
    tags = [fact("dark", None, labels=[{}]), fact("1.0.0", labels=[{"a": "b"}])]
    assert kept(policy(rule), tags) == {"1.0.0"}


@pytest.mark.parametrize("labels", [None, lambda: None, lambda: []])
def test_labels_that_cannot_be_read_keep(labels: Any) -> None:
    tags = [TagFacts("dark", DIGEST, NOW, None, labels), fact("other", labels=[{"a": "c"}])]
    assert kept(policy({"labels": {"a": "b"}}), tags) == {"dark"}


def test_a_tag_that_cannot_be_read_is_kept_and_takes_no_place() -> None:
    dark = TagFacts("dark", None, NOW)
    assert kept(policy({"mostRecentlyPushedCount": 1}), [dark, *days(a=1, b=2)]) == {"dark", "a"}
    assert reasons(policy({"patterns": ["x"]}), dark) == ["what it points to cannot be read"]
    assert kept(policy({"patterns": ["x"]}), [dark, fact("a")]) == {"dark", "a"}, "none is left"


def test_what_stands_beside_an_image_is_left_alone() -> None:
    fallback = DIGEST.replace(":", "-")
    beside = [replace(fact(tag), attached_to=DIGEST) for tag in (fallback, f"{fallback}.sig")]
    rules = policy({"mostRecentlyPushedCount": 1})
    assert kept(rules, [*beside, *days(a=1, b=2)]) == {fallback, f"{fallback}.sig", "a"}
    assert reasons(rules, *beside) == [f"attached to {DIGEST}: kept and deleted with it"] * 2
    assert kept(policy({"patterns": ["x"]}), [*beside, fact("a")]) >= {"a"}, "none is left"
    decided = decide(rules, beside, "app", NOW)
    assert {one.attached_to for one in decided} == {DIGEST}


def test_what_a_rule_names_does_not_wait_for_what_it_stands_beside() -> None:
    signature = replace(fact(f"{DIGEST.replace(':', '-')}.sig"), attached_to=DIGEST)
    immutable = policy({"patterns": ["x"]}, immutable=[".*[.]sig"])
    matching = policy({"patterns": [".*[.]sig"]})
    for rules, reason in ((immutable, "immutable[0]"), (matching, "keepTags[0]")):
        (one,) = decide(rules, [signature], "app", NOW)
        assert (one.keep, one.attached_to) == (True, None)
        assert reason in one.reason
    (other,) = decide(policy({"mostRecentlyPushedCount": 1}), [signature], "app", NOW)
    assert other.attached_to == DIGEST, "an entry without patterns is about images"


# -- what is asked for --------------------------------------------------------------------


def test_configs_are_asked_for_only_when_a_rule_goes_by_them() -> None:
    tags = [TagFacts(tag, DIGEST, ago(5), nobody_asks, nobody_asks) for tag in ("v1", "2.0.0")]
    cheap = policy({**BY_PUSHED[0], "pushedWithin": "1h", "semver": {"by": "minor"}})
    assert kept(cheap, tags) == {"v1", "2.0.0"}
    dear = {"createdWithin": "1d", "labels": {"a": "b"}, "keepDaily": 1, "age": "created"}
    assert kept(policy(dear, {"pushedWithin": "9d"}), tags) == {"v1", "2.0.0"}


def test_a_config_is_asked_for_its_time_once() -> None:
    asked: list[str] = []
    tag = TagFacts("a", DIGEST, ago(9), lambda: asked.append("a"), None)
    rules = policy({"createdWithin": "1d"}, {"keepDaily": 1, "age": "created", "patterns": ["a"]})
    assert kept(rules, [tag]) == {"a"}
    assert asked == ["a"]
