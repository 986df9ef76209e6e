"""Trees whose manifests live elsewhere: OpenShift 3 kept them in etcd, and layers only here."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from dataclasses import replace

import pytest

from regfs.cli.app import run
from regfs.errors import Doubt
from regfs.gc.policy import Policy
from regfs.gc.sweep import apply
from tests.support.builder import TreeBuilder, digest_of, image
from tests.support.registries import going, plan_of, registry_of
from tests.support.server import hosted


@pytest.fixture
def openshift(tree: TreeBuilder) -> TreeBuilder:
    """Blobs, layer links, and of each manifest a folder that holds its signatures and no link."""
    for name in ("shop/web", "shop/api"):
        for layer in ("base", name):
            tree.add_blob(name, layer)
        manifest = digest_of(f"in etcd: {name}".encode())
        signature = tree.blob(f"signature of {name}".encode())
        folder = tree.revision_path(name, manifest).parent / "signatures"
        tree.write(folder / signature.replace(":", "/") / "link", signature)
    return tree


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan"],
        ["plan", "-m"],
        ["run", "-y"],
        ["run", "--offline", "--purge", "-y", "-m"],
        ["run", "-n"],
    ],
)
def test_gc_refuses_a_tree_without_a_single_manifest(
    openshift: TreeBuilder, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = openshift.files("")
    assert run(["gc", *arguments, "-r", str(openshift.root)]) == 3
    told = capsys.readouterr()
    assert told.out == ""
    assert "blobs (5) and layer links (4), but no manifest" in told.err
    assert "OpenShift 3" in told.err
    assert "--allow-no-manifests" in told.err
    assert openshift.files("") == before


def test_blobs_alone_and_links_alone_are_refused_too(tree: TreeBuilder) -> None:
    tree.blob(b"of nobody knows what")
    assert plan_of(tree, allow_no_manifests=False).kept == {"incomplete": 1}, (
        "without any repository nothing goes anyhow"
    )
    tree.folder(tree.repository_path("app") / "_layers")
    with pytest.raises(Doubt, match=r"\(1\) and layer links \(0\)"):
        plan_of(tree, allow_no_manifests=False)
    tree.delete_blob(digest_of(b"of nobody knows what"))
    tree.layer_link("app", digest_of(b"gone"))
    with pytest.raises(Doubt, match=r"\(0\) and layer links \(1\)"):
        plan_of(tree, allow_no_manifests=False)


def test_who_knows_better_may_say_so(
    openshift: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = plan_of(openshift, allow_no_manifests=True)
    assert going(planned, "blob") == openshift.blobs()
    options = ["--offline", "--purge", "-y", "--allow-no-manifests"]
    assert run(["gc", "run", *options, "-r", str(openshift.root)]) == 0
    assert openshift.blobs() == set()


@pytest.mark.parametrize("how", ["tag", "revision", "damaged", "dangling tag"])
def test_one_manifest_anywhere_is_enough(openshift: TreeBuilder, how: str) -> None:
    if how == "dangling tag":
        openshift.tag("other", "v1", digest_of(b"not there"))
    else:
        digest = openshift.push("other", "v1" if how == "tag" else None, image(["other"]))
        if how == "damaged":
            openshift.write(openshift.blob_path(digest), b"")
    assert plan_of(openshift, allow_no_manifests=False).totals.blobs > 0


def test_a_plan_is_refused_when_its_last_manifest_is_gone_by_now(tree: TreeBuilder) -> None:
    digest = tree.push("app", "v1", image(["app"]))
    tree.add_blob("app", "unused")
    planned = plan_of(tree)
    tree.delete_manifest("app", digest)
    before = tree.files()
    with pytest.raises(Doubt, match="but no manifest"):
        apply(replace(planned, policy=Policy(min_age=0)), registry_of(tree))
    assert tree.files() == before


def test_an_empty_registry_is_nothing_to_refuse(tree: TreeBuilder) -> None:
    tree.folder(tree.v2 / "repositories")
    assert plan_of(tree, allow_no_manifests=False).actions == []
    tree.upload("app", 3)
    assert [
        one.kind for one in plan_of(tree, allow_no_manifests=False, uploads_older_than=0).actions
    ] == ["upload"]


def test_the_page_says_so(openshift: TreeBuilder) -> None:
    with hosted(openshift.root) as url, pytest.raises(urllib.error.HTTPError) as caught:
        while urllib.request.urlopen(f"{url}/gc", timeout=60).status == 202:
            time.sleep(0.05)
    assert 400 <= caught.value.code < 500
    assert "but no manifest" in caught.value.read().decode()
