"""The file of a ledger: read, locked by one verification at a time, appended to.

    .regfs/ledger         unless the user names another file
    .regfs/ledger.lock    locked while a process appends

Results are appended at once, so a killed process loses none that it reported, and synced every
few seconds, so a power failure loses only the last seconds. When the file has twice as many
lines as it needs, it is rewritten beside itself and renamed. It is written only outside
`docker/registry/v2`: verifying never changes the registry.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from itertools import starmap
from types import TracebackType
from typing import BinaryIO, Final, Self

from regfs import layout
from regfs.digest import Digest
from regfs.errors import DocumentInvalid, PathMissing, StoreError
from regfs.stores import Store, WritableStore
from regfs.verify.ledger import FORMER, HEADER, Ledger, LedgerEntry, Pick, line_of

LEDGER: Final = f"{layout.STATE}/ledger"
"""Path of the ledger of a tree."""

SYNC_AFTER: Final = 3.0
"""Seconds after which appended results are synced."""

_PIECE: Final = 4 << 20
_LINE_LIMIT: Final = 1024
"""Bytes beyond which something without a newline is not a line of a ledger."""
_SLACK: Final = 1000
"""Superfluous lines for which rewriting the file is not worthwhile."""


class LedgerFile:
    """A ledger that a verification appends to; a context manager that locks it.

    If it cannot be written and is not `required`, it is only read: `trouble` says why, and
    nothing more is recorded.
    """

    def __init__(
        self,
        store: WritableStore,
        path: str = LEDGER,
        *,
        owner: str,
        required: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ledger = Ledger()
        self.trouble: str | None = None
        """Why results are not, or no longer, recorded."""
        self._store = store
        self._path = path
        self._owner = owner
        self._required = required
        self._clock = clock
        self._stack = ExitStack()
        self._log: BinaryIO | None = None
        self._synced = 0.0

    @property
    def writable(self) -> bool:
        """Whether results are recorded."""
        return self._log is not None

    def __enter__(self) -> Self:
        """Lock the ledger; create it if it does not exist.

        Raises:
            DocumentInvalid: the file is not a ledger; it is left as it is.
            LockHeld: another process appends to it.
            StoreError: it is required, and cannot be read and written.
        """
        with ExitStack() as stack:
            try:
                there = _is_ledger(self._store, self._path)
                stack.enter_context(self._store.lock(f"{self._path}.lock", self._owner))
                if not there:
                    self._write(Ledger())
                stack.callback(self._close)
                self._open()
            except StoreError as error:
                if self._required:
                    raise
                self.trouble = str(error)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Sync everything and release the lock."""
        self._stack.close()

    def load(self, pick: Pick = Digest) -> None:
        """Read the entries; those that `pick` leaves out are dropped when the file is rewritten."""
        self.ledger = Ledger()
        try:
            count = _read(self._store, self._path, self.ledger, pick)
        except StoreError as error:
            if self._required:
                raise
            self.trouble = self.trouble or str(error)
            return
        if self._log is not None and count > 2 * len(self.ledger) + _SLACK:
            self.replace(self.ledger)

    def replace(self, ledger: Ledger) -> None:
        """Replace the whole content by `ledger`."""
        self.ledger = ledger
        if self._log is None:
            return
        try:
            self._close()
            self._write(ledger)
            self._open()
        except StoreError as error:
            self._give_up(error)

    def record(self, results: Iterable[tuple[Digest, LedgerEntry]]) -> None:
        """Append results; they survive the end of this process."""
        results = list(results)
        self.ledger.put_all(results)
        if self._log is None:
            return
        try:
            self._log.write("".join(starmap(line_of, results)).encode())
            if self._clock() - self._synced >= SYNC_AFTER:
                self._log.flush()
                self._synced = self._clock()
        except StoreError as error:
            self._give_up(error)

    def _open(self) -> None:
        self._log = self._store.append(self._path)
        self._log.write(b"\n")  # the last line may be truncated
        self._synced = self._clock()

    def _close(self) -> None:
        log, self._log = self._log, None
        if log is not None:
            try:
                log.close()
            except StoreError as error:
                self._give_up(error)

    def _give_up(self, error: StoreError) -> None:
        """Go on without recording: finding damage matters more than recording it."""
        self.trouble = str(error)
        log, self._log = self._log, None
        if log is not None:
            self._stack.callback(_drop, log)

    def _write(self, ledger: Ledger) -> None:
        with self._store.create(self._path) as writer:
            writer.write(HEADER)
            for piece in _pieces(ledger):
                writer.write(piece)


def read_ledger(store: Store, path: str, pick: Pick = Digest) -> Ledger:
    """Return the content of a ledger, even while a process appends to it.

    Raises:
        DocumentInvalid: the file is not a ledger.
        PathMissing, StoreError: it cannot be read.
    """
    ledger = Ledger()
    if _is_ledger(store, path):
        _read(store, path, ledger, pick)
    elif store.stat(path).size:  # a missing file raises
        raise DocumentInvalid(
            f"{path}: a ledger of an earlier version, which does not say which files it is about; "
            "verify again"
        )
    return ledger  # an empty file is an empty ledger


def _is_ledger(store: Store, path: str) -> bool:
    """Return whether there is a ledger; an empty file or an old ledger does not count.

    Raises:
        DocumentInvalid: the file is something else.
    """
    try:
        head = store.read(path, len(HEADER))
    except PathMissing:
        return False
    if head in (b"", FORMER, HEADER):
        return head == HEADER  # version 1 knows nothing of files: start anew
    if head.startswith(HEADER.partition(b" ")[0] + b" "):
        raise DocumentInvalid(f"{path}: a ledger of another version of regfs; nothing was written")
    raise DocumentInvalid(f"{path}: not a ledger of regfs; nothing was written to it")


def _read(store: Store, path: str, ledger: Ledger, pick: Pick) -> int:
    """Add what a file says to `ledger`, a piece at a time; return the number of lines."""
    count = 0
    rest = b""
    try:
        stream = store.open(path)
    except PathMissing:
        return 0
    with stream:
        while piece := stream.read(_PIECE):
            whole, end, rest = (rest + piece).rpartition(b"\n")
            count += ledger.take((whole + end).decode("latin-1"), pick)
            if len(rest) > _LINE_LIMIT:
                rest = b"?"  # what follows up to the next newline is still not a line
    return count + ledger.take(rest.decode("latin-1"), pick)


def _pieces(ledger: Ledger) -> Iterator[bytes]:
    lines: list[str] = []
    for digest, entry in ledger:
        lines.append(line_of(digest, entry))
        if len(lines) == 10_000:
            yield "".join(lines).encode()
            lines.clear()
    yield "".join(lines).encode()


def _drop(log: BinaryIO) -> None:
    with suppress(StoreError):  # the failure to write is reported already
        log.close()
