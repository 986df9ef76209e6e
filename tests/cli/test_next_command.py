"""The commands that come next are printed as they are to be typed, and help as it is to be read."""

from __future__ import annotations

import re
import shlex

import pytest

from regfs.cli.app import run
from tests.support.backups import LAYER, backup, stocked
from tests.support.builder import TreeBuilder, image

Said = pytest.CaptureFixture[str]


def undo(said: Said) -> str:
    """Return the command that undoes what was done."""
    out, err = said.readouterr()
    (command,) = re.findall(r"^Undo: (.*)$", out + err, re.MULTILINE)
    return str(command)


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    return stocked(tree)


@pytest.mark.parametrize("command", ["heal", "verify --quarantine", "rm"])
def test_the_command_that_undoes_it_has_the_root_that_was_given(
    shop: TreeBuilder, capsys: Said, command: str
) -> None:
    whole = backup(shop)
    if command == "rm":
        arguments = ["rm", "app:v1"]
    else:
        shop.break_("blob-flipped", "app", "v1", LAYER)
        arguments = ["heal", "--from", str(whole.root)] if command == "heal" else command.split()
    before = shop.files()
    run(["-r", str(shop.root), *arguments])
    assert shop.files() != before
    typed = undo(capsys)
    assert run(shlex.split(typed)[1:]) == 0
    assert shop.files() == before


def test_an_edit_names_the_collection_that_frees_its_space(tree: TreeBuilder, capsys: Said) -> None:
    tree.push("app", "v1", image(["one"]))
    assert run(["-r", str(tree.root), "rm", "-n", "app:v1"]) == 0
    out = capsys.readouterr().out
    assert re.search(rf"^Frees nothing now; .* with: regfs -r {tree.root} gc run$", out, re.M)


def test_an_edit_that_frees_nothing_says_why(tree: TreeBuilder, capsys: Said) -> None:
    tree.push("app", "v1", image(["one"]))
    tree.push("web", "v1", image(["one"]))
    assert run(["-r", str(tree.root), "rm", "-n", "app:v1"]) == 0
    assert "Frees nothing: what it needs, other images need too\n" in capsys.readouterr().out
    assert run(["-r", str(tree.root), "untag", "-n", "app:v1"]) == 0
    out = capsys.readouterr().out
    assert f"manifests without a tag are deleted with: regfs -r {tree.root} gc run -m\n" in out


def test_a_file_that_is_not_a_plan_is_named(tree: TreeBuilder, capsys: Said) -> None:
    file = tree.root.parent / "plan.json"
    file.write_text("{}")
    assert run(["-r", str(tree.root), "gc", "apply", str(file)]) == 2
    assert capsys.readouterr().err.startswith(f"regfs: {file}: not a plan: ")


def test_help_of_a_group_has_the_whole_first_sentence_of_each_command(capsys: Said) -> None:
    assert run(["gc", "--help"]) == 0
    flat = " ".join(capsys.readouterr().out.split())
    assert (
        "purge Delete for good what runs have moved into quarantine; this frees the space." in flat
    )


def test_help_of_config_keeps_its_table(capsys: Said) -> None:
    assert run(["config", "--help"]) == 0
    out = capsys.readouterr().out
    assert re.search(r'^ *REGFS_ROOT=/srv/registry +root = "/srv/registry"$', out, re.MULTILINE)
    assert "\\b" not in out


def test_uploads_of_all_repositories_are_one_table(tree: TreeBuilder, capsys: Said) -> None:
    uploads = {name: tree.upload(name, 10) for name in ("app", "team/web")}
    assert run(["-r", str(tree.root), "ls", "--uploads"]) == 0
    header, _, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["Repository", "Upload", "Size", "Begun"]
    assert [row.split()[:2] for row in rows] == [list(pair) for pair in uploads.items()]
