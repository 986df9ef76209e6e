"""A power cut at any moment of apply, restore and purge: what was not synced comes undone.

Every change of a run is tried as its last one. Then the disk takes back what it may take
back, in one combination after another (see `tests.support.powercut`), and of each it is seen that

    whatever a tag or a manifest in place refers to, is in place: no link leads nowhere
    the next run, or a restore, does all that there is to do

The last tests look at the order of system calls of real processes instead.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from regfs.digest import Digest
from regfs.errors import PlanStale, Refused, RunUnknown, StoreFull
from regfs.gc.collect import collect
from regfs.gc.collect import purge as settle_and_purge
from regfs.gc.plan import Plan
from regfs.gc.sweep import apply
from regfs.heal.quarantine import quarantine
from regfs.runs import purge, restore, runs
from regfs.stores.local.store import LocalStore
from regfs.tree.registry import Registry
from tests.support.builder import TreeBuilder, image, index
from tests.support.powercut import Disk, cuts, dies
from tests.support.registries import plan_of, store_of

TRIED = {30: 24, 100: 100}
"""Examples that the profile of hypothesis asks for -> cuts of each command; else all."""


class Scene:
    """A tree with garbage, and a disk below it that is set back for every trial."""

    def __init__(self, folder: Path) -> None:
        self.tree = TreeBuilder(folder / "registry")
        self._saved = folder / "saved"
        self._left = folder / "left"
        _litter(self.tree)
        self.whole = self.tree.files()
        self.plan = self.new_plan()
        self.kept = {
            path: data
            for path, data in self.whole.items()
            if not any(path == a.path or path.startswith(f"{a.path}/") for a in self.plan.actions)
        }
        self.disk = Disk(self.tree.root)
        self.save()

    def new_plan(self) -> Plan:
        return plan_of(self.tree, delete_untagged=True, min_age=0.0)

    def save(self) -> None:
        """Take the tree as it is for what every trial begins with."""
        shutil.rmtree(self._saved, ignore_errors=True)
        shutil.copytree(self.tree.root, self._saved, symlinks=True)

    def reset(self) -> Disk:
        shutil.rmtree(self.tree.root)
        shutil.copytree(self._saved, self.tree.root, symlinks=True)
        self.disk = Disk(self.tree.root)
        return self.disk

    def keep_left(self) -> None:
        """Set the tree aside as it is after the cut, to look at it twice."""
        shutil.rmtree(self._left, ignore_errors=True)
        shutil.copytree(self.tree.root, self._left, symlinks=True)

    def again(self) -> None:
        """Make the tree what it was after the cut."""
        shutil.rmtree(self.tree.root)
        shutil.copytree(self._left, self.tree.root, symlinks=True)

    def state(self) -> str | None:
        found = {run.run: run.state for run in runs(store_of(self.tree))}
        return found.get(self.plan.id)

    def assert_sound(self) -> None:
        """See that what stays is there, and that whatever is there has all it refers to."""
        files = self.tree.files()
        assert {path: files.get(path) for path in self.kept} == self.kept
        for path in files:
            if path.endswith("/link") and "/tags/" not in path:
                digest = (self.tree.root / path).read_text()
                assert self.tree.blob_path(digest).exists(), path
            if "/_manifests/revisions/" in path:
                self._assert_complete(path.split("/")[4], (self.tree.root / path).read_text())
        for name in ("app", "lib"):
            for tag in self.tree.tags(name):
                assert self.tree.revision_path(name, self.tree.current(name, tag)).exists()

    def _assert_complete(self, name: str, digest: str) -> None:
        document = self.tree.document(digest)
        for child in document.get("manifests", []):
            assert self.tree.blob_path(child["digest"]).exists()
        if "config" in document:
            for part in [document["config"], *document["layers"]]:
                assert self.tree.blob_path(part["digest"]).exists()
                assert self.tree.layer_path(name, part["digest"]).exists()


def _litter(tree: TreeBuilder) -> None:
    """Make images that stay, and some that go."""
    tree.push("app", "v1", image(["base", "one"]))
    tree.push("app", "v1", image(["base", "two"]))
    tree.push("lib", "multi", index(image(["base", "arm"])))
    tree.push("lib", "multi", image(["base", "two"]))
    tree.blob(b"linked by nothing")
    tree.upload("lib", 10, started_at="2020-01-01T00:00:00Z")
    tree.age(30 * 86400)


@pytest.fixture
def scene() -> Iterator[Scene]:
    """Make a scene; in memory where that can be, for it is copied again and again."""
    memory = Path("/dev/shm")
    place = str(memory) if memory.is_dir() and os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="regfs-power-", dir=place) as folder:
        yield Scene(Path(folder))


Work = Callable[[Any], object]
"""What a process does with a store."""


def trials(scene: Scene, work: Work) -> Iterator[None]:
    """Let a process die at one of its changes after another, and the power go; yield after each."""
    disk = scene.reset()
    store = disk.store()
    work(store)
    tried = 0
    for at, turn in _chosen(store.changes):
        patterns = [turn]
        while patterns:
            disk = scene.reset()
            dies(partial(work, disk.store(at)))
            every = list(cuts(len(disk.changes)))
            if turn is None and patterns == [None]:
                patterns = list(range(len(every)))
            pattern = patterns.pop() or 0
            disk.cut(every[pattern % len(every)], torn=pattern % 3 / 2)
            tried += 1
            yield
    assert tried > 10


def _chosen(changes: int) -> Iterator[tuple[int, int | None]]:
    """Yield at which changes to die, and with which of the cuts then; None for all of them."""
    wanted = TRIED.get(settings().max_examples)
    if wanted is None:
        yield from ((at, None) for at in range(changes + 1))
        return
    for turn in range(wanted):
        yield round(turn * changes / (wanted - 1)), turn * 5


def test_a_cut_during_apply_can_be_carried_on_and_restored(scene: Scene) -> None:
    def work(store: Any) -> object:
        return apply(scene.plan, Registry(store))

    for _ in trials(scene, work):
        scene.assert_sound()
        scene.keep_left()
        state = scene.state()
        try:
            apply(scene.plan, Registry(store_of(scene.tree)))
        except PlanStale:
            assert state == "applied"
        assert scene.tree.files() == scene.kept
        scene.again()
        try:
            restore(store_of(scene.tree), scene.plan.id)
        except RunUnknown:
            assert state is None
        assert scene.tree.files() == scene.whole


def test_a_cut_during_restore_is_mended_by_restoring_again(scene: Scene) -> None:
    apply(scene.plan, Registry(store_of(scene.tree)))
    scene.save()
    for _ in trials(scene, lambda store: restore(store, scene.plan.id)):
        scene.assert_sound()
        if scene.state() == "restored":
            assert scene.tree.files() == scene.whole  # what is said is so
        restore(store_of(scene.tree), scene.plan.id)
        assert scene.tree.files() == scene.whole


def test_a_cut_during_purge_is_completed_by_the_next(scene: Scene) -> None:
    apply(scene.plan, Registry(store_of(scene.tree)))
    scene.save()
    quarantine = scene.tree.root / ".regfs/runs" / scene.plan.id / "quarantine"
    for _ in trials(scene, lambda store: purge(store, scene.plan.id)):
        scene.assert_sound()
        state = scene.state()
        if state == "applied":
            scene.keep_left()
            restore(store_of(scene.tree), scene.plan.id)
            assert scene.tree.files() == scene.whole
            scene.again()
        elif state == "purged":
            assert not quarantine.exists()  # nobody would purge it again
        else:
            with pytest.raises(Refused):
                restore(store_of(scene.tree), scene.plan.id)
        purge(store_of(scene.tree))
        assert not quarantine.exists()
        assert scene.tree.files() == scene.kept


def test_a_cut_during_a_run_that_purges_at_once(scene: Scene) -> None:
    def work(store: Any) -> object:
        return collect(scene.plan, Registry(store), wait=0.0, purge=True)

    for _ in trials(scene, work):
        scene.assert_sound()
        if scene.state() in (None, "interrupted"):
            apply(scene.plan, Registry(store_of(scene.tree)))
        purge(store_of(scene.tree))
        assert scene.tree.files() == scene.kept


def test_a_cut_while_it_deletes_in_place_leaves_garbage_and_no_more(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no space for a quarantine: what refers goes for good before what it refers to."""

    def full(store: LocalStore, path: str, size: int) -> None:
        raise StoreFull(path)

    monkeypatch.setattr(LocalStore, "claim", full)

    def work(store: Any) -> object:
        return collect(scene.plan, Registry(store), wait=0.0, purge=True)

    for _ in trials(scene, work):
        assert not (scene.tree.root / ".regfs/runs" / scene.plan.id / "quarantine").exists()
        scene.assert_sound()
        scene.tree.age(30 * 86400)  # what the cut has brought back is as old as it was
        collect(scene.new_plan(), Registry(store_of(scene.tree)), wait=0.0, purge=True)
        assert scene.tree.files() == scene.kept


@pytest.mark.parametrize("kind", ["/_manifests/revisions/", "/_layers/", "/blobs/"])
def test_what_a_killed_run_has_moved_is_synced_before_another_one_relies_on_it(
    scene: Scene, kind: str
) -> None:
    """The first is killed, the machine runs on; the power goes during the second."""

    def work(store: Any) -> object:
        first = scene.disk.store(unsynced=kind)
        assert dies(lambda: apply(scene.plan, Registry(first)))
        second = scene.new_plan()
        return collect(second, Registry(store), wait=0.0, purge=True)

    for _ in trials(scene, work):
        scene.assert_sound()
        settle_and_purge(Registry(store_of(scene.tree)), offline=True)
        scene.assert_sound()


@pytest.mark.parametrize("kind", ["/_manifests/revisions/", "/_layers/", "/blobs/"])
def test_what_a_killed_restore_has_moved_is_synced_before_the_rest_is_deleted(
    scene: Scene, kind: str
) -> None:
    apply(scene.plan, Registry(store_of(scene.tree)))
    scene.save()

    def work(store: Any) -> object:
        first = scene.disk.store(unsynced=kind)
        assert dies(lambda: restore(first, scene.plan.id))
        return settle_and_purge(Registry(store), offline=True)

    for _ in trials(scene, work):
        scene.assert_sound()


def test_a_blob_moved_aside_is_away_for_good_when_it_is_said_so(scene: Scene) -> None:
    digest = scene.tree.blob(b"turns corrupt")
    scene.tree.blob_path(digest).write_bytes(b"has turned corrupt")
    done = quarantine(Registry(scene.disk.store()), [Digest(digest)])
    assert len(done.moved) == 1
    assert scene.disk.changes == []


def test_what_came_back_is_on_the_disk_before_the_rest_is_deleted(scene: Scene) -> None:
    apply(scene.plan, Registry(store_of(scene.tree)))
    old = image(["base", "one"])
    scene.tree.revision("app", old.digest)  # somebody has pushed it again
    scene.tree.tag("app", "again", old.digest)
    scene.save()
    needed = [scene.tree.blob_path(old.digest)]
    needed += [scene.tree.blob_path(part.digest) for part in old.blobs]
    for _ in trials(scene, lambda store: settle_and_purge(Registry(store), offline=True)):
        settle_and_purge(Registry(store_of(scene.tree)), offline=True)
        scene.assert_sound()
        assert all(path.exists() for path in needed)
