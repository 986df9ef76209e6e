"""Findings: a closed list of codes, each with its words, and damage as data."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from regfs.findings import RULES, Code, Finding, Severity, worst


def test_every_code_has_its_words_and_no_other_has() -> None:
    assert set(RULES) == set(Code)


def test_no_two_codes_are_alike() -> None:
    assert len({rule.message for rule in RULES.values()}) == len(Code)
    assert len({code.value for code in Code}) == len(Code)


@pytest.mark.parametrize("code", Code)
def test_a_code_is_spelled_for_scripts_and_worded_for_people(code: Code) -> None:
    rule = RULES[code]
    assert code.value == code.name.lower().replace("_", "-")
    assert isinstance(rule.severity, Severity)
    assert not rule.message.endswith(".")
    assert rule.remedy.endswith(".")
    assert "\n" not in rule.message + rule.remedy


def test_a_finding_says_what_and_where() -> None:
    finding = Finding(Code.LINK_EMPTY, "a/link")
    assert finding.severity is Severity.ERROR
    assert finding.message == RULES[Code.LINK_EMPTY].message
    assert finding.remedy == RULES[Code.LINK_EMPTY].remedy
    assert str(finding) == f"error: a/link: {finding.message} [link-empty]"


def test_a_finding_says_what_was_expected_and_found() -> None:
    both = Finding(Code.BLOB_SIZE_MISMATCH, "p", expected="3", actual="0")
    assert both.message.endswith(": expected 3, found 0")
    assert Finding(Code.BLOB_SIZE_MISMATCH, "p", actual="").message.endswith(": found ")
    assert Finding(Code.BLOB_SIZE_MISMATCH, "p", expected="3").message.endswith(": expected 3")


def test_a_code_can_weigh_differently_in_one_place() -> None:
    lighter = Finding(Code.LINK_DANGLING, "p", override=Severity.INFO)
    assert lighter.severity is Severity.INFO
    assert str(lighter).startswith("info: ")
    assert Finding(Code.LINK_DANGLING, "p").severity is Severity.WARNING


def test_a_finding_does_not_change_and_can_be_put_in_a_set() -> None:
    finding = Finding(Code.LINK_EMPTY, "p")
    with pytest.raises(dataclasses.FrozenInstanceError):
        finding.path = "q"  # type: ignore[misc]  # that it fails is the point
    assert len({finding, Finding(Code.LINK_EMPTY, "p"), Finding(Code.LINK_EMPTY, "q")}) == 2


def test_the_worst_of_findings_is_the_gravest() -> None:
    error = Finding(Code.BLOB_CORRUPT, "p")
    warning = Finding(Code.LINK_DANGLING, "p")
    info = Finding(Code.UPLOAD_STALE, "p")
    assert worst([]) is None
    assert worst([info]) is Severity.INFO
    for order in itertools.permutations([info, warning]):
        assert worst(order) is Severity.WARNING
    for order in itertools.permutations([info, warning, error]):
        assert worst(iter(order)) is Severity.ERROR
