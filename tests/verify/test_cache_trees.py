"""The tree of a pull-through cache: what is advised there, and that it is not ours to collect."""

from __future__ import annotations

import json

import pytest

from regfs.cli.app import run
from regfs.findings import RULES, Code, Finding
from regfs.verify.cache import in_cache
from tests.support.builder import TreeBuilder, image
from tests.support.verification import BASE, check, grave

Said = pytest.CaptureFixture[str]
V1 = image([BASE, "more"])
TOP = V1.blobs[2].digest


@pytest.fixture
def cache(tree: TreeBuilder) -> TreeBuilder:
    tree.push("library/app", "latest", V1)
    tree.write(tree.root / "scheduler-state.json", "{}")
    return tree


@pytest.mark.parametrize("code", Code)
def test_nobody_is_told_to_push_to_a_cache_or_to_collect_it(code: Code) -> None:
    advice = in_cache(Finding(code, "docker")).remedy.lower()
    if code is not Code.ROOT_MISSING:  # gc alone says that, and stops before
        assert "push" not in advice
        assert "gc plan" not in advice
        assert "build the image" not in advice


def test_what_needs_no_other_advice_keeps_its_own() -> None:
    code = Code.PATH_UNREADABLE
    assert in_cache(Finding(code, "docker")).remedy == RULES[code].remedy


@pytest.mark.parametrize("kind", ["blob-missing", "layer-link-missing", "manifest-missing"])
def test_what_is_missing_is_fetched_again(cache: TreeBuilder, kind: str) -> None:
    cache.break_(kind, "library/app", "latest")
    rows = grave(check(cache))
    assert rows
    for row in rows:
        assert row.finding.remedy == "It is fetched again on the next pull."


def test_what_is_said_is_said_in_every_form(cache: TreeBuilder, capsys: Said) -> None:
    cache.break_("blob-flipped", "library/app", "latest", TOP)
    root = ["-r", str(cache.root)]
    assert run([*root, "verify"]) == 1
    said = capsys.readouterr().out
    assert run([*root, "verify", "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)["findings"]
    assert run([*root, "verify", "--junit", "-"]) == 1
    junit = capsys.readouterr().out
    assert run([*root, "verify", "--merge", str(cache.root / ".regfs/ledger")]) == 1
    merged = capsys.readouterr().out
    for text in (said, found["remedy"], junit, merged):
        assert "then it is fetched again on the next pull" in text
    assert run([*root, "verify", "-q", "--quarantine"]) == 1
    capsys.readouterr()


def test_after_quarantine_a_cache_fetches(cache: TreeBuilder, capsys: Said) -> None:
    cache.break_("blob-flipped", "library/app", "latest", TOP)
    assert run(["-r", str(cache.root), "verify", "--quarantine"]) == 1
    said = capsys.readouterr().err
    assert "The next pull fetches it again" in said
    assert "Push" not in said


@pytest.mark.parametrize("arguments", [["plan"], ["plan", "--json"], ["run", "-n"], ["run", "-y"]])
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("scheduler-state.json", "a pull-through cache and not ours to collect"),
        ("docker/registry/lockfiles/database-in-use", "another program manages this tree"),
    ],
)
def test_a_tree_that_is_not_ours_is_refused_before_there_is_a_plan(
    tree: TreeBuilder, capsys: Said, arguments: list[str], path: str, words: str
) -> None:
    tree.blob(b"garbage")
    tree.write(tree.root / path, "{}")
    assert run(["-r", str(tree.root), "gc", *arguments]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert said.err.count("\n") == 1


def test_a_tree_that_is_no_cache_is_told_to_push(tree: TreeBuilder) -> None:
    tree.push("app", "v1", V1)
    tree.break_("blob-missing", "app", "v1")
    remedies = {row.finding.remedy for row in grave(check(tree))}
    assert remedies == {RULES[Code.BLOB_MISSING].remedy}
    assert "Push the image again" in remedies.pop()
