"""Taking turns at a tree: one run alone, or a server's many changes of links together.

Who makes or removes a link shares the lock, from its look at what the link is about to
name until the link is durable. A run of gc holds it alone, and scans the tree while it
does. So a link is either there before the scan, and keeps what it names; or what it would
name is seen to be gone, and the link is refused.

    server    look at layers | write links |                       | look at layers: gone
    gc                            (waits)  | scan | move away      |

A run waits for those who share the lock, and whoever comes later waits for the run: else
a busy server would never let one begin.

    .regfs/lock         held by a run alone, or shared
    .regfs/lock.next    held by a run while it waits; who wants to share passes by it
    .regfs/serving      held by a server that takes pushes, for as long as it serves
    the root folder     shared by all who hold a file; held alone by whoever cannot make one

A lock needs no bytes, so a run can begin on a full disk. Where not even an empty file can
be made, the root folder is locked instead. Everybody else shares that lock, so they wait for
each other though they hold different things.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final

from regfs import layout
from regfs.errors import LockHeld, Refused, StoreError, StoreFull
from regfs.stores import Store
from regfs.units import rfc3339

LOCK: Final = f"{layout.STATE}/lock"
SERVING: Final = f"{layout.STATE}/serving"
_NEXT: Final = f"{layout.STATE}/lock.next"
_ROOT: Final = ""
"""The root folder, which is there without any space for it."""
LOCK_TIMEOUT: Final = 10.0
"""Seconds to wait for the others to end."""
_PAUSE: Final = 0.02
"""Seconds between two looks whether they have."""


def owner() -> str:
    """Return one line that says who holds the lock."""
    now = rfc3339(time.time())
    return f"regfs, process {os.getpid()} on {socket.gethostname()} since {now}"


@contextmanager
def exclusive(store: Store, *, timeout: float = LOCK_TIMEOUT) -> Iterator[None]:
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


def refuse_if_locked(store: Store) -> None:
    """Return if no run is under way, or none can be: nothing is made to find that out.

    Raises:
        LockHeld: one is.
    """
    try:
        with store.lock(_ROOT, owner(), shared=True):
            store.stat(LOCK)
            with store.lock(LOCK, owner(), shared=True):
                return
    except StoreError:  # there is no lock yet, or we may not write, and so not lock
        return


@contextmanager
def serving_alone(store: Store) -> Iterator[None]:
    """Be the only server that takes pushes while the block runs.

    Who writes to an upload, and which change of a repository comes first, a server settles
    among its own requests only. Those that just read may be many.

    Raises:
        Refused: there is another one.
    """
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
def shared(store: Store, *, timeout: float = LOCK_TIMEOUT) -> Iterator[None]:
    """Change links while the block runs, as others may; no run is under way meanwhile.

    Raises:
        LockHeld: a run is, and did not end in `timeout` seconds.
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
    store: Store, held: ExitStack, enter: Callable[[], None], timeout: float, *, alone: bool
) -> None:
    """Take the files, or where there is no space to make them, the root folder alone."""
    try:
        _until(enter, timeout, alone=alone)
    except StoreFull:
        take = partial(store.lock, _ROOT, owner())
        _until(lambda: held.enter_context(take()), timeout, alone=alone)


def _until(enter: Callable[[], object], timeout: float, *, alone: bool) -> None:
    """Try to get a lock until it is got, or it is no use to wait any longer."""
    last = time.monotonic() + timeout
    while True:
        try:
            enter()
            return
        except LockHeld as error:
            # Two runs do not queue: a person is told at once.
            if (alone and not error.shared) or time.monotonic() >= last:
                raise
        time.sleep(_PAUSE)
