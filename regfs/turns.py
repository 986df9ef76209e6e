"""Taking turns: a server changes links beside others who do, and never beside a run.

Who makes or removes a link holds the tree's lock together with others, from its look at
what the link is about to name until the link is durable. A run of gc holds it alone, and
scans the tree while it does. So a link is either there before the scan, and keeps what it
names; or what it would name is seen to be gone, and the link is refused.

    server    look at layers | write links |                       | look at layers: gone
    gc                                     | scan | move away      |
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from regfs.errors import LockHeld
from regfs.runs import LOCK, owner
from regfs.stores import Store

PATIENCE: Final = 10.0
"""Seconds to wait for a run to end."""
_PAUSE: Final = 0.05
"""Seconds between two looks whether it has."""


@contextmanager
def sharing(
    store: Store,
    *,
    patience: float = PATIENCE,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Change links while the block runs; no run is under way meanwhile.

    Raises:
        LockHeld: a run is, and did not end in `patience` seconds.
    """
    until = clock() + patience
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(store.lock(LOCK, owner(), shared=True))
                break
            except LockHeld:
                if clock() >= until:
                    raise
            pause(_PAUSE)
        yield
