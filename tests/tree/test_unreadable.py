"""A scan of what may not be read, fails half way, or changes meanwhile."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from regfs.errors import PathMissing
from regfs.findings import Code, Finding
from regfs.stores import Leaves, Report, Store, open_store
from regfs.stores.local import leaves
from regfs.stores.local.reader import LocalReader
from regfs.tree.links import read_link
from regfs.tree.scan import scan
from tests.support.builder import TreeBuilder, image
from tests.support.scanned import paths_of, scanned

NOBODY = 65534


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

    def snapshot(self) -> Any:
        return self

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


def test_reading_a_link_never_raises(tree: TreeBuilder) -> None:
    store = open_store(str(tree.folder(tree.v2)))
    link = read_link(store, "docker/registry/v2/nothing/link")
    assert (link.digest, link.problem) == (None, Code.PATH_UNREADABLE)
    with pytest.raises(PathMissing):
        store.read("docker/registry/v2/nothing/link", 1)


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
