"""The commands that edit a tree by name: what they print, and with which code they end."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable

import pytest

from regfs.cli.app import run
from tests.support.builder import TreeBuilder, image, index

ONE, TWO = image(["base", "one"]), image(["base", "two"])
MULTI = index(ONE, TWO)

Regfs = Callable[..., tuple[int, str, str]]


@pytest.fixture
def regfs(tree: TreeBuilder, capsys: pytest.CaptureFixture[str]) -> Regfs:
    """Run a command on a tree with app:v1, app:multi and web:v1."""
    tree.push("app", "v1", ONE)
    tree.push("app", "multi", MULTI)
    tree.push("web", "v1", TWO)

    def runs(*arguments: str) -> tuple[int, str, str]:
        code = run(["-r", str(tree.root), *arguments])
        return code, *capsys.readouterr()

    return runs


def test_rm_says_what_goes_what_stays_what_that_frees_and_how_to_undo_it(
    regfs: Regfs, tree: TreeBuilder
) -> None:
    code, out, _ = regfs("rm", "app:v1", "app:multi")
    assert code == 0
    lines = out.splitlines()
    assert f"Removed: app:v1 -> {ONE.digest[7:19]}" in lines
    assert f"Removed: app@{MULTI.digest[7:19]}" in lines
    assert any(line.startswith("Frees nothing now; ") for line in lines)
    assert lines[-1].startswith(f"Undo: regfs -r {tree.root} gc restore ")
    assert regfs(*lines[-1].split()[4:])[0] == 0
    assert sorted(tree.tags("app")) == ["multi", "v1"]


def test_a_tag_whose_image_something_else_needs_says_so(regfs: Regfs) -> None:
    code, out, _ = regfs("rm", "app:v1", "-n")
    assert code == 0
    assert f"Kept: app@{ONE.digest}: the index app:multi lists it" in out
    assert "Would remove: app:v1" in out
    assert "Undo" not in out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["rm", "app:v9"], 4, "no such tag: app:v9"),
        (["rm", f"app@{TWO.digest}"], 3, "the index app:multi lists it; remove that first"),
        (["rm", ONE.digest], 2, "give the repository too"),
        (["rm"], 2, "Missing argument"),
        (["untag", "app"], 2, "untag takes NAME:TAG"),
        (["tag", "app:v1", "multi"], 3, "give --force"),
        (["tag", "app:v1", "-x"], 2, ""),
        (["rollback", "app:v1"], 4, "has pointed to nothing before that"),
        (["mv", "app", "web"], 3, "web exists"),
        (["mv", "app", "Not/Legal"], 2, "repository name"),
        (["cp", "app:v1"], 2, "give NAME:TAG, or --to ROOT"),
        (["cp", "app:v1", "--to", "/nowhere"], 4, "no such folder"),
        (["log", "app:v9"], 4, "no such tag"),
    ],
)
def test_each_refusal_is_a_line_with_its_code(
    regfs: Regfs, tree: TreeBuilder, arguments: list[str], code: int, words: str
) -> None:
    before = tree.files("")
    found, out, err = regfs(*arguments)
    assert (found, out) == (code, "")
    assert words in err
    assert "Traceback" not in err
    assert tree.files("") == before


def test_quiet_prints_nothing_when_all_is_well(regfs: Regfs) -> None:
    for arguments in (["tag", "app:v1", "v2"], ["cp", "app:v1", "new:v1"], ["mv", "new", "newer"],
                      ["rm", "newer"], ["untag", "app:v2"]):  # fmt: skip
        assert regfs(*arguments, "-q") == (0, "", "")


def test_rm_with_gc_collects_at_once(regfs: Regfs, tree: TreeBuilder) -> None:
    code, out, _ = regfs("rm", "app:multi", "app:v1", "--gc", "--json")
    assert code == 0
    document = json.loads(out)
    assert document["collected"]["done"]["blobs"] == document["frees"]["blobs"] == 4
    assert not tree.blob_path(ONE.digest).exists()
    assert tree.blob_path(TWO.digest).exists()


def test_rm_with_gc_is_undone_by_one_line(regfs: Regfs, tree: TreeBuilder) -> None:
    before = tree.files()
    code, out, _ = regfs("rm", "app:multi", "app:v1", "--gc")
    assert code == 0
    assert tree.files() != before
    (undo,) = [line for line in out.splitlines() if line.startswith("Undo:")]
    for command in undo.removeprefix("Undo:").split("&&"):
        assert run(shlex.split(command)[1:]) == 0
    assert tree.files() == before


def test_a_run_that_is_mistyped_is_guessed(regfs: Regfs, tree: TreeBuilder) -> None:
    for run_name in ("latest", "20260101"):
        code, _, err = regfs("gc", "restore", run_name)
        assert (code, err) == (4, f"regfs: no such run: {run_name}; there are none\n")
    regfs("untag", "app:v1", "-q")
    _, listed, _ = regfs("gc", "runs", "--json")
    name = json.loads(listed)[0]["run"]
    code, _, err = regfs("gc", "restore", name[:-1] + "~")
    assert code == 4
    assert err.endswith(f"; did you mean {name}?\n")


def test_runs_are_listed_by_their_command(regfs: Regfs) -> None:
    regfs("untag", "app:v1")
    regfs("mv", "web", "site")
    code, out, _ = regfs("gc", "runs", "--json")
    assert code == 0
    assert [one["kind"] for one in json.loads(out)] == ["untag", "mv"]


def test_a_copy_into_another_tree_names_that_tree_for_undo(regfs: Regfs, tree: TreeBuilder) -> None:
    other = TreeBuilder(tree.root.parent / "other")
    other.push("else", "v1", image(["else"]))
    code, out, _ = regfs("cp", "app:v1", "--to", str(other.root))
    assert code == 0
    assert f"Copied into {other.root}: 4 blobs" in out
    assert out.splitlines()[-1].startswith(f"Undo: regfs -r {other.root} gc restore ")


def test_a_tag_is_rolled_back_by_a_number_that_looks_like_an_option(
    regfs: Regfs, tree: TreeBuilder
) -> None:
    tree.push("web", "v1", ONE)
    assert regfs("rollback", "web:v1", "-1", "-q") == (0, "", "")
    assert tree.current("web", "v1") == TWO.digest
