"""Scanning: what is seen is what the builder wrote, and half-built trees are whole."""

from __future__ import annotations

import os
import tempfile
from array import array
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.digest import ALGORITHMS, Digest
from regfs.findings import Code, Finding
from regfs.stores import Leaves
from regfs.stores.local.store import LocalStore
from regfs.tree.digests import Digests
from regfs.tree.inventory import DigestTable
from regfs.tree.scan import scan
from tests.support.builder import TreeBuilder, digest_of, image, index
from tests.support.registries import store_of
from tests.support.scanned import paths_of, scanned
from tests.support.strategies import digests, disk_names, disk_tags

HEX = "ab" * 32


# -- what is seen is what is there ---------------------------------------------


def test_without_link_times_no_layer_link_is_looked_at(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.push("app", "v1", image(["base", "one"]))
    whole, asked, leaves = scanned(tree), [], LocalStore.leaves

    def asking(store: LocalStore, folder: str, *rest: Any, **options: Any) -> Leaves:
        asked.append(folder)
        return leaves(store, folder, *rest, **options)

    monkeypatch.setattr(LocalStore, "leaves", asking)
    lean = scanned(tree, link_times=False)
    assert not [folder for folder in asked if "_layers" in folder]
    assert paths_of(lean) == paths_of(whole)
    assert dict(lean.blobs) == dict(whole.blobs)
    layers = lean.repositories["app"].layers
    assert dict(layers) == dict(whole.repositories["app"].layers)  # asked about when it matters
    assert [folder for folder in asked if "_layers" in folder]


def test_everything_that_was_written_is_seen_with_its_size_and_time(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["base", "one"]))
    tree.push("team/app", "multi", index(image(), image(["arm"], platform="linux/arm64")))
    tree.push("team/app", None, image(["untagged"]))
    inventory = scanned(tree)
    assert paths_of(inventory) == set(tree.files())
    assert inventory.findings == []
    assert inventory.complete
    assert inventory.url == str(tree.root)
    for digest, info in inventory.blobs.items():
        status = tree.blob_path(digest).stat()
        assert info == (status.st_size, status.st_mtime, status.st_blocks * 512)
    app = inventory.repositories["app"]
    assert app.parts == {"_layers", "_manifests", "_uploads"}
    assert app.has_tags_folder
    assert app.tags["v1"].current == tree.current("app", "v1")
    assert app.tags["v1"].mtime == tree.tag_path("app", "v1").stat().st_mtime
    assert app.tags["v1"].size == 71


@given(st.data())
def test_scan_and_builder_agree_on_any_tree(data: st.DataObject) -> None:
    names = data.draw(st.lists(disk_names().filter(_fits), max_size=4, unique=True))
    with tempfile.TemporaryDirectory() as folder:
        tree = TreeBuilder(Path(folder))
        for digest in data.draw(st.lists(digests(), max_size=6, unique=True)):
            tree.write(tree.blob_path(digest), data.draw(st.binary(max_size=3)))
        for name in names:
            for digest in data.draw(st.lists(digests(), max_size=3, unique=True)):
                tree.layer_link(name, digest)
            for digest in data.draw(st.lists(digests(), max_size=3, unique=True)):
                tree.revision(name, digest)
            for tag in data.draw(st.lists(disk_tags(), max_size=3, unique=True)):
                for digest in data.draw(st.lists(digests(), min_size=1, max_size=2)):
                    tree.tag(name, tag, digest)
        inventory = scanned(tree)
        assert paths_of(inventory) == set(tree.files())
        assert inventory.complete
        seen = sum(info.size for info in inventory.blobs.values())
        for repository in inventory.repositories.values():
            seen += sum(repository.revisions.sizes) + sum(repository.layers.sizes)
            tags = repository.tags.values()
            seen += sum(info.size for info in tags)
            seen += sum(entry.size for info in tags for entry in info.history)
        assert seen == tree.size_on_disk()
        for name, repository in inventory.repositories.items():
            for tag, info in repository.tags.items():
                assert info.current == tree.current(name, tag)
                assert info.problem is None


def _fits(name: str) -> bool:
    """Return whether a name is surely a repository's and no reserved part of another's."""
    parts = name.split("/")
    return all(0 < len(os.fsencode(part)) < 200 for part in parts)


def test_repositories_come_depth_first_by_name(tree: TreeBuilder) -> None:
    for name in ("foo", "foo/z", "foo-bar/a", "foo/1x", "a", "a/b/c"):
        tree.push(name, "v1", image(["same"]))
    assert list(scanned(tree).repositories) == ["a", "a/b/c", "foo", "foo/1x", "foo/z", "foo-bar/a"]


def test_only_wanted_repositories_are_read_and_that_is_no_whole_picture(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    tree.push("lib", "v1", image(["lib"]))
    inventory = scanned(tree, want=lambda name: name == "lib")
    assert list(inventory.repositories) == ["lib"]
    assert set(inventory.blobs) == tree.blobs()
    assert not inventory.whole
    assert scanned(tree).whole


def test_history_is_in_the_order_of_time(tree: TreeBuilder) -> None:
    digests = []
    for age, word in ((300, "old"), (100, "new"), (200, "middle")):
        with tree.at_age(age):
            digests.append(tree.push("app", "v1", image([word])))
    history = scanned(tree).repositories["app"].tags["v1"].history
    assert [entry.digest for entry in history] == [digests[0], digests[2], digests[1]]


def test_the_clock_is_asked_before_the_disk(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    assert scanned(tree, clock=lambda: 12.5).taken_at == 12.5


def test_progress_counts_blobs_and_repositories(tree: TreeBuilder) -> None:
    class Counting:
        def __init__(self) -> None:
            self.counts: dict[str, int] = {}
            self.running = ""

        def start(self, task: str, total: int | None = None, unit: str = "items") -> None:
            assert self.running == ""
            self.running = task
            self.counts[task] = 0

        def advance(self, amount: int) -> None:
            self.counts[self.running] += amount

        def finish(self) -> None:
            self.running = ""

    tree.push("app", "v1")
    tree.push("lib", "v1")
    progress = Counting()
    inventory = scanned(tree, progress=progress)
    assert progress.counts == {"Listing blobs": len(inventory.blobs), "Listing repositories": 2}
    assert progress.running == ""


# -- half-built trees --------------------------------------------------------------


@pytest.mark.parametrize("kind", ["empty", "v2", "blobs", "repositories"])
def test_a_registry_with_nothing_in_it_is_whole(tree: TreeBuilder, kind: str) -> None:
    folders = {"empty": tree.root, "v2": tree.v2}
    tree.folder(folders.get(kind, tree.v2 / kind))
    inventory = scanned(tree)
    assert (len(inventory.blobs), inventory.repositories, inventory.findings) == (0, {}, [])
    assert inventory.complete


def test_blobs_can_be_missing(tree: TreeBuilder) -> None:
    digest = tree.push("app", "v1")
    for one in tree.blobs():
        tree.delete_blob(one)
    (tree.v2 / "blobs/sha256").rename(tree.root / "moved")
    inventory = scanned(tree)
    assert len(inventory.blobs) == 0
    assert list(inventory.repositories["app"].revisions) == [digest]


def test_repositories_can_be_missing(tree: TreeBuilder) -> None:
    digest = tree.blob(b"alone")
    inventory = scanned(tree)
    assert list(inventory.blobs) == [digest]
    assert inventory.repositories == {}


@pytest.mark.parametrize("part", ["_layers", "_manifests", "_uploads"])
def test_any_one_part_makes_a_repository(tree: TreeBuilder, part: str) -> None:
    tree.folder(tree.repository_path("team/app") / part)
    repository = scanned(tree).repositories["team/app"]
    assert repository.parts == {part}
    assert not repository.has_tags_folder


def test_a_folder_between_is_no_repository_and_an_empty_one_is_vacant(tree: TreeBuilder) -> None:
    tree.push("team/app", "v1")
    empty = tree.folder(tree.repository_path("left/over"))
    inventory = scanned(tree)
    assert list(inventory.repositories) == ["team/app"]
    assert inventory.vacant == [tree.relative(empty)]
    assert inventory.findings == []


def test_an_empty_tags_folder_is_told_from_none(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    tree.untag("app", "v1")
    tree.push("lib", None)
    inventory = scanned(tree)
    assert inventory.repositories["app"].has_tags_folder
    assert not inventory.repositories["lib"].has_tags_folder


def test_folders_without_their_file_are_vacant_and_no_damage(tree: TreeBuilder) -> None:
    digest = tree.push("app", "v1")
    layer = tree.document(digest)["layers"][0]["digest"]
    tree.delete_revision("app", digest)
    tree.delete_layer_link("app", layer)
    tree.blob_path(layer).unlink()
    inventory = scanned(tree)
    assert sorted(inventory.vacant) == sorted(
        tree.relative(path.parent)
        for path in (
            tree.revision_path("app", digest),
            tree.layer_path("app", layer),
            tree.blob_path(layer),
        )
    )
    assert inventory.findings == []


def test_owners_are_recognised(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    assert not scanned(tree).proxy_cache
    tree.write(tree.root / "scheduler-state.json", "{}")
    lock = tree.write(tree.root / "docker/registry/lockfiles/database-in-use", "")
    inventory = scanned(tree)
    assert inventory.proxy_cache
    assert inventory.lockfiles == [tree.relative(lock)]


def test_what_lies_beside_the_tree_is_none_of_its_business(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    os.mkfifo(tree.root / "pipe")
    (tree.root / "etc").symlink_to("/etc")
    inventory = scanned(tree)
    assert inventory.findings == []
    assert inventory.complete


# -- the table -------------------------------------------------------------------------------


@given(st.lists(st.lists(st.tuples(digests(), st.integers(0, 2**60)), max_size=5), max_size=5))
def test_a_table_is_a_dict_that_keeps_the_first(folders: list[list[tuple[Digest, int]]]) -> None:
    table, expected = DigestTable(), dict[Digest, int]()
    for rows in folders:
        sizes = [size for _, size in rows]
        numbers = array("I", [table.known.add(digest) for digest, _ in rows])
        table.extend(numbers, sizes, map(float, sizes), sizes)
        for digest, size in rows:
            expected.setdefault(digest, size)
    assert {digest: info.size for digest, info in table.items()} == expected
    assert list(table) == list(expected)
    assert len(table.sizes) == len(table) == len(expected)
    assert all(digest in table for digest in expected)
    assert [table.row(digest) for digest in expected] == list(range(len(expected)))
    assert table.find(str(Digest.of(b"a digest that is not there"))) is None


@pytest.mark.parametrize("lean", [False, True])
def test_a_scan_with_the_digests_of_an_earlier_one_finds_the_same(
    tree: TreeBuilder, lean: bool
) -> None:
    """New digests come anywhere in a folder, and have the highest numbers."""
    made = image([f"layer {number}" for number in range(40)])
    tree.push("app", "v1", made)
    first = scan(store_of(tree), lean=lean)
    tree.push("app", "v2", image([f"layer {number}" for number in range(20, 60)]))
    tree.push("lib", "v1", image(["other"]))
    tree.delete_blob(made.blobs[3].digest)
    again, fresh = scan(store_of(tree), lean=lean, known=first.known), scan(store_of(tree))
    assert again.known is first.known
    assert list(again.blobs.numbers) == sorted(again.blobs.numbers)
    assert dict(again.blobs) == dict(fresh.blobs)
    for name, repository in fresh.repositories.items():
        assert again.repositories[name].tags == repository.tags
        assert dict(again.repositories[name].layers) == dict(repository.layers)
        assert dict(again.repositories[name].revisions) == dict(repository.revisions)


@given(st.lists(digests(), unique=True))
def test_digests_begin_as_they_say(listed: list[Digest]) -> None:
    known = Digests()
    for digest in listed:
        known.add(digest)
    first_of_others = {"sha256:00"} if any(one.algorithm != "sha256" for one in listed) else set()
    wanted = {f"{one.algorithm}:{one.prefix}" for one in listed}
    assert wanted <= known.beginnings() <= wanted | first_of_others


def test_the_beginning_of_a_digest_is_not_the_digest() -> None:
    known = Digests()
    numbers = [known.add(Digest(f"sha256:{'ab' * 31}{last:02x}")) for last in range(40)]
    assert all(known.find("sha256:" + "ab" * length) is None for length in range(32))
    assert [known.find(known[number]) for number in numbers] == numbers


@given(st.lists(digests(), unique=True), st.randoms())
def test_rows_are_in_the_order_of_numbers(listed: list[Digest], random: Random) -> None:
    known = Digests()
    for digest in listed:
        known.add(digest)
    mixed = random.sample(listed, len(listed) // 2)
    table = DigestTable(known)
    for part in (mixed[::2], mixed[1::2]):
        numbers = array("I", map(known.add, part))
        table.extend(numbers, *[list(numbers)] * 3)
    assert list(table) == [digest for digest in listed if digest in mixed]
    assert all((digest in table) is (digest in mixed) for digest in listed)
    assert [table[digest].size for digest in mixed] == list(map(known.find, mixed))


_PAIRS = st.lists(st.binary(min_size=2, max_size=2), max_size=40)


@given(_PAIRS, st.text("0123456789abcdef", min_size=2, max_size=5))
def test_digests_are_found_by_how_they_begin(beginnings: list[bytes], start: str) -> None:
    known = Digests()
    # Every beginning also stands in the middle of others, off their boundaries.
    rows = [(begin + bytes.fromhex(start[:2])).ljust(32, begin[:1]) for begin in beginnings]
    every = [known.add(Digest(f"sha256:{row.hex()}")) for row in rows]
    every.append(known.add(Digest(f"sha512:{start.ljust(128, '0')}")))
    expected = {known[number] for number in every if known[number].encoded.startswith(start)}
    found = list(known.starting_with(start))
    assert set(found) == expected
    assert len(found) == len(expected)


def test_a_digest_that_is_not_there(tree: TreeBuilder) -> None:
    table = scanned(tree).blobs
    absent = Digest.parse("sha256:" + HEX)
    assert absent not in table
    with pytest.raises(KeyError):
        table[absent]


def test_every_algorithm_is_scanned(tree: TreeBuilder) -> None:
    expected = {Digest.parse(digest_of(b"x", algorithm)) for algorithm in ALGORITHMS}
    for digest in expected:
        tree.write(tree.blob_path(digest), b"x")
        tree.layer_link("app", digest)
        tree.revision("app", digest)
    inventory = scanned(tree)
    assert set(inventory.blobs) == expected
    assert set(inventory.repositories["app"].layers) == expected
    assert set(inventory.repositories["app"].revisions) == expected
    assert inventory.findings == []


def test_a_finding_says_where_even_when_the_name_is_no_text(tree: TreeBuilder) -> None:
    name = os.fsdecode(b"\xff\xfe")
    tree.write(tree.v2 / "blobs/sha256" / name, b"x")
    expected = Finding(Code.FOREIGN_PATH, f"docker/registry/v2/blobs/sha256/{name}")
    assert scanned(tree).findings == [expected]
