"""What heal has fetched and verified, until it is put in place: `.regfs/heal`.

    .regfs/heal.lock                 locked by one heal from its first request to its end
    .regfs/heal/<algorithm>/<hex>    complete, with this digest

The tree is not locked meanwhile: a source may take hours, and pushes and collections go on. A
killed heal leaves what it has fetched; the next one verifies it again and need not fetch it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, NoReturn

from regfs import layout
from regfs.digest import BUFFER_SIZE, Digest, Hasher, Readable, hash_stream
from regfs.errors import ContentMismatch, StoreError
from regfs.heal.report import HealItem
from regfs.heal.source import BlobRequest, Source, ask_each
from regfs.manifests import LIMIT
from regfs.progress import Progress
from regfs.stores import Store, WritableStore
from regfs.stores.blocks import BlockWriter

HEALING: Final = f"{layout.STATE}/heal.lock"
FETCHED: Final = f"{layout.STATE}/heal"
UNKNOWN_LIMIT: Final = 64 << 30
"""Maximum bytes of content whose size is unknown."""


class Fetched(BlockWriter):
    """A fetched file: a `Writer` whose bytes are written already."""

    def __init__(
        self,
        store: WritableStore,
        digest: Digest,
        path: str,
        size: int,
        troubles: Sequence[str] = (),
    ) -> None:
        self.size = size
        self.troubles = troubles
        """How sources failed that were asked earlier."""
        self._store = store
        self._source = _place(digest)
        self._path = path
        self._open = True

    def write(self, data: bytes, /) -> NoReturn:
        """Refuse: the file is complete."""
        raise StoreError(f"{self._path}: the file is complete already")

    def commit(self) -> None:
        """Put it in place durably, replacing what was there."""
        self._store.replace(self._source, self._path)
        self._store.sync(layout.parent_of(self._path))

    def discard(self) -> None:
        """Delete it. Safe to call twice, and after commit."""
        with suppress(StoreError):
            self._store.delete([self._source])


def fetch(
    store: WritableStore, sources: Iterable[Source], item: HealItem, progress: Progress
) -> Fetched:
    """Fetch a blob from the first source that gives it right, unless an earlier heal has done so.

    Raises:
        SourceLacks, SourceError, ContentMismatch: no source gave it.
        StoreError: it cannot be written.
    """

    def copy(source: Source) -> int:
        request = BlobRequest(item.digest, item.size, item.manifest, item.repositories)
        with store.create(_place(item.digest)) as writer, source.open(request) as stream:
            return _copy(stream, writer.write, item, progress)

    before = _fetched_before(store, item.digest)
    size, troubles = ask_each(sources, copy) if before is None else (before, ())
    return Fetched(store, item.digest, item.path, size, troubles)


def _place(digest: Digest) -> str:
    return f"{FETCHED}/{digest.algorithm}/{digest.encoded}"


def _fetched_before(store: Store, digest: Digest) -> int | None:
    with suppress(StoreError), store.open(_place(digest)) as stream:
        (found,), size = hash_stream(stream, (digest.algorithm,))
        return size if found == digest else None
    return None


def _copy(
    stream: Readable, write: Callable[[bytes], int], item: HealItem, progress: Progress
) -> int:
    """Write what a source gives; return its size in bytes.

    Raises:
        ContentMismatch: its digest is wrong, or it is too long.
    """
    hasher = Hasher(item.digest.algorithm)
    limit = item.size if item.size >= 0 else LIMIT if item.manifest else UNKNOWN_LIMIT
    while piece := stream.read(BUFFER_SIZE):
        hasher.update(piece)
        if hasher.size > limit:
            raise ContentMismatch(f"the source gave more than {limit} bytes")
        write(piece)
        progress.advance(len(piece))
    if hasher.digest() != item.digest:
        raise ContentMismatch(
            f"the source gave {hasher.size} bytes with another digest: {hasher.digest()}"
        )
    return hasher.size
