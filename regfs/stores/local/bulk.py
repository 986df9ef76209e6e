"""Many new files in a directory store, made durable together.

One by one, each file waits for the disk twice (its bytes, its name). Here a file is renamed to
its place when its last byte was handed to the system, and `barrier` waits once for all of them.
A killed process leaves whole files and unfinished ones beside their places. A power cut before
the barrier may leave a file shorter than it should be, never one of the right length with other
bytes: file systems that journal give a file its length when its bytes are on the disk.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Any

from regfs.stores.local import write
from regfs.stores.local.files import LocalWriter
from regfs.stores.local.root import FOLDER_FLAGS, LocalRoot


class LocalBulkWriter:
    """New files below one root; may be used from several threads."""

    def __init__(self, root: LocalRoot) -> None:
        self._root = root
        self.threads = len(os.sched_getaffinity(0))

    def create(self, path: str, *, mtime: float | None = None) -> LocalWriter:
        """Begin a file; it is durable after the next barrier."""
        return write.create(self._root, path, mtime, lasting=False)

    def barrier(self) -> None:
        """Wait until every file that was committed is on the disk; nobody writes meanwhile."""
        seen = set()
        for place in {self._root.path, self._root.v2}:
            try:
                descriptor = os.open(place, FOLDER_FLAGS)
            except OSError:  # nothing was written there
                continue
            try:
                device = os.fstat(descriptor).st_dev
                if device not in seen:
                    seen.add(device)
                    _sync_file_system(self._root, descriptor)
            finally:
                os.close(descriptor)
        self._root.all_synced()


def _sync_file_system(root: LocalRoot, descriptor: int) -> None:
    call = _syncfs()
    if call is None:
        os.sync()
    elif call(descriptor) != 0:
        number = ctypes.get_errno()
        raise root.fault("", OSError(number, os.strerror(number)))


@cache
def _syncfs() -> Any:
    """Return the system's syncfs, which Python does not offer; None if there is none."""
    try:
        return ctypes.CDLL(None, use_errno=True).syncfs
    except (AttributeError, OSError):
        return None
