"""The files of two images compared: against a model, against diff(1), and what is read for it."""

from __future__ import annotations

import gzip
import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import event, given

import regfs
from regfs.digest import Digest
from regfs.facade import Tree
from regfs.files.difference import FileDifference, FileFate
from tests.support.builder import Content, TreeBuilder, image
from tests.support.reference import needs_programs, run
from tests.support.registries import fewer
from tests.support.stacks import Node, Stack, pairs_of_stacks
from tests.support.tars import Entry, entry, folder, hardlink, symlink, tar_of


def compared(tree: Tree, *, times: bool = False) -> FileDifference:
    found = tree.diff("app:before", "app:after", times=times)
    if found.same:
        return FileDifference((), (), ())
    files = found.images[0].files
    assert files is not None
    return files


@pytest.fixture
def files(tree: TreeBuilder) -> Files:
    return Files(tree)


class Files:
    """Makes two images of layers, and asks how they differ."""

    def __init__(self, tree: TreeBuilder) -> None:
        self.builder = tree

    def opened(self, before: Sequence[list[Entry]], after: Sequence[list[Entry]]) -> Tree:
        self.builder.push("app", "before", image([tar_of(one) for one in before]))
        self.builder.push("app", "after", image([tar_of(one) for one in after]))
        return regfs.open(str(self.builder.root))

    def differ(
        self, before: list[Entry], after: list[Entry], *, times: bool = False
    ) -> list[tuple[str, str, tuple[str, ...]]]:
        found = compared(self.opened([before], [after]), times=times)
        assert found.problems == ()
        return [(one.change.value, one.path, one.what) for one in found.changes]


# -- what differs ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        (entry("x", b"one"), entry("x", b"two"), ("content",)),
        (entry("x", b"one"), entry("x", b"three"), ("content",)),
        (entry("x", b"one", mode=0o644), entry("x", b"one", mode=0o755), ("mode",)),
        (entry("x", b"one", uid=1), entry("x", b"two", gid=7), ("content", "owner")),
        (entry("x", b"one", uname="a"), entry("x", b"one", uname="b"), None),
        (entry("x", b"one", mtime=5), entry("x", b"one", mtime=6), None),
        (symlink("x", "a"), symlink("x", "b"), ("target",)),
        (symlink("x", "a", mode=0o644), symlink("x", "a", mode=0o777), None),
        (symlink("x", "a"), entry("x", b"a"), ("kind",)),
        (folder("x"), entry("x", b"a"), ("kind",)),
        (folder("x", mode=0o755), folder("x", mode=0o1777), ("mode",)),
        (
            entry("x", b"one", pax_headers={"SCHILY.xattr.security.capability": "a"}),
            entry("x", b"one"),
            ("xattrs",),
        ),
    ],
)
def test_what_differs(
    files: Files, before: Entry, after: Entry, what: tuple[str, ...] | None
) -> None:
    expected = [] if what is None else [("changed", "x", what)]
    assert files.differ([before], [after]) == expected


def test_times_count_if_they_are_asked_for(files: Files) -> None:
    before, after = [entry("x", b"1", mtime=5)], [entry("x", b"1", mtime=6)]
    assert files.differ(before, after, times=True) == [("changed", "x", ("time",))]


def test_a_hard_link_is_what_it_leads_to(files: Files) -> None:
    before = [entry("a", b"one"), entry("b", b"one"), hardlink("c", "a")]
    after = [entry("b", b"one"), hardlink("a", "b"), entry("c", b"two")]
    assert files.differ(before, after) == [("changed", "c", ("content",))]


def test_a_folder_that_is_replaced_takes_all_in_it_along(files: Files) -> None:
    before = [folder("d"), entry("d/a", b"1"), entry("d-b", b"2")]
    assert files.differ(before, [entry("d", b"1")]) == [
        ("changed", "d", ("kind",)),
        ("removed", "d/a", ()),
        ("removed", "d-b", ()),
    ]


def test_sizes_are_those_of_files(files: Files) -> None:
    tree = files.opened(
        [[entry("a", b"12"), folder("d")]], [[entry("a", b"123"), symlink("d", "a")]]
    )
    found = [(one.path, one.before, one.after) for one in compared(tree).changes]
    assert found == [("a", 2, 3), ("d", 0, 0)]


# -- what is read -------------------------------------------------------------------------------


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Digest]:
    """The blobs that were opened as streams: layers."""
    from regfs.tree.registry import Registry

    found: list[Digest] = []
    open_blob = Registry.open_blob

    def noted(self: Registry, digest: Digest, *rest: int) -> BinaryIO:
        if not rest:
            found.append(digest)
        return open_blob(self, digest, *rest)

    monkeypatch.setattr(Registry, "open_blob", noted)
    return found


def layers_of(tree: TreeBuilder, tag: str) -> list[str]:
    manifest = tree.document(tree.current("app", tag))
    return [one["digest"] for one in manifest["layers"]]


def test_of_images_of_20_layers_with_15_shared_those_that_differ_are_read(
    files: Files, opened: list[Digest]
) -> None:
    base = [[folder("base"), entry(f"base/{n}", b"x" * n)] for n in range(15)]
    builds = [
        [[folder("app"), entry(f"app/{n}", f"{build} {n}".encode())] for n in range(5)]
        for build in range(2)
    ]
    tree = files.opened([*base, *builds[0]], [*base, *builds[1]])
    changes = compared(tree).changes
    assert [(one.change.value, one.path) for one in changes] == [
        ("changed", f"app/{n}") for n in range(5)
    ]
    own = {one for tag in ("before", "after") for one in layers_of(files.builder, tag)[15:]}
    assert len(own) == 10
    assert set(opened) == own
    assert len(opened) == 20  # once for what is in it, and once for the content of one size


def test_of_what_only_one_image_writes_shared_layers_tell_if_it_is_new(
    files: Files, opened: list[Digest]
) -> None:
    base = [folder("app"), entry("app/old", b"x" * 1000), entry("app/gone", b"1")]
    top = [folder("app"), entry("app/old", b"2"), entry("app/new", b"3"), entry("app/.wh.gone")]
    changes = compared(files.opened([base], [base, top])).changes
    assert [(one.change.value, one.path, one.before, one.after) for one in changes] == [
        ("removed", "app/gone", 1, 0),
        ("added", "app/new", 0, 1),
        ("changed", "app/old", 1000, 1),
    ]
    assert sorted(opened) == sorted(layers_of(files.builder, "after"))


def test_files_of_other_sizes_are_not_read(files: Files, opened: list[Digest]) -> None:
    tree = files.opened([[entry("a", b"1"), entry("b")]], [[entry("a", b"22"), entry("b")]])
    assert [one.what for one in compared(tree).changes] == [("content",)]
    assert len(opened) == 2  # for what is in them


def test_a_layer_packed_anew_has_the_same_files(files: Files, opened: list[Digest]) -> None:
    data = tar_of([entry("a", b"1")])
    files.builder.push("app", "before", image([data]))
    files.builder.push("app", "after", image([gzip.compress(data)]))
    found = regfs.open(str(files.builder.root)).diff("app:before", "app:after")
    assert found.images[0].files == FileDifference((), (), ())
    assert [one.change.value for one in found.images[0].layers] == ["repacked"]
    assert opened == []


def sparse(data: bytes) -> Entry:
    """Return a file of a terabyte that is holes but for what it begins with."""
    headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.size": str(10**12),
        "GNU.sparse.map": f"0,{len(data)}",
    }
    return entry("x", data, pax_headers=headers)


def test_terabytes_of_holes_are_not_read_through(files: Files) -> None:
    tree = files.opened([[sparse(b"1"), entry("y", b"1")]], [[sparse(b"2"), entry("y", b"2")]])
    found = compared(tree)
    assert [one.path for one in found.changes] == ["y"]
    assert len(found.problems) == 2
    assert all("x: not compared: it is full of holes" in one for one in found.problems)


# -- against a model, and against diff(1) ---------------------------------------------------------


def expected(before: dict[str, Node], after: dict[str, Node]) -> Iterator[tuple[str, str]]:
    """Yield what differs between two models."""
    for path in before.keys() | after.keys():
        old, new = before.get(path), after.get(path)
        if old is None or new is None:
            yield ("added" if old is None else "removed"), path
        elif old != new:
            yield "changed", path


def pushed(stack: Stack) -> Content:
    return image([gzip.compress(one, mtime=0) for one in stack.tars])


@given(pairs_of_stacks())
def test_what_differs_is_what_the_model_says(stacks: tuple[Stack, Stack]) -> None:
    before, after = stacks
    with tempfile.TemporaryDirectory(prefix="regfs-") as folder:
        builder = TreeBuilder(Path(folder))
        builder.push("app", "before", pushed(before))
        builder.push("app", "after", pushed(after))
        found = compared(regfs.open(folder))
    assert found.problems == ()
    differs = {(one.change.value, one.path) for one in found.changes}
    assert differs == set(expected(before.nodes, after.nodes))
    event("something differs" if differs else "nothing differs")


def unpacked(stack: Stack, place: Path) -> Path:
    """Return the root file system as umoci unpacks it."""
    layout, made = place / "layout", pushed(stack)
    (layout / "blobs/sha256").mkdir(parents=True)
    for data in [made.data, *(blob.data for blob in made.blobs)]:
        path = layout / "blobs/sha256" / Digest.of(data).encoded
        path.write_bytes(data)
    named = {"annotations": {"org.opencontainers.image.ref.name": "it"}}
    index = {"schemaVersion": 2, "manifests": [made.descriptor() | named]}
    (layout / "index.json").write_text(json.dumps(index))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    run("umoci", "unpack", "--rootless", "--image", f"{layout}:it", place / "bundle")
    return place / "bundle/rootfs"


def told_by_diff(before: Path, after: Path) -> set[tuple[str, str]]:
    """Return what diff(1) says of two folders: of one that only one has, not what is in it."""
    done = subprocess.run(
        ["diff", "-rq", "--no-dereference", before, after], capture_output=True, text=True
    )
    assert done.returncode in (0, 1) and done.stderr == ""
    found = set()
    for line in done.stdout.splitlines():
        if line.startswith("Only in "):
            above, _, name = line.removeprefix("Only in ").rpartition(": ")
            gone = above == str(before) or above.startswith(f"{before}/")
            path = Path(above, name).relative_to(before if gone else after)
            found.add(("removed" if gone else "added", str(path)))
        else:  # Files A and B differ, File A is a ... while file B is a ..., Symbolic links ...
            first = next(word for word in line.split() if word.startswith(f"{before}/"))
            found.add(("changed", str(Path(first).relative_to(before))))
    return found


def as_diff_tells(found: FileDifference) -> Iterator[tuple[str, str]]:
    """Yield the changes that diff(1) tells too: content, kinds and targets."""
    whole: set[str] = set()
    for one in found.changes:
        parts = one.path.split("/")
        if whole.intersection("/".join(parts[:end]) for end in range(1, len(parts))):
            continue
        if one.change is not FileFate.CHANGED or "kind" in one.what:
            whole.add(one.path)
        if one.change is not FileFate.CHANGED or {"content", "target", "kind"} & set(one.what):
            yield one.change.value, one.path


@needs_programs("umoci")
@fewer(10, 5)
@given(pairs_of_stacks())
def test_what_differs_is_what_diff_says_of_what_umoci_unpacks(stacks: tuple[Stack, Stack]) -> None:
    before, after = stacks
    with tempfile.TemporaryDirectory(prefix="regfs-") as place:
        builder = TreeBuilder(Path(place, "registry"))
        builder.push("app", "before", pushed(before))
        builder.push("app", "after", pushed(after))
        found = compared(regfs.open(str(builder.root)))
        old, new = (
            unpacked(stack, Path(place, name)) for stack, name in ((before, "old"), (after, "new"))
        )
        assert set(as_diff_tells(found)) == told_by_diff(old, new)
