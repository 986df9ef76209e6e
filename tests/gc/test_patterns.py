"""Patterns and globs of a policy: they mean what zot's mean, and no name can hold up a run."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.cli.app import run
from regfs.cli.session import Exit
from regfs.documents.globs import glob
from regfs.findings import Code
from regfs.gc.retention.patterns import CHANCES, Patterns, expression
from tests.support.builder import TreeBuilder, image
from tests.support.retention import judged, keep, reason, tags_of

EVIL = "^(a|aa)*[0-9]$"
"""Takes time exponential in the number of letters."""
VICTIM = "a" * 100 + "-"


# -- what they mean ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("v1", "rev1-x", True),
        ("^v1", "rev1", False),
        ("v1$", "v10", False),
        ("", "anything", True),
        (r"^[[:digit:]]+$", "2024", True),
        (r"\pL", "2024", False),
        (r"(?i)^RC", "rc1", True),
        (r"^v(?P<major>\d+)\.", "v1.2", True),
        (r"\d", "\u0663", False),
    ],
)
def test_a_pattern_means_what_it_means_in_zot(pattern: str, text: str, found: bool) -> None:
    assert Patterns().search(pattern, text) is found


@pytest.mark.parametrize("pattern", ["a(?i)b", "(", "a**", r"\Qa", "(?U)a"])
def test_what_would_mean_something_else_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="is not a regular expression"):
        expression(pattern)


@given(st.text("ab.v1-", max_size=12), st.text("ab.v1-", min_size=1, max_size=3))
def test_plain_text_is_found_wherever_it_is(text: str, wanted: str) -> None:
    assert Patterns().search(re.escape(wanted), text) is (wanted in text)


def test_a_policy_taken_from_zot_keeps_the_same_tags(tree: TreeBuilder) -> None:
    for tag in ("release-1.0", "v1.0", "v1.0-hotfix", "2024-prod", "dev", "old"):
        tree.push("app", tag, image([tag]))
    planned = judged(tree, keep("^v1", "release", "-prod$", "dev"))
    assert tags_of(planned) == {"app:old"}


# -- how long they take -------------------------------------------------------------------


def test_a_pattern_that_takes_too_long_is_given_up() -> None:
    patterns = Patterns(limit=0.01)
    assert patterns.search(EVIL, VICTIM) is None
    assert patterns.slow == {EVIL: f"{VICTIM[:60]}..."}
    for _ in range(CHANCES - 1):
        assert patterns.search(EVIL, VICTIM) is None
    assert patterns.search(EVIL, "aa1") is None, "it is not asked any more"
    assert patterns.search("a", VICTIM) is True, "the others are"


def test_a_tag_that_takes_too_long_stays_and_is_told(tree: TreeBuilder) -> None:
    tree.push("app", "aa1", image(["kept"]))
    tree.push("app", "old", image(["old"]))
    tree.push("app", VICTIM, image(["evil"]))
    planned = judged(tree, keep(EVIL))
    assert tags_of(planned) == {"app:old"}
    assert reason(planned, VICTIM) == "patterns[0] of keepTags[0] took too long on it"
    (finding,) = planned.findings
    assert (finding.code, finding.repository) == (Code.PATTERN_SLOW, "app")
    assert finding.expected == EVIL
    assert planned.doubtful


def test_a_tag_that_takes_too_long_takes_no_place_in_a_count(tree: TreeBuilder) -> None:
    tree.push("app", "aa1", image(["kept"]))
    with tree.at_age(7200):
        tree.push("app", VICTIM, image(["evil"]))
    retention = keep(EVIL)
    (block,) = retention.policies
    one = block.keep_tags[0].model_copy(update={"most_recently_pushed_count": 1})
    retention = retention.model_copy(
        update={"policies": (block.model_copy(update={"keep_tags": (one,)}),)}
    )
    assert judged(tree, retention).actions == []


def test_a_pattern_that_takes_too_long_is_told_once_whatever_it_meets(tree: TreeBuilder) -> None:
    for name in ("app", "other"):
        for number in range(2):
            tree.push(name, f"{VICTIM}{number}-", image([f"{name} {number}"]))
    planned = judged(tree, keep(EVIL, immutable=[EVIL]))
    assert planned.actions == []
    assert [one.code for one in planned.findings] == [Code.PATTERN_SLOW]


def test_a_label_that_takes_too_long_keeps_its_tag(tree: TreeBuilder) -> None:
    tree.push("app", "new", image(["new"], {"config": {"Labels": {"x": "a1"}}}))
    tree.push("app", "slow", image(["slow"], {"config": {"Labels": {"x": VICTIM}}}))
    tree.push("app", "old", image(["old"], {"config": {"Labels": {"x": "-"}}}))
    retention = keep("none")
    (block,) = retention.policies
    entry = type(block.keep_tags[0]).model_validate({"labels": {"x": EVIL}})
    block = block.model_copy(update={"keep_tags": (entry,)})
    planned = judged(tree, retention.model_copy(update={"policies": (block,)}))
    assert tags_of(planned) == {"app:old"}
    assert reason(planned, "slow") == "labels of keepTags[0] (x) took too long on it"


def test_a_plan_with_a_slow_pattern_ends_with_1(
    tree: TreeBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.push("app", VICTIM, image(["evil"]))
    file = tmp_path / "policy.toml"
    file.write_text(
        f'[[policies]]\nrepositories = ["**"]\n[[policies.keepTags]]\npatterns = ["{EVIL}"]\n'
    )
    command = ["-r", str(tree.root), "gc", "plan", "--policy", str(file)]
    assert run(command) == Exit.FINDINGS.value
    assert "takes too long" in capsys.readouterr().out


# -- globs ------------------------------------------------------------------------------------

PARTS = st.sampled_from(["**", "*", "a", "ab", "a*b", "*a", "a*", "*a*b*", "b*a*", "*ab"])
NAMES = st.lists(st.text("ab", min_size=1, max_size=5), min_size=1, max_size=5).map("/".join)


def matches(pattern: str, name: str) -> bool:
    """Return whether a glob matches, tried in every way."""
    parts, components = pattern.split("/"), name.split("/")

    @cache
    def rest(part: int, component: int) -> bool:
        if part == len(parts):
            return component == len(components)
        here = component < len(components)
        if parts[part] == "**":
            return rest(part + 1, component) or (here and rest(part, component + 1))
        plain = ".*".join(map(re.escape, parts[part].split("*")))
        fits = here and re.fullmatch(plain, components[component]) is not None
        return fits and rest(part + 1, component + 1)

    return rest(0, 0)


@given(st.lists(PARTS, min_size=1, max_size=5).map("/".join), NAMES)
def test_a_glob_matches_what_it_means(pattern: str, name: str) -> None:
    assert (glob(pattern).fullmatch(f"/{name}") is not None) is matches(pattern, name)


HARD = [
    ("*a" * 30 + "*b", "a" * 250),
    ("*a" * 20 + "*ab*ab", "a" * 200 + "b"),
    ("**/a/" * 20 + "**/b/**/b", "a/" * 120 + "b"),
    ("**/*a*/" * 20 + "**/b/**/b", "aa/" * 80 + "b"),
]


def test_no_name_holds_up_a_glob() -> None:
    program = f"from regfs.documents.globs import glob\nfor pattern, name in {HARD!r}:\n" + (
        "    assert glob(pattern).fullmatch('/' + name) is None, pattern"
    )
    # The limit only ends what would otherwise run for years.
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
