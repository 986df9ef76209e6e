"""The walk by names of the directory store: the same as `walk`, on any tree, and in bounds."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.errors import PathMissing, PathUnsafe
from regfs.findings import Code, Finding
from regfs.stores import FileKind, Listing
from regfs.stores.local import contents, walk
from regfs.stores.local.store import LocalStore, open_local
from tests.support.stores import codes, failing_with, ignore, no_findings, put

V2 = "docker/registry/v2"
NAMES = st.sampled_from(["a", "b", "é", "\udcff", "link", "x\ny"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
TARGETS = st.sampled_from(["a", "../a", "../b/a", "..", "../..", ".", "link", "/etc", "nowhere"])
THINGS = st.lists(
    st.tuples(PATHS, st.sampled_from(["file", "folder", "fifo", "link"]), TARGETS), max_size=12
)


def names(listing: Listing, *columns: str) -> Iterator[str]:
    for column in columns:
        for name in getattr(listing, column):
            yield f"{listing.path}/{name}" if listing.path else name


def make(root: Path, things: list[tuple[str, str, str]]) -> None:
    for path, kind, target in things:
        place = root / path
        above = [folder for folder in place.parents if folder.is_relative_to(root)]
        if os.path.lexists(place) or any(folder.is_symlink() for folder in above):
            continue  # nothing is made through a link: it may lead to /etc, or to a FIFO
        with suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            if kind == "file":
                place.write_bytes(path.encode(errors="surrogateescape"))
            elif kind == "folder":
                place.mkdir()
            elif kind == "fifo":
                os.mkfifo(place)
            else:
                place.symlink_to(target)


@given(THINGS)
def test_it_tells_what_a_walk_tells(things: list[tuple[str, str, str]]) -> None:
    with TemporaryDirectory() as folder:
        make(Path(folder), things)
        (Path(folder) / V2).mkdir(parents=True, exist_ok=True)
        local = open_local(folder)
        met: list[Finding] = []
        walked = list(local.walk("", met.append))
        found: list[Finding] = []
        listed = list(local.tree("", found.append, leaf="link", limit=99))
    kinds = {entry.path: entry.kind for entry in walked}
    folders = {path for path, kind in kinds.items() if kind is FileKind.FOLDER}
    assert {one.path for one in listed} == {"", *folders}
    assert {path for one in listed for path in names(one, "folders")} == folders
    files = {path for path, kind in kinds.items() if kind is FileKind.FILE}
    assert {path for one in listed for path in names(one, "files")} == files
    others = kinds.keys() - folders - files
    assert {path for one in listed for path in names(one, "others")} == others
    assert codes(found) == codes(met)
    read = {one.path for one in listed if isinstance(one.content, bytes)}
    assert read == {one.path for one in listed if "link" in one.files}


def test_names_come_in_the_order_of_their_bytes(local: LocalStore, root: Path) -> None:
    for name in ("é", "\udcff", "z", "B", "ﬀ", "😀"):
        (root / "p" / name).mkdir(parents=True)
    (top, *below) = local.tree("p", no_findings)
    assert top.folders == sorted(top.folders, key=os.fsencode)
    assert [one.path for one in below] == [f"p/{name}" for name in top.folders]


def test_a_leaf_that_is_a_link_is_read_only_inside(local: LocalStore, root: Path) -> None:
    put(local, "p/real/link", b"real")
    for name, target in (("in", "../real/link"), ("out", "/etc/hostname"), ("gone", "nowhere")):
        (root / "p" / name).mkdir()
        (root / "p" / name / "link").symlink_to(target)
    found = {one.path: one for one in local.tree("p", ignore, leaf="link", limit=99)}
    assert found["p/in"].content == b"real"
    assert found["p/out"].content is found["p/gone"].content is None
    assert found["p/out"].others == ["link"]


def test_a_leaf_that_is_no_file_is_not_opened(
    local: LocalStore, root: Path, findings: list[Finding]
) -> None:
    (root / "p/fifo").mkdir(parents=True)
    os.mkfifo(root / "p/fifo/link")
    (root / "p/folder/link").mkdir(parents=True)
    found = {one.path: one for one in local.tree("p", findings.append, leaf="link", limit=9)}
    assert {one.content for one in found.values()} == {None}
    assert codes(findings) == [(Code.SPECIAL_FILE, "p/fifo/link")]


def test_what_changes_between_listing_and_reading(
    local: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("fifo", "folder", "gone", "outside"):
        put(local, f"p/{name}/link", b"x")
    real = contents.beginning

    def replaced(reader: Any, parent: int, folder: str, path: str, limit: int) -> Any:
        place = root / folder / path
        place.unlink()
        match folder:
            case "p/fifo":
                os.mkfifo(place)
            case "p/folder":
                place.mkdir()
            case "p/outside":
                place.symlink_to("/etc/hostname")
        return real(reader, parent, folder, path, limit)

    monkeypatch.setattr("regfs.stores.local.walk.beginning", replaced)
    read = {one.path: one.content for one in local.tree("p", no_findings, leaf="link", limit=9)}
    assert read["p/fifo"] == b""  # no writer: it ends at once, and is never waited for
    assert isinstance(read["p/gone"], PathMissing)
    assert isinstance(read["p/outside"], PathUnsafe)
    assert "folder" in str(read["p/folder"]) or "directory" in str(read["p/folder"])


def test_a_folder_that_vanishes_or_becomes_a_link_during_the_walk(
    local: LocalStore, root: Path, tmp_path: Path, findings: list[Finding]
) -> None:
    (tmp_path / "outside/secret").mkdir(parents=True)
    for name in ("a", "b", "c", "d"):
        put(local, f"p/{name}/data")
    paths = []
    for listing in local.tree("p", findings.append):
        paths.append(listing.path)
        if listing.path == "p":
            shutil.rmtree(root / "p/a")
            shutil.rmtree(root / "p/b")
            (root / "p/b").symlink_to(tmp_path / "outside")
            shutil.rmtree(root / "p/c")
            (root / "p/c").write_bytes(b"a file now")
    assert paths == ["p", "p/d"]
    assert codes(findings) == [
        (Code.PATH_UNREADABLE, "p/c"),
        (Code.SYMLINK_OUTSIDE, "p/b"),
    ]


def test_chains_of_folders_cost_no_descriptors(
    local: LocalStore, root: Path, findings: list[Finding]
) -> None:
    here = os.open(root, os.O_RDONLY)
    for _ in range(10_000):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Clients of buckets keep connections that other tests have made.
    highest = max(map(int, os.listdir("/proc/self/fd")))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 64, limits[1]))
        deepest = max((one.path for one in local.tree("d", findings.append)), key=len)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        subprocess.run(["rm", "-rf", str(root / "d")], check=True)
    assert deepest.count("/") > 1000
    assert codes(findings) == [(Code.PATH_UNREADABLE, deepest + "/d")]
    assert "too long" in findings[0].message


def test_a_disk_that_fails_in_the_middle_of_a_folder(
    local: LocalStore, monkeypatch: pytest.MonkeyPatch, findings: list[Finding]
) -> None:
    put(local, "p/good/data")
    put(local, "p/bad/data")
    real = os.scandir

    class Failing:
        def __enter__(self) -> Any:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def __iter__(self) -> Iterator[Any]:
            raise OSError(5, "Input/output error")

    count = 0

    def scandir(folder: Any) -> Any:
        nonlocal count
        count += 1
        return Failing() if count == 2 else real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    found = {one.path: one for one in local.tree("p", findings.append)}
    assert (found["p/bad"].complete, found["p/good"].complete) == (False, True)
    assert codes(findings) == [(Code.PATH_UNREADABLE, "p/bad")]
    monkeypatch.setattr(os, "scandir", failing_with(5))
    assert [one.complete for one in local.tree("p", ignore)] == [False]


def test_a_cold_disk_is_asked_many_things_at_once_in_the_same_order(
    local: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(300):
        put(local, f"p/{number:03}/x/link", b"x")
    expected = list(local.tree("p", no_findings, leaf="link", limit=9))
    threads = set()
    real = walk._TreeWalk._look_plain

    def slow(self: Any, folder: str, names: list[str]) -> Any:
        threads.add(threading.get_ident())
        if folder == "p":
            time.sleep(0.01)  # waits, as for a disk
        return real(self, folder, names)

    monkeypatch.setattr(walk._TreeWalk, "_look_plain", slow)
    assert list(local.tree("p", no_findings, leaf="link", limit=9)) == expected
    assert len(threads) > 1
    assert len(expected) == 601


def test_a_tree_without_links_tells_of_them_and_enters_none(tmp_path: Path) -> None:
    (tmp_path / "docker/registry/v2/blobs/sha256").mkdir(parents=True)
    (tmp_path / "docker/registry/v2/blobs/data").touch()
    folder = tmp_path / "aside"
    folder.mkdir()
    (folder / "in").symlink_to(tmp_path / "docker")
    (folder / "file").symlink_to(tmp_path / "docker/registry/v2/blobs/data")
    (folder / "out").symlink_to("/")
    store = LocalStore(str(tmp_path))
    (listing,) = store.tree("aside", no_findings, links=False)
    assert (listing.folders, listing.files) == ([], [])
    assert listing.others == ["file", "in", "out"]
    found: list[Finding] = []
    assert list(store.tree("aside/in", found.append, links=False)) == []
    assert [finding.path for finding in found] == ["aside/in"]
    assert list(store.tree("nowhere", no_findings, links=False)) == []
