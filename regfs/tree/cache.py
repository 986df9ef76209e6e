"""A dictionary that forgets what was asked for longest ago: for what takes time to find out."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LRUCache(Generic[K, V]):
    """As much as weighs no more than `limit` in all; several threads may use it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._weight = 0
        self._held: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        """Return what was put, unless it is forgotten."""
        with self._lock:
            found = self._held.get(key)
            if found is None:
                return None
            self._held.move_to_end(key)
            return found[0]

    def put(self, key: K, value: V, weight: int) -> None:
        """Keep a value; one that alone is heavier than the limit is not kept."""
        with self._lock:
            before = self._held.pop(key, None)
            if before is not None:
                self._weight -= before[1]
            if weight > self._limit:
                return
            self._held[key] = value, weight
            self._weight += weight
            while self._weight > self._limit:
                _, (_, lost) = self._held.popitem(last=False)
                self._weight -= lost

    def __len__(self) -> int:
        return len(self._held)
