"""Pages: put together they are the whole, for any size of page, whatever the tree looks like."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs import layout
from regfs.errors import NameUnknown, StoreError
from regfs.findings import Code, Finding
from regfs.names import name_problem
from regfs.stores import Entry, Leaves, Report
from regfs.stores.local.store import LocalStore
from regfs.tree.cache import LRUCache
from regfs.tree.pages import _LARGE, TICK, Folders, Page, Paging
from regfs.tree.registry import Registry
from tests.support.builder import TreeBuilder
from tests.support.strategies import disk_names, names, tags


class Counting(LocalStore):
    """A store that counts how often a folder is listed."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.listed: list[str] = []

    def subfolders(self, folder: str, report: Report) -> Sequence[str] | None:
        self.listed.append(folder)
        return super().subfolders(folder, report)

    def list(self, folder: str, report: Report) -> list[Entry]:
        self.listed.append(folder)
        return super().list(folder, report)


def paging(root: Path) -> Paging:
    return Paging(Folders(LocalStore(str(root))))


def repository(tree: TreeBuilder, name: str, part: str = "_manifests") -> None:
    tree.folder(tree.repository_path(name) / part)


def every_page(paging: Paging, n: int) -> list[str]:
    """Return all repositories, put together from pages of `n`."""
    found: list[str] = []
    page = Page([], more=True)
    while page.more:
        page = paging.repositories(n, found[-1] if found else "")
        assert len(page.names) == n or not page.more
        assert page.names or not page.more
        found += page.names
    return found


def every_tag(paging: Paging, name: str, n: int) -> list[str]:
    found: list[str] = []
    page = Page([], more=True)
    while page.more:
        page = paging.tags(name, n, found[-1] if found else "")
        assert len(page.names) == n or not page.more
        found += page.names
    return found


# -- repositories --------------------------------------------------------------------------


def test_the_order_is_by_component(tree: TreeBuilder) -> None:
    expected = ["Foo/a", "bar/c/d", "foo", "foo/1x", "foo/z", "foo/z/a", "foo-bar/a", "foo0"]
    for name in reversed(expected):
        repository(tree, name)
    for n in range(1, len(expected) + 2):
        assert every_page(paging(tree.root), n) == expected
    assert sorted(expected, key=lambda name: name.split("/")) == expected


@pytest.mark.parametrize("last", ["a", "foo", "foo/1x", "foo/2", "foo/zz", "foo-", "foo/z/b", "zz"])
def test_a_page_begins_after_what_is_not_there(tree: TreeBuilder, last: str) -> None:
    expected = ["bar", "foo", "foo/1x", "foo/z", "foo-bar/a", "zoo"]
    for name in expected:
        repository(tree, name)
    after = [name for name in expected if name.split("/") > last.split("/")]
    assert paging(tree.root).repositories(10, last).names == after
    first = paging(tree.root).repositories(1, last)
    assert first == Page(after[:1], more=len(after) > 1)


@pytest.mark.parametrize("last", ["..", "../..", "/", "//", "foo//z", "_layers", "foo/_manifests"])
def test_a_last_that_is_no_name(tree: TreeBuilder, last: str) -> None:
    expected = ["bar", "foo", "foo/z"]
    for name in expected:
        repository(tree, name)
    after = [name for name in expected if name.split("/") > last.split("/")]
    assert paging(tree.root).repositories(10, last).names == after


@pytest.mark.parametrize("part", ["_manifests", "_layers", "_uploads"])
def test_any_part_makes_a_repository(tree: TreeBuilder, part: str) -> None:
    repository(tree, "a/b", part)
    tree.folder(tree.repository_path("empty/folder"))
    assert paging(tree.root).repositories(10) == Page(["a/b"], more=False)


def test_nothing_at_all(tree: TreeBuilder) -> None:
    assert paging(tree.root).repositories(10) == Page([], more=False)
    repository(tree, "a")
    assert paging(tree.root).repositories(0) == Page([], more=False)


def test_only_what_is_wanted_counts(tree: TreeBuilder) -> None:
    for name in ("a/x", "b/x", "c/x", "d/x"):
        repository(tree, name)
    found = paging(tree.root).repositories(1, "", lambda name: name[0] in "bd")
    assert found == Page(["b/x"], more=True)


def test_names_no_client_can_ask_for(tree: TreeBuilder) -> None:
    legal = ["Team/app", "a" * 255, "b/" * 127 + "b", "ok"]
    illegal = [
        "team/App",
        "UPPER",
        "a..b",
        "a_",
        "a_" + "x" * 250 + "/yyy",
        "ok/.hidden",
        "ok/a b",
        "é",
    ]
    for name in legal:
        repository(tree, name)
    for name in [*illegal, os.fsdecode(b"\xff"), "a\nb"]:
        repository(tree, name)
    assert every_page(paging(tree.root), 2) == legal


def test_links_and_files_among_repositories(tree: TreeBuilder, tmp_path: Path) -> None:
    repository(tree, "a/b")
    outside = TreeBuilder(tmp_path / "outside")
    repository(outside, "secret")
    (tree.repository_path("a") / "out").symlink_to(outside.repository_path("secret"))
    (tree.repository_path("a") / "up").symlink_to(tree.repository_path("a"))
    (tree.repository_path("a") / "none").symlink_to("nowhere")
    (tree.repository_path("a") / "inside").symlink_to(tree.repository_path("a/b"))
    tree.write(tree.repository_path("a/file"), b"")
    os.mkfifo(tree.repository_path("a/fifo"))
    assert every_page(paging(tree.root), 1) == ["a/b", "a/inside"]


_trees = st.lists(names() | disk_names().filter(lambda name: len(name) < 60), max_size=12)


@given(_trees, st.integers(1, 5))
def test_pages_put_together_are_the_whole(
    tmp_path_factory: pytest.TempPathFactory, listed: list[str], n: int
) -> None:
    tree = TreeBuilder(tmp_path_factory.mktemp("catalog"))
    for name in listed:
        try:
            repository(tree, name)
        except OSError:
            continue  # a name too long for the disk
    pages = paging(tree.root)
    whole = [
        name
        for name in Registry(LocalStore(str(tree.root))).repositories()
        if name_problem(name) is None
    ]
    assert every_page(pages, n) == whole
    for last in whole:
        assert pages.repositories(99, last).names == whole[whole.index(last) + 1 :]


# -- tags ----------------------------------------------------------------------------------


@given(st.lists(tags(), unique=True, max_size=15), st.integers(1, 6), tags())
def test_tags_put_together_are_the_whole(
    tmp_path_factory: pytest.TempPathFactory, listed: list[str], n: int, last: str
) -> None:
    tree = TreeBuilder(tmp_path_factory.mktemp("tags"))
    repository(tree, "app")
    for tag in listed:
        tree.tag("app", tag, "sha256:" + "a" * 64)
    pages = paging(tree.root)
    assert every_tag(pages, "app", n) == sorted(listed)
    assert pages.tags("app") == Page(sorted(listed), more=False)
    after = [tag for tag in sorted(listed) if tag > last]
    assert pages.tags("app", None, last).names == after
    assert pages.tags("app", n, last) == Page(after[:n], more=len(after) > n)


def test_tags_that_point_to_nothing_do_not_count(tree: TreeBuilder) -> None:
    for tag in "abcdefg":
        tree.push("app", tag)
    for tag in "bcf":
        tree.tag_path("app", tag).unlink()
    tree.folder(tree.tag_folder("app", "bad name"))
    tree.write(tree.tag_folder("app", ".hidden") / "current/link", "x")
    assert every_tag(paging(tree.root), "app", 1) == list("adeg")
    assert paging(tree.root).tags("app", 3) == Page(list("ade"), more=True)


def test_many_tags_at_once(tree: TreeBuilder) -> None:
    for number in range(700):
        tree.write(tree.tag_path("app", f"{number}"), "sha256:" + "a" * 64)
    tree.tag_path("app", "5").unlink()
    expected = sorted(str(number) for number in range(700) if number != 5)
    assert every_tag(paging(tree.root), "app", 600) == expected
    assert paging(tree.root).tags("app").names == expected


def test_a_repository_without_tags(tree: TreeBuilder) -> None:
    repository(tree, "app", "_layers")
    assert paging(tree.root).tags("app", 5) == Page([], more=False)
    with pytest.raises(NameUnknown):
        paging(tree.root).tags("ap", 5)
    tree.folder(tree.repository_path("folder"))
    with pytest.raises(NameUnknown):
        paging(tree.root).tags("folder")


# -- what is remembered ---------------------------------------------------------------------


def large(tree: TreeBuilder) -> tuple[Counting, Paging]:
    """Make a folder worth remembering, changed long ago."""
    for number in range(_LARGE):
        repository(tree, f"r{number:03}")
    tree.age(100)
    store = Counting(str(tree.root))
    return store, Paging(Folders(store))


def test_a_large_folder_is_listed_once(tree: TreeBuilder) -> None:
    store, pages = large(tree)
    every_page(pages, 3)
    assert store.listed.count(layout.REPOSITORIES) == 1
    every_page(pages, 3)
    assert store.listed.count(layout.REPOSITORIES) == 1


def test_a_page_lists_no_more_than_it_shows(tree: TreeBuilder) -> None:
    store, pages = large(tree)
    pages.repositories(5, "r010")
    assert len(store.listed) <= 8


def test_what_is_new_is_seen_at_once(tree: TreeBuilder) -> None:
    _, pages = large(tree)
    before = pages.repositories(500).names
    with tree.at_age(0):
        repository(tree, "new")
    assert pages.repositories(500).names == ["new", *before]
    (tree.repository_path("r000") / "_manifests").rmdir()
    tree.repository_path("r000").rmdir()
    assert pages.repositories(500).names == ["new", *before[1:]]


def test_two_changes_in_one_tick_are_both_seen(tree: TreeBuilder) -> None:
    """A second change that leaves the folder's time as it was must not be missed."""
    _, pages = large(tree)
    folder = tree.v2 / "repositories"
    now = time.time()
    os.utime(folder, (now, now))
    before = pages.repositories(500).names
    repository(tree, "new")
    os.utime(folder, (now, now))
    assert pages.repositories(500).names == ["new", *before]


@pytest.mark.parametrize(("ago", "remembered"), [(TICK - 0.5, False), (TICK + 0.5, True)])
def test_how_long_a_change_is_doubted(tree: TreeBuilder, ago: float, remembered: bool) -> None:
    store, _ = large(tree)
    changed = store.stat(layout.REPOSITORIES).mtime
    folders = Folders(store, clock=lambda: changed + ago)
    first = folders.names(layout.REPOSITORIES)
    assert (folders.names(layout.REPOSITORIES) is first) == remembered


def test_a_folder_from_the_future_is_doubted(tree: TreeBuilder) -> None:
    store, _ = large(tree)
    changed = store.stat(layout.REPOSITORIES).mtime
    folders = Folders(store, clock=lambda: changed - 1000)
    first = folders.names(layout.REPOSITORIES)
    assert folders.names(layout.REPOSITORIES) is not first


# -- trouble -------------------------------------------------------------------------------


class Failing(LocalStore):
    """A store that fails below one path, as a disk or a server of files does."""

    bad = ""

    def subfolders(self, folder: str, report: Report) -> Sequence[str] | None:
        if folder == self.bad:
            report(Finding(Code.PATH_UNREADABLE, folder, actual="the disk failed"))
            return ()
        return super().subfolders(folder, report)

    def stat(self, path: str) -> Entry:
        if self.bad and path.startswith(self.bad):
            raise StoreError("the disk failed")
        return super().stat(path)


@pytest.fixture
def failing(tree: TreeBuilder) -> tuple[Failing, Paging]:
    for name in ("a", "a/b", "c"):
        for tag in ("v1", "v2"):
            tree.tag(name, tag, "sha256:" + "a" * 64)
    store = Failing(str(tree.root))
    return store, Paging(Folders(store))


def test_no_tags_are_not_tags_that_cannot_be_listed(failing: tuple[Failing, Paging]) -> None:
    """Who mirrors a registry would delete what is not listed."""
    store, pages = failing
    store.bad = layout.tags_folder("a")
    for n in (None, 1):
        with pytest.raises(StoreError, match="the disk failed"):
            pages.tags("a", n)
    assert pages.tags("c").names == ["v1", "v2"]


def test_a_tag_that_cannot_be_looked_at_is_listed(failing: tuple[Failing, Paging]) -> None:
    store, pages = failing
    store.bad = layout.tag_folder("a", "v1")
    assert pages.tags("a").names == ["v1", "v2"]


def test_many_tags_one_of_which_cannot_be_looked_at(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regfs.tree.pages._APART", 1)
    for tag in ("v1", "v2", "v3"):
        tree.tag("app", tag, "sha256:" + "a" * 64)
    store = LocalStore(str(tree.root))
    whole = LocalStore.leaves

    def leaves(self: LocalStore, folder: str, leaf: str, report: Report, **more: Any) -> Leaves:
        report(Finding(Code.PATH_UNREADABLE, f"{folder}/v2/{leaf}", actual="the disk failed"))
        return whole(self, folder, leaf, report, only={"v1", "v3"} & more["only"])

    monkeypatch.setattr(LocalStore, "leaves", leaves)
    assert Paging(Folders(store)).tags("app").names == ["v1", "v2", "v3"]


def test_repositories_that_cannot_be_listed(
    tree: TreeBuilder, failing: tuple[Failing, Paging]
) -> None:
    store, pages = failing
    store.bad = layout.repository_folder("a")
    assert pages.repositories(9).names == ["c"]
    store.bad = layout.repository_folder("l" * 255)
    tree.folder(tree.repository_path("l" * 255) / "_manifests")
    assert pages.repositories(9).names == ["a", "a/b", "c"]
    store.bad = layout.REPOSITORIES
    with pytest.raises(StoreError, match="the disk failed"):
        pages.repositories(9)


def test_tags_behind_a_link_that_leads_outside(tree: TreeBuilder, tmp_path: Path) -> None:
    tree.folder(tree.repository_path("app") / "_manifests")
    (tree.repository_path("app") / "_manifests/tags").symlink_to(tmp_path)
    with pytest.raises(StoreError):
        paging(tree.root).tags("app")


def test_a_large_folder_that_cannot_be_asked_about(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, pages = large(tree)
    pages.repositories(1)
    monkeypatch.setattr(store, "stat", _broken)
    assert len(pages.repositories(500).names) == _LARGE


def _broken(path: str) -> Entry:
    raise StoreError("the disk failed")


def test_what_weighs_too_much_is_forgotten() -> None:
    recent: LRUCache[str, int] = LRUCache(10)
    recent.put("a", 1, 5)
    recent.put("b", 2, 5)
    assert recent.get("a") == 1
    recent.put("c", 3, 5)
    assert (recent.get("a"), recent.get("b"), recent.get("c")) == (1, None, 3)
    recent.put("a", 4, 1)
    assert (recent.get("a"), len(recent)) == (4, 2)
    recent.put("a", 5, 11)
    assert (recent.get("a"), recent.get("c"), len(recent)) == (None, 3, 1)
    recent.put("d", 6, 10)
    assert len(recent) == 1
