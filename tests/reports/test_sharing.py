"""Who shares what: groups of blobs by exactly who needs them."""

from __future__ import annotations

import pytest

from regfs.reports.sharing import Sharing, sharing
from regfs.reports.usage import By, Options, usage
from regfs.stores import open_store
from regfs.tree.registry import Registry
from tests.support.builder import TreeBuilder, image
from tests.support.registries import scan_and_build

BASE, MIDDLE = b"b" * 5000, b"m" * 300


@pytest.fixture
def shared(tree: TreeBuilder) -> TreeBuilder:
    tree.push("team/one", "v1", image([BASE, MIDDLE, b"1"]))
    tree.push("team/one", "v2", image([BASE, MIDDLE, b"2"]))
    tree.push("team/two", "v1", image([BASE, MIDDLE, b"3"]))
    tree.push("other", "v1", image([BASE, b"4"]))
    tree.push("alone", "v1", image([b"5"]))
    return tree


def report(tree: TreeBuilder, by: By, **options: int) -> Sharing:
    return sharing(scan_and_build(tree, lean=False)[1], by, **options)


def test_blobs_are_grouped_by_who_needs_them(shared: TreeBuilder) -> None:
    groups = report(shared, By.REPOSITORY).groups
    rows = {frozenset(one.rows): one for one in groups if one.bytes > 100}
    assert rows[frozenset({"team/one", "team/two", "other"})].bytes == 5000
    assert rows[frozenset({"team/one", "team/two"})].bytes == 300
    assert [one.count for one in groups if one.bytes > 100] == [3, 2]


@pytest.mark.parametrize("by", [By.REPOSITORY, By.NAMESPACE, By.TAG])
@pytest.mark.parametrize("top", [0, 1, 60])
def test_groups_and_unique_bytes_add_up_to_what_is_stored(
    shared: TreeBuilder, by: By, top: int
) -> None:
    found = report(shared, by, top=top)
    registry = Registry(open_store(str(shared.root)))
    used = usage(scan_and_build(shared, lean=False)[1], registry.manifest, options=Options(by=by))
    together = sum(one.bytes for one in found.groups) + found.omitted_bytes
    assert together + sum(row.unique for row in used.rows) == used.sum.stored
    assert len(found.groups) <= top


def test_only_the_first_few_are_named(shared: TreeBuilder) -> None:
    largest = report(shared, By.TAG, named=2).groups[0]
    assert len(largest.rows) == 2
    assert largest.count == 4
