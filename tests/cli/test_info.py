"""`info` says what can be freed and by which command, what is in quarantine, and what was done."""

from __future__ import annotations

import json
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from regfs.cli.app import run
from regfs.gc.collect import collect, purge
from regfs.units import human_size
from tests.support.builder import TreeBuilder, image
from tests.support.registries import plan_of, registry_of

POLICY = '[[policies]]\nrepositories = ["**"]\n[[policies.keepTags]]\npatterns = ["v2"]\n'


@pytest.fixture
def full(tree: TreeBuilder) -> TreeBuilder:
    """A tree in which each way of freeing space frees something of its own."""
    tree.push("app", "v1", image(["base", "old"]))
    tree.push("app", "v1", image(["base", "new"]))
    tree.push("app", "v2", image(["base", "two"]))
    tree.blob(b"nobody links this")
    tree.age(30 * 86400)
    with tree.at_age(2 * 86400):
        tree.upload("app", data=b"u" * 5000)
    return tree


def rows(tree: TreeBuilder, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, str]:
    assert run(["-r", str(tree.root), "info", *more]) == 0
    out = capsys.readouterr().out
    return {line[:13].strip(): line[14:] for line in out.splitlines() if line[:13].strip()}


def document(tree: TreeBuilder, capsys: pytest.CaptureFixture[str], *more: str) -> Any:
    assert run(["-r", str(tree.root), "info", "--json", *more]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("row", "options"), [("to free", {}), ("with -m", {"delete_untagged": True})]
)
def test_each_row_frees_what_its_command_plans(
    full: TreeBuilder, row: str, options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    shown, _, command = rows(full, capsys)[row].partition(": ")
    assert shlex.split(command)[:3] == ["regfs", "-r", str(full.root)]
    assert run([*shlex.split(command)[1:], "--json", "-n"]) == 0
    planned = json.loads(capsys.readouterr().out)
    links = sum(one["size"] for one in planned["actions"] if one["kind"] == "tag-index")
    assert shown.split(" (")[0] == human_size(planned["totals"]["bytes"] - links)


def test_unfinished_uploads_are_more(full: TreeBuilder, capsys: pytest.CaptureFixture[str]) -> None:
    shown, _, command = rows(full, capsys)["uploads"].partition(": ")
    assert "1 unfinished upload" in shown
    assert run([*shlex.split(command)[1:], "--json", "-n"]) == 0
    assert json.loads(capsys.readouterr().out)["totals"]["uploads"] == 1


def test_a_policy_has_a_row_of_its_own(
    full: TreeBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "keep.toml"
    file.write_text(POLICY)
    assert "by policy" not in rows(full, capsys)
    _, _, command = rows(full, capsys, "--policy", str(file))["by policy"].partition(": ")
    assert shlex.split(command)[3:] == ["gc", "run", "--policy", str(file)]
    found = document(full, capsys, "--policy", str(file))["reclaimable"]
    assert found["by_policy"]["totals"]["tags"] == 1


def test_the_policy_that_is_set_for_gc_counts(
    full: TreeBuilder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "keep.toml").write_text(POLICY)
    (tmp_path / "regfs.toml").write_text(f'[gc]\npolicy = "{tmp_path}/keep.toml"\n')
    monkeypatch.setenv("REGFS_CONFIG", str(tmp_path / "regfs.toml"))
    assert "by policy" in rows(full, capsys)


def test_what_lies_in_quarantine_is_named_with_its_time_and_command(
    full: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "quarantine" not in rows(full, capsys)
    applied = collect(plan_of(full, delete_untagged=True), registry_of(full), wait=3600)
    found = rows(full, capsys)
    assert found["collected"].endswith(f"run {applied.run} (applied)")
    assert found["quarantine"].startswith(f"{human_size(applied.done.bytes)} (")
    assert re.search(r"of 1 run, from \d{4}-\d\d-\d\d ", found["quarantine"])
    assert found["quarantine"].endswith("gc purge")
    assert found["to free"] == "nothing now"
    purge(registry_of(full), offline=True)
    assert "quarantine" not in rows(full, capsys)


def test_what_is_too_young_is_told(tree: TreeBuilder, capsys: pytest.CaptureFixture[str]) -> None:
    tree.push("app", "v1", image(["one"]))
    tree.age(86400)
    young = tree.blob(b"young" * 10)
    path = tree.blob_path(young)
    tree.set_age(path, 0)
    found = rows(tree, capsys)
    assert found["to free"] == "nothing now"
    free = datetime.fromtimestamp(int(path.stat().st_mtime) + 3600, UTC)
    assert found["too young"] == f"50 B, from {free:%Y-%m-%d %H:%M:%S}Z on"
    with tree.at_age(7200):  # an upload of that age has a row of its own
        tree.upload("app", 9)
    assert rows(tree, capsys)["too young"] == f"50 B, from {free:%Y-%m-%d %H:%M:%S}Z on"
    with tree.at_age(0):
        tree.upload("app", 7)
    assert rows(tree, capsys)["too young"].startswith(f"77 B, from {free:%Y-%m-%d %H:%M:%S}Z to ")


def test_space_and_times_are_there(full: TreeBuilder, capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(full, capsys)
    assert " free of " in found["disk"]
    assert (found["verified"], found["collected"]) == ("never", "never")
    assert run(["-r", str(full.root), "verify", "-q"]) == 0
    assert re.fullmatch(r"\d{4}-.*Z", rows(full, capsys)["verified"])
    made = document(full, capsys)
    assert made["space"]["total"] >= made["space"]["free"] > 0
    assert made["blobs"]["allocated"] >= made["blobs"]["bytes"]


def test_the_configuration_of_the_registry_is_named(
    full: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    config = full.root.parent / "config.yml"
    config.write_text(f"storage:\n  cache:\n    blobdescriptor: redis\n  filesystem:\n"
                      f"    rootdirectory: {full.root}\n")  # fmt: skip
    assert rows(full, capsys)["config"] == f"{config}; it caches blob descriptors"


def test_a_tree_that_others_collect_says_so(
    full: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    full.write(full.root / "scheduler-state.json", "{}")
    assert rows(full, capsys)["to free"].startswith("nothing by regfs: a pull-through cache")
    assert document(full, capsys)["reclaimable"] is None
