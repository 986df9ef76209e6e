"""Sources in folders: another registry tree, and an OCI image layout."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from regfs import layout
from regfs.digest import Digest
from regfs.errors import NotARegistry, PathMissing, SourceError, SourceLacks, StoreError
from regfs.heal.source import BlobRequest
from regfs.stores import FileKind, Store, open_store
from regfs.stores.local.store import LocalStore


class _Stream(io.RawIOBase):
    """A file of the source: an error of reading it is one of the source, not of our disk."""

    def __init__(self, stream: BinaryIO, url: str) -> None:
        super().__init__()
        self._stream = stream
        self._url = url

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        with memoryview(buffer) as view:
            try:
                data = self._stream.read(len(view))
            except StoreError as error:
                raise SourceError(f"{self._url}: {error}") from error
            view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


class Files:
    """A store in which each digest has a path."""

    def __init__(self, store: Store, url: str, place: Callable[[Digest], str]) -> None:
        self._store = store
        self.url = url
        self._place = place

    def size(self, request: BlobRequest) -> int:
        """Return the size of the file."""
        try:
            entry = self._store.stat(self._place(request.digest))
        except PathMissing:
            raise SourceLacks("the source does not have it") from None
        except StoreError as error:
            raise SourceError(f"{self.url}: {error}") from error
        if entry.kind is not FileKind.FILE:
            raise SourceLacks("the source has no regular file in its place")
        return entry.size

    def open(self, request: BlobRequest) -> BinaryIO:
        """Open the file; anything but a regular file is refused."""
        try:
            stream = self._store.open(self._place(request.digest))
        except PathMissing:
            raise SourceLacks("the source does not have it") from None
        except StoreError as error:
            raise SourceError(f"{self.url}: {error}") from error
        return cast(BinaryIO, _Stream(stream, self.url))

    def close(self) -> None:
        """Do nothing: no file stays open."""


def open_tree(path: str) -> Files:
    """Open a tree in the v2 layout.

    Raises:
        NotARegistry: there is no such tree.
    """
    store = open_store(path)
    return Files(store, store.url, layout.blob_path)


def open_layout(path: str) -> Files:
    """Open the folder of an OCI image layout.

    Raises:
        NotARegistry: it is not one.
    """
    store = LocalStore(path)
    try:
        whole = store.stat("blobs").kind is FileKind.FOLDER and store.stat("oci-layout").size >= 0
    except StoreError:
        whole = False
    if not whole:
        raise NotARegistry(f"{path}: not an OCI image layout: no oci-layout and blobs in it")
    return Files(store, f"oci:{store.url}", lambda d: f"blobs/{d.algorithm}/{d.encoded}")
