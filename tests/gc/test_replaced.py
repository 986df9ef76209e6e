"""Something else in the place of a folder, at every level: what may lie behind it is in use.

The law: with a folder replaced by a file, a FIFO, a device or a link that leads nowhere, a
plan names nothing that it would not name with the folder in its place.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regfs.cli.app import run
from regfs.gc.plan import Plan, plan
from regfs.gc.policy import Policy
from regfs.gc.retention import RetentionPolicy
from regfs.tree.leftovers import find_leftovers
from tests.support.builder import TreeBuilder, artifact, blob_of, image, index
from tests.support.registries import collect, going, plan_of, registry_of, scan_and_build

APP = image(["base", "app"])
OLD = image(["base", "old"])
CHILD = image(["child"])
KEPT = image(["kept by a tag of team/app alone"])

RETENTION = RetentionPolicy.model_validate(
    {
        "policies": [
            {
                "repositories": ["**"],
                "deleteUntagged": True,
                "deleteReferrers": True,
                "keepTags": [{"patterns": ["v1", "multi"]}],
            }
        ]
    }
)
POLICIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "untagged": {"delete_untagged": True, "keep_referrers_of_dangling": False, "tag_history": 0},
    "retention": {"retention": RETENTION, "delete_untagged": True},
}


def sign(digest: str) -> str:
    return digest.replace(":", "-") + ".sig"


@pytest.fixture
def tree(tree: TreeBuilder) -> TreeBuilder:
    """Repositories that need each other's blobs and subjects, each with garbage of its own."""
    tree.push("team/app", "v1", OLD)
    tree.push("team/app", "v1", APP)
    tree.push("team/app", "v2", KEPT)
    tree.add_blob("team/app", "never used")
    tree.upload("team/app", b"half")
    # Pushed elsewhere first: here there is only its manifest, and a link to what it needs.
    tree.push("sparse", "multi", index(sparse=[CHILD]))
    tree.blob(CHILD.data)
    for blob in CHILD.blobs:
        tree.add_blob("sparse", blob)
    tree.push("notes", "v1", image(["notes"]))
    tree.push("notes", None, artifact(["sbom"], subject=KEPT))
    tree.push("notes", sign(KEPT.digest), artifact(["signature"]))
    tree.fallback("notes", KEPT.digest, artifact(["listed"], subject=KEPT))
    tree.push("well", "v1", image(["well", "old"]))
    tree.push("well", "v1", image(["well", "new"]))
    tree.blob(b"orphan")
    return tree


Find = Callable[[TreeBuilder], Path]
LEVELS: dict[str, Find] = {
    "blobs": lambda t: t.v2 / "blobs",
    "blobs/sha256": lambda t: t.v2 / "blobs/sha256",
    "blobs/sha256/ab of a manifest": lambda t: t.blob_path(APP.digest).parents[1],
    "blobs/sha256/ab of a child": lambda t: t.blob_path(CHILD.digest).parents[1],
    "blobs/sha256/ab of a layer": lambda t: t.blob_path(blob_of("app").digest).parents[1],
    "blobs/sha256/ab/hex of a manifest": lambda t: t.blob_path(APP.digest).parent,
    "blobs/sha256/ab/hex of a child": lambda t: t.blob_path(CHILD.digest).parent,
    "blobs/sha256/ab/hex of a subject": lambda t: t.blob_path(KEPT.digest).parent,
    "blobs/sha256/ab/hex of a layer": lambda t: t.blob_path(blob_of("app").digest).parent,
    "repositories": lambda t: t.v2 / "repositories",
    "repositories/team": lambda t: t.repository_path("team"),
    "repositories/team/app": lambda t: t.repository_path("team/app"),
    "repositories/sparse": lambda t: t.repository_path("sparse"),
    "_layers": lambda t: t.repository_path("team/app") / "_layers",
    "_layers/sha256": lambda t: t.repository_path("team/app") / "_layers/sha256",
    "_layers/sha256/hex": lambda t: t.layer_path("team/app", blob_of("app").digest).parent,
    "_layers/sha256/hex, unused": lambda t: (
        t.layer_path("team/app", blob_of("never used").digest).parent
    ),
    "_manifests": lambda t: t.repository_path("team/app") / "_manifests",
    "revisions": lambda t: t.repository_path("team/app") / "_manifests/revisions",
    "revisions/sha256": lambda t: t.repository_path("team/app") / "_manifests/revisions/sha256",
    "revisions/sha256/hex": lambda t: t.revision_path("team/app", APP.digest).parent,
    "revisions/sha256/hex, untagged": lambda t: t.revision_path("team/app", OLD.digest).parent,
    "tags": lambda t: t.repository_path("team/app") / "_manifests/tags",
    "tags/T": lambda t: t.tag_folder("team/app", "v2"),
    "tags/T/current": lambda t: t.tag_folder("team/app", "v2") / "current",
    "tags/T/index": lambda t: t.tag_folder("team/app", "v1") / "index",
    "tags/T/index/sha256": lambda t: t.tag_folder("team/app", "v1") / "index/sha256",
    "tags/T/index/sha256/hex": lambda t: t.tag_index_path("team/app", "v1", OLD.digest).parent,
    "_uploads": lambda t: t.repository_path("team/app") / "_uploads",
    "_uploads/id": lambda t: next((t.repository_path("team/app") / "_uploads").iterdir()),
}
NO_PART_OF_IT = {"_uploads/id"}
"""Behind which nothing lies that anything else could need: it is only named."""


def _device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("making a device is not permitted here")


REPLACEMENTS: dict[str, Callable[[Path], object]] = {
    "file": lambda path: path.write_bytes(b"what a synchroniser left"),
    "FIFO": os.mkfifo,
    "device": _device,
    "broken link": lambda path: path.symlink_to("/not/mounted"),
}


def replace(tree: TreeBuilder, level: str, kind: str) -> Path:
    path = LEVELS[level](tree)
    shutil.move(path, tree.root.parent / "behind")
    REPLACEMENTS[kind](path)
    return path


def plans(tree: TreeBuilder) -> dict[str, Plan]:
    """Return what goes by each policy, of one look."""
    inventory, graph = scan_and_build(tree)
    find_leftovers(registry_of(tree).store, inventory)
    read = registry_of(tree).manifest_bytes
    always: dict[str, Any] = {
        "min_age": 0,
        "uploads_older_than": 0,
        "leftovers": True,
        "empty_repositories": True,
    }
    return {
        name: plan(graph, Policy(**policy, **always), inventory.taken_at, read)
        for name, policy in POLICIES.items()
    }


def paths(made: Plan) -> set[str]:
    return {action.path for action in made.actions}


@pytest.mark.parametrize("kind", REPLACEMENTS)
@pytest.mark.parametrize("level", LEVELS)
def test_nothing_goes_that_would_stay_with_the_folder_in_place(
    tree: TreeBuilder, level: str, kind: str
) -> None:
    before = plans(tree)
    path = tree.relative(replace(tree, level, kind))
    after = plans(tree)
    for name, made in before.items():
        assert paths(made), name
        assert paths(after[name]) <= paths(made), name
    told = {finding.path for finding in after["plain"].findings}
    # An upload that cannot be looked into is no doubt about anything else.
    assert path in told or level in NO_PART_OF_IT


@pytest.mark.parametrize("level", sorted(LEVELS.keys() - NO_PART_OF_IT))
def test_a_file_in_the_place_of_a_folder_is_doubt_and_the_command_says_so(
    tree: TreeBuilder, level: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tree.relative(replace(tree, level, "file"))
    assert run(["gc", "plan", "-m", "-r", str(tree.root)]) == 1
    assert path in capsys.readouterr().out


@pytest.mark.parametrize("name", [".DS_Store", "._app", "Not A Name", "@eaDir"])
@pytest.mark.parametrize("level", ["repositories/team", "_layers/sha256", "blobs/sha256"])
def test_a_stray_file_that_no_folder_is_called_like_is_no_doubt(
    tree: TreeBuilder, level: str, name: str
) -> None:
    before = plans(tree)["untagged"]
    tree.write(LEVELS[level](tree) / name, b"x")
    after = plans(tree)["untagged"]
    assert paths(after) == paths(before)
    assert not after.doubtful


def test_a_broken_history_keeps_what_has_just_lost_its_tag(tree: TreeBuilder) -> None:
    with tree.at_age(60):
        tree.push("team/app", "v2", image(["pushed a minute ago"]))
    replace(tree, "tags/T/index", "file")
    made = plan_of(tree, delete_untagged=True)
    assert going(made, "revision") == {image(["well", "old"]).digest}


def test_a_run_carries_out_only_that(tree: TreeBuilder) -> None:
    replace(tree, "blobs/sha256/ab/hex of a child", "file")
    whole = {path for path in tree.files() if "/sparse/" in path}
    collect(tree, delete_untagged=True)
    assert whole <= tree.files().keys()
    shutil.move(tree.root.parent / "behind", tree.v2 / "behind")
    assert (tree.v2 / "behind/data").exists()
