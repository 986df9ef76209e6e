"""What stands beside an image is called what it is: by ls, show, verify and the page."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any

import pytest

from regfs.cli.app import run
from regfs.findings import Code, Severity
from regfs.server.ui import addresses
from tests.support.attached import GONE, NEW, OLD, own, signed
from tests.support.builder import TreeBuilder, artifact, image, index
from tests.support.server import hosted
from tests.support.verification import check

KINDS = {"sig": "signature", "att": "attestation", "sbom": "SBOM"}


@pytest.fixture
def tree(tree: TreeBuilder) -> TreeBuilder:
    tree.push("app", "v1", NEW)
    for ending in KINDS:
        signed(tree, "app", NEW.digest, ending)
    tree.push("app", own(OLD.digest), OLD)
    listing = index(artifact(["listed"], subject=GONE))
    tree.push("app", own(GONE.digest), listing)
    several = index(NEW, image(["arm"]))
    tree.push("app", own(several.digest), several)
    return tree


def told(tree: TreeBuilder, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert run([*arguments, "--json", "-r", str(tree.root)]) == 0
    return json.loads(capsys.readouterr().out)


def test_ls_shows_kind_and_subject_of_attached_tags(
    tree: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    tags = {one["name"]: one for one in told(tree, capsys, "ls", "-l", "app")["tags"]}
    for ending, kind in KINDS.items():
        one = tags[f"{own(NEW.digest)}.{ending}"]
        assert (one["kind"], one["subject"]) == (kind, NEW.digest)
    assert tags[own(GONE.digest)]["kind"] == "referrers"
    assert tags[own(GONE.digest)]["subject"] == GONE.digest
    ordinary = {"v1", own(OLD.digest), own(index(NEW, image(["arm"])).digest)}
    assert {tags[tag]["kind"] for tag in ordinary} == {"image", "index"}
    assert {tags[tag]["subject"] for tag in ordinary} == {None}
    assert run(["ls", "-l", "app", "-r", str(tree.root)]) == 0
    assert "SBOM" in capsys.readouterr().out


@pytest.mark.parametrize("ending", KINDS)
def test_show_has_kind_and_subject_of_an_attached_tag(
    tree: TreeBuilder, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    name = f"app:{own(NEW.digest)}.{ending}"
    shown = told(tree, capsys, "show", name)
    assert (shown["kind"], shown["subject"]) == (KINDS[ending], NEW.digest)
    by_digest = told(tree, capsys, "show", f"app@{shown['digest']}")
    assert by_digest["kind"] == KINDS[ending]
    assert run(["show", name, "-r", str(tree.root)]) == 0
    assert "by cosign" in capsys.readouterr().out


def test_show_lists_tags_that_cosign_attached(
    tree: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = told(tree, capsys, "show", "app:v1")
    assert shown["kind"] == "image"
    found = {one["artifact_type"] for one in shown["referrers"]}
    assert found == {f"cosign {kind}" for kind in KINDS.values()}
    mirrored = told(tree, capsys, "show", f"app:{own(OLD.digest)}")
    assert (mirrored["kind"], mirrored["subject"], mirrored["referrers"]) == ("image", None, [])


def test_verify_finds_a_signature_without_its_image(tree: TreeBuilder) -> None:
    assert {row.finding.code for row in check(tree).findings} == {Code.SUBJECT_MISSING}
    for ending in KINDS:
        signed(tree, "app", GONE.digest, ending)
    rows = [one for one in check(tree).findings if one.finding.code is Code.SIGNATURE_DANGLING]
    assert {one.finding.tag for one in rows} == {f"{own(GONE.digest)}.{e}" for e in KINDS}
    for one in rows:
        assert one.finding.severity is Severity.INFO
        assert GONE.digest in one.finding.message
        assert any(kind in one.finding.message for kind in KINDS.values())
        assert "--delete-referrers-of-dangling" in one.finding.remedy


def test_the_page_shows_the_kind_of_attached_tags(tree: TreeBuilder) -> None:
    with hosted(tree.root) as url:

        def page(path: str) -> str:
            while True:
                with urllib.request.urlopen(f"{url}{path}", timeout=60) as answer:
                    if answer.status == 200:
                        return str(answer.read().decode())
                time.sleep(0.05)

        repository = page(addresses.of_repository("app"))
        for kind in (*KINDS.values(), "referrers"):
            assert f">{kind}<" in repository
        assert "cosign signature" in page(addresses.of_tag("app", "v1"))
