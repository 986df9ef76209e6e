"""The lock of a tree in a bucket: one holder, by the server's clock; a former one does nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from regfs.errors import LockHeld, LockLost, Refused, StoreError
from regfs.stores import WritableStore, open_store
from regfs.stores.bucket.changing import lease, writing
from regfs.stores.bucket.place import of_url
from tests.support.buckets import NAME, bucket_of
from tests.support.s3.bucket import FakeBucket, Stored

ROOT = f"s3://{NAME}"
LOCK = ".regfs/lock"
TREE = "docker/registry/v2/repositories/app/_layers/sha256"
MANY = 400


@pytest.fixture(params=[False, True], ids=["copies", "versions"])
def bucket(request: pytest.FixtureRequest) -> Iterator[FakeBucket]:
    with bucket_of() as found:
        found.versioning = "Enabled" if request.param else ""
        for number in range(MANY):
            found.objects[f"{TREE}/{number:064x}/link"] = Stored(b"sha256:", 1e9)
        yield found


def opened() -> WritableStore:
    return open_store(of_url(ROOT, os.environ))


def test_one_of_many_who_try_at_once_holds_it(bucket: FakeBucket) -> None:
    stores = [opened() for _ in range(8)]
    for store in stores:
        store.require_writable(["docker"])
    begun = threading.Barrier(len(stores), timeout=120)
    ended = threading.Barrier(len(stores), timeout=120)

    def take(store: WritableStore) -> bool:
        begun.wait()
        try:
            with store.lock(LOCK, "one of them"):
                ended.wait()
                return True
        except LockHeld as error:
            assert "one of them" in str(error)
            ended.wait()
            return False

    with ThreadPoolExecutor(len(stores)) as pool:
        for _ in range(3):
            assert sum(pool.map(take, stores)) == 1


def test_a_share_is_refused_while_somebody_holds_it_and_takes_nothing(bucket: FakeBucket) -> None:
    store = opened()
    store.require_writable(["docker"])
    share = opened().lock(LOCK, "me", shared=True)
    with store.lock(LOCK, "somebody"), pytest.raises(LockHeld, match="somebody"), share:
        pass
    before = set(bucket.objects)
    with opened().lock(LOCK, "me", shared=True):
        assert set(bucket.objects) == before


def test_it_is_free_when_it_was_given_back(bucket: FakeBucket) -> None:
    for _ in range(3):
        with opened().lock(LOCK, "me"):
            pass
    assert len([key for key in bucket.objects if key.startswith(LOCK)]) <= 4


def _killed() -> None:
    """Hold the lock as a process does that is killed."""
    store: Any = opened()
    held = lease.Lease(store._ready()[0], LOCK, "who was killed", versioned=False)
    held.take()
    held._ended.set()
    held._renewing.join()


def test_only_the_clock_of_the_server_says_that_a_lease_has_ended(
    bucket: FakeBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time
    shown = now()
    monkeypatch.setattr(bucket, "time", lambda: shown)  # the server's, which this test moves
    _killed()
    monkeypatch.setattr(time, "time", lambda: now() + 600)  # more, and no request is accepted
    shown += lease.LASTS - 2
    with pytest.raises(LockHeld, match=r"held by who was killed.*in \d+ seconds$") as held:
        opened().lock(LOCK, "me").__enter__()
    left = int(str(held.value).split()[-2])
    assert 0 < left <= 5
    shown += left
    with opened().lock(LOCK, "me"):
        pass


def test_who_could_not_renew_in_time_changes_nothing(
    bucket: FakeBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LASTS", 0.8)
    store = opened()
    store.require_writable(["docker"])
    denied = lambda method, key, query: (  # noqa: E731
        (403, "AccessDenied") if key.startswith(LOCK) and method == "PUT" else None
    )
    with pytest.raises(LockLost), store.lock(LOCK, "me"):
        bucket.fault = denied
        time.sleep(1.0)
        before = dict(bucket.objects)
        try:
            store.move(f"{TREE}/{0:064x}", f".regfs/runs/r/quarantine/{TREE}/{0:064x}")
        finally:
            assert bucket.objects == before


def test_who_was_taken_over_changes_nothing(bucket: FakeBucket) -> None:
    store = opened()
    with pytest.raises(LockLost, match="taken it over"), store.lock(LOCK, "me"):
        bucket.clock += 200  # its renewals have not come for so long, as the server sees it
        bucket.objects[f"{LOCK}/00000002"] = Stored(b"{}", time.time())
        before = dict(bucket.objects)
        try:
            store.move(f"{TREE}/{0:064x}", f".regfs/runs/r/quarantine/{TREE}/{0:064x}")
        finally:
            assert bucket.objects == before


def test_who_is_interrupted_changes_nothing_when_the_lock_is_given_back(
    bucket: FakeBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened()
    store.require_writable(["docker"])
    moves = [
        (path, f".regfs/runs/r/quarantine/{path}")
        for path in [f"{TREE}/{number:064x}/link" for number in range(MANY)]
    ]
    real = futures.wait
    interrupted: list[bool] = []

    def wait(pending: Any) -> Any:
        if not interrupted:
            interrupted.append(True)
            raise KeyboardInterrupt
        return real(pending)

    monkeypatch.setattr(writing, "wait", wait)
    bucket.wait = lambda method, key, query: 0.2 if "/quarantine/" in key else 0.0
    with pytest.raises(KeyboardInterrupt), store.lock(LOCK, "me"):
        list(store.move_many(moves))
    before = _tree(bucket)
    time.sleep(0.6)
    assert _tree(bucket) == before
    assert all(path in bucket.objects for path, _ in moves)
    with opened().lock(LOCK, "the next"):
        pass


def test_keys_among_its_own_that_are_no_paths_are_said_in_a_line(bucket: FakeBucket) -> None:
    bucket.objects[".regfs/lock//x"] = Stored(b"", 1e9)
    with pytest.raises(StoreError, match=r"no paths \(an empty part, as in a//b\)"):
        opened().lock(LOCK, "me").__enter__()


def test_a_server_without_conditions_is_refused_unless_versions_tell_who_was_first(
    bucket: FakeBucket,
) -> None:
    bucket.check = lambda key, conditions: None  # type: ignore[method-assign]
    if bucket.versioning:
        with opened().lock(LOCK, "me"), pytest.raises(LockHeld, match="me"):
            opened().lock(LOCK, "another").__enter__()
    else:
        with pytest.raises(Refused, match="If-None-Match"):
            opened().lock(LOCK, "me").__enter__()


HOLDER = f"""
import os, sys
from regfs.errors import LockLost
from regfs.stores import open_store
from regfs.stores.bucket.changing import lease, writing
from regfs.stores.bucket.place import of_url

for line in sys.stdin:
    lease.LASTS = float(line)
    store = open_store(of_url({ROOT!r}, os.environ))
    moves = [
        (path, f".regfs/runs/run/quarantine/{{path}}")
        for path in [f"{TREE}/{{n:064x}}/link" for n in range({MANY})]
    ]
    try:
        with store.lock({LOCK!r}, "the holder"):
            for number, failure in enumerate(store.move_many(moves)):
                if number == 0:
                    print("held", flush=True)
        print("done", flush=True)
    except LockLost:
        print("lost", flush=True)
"""


@contextmanager
def holder() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def _tree(bucket: FakeBucket) -> dict[str, Stored]:
    return {key: one for key, one in bucket.objects.items() if LOCK not in key}


def test_a_holder_that_was_stopped_past_its_time_changes_nothing_more() -> None:
    chance, moved, lasts = random.Random(14), 0, 0.6
    with bucket_of() as bucket, holder() as process:
        assert process.stdin is not None and process.stdout is not None
        start = {f"{TREE}/{number:064x}/link": Stored(b"sha256:", 1e9) for number in range(MANY)}
        bucket.objects = dict(start)
        mine = opened()
        rounds = 0
        while rounds < 20:
            bucket.objects, bucket.clock = dict(start), 0.0
            process.stdin.write(f"{lasts}\n")
            if process.stdout.readline() != "held\n":
                lasts *= 2  # a busy machine took all of its time
                continue
            rounds += 1
            time.sleep(chance.uniform(0.0, 0.3))
            process.send_signal(signal.SIGSTOP)
            time.sleep(lasts + 0.05)
            bucket.clock += 60 + 2 * lasts
            with mine.lock(LOCK, "who took over"):
                before = _tree(bucket)
                process.send_signal(signal.SIGCONT)
                said = process.stdout.readline()
                assert said == "lost\n" or not start.keys() & before.keys()  # it was done before
                assert _tree(bucket) == before
            moved += len(start.keys() - before.keys())
    assert 20 < moved < 20 * MANY  # it was stopped in the midst of it
