"""Collecting in a bucket: what a folder does, over requests, with versions and without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from regfs.edits.editor import Editor
from regfs.errors import LockHeld, RegfsError, StoreError
from regfs.graph import build_graph
from regfs.runs import runs
from regfs.tree.registry import Registry
from regfs.tree.scan import scan
from tests.support.bucket_runs import KINDS, BucketTree, litter_bucket
from tests.support.s3.bucket import Conditions

OTHER = b"sha256:" + b"0" * 64


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tree(kind: str) -> Iterator[BucketTree]:
    with litter_bucket(**KINDS[kind]) as found:
        yield found


def test_what_was_applied_is_restored(tree: BucketTree) -> None:
    done = tree.apply()
    assert not done.skipped
    assert done.done.blobs == 4 and done.done.uploads == 1 and done.done.manifests == 1
    gone = tree.before.keys() - tree.state().keys()
    assert len(gone) == len(tree.own()) >= 9
    back = tree.restore(done.run)
    assert not back.skipped
    assert tree.state() == tree.before
    assert not tree.own()
    assert [run.state for run in runs(tree.store())] == ["restored"]


def test_what_was_applied_is_purged(tree: BucketTree) -> None:
    planned = tree.plan()
    left = tree.apply(planned).done
    purged = tree.purge()
    assert (purged.deleted, purged.bytes) == (left, left.bytes)
    assert not tree.own()
    assert not tree.hidden()
    assert [run.state for run in runs(tree.store())] == ["purged"]
    assert tree.plan().actions == []


def test_nothing_is_left_of_the_probe_and_old_leases(tree: BucketTree) -> None:
    run = tree.apply().run
    tree.restore(run)
    keys = [key for key in tree.bucket.objects if "/.regfs/" in key]
    assert not [key for key in keys if "/probe/" in key]
    assert len([key for key in keys if "/lock/" in key]) <= 4


@pytest.fixture(params=["versions", "copies"])
def crashing(request: pytest.FixtureRequest) -> dict[str, bool]:
    return KINDS[str(request.param)]


Deed = Callable[[BucketTree], object]


def _nothing(tree: BucketTree) -> None:
    """Do nothing."""


def crashes(kind: dict[str, bool], before: Deed, deed: Deed, *after: Deed) -> int:
    """Stop the server after every change of a deed in turn; return how many there were.

    What comes after a crash is each of `after`, from the same state of the bucket.
    """
    number, stopped = -1, True
    with litter_bucket(**kind) as tree:
        before(tree)
        start = tree.saved()
        while stopped:
            number += 1
            tree.load(start)
            tree.bucket.clock = 0.0
            tree.prepare()
            tree.bucket.stop_after(number)
            try:
                deed(tree)
                stopped = tree.bucket.stopped
            except RegfsError:
                stopped = True
            tree.revive()
            found = tree.saved()
            for one in after:
                tree.load(found)
                one(tree)
    return number


def _restore_all(tree: BucketTree) -> None:
    for run in runs(tree.store()):
        assert run.state in ("interrupted", "applied", "restored")
        tree.restore(run.run)
    assert tree.state() == tree.before
    assert not tree.own()


def _purge_all(tree: BucketTree) -> None:
    there = tree.state()
    tree.purge()
    assert tree.state().items() >= there.items()
    assert not tree.own()


def test_a_crash_at_any_change_of_apply_is_restored_or_purged(crashing: dict[str, bool]) -> None:
    assert crashes(crashing, _nothing, BucketTree.apply, _restore_all, _purge_all) > 20


def test_after_a_crash_of_apply_the_next_run_does_the_rest(crashing: dict[str, bool]) -> None:
    for number in range(3, 24, 4):
        with litter_bucket(**crashing) as tree:
            tree.prepare()
            tree.bucket.stop_after(number)
            with suppress(RegfsError):
                tree.apply()
            tree.revive()
            while (planned := tree.plan()).actions:
                assert tree.apply(planned).done.bytes  # it comes to an end
            _restore_all(tree)


def test_a_crash_at_any_change_of_restore_is_mended_by_restoring_again(
    crashing: dict[str, bool],
) -> None:
    def again(tree: BucketTree) -> None:
        tree.restore(runs(tree.store())[0].run)

    assert crashes(crashing, BucketTree.apply, again, _restore_all) > 15


def test_a_crash_at_any_change_of_a_purge_loses_nothing_in_use(crashing: dict[str, bool]) -> None:
    kept: dict[str, str] = {}

    def applied(tree: BucketTree) -> None:
        tree.apply()
        kept.clear()
        kept.update(tree.state())

    def again(tree: BucketTree) -> None:
        assert tree.state() == kept
        tree.purge()
        assert tree.state() == kept
        assert not tree.own()
        assert not tree.hidden()

    assert crashes(crashing, applied, BucketTree.purge, again) > 15


def test_a_crash_at_any_change_of_a_tag_that_goes_is_restored(crashing: dict[str, bool]) -> None:
    assert crashes(crashing, _nothing, _untag, _restore_all) > 8


def test_a_crash_at_any_change_of_a_tag_that_comes_back_is_mended(
    crashing: dict[str, bool],
) -> None:
    def again(tree: BucketTree) -> None:
        tree.restore(runs(tree.store())[0].run)

    assert crashes(crashing, _untag, again, _restore_all) > 8


def _untag(tree: BucketTree) -> None:
    registry = Registry(tree.store())
    graph = build_graph(scan(registry.store), registry)
    Editor(registry, lambda: graph, lambda: None).untag("app:v1")


def test_one_of_two_runs_at_once_is_refused(tree: BucketTree) -> None:
    store = tree.store()
    with store.lock(".regfs/lock", "the first"):
        with pytest.raises(LockHeld, match="the first"):
            tree.apply()
        assert tree.state() == tree.before
    tree.apply()


def test_what_comes_back_is_never_put_onto_something(tree: BucketTree) -> None:
    run = tree.apply().run
    path = next(path for path in tree.before if path not in tree.state() and "/revisions/" in path)
    tree.bucket.put(path, OTHER, Conditions())
    back = tree.restore(run)
    assert [one.path for one in back.skipped] == [path.removeprefix("pfx/")]
    assert tree.bucket.objects[path].data == OTHER


def test_the_storage_failing_is_said_in_a_line(tree: BucketTree) -> None:
    planned = tree.plan()
    tree.bucket.stop_after(16)
    with pytest.raises(StoreError) as error:
        tree.apply(planned)
    assert "\n" not in str(error.value)
