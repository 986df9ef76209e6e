"""Special files and symbolic links are reported; special files are never opened."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from regfs.findings import Code
from tests.support.builder import TreeBuilder, digest_of, image
from tests.support.scanned import found, scanned


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
