"""Where a copy is written: into a folder or bucket, or into a tar.

A file appears at its place whole and right, or not at all. After `barrier` all that was written
before is durable, so that what refers to it may follow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from regfs.stores import Capability, WritableStore, Writer
from regfs.stores.bulk import bulk_writer
from regfs.stores.unfinished import unfinished_name

if TYPE_CHECKING:
    from regfs.stores.archive.writing import TarFile, TarWriter

STANDARD_OUTPUT: Final = "-"


class Medium(Protocol):
    """A place for files."""

    url: str
    """Where it is, for people."""
    store: WritableStore | None
    """What can be asked for what is there already; None of an archive."""
    threads: int
    """How many files may be begun at once."""
    rewinds: bool
    """Whether a file that turns out wrong can be taken back."""

    def begin(self, path: str, size: int, mtime: float | None) -> Writer:
        """Begin a file of `size` bytes."""

    def folder(self, path: str) -> None:
        """Let an empty folder be there, where there are folders."""

    def barrier(self) -> None:
        """Wait until all before is durable."""

    def finish(self) -> None:
        """Let the whole be there."""

    def abandon(self) -> None:
        """Forget what cannot be gone on with. Safe to call after `finish`."""


class StoreMedium:
    """A folder or bucket. What was written stays when the work is broken off, for the next time."""

    rewinds = True

    def __init__(self, store: WritableStore) -> None:
        self.url = store.url
        self.store: WritableStore | None = store
        self._store = store
        self._has_folders = Capability.FOLDERS in store.capabilities
        self._bulk = bulk_writer(store)
        self.threads = self._bulk.threads

    def begin(self, path: str, size: int, mtime: float | None) -> Writer:
        """Begin a file."""
        return self._bulk.create(path, mtime=mtime)

    def folder(self, path: str) -> None:
        """Make a folder, of which a bucket has none."""
        if self._has_folders:
            inside = f"{path}/{unfinished_name('folder')}"  # a file brings the folder it is in
            self._store.create(inside).commit()
            self._store.delete([inside])

    def barrier(self) -> None:
        """Wait until all before is durable."""
        self._bulk.barrier()

    def finish(self) -> None:
        """Do nothing: each file is there."""

    def abandon(self) -> None:
        """Do nothing."""


class TarMedium:
    """A tar: one file at a time."""

    threads = 1
    store: WritableStore | None = None

    def __init__(self, tar: TarWriter, file: TarFile | None = None) -> None:
        """`file` is that of the tar, if it is one of its own."""
        self.url = tar.name
        self.rewinds = tar.rewinds
        self._tar = tar
        self._file = file

    def begin(self, path: str, size: int, mtime: float | None) -> Writer:
        """Begin an entry."""
        return self._tar.begin(path, size, mtime)

    def folder(self, path: str) -> None:
        """Add an entry that is a folder."""
        self._tar.folder(path)

    def barrier(self) -> None:
        """Do nothing: an archive is there as a whole."""

    def finish(self) -> None:
        """End the archive, and give it its name."""
        if self._file is None:
            self._tar.finish()
        else:
            self._file.commit()

    def abandon(self) -> None:
        """Remove an archive that was not finished."""
        if self._file is not None:
            self._file.discard()


def put(medium: Medium, path: str, data: bytes, mtime: float | None = None) -> None:
    """Write a small file.

    Raises:
        StoreError: it cannot be written.
    """
    with medium.begin(path, len(data), mtime) as file:
        file.write(data)
