"""How verify reads blobs: once, in batches, while others write; asked for less; and stopped."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.digest import Digest
from regfs.errors import PathDenied, PathMissing, StoreError
from regfs.progress import Silent
from regfs.stores import open_store
from regfs.tree.registry import Registry
from regfs.tree.scan import scan
from regfs.verify import Level, ReportedFinding, VerifyOptions, verify
from regfs.verify.content import BATCH_BYTES, BATCH_FILES, tasks
from tests.support.builder import Blob, TreeBuilder, digest_of, image, index
from tests.support.verification import BASE, V1, check, codes, grave, stocked, touched, watched


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    return stocked(tree)


# -- reading blobs ------------------------------------------------------------


@given(st.lists(st.integers(0, 3 * BATCH_BYTES) | st.just(1), max_size=3 * BATCH_FILES))
def test_tasks_take_every_blob_once_and_stay_small(sizes: list[int]) -> None:
    blobs = [(Digest.of(str(number).encode()), size) for number, size in enumerate(sizes)]
    made = list(tasks("store", blobs))
    assert [item.digest for task in made for item in task.items] == [digest for digest, _ in blobs]
    assert all(len(task.items) <= BATCH_FILES for task in made)
    assert all(task.bytes <= BATCH_BYTES or len(task.items) == 1 for task in made)
    assert sum(task.bytes for task in made) == sum(sizes)


def test_every_blob_is_read_once_however_many_images_use_it(shop: TreeBuilder) -> None:
    for number in range(5):
        shop.push(f"copy{number}", "v1", V1)
    shop.blob(b"orphan")
    store = watched(shop)
    result = check(shop, store=store)
    blobs = Counter(path for path in store.reads if "/blobs/" in path)
    listing = shop.relative(shop.blob_path(shop.current("team/x", "multi")))
    blobs[listing] -= 1  # an index is opened again, for the sizes it gives of its children
    assert blobs == Counter(shop.relative(shop.blob_path(one)) for one in shop.blobs())
    assert result.checked.blobs == len(blobs)


def test_large_blobs_are_read_in_pieces(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image([Blob(bytes(3 << 20))]))
    result = check(tree, jobs=1)
    assert result.findings == ()
    tree.break_("blob-grown", "app", "v1")
    assert codes(check(tree)) == ["blob-corrupt"]


def test_a_file_that_is_being_written_is_not_called_corrupt(shop: TreeBuilder) -> None:
    path = shop.blob_path(digest_of(BASE))
    store = watched(shop)
    wrong, right = b"half", path.read_bytes()
    path.write_bytes(wrong)
    times = 0

    def grow(read: str) -> None:
        nonlocal times
        if read == shop.relative(path):
            times += 1
            path.write_bytes(right if times == 2 else wrong)

    store.before = grow
    registry = Registry(store)
    result = verify(registry, scan(registry.store))
    assert (codes(result), times) == ([], 2)


def test_a_file_that_changes_all_the_time_is_not_called_corrupt(shop: TreeBuilder) -> None:
    path = shop.blob_path(digest_of(BASE))
    store = watched(shop)

    def grow(read: str) -> None:
        if read == shop.relative(path):
            path.write_bytes(path.read_bytes() + b"x")

    store.before = grow
    registry = Registry(store)
    assert codes(verify(registry, scan(registry.store))) == ["blob-changed"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [(PathMissing("gone"), ["blob-missing"]), (PathDenied("no"), ["blob-unreadable"])],
)
def test_blobs_that_fail_when_they_are_read(
    shop: TreeBuilder, error: StoreError, expected: list[str]
) -> None:
    store = watched(shop)

    def fail(path: str) -> None:
        if path == shop.relative(shop.blob_path(digest_of(BASE))):
            raise error

    store.before = fail
    result = check(shop, store=store)
    assert codes(result) == expected
    assert touched(result) == {"app:v1", "app:whole", "team/x:multi"}


def test_a_blob_nobody_needs_may_vanish(shop: TreeBuilder) -> None:
    orphan = shop.blob(b"orphan")
    store = watched(shop)

    def vanish(path: str) -> None:
        if path == shop.relative(shop.blob_path(orphan)):
            raise PathMissing("gone")

    store.before = vanish
    assert codes(check(shop, store=store)) == []


def test_links_that_vanish_are_no_findings(shop: TreeBuilder) -> None:
    link = shop.layer_path("app", digest_of(BASE))
    store = watched(shop)
    store.before = lambda path: link.unlink(missing_ok=True) if path.endswith("link") else None
    registry = Registry(store)
    result = verify(registry, scan(registry.store), options=VerifyOptions(level=Level.LINKS))
    assert codes(result) == []


def test_a_push_during_the_run_breaks_nothing(shop: TreeBuilder) -> None:
    registry = Registry(open_store(str(shop.root)))
    inventory = scan(registry.store)
    shop.push("app", "later", image(["later", BASE]))
    shop.push("new", "later", index(image(["even later"])))
    assert codes(verify(registry, inventory)) == []


def test_other_processes_can_do_the_hashing(shop: TreeBuilder) -> None:
    shop.break_("blob-flipped", "app", "v1")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        result = check(shop, executor=pool)
    assert codes(result) == ["blob-corrupt"]
    assert result.checked.blobs == len(shop.blobs())


def test_a_lost_worker_is_a_failure_and_no_finding(shop: TreeBuilder) -> None:
    class Losing(Executor):
        def submit(self, *arguments: Any, **options: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_exception(BrokenExecutor("killed"))
            return future

    with pytest.raises(StoreError, match="worker was lost"):
        check(shop, executor=Losing())


# -- being asked for less, and being stopped ----------------------------------


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("app", ["blob-corrupt", "layer-link-missing"]),
        ("app:v1", ["blob-corrupt"]),
        ("app:whole", []),
        ("app:second", ["layer-link-missing"]),
        (f"app@{V1.digest}", ["blob-corrupt"]),
        (digest_of(b"only here"), []),
        ("team/x:multi", []),
    ],
)
def test_only_what_is_asked_for_is_checked(
    shop: TreeBuilder, target: str, expected: list[str]
) -> None:
    second = Blob(b"only here")
    shop.push("app", "second", image([second]))
    shop.push("app/nested", "v1", image(["nested"]))
    shop.break_("blob-flipped", "app", "v1")
    shop.break_("blob-flipped", "app/nested", "v1")
    shop.break_("layer-link-missing", "app", "second", second.digest)
    result = check(shop, target)
    assert codes(result) == expected
    assert 0 < result.checked.blobs < len(shop.blobs())


def test_links_of_a_tag_are_checked_without_the_rest(shop: TreeBuilder) -> None:
    shop.break_("tag-current-newline", "app", "v1")
    shop.break_("tag-current-newline", "app", "whole")
    result = check(shop, "app:v1", level=Level.LINKS)
    assert [row.images for row in grave(result)] == [("app:v1",)]


def test_what_was_found_until_a_key_is_kept(shop: TreeBuilder) -> None:
    shop.break_("blob-flipped", "app", "v1")
    shop.break_("tag-current-newline", "app", "whole")

    def stop(row: ReportedFinding) -> None:
        raise KeyboardInterrupt

    result = check(shop, on_finding=stop)
    assert result.interrupted
    assert codes(result) == ["link-invalid"]


def test_threads_end_when_the_run_is_stopped(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regfs.verify.content.BATCH_FILES", 1)
    tree.push("app", "v1", image([Blob(bytes([number])) for number in range(100)]))

    class Stopping(Silent):
        task = ""

        def start(self, task: str, total: int | None = None, unit: str = "items") -> None:
            self.task = task

        def advance(self, amount: int) -> None:
            if self.task == "Hashing blobs":
                raise KeyboardInterrupt

    store = watched(tree)
    before = set(threading.enumerate())
    result = check(tree, store=store, jobs=1, progress=Stopping())
    assert (result.interrupted, result.findings) == (True, ())
    assert set(threading.enumerate()) <= before
    assert len([path for path in store.reads if "/blobs/" in path]) < 50


def test_progress_is_told_in_bytes_and_adds_up(shop: TreeBuilder) -> None:
    class Counting:
        def __init__(self) -> None:
            self.tasks: dict[str, tuple[int | None, int]] = {}

        def start(self, task: str, total: int | None = None, unit: str = "items") -> None:
            self.task = task
            self.tasks[task] = (total, 0)

        def advance(self, amount: int) -> None:
            total, done = self.tasks[self.task]
            self.tasks[self.task] = (total, done + amount)

        def finish(self) -> None:
            pass

    progress = Counting()
    check(shop, progress=progress)
    total, done = progress.tasks["Hashing blobs"]
    assert total == done
    assert total
