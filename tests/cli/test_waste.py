"""`regfs waste` on the command line: exit codes, and what it says on standard error."""

from __future__ import annotations

import json

import pytest

from regfs.cli.app import run
from tests.support.builder import TreeBuilder, image
from tests.support.tars import entry, tar_of

FILE, WHITEOUT = tar_of([entry("a", b"1" * 1000), entry("b", b"1")]), tar_of([entry(".wh.a")])
BELOW = "regfs: app:v1: efficiency 0.0010 is below 0.5\n"


def test_a_limit_is_for_ci(tree: TreeBuilder, capsys: pytest.CaptureFixture[str]) -> None:
    tree.push("app", "v1", image([FILE, tar_of([entry("a", b"")])]))
    tree.push("app", "v2", image([FILE]))
    waste = ["-r", str(tree.root), "waste"]
    assert run([*waste, "app:v1", "--fail-under", "0.5"]) == 1
    assert capsys.readouterr().err == BELOW
    assert run([*waste, "--fail-under", "0.5", "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.err == BELOW
    assert [one["image"] for one in json.loads(captured.out)["too_low"]] == ["app:v1"]
    assert run([*waste, "app:v2", "--fail-under", "1"]) == 0
    assert run([*waste, "app:v1"]) == 0
    assert run([*waste, "--fail-under", "95"]) == 2


def test_many_images_below_the_limit_are_counted(
    tree: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(13):
        tree.push("app", f"v{number}", image([FILE, tar_of([entry("a", b"%d" % number)])]))
    assert run(["-r", str(tree.root), "waste", "--fail-under", "0.9", "-n", "2"]) == 1
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 11
    assert told[-1] == "regfs: and 3 more images below it"


def test_what_could_not_be_read_is_said(
    tree: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.push("app", "v1", image([FILE, b"no tar"]))
    assert run(["-r", str(tree.root), "waste", "--fail-under", "0.9"]) == 1
    captured = capsys.readouterr()
    assert "unknown" in captured.out
    assert captured.err.startswith("regfs: incomplete. ")


def test_names_from_layers_are_printable(
    tree: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "evil\x1b[2J\udcff"
    tree.push("app", "v1", image([tar_of([entry(name, b"1")]), tar_of([entry(f".wh.{name}")])]))
    assert run(["-r", str(tree.root), "waste", "app:v1"]) == 0
    assert "evil\\x1b[2J\\xff" in capsys.readouterr().out


def test_recompression_is_told_with_its_basis(
    tree: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.push("app", "v1", image(["layer", FILE]))
    assert run(["-r", str(tree.root), "waste", "--recompress"]) == 0
    told = capsys.readouterr().out
    assert "With zstd instead of gzip, of 1 gzip layer" in told
    assert "basis: all of it was compressed" in told
    assert run(["-r", str(tree.root), "waste", "--recompress", "--sample", "1"]) == 0
    assert "basis: an estimate by 2 parts of layers" in capsys.readouterr().out
