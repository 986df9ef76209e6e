"""Results of verify as JUnit XML for CI servers."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.cli.app import run
from regfs.findings import Code, Finding
from regfs.render.junit import junit_pieces
from regfs.verify import PullableImage, Result
from tests.support.builder import TreeBuilder, image
from tests.support.results import ERROR, LEFTOVER, WARNING, made, parsed, states
from tests.support.verification import stocked


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    return stocked(tree)


def junit(result: Result, *images: PullableImage) -> ElementTree.Element:
    return parsed("".join(junit_pieces(result, images)))


def text_of(suite: ElementTree.Element, name: str, kind: str) -> str:
    (element,) = suite.findall(f"testcase[@name='{name}']/{kind}")
    return element.text or ""


def test_each_image_is_a_test_case(shop: TreeBuilder) -> None:
    damaged = shop.break_("blob-flipped", "app", "v1")
    untagged = shop.push("app", None, image(["untagged"]))
    stray = shop.break_("foreign-file", "app", "v1")
    target = shop.root / "verify.xml"
    assert run(["-r", str(shop.root), "verify", "-q", "--junit", str(target)]) == 1
    suite = parsed(target.read_text())
    assert states(suite) == {
        "app v1": "failure",
        "app whole": "passed",
        f"app @{untagged}": "passed",
        "team/x multi": "passed",
        "regfs.verify foreign-path": "passed",
    }
    failure = text_of(suite, "v1", "failure")
    assert "blob-corrupt" in failure
    assert damaged in failure
    assert stray in text_of(suite, "foreign-path", "system-out")


def test_the_suite_says_when_and_how_long() -> None:
    suite = junit(made(), PullableImage("app", "v1"))
    assert suite.attrib["timestamp"] == "1970-01-12T13:46:40"
    assert suite.attrib["time"] == "2.000"
    properties = {one.attrib["name"]: one.attrib["value"] for one in suite.iter("property")}
    assert properties == {"root": "/srv/registry", "level": "digests"}


def test_warnings_are_what_a_passed_test_says() -> None:
    suite = junit(made(WARNING, images=["app:v1"]), PullableImage("app", "v1"))
    assert states(suite) == {"app v1": "passed"}
    assert "foreign-path" in text_of(suite, "v1", "system-out")


def test_an_error_that_touches_no_image_fails_a_test_of_its_own() -> None:
    suite = junit(made(LEFTOVER, ERROR), PullableImage("app", "v1"))
    assert states(suite) == {
        "app v1": "passed",
        "regfs.verify blob-corrupt": "failure",
        "regfs.verify directory-empty": "passed",
    }


def test_an_image_that_was_not_asked_for_is_no_test_case_but_its_finding_is_kept() -> None:
    suite = junit(made(ERROR, images=["other:v1"]), PullableImage("app", "v1"))
    assert states(suite) == {"app v1": "passed", "regfs.verify blob-corrupt": "failure"}


def test_images_beyond_those_that_a_finding_names_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regfs.verify.report.IMAGES_LIMIT", 1)
    result = made(ERROR, images=["a:1", "a:2"])
    assert states(junit(result, PullableImage("a", "1"), PullableImage("a", "2"))) == {
        "a 1": "failure",
        "a 2": "failure",
    }
    assert states(junit(result, PullableImage("a", "2"))) == {"a 2": "failure"}


def test_a_flood_of_findings_is_cut_and_counted() -> None:
    strays = [Finding(Code.FOREIGN_PATH, f"stray {number}") for number in range(250)]
    suite = junit(made(*strays, ERROR))
    lines = text_of(suite, "foreign-path", "system-out").splitlines()
    assert lines[-1] == "and 150 more"
    assert sum("stray" in line for line in lines) == 100
    suite = junit(made(*strays, ERROR, images=["app:v1"]), PullableImage("app", "v1"))
    assert states(suite) == {"app v1": "failure"}
    assert "blob-corrupt" in text_of(suite, "v1", "failure")


def test_an_interrupted_run_passes_nothing_it_has_not_seen() -> None:
    result = made(ERROR, images=["app:v1"], interrupted=True)
    suite = junit(result, PullableImage("app", "v1"), PullableImage("app", "v2"))
    assert states(suite) == {
        "app v1": "failure",
        "app v2": "skipped",
        "regfs.verify completed": "error",
    }


@given(st.text(st.characters(codec=None), max_size=8), st.text(max_size=8))
def test_any_name_gives_a_document_that_can_be_parsed(odd: str, other: str) -> None:
    name = odd.replace("/", "")
    finding = Finding(Code.FOREIGN_PATH, f"{name}]]>&<", actual=other)
    suite = junit(made(finding, ERROR, images=[f"app:{name}"]), PullableImage("app", name))
    assert states(suite).popitem()[1] == "failure"


def test_bytes_that_are_no_text_are_escaped(shop: TreeBuilder, tmp_path: Path) -> None:
    shop.write(shop.v2 / os.fsdecode(b"repositories/app/\x1b\xff"), b"x")
    target = tmp_path / "verify.xml"
    assert run(["-r", str(shop.root), "verify", "-q", "--junit", str(target)]) == 0
    assert r"\x1b\xff" in text_of(parsed(target.read_text()), "foreign-path", "system-out")
