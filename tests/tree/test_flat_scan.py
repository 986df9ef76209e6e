"""A scan of a flat listing finds what a scan of the folder finds, but for what a disk knows."""

from __future__ import annotations

import os
import random
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.stores import Store, open_store
from regfs.tree.inventory import DigestTable, Inventory
from regfs.tree.leftovers import find_leftovers
from regfs.tree.scan import scan
from tests.make_fixtures import TREES
from tests.support.archives import FORMS, opened, packed
from tests.support.registries import Recipe, build, new_tree, recipes

FIXTURES = sorted(path.name for path in TREES.iterdir() if path.is_dir())


def facts(inventory: Inventory) -> dict[str, Any]:
    """Return all that an inventory says, without what only a disk knows."""
    found: dict[str, Any] = {"blobs": _table(inventory.blobs)}
    for name in ("findings", "foreign", "vacant", "lockfiles", "proxy_cache", "complete"):
        found[name] = getattr(inventory, name)
    found["empty"] = sorted(inventory.empty)
    found["temporary"] = {path: info[:2] for path, info in inventory.temporary.items()}
    for name, repository in inventory.repositories.items():
        parts = (repository.tags, repository.links, repository.parts, repository.has_tags_folder)
        uploads = {
            upload: (info.started_at, info.files, info.has_data, info.has_start, info.size)
            for upload, info in repository.uploads.items()
        }
        tables = _table(repository.revisions), _table(repository.layers)
        found[f"repository {name}"] = (*parts, uploads, *tables)
    return found


def _table(table: DigestTable) -> list[Any]:
    return sorted((digest, info.size, info.mtime) for digest, info in table.items())


def scanned(store: Store) -> dict[str, Any]:
    inventory = scan(store, clock=lambda: 1_800_000_000.0)
    find_leftovers(store, inventory)
    return facts(inventory)


def settle(root: Path) -> None:
    """Give every file and folder a time that every tar can hold, each another one."""
    for number, path in enumerate(sorted(root.rglob("*"))):
        os.utime(path, (1_790_000_000, 1_790_000_000 + number))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", FIXTURES)
def test_every_fixture_is_found_alike(tmp_path: Path, name: str, form: str) -> None:
    root = TREES / name
    store = opened(packed(root), form, tmp_path)
    assert scanned(store) == scanned(open_store(str(root)))


@given(recipe=recipes(), seed=st.integers(0, 99), form=st.sampled_from(FORMS))
def test_any_registry_is_found_alike_in_any_order(recipe: Recipe, seed: int, form: str) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        settle(tree.root)
        data = packed(tree.root, form=tarfile.GNU_FORMAT, shuffle=random.Random(seed))
        store = opened(data, form, tree.root.parent)
        assert scanned(store) == scanned(open_store(str(tree.root)))


@given(recipe=recipes())
def test_without_folders_it_lacks_those_that_are_empty_and_nothing_else(recipe: Recipe) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        settle(tree.root)
        store = opened(packed(tree.root, folders=False), "tar", tree.root.parent)
        flat, near = scanned(store), scanned(open_store(str(tree.root)))
        for found in (flat, near):
            del found["vacant"], found["empty"]
        for name in [name for name in near if name not in flat]:
            # A repository of which only empty folders are left.
            tags, links, *_ = near.pop(name)
            assert not (tags or links)
        parts = {name: value[2:4] for name, value in near.items() if name.startswith("repository")}
        for name, (folders, _) in parts.items():
            assert flat[name][2] <= folders
            flat[name] = (*flat[name][:2], *parts[name], *flat[name][4:])
        assert flat == near
