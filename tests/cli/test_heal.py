"""`regfs heal` as people and scripts use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from regfs.cli.app import run
from regfs.cli.heal import LEVELS
from regfs.cli.schema import schema_of
from regfs.heal.report import HealDocument
from regfs.verify import Level
from tests.support.backups import LAYER, MULTI, ONE, backup, stocked
from tests.support.builder import TreeBuilder

Said = pytest.CaptureFixture[str]


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    return stocked(tree)


def heal(tree: TreeBuilder, *arguments: str | Path) -> int:
    return run(["-r", str(tree.root), "heal", *map(str, arguments)])


def as_json(tree: TreeBuilder, said: Said, *arguments: str | Path) -> dict[str, Any]:
    heal(tree, "--json", *arguments)
    document = json.loads(said.readouterr().out)
    TypeAdapter(HealDocument).validate_json(json.dumps(document))
    return dict(document)


def test_heal_prints_what_it_did_and_how_to_undo_it(shop: TreeBuilder, capsys: Said) -> None:
    whole, good = backup(shop), shop.files()
    shop.break_("blob-flipped", "app", "v1", LAYER)
    damaged = shop.files()
    assert heal(shop, "--from", whole.root) == 0
    out = capsys.readouterr().out
    assert "Healed: 1 digest" in out
    assert shop.files() == good
    name = out.rpartition(" gc restore ")[2].strip()
    assert run(["-r", str(shop.root), "gc", "runs"]) == 0
    assert "heal" in capsys.readouterr().out
    assert run(["-r", str(shop.root), "gc", "restore", name]) == 0
    assert "Moved into quarantine: 1" in capsys.readouterr().out
    assert shop.files() == damaged


def test_a_dry_run_prints_what_would_be_fetched_and_changes_nothing(
    shop: TreeBuilder, capsys: Said
) -> None:
    whole = backup(shop)
    shop.break_("blob-missing", "app", "v1", LAYER)
    before = shop.files("")
    assert heal(shop, "--from", whole.root, "-n") == 0
    assert f"1 digest, {len(ONE.blobs[1].data)} B" in capsys.readouterr().out
    assert shop.files("") == before


def test_heal_exits_1_if_something_stays_broken(shop: TreeBuilder, capsys: Said) -> None:
    whole = backup(shop)
    for tree in (whole, shop):
        tree.delete_blob(LAYER)
    assert heal(shop, "--from", whole.root, "-n") == 1
    assert heal(shop, "--from", whole.root) == 1
    out = capsys.readouterr().out
    assert "the source does not have it" in out
    assert "still broken: 1" in out


def test_heal_of_an_intact_tree_exits_0(shop: TreeBuilder, capsys: Said) -> None:
    assert heal(shop, "--from", backup(shop).root, "--relink") == 0
    assert "Nothing is missing or corrupt" in capsys.readouterr().out


def test_content_first_and_then_the_links_to_it(shop: TreeBuilder, capsys: Said) -> None:
    whole, good = backup(shop), shop.files()
    shop.delete_blob(MULTI.digest)
    shop.revision_path("team/x", MULTI.digest).unlink()
    document = as_json(shop, capsys, "--from", whole.root, "--relink")
    assert shop.files() == good
    assert document["healed"]["healed"] == 1
    assert [link["kind"] for link in document["relinked"]["written"]] == ["revision"]


def test_json_of_a_dry_run_is_the_plan(shop: TreeBuilder, capsys: Said) -> None:
    whole = backup(shop)
    shop.break_("blob-missing", "app", "v1", LAYER)
    shop.tag_path("team/x", "multi").unlink()
    document = as_json(shop, capsys, "--from", whole.root, "--relink", "-n")
    assert (document["healed"], document["relinked"]) == (None, None)
    (item,) = document["plan"]["items"]
    assert (item["digest"], item["code"]) == (LAYER, "blob-missing")
    assert item["repositories"] == ["app", "team/x"]
    (link,) = document["relink_plan"]["links"]
    assert (link["kind"], link["tag"]) == ("tag", "multi")


def test_an_ambiguous_tag_is_printed_and_exits_1(shop: TreeBuilder, capsys: Said) -> None:
    shop.push("app", "v1", MULTI)
    shop.tag_path("app", "v1").unlink()
    assert heal(shop, "--relink") == 1
    out = capsys.readouterr().out
    assert "Ambiguous: app:v1: its history has 2 digests, 2 of them intact" in out
    assert ONE.digest in out


def test_the_document_has_a_schema() -> None:
    assert set(schema_of("heal")["properties"]) - {"requests"} == {
        "plan",
        "healed",
        "relink_plan",
        "relinked",
        "left",
    }


def test_the_levels_are_those_of_verify() -> None:
    assert set(LEVELS) <= {level.value for level in Level}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 2),
        (["--from", "/nothing/there"], 4),
        (["--from", "docker://"], 2),
        (["--from", "http://127.0.0.1:1", "--creds", "no colon"], 2),
        (["--from", ".", "--creds-file", "/nothing"], 2),
    ],
)
def test_user_errors_are_one_line(
    shop: TreeBuilder, capsys: Said, arguments: list[str], code: int
) -> None:
    assert heal(shop, *arguments) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    assert not (shop.root / ".regfs").exists()


def test_a_password_is_read_from_a_file_and_not_shown(
    shop: TreeBuilder, tmp_path: Path, capsys: Said
) -> None:
    (tmp_path / "creds").write_text("me:hush-hush\nmore\n")
    assert heal(shop, "--from", "ftp://x", "--creds-file", tmp_path / "creds") == 4
    said = capsys.readouterr()
    assert "hush" not in said.out + said.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_heal_without_write_permission_is_one_line(
    shop: TreeBuilder,
) -> None:
    whole = backup(shop)
    shop.break_("blob-missing", "app", "v1", LAYER)
    before = shop.files("")
    for folder in [shop.root, *shop.root.parents]:
        if folder.stat().st_uid == os.geteuid() and folder.stat().st_mode & 0o5 != 0o5:
            folder.chmod(folder.stat().st_mode | 0o5)
    code = (
        "import os, sys\n"
        "from regfs.cli.app import run\n"
        "run([*sys.argv[1:], '-n', '-q'])\n"  # loads what may not be read by nobody
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "sys.exit(run(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "-r", str(shop.root), "heal", "--from"]
    done = subprocess.run([*command, str(whole.root)], capture_output=True, text=True)
    assert done.returncode == 5, done.stderr
    assert "permission denied" in done.stderr
    assert done.stderr.count("\n") == 1
    assert shop.files("") == before


# -- verify --quarantine -------------------------------------------------------


def test_verify_quarantine_moves_corrupt_blobs_and_says_so(shop: TreeBuilder, capsys: Said) -> None:
    shop.break_("blob-flipped", "app", "v1", LAYER)
    assert run(["-r", str(shop.root), "verify", "--quarantine", "--json"]) == 1
    said = capsys.readouterr()
    assert [found["code"] for found in json.loads(said.out)["findings"]] == ["blob-corrupt"]
    assert f"Moved into quarantine: 1 corrupt blob, {len(ONE.blobs[1].data)} B" in said.err
    assert not shop.blob_path(LAYER).exists()


def test_verify_quarantine_of_an_intact_tree_begins_no_run(shop: TreeBuilder, capsys: Said) -> None:
    assert run(["-r", str(shop.root), "verify", "--quarantine"]) == 0
    assert not (shop.root / ".regfs/runs").exists()
