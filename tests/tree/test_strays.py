"""What does not belong in a tree is named and left apart."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from regfs.digest import Digest
from regfs.findings import Code
from tests.support.builder import TreeBuilder, digest_of
from tests.support.scanned import found, paths_of, scanned

HEX = "ab" * 32


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
