"""Tags whose links are damaged, missing, huge or folders."""

from __future__ import annotations

import os

import pytest

from regfs.findings import Code
from regfs.stores import open_store
from regfs.tree.links import read_link
from tests.support.builder import TreeBuilder
from tests.support.scanned import found, scanned


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
