"""Writing many new files: on a disk they are made durable together, in a bucket side by side.

    bulk = bulk_writer(store)
    with bulk.create(path) as file: ...      # from `bulk.threads` threads at once
    bulk.barrier()                           # all of these are durable now

What refers to such files is written after the barrier.
"""

from __future__ import annotations

from typing import Final, Protocol

from regfs.stores import Capability, WritableStore, Writer

_THREADS: Final = 16
"""Files at once where each waits for the network."""


class BulkWriter(Protocol):
    """Writes new files; none of them is durable before `barrier` has returned."""

    threads: int
    """How many files at once are faster than one after the other."""

    def create(self, path: str, *, mtime: float | None = None) -> Writer:
        """Begin a file, as `WritableStore.create`; it may be called from several threads."""

    def barrier(self) -> None:
        """Wait until every committed file is durable.

        Raises:
            StoreError: the storage failed.
        """


class _OneByOne:
    """The writer over a store in which each file is durable by itself."""

    threads = _THREADS

    def __init__(self, store: WritableStore) -> None:
        self._store = store

    def create(self, path: str, *, mtime: float | None = None) -> Writer:
        return self._store.create(path, mtime=mtime)

    def barrier(self) -> None:
        """Do nothing."""


def bulk_writer(store: WritableStore) -> BulkWriter:
    """Return what writes many files to a store."""
    if Capability.FOLDERS in store.capabilities:
        from regfs.stores.local.bulk import LocalBulkWriter
        from regfs.stores.local.store import LocalStore

        if isinstance(store, LocalStore):
            return LocalBulkWriter(store.root)
    return _OneByOne(store)
