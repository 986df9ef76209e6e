"""The directory store and symbolic links: followed inside the tree, never out of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from regfs.errors import PathUnsafe
from regfs.findings import Code, Finding
from regfs.stores import FileKind
from regfs.stores.local.store import LocalStore
from tests.support.stores import SECRET, codes, no_link_findings, put

V2 = "docker/registry/v2"


class TestSymbolicLinks:
    def test_a_file_inside_counts_as_what_it_is(
        self, local: LocalStore, root: Path, findings: list[Finding]
    ) -> None:
        put(local, "p/real/data", b"real")
        (root / "p/linked").mkdir()
        (root / "p/linked/data").symlink_to("../real/data")
        found = local.leaves("p", "data", findings.append)
        assert dict(zip(found.names, found.sizes, strict=True)) == {"real": 4, "linked": 4}
        assert local.read("p/linked/data", 9) == b"real"
        assert local.stat("p/linked/data").kind is FileKind.FILE
        assert codes(findings) == [(Code.SYMLINK_INSIDE, "p/linked/data")]

    def test_leaves_asked_for_together_are_those_asked_for_one_by_one(
        self, local: LocalStore, root: Path, outside: Path
    ) -> None:
        """Of many the folder is listed, and few are looked up."""
        names = [f"n{number}" for number in range(40)]
        for name in [*names, "other", "bare"]:
            put(local, f"p/{name}/data", b"1")
        os.unlink(root / "p/bare/data")
        (outside / "data").write_bytes(SECRET)
        (root / "p/out").symlink_to(outside)
        (root / "p/in").symlink_to("n0")
        os.mkfifo(root / "p/n1/pipe")
        (root / "p/n1/pipe").rename(root / "p/n1/data")
        asked = {*names, "bare", "out", "in", "missing"}
        found: list[Finding] = []
        together = local.leaves("p", "data", found.append, only=asked)
        single: list[Finding] = []
        each = [local.leaves("p", "data", single.append, only={name}) for name in sorted(asked)]
        for column in ("names", "sizes", "absent", "others"):
            assert sorted(getattr(together, column)) == sorted(
                value for one in each for value in getattr(one, column)
            )
        assert (len(together.names), together.absent) == (40, ["bare"])
        assert codes(found) == codes(single)

    @pytest.mark.parametrize("leaf", ["data", "data/deeper"])
    @pytest.mark.parametrize("level", ["child", "leaf", "between"])
    def test_leaves_outside_are_reported_and_not_lost(
        self,
        local: LocalStore,
        root: Path,
        outside: Path,
        findings: list[Finding],
        leaf: str,
        level: str,
    ) -> None:
        (outside / "x").mkdir()
        (outside / "x/deeper").write_bytes(SECRET)
        (root / "p").mkdir()
        if level == "child":
            (root / "p/bad").symlink_to(outside)
            where = "p/bad"
        else:
            target = outside / "x" if leaf == "data/deeper" else outside / "data"
            (root / "p/bad").mkdir()
            (root / "p/bad/data").symlink_to(target)
            where = "p/bad/data"
        put(local, f"p/good/{leaf}", b"1")
        found = local.leaves("p", leaf, findings.append)
        assert found.names == ["good"]
        assert found.absent == []
        assert [(entry.path, entry.kind) for entry in found.others] == [(where, FileKind.LINK)]
        assert codes(findings) == [(Code.SYMLINK_OUTSIDE, where)]
        with pytest.raises(PathUnsafe):
            local.read("p/bad/data" if level == "child" else f"p/bad/{leaf}", 100)

    def test_a_missing_leaf_behind_a_link_outside_is_not_absent(
        self, local: LocalStore, root: Path, outside: Path, findings: list[Finding]
    ) -> None:
        (root / "tags/v1").mkdir(parents=True)
        (root / "tags/v1/current").symlink_to(outside)
        found = local.leaves("tags", "current/link", findings.append)
        assert (found.names, found.absent) == ([], [])
        assert codes(findings) == [(Code.SYMLINK_OUTSIDE, "tags/v1/current")]

    @pytest.mark.parametrize("level", ["child", "leaf", "between"])
    @pytest.mark.parametrize("target", ["nowhere", "itself"])
    def test_broken_leaves_are_reported_and_not_absent(
        self, local: LocalStore, root: Path, findings: list[Finding], level: str, target: str
    ) -> None:
        where = {"child": "p/bad", "leaf": "p/bad/current/link", "between": "p/bad/current"}[level]
        link = root / where
        link.parent.mkdir(parents=True)
        link.symlink_to(link if target == "itself" else "nowhere")
        found = local.leaves("p", "current/link", findings.append)
        assert (found.names, found.absent) == ([], [])
        assert [(entry.path, entry.kind) for entry in found.others] == [(where, FileKind.LINK)]
        assert codes(findings) == [(Code.SYMLINK_LOOP, where)]

    def test_a_linked_child_inside_is_searched(
        self, local: LocalStore, root: Path, findings: list[Finding]
    ) -> None:
        put(local, "store/full/data", b"12")
        (root / "store/empty").mkdir()
        (root / "p").mkdir()
        for name in ("full", "empty"):
            (root / f"p/{name}").symlink_to(f"../store/{name}")
        (root / "p/stray").symlink_to("../store/full/data")
        found = local.leaves("p", "data", findings.append)
        assert (found.names, found.sizes, found.absent) == (["full"], [2], ["empty"])
        assert [(entry.path, entry.kind) for entry in found.others] == [("p/stray", FileKind.FILE)]
        linked = {(Code.SYMLINK_INSIDE, f"p/{name}") for name in ("full", "empty", "stray")}
        assert set(codes(findings)) == linked

    @pytest.mark.parametrize("depth", range(5))
    def test_a_folder_outside_is_never_entered(
        self, local: LocalStore, root: Path, outside: Path, findings: list[Finding], depth: int
    ) -> None:
        above = "/".join(["docker", "registry", "v2", "repositories", "app"][: depth + 1])
        if depth < 3:
            above = "d" + above
        (root / above).mkdir(parents=True, exist_ok=True)
        link = f"{above}/link"
        (root / link).symlink_to(outside)
        entries = {entry.path: entry.kind for entry in local.walk("", findings.append)}
        assert entries[link] is FileKind.LINK
        assert f"{link}/data" not in entries
        assert local.stat(link).kind is FileKind.LINK
        assert local.list(link, findings.append) == []
        assert list(local.walk(link, findings.append)) == []
        assert local.leaves(link, "data", findings.append).names == []
        assert set(codes(findings)) == {(Code.SYMLINK_OUTSIDE, link)}

    def test_writes_never_follow_a_link_outside(
        self, local: LocalStore, root: Path, outside: Path
    ) -> None:
        (root / "link").symlink_to(outside)
        put(local, "mine", b"mine")
        attempts: list[Callable[[], object]] = [
            lambda: local.create("link/new"),
            lambda: local.create("link/deeper/new"),
            lambda: local.append("link/data"),
            lambda: local.append("link/new"),
            lambda: local.move("link/data", "stolen"),
            lambda: local.move("mine", "link/mine"),
            lambda: local.move("mine", "link/deeper/mine"),
            lambda: local.delete(["link/data"]),
            lambda: local.delete_tree("link/data"),
            lambda: local.stat("link/data"),
            lambda: local.sync("link"),
            lambda: local.lock("link/lock", "me").__enter__(),
        ]
        for attempt in attempts:
            with pytest.raises(PathUnsafe):
                attempt()
        assert os.listdir(outside) == ["data"]
        assert (outside / "data").read_bytes() == SECRET

    def test_links_are_moved_and_deleted_as_themselves(
        self, local: LocalStore, root: Path, outside: Path
    ) -> None:
        for name in ("a", "b", "c"):
            (root / name).symlink_to(outside)
        local.move("a", "q/a")
        assert os.readlink(root / "q/a") == str(outside)
        assert local.delete(["b"]) == 1
        assert local.delete_tree("c") == 1
        assert local.delete_tree("q") == 1
        assert (outside / "data").read_bytes() == SECRET

    def test_committing_over_a_link_replaces_the_link(
        self, local: LocalStore, root: Path, outside: Path
    ) -> None:
        (root / "data").symlink_to(outside / "data")
        with pytest.raises(PathUnsafe):
            local.append("data")
        put(local, "data", b"mine")
        assert (outside / "data").read_bytes() == SECRET
        assert local.read("data", 9) == b"mine"

    def test_a_folder_behind_a_broken_link_is_not_empty(
        self, local: LocalStore, root: Path, findings: list[Finding]
    ) -> None:
        (root / V2 / "blobs").symlink_to("/no/such/disk")
        for folder in (f"{V2}/blobs", f"{V2}/blobs/sha256"):
            assert local.list(folder, findings.append) == []
            assert local.leaves(folder, "data", findings.append).names == []
            with pytest.raises(PathUnsafe, match="leads nowhere"):
                local.read(f"{folder}/data", 1)
        assert codes(findings) == [(Code.SYMLINK_LOOP, f"{V2}/blobs")] * 4

    def test_a_link_to_itself(self, local: LocalStore, root: Path, findings: list[Finding]) -> None:
        (root / "loop").symlink_to("loop")
        assert local.stat("loop").kind is FileKind.LINK
        assert local.list("loop", findings.append) == []
        for ask in (local.open, lambda path: local.read(path, 1)):
            with pytest.raises(PathUnsafe):
                ask("loop")
        assert codes(findings) == [(Code.SYMLINK_LOOP, "loop")]

    def test_a_link_upwards_ends_the_walk(
        self, local: LocalStore, root: Path, findings: list[Finding]
    ) -> None:
        put(local, "a/b/data")
        (root / "a/b/up").symlink_to("../../a")
        paths = [entry.path for entry in local.walk("a", findings.append)]
        assert paths == ["a/b", "a/b/data", "a/b/up"]
        assert codes(findings) == [(Code.SYMLINK_LOOP, "a/b/up")]
        findings.clear()
        assert [entry.kind for entry in local.list("a/b", findings.append)] == [
            FileKind.FILE,
            FileKind.LINK,
        ]

    def test_links_that_double_at_every_level_stay_finite(
        self, local: LocalStore, root: Path, findings: list[Finding]
    ) -> None:
        for level in range(30):
            (root / f"far/{level}").mkdir(parents=True)
            for name in ("x", "y"):
                (root / f"far/{level}/{name}").symlink_to(f"../{level + 1}")
        (root / "far/30").mkdir()
        (root / "start").mkdir()
        (root / "start/in").symlink_to("../far/0")

        def count(folder: str) -> int:
            entries = local.list(folder, findings.append)
            return sum(1 + count(e.path) for e in entries if e.kind is FileKind.FOLDER)

        assert count("start") == 1
        assert len(list(local.walk("start", findings.append))) == 3
        assert len(list(local.walk("", findings.append))) < 200

    def test_walk_meets_a_linked_folder_once(
        self, local: LocalStore, root: Path, findings: list[Finding]
    ) -> None:
        put(local, "disk/blobs/ab/data", b"x")
        (root / "v2").mkdir()
        (root / "v2/blobs").symlink_to("../disk/blobs")
        (root / "v2/copy").symlink_to("../disk/blobs/ab")
        kinds = {entry.path: entry.kind for entry in local.walk("v2", findings.append)}
        assert kinds == {
            "v2/blobs": FileKind.FOLDER,
            "v2/blobs/ab": FileKind.FOLDER,
            "v2/blobs/ab/data": FileKind.FILE,
            "v2/copy": FileKind.LINK,
        }
        assert codes(findings) == [
            (Code.SYMLINK_INSIDE, "v2/blobs"),
            (Code.SYMLINK_INSIDE, "v2/copy"),
            (Code.SYMLINK_LOOP, "v2/copy"),
        ]
        paths = [entry.path for entry in local.walk("", no_link_findings)]
        assert [path for path in paths if path.endswith("data")] == ["disk/blobs/ab/data"]
