"""How a bucket fails, as told: refusals, lost answers, old listings, a stop, a missing permission.

bucket.fault = lambda method, key, query: (503, "SlowDown")
bucket.lose = lambda method, key, query: method == "DELETE"     # done, and never answered
bucket.stop_after(17)                                           # a crash
bucket.denied = {"s3:DeleteObject"}
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Query = dict[str, str]
STOPPED = (400, "Stopped")
"""What is answered after the stop: nothing that a client tries again."""
_REMEMBERED = 4096


class Refused(Exception):
    """A request that is answered by a status and a code."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(status, code)
        self.status, self.code = status, code


class Lost(Exception):
    """The connection ends in place of an answer."""


@dataclass
class Faults:
    """How a bucket fails."""

    fault: Callable[[str, str, Query], tuple[int, str] | None] = lambda *_: None
    """Method, key, query -> status and code of a refusal. Nothing is done."""
    lose: Callable[[str, str, Query], bool] = lambda *_: False
    """Whether the request is carried out, and the connection then closed without an answer."""
    repeat: Callable[[str, str, Query], bool] = lambda *_: False
    """Whether the request is carried out twice, and answered by what the second does."""
    wait: Callable[[str, str, Query], float] = lambda *_: 0.0
    """Seconds before the request is carried out: those that came later overtake it."""
    stale: Callable[[str], int] | None = None
    """Prefix -> how many changes a listing lags behind; set before the first change."""
    behind: Callable[[str], float] | None = None
    """Prefix -> by how many seconds a listing lags behind; set before the first change."""
    cut: int = 0
    """Bytes after which bodies of objects end."""
    retry_after: int | None = None
    """What a refusal says in Retry-After, in seconds."""
    clock: float = 0.0
    """Seconds by which the clock of the server is ahead."""
    skew: float = 15 * 60
    """Seconds that the clock of a request may be off."""
    denied: set[str] = field(default_factory=set)
    """Actions that are not permitted, as policies name them: `s3:PutObject`."""
    changes: int = 0
    """How many changes were carried out; each key of a bulk delete is one."""
    _left: int | None = None
    _past: deque[tuple[float, dict[str, Any]]] = field(
        default_factory=lambda: deque(maxlen=_REMEMBERED)
    )

    def time(self) -> float:
        """Return the time of the server."""
        return time.time() + self.clock

    def stop_after(self, changes: int | None) -> None:
        """Refuse everything once so many more changes are carried out; None ends that."""
        self._left = changes

    @property
    def stopped(self) -> bool:
        """Whether nothing is answered any more."""
        return self._left == 0

    def change(self, objects: Mapping[str, Any]) -> None:
        """Note that one change comes now."""
        if self._left is not None:
            if self._left == 0:
                raise Refused(*STOPPED)
            self._left -= 1
        self.changes += 1
        if self.stale is not None or self.behind is not None:
            self._past.append((self.time(), dict(objects)))

    def seen(self, objects: Mapping[str, Any], prefix: str) -> Mapping[str, Any]:
        """Return the objects as a listing shows them."""
        past = self._past
        if self.behind is not None and (seconds := self.behind(prefix)) > 0:
            at = self.time() - seconds
            return next((before for changed, before in past if changed > at), objects)
        lag = self.stale(prefix) if self.stale is not None else 0
        return past[max(len(past) - lag, 0)][1] if lag and past else objects

    def permit(self, *actions: str) -> None:
        """Raise if one of the actions is denied."""
        if self.denied.intersection(actions):
            raise Refused(403, "AccessDenied")
