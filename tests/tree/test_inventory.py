"""Scanning: what is seen is what the builder wrote, and no tree can hang it or crash it."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from array import array
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs import layout
from regfs.digest import ALGORITHMS, Digest
from regfs.errors import PathMissing
from regfs.findings import Code, Finding
from regfs.stores import Leaves, Report, Store, open_store
from regfs.stores.local import leaves
from regfs.stores.local.reader import LocalReader
from regfs.tree.digests import Digests
from regfs.tree.inventory import DigestTable, Inventory
from regfs.tree.links import read_link
from regfs.tree.scan import scan
from tests.support.builder import TreeBuilder, digest_of, image, index
from tests.support.strategies import digests, disk_names, disk_tags, upload_ids

HEX = "ab" * 32
NOBODY = 65534


def scanned(tree: TreeBuilder, **options: Any) -> Inventory:
    return scan(open_store(str(tree.root)), **options)


def codes(inventory: Inventory) -> list[Code]:
    return sorted(finding.code for finding in inventory.findings)


def found(inventory: Inventory) -> set[tuple[Code, str]]:
    return {(finding.code, finding.path) for finding in inventory.findings}


def paths_of(inventory: Inventory) -> set[str]:
    """Return the path of every file that the inventory says is there, by the path dictionary."""
    keys: list[layout.Key] = [layout.BlobData(digest) for digest in inventory.blobs]
    for name, repository in inventory.repositories.items():
        keys.extend(layout.LayerLink(name, digest) for digest in repository.layers)
        keys.extend(layout.RevisionLink(name, digest) for digest in repository.revisions)
        for tag, info in repository.tags.items():
            keys.extend(layout.TagIndex(name, tag, entry.digest) for entry in info.history)
            if info.size:
                keys.append(layout.TagCurrent(name, tag))
    return {layout.path_of(key) for key in keys}


# -- what is seen is what is there ---------------------------------------------


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
    assert app.history_bytes == 71


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
            seen += sum(info.size for info in repository.tags.values()) + repository.history_bytes
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


# -- uploads ------------------------------------------------------------------------

STARTED = "2026-11-23T13:44:54Z"
SECONDS = 1795441494.0
V7 = "019abcde-f012-7abc-8def-0123456789ab"


def test_an_upload_is_counted_with_all_its_files(tree: TreeBuilder) -> None:
    upload = tree.upload("app", 1000, started_at=STARTED, hash_state=True)
    info = scanned(tree).repositories["app"].uploads[upload]
    folder = tree.relative(tree.upload_path("app", upload))
    assert info.size == tree.size_on_disk(folder) == 1000 + 20 + 108
    assert info.allocated == tree.allocated(folder)
    assert info.files == 3
    assert info.started_at == SECONDS
    assert info.has_data
    assert time.time() - info.mtime == pytest.approx(172_800, abs=600)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (STARTED, SECONDS),
        (STARTED + "\n", SECONDS),
        ("", None),
        ("yesterday", None),
        ("\ufffd\0", None),
        ("2026-11-23T13:44:54Z and much more than any time needs", None),
        ("9" * 5000, None),
        ("0001-01-01T00:00:00Z", -62135596800.0),
        (None, None),
    ],
)
def test_when_an_upload_began(tree: TreeBuilder, content: str | None, expected: Any) -> None:
    path = tree.upload_path("app", tree.upload("app", 1)) / "startedat"
    if content is None:
        path.unlink()
    else:
        tree.write(path, content)
    (info,) = scanned(tree).repositories["app"].uploads.values()
    assert info.started_at == expected


def test_an_offset_in_startedat_counts(tree: TreeBuilder) -> None:
    tree.upload("app", 1, started_at="2026-11-23T15:44:54+02:00")
    (info,) = scanned(tree).repositories["app"].uploads.values()
    assert info.started_at == SECONDS


def test_a_time_ordered_id_tells_when_startedat_does_not(tree: TreeBuilder) -> None:
    tree.upload("app", 1, started_at="", upload=V7)
    (info,) = scanned(tree).repositories["app"].uploads.values()
    assert info.started_at == int(V7.replace("-", "")[:12], 16) / 1000


def test_an_upload_can_lack_its_data_or_everything(tree: TreeBuilder) -> None:
    upload = tree.upload("app", 1)
    (tree.upload_path("app", upload) / "data").unlink()
    empty = str(uuid.UUID(int=5, version=4))
    tree.folder(tree.upload_path("app", empty))
    uploads = scanned(tree).repositories["app"].uploads
    assert not uploads[upload].has_data
    assert (uploads[empty].files, uploads[empty].size) == (0, 0)
    assert uploads[empty].mtime == tree.upload_path("app", empty).stat().st_mtime


@given(upload_ids())
def test_any_name_can_be_that_of_an_upload(upload: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tree = TreeBuilder(Path(folder))
        tree.upload("app", 7, upload=upload, started_at=STARTED)
        uploads = scanned(tree).repositories["app"].uploads
        assert {name: info.started_at for name, info in uploads.items()} == {upload: SECONDS}


def test_a_repository_with_only_uploads_keeps_a_stray_file_apart(tree: TreeBuilder) -> None:
    stray = tree.write(tree.repository_path("app") / "_uploads/README", "x")
    upload = tree.upload("app", 1)
    inventory = scanned(tree)
    assert list(inventory.repositories["app"].uploads) == [upload]
    assert found(inventory) == {(Code.FOREIGN_PATH, tree.relative(stray))}


# -- tag links -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "code", "understood"),
    [
        ("tag-current-empty", Code.LINK_EMPTY, False),
        ("tag-current-newline", Code.LINK_INVALID, True),
        ("tag-current-bare-hex", Code.LINK_INVALID, True),
        ("tag-current-garbage", Code.LINK_INVALID, False),
        ("tag-current-truncated", Code.LINK_INVALID, False),
    ],
)
def test_a_damaged_tag_link(tree: TreeBuilder, kind: str, code: Code, understood: bool) -> None:
    digest = tree.push("app", "v1")
    path = tree.break_(kind, "app", "v1")
    inventory = scanned(tree)
    info = inventory.repositories["app"].tags["v1"]
    assert info.problem is code
    assert info.current == (digest if understood else None)
    assert [entry.digest for entry in info.history] == [digest]
    (finding,) = inventory.findings
    assert (finding.code, finding.path, finding.tag) == (code, path, "v1")
    assert finding.repository == "app"


@pytest.mark.parametrize("kind", ["tag-current-missing", "tag-without-current"])
def test_a_tag_without_current_keeps_its_history(tree: TreeBuilder, kind: str) -> None:
    digest = tree.push("app", "v1")
    tree.break_(kind, "app", "v1")
    inventory = scanned(tree)
    info = inventory.repositories["app"].tags["v1"]
    assert (info.current, info.problem, info.mtime) == (None, Code.TAG_WITHOUT_CURRENT, 0)
    assert [entry.digest for entry in info.history] == [digest]
    folder = tree.relative(tree.tag_folder("app", "v1"))
    assert found(inventory) == {(Code.TAG_WITHOUT_CURRENT, folder)}
    assert inventory.complete


def test_a_tag_link_that_is_a_folder_is_doubt(tree: TreeBuilder) -> None:
    digest = tree.push("app", "v1")
    tree.tag_path("app", "v1").unlink()
    path = tree.folder(tree.tag_path("app", "v1"))
    inventory = scanned(tree)
    info = inventory.repositories["app"].tags["v1"]
    assert (info.current, info.problem) == (None, Code.PATH_UNREADABLE)
    assert [entry.digest for entry in info.history] == [digest]
    assert found(inventory) == {(Code.PATH_UNREADABLE, tree.relative(path))}
    assert not inventory.complete


def test_a_tag_can_have_any_name(tree: TreeBuilder) -> None:
    names = [os.fsdecode(b"caf\xe9"), "with space", "-dash", "x" * 129, "a\nb", "latest"]
    for name in names:
        tree.push("app", name)
    inventory = scanned(tree)
    assert set(inventory.repositories["app"].tags) == set(names)
    assert {f.tag for f in inventory.findings if f.code is Code.TAG_INVALID} == set(names[:-1])


def test_a_huge_link_is_not_read_whole(tree: TreeBuilder) -> None:
    digest = tree.push("app", "v1")
    path = tree.tag_path("app", "v1")
    os.truncate(path, 1 << 40)
    link = read_link(open_store(str(tree.root)), tree.relative(path))
    # The zeros of a crash are no content: what stands before them is understood.
    assert link.digest == digest
    assert link.problem is Code.LINK_INVALID
    assert len(link.text) < 500


# -- what does not belong ---------------------------------------------------------------


def test_what_the_file_system_puts_there_is_no_damage(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    places = ("", "blobs/", "blobs/sha256/ab/", "repositories/")
    lost = [tree.folder(tree.v2 / f"{place}lost+found") for place in places]
    silly = tree.write(tree.v2 / "repositories/app/_layers/.nfs000000000c2a0f0100000007", "")
    inventory = scanned(tree)
    assert found(inventory) == {(Code.NFS_LEFTOVER, tree.relative(silly))}
    assert {tree.relative(path) for path in lost[:3]} < set(inventory.foreign)
    assert inventory.vacant == []
    assert inventory.complete


def test_stray_things_are_named_and_left_apart(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    before = scanned(tree)
    strays = [
        tree.write(tree.v2 / "README", ""),
        tree.write(tree.v2 / "blobs/README", ""),
        tree.write(tree.v2 / "blobs/sha256/README", ""),
        tree.folder(tree.v2 / "blobs/sha256/abc"),
        tree.folder(tree.v2 / "blobs/sha256/AB"),
        tree.write(tree.v2 / "blobs/sha256/ab/README", ""),
        tree.folder(tree.v2 / "blobs/sha256/ab" / HEX.upper()),
        tree.write(tree.v2 / "blobs/sha256/ab" / HEX[:-1] / "data", "").parent,
        tree.folder(tree.v2 / "repositories/_layers"),
        tree.folder(tree.repository_path("app") / "_referrers"),
        tree.write(tree.repository_path("app") / "_uploads.bak", ""),
        tree.write(tree.repository_path("app") / "_layers/README", ""),
        tree.write(tree.repository_path("app") / "_layers/sha256/README", ""),
        tree.write(tree.repository_path("app") / "_layers/sha256" / HEX[:-2] / "link", "").parent,
        tree.write(tree.repository_path("app") / "_manifests/tags/.README.swp", ""),
        tree.write(tree.repository_path("app") / "_manifests/README", ""),
        tree.folder(tree.repository_path("app") / "_manifests/referrers"),
    ]
    inventory = scanned(tree)
    assert found(inventory) == {(Code.FOREIGN_PATH, tree.relative(path)) for path in strays}
    assert set(inventory.foreign) == {tree.relative(path) for path in strays}
    assert inventory.complete
    assert inventory.vacant == []
    assert inventory.complete
    assert dict(inventory.blobs) == dict(before.blobs)
    assert set(inventory.repositories["app"].layers) == set(before.repositories["app"].layers)


@pytest.mark.parametrize(
    "place",
    [
        "blobs/sha384",
        "blobs/sha256/ab",
        f"blobs/sha256/ab/{HEX}",
        "repositories/README",
        "repositories/app/more",
        "repositories/app/_uploads",
        "repositories/app/_layers/blake3",
        f"repositories/app/_layers/sha256/{HEX}",
        "repositories/lib/_manifests",
        "repositories/app/_manifests/tags/README",
        f"repositories/app/_manifests/revisions/sha256/{HEX}",
    ],
)
def test_a_file_where_a_folder_may_have_been_is_told_once(tree: TreeBuilder, place: str) -> None:
    tree.push("app", "v1")
    tree.folder(tree.v2 / "repositories/lib/_layers")
    shutil.rmtree(tree.v2 / place, ignore_errors=True)
    path = tree.write(tree.v2 / place, "what a synchroniser left")
    inventory = scanned(tree)
    told = [(one.code, one.path) for one in inventory.findings]
    assert told.count((Code.FOLDER_REPLACED, tree.relative(path))) == 1
    assert not inventory.complete


@pytest.mark.parametrize("algorithm", ["md5", "tarsum", "blake3"])
def test_unknown_algorithms_are_named_wherever_they_are(tree: TreeBuilder, algorithm: str) -> None:
    tree.push("app", "v1")
    folders = [
        tree.v2 / "blobs" / algorithm,
        tree.repository_path("app") / "_layers" / algorithm,
        tree.repository_path("app") / "_manifests/revisions" / algorithm,
        tree.tag_folder("app", "v1") / "index" / algorithm,
    ]
    for folder in folders:
        tree.write(folder / "ab" / "data", "x")
    inventory = scanned(tree)
    expected = {(Code.ALGORITHM_UNSUPPORTED, tree.relative(folder)) for folder in folders}
    assert found(inventory) == expected


def test_a_blob_under_the_wrong_prefix_is_misplaced_and_not_counted(tree: TreeBuilder) -> None:
    digest = tree.push("app", "v1")
    layer = tree.document(digest)["layers"][0]["digest"]
    path = tree.break_("blob-wrong-prefix", "app", "v1")
    inventory = scanned(tree)
    assert layer not in inventory.blobs
    assert found(inventory) == {(Code.BLOB_MISPLACED, path.rpartition("/")[0])}


@pytest.mark.parametrize("place", ["blobs", "layers", "revisions", "vacant"])
def test_a_name_with_a_newline_is_no_two_digests(tree: TreeBuilder, place: str) -> None:
    tree.push("app", "v1")
    before = scanned(tree)
    double = f"{HEX}\n{HEX}"
    repository = tree.repository_path("app")
    path = {
        "blobs": tree.v2 / "blobs/sha256/ab" / double / "data",
        "layers": repository / "_layers/sha256" / double / "link",
        "revisions": repository / "_manifests/revisions/sha256" / double / "link",
        "vacant": repository / "_layers/sha256" / double / "nothing",
    }[place]
    tree.write(path, "x")
    inventory = scanned(tree)
    assert found(inventory) == {(Code.FOREIGN_PATH, tree.relative(path.parent))}
    assert inventory.vacant == []
    assert paths_of(inventory) == paths_of(before)


@pytest.mark.parametrize("kind", ["blob", "layer", "revision"])
def test_a_folder_in_the_place_of_a_file_is_doubt(tree: TreeBuilder, kind: str) -> None:
    digest = Digest.parse(digest_of(b"x"))
    path = tree.folder(
        {
            "blob": tree.blob_path(digest),
            "layer": tree.layer_path("app", digest),
            "revision": tree.revision_path("app", digest),
        }[kind]
    )
    inventory = scanned(tree)
    assert found(inventory) == {(Code.PATH_UNREADABLE, tree.relative(path))}
    assert not inventory.complete
    assert paths_of(inventory) == set()


def test_an_illegal_name_is_read_all_the_same(tree: TreeBuilder) -> None:
    name = "Bad/" + os.fsdecode(b"caf\xe9")
    digest = tree.push(name, "v1")
    inventory = scanned(tree)
    assert inventory.repositories[name].tags["v1"].current == digest
    (finding,) = inventory.findings
    assert (finding.code, finding.repository) == (Code.REPOSITORY_INVALID_NAME, name)
    assert finding.path == tree.relative(tree.repository_path(name))


def test_repositories_nest_as_deep_as_paths_can_be(tree: TreeBuilder) -> None:
    name = "/".join(["a"] * 1500)
    digest = digest_of(b"manifest")
    path = tree.tag_path(name, "v1")
    subprocess.run(["mkdir", "-p", path.parent], check=True)
    path.write_text(digest)
    inventory = scanned(tree)
    subprocess.run(["rm", "-rf", tree.root], check=True)  # pytest cannot remove it
    assert inventory.repositories[name].tags["v1"].current == digest
    assert list(inventory.repositories) == [name]


def test_a_folder_deeper_than_any_path_is_reported(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    here = os.open(tree.repository_path("app"), os.O_RDONLY)
    try:
        for _ in range(6000):
            os.mkdir("d", dir_fd=here)
            deeper = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = deeper
        inventory = scanned(tree)
    finally:
        os.close(here)
        subprocess.run(["rm", "-rf", tree.root], check=True)
    assert "app" in inventory.repositories
    (finding,) = inventory.findings
    assert finding.code is Code.PATH_UNREADABLE
    assert not inventory.complete


# -- special files and links ------------------------------------------------------------------


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        here = Path.cwd()
        os.chdir(path.parent)  # the path of a socket must be short
        try:
            sock.bind(path.name)
        finally:
            os.chdir(here)


LEVELS: dict[str, Callable[[TreeBuilder, str], Path]] = {
    "algorithm of blobs": lambda tree, _: tree.v2 / "blobs/sha384",
    "prefix of blobs": lambda tree, _: tree.v2 / "blobs/sha256/zz",
    "blob": lambda tree, digest: tree.blob_path(digest).parent,
    "data": lambda tree, digest: tree.blob_path(digest),
    "repository": lambda tree, _: tree.repository_path("app/inner"),
    "layers": lambda tree, _: tree.repository_path("bare") / "_layers",
    "manifests": lambda tree, _: tree.repository_path("bare") / "_manifests",
    "uploads": lambda tree, _: tree.repository_path("bare") / "_uploads",
    "algorithm of layers": lambda tree, _: tree.repository_path("app") / "_layers/sha512",
    "layer": lambda tree, digest: tree.layer_path("app", digest).parent,
    "layer link": lambda tree, digest: tree.layer_path("app", digest),
    "revision": lambda tree, digest: tree.revision_path("app", digest).parent,
    "revision link": lambda tree, digest: tree.revision_path("app", digest),
    "tags": lambda tree, _: tree.repository_path("untagged") / "_manifests/tags",
    "tag": lambda tree, _: tree.tag_folder("app", "v1"),
    "tag's current": lambda tree, _: tree.tag_path("app", "v2").parent,
    "tag's link": lambda tree, _: tree.tag_path("app", "v2"),
    "tag's index": lambda tree, _: tree.tag_folder("app", "v2") / "index",
    "upload": lambda tree, _: tree.upload_path("app", "upload"),
}


def _stage(tree: TreeBuilder, level: str) -> Path:
    """Return the empty place of a level, in a tree that is otherwise whole."""
    tree.push("lib", "v1", image(["whole"]))
    tree.push("app", "v2", image(["two"]))
    tree.push("untagged", None)
    tree.folder(tree.repository_path("bare/inner") / "_layers")
    place = LEVELS[level](tree, digest_of(b"staged"))
    if place.is_dir():
        place.rename(tree.root / "aside")
    elif place.exists():
        place.unlink()
    else:
        tree.folder(place.parent)
    return place


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("make", [_fifo, _socket])
def test_special_files_are_reported_and_never_opened(
    tree: TreeBuilder, level: str, make: Callable[[Path], None]
) -> None:
    place = _stage(tree, level)
    make(place)
    inventory = scanned(tree)
    path = tree.relative(place)
    assert found(inventory) & {(Code.SPECIAL_FILE, path), (Code.PATH_UNREADABLE, path)}
    assert not inventory.complete
    assert inventory.repositories["lib"].tags["v1"].current == tree.current("lib", "v1")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("target", "code"),
    [("outside", Code.SYMLINK_OUTSIDE), ("nowhere", Code.SYMLINK_LOOP), ("above", None)],
)
def test_links_that_lead_astray_are_reported(
    tree: TreeBuilder, level: str, target: str, code: Code | None
) -> None:
    place = _stage(tree, level)
    outside = tree.root.parent / "outside"
    outside.mkdir()
    (outside / "secret").write_text("x")
    to = {"outside": outside, "nowhere": Path("nowhere"), "above": tree.v2}[target]
    place.symlink_to(to)
    inventory = scanned(tree)
    doubts = {Code.SYMLINK_LOOP, Code.PATH_UNREADABLE, Code.ALGORITHM_UNSUPPORTED}
    expected = {code} if code else doubts
    beneath = tree.relative(place)
    assert any(
        finding.code in expected and (finding.path + "/").startswith(beneath + "/")
        for finding in inventory.findings
    )
    assert inventory.repositories["lib"].tags["v1"].current == tree.current("lib", "v1")
    assert all("secret" not in path for path in inventory.foreign)


def test_links_inside_the_tree_count_as_what_they_lead_to(tree: TreeBuilder) -> None:
    digest = tree.push("app", "v1")
    repository = tree.repository_path("app")
    repository.rename(tree.root / "elsewhere")
    repository.symlink_to(tree.root / "elsewhere")
    (tree.v2 / "blobs/sha256").rename(tree.root / "big")
    (tree.v2 / "blobs/sha256").symlink_to(tree.root / "big")
    inventory = scanned(tree)
    assert {finding.code for finding in inventory.findings} == {Code.SYMLINK_INSIDE}
    assert inventory.complete
    assert inventory.repositories["app"].tags["v1"].current == digest
    assert set(inventory.blobs) == tree.blobs()


def test_a_loop_of_repositories_ends(tree: TreeBuilder) -> None:
    tree.push("a/b", "v1")
    (tree.repository_path("a/b") / "c").symlink_to("../../a")
    inventory = scanned(tree)
    assert list(inventory.repositories) == ["a/b"]
    assert found(inventory) == {(Code.SYMLINK_LOOP, tree.relative(tree.repository_path("a/b/c")))}


# -- what may not be read -------------------------------------------------------------------

_AS_NOBODY = f"""
import os, sys
import regfs.stores.local.store  # before what it is read from may be forbidden
from regfs.tree.scan import scan
from regfs.stores import open_store
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
inventory = scan(open_store(sys.argv[1]))
print(inventory.complete, *sorted(f.code + " " + f.path for f in inventory.findings), sep="\\n")
"""


@pytest.fixture
def shared(tree: TreeBuilder) -> TreeBuilder:
    """A tree that anybody may read, unlike what pytest makes."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    for folder in [tree.root, *tree.root.parents]:
        if folder.stat().st_uid == os.geteuid() and folder.stat().st_mode & 0o5 != 0o5:
            folder.chmod(folder.stat().st_mode | 0o5)
    return tree


@pytest.mark.parametrize(
    "place",
    [
        "blobs/sha256",
        "repositories",
        "repositories/app",
        "repositories/app/_layers",
        "repositories/app/_layers/sha256",
        "repositories/app/_manifests/revisions",
        "repositories/app/_manifests/tags",
        "repositories/app/_manifests/tags/v1",
        "repositories/app/_manifests/tags/v1/current",
        "repositories/app/_manifests/tags/v1/index",
        "repositories/app/_uploads",
    ],
)
@pytest.mark.parametrize("mode", [0o000, 0o644])
def test_a_folder_that_may_not_be_read_is_no_empty_one(
    shared: TreeBuilder, place: str, mode: int
) -> None:
    shared.push("app", "v1")
    shared.upload("app", 1)
    (shared.v2 / place).chmod(mode)
    done = subprocess.run(
        [sys.executable, "-c", _AS_NOBODY, str(shared.root)],
        check=True,
        capture_output=True,
        text=True,
    )
    complete, *findings = done.stdout.splitlines()
    assert complete == "False"
    # What is asked of a tag is its current link; the folder in between is no place of its own.
    named = place.removesuffix("/current")
    beneath = f"path-unreadable docker/registry/v2/{named}"
    assert any((finding + "/").startswith(beneath + "/") for finding in findings)
    assert done.stderr == ""


def test_a_link_that_may_not_be_read_is_doubt(shared: TreeBuilder) -> None:
    shared.push("app", "v1")
    shared.tag_path("app", "v1").chmod(0)
    done = subprocess.run(
        [sys.executable, "-c", _AS_NOBODY, str(shared.root)],
        check=True,
        capture_output=True,
        text=True,
    )
    path = shared.relative(shared.tag_path("app", "v1"))
    assert done.stdout.splitlines() == ["False", f"path-unreadable {path}"]


# -- a tree that changes while it is read ------------------------------------------------------


class Shifting:
    """Passes everything on to a store, and first lets `change` happen before one kind of call."""

    def __init__(self, store: Store, call: str, change: Callable[[str], None]) -> None:
        self._store = store
        self._call = call
        self._change = change

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name != self._call:
            return method

        def shifted(path: str, *rest: Any, **options: Any) -> Any:
            self._change(path)
            return method(path, *rest, **options)

        return shifted


def test_a_tag_that_vanishes_between_listing_and_reading_is_doubt(tree: TreeBuilder) -> None:
    digest = tree.push("app", "v1")
    path = tree.relative(tree.tag_path("app", "v1"))
    store = open_store(str(tree.root))

    class Losing(Shifting):
        def leaves(self, folder: str, leaf: str, report: Report, *, limit: int = 0) -> Leaves:
            listed = store.leaves(folder, leaf, report, limit=limit)
            if leaf != "current/link":
                return listed
            report(Finding(Code.PATH_UNREADABLE, path))
            return listed._replace(contents=[None])

    losing: Any = Losing(store, "", lambda path: None)
    inventory = scan(losing)
    info = inventory.repositories["app"].tags["v1"]
    assert (info.current, info.problem) == (None, Code.PATH_UNREADABLE)
    assert [entry.digest for entry in info.history] == [digest]
    assert inventory.findings == [Finding(Code.PATH_UNREADABLE, path)]


@pytest.mark.parametrize("call", ["list", "leaves", "walk"])
def test_folders_that_vanish_are_simply_gone(tree: TreeBuilder, call: str) -> None:
    tree.push("app", "v1")
    tree.upload("app", 1)

    def change(path: str) -> None:
        if "repositories/app" in path:
            subprocess.run(["rm", "-rf", tree.root / path], check=True)

    store: Any = Shifting(open_store(str(tree.root)), call, change)
    inventory = scan(store)
    assert inventory.findings == []
    assert set(inventory.blobs) == tree.blobs()


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


def test_a_name_that_is_listed_twice_counts_once(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    store = open_store(str(tree.root))

    class Stuttering(Shifting):
        def leaves(self, folder: str, leaf: str, report: Report, *, limit: int = 0) -> Leaves:
            once = store.leaves(folder, leaf, report, limit=limit)
            return once._replace(
                names=once.names * 2,
                sizes=once.sizes * 2,
                mtimes=once.mtimes * 2,
                allocated=once.allocated * 2,
                contents=[*once.contents, *once.contents],
            )

    doubled: Any = Stuttering(store, "", lambda path: None)
    assert paths_of(scan(doubled)) == set(tree.files())


def test_a_digest_that_is_not_there(tree: TreeBuilder) -> None:
    table = scanned(tree).blobs
    absent = Digest.parse("sha256:" + HEX)
    assert absent not in table
    with pytest.raises(KeyError):
        table[absent]


def test_reading_a_link_never_raises(tree: TreeBuilder) -> None:
    store = open_store(str(tree.folder(tree.v2)))
    link = read_link(store, "docker/registry/v2/nothing/link")
    assert (link.digest, link.problem) == (None, Code.PATH_UNREADABLE)
    with pytest.raises(PathMissing):
        store.read("docker/registry/v2/nothing/link", 1)


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


# -- a disk that fails half way -------------------------------------------------------------


def test_a_history_that_cannot_be_opened_loses_no_tag(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = tree.push("app", "v1")
    tree.push("app", "v2")
    open_listed = LocalReader.open_listed

    def without_histories(self: LocalReader, folder: str, report: Report) -> int | None:
        return None if folder.endswith("/index") else open_listed(self, folder, report)

    monkeypatch.setattr(LocalReader, "open_listed", without_histories)
    inventory = scanned(tree)
    assert set(inventory.repositories["app"].tags) == {"v1", "v2"}
    assert inventory.repositories["app"].tags["v1"].current == digest


def test_a_folder_that_fails_half_way_is_reported_and_what_was_seen_stays(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        tree.push("app", f"v{number}", image([f"layer {number}"]))

    take = leaves._LeafScan._take_each

    def half(self: leaves._LeafScan, *arguments: Any) -> None:
        take(self, *arguments)
        if self.folder.endswith("/tags"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(leaves._LeafScan, "_take_each", half)
    inventory = scanned(tree)
    assert len(inventory.repositories["app"].tags) == 3
    assert not inventory.complete
