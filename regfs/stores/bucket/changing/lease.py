"""The lock of a tree in a bucket: a lease that is renewed, with a generation.

    .regfs/lock/00000007             held: who holds it, and for how long from its last renewal on
    .regfs/lock/00000007.released    given back

Who wants the lock makes the next generation, which must not be there yet: of many who try at
once, the bucket lets one succeed. It may when the last generation is given back, or was not
renewed for longer than it lasts: by the times of the server, which its answers and objects
have, so no clock of any machine counts, only how long a second is.

A holder renews by writing its object again. It stops to change anything

    before every request   when its own monotonic clock says that the lease may have ended: it
                           counts from before the renewal was sent, and a quarter less than the
                           lease lasts. So it stops before anybody else may begin, however late it
                           hears of that, and after a pause of any length.
    before every batch     when a higher generation is there.
    as it arrives          the server itself refuses it when the lease has ended: a change is
                           signed for no longer than that, by the server's clock.
"""

from __future__ import annotations

import json
import math
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from regfs.errors import LockHeld, LockLost, StoreError, printable
from regfs.stores.bucket.changing.objects import Objects

LASTS: Final = 40.0
"""Seconds that a lease lasts without a renewal."""
_RENEWALS: Final = 5
"""Attempts to renew while it lasts."""
_SAFE: Final = 0.75
"""Part of the time for which its holder relies on it."""
_PATIENCE: Final = 10.0
"""Seconds to wait for a renewal that is under way."""
_SLACK: Final = 2.0
"""Seconds: times of objects are whole seconds."""
_RELEASED: Final = ".released"
_LONGEST: Final = 4096
_MOST: Final = 3600.0
"""Seconds that are believed."""


class Lease:
    """One hold of the lock at a path. Not reusable."""

    def __init__(
        self,
        objects: Objects,
        path: str,
        owner: str,
        *,
        versioned: bool,
        lasts: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._objects = objects
        self._folder = f"{objects.base}{path}"
        self._path = path
        self._versioned = versioned
        self._lasts = LASTS if lasts is None else lasts
        self._clock = clock
        self._generation = 0
        self._until = 0.0
        """Until when the holder relies on it, by the monotonic clock."""
        self._ended = threading.Event()
        self._stopped = False
        """Whether the holder has asked that nothing more is changed."""
        self._renewing = threading.Thread(target=self._renew, name="lease", daemon=True)
        text = {"owner": owner, "lasts": self._lasts, "nonce": secrets.token_hex(8)}
        self._body = json.dumps(text).encode()

    # -- taking ------------------------------------------------------------------------

    def take(self) -> None:
        """Take the lock.

        Raises:
            LockHeld: somebody holds it.
        """
        seen = self._generations()
        last = max(seen, default=0)
        while True:
            if last and not seen.get(last):
                self._require_ended(last)
            sent = self._clock()
            if self._objects.put_absent(self._key(last + 1), self._body):
                break
            last += 1  # the listing was an old one, or somebody was faster
        self._generation = last + 1
        self._until = sent + _SAFE * self._lasts
        self.check()
        # The last one stays: an old listing may show it as the last still.
        for old in (one for one in seen if one < last):
            self._forget(old)
        self._renewing.start()

    def _generations(self) -> dict[int, bool]:
        """Return the generations that are there, and whether each is given back."""
        found: dict[int, bool] = {}
        for one in self._objects.below(self._folder):
            name = one.key[len(self._folder) + 1 :]
            number = name.removesuffix(_RELEASED)
            if number.isascii() and number.isdigit():
                found[int(number)] = found.get(int(number), False) or name != number
        return found

    def require_free(self) -> None:
        """See that nobody holds the lock; take nothing.

        Raises:
            LockHeld: somebody does.
        """
        seen = self._generations()
        last = max(seen, default=0)
        if last and not seen[last]:
            self._require_ended(last)

    def _require_ended(self, generation: int) -> None:
        """See that a lease was not renewed for longer than it lasts, by the server's clock."""
        released = self._objects.find(self._key(generation) + _RELEASED)
        held = self._objects.find(self._key(generation))
        if released or held is None:
            return  # given back; an old listing does not show that
        owner, lasts = self._said(generation)
        left = held.mtime + lasts + _SLACK - self._objects.signed.now()
        if left >= 0:
            raise LockHeld(
                f"{self._path}: held by {printable(owner)}; a run that is under way renews that; "
                f"if it was killed, the next may begin in {math.floor(left) + 1} seconds"
            )

    def _said(self, generation: int) -> tuple[str, float]:
        """Return who holds a generation, and for how many seconds from a renewal on."""
        try:
            found = json.loads(self._objects.content(self._key(generation), _LONGEST))
            owner, lasts = str(found["owner"])[:200], float(found["lasts"])
        except (StoreError, ValueError, KeyError, TypeError):
            return "another process", LASTS
        return owner, lasts if 0 < lasts <= _MOST else LASTS

    # -- holding -----------------------------------------------------------------------

    def require(self) -> float:
        """See that the lease may not have ended; return the seconds until it may have, at least.

        Raises:
            LockLost: it may have.
        """
        left = self._until - self._clock()
        if self._stopped:
            raise self._lost("it was interrupted")
        if left <= 0:
            raise self._lost("it could not be renewed in time")
        return left + (1.0 - _SAFE) * self._lasts

    def stop(self) -> None:
        """Let nothing more be changed, until it is given back."""
        self._stopped = True

    def check(self) -> None:
        """See that nobody has taken the lock over.

        Raises:
            LockLost: somebody has, or may have.
        """
        self.require()
        # A listing may be old; of one object the server tells what is there.
        following = self._objects.find(self._key(self._generation + 1))
        if following or max(self._generations(), default=0) > self._generation:
            self._until = 0.0
            raise self._lost("another run has taken it over")

    def _lost(self, why: str) -> LockLost:
        return LockLost(
            f"{self._path}: this run has lost its lease: {why}. It changes nothing more; what it "
            "did is in its journal (regfs gc runs)"
        )

    def _renew(self) -> None:
        pause = self._lasts / _RENEWALS
        while not self._ended.wait(pause):
            sent = self._clock()
            if sent >= self._until:
                return
            with suppress(StoreError, LockLost):
                self._objects.put(self._key(self._generation), self._body)
                self._until = max(self._until, sent + _SAFE * self._lasts)

    def release(self) -> None:
        """Give the lock back; if that fails, the lease ends by itself."""
        self._ended.set()
        if self._renewing.ident is not None:
            self._renewing.join(_PATIENCE)
        self._stopped = False
        with suppress(StoreError, LockLost):
            self.require()
            self._objects.put(self._key(self._generation) + _RELEASED, b"")

    def _forget(self, generation: int) -> None:
        with suppress(StoreError):
            for key in (self._key(generation), self._key(generation) + _RELEASED):
                self._objects.forget(key, versioned=self._versioned)

    def _key(self, generation: int) -> str:
        return f"{self._folder}/{generation:08}"
