"""A graph is taken over only while scans find the same: every manifest is read again otherwise."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regfs.cli.app import run as regfs
from regfs.digest import Digest
from regfs.errors import StoreError
from regfs.gc import scanning
from regfs.gc.collect import collect, settle
from regfs.gc.policy import Policy
from regfs.gc.quarantine import quarantined_items
from regfs.gc.scanning import LatestGraph, scan_for_plan
from regfs.gc.sweep import apply
from regfs.graph import Graph, build_graph
from regfs.tree.inventory import Inventory
from regfs.tree.registry import Registry
from tests.support.builder import TreeBuilder, image
from tests.support.journals import damage_journal, only_run
from tests.support.registries import plan_of, registry_of, store_of
from tests.support.stores import Dying, Watched

OLD = image("old")
NEW = image("new")
GARBAGE = b"nobody needs this"
LAYER = OLD.blobs[-1].digest
HALF = f"link.{uuid.UUID(int=1, version=4)}.tmp"


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    tree.push("app", "v1", OLD)
    tree.push("lib", "v1", NEW)
    tree.layer_link("app", tree.blob(GARBAGE))
    tree.upload("app")
    tree.age(30 * 86400)
    return tree


def scanned(tree: TreeBuilder, before: Graph | None = None) -> Inventory:
    policy = Policy(min_age=0.0, leftovers=True)
    known = None if before is None else before.inventory.known
    return scan_for_plan(store_of(tree), policy, known=known)


def graph_of(tree: TreeBuilder) -> Graph:
    return build_graph(scanned(tree), registry_of(tree))


def is_taken_over(tree: TreeBuilder, change: Callable[[TreeBuilder], object]) -> bool:
    """Return whether the graph from before a change is that of the tree after it."""
    before = graph_of(tree)
    change(tree)
    return LatestGraph(registry_of(tree), before).of(scanned(tree, before)) is before


def later(path: Path) -> None:
    """Write a file again, with what it holds, a second later."""
    status = os.stat(path)
    os.utime(path, (status.st_atime, status.st_mtime + 1))


def unnoticed(path: Path, text: str) -> None:
    """Write other content of the same size, and set the time back."""
    status = path.stat()
    path.write_text(text)
    assert path.stat().st_size == status.st_size
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_the_graph_of_an_unchanged_tree_is_taken_over(shop: TreeBuilder) -> None:
    assert is_taken_over(shop, lambda tree: None)


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree.tag("app", "v2", OLD.digest),
        lambda tree: tree.tag("lib", "v1", OLD.digest),
        lambda tree: tree.untag("app", "v1"),
        lambda tree: later(tree.tag_path("app", "v1")),
        lambda tree: tree.tag_path("app", "v1").write_bytes(b""),
        lambda tree: tree.revision("lib", OLD.digest),
        lambda tree: tree.delete_revision("app", OLD.digest),
        lambda tree: later(tree.revision_path("app", OLD.digest)),
        lambda tree: tree.revision_path("app", OLD.digest).write_bytes(NEW.digest.encode()),
        lambda tree: tree.layer_link("lib", LAYER),
        lambda tree: shutil.rmtree(tree.layer_path("app", LAYER).parent),
        lambda tree: tree.blob(b"one more"),
        lambda tree: tree.delete_blob(NEW.digest),
        lambda tree: tree.push("new", "v1", NEW),
        lambda tree: shutil.rmtree(tree.repository_path("lib")),
        lambda tree: shutil.rmtree(tree.repository_path("app") / "_uploads"),
        lambda tree: tree.write(tree.v2 / "blobs/sha256/zz", b"foreign"),
        lambda tree: shutil.rmtree(tree.v2 / "blobs"),
        lambda tree: unnoticed(tree.revision_path("app", OLD.digest), NEW.digest),
        lambda tree: os.mkfifo(tree.tag_folder("app", "pipe")),
        lambda tree: tree.write(tree.layer_path("app", LAYER).parent / HALF, b"half"),
    ],
)
def test_a_tree_that_has_changed_has_a_graph_of_its_own(
    shop: TreeBuilder, change: Callable[[TreeBuilder], object]
) -> None:
    assert not is_taken_over(shop, change)


def test_a_scan_that_numbers_digests_anew_has_a_graph_of_its_own(shop: TreeBuilder) -> None:
    before = graph_of(shop)
    assert LatestGraph(registry_of(shop), before).of(scanned(shop)) is not before


def test_a_graph_with_doubts_is_never_taken_over(shop: TreeBuilder) -> None:
    shop.blob_path(OLD.digest).write_bytes(b"{}")
    before = graph_of(shop)
    assert before.frozen
    latest = LatestGraph(registry_of(shop), before)
    assert latest.without([], scanned(shop, before)) is not before


def test_a_tree_with_links_of_another_algorithm_is_read_again(shop: TreeBuilder) -> None:
    """What such a link holds is read with the manifests only."""
    shop.layer_link("app", f"sha512:{'0' * 128}", LAYER)
    assert not is_taken_over(shop, lambda tree: None)


def test_files_are_asked_about_again_when_a_graph_is_taken_over(shop: TreeBuilder) -> None:
    """Their times are not in the listing, and must not be those of the scan before."""
    blob = shop.blob(GARBAGE)
    before = graph_of(shop)
    known = before.inventory.blobs[Digest(blob)]
    later(shop.blob_path(blob))
    graph = LatestGraph(registry_of(shop), before).of(scanned(shop, before))
    assert graph is before
    assert graph.inventory.blobs[Digest(blob)].mtime == known.mtime + 1


# -- after a run has moved something -------------------------------------------------------


def apply_all(tree: TreeBuilder) -> tuple[LatestGraph, Graph]:
    """Move away what is garbage; return the graph that the run went by."""
    registry, before = registry_of(tree), graph_of(tree)
    latest = LatestGraph(registry, before)
    applied = apply(plan_of(tree, min_age=0.0), registry, latest=latest)
    assert applied.done.blobs == applied.done.layer_links == 1
    return latest, before


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda tree: None, True),
        (lambda tree: tree.delete_blob(LAYER), False),
        (lambda tree: shutil.rmtree(tree.layer_path("app", LAYER).parent), False),
        (lambda tree: tree.delete_revision("app", OLD.digest), False),
        (lambda tree: tree.untag("app", "v1"), False),
        (lambda tree: tree.tag("app", "v2", OLD.digest), False),
        (lambda tree: tree.layer_link("lib", LAYER), False),
        (lambda tree: shutil.rmtree(tree.v2 / "repositories"), False),
        (lambda tree: unnoticed(tree.revision_path("app", OLD.digest), NEW.digest), False),
        (lambda tree: os.mkfifo(tree.tag_folder("app", "pipe")), False),
    ],
)
def test_a_graph_holds_on_while_only_what_lies_in_quarantine_is_gone(
    shop: TreeBuilder, change: Callable[[TreeBuilder], object], expected: bool
) -> None:
    latest, before = apply_all(shop)
    change(shop)
    items = list(quarantined_items(store_of(shop)))
    assert (latest.without(items, scanned(shop, before)) is before) == expected


def test_what_a_link_names_by_now_comes_back_with_the_graph_at_hand(shop: TreeBuilder) -> None:
    latest, _ = apply_all(shop)
    digest = Digest.of(GARBAGE)
    shop.layer_link("lib", digest)
    returned = settle(registry_of(shop), latest=latest)
    assert [one.path for one in returned] == [shop.relative(shop.blob_path(digest))]


def opened_journals(tree: TreeBuilder, latest: LatestGraph | None) -> list[str]:
    """Settle; return which files were opened whole for that."""
    store: Any = Watched(tree.root)
    settle(Registry(store), latest=latest)
    return [path for path in store.opened if path.endswith("journal.jsonl")]


def test_settling_reads_no_journal_of_the_run_that_has_just_ended(shop: TreeBuilder) -> None:
    latest, _ = apply_all(shop)
    assert opened_journals(shop, latest) == []
    assert opened_journals(shop, None) != []


def test_what_a_continued_run_had_moved_before_comes_back_as_well(shop: TreeBuilder) -> None:
    """Only its journal says what that was."""
    planned = plan_of(shop, min_age=0.0)
    link, blob = (action.path for action in planned.actions)
    with pytest.raises(StoreError):
        apply(planned, Registry(Dying(shop.root, 1)))
    later(shop.root / ".regfs/runs" / planned.id / "quarantine" / link)
    latest = LatestGraph(registry_of(shop))
    assert apply(planned, registry_of(shop), latest=latest).done.blobs == 1
    returned = settle(registry_of(shop), latest=latest)
    assert {one.path for one in returned} == {link, blob}


def test_a_journal_that_has_changed_since_is_read_again(shop: TreeBuilder) -> None:
    """All that lies in the quarantine of a damaged run is looked at, whatever was moved."""
    latest, _ = apply_all(shop)
    run = only_run(shop)
    blob = shop.blob(b"lost")
    quarantine = shop.root / ".regfs/runs" / run / "quarantine"
    stray = quarantine / shop.relative(shop.blob_path(blob))
    stray.parent.mkdir(parents=True)
    shop.blob_path(blob).rename(stray)
    shop.layer_link("app", blob)
    damage_journal(shop, run, lambda lines: lines[1:])
    returned = settle(registry_of(shop), latest=latest)
    assert shop.relative(shop.blob_path(blob)) in {one.path for one in returned}


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    """Return the graphs for which all manifests were read."""
    graphs: list[Graph] = []

    def build(*arguments: Any, **options: Any) -> Graph:
        graphs.append(build_graph(*arguments, **options))
        return graphs[-1]

    monkeypatch.setattr(scanning, "build_graph", build)
    monkeypatch.setattr("regfs.graph.build_graph", build)
    return graphs


@pytest.mark.parametrize(
    ("arguments", "times"), [((), 1), (("--offline",), 1), (("--offline", "--purge"), 3)]
)
def test_a_run_reads_manifests_once_until_it_deletes(
    shop: TreeBuilder, built: list[Graph], arguments: tuple[str, ...], times: int
) -> None:
    assert regfs(["-r", str(shop.root), "gc", "run", "--yes", *arguments]) == 0
    assert not shop.blob_path(Digest.of(GARBAGE)).exists()
    assert len(built) == times


@pytest.mark.parametrize(
    ("purge", "wait", "times"), [(False, 0.0, 0), (True, 0.0, 2), (True, 1.0, 1)]
)
def test_manifests_are_read_again_before_anything_is_deleted(
    shop: TreeBuilder, built: list[Graph], purge: bool, wait: float, times: int
) -> None:
    """By the look before a purge; and by the one before moving, if the purge comes at once."""
    registry = registry_of(shop)
    latest = LatestGraph(registry, graph_of(shop))
    planned = plan_of(shop, min_age=0.0)
    applied = collect(
        planned, registry, wait=wait, purge=purge, latest=latest, pause=lambda seconds: None
    )
    assert (applied.done.blobs, applied.purged, len(built)) == (1, purge, times)
