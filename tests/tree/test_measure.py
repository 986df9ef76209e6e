"""What every file takes, in one pass: the same as by the careful way, and never less."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given

from regfs.graph import build_graph
from regfs.progress import SILENT
from regfs.reports.disk import disk_of
from regfs.tree import measure
from regfs.tree.measure import measure_all, scan_and_measure
from regfs.tree.scan import scan
from tests.support.builder import TreeBuilder
from tests.support.registries import Recipe, build, new_tree, recipes, registry_of


@pytest.fixture
def careful(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Take note of every tree that is measured in the careful way."""
    calls: list[object] = []

    def noting(*args: object) -> object:
        calls.append(args)
        return measure_all(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(measure, "measure_all", noting)
    return calls


@given(recipe=recipes())
def test_one_pass_finds_what_the_careful_way_finds(recipe: Recipe) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        registry = registry_of(tree)
        inventory, measured = scan_and_measure(registry.store)
        listed = scan(registry.store, history=False)
        found = disk_of(build_graph(inventory, registry), measured)
        expected = disk_of(
            build_graph(listed, registry), measure_all(registry.store, listed, SILENT)
        )
        assert found == expected
        assert dict(inventory.blobs) == dict(listed.blobs)


def test_a_plain_tree_is_listed_once(tree: TreeBuilder, careful: list[object]) -> None:
    tree.push("app", "v1")
    tree.push("app/inner", "v1")
    tree.upload("app", 100)
    tree.write(tree.root / "notes.txt", "something of somebody else")
    _, measured = scan_and_measure(registry_of(tree).store)
    assert careful == []
    assert measured.parts["other"].files == 1
    assert measured.parts["uploads"].files == 2


def _without_data(tree: TreeBuilder, blob: Path) -> None:
    blob.unlink()


def _fifo(tree: TreeBuilder, blob: Path) -> None:
    os.mkfifo(blob.parent / "pipe")


def _link(tree: TreeBuilder, blob: Path) -> None:
    (tree.root / "inside").symlink_to(blob)


def _folder_for_a_link(tree: TreeBuilder, blob: Path) -> None:
    link = next(tree.root.glob("**/_layers/sha256/*/link"))
    link.unlink()
    link.mkdir()


def _folder_for_a_blob(tree: TreeBuilder, blob: Path) -> None:
    blob.unlink()
    blob.mkdir()


@pytest.mark.parametrize(
    "change", [_without_data, _fifo, _link, _folder_for_a_link, _folder_for_a_blob]
)
def test_what_is_not_plain_is_measured_with_care(
    tree: TreeBuilder, careful: list[object], change: Callable[[TreeBuilder, Path], None]
) -> None:
    digest = tree.push("app", "v1")
    change(tree, tree.blob_path(digest))
    store = registry_of(tree).store
    inventory, measured = scan_and_measure(store)
    assert len(careful) == 1
    expected = scan(store, history=False)
    assert dict(inventory.blobs) == dict(expected.blobs)
    assert inventory.findings == expected.findings
    assert measured.walked is not None
