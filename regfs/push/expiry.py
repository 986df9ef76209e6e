"""Idle uploads: a server that accepts pushes deletes them when they are old.

    round 1    it is old                          remembered
    round 2    it is old, and unchanged           deleted: _uploads/<id>, with all in it

This deletes for good, without an undo. Why nothing is lost that was acknowledged:

The bytes of an upload are not content yet: no link names them, and no client can pull them. Only
a commit turns them into content, and it first renames `data` out of the folder. So whichever
comes first, an acknowledged commit has moved its bytes out of reach, and a commit that comes too
late is refused, and its client pushes again.

What could be lost is work: the bytes of a push that still continues. Protection against that:

    a request writes to it      It is left. While it is checked and deleted, no request of this
                                server gets it; `runs.lock.serving_alone` keeps other writable
                                servers away.
    age                         counts from its startedat and from the last change of anything in
                                it, such as each byte that arrives. A time in the future counts
                                as no age.
    two checks                  One round apart, by a monotonic clock: an upload that another
                                registry continues has changed in between, and a clock that
                                jumps ahead makes nothing old at once.
    a run is under way          gc may be moving it, or a restore putting it back file by file
                                with old times. Both hold the lock exclusively; here it is
                                shared from the last check to the deletion.
    anything odd                An unknown file (such as those NFS keeps while they are open), a
                                link, or something unreadable: it is left. If links give
                                folders a second name, all uploads are left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from regfs import layout
from regfs.errors import LockHeld, StoreError
from regfs.findings import Code, Finding
from regfs.names import name_problem
from regfs.push.uploads import Uploads
from regfs.runs.lock import shared
from regfs.stores import Entry, FileKind
from regfs.tree.inventory import Inventory
from regfs.tree.links import upload_started
from regfs.tree.scan import walk_repositories

_SECOND_NAMES: Final = frozenset({Code.SYMLINK_INSIDE, Code.SYMLINK_LOOP})

_State = tuple[Entry, ...]
_Key = tuple[str, str]


class Expired(NamedTuple):
    """The outcome of one round."""

    uploads: int
    bytes: int
    doubt: str
    """Why nothing can be deleted; empty if there is no reason."""


class Expiry:
    """Deletes the uploads of a tree that are old. One round at a time."""

    def __init__(
        self, uploads: Uploads, age: float, *, clock: Callable[[], float] = time.time
    ) -> None:
        """`age` is in seconds since the last change of an upload."""
        self._uploads = uploads
        self._store = uploads.store
        self._age = age
        self._clock = clock
        self._before: dict[_Key, _State] = {}
        """The uploads that were old in the last round."""

    def round(self) -> Expired:
        """Delete the uploads that are old and unchanged since the last round.

        Raises:
            StoreError: the storage failed.
        """
        found: list[Finding] = []
        old = dict(self._old(found.append))
        doubt = next((str(one) for one in found if one.code in _SECOND_NAMES), "")
        count = size = 0
        for key, state in [] if doubt else list(old.items()):
            if self._before.get(key) == state and self._delete(key, state):
                count += 1
                size += sum(entry.size for entry in state if entry.kind is FileKind.FILE)
                del old[key]
        self._before = old
        return Expired(count, size, doubt)

    def _old(self, report: Callable[[Finding], None]) -> Iterator[tuple[_Key, _State]]:
        """Yield all uploads that are old."""
        now = self._clock()
        seen = Inventory(url=self._store.url, taken_at=now)
        for repository in walk_repositories(self._store, seen):
            name = repository.name
            if "_uploads" not in repository.parts or name_problem(name) is not None:
                continue
            for folder in self._store.list(layout.uploads_folder(name), report):
                upload = layout.name_of(folder.path)
                state = self._state(name, upload) if folder.kind is FileKind.FOLDER else None
                if state is not None and self._last(name, upload, state) + self._age <= now:
                    yield (name, upload), state
        for finding in seen.findings:
            report(finding)

    def _last(self, name: str, upload: str, state: _State) -> float:
        """Return when an upload was last continued."""
        began = upload_started(self._store, name, upload) or layout.upload_time(upload) or 0.0
        return max(began, *(entry.mtime for entry in state))

    def _state(self, name: str, upload: str) -> _State | None:
        """Return the files of an upload; None if there is anything unexpected."""
        if not layout.is_upload(upload):
            return None
        strange: list[Finding] = []
        try:
            folder = self._store.stat(layout.upload_folder(name, upload))
            inside = list(self._store.walk(folder.path, strange.append))
        except StoreError:
            return None
        if strange or folder.kind is not FileKind.FOLDER:
            return None
        for entry in inside:
            if entry.kind is not FileKind.FOLDER and not _is_of_upload(entry):
                return None
        return (folder, *sorted(inside))

    def _delete(self, key: _Key, state: _State) -> bool:
        """Delete an upload that is idle and unchanged; return whether it was deleted."""
        try:
            with self._uploads.alone_at(*key) as alone, shared(self._store, timeout=0):
                if not alone or self._state(*key) != state:
                    return False
                self._uploads.remove(*key)
                return True
        except LockHeld:
            return False


def _is_of_upload(entry: Entry) -> bool:
    key = layout.key_of(entry.path)
    known = layout.UploadData | layout.UploadStartedAt | layout.UploadHashState
    return entry.kind is FileKind.FILE and isinstance(key, known)
