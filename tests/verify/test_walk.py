"""Walking a large tree in parts says what walking it at once says."""

from __future__ import annotations

import marshal
import os
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest

from regfs.findings import Code, Finding
from regfs.stores import Listing
from regfs.verify import Level, Result, walk
from tests.support.builder import TreeBuilder
from tests.support.damage import DAMAGE
from tests.support.verification import check, codes, stocked, watched


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    tree = stocked(tree)
    tree.push("team/deep/y", "v2")
    return tree


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Check the links of a tree that is walked at once."""

    def run(tree: TreeBuilder) -> Result:
        monkeypatch.setattr(walk, "MANY", 10**9)
        return check(tree, level=Level.LINKS)

    return run


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Check the links of a tree that is walked in parts, and nothing at once."""

    def refuse(context: Any) -> NoReturn:
        raise AssertionError("the tree is walked at once")

    def run(tree: TreeBuilder) -> Result:
        with monkeypatch.context() as patch:
            patch.setattr(walk, "MANY", 0)
            patch.setattr(walk, "_walk_whole", refuse)
            return check(tree, level=Level.LINKS)

    return run


def same(one: Result, other: Result) -> bool:
    return (one.findings, one.checked, one.images) == (other.findings, other.checked, other.images)


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("kind", DAMAGE)
def test_every_damage_is_found_in_parts(
    shop: TreeBuilder,
    kind: str,
    alone: bool,
    whole: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if alone:
        monkeypatch.setattr("regfs.parallel.can_fork", lambda: False)
    shop.break_(kind, "app", "v1")
    shop.write(shop.repository_path("team/x") / "_manifests/stray", b"x")
    expected = whole(shop)
    monkeypatch.setattr(walk, "MANY", 0)
    assert same(check(shop, level=Level.LINKS), expected)
    assert Code.FOREIGN_PATH in {row.finding.code for row in expected.findings}


@pytest.mark.parametrize(
    "path",
    [
        "blobs/sha256/00/stray",
        "blobs/sha256/zz/a/b",
        "blobs/crc32/x",
        "repositories/team/deep/y/_manifests/other/x",
        "repositories/app/_layers/._x",
        "elsewhere/x",
        "repositories/stray",
        "repositories/team/stray",
        "blobs/sha256/stray",
        "stray",
    ],
)
def test_stray_files_are_found_without_walking_at_once(
    shop: TreeBuilder, path: str, whole: Callable[..., Result], parts: Callable[..., Result]
) -> None:
    shop.write(shop.v2 / path, b"x")
    assert same(parts(shop), whole(shop))
    assert len(parts(shop).findings) > 0


def test_an_empty_folder_is_found_in_parts(
    shop: TreeBuilder, whole: Callable[..., Result], parts: Callable[..., Result]
) -> None:
    (shop.v2 / "blobs/sha512").mkdir()
    (shop.v2 / "repositories/team/nothing").mkdir()
    assert same(parts(shop), whole(shop))
    found = [row.finding for row in parts(shop).findings]
    assert [one.code for one in found].count(Code.DIRECTORY_EMPTY) == 2


@pytest.mark.parametrize(
    "link", ["repositories/alias", "repositories/team/alias", "repositories/app/_layers/alias"]
)
def test_where_a_link_leads_a_second_time_is_told_by_walking_at_once(
    shop: TreeBuilder,
    link: str,
    whole: Callable[..., Result],
    parts: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (shop.v2 / link).symlink_to(shop.v2 / "repositories/app")
    with pytest.raises(AssertionError, match="walked at once"):
        parts(shop)
    expected = whole(shop)
    monkeypatch.setattr(walk, "MANY", 0)
    assert same(check(shop, level=Level.LINKS), expected)
    assert "symlink-loop" in codes(expected)


def test_a_folder_that_cannot_be_listed_is_told_by_walking_at_once(
    shop: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = shop.relative(shop.repository_path("app") / "_layers/sha256")
    store = watched(shop)
    real = store.tree

    def tree(folder: str, report: Any, **options: Any) -> Iterator[Listing]:
        for listing in real(folder, report, **options):
            if listing.path == hidden:
                report(Finding(Code.PATH_UNREADABLE, hidden, actual="permission denied"))
            elif not listing.path.startswith(hidden):
                yield listing

    monkeypatch.setattr(store, "tree", tree)
    monkeypatch.setattr(walk, "MANY", 0)
    assert codes(check(shop, level=Level.LINKS, store=store)) == ["path-unreadable"]


@pytest.mark.parametrize("kind", ["tag-invalid", "layer-link-dangling", "blob-missing"])
def test_what_is_found_in_a_part_comes_back_from_another_process(
    shop: TreeBuilder,
    kind: str,
    whole: Callable[..., Result],
    parts: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def elsewhere(work: Any, count: int) -> Iterator[Any]:
        yield from marshal.loads(marshal.dumps(list(work(iter(range(count))))))

    monkeypatch.setattr(walk, "map_in_two_processes", elsewhere)
    shop.break_(kind, "app", "v1")
    shop.write(shop.repository_path("team/x") / "_manifests" / os.fsdecode(b"\xff"), b"x")
    assert same(parts(shop), whole(shop))
