"""`regfs.open`: its examples are run as they stand, and it never answers from an old listing."""

from __future__ import annotations

import doctest
import inspect
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import regfs
from regfs import facade
from regfs.edits.editor import Editor
from regfs.errors import NotARegistry, PlanStale, ReferenceInvalid
from regfs.gc.roots import Roots
from tests.support.builder import TreeBuilder, image

PROJECT = Path(__file__).resolve().parents[1]


def documented() -> Iterator[tuple[str, str]]:
    """Yield name and docstring of `open` and of everything a Tree has, in source order."""
    yield "open", str(inspect.getdoc(facade.open))
    for kind in (*regfs.Tree.__mro__[-2::-1], Editor):
        for name, member in vars(kind).items():
            if text := inspect.getdoc(member):
                yield name, text


def test_the_examples_print_what_they_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where examples write
    root = tmp_path / "tutorial"
    shutil.copytree(PROJECT / "fixtures/trees/tutorial", root, copy_function=shutil.copyfile)
    names: dict[str, object] = {"regfs": regfs}
    runner = doctest.DocTestRunner()
    for name, text in documented():
        code = text.replace("/var/lib/registry", str(root))
        test = doctest.DocTestParser().get_doctest(code, names, name, None, 0)
        printed: list[str] = []
        runner.run(test, out=printed.append, clear_globs=False)
        names = test.globs
        assert printed == []
    assert runner.summarize(verbose=False).attempted >= 12


def test_every_public_method_has_a_docstring() -> None:
    members = {*dir(regfs.Tree), *vars(Editor)}
    public = {name for name in members if not name.startswith("_")}
    assert public - {name for name, _ in documented()} == set()


def test_nothing_is_made_before_it_is_asked_for(tree: TreeBuilder) -> None:
    opened = regfs.open(str(tree.root))
    assert set(vars(opened)).isdisjoint({"registry", "inventory", "graph"})
    assert opened.graph is opened.graph
    assert opened.graph.inventory is opened.inventory


def test_a_listing_is_kept_until_refresh(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    opened = regfs.open(str(tree.root))
    assert list(opened.inventory.repositories) == ["app"]
    tree.push("web", "v1")
    assert list(opened.inventory.repositories) == ["app"]
    opened.refresh()
    assert list(opened.inventory.repositories) == ["app", "web"]


def test_a_plan_lists_the_tree_anew(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    opened = regfs.open(str(tree.root))
    assert opened.inventory.blobs
    tree.blob(b"garbage")
    assert opened.plan().totals.blobs == 1


def test_after_apply_restore_and_purge_the_tree_is_listed_again(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    garbage = tree.blob(b"garbage")
    opened = regfs.open(str(tree.root))
    assert garbage in opened.inventory.blobs
    run = opened.apply(opened.plan()).run
    assert garbage not in opened.inventory.blobs
    opened.restore(run)
    assert garbage in opened.inventory.blobs
    run = opened.apply(opened.plan(), wait=0).run
    assert garbage not in opened.inventory.blobs
    purged = opened.purge(run)
    assert purged.deleted.blobs == 1
    assert {one.run: one.state for one in opened.runs()}[run] == "purged"


def test_a_run_is_not_purged_before_its_wait(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    tree.blob(b"garbage")
    opened = regfs.open(str(tree.root))
    run = opened.apply(opened.plan()).run
    with pytest.raises(regfs.Refused, match="short while ago"):
        opened.purge(run)
    assert opened.purge().deleted.blobs == 0
    assert opened.purge(offline=True).deleted.blobs == 1


def test_a_purge_puts_back_what_others_need(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    untagged = tree.push("app", None, image(["other"]))
    opened = regfs.open(str(tree.root))
    policy = regfs.Policy(delete_untagged=True)
    assert opened.apply(opened.plan(policy), wait=0).done.manifests == 1
    assert untagged not in opened.inventory.blobs
    opened.purge(roots=Roots.of([f"app@{untagged}"]))
    assert untagged in opened.inventory.blobs


def test_a_plan_of_another_tree_is_refused(tree: TreeBuilder, tmp_path: Path) -> None:
    tree.push("app", "v1")
    other = TreeBuilder(tmp_path / "other")
    other.push("app", "v1")
    other.blob(b"garbage")
    with pytest.raises(PlanStale):
        regfs.open(str(tree.root)).apply(regfs.open(str(other.root)).plan())


def test_reports_take_references(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["shared", "one"]))
    tree.push("app", "v2", image(["shared", "two"]))
    opened = regfs.open(str(tree.root))
    assert [row.name for row in opened.usage("app:v1").rows] == ["app:v1"]
    assert [row.name for row in opened.usage("app").rows] == ["app"]
    assert opened.usage("app").disk is None
    assert opened.usage().disk is not None
    assert opened.reuse("app:v1").shared[0].images == 2
    assert opened.verify("app:v1", level="links").findings == ()
    with pytest.raises(ReferenceInvalid, match="v1, v2"):
        opened.show("app")


def test_what_cannot_be_read_stands_in_unread_once(tree: TreeBuilder) -> None:
    manifest = tree.push("app", "v1")
    tree.blob_path(manifest).write_bytes(b"damaged")
    opened = regfs.open(str(tree.root))
    assert opened.unread == []
    opened.summary()
    opened.bases()
    assert [one.digest for one in opened.unread] == [manifest]


def test_an_empty_folder_is_opened_only_on_request(tmp_path: Path) -> None:
    with pytest.raises(NotARegistry):
        regfs.open(str(tmp_path))
    assert not regfs.open(str(tmp_path), empty=True).inventory.blobs


def test_a_tree_without_blobs_and_repositories_is_refused(tmp_path: Path) -> None:
    (tmp_path / "docker/registry/v2").mkdir(parents=True)
    with pytest.raises(NotARegistry, match="holds neither blobs nor"):
        regfs.open(str(tmp_path))
