"""Files that grow, in a bucket: each flush is an object of its own, which nobody replaces.

    journal.jsonl._regfs.00000001    journal.jsonl._regfs.00000002    ..

What was written and not flushed is lost with the process, as on a disk. A part is there whole or
not at all, so no line is torn. A part that is there already, with something else in it, means
that somebody else writes this file: nothing is written then.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from regfs.errors import LockLost, printable
from regfs.stores.bucket.changing.objects import Objects
from regfs.stores.bucket.listing.aside import segment_key


class SegmentWriter(io.RawIOBase):
    """A file in a bucket that is open to be added to; `flush` makes what was written durable."""

    def __init__(
        self, objects: Objects, path: str, parts: int, written: Callable[[str, int], None]
    ) -> None:
        """There are so many `parts` already. `written` is told the key and size of each new one."""
        super().__init__()
        self._objects = objects
        self._path = path
        self._number = parts
        self._written = written
        self._data = bytearray()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any, /) -> int:
        """Add bytes."""
        self._data += data
        return len(data)

    def flush(self) -> None:
        """Make what was written durable.

        Raises:
            LockLost: somebody else has written a part.
            StoreError: the storage failed.
        """
        if not self._data:
            return
        key = f"{self._objects.base}{segment_key(self._path, self._number + 1)}"
        if not self._objects.put_absent(key, bytes(self._data)):
            raise LockLost(
                f"{printable(self._path)}: another process has written to it; nothing more is "
                "changed"
            )
        self._number += 1
        self._written(key, len(self._data))
        self._data.clear()

    def close(self) -> None:
        """Make what was written durable, and end."""
        if not self.closed:
            try:
                self.flush()
            finally:
                self._data.clear()
                super().close()
