"""Runs and pushes take turns, and gc beside pushes never breaks what was acknowledged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from regfs.digest import Digest
from regfs.errors import LockHeld, ManifestUnknown, ReferentsUnknown, UploadUnknown
from regfs.gc.collect import collect
from regfs.push.manifests import Publisher
from regfs.push.uploads import Uploads
from regfs.runs.lock import exclusive, refuse_if_locked, shared
from regfs.stores import WritableStore, open_store
from regfs.tree.registry import Registry
from tests.support.builder import Content, TreeBuilder, image, index
from tests.support.live import blobs_of
from tests.support.pusher import Pusher
from tests.support.registries import plan_of
from tests.support.verification import check, codes


@pytest.fixture
def store(tree: TreeBuilder) -> WritableStore:
    return open_store(str(tree.root))


@pytest.fixture
def background() -> Iterator[Callable[[Callable[[], object]], threading.Thread]]:
    """Run something in a thread; at the end of the test all of them must have ended well."""
    failures: list[BaseException] = []
    threads: list[threading.Thread] = []

    def begin(work: Callable[[], object]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:
                failures.append(error)

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return threads[-1]

    yield begin
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    assert failures == []


def wait_until(found: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not found():
        assert time.monotonic() < until
        time.sleep(0.005)


def may_share(store: WritableStore) -> bool:
    try:
        with shared(store, timeout=0):
            return True
    except LockHeld:
        return False


def test_shared_locks_do_not_wait_for_each_other(store: WritableStore) -> None:
    with shared(store, timeout=0), shared(store, timeout=0):
        assert may_share(store)
        refuse_if_locked(store)


def test_a_run_waits_for_those_before_it_and_goes_before_those_after_it(
    store: WritableStore, background: Callable[[Callable[[], object]], threading.Thread]
) -> None:
    order: list[str] = []
    ended = threading.Event()

    def run() -> None:
        with exclusive(store, timeout=60):
            order.append("run")
            ended.wait(60)

    with shared(store, timeout=0):
        background(run)
        wait_until(lambda: not may_share(store))  # the run stands at the door
        order.append("pushed before")
    wait_until(lambda: "run" in order)
    assert not may_share(store)

    def push() -> None:
        with shared(store, timeout=60):
            order.append("pushed after")

    background(push)
    ended.set()
    wait_until(lambda: len(order) == 3)
    assert order == ["pushed before", "run", "pushed after"]


def test_a_second_run_is_refused_at_once_with_the_owner_of_the_lock(store: WritableStore) -> None:
    with exclusive(store), pytest.raises(LockHeld, match=r"regfs, process \d+") as raised:
        exclusive(store, timeout=3600).__enter__()
    assert not raised.value.shared
    with exclusive(store):
        pass


def test_a_run_gives_up_when_shared_locks_are_not_released(store: WritableStore) -> None:
    with shared(store), pytest.raises(LockHeld):
        exclusive(store, timeout=0.05).__enter__()
    assert may_share(store)
    with exclusive(store):
        pass


def test_a_busy_server_lets_a_run_begin(
    store: WritableStore, background: Callable[[Callable[[], object]], threading.Thread]
) -> None:
    """Many who share, one always before the other has ended."""
    over = threading.Event()
    held = threading.Semaphore(0)

    def push() -> None:
        while not over.is_set():
            with shared(store, timeout=60):
                held.release()
                time.sleep(0.02)

    for _ in range(4):
        background(push)
    for _ in range(8):
        held.acquire()
    for _ in range(3):
        with exclusive(store, timeout=60):
            pass
    over.set()


# -- gc beside pushes ---------------------------------------------------------------------------


class Live:
    """Pushers and a collector at one tree, and what was acknowledged to the pushers."""

    def __init__(self, tree: TreeBuilder) -> None:
        self.tree = tree
        tree.push("base", "v1")
        self.kept: dict[tuple[str, str], Content] = {}
        self.refused = 0
        self.moved = 0

    def content(self, number: int) -> Content:
        shared = [f"layer {number % 3}", f"layer {number % 5}"]
        one = image([*shared, f"own {number % 7}"])
        return index(one, image(shared)) if number % 2 else one

    def push(self, who: int, times: int) -> None:
        """Push one image after the other to tags of one's own, as clients do: again if refused."""
        some = Pusher(open_store(str(self.tree.root)))
        some.uploads = Uploads(some.registry, timeout=120)
        some.publisher = Publisher(some.registry, timeout=120)
        name = f"app{who % 2}"
        for number in range(times):
            tag, content = f"{who}-{number % 2}", self.content(who + number)
            for _ in range(200):
                try:
                    some.push(name, tag, content)
                except (ReferentsUnknown, UploadUnknown):
                    self.refused += 1
                    self.kept.pop((name, tag), None)
                else:
                    self.kept[name, tag] = content
                    break
            else:
                raise AssertionError("refused for ever")
            if number % 4 == 3:
                self.kept.pop((name, tag))
                some.publisher.delete_tag(name, tag)

    def collect(self, over: threading.Event) -> None:
        """Collect everything that nothing needs, however young, and delete it at once."""
        registry = Registry(open_store(str(self.tree.root)))
        while not over.is_set():
            planned = plan_of(self.tree, delete_untagged=True, min_age=0.0)
            applied = collect(planned, registry, wait=0, purge=True)
            self.moved += applied.done.bytes

    def assert_whole(self) -> None:
        """Be sure that what was acknowledged, and not deleted since, is there to the last byte."""
        for (name, tag), content in self.kept.items():
            assert self.tree.current(name, tag) == content.digest
            for blob in blobs_of(content):
                assert self.tree.blob_path(blob).exists(), (name, tag, blob)


def test_gc_beside_pushes_breaks_nothing_that_was_acknowledged(
    memory: Path, background: Callable[[Callable[[], object]], threading.Thread]
) -> None:
    live = Live(TreeBuilder(memory))
    over = threading.Event()
    collector = background(lambda: live.collect(over))
    with ExitStack() as ending:
        ending.callback(over.set)
        for thread in [background(lambda who=who: live.push(who, 12)) for who in range(3)]:  # type: ignore[misc]
            thread.join(120)
    collector.join(120)
    assert live.kept
    assert live.moved
    live.assert_whole()
    assert codes(check(live.tree)) == []


def test_what_a_run_has_moved_away_is_not_linked_again(memory: Path) -> None:
    """The other way round: a manifest comes when what it needs has gone."""
    tree = TreeBuilder(memory)
    some = Pusher(open_store(str(tree.root)))
    content = image(["base"])
    some.before("app", content)
    collect(plan_of(tree, min_age=0.0), some.registry, wait=0)
    with pytest.raises(ReferentsUnknown):
        some.put("app", "v1", content)
    with pytest.raises(ManifestUnknown):
        some.publisher.delete_manifest("app", Digest(content.digest))
    some.push("app", "v1", content)
    assert codes(check(tree)) == []
