"""The same tree gives the same bytes: whatever seed hashes have, and however fast threads are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from regfs.content.hashing import HashOutcome, Task, hash_blobs
from regfs.errors import printable, quoted
from regfs.stores import open_store
from regfs.tree.registry import Registry
from regfs.tree.scan import scan
from regfs.verify import ReportedFinding, VerifyOptions, verify
from regfs.verify import content as content_module
from tests.support.builder import Blob, TreeBuilder, artifact, blob_of, image, index
from tests.support.verification import BASE

SEEDS = ("0", "1", "2", "3")
_MOVING = re.compile(
    rb'"(?:started_at|finished_at|created_at|id)": "[^"]*"|"seconds": [0-9.e-]+|took [^\n]*'
    rb'|(?:time|timestamp)="[^"]*"|"free": [0-9]+|[^\n]* free of [^\n]*'
)
"""What differs from run to run by its nature: times, the name of a plan, and the free space."""


@pytest.fixture
def shaken(tree: TreeBuilder) -> TreeBuilder:
    """Several repositories in which each kind of thing that is held in sets is wrong."""
    names = [f"part {number}" for number in range(8)]
    for number in range(4):
        app = f"app/{number}"
        children = [image([f"{app} {one}", BASE], platform=f"linux/p{one}") for one in range(4)]
        gone = [image([f"never {one}"]) for one in range(4)]
        tree.push(app, "many", index(*children, sparse=gone))
        tree.push(app, "v1", image([*names, BASE]))
        tree.push(app, None, artifact([f"sbom {number}"], subject=children[0]))
        for child in children[:3]:
            tree.delete_revision(app, child.digest)
        for one in names[:3]:
            tree.delete_layer_link(app, blob_of(one).digest)
        hollow = index(*(image([f"hollow {number} {one}"]) for one in range(4)))
        tree.push(f"hollow/{number}", "v1", hollow)
        for child in hollow.children:
            tree.delete_revision(f"hollow/{number}", child.digest)
            tree.delete_blob(child.digest)
        # A manifest that is missing, and that an image names as a layer with its size.
        both = image([f"both {number}"])
        layer = Blob(both.data, stored=False)
        tree.push(f"both/{number}", "v1", index(image([layer]), both))
        tree.delete_blob(both.digest)
        tree.push(f"lost/{number}", "v1", image([BASE]))
        tree.push(f"lost/{number}", "v2", index(image([f"lost {number}"]), image([BASE])))
        tree.delete_blob(tree.current(f"lost/{number}", "v1"))
    for one in names[3:]:
        tree.delete_blob(blob_of(one).digest)
    for name in (os.fsdecode(b"caf\xe9"), "with\x1bescape", "Upper"):
        tree.write(tree.repository_path(name) / "_manifests/stray", b"x")
    return tree


COMMANDS = [
    ["verify", "--no-ledger", "--ndjson"],
    ["verify", "--no-ledger", "-v"],
    ["verify", "--no-ledger", "--level", "content", "--json"],
    ["verify", "--no-ledger", "--junit", "-"],
    ["gc", "plan", "-m", "--json"],
    ["gc", "plan", "-m", "--leftovers", "--empty-repositories", "-v"],
    ["heal", "--relink", "-n", "--json"],
    ["heal", "--from", ".", "--relink", "-n", "-v"],
    ["du", "--by", "tag", "--json"],
    ["du", "--by", "layer", "--json"],
    ["ls", "--json"],
    ["reuse", "--json"],
    ["waste", "--json"],
    ["show", "app/0:many", "--json"],
    ["show", "lost/0:v2", "--json"],
    ["info", "--json"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_output_does_not_depend_on_the_order_of_sets(
    shaken: TreeBuilder, command: list[str]
) -> None:
    said = set()
    for seed in SEEDS:
        done = subprocess.run(
            [sys.executable, "-m", "regfs", *command, "-r", str(shaken.root)],
            capture_output=True,
            cwd=shaken.root,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        assert b"Traceback" not in done.stderr
        said.add((done.returncode, _MOVING.sub(b"", done.stdout), _MOVING.sub(b"", done.stderr)))
    assert len(said) == 1


@pytest.mark.parametrize("order", [(4, 5, 6, 7), (7, 6, 5, 4), (6, 4, 7, 5)])
def test_findings_of_threads_are_printed_in_the_order_of_the_tree(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch, order: tuple[int, ...]
) -> None:
    for number in range(4):
        tree.push("app", f"v{number}", image([f"layer {number}"]))
        with tree.at_age(1000 * (4 - number)):
            tree.break_("blob-flipped", "app", f"v{number}")
    # The four configs are older: tasks 0 to 3.
    done = {number: threading.Event() for number in order}

    def work(task: Task, *rest: Any) -> HashOutcome:
        outcome = hash_blobs(task, *rest)
        before = order.index(task.number) if task.number in order else 0
        if before:
            done[order[before - 1]].wait(10)
        done.setdefault(task.number, threading.Event()).set()
        return outcome

    monkeypatch.setattr(content_module, "BATCH_FILES", 1)
    monkeypatch.setattr("regfs.verify.workers.hash_blobs", work)
    rows: list[ReportedFinding] = []
    registry = Registry(open_store(str(tree.root)))
    asked = VerifyOptions(jobs=4)
    verify(registry, scan(registry.store), options=asked, on_finding=rows.append)
    ages = [(tree.root / row.finding.path).stat().st_mtime for row in rows]
    assert len(ages) == 4
    assert ages == sorted(ages)


# -- names ------------------------------------------------------------------------


def test_a_name_is_escaped_in_the_same_way_everywhere(
    tree: TreeBuilder, capfd: pytest.CaptureFixture[str]
) -> None:
    from regfs.cli.app import run

    name = os.fsdecode(b"caf\xe9\x1b")
    shown = r"caf\xe9\x1b"
    assert printable(name) == shown
    assert quoted(name) == f"'{shown}'"
    tree.write(tree.repository_path(name) / "_manifests/stray", b"x")
    for command in (["verify", "-v"], ["gc", "plan", "-v"], ["show", name], ["ls", name]):
        run(["-r", str(tree.root), *command])
        said = capfd.readouterr()
        text = said.out + said.err
        assert "udce9" not in text
        assert "\x1b" not in text
        if "caf" in text:
            assert shown in text


def test_a_long_name_is_cut(tmp_path: Path) -> None:
    assert quoted("x" * 400) == f"'{'x' * 300}...'"
