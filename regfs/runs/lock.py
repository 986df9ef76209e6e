"""The lock of a tree: held by one run alone, or shared by the many changes of a server.

Whoever writes or removes a link shares the lock, from checking that what the link will name
exists until the link is durable. A run of gc holds it alone while it scans and moves. So a link
is either there before the scan, and keeps what it names; or the check finds that what it would
name is gone, and the link is refused.

    server    check layers | write links |                       | check layers: gone
    gc                          (waits)  | scan | move away      |

A run waits for those who share the lock, and whoever comes later waits for the run; otherwise
a busy server would never let one begin.

    .regfs/lock         held by a run alone, or shared
    .regfs/lock.next    held by a run while it waits; a share is taken through it
    .regfs/serving      held by a server that takes pushes, for as long as it serves
    the root folder     shared by all who hold a file; held alone by whoever cannot make one

A lock file is empty, so a run can begin on a full disk. Where not even an empty file can be
made, the root folder is locked instead. Everybody else shares that lock, so both ways exclude
each other.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final

from regfs import layout
from regfs.errors import Doubt, LockHeld, Refused, StoreError, StoreFull, printable
from regfs.stores import Capability, WritableStore
from regfs.units import rfc3339

LOCK: Final = f"{layout.STATE}/lock"
SERVING: Final = f"{layout.STATE}/serving"
_NEXT: Final = f"{layout.STATE}/lock.next"
_ROOT: Final = ""
"""The root folder, which needs no space to be locked."""
LOCK_TIMEOUT: Final = 10.0
"""Seconds to wait for others to release the lock."""
_PAUSE: Final = 0.02
"""Seconds between two attempts."""


def owner() -> str:
    """Return one line that says who holds the lock."""
    now = rfc3339(time.time())
    return f"regfs, process {os.getpid()} on {os.uname().nodename} since {now}"


@contextmanager
def exclusive(store: WritableStore, *, timeout: float = LOCK_TIMEOUT) -> Iterator[None]:
    """Be the only one who changes the tree while the block runs.

    Raises:
        LockHeld: another run is under way; or others change links, and did not end in
            `timeout` seconds.
    """
    with ExitStack() as held:

        def enter() -> None:
            with ExitStack() as files, ExitStack() as waiting:
                files.enter_context(store.lock(_ROOT, owner(), shared=True))
                take = partial(store.lock, owner=owner())
                _until(lambda: waiting.enter_context(take(_NEXT)), timeout, alone=True)
                _until(lambda: files.enter_context(take(LOCK)), timeout, alone=True)
                held.push(files.pop_all())

        _enter(store, held, enter, timeout, alone=True)
        yield


def refuse_if_locked(store: WritableStore) -> None:
    """See that no run is under way; make nothing to find that out.

    Raises:
        LockHeld: a run is under way.
    """
    if Capability.CHANGE not in store.capabilities:
        return
    try:
        with store.lock(_ROOT, owner(), shared=True):
            store.stat(LOCK)
            with store.lock(LOCK, owner(), shared=True):
                return
    except (StoreError, Doubt):  # there is no lock yet, or we may not write, and so not lock
        return


@contextmanager
def serving_alone(store: WritableStore) -> Iterator[None]:
    """Be the only server that takes pushes while the block runs.

    A server orders writes to uploads and repositories among its own requests only. Any number
    of servers may read.

    Raises:
        Refused: another server takes pushes; or the tree is not in a folder.
    """
    if Capability.CHANGE in store.capabilities and Capability.FOLDERS not in store.capabilities:
        raise Refused(
            f"{printable(store.url)}: regfs takes pushes into a folder only: a bucket has no files "
            "to add to; push through a registry, and serve without --writable"
        )
    with ExitStack() as held:
        try:
            held.enter_context(store.lock(SERVING, f"{owner()}, which serves"))
        except LockHeld as error:
            raise Refused(
                f"another server takes pushes into this tree ({error}); "
                "stop it, or serve without --writable"
            ) from None
        yield


@contextmanager
def shared(store: WritableStore, *, timeout: float = LOCK_TIMEOUT) -> Iterator[None]:
    """Change links while the block runs, as others may; no run is under way meanwhile.

    Raises:
        LockHeld: a run is under way, and did not end in `timeout` seconds.
    """
    with ExitStack() as held:

        def enter() -> None:
            with ExitStack() as files:
                files.enter_context(store.lock(_ROOT, owner(), shared=True))
                with store.lock(_NEXT, owner(), shared=True):
                    files.enter_context(store.lock(LOCK, owner(), shared=True))
                held.push(files.pop_all())

        _enter(store, held, enter, timeout, alone=False)
        yield


def _enter(
    store: WritableStore, held: ExitStack, enter: Callable[[], None], timeout: float, *, alone: bool
) -> None:
    """Lock the files; where there is no space to make them, lock the root folder alone."""
    try:
        _until(enter, timeout, alone=alone)
    except StoreFull:
        take = partial(store.lock, _ROOT, owner())
        _until(lambda: held.enter_context(take()), timeout, alone=alone)


def _until(enter: Callable[[], object], timeout: float, *, alone: bool) -> None:
    """Try until a lock is taken, or waiting is of no use."""
    last = time.monotonic() + timeout
    while True:
        try:
            enter()
            return
        except LockHeld as error:
            # Two runs do not queue: the second is refused at once.
            if (alone and not error.shared) or time.monotonic() >= last:
                raise
        time.sleep(_PAUSE)
