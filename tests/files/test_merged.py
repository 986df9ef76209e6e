"""Layers on top of each other: whiteouts, opaque folders, links, and what replaces what."""

from __future__ import annotations

from pathlib import Path

import pytest

import regfs
from regfs.content.entries import EntryKind
from regfs.files.changes import ChangeKind, Hiding
from regfs.files.image import ImageFiles
from tests.support.builder import TreeBuilder, image
from tests.support.tars import Entry, entry, folder, hardlink, symlink, tar_of


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


class Files:
    """Makes images of layers, and asks what they hold."""

    def __init__(self, folder: Path) -> None:
        self.tree = TreeBuilder(folder / "registry")

    def image(self, *layers: list[Entry]) -> ImageFiles:
        self.tree.push("app", "v1", image([tar_of(one) for one in layers]))
        return regfs.open(str(self.tree.root)).files("app:v1")

    def paths(self, *layers: list[Entry]) -> list[str]:
        return [placed.path for placed in self.image(*layers).merged]


def test_upper_layers_add_and_replace(files: Files) -> None:
    made = files.image(
        [folder("etc"), entry("etc/a", b"one"), entry("etc/b", b"two")], [entry("etc/a", b"three")]
    )
    assert [(one.path, one.layer) for one in made.merged] == [
        ("etc", 0),
        ("etc/a", 1),
        ("etc/b", 0),
    ]
    with made.open("etc/a") as stream:
        assert stream.read() == b"three"


def test_a_whiteout_removes_a_file_and_a_folder(files: Files) -> None:
    base = [folder("etc"), entry("etc/a"), folder("etc/d"), entry("etc/d/x"), entry("b")]
    assert files.paths(base, [entry("etc/.wh.a"), entry("etc/.wh.d")]) == ["b", "etc"]


def test_an_opaque_folder_keeps_what_its_own_layer_has(files: Files) -> None:
    base = [folder("d"), entry("d/old"), folder("d/sub"), entry("d/sub/x")]
    for order in (0, 1):
        top = [folder("d"), entry("d/new")]
        top.insert(1 + order, entry("d/.wh..wh..opq"))
        assert files.paths(base, top) == ["d", "d/new"]


@pytest.mark.parametrize("first", [True, False])
def test_a_whiteout_spares_its_own_layer(files: Files, first: bool) -> None:
    base = [folder("d"), entry("d/old"), entry("f")]
    top = [folder("d"), entry("d/new"), entry("f", b"new")]
    marks = [entry(".wh.d"), entry(".wh.f")]
    assert files.paths(base, marks + top if first else top + marks) == ["d", "d/new", "f"]


def test_a_file_takes_the_place_of_a_folder_and_back(files: Files) -> None:
    one = [folder("x"), entry("x/in")]
    two = [entry("x", b"file")]
    three = [folder("x"), entry("x/other")]
    assert files.paths(one, two) == ["x"]
    assert files.paths(one, two, three) == ["x", "x/other"]


def test_what_lies_below_a_link_lies_where_it_leads(files: Files) -> None:
    base = [folder("usr"), folder("usr/lib"), symlink("lib", "usr/lib"), symlink("l", "/lib")]
    made = files.image(base, [entry("lib/a", b"a"), entry("l/b", b"b")])
    assert [one.path for one in made.merged] == [
        "l", "lib", "usr", "usr/lib", "usr/lib/a", "usr/lib/b",
    ]  # fmt: skip
    resolved = made.merged.resolve("l/a")
    assert resolved is not None
    assert resolved.path == "usr/lib/a"
    with made.open("/lib/b") as stream:
        assert stream.read() == b"b"


def test_links_in_a_circle_lead_nowhere(files: Files) -> None:
    made = files.image([symlink("a", "b"), symlink("b", "a"), entry("a/x")])
    assert [one.path for one in made.merged] == ["a", "b"]
    assert [one.path for one in made.merged.lost] == ["a/x"]
    assert made.merged.resolve("a") is None
    with pytest.raises(regfs.RegfsError, match="leads nowhere"):
        made.open("a")


def test_a_link_never_leads_out_of_the_root(files: Files) -> None:
    made = files.image([symlink("up", "../../../.."), entry("../../up/etc/passwd", b"x")])
    assert [one.path for one in made.merged] == ["etc", "etc/passwd", "up"]
    (finding,) = made.findings
    assert finding.code.value == "layer-entry-odd"
    assert "1 with a path that leads out of the root" in finding.message


def test_a_hard_link_keeps_the_content_that_it_was_made_for(files: Files) -> None:
    made = files.image(
        [entry("a", b"first"), hardlink("b", "a"), hardlink("c", "./b")],
        [entry("a", b"second"), hardlink("d", "c")],
    )
    for path, content in {"a": b"second", "b": b"first", "c": b"first", "d": b"first"}.items():
        with made.open(path) as stream:
            assert stream.read() == content
    assert list(made.merged.hidden) == []


def test_a_hard_link_to_nothing_is_left_out(files: Files) -> None:
    made = files.image([hardlink("a", "b"), hardlink("c", "../d"), folder("e"), hardlink("f", "e")])
    assert [one.path for one in made.merged] == ["e"]
    assert [one.path for one in made.merged.lost] == ["a", "c", "f"]


def test_folders_that_no_layer_has_are_there(files: Files) -> None:
    made = files.image([entry("a/b/c")])
    assert [(one.path, one.entry.kind) for one in made.merged] == [
        ("a", EntryKind.FOLDER),
        ("a/b", EntryKind.FOLDER),
        ("a/b/c", EntryKind.FILE),
    ]


def test_the_last_of_duplicates_counts(files: Files) -> None:
    made = files.image([entry("a", b"one"), entry("./a", b"two"), folder("a"), entry("//a/b")])
    assert [one.path for one in made.merged] == ["a", "a/b"]
    assert [(one.placed.entry.size, one.by) for one in made.merged.hidden] == [(3, 0), (3, 0)]


def test_changes_of_a_layer(files: Files) -> None:
    made = files.image(
        [folder("d"), entry("d/a"), entry("d/b"), folder("e"), entry("e/x"), folder("k")],
        [folder("d"), entry("d/b", b"new"), entry("d/.wh.a"), entry(".wh.e"), entry("n/f"),
         folder("k", mode=0o700)],
    )  # fmt: skip
    told = [(change.kind, change.path) for change in made.merged.changes(1)]
    added, changed, removed = ChangeKind
    assert told == [
        (removed, "d/a"),
        (changed, "d/b"),
        (removed, "e"),
        (removed, "e/x"),
        (changed, "k"),
        (added, "n"),
        (added, "n/f"),
    ]


def test_hidden_bytes(files: Files) -> None:
    made = files.image(
        [entry("a", b"12345"), entry("b", b"123"), entry("c", b"1"), hardlink("c2", "c")],
        [entry("a", b""), entry(".wh.b"), entry(".wh.c")],
        [entry(".wh.c2")],
    )
    told = {one.placed.path: (one.placed.entry.size, one.by, one.how) for one in made.merged.hidden}
    assert told == {
        "a": (5, 1, Hiding.OVERWRITTEN),
        "b": (3, 1, Hiding.REMOVED),
        "c": (1, 2, Hiding.REMOVED),
    }
