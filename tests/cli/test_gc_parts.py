"""`gc plan --subset` and `--merge`: what several machines have read makes the plan of one."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.cli.app import run
from regfs.cli.session import Exit
from regfs.content.kept_manifests import pack
from regfs.content.manifest_parts import ManifestPart, MergedParts, write_part
from regfs.facade import Tree
from regfs.gc.plan import Plan
from regfs.gc.policy import Policy
from regfs.stores import open_store
from tests.support.builder import TreeBuilder, image, index
from tests.support.registries import build, new_tree, recipes

POLICY = Policy(delete_untagged=True, allow_no_manifests=True, min_age=0)


def plan_of(tree: TreeBuilder, parts: list[Path]) -> tuple[Plan, int]:
    """Return a plan of parts, and the number of manifests that were read beside them."""
    opened = [ManifestPart.open(str(part)) for part in parts]
    kept = MergedParts(opened)
    made = Tree(open_store(str(tree.root))).plan(POLICY, kept)
    for part in opened:
        part.close()
    return made, kept.lacking


def read_shares(tree: TreeBuilder, total: int, folder: Path) -> list[Path]:
    folder.mkdir(exist_ok=True)
    parts = [folder / f"part{number}" for number in range(1, total + 1)]
    for number, part in enumerate(parts, 1):
        Tree(open_store(str(tree.root))).read_share(number, total, str(part))
    return parts


def unlinked(tree: TreeBuilder) -> int:
    """Return the number of manifests that no repository links: an index alone names them."""
    opened = Tree(open_store(str(tree.root)))
    repositories = opened.inventory.repositories.values()
    linked = {digest for one in repositories for digest in one.revisions}
    linked |= {tag.current for one in repositories for tag in one.tags.values() if tag.current}
    return len(opened.graph.manifests.keys() - linked)


def told(made: Plan) -> object:
    return made.actions, made.totals, made.kept, made.findings, made.doubtful


# -- the law -----------------------------------------------------------------------------


@given(recipes(), st.integers(1, 5), st.randoms(use_true_random=False))
def test_the_plan_of_merged_parts_is_the_plan(recipe: Any, total: int, rng: random.Random) -> None:
    """Of all parts, of some, and of damaged ones."""
    with new_tree() as tree:
        build(tree, recipe)
        alone = told(plan_of(tree, [])[0])
        parts = read_shares(tree, total, tree.root / "parts")
        made, lacking = plan_of(tree, parts)
        assert told(made) == alone
        assert lacking <= unlinked(tree)
        some = rng.sample(parts, rng.randint(0, total))
        assert told(plan_of(tree, some)[0]) == alone
        for part in parts:
            data = bytearray(part.read_bytes())
            for _ in range(rng.randrange(4)):
                data[rng.randrange(18, len(data))] ^= 1 << rng.randrange(8)
            part.write_bytes(data[: rng.randrange(18, len(data) + 1)])
        assert told(plan_of(tree, parts)[0]) == alone


@pytest.fixture
def pushed(tree: TreeBuilder) -> TreeBuilder:
    for number in range(12):
        tree.push("app", f"v{number}", image([f"{number}", "base"]))
    tree.push("app", "all", index(image(["a"]), image(["b"])))
    tree.untag("app", "v3")
    tree.blob(b"lost")
    return tree


def test_shares_have_each_manifest_once(pushed: TreeBuilder, tmp_path: Path) -> None:
    parts = read_shares(pushed, 4, tmp_path / "parts")
    found: list[str] = []
    for part in map(ManifestPart.open, map(str, parts)):
        found += (name for two in range(256) for name in part.folder(f"sha256:{two:02x}"))
        assert part.problem is None
        part.close()
    assert len(found) == len(set(found)) == 15


# -- parts that are wrong -----------------------------------------------------------------


def test_a_part_that_lies_changes_nothing(pushed: TreeBuilder, tmp_path: Path) -> None:
    """It says of every manifest, in as many bytes, that it needs nothing."""
    alone, _ = plan_of(pushed, [])
    lies: dict[str, dict[str, bytes]] = {}
    for digest in pushed.blobs():
        size = pushed.blob_path(digest).stat().st_size
        if size > 100:
            document = {"schemaVersion": 2, "config": {}, "layers": []}
            name = digest[len("sha256:") :]
            lies.setdefault(digest[:9], {})[name] = json.dumps(document).encode().ljust(size)
    part = tmp_path / "lies"
    write_part(str(part), sorted(lies.items()))
    made, lacking = plan_of(pushed, [part])
    assert told(made) == told(alone)
    assert lacking == 15


def test_a_part_cannot_take_much_memory(tmp_path: Path) -> None:
    part = tmp_path / "bomb"
    write_part(str(part), [("sha256:00", {})])
    begin = part.read_bytes()[:18]
    part.write_bytes(begin + b"sha256:00".ljust(12, b"\0") + (1 << 40).to_bytes(8, "little"))
    os.truncate(part, 1 << 41)
    opened = ManifestPart.open(str(part))
    assert opened.problem == "is cut off or damaged at byte 38"
    assert opened.folder("sha256:00") == {}
    opened.close()


def test_packed_names_of_no_bytes_are_nothing() -> None:
    assert len(pack({})) == 8


# -- the command -------------------------------------------------------------------------


def plan(tree: TreeBuilder, *arguments: object) -> int:
    return run(["-r", str(tree.root), "gc", "plan", *map(str, arguments)])


def test_parts_are_read_and_merged(
    pushed: TreeBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan(pushed, "-m", "--json") == 0
    alone = json.loads(capsys.readouterr().out)
    parts = [tmp_path / f"part{number}" for number in (1, 2, 3)]
    for number, part in enumerate(parts, 1):
        assert plan(pushed, "--subset", f"{number}/3", "-o", part) == 0
    told = capsys.readouterr()
    assert f"{parts[0]}: " in told.out
    assert "share 1/3" in told.out
    assert plan(pushed, "-m", "--json", "--merge", *parts) == 0
    told = capsys.readouterr()
    assert told.err == ""
    merged = json.loads(told.out)
    assert [merged[key] for key in ("actions", "totals")] == [
        alone[key] for key in ("actions", "totals")
    ]


def test_what_no_part_has_is_said(
    pushed: TreeBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = tmp_path / "part"
    assert plan(pushed, "--subset", "1/2", "-o", part) == 0
    part.write_bytes(part.read_bytes()[:-5])
    assert plan(pushed, "--merge", part) == 0
    err = capsys.readouterr().err
    assert f"regfs: {part}: is cut off or damaged at byte " in err
    assert "were in none of the files, and were read here" in err


def test_what_is_missing_is_counted(
    pushed: TreeBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = pushed.current("app", "v1")
    path = pushed.blob_path(digest)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert plan(pushed, "--subset", "1/1", "-o", tmp_path / "part") == 0
    assert "1 manifest of the share cannot be had" in capsys.readouterr().err
    assert plan(pushed, "--merge", tmp_path / "part") == Exit.FINDINGS.value


@pytest.mark.parametrize(
    "wrong",
    [
        ["--merge"],
        ["part"],
        ["--subset", "1/2"],
        ["--subset", "5%", "-o", "part"],
        ["--subset", "3/2", "-o", "part"],
        ["--subset", "1/2", "-o", "part", "-m"],
        ["--subset", "1/2", "-o", "part", "--merge", "part"],
    ],
)
def test_options_that_do_not_fit(pushed: TreeBuilder, wrong: list[str]) -> None:
    assert plan(pushed, *wrong) == Exit.USAGE.value


def test_files_that_are_no_parts(
    pushed: TreeBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text").write_text("something")
    os.mkfifo(tmp_path / "pipe")
    for name in ("text", "pipe"):
        assert plan(pushed, "--merge", tmp_path / name) == Exit.USAGE.value
        assert "not a file that gc plan --subset has written" in capsys.readouterr().err
    assert plan(pushed, "--merge", tmp_path / "nothing") == Exit.STORAGE.value
    assert plan(pushed, "--subset", "1/1", "-o", tmp_path) == Exit.STORAGE.value
    assert "Is a directory" in capsys.readouterr().err
