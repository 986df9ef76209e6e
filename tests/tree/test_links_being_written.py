"""A link that is being written while it is listed is read once more before it counts as damage."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from regfs.findings import Code
from regfs.stores import open_store
from regfs.tree.inventory import Inventory
from regfs.tree.scan import scan
from tests.support.builder import TreeBuilder, image
from tests.support.registries import plan_of

IMAGE = image(["base"])


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Note how long a scan sleeps; nothing happens meanwhile."""
    found: list[float] = []
    monkeypatch.setattr("regfs.tree.scan.time.sleep", found.append)
    return found


def meanwhile(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen while a scan sleeps."""
    monkeypatch.setattr("regfs.tree.scan.time.sleep", lambda seconds: happens())


def link_of(tree: TreeBuilder, what: str) -> Path:
    if what == "tag":
        return tree.tag_path("app", "v1")
    return tree.revision_path("app", IMAGE.digest)


def codes(inventory: Inventory) -> set[Code]:
    return {finding.code for finding in inventory.findings}


@pytest.mark.parametrize("what", ["tag", "revision"])
@pytest.mark.parametrize("half", ["", IMAGE.digest[:20]])
def test_a_link_that_is_filled_a_moment_later_is_no_damage(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch, what: str, half: str
) -> None:
    tree.push("app", "v1", IMAGE)
    usual = scan(open_store(str(tree.root)))
    link = link_of(tree, what)
    link.write_text(half)
    meanwhile(monkeypatch, lambda: link.write_text(IMAGE.digest))
    planned = plan_of(tree)
    assert (planned.doubtful, planned.findings) == (False, [])
    link.write_text(half)
    found = scan(open_store(str(tree.root)))
    assert found.findings == []
    assert found.repositories["app"].tags["v1"].current == IMAGE.digest
    assert found.repositories["app"].links == usual.repositories["app"].links


def test_a_tag_whose_link_comes_a_moment_later_is_no_damage(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.push("app", "v1", IMAGE)
    link = tree.tag_path("app", "v1")
    link.unlink()
    tree.tag_index_path("app", "v1", IMAGE.digest).touch()
    meanwhile(monkeypatch, lambda: link.write_text(IMAGE.digest))
    assert scan(open_store(str(tree.root))).findings == []


@pytest.mark.parametrize("what", ["tag", "revision"])
def test_a_link_that_stays_empty_is_damage_after_one_short_sleep(
    tree: TreeBuilder, slept: list[float], what: str
) -> None:
    tree.push("app", "v1", IMAGE)
    for number in range(5):
        tree.push("app", f"more{number}", image([str(number)]))
        tree.tag_path("app", f"more{number}").write_text("")
    link_of(tree, what).write_text("")
    planned = plan_of(tree)
    assert planned.doubtful
    assert len(slept) == 1
    assert sum(slept) < 0.5


def test_a_link_that_is_empty_for_long_is_not_waited_for(
    tree: TreeBuilder, slept: list[float]
) -> None:
    tree.push("app", "v1", IMAGE)
    link = tree.tag_path("app", "v1")
    link.write_text("")
    tree.set_age(link, 3600)
    assert Code.LINK_EMPTY in codes(scan(open_store(str(tree.root))))
    assert slept == []


def test_a_link_that_comes_to_name_another_manifest_is_read_as_it_is(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tree.push("app", "v2", image(["other"]))
    tree.push("app", "v1", IMAGE)
    link = tree.tag_path("app", "v1")
    link.write_text("")
    meanwhile(monkeypatch, lambda: link.write_text(other))
    found = scan(open_store(str(tree.root)))
    assert found.repositories["app"].tags["v1"].current == other
    assert abs(found.repositories["app"].tags["v1"].mtime - time.time()) < 60


def test_what_is_found_while_asking_later_is_still_told(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lean listing asks about files when they matter, and tells of what it cannot see then."""
    tree.push("app", "v1", IMAGE)
    unused = tree.add_blob("app", "unused")
    layer = tree.layer_path("app", unused)
    layer.unlink()
    layer.symlink_to("/not/mounted")
    link = tree.tag_path("app", "v1")
    link.write_text("")
    meanwhile(monkeypatch, lambda: link.write_text(IMAGE.digest))
    planned = plan_of(tree, lean=True)
    assert Code.SYMLINK_LOOP in {finding.code for finding in planned.findings}
    assert tree.blob_path(unused).exists()
