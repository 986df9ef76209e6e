"""gc beside a running docker-registry, with people at work: nothing acknowledged is ever lost.

The registry of these tests has no cache of blob descriptors: that is the one
assumption of the protocol (see `regfs.gc.collect`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.builder import TreeBuilder
from tests.support.images import Content, digest_of
from tests.support.live import REPOSITORIES, Crowd, blobs_of
from tests.support.reference import ReferenceRegistry, needs_reference, pull_all
from tests.support.registries import Oracle, plan_of

SECONDS = 20.0
"""How long the crowd is at work, at least."""
MOST_SECONDS = 300.0
"""And at most, if too little has happened by then."""

MOMENTARY = {"link-empty", "path-unreadable", "tag-dangling", "link-dangling"}
"""What may be found of a tree that is written to while it is listed."""

Start = Callable[[Path], ReferenceRegistry]


def collect_once(root: Path, *options: str) -> dict[str, Any]:
    """Run a whole collection beside the registry, in a process of its own."""
    command = [sys.executable, "-m", "regfs", "-r", str(root), "gc", "run", "--json", "--yes"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=300)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    report = dict(json.loads(done.stdout))
    # A link that is being written is empty for a moment. That is doubt, and no more than that.
    told = {finding["code"] for finding in report["findings"] if finding["severity"] == "error"}
    assert told <= MOMENTARY, done.stdout
    return report


def assert_complete(registry: ReferenceRegistry, name: str, reference: str, want: Content) -> None:
    """Pull an image blob by blob, and be sure that every byte is what it was."""
    kinds = {"Accept": want.media_type}
    answer = registry.request("GET", f"/v2/{name}/manifests/{reference}", headers=kinds)
    assert answer.status == 200, (name, reference, answer)
    assert digest_of(answer.body) == want.digest
    for child in want.children:
        assert_complete(registry, name, child.digest, child)
    for blob in want.blobs:
        answer = registry.request("GET", f"/v2/{name}/blobs/{blob.digest}")
        assert answer.status == 200, (name, reference, blob.digest, answer)
        assert digest_of(answer.body) == blob.digest


@needs_reference
def test_whatever_the_registry_acknowledged_is_there_after_many_collections(
    tmp_path: Path, registry_server: Start
) -> None:
    root = tmp_path / "registry"
    root.mkdir()
    freed = runs = 0
    registry = registry_server(root)
    with Crowd(registry, tmp_path, seed=1) as open_connections:
        begun = time.monotonic()
        # A busy machine takes longer for as much of everything.
        while (worked := time.monotonic() - begun) < SECONDS or (
            worked < MOST_SECONDS
            and not (freed > 20 and runs > 2 and len(open_connections.acknowledged) > 10)
        ):
            # The registry may stand still for so long between its check and its write.
            done = collect_once(root, "-m", "--min-age", "1s", "--wait", "3s", "--purge")
            freed += done["done"]["blobs"]
            runs += 1
    assert open_connections.errors == []
    collect_once(root, "-m", "--min-age", "1s", "--purge")
    # It is no proof unless the crowd got its way often, and there was something to collect.
    assert len(open_connections.acknowledged) > 10, (
        open_connections.tried,
        open_connections.refused,
    )
    assert freed > 20
    assert runs > 2
    for (name, tag), content in open_connections.acknowledged.items():
        assert_complete(registry, name, tag, content)
    for (name, tag), content in list(open_connections.acknowledged.items())[:5]:
        target = tmp_path / f"pulled-{content.digest[7:19]}"
        pull_all(registry.image(f"{name}:{tag}"), target)


@needs_reference
def test_when_the_crowd_has_gone_the_garbage_is_gone(
    tmp_path: Path, registry_server: Start
) -> None:
    root = tmp_path / "registry"
    root.mkdir()
    registry = registry_server(root)
    with Crowd(registry, tmp_path, seed=2) as open_connections:
        time.sleep(5)
        collect_once(root, "-m", "--min-age", "1s", "--purge")
        time.sleep(2)
    assert open_connections.errors == []
    collect_once(root, "-m", "--offline", "--uploads-older-than", "0", "--purge")
    tree = TreeBuilder(root)
    assert plan_of(tree, delete_untagged=True, min_age=0, uploads_older_than=0).actions == []
    oracle = Oracle(tree, untagged=True)
    assert tree.blobs() == oracle.blobs & tree.blobs()
    for content in open_connections.acknowledged.values():
        assert set(blobs_of(content)) <= tree.blobs()
    assert {name for name, _ in open_connections.acknowledged} <= set(REPOSITORIES)
