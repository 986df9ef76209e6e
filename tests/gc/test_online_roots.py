"""Settling and purging with roots from outside: what is in use elsewhere comes back, and stays."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from regfs.cli.app import cli
from regfs.errors import DocumentInvalid, Refused
from regfs.findings import Code
from regfs.gc.collect import purge
from regfs.gc.external_roots import repositories_in_quarantine
from regfs.gc.policy_file import load_policy
from regfs.gc.roots import Roots, parse_roots
from regfs.stores import open_store
from tests.support.builder import Blob, TreeBuilder, blob_of, image, index
from tests.support.quarantined import OLD, move, move_old, the_run
from tests.support.registries import by_repository, registry_of


@pytest.fixture
def moved(tree: TreeBuilder) -> TreeBuilder:
    """A registry whose former image lies in quarantine, whole."""
    return move_old(tree)


def said(tree: TreeBuilder, *lines: str) -> Roots:
    gone = repositories_in_quarantine(open_store(str(tree.root)))
    return parse_roots("\n".join(lines).encode(), "roots.txt", lambda name: name in gone)


def assert_old_is_pullable(tree: TreeBuilder) -> None:
    assert tree.revision_path("app", OLD.digest).exists()
    for digest in (OLD.digest, *(blob.digest for blob in OLD.blobs)):
        assert tree.blob_path(digest).exists()
    assert all(tree.layer_path("app", blob.digest).exists() for blob in OLD.blobs)


@pytest.mark.parametrize(
    "line",
    [
        OLD.digest,
        f"app@{OLD.digest}",
        f"registry.example.com/app@{OLD.digest}",
        f"moved/elsewhere@{OLD.digest}",
        OLD.document["config"]["digest"],
    ],
)
def test_an_external_root_is_not_purged(moved: TreeBuilder, line: str) -> None:
    moved.blob(b"goes for good")
    move(moved)
    roots = said(moved, line)
    done = purge(registry_of(moved), offline=True, roots=roots, ignore_missing_roots=True)
    assert_old_is_pullable(moved)
    assert len(done.runs) == 2
    assert done.deleted.blobs == 1
    assert [one.code for one in done.findings] == (
        [Code.ROOT_MISSING] if line.startswith("moved") else []
    )


def test_a_tag_that_is_a_root_comes_back_with_all_it_needs(tree: TreeBuilder) -> None:
    tree.push("app", "v1", index(OLD))
    tree.push("app", "v2", image(["new"]))
    whole = tree.files()
    block = {"repositories": ["app"], "keepTags": [{"patterns": ["v2"]}]}
    policy = load_policy(json.dumps({"policies": [block]}).encode(), "keep.json")
    assert move(tree, retention=policy).done.tags == 1
    assert tree.tags("app") == ["v2"]
    purge(registry_of(tree), offline=True, roots=said(tree, "app:v1"))
    assert tree.files() == whole


def test_a_root_manifest_without_a_link_keeps_what_it_names(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["new"]))
    for data in (OLD.data, *(blob.data for blob in OLD.blobs)):
        tree.blob(data)
    unused = tree.blob(b"named by nothing")
    move(tree)
    purge(registry_of(tree), offline=True, roots=said(tree, OLD.digest))
    assert tree.blob_path(OLD.digest).exists()
    assert all(tree.blob_path(blob.digest).exists() for blob in OLD.blobs)
    assert not tree.blob_path(unused).exists()


def test_a_root_in_another_algorithm_comes_back(tree: TreeBuilder) -> None:
    long = Blob(blob_of("long").data, algorithm="sha512")
    tree.push("app", "v1", image(["new"]))
    tree.add_blob("app", long)
    move(tree)
    stored = tree.blob_path(blob_of("long").digest)
    assert not stored.exists()
    done = purge(registry_of(tree), offline=True, roots=said(tree, long.digest))
    assert stored.exists()
    assert tree.layer_path("app", long.digest).exists()
    assert done.findings == []


def test_the_name_of_a_repository_that_is_in_quarantine_is_no_host(tree: TreeBuilder) -> None:
    tree.push("example.com/app", "v1", OLD)
    tree.push("other", "v1", image(["new"]))
    run = move(tree, allow_tagless=("example.com/app",)).run
    assert repositories_in_quarantine(open_store(str(tree.root))) == set(), run
    tree.untag("example.com/app", "v1")
    move(tree, allow_tagless=("example.com/app",))
    shutil.rmtree(tree.repository_path("example.com/app"))
    assert by_repository(said(tree, "example.com/app:v1")) == {"example.com/app": {"v1"}}


def test_a_missing_root_refuses_a_purge_after_putting_back_what_is_in_use(
    moved: TreeBuilder,
) -> None:
    roots = said(moved, f"moved/elsewhere@{OLD.digest}")
    with pytest.raises(Refused, match=r"moved/elsewhere@.* is nowhere on this disk"):
        purge(registry_of(moved), offline=True, roots=roots)
    assert_old_is_pullable(moved)


def test_missing_roots_that_are_ignored_are_reported_and_the_rest_is_purged(
    moved: TreeBuilder, tmp_path: Path
) -> None:
    listed = tmp_path / "roots.txt"
    listed.write_text("app:v1\napp:v9\n")
    arguments = ["-r", str(moved.root), "gc", "purge", "--offline", "--roots", str(listed)]
    refused = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert isinstance(refused.exception, Refused)
    assert the_run(moved).state == "applied"
    arguments.append("--ignore-missing-roots")
    done = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert done.return_value == 0
    assert "app:v9 (" in done.output
    assert not moved.blob_path(OLD.digest).exists()
    assert the_run(moved).state == "purged"


def test_a_list_without_a_root_deletes_nothing(moved: TreeBuilder, tmp_path: Path) -> None:
    listed = tmp_path / "roots.txt"
    listed.write_text("# a dump that failed\n")
    arguments = ["-r", str(moved.root), "gc", "purge", "--offline", "--roots", str(listed)]
    done = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert isinstance(done.exception, DocumentInvalid)
    assert the_run(moved).state == "applied"
