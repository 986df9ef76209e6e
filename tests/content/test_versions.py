"""Versions are ordered as dpkg and rpm order them, which are asked, and as apk does."""

from __future__ import annotations

import re
import subprocess
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.content.versions import Key, apk_key, dpkg_key, rpm_key
from tests.support.reference import needs_programs
from tests.support.registries import fewer


def sign(before: Key, after: Key) -> str:
    return "lt" if before < after else "gt" if before > after else "eq"


def near(versions: st.SearchStrategy[str]) -> st.SearchStrategy[list[tuple[str, str]]]:
    """Return pairs of versions, of which many are alike: those are the ones that go wrong."""
    ends = st.sampled_from(["", "0", "~", "~1", "+", "a", ".0", ".", "00", "^", "-1", "~~", "^1"])
    alike = versions.flatmap(
        lambda one: st.tuples(ends, ends).map(lambda two: (one + two[0], one + two[1]))
    )
    return st.lists(st.tuples(versions, versions) | alike, min_size=60, max_size=60)


DEBIAN = st.from_regex(r"([1-9]?[0-9]:)?[0-9][0-9aZz.+~]{0,5}(-[0-9aZ.+~]{1,4})?", fullmatch=True)
IS_DEBIAN = re.compile(r"([0-9]+:)?[0-9][0-9a-zA-Z.+~]*(-[0-9a-zA-Z.+~]+)?")


@needs_programs("dpkg")
@fewer(10, 5)
@given(near(DEBIAN))
def test_dpkg_orders_its_versions_so(pairs: list[tuple[str, str]]) -> None:
    legal = [pair for pair in pairs if all(map(IS_DEBIAN.fullmatch, pair))]
    script = "".join(
        f"dpkg --compare-versions '{before}' {order} '{after}' || echo '{before} {order} {after}'\n"
        for before, after in legal
        for order in [sign(dpkg_key(before), dpkg_key(after))]
    )
    done = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


RPM = st.from_regex(r"([1-9]:)?[0-9aZ][0-9aZz._^~+]{0,5}-[0-9a.^~]{1,3}", fullmatch=True)


@needs_programs("rpm")
@fewer(5, 5)
@given(near(RPM))
def test_rpm_orders_its_versions_so(pairs: list[tuple[str, str]]) -> None:
    legal = [pair for pair in pairs if all(one.count("-") == 1 for one in pair)]
    calls = " ".join(f"print(rpm.vercmp('{before}', '{after}') .. ' ')" for before, after in legal)
    done = subprocess.run(
        ["rpm", "--eval", f"%{{lua:{calls}}}"], capture_output=True, text=True, check=True
    )
    words = {"-1": "lt", "0": "eq", "1": "gt"}
    found = [sign(rpm_key(before), rpm_key(after)) for before, after in legal]
    assert found == [words[one] for one in done.stdout.split()]


@pytest.mark.parametrize(
    "ascending",
    [
        "0.9 1.0_alpha_pre2 1.0_alpha 1.0_alpha2 1.0_beta 1.0_pre1 1.0_rc1 1.0_rc10 1.0",
        "1.0 1.0-r0 1.0-r9 1.0-r10 1.0_cvs1 1.0_svn1 1.0_git1 1.0_hg1 1.0_p1 1.0_p10 1.0a 1.0b",
        "1.2.4 1.2.4_git20230717-r4 1.2.4_git20240101-r0 1.2.5-r0",
        "1.0_pre20191002222144-r0 1.0_pre20210530193627-r0 1.0_pre20210530193627-r1",
        "1.01 1.02 1.1 1.2 1.10",  # behind a point a zero in front makes it text
        "1.0015 1.002",
        "1.0~12ab 1.0~99 1.0~ab",
        "3.0.20060720 6b 20060720 20061003",
        "1.9 1.10 2",
    ],
)
def test_apk_orders_its_versions_so(ascending: str) -> None:
    for before, after in pairwise(ascending.split()):
        assert apk_key(before) < apk_key(after), (before, after)


@pytest.mark.parametrize(("one", "other"), [("006", "6"), ("1.0-r01", "1.0-r1")])
def test_numbers_of_apk_that_are_equal(one: str, other: str) -> None:
    assert apk_key(one) == apk_key(other)


@given(st.lists(st.text(max_size=12) | DEBIAN | RPM, min_size=3, max_size=3))
def test_any_text_has_a_place_in_the_order(texts: list[str]) -> None:
    for key in (dpkg_key, apk_key, rpm_key):
        first, second, third = sorted(map(key, texts))
        assert first <= second <= third and first <= third
        assert key(texts[0]) == key(texts[0])


def test_numbers_may_be_longer_than_python_reads() -> None:
    long = "9" * 100_000
    for key in (dpkg_key, apk_key, rpm_key):
        assert key(f"1.{long}") < key(f"1.1{long}")
