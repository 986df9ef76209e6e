"""How a journal is written and read: every line carries a check of all lines before it.

    {"run": "20261129T..", .., "check": "9f86d081884c7d65"}
    {"move": "docker/..",  .., "check": "60303ae22b998861"}

A check is the start of the SHA-256 of the previous check and of the line without its own; the
first continues from the name of the run. So a line that was changed, left out, repeated or
moved, and a journal under the name of another run, do not pass. A checksum of each line alone
would let four of these five pass, and a CRC takes as much space.

A check cannot show that the end of a file is lost. But what those lines moved still lies in
quarantine, and no line names it: `regfs.runs.contents` looks for that.

A process or a machine that stops may leave the last line torn, without a newline. Whoever adds
to the journal then says so in a line of its own, `{"torn": bytes}`, which may be torn as well.
Anything else that is no line is damage, and nothing after it is believed.

Early versions wrote lines without checks. They are read as they are, up to the first line with
a check, which covers all bytes before it. In such lines a lost line, or a change that leaves
valid JSON, goes unseen; any other damage does not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, BinaryIO, Final

Line = dict[str, Any]

_SIZE: Final = 16
_CHECK: Final = re.compile(rb', "check": "([0-9a-f]{16})"}$')


@dataclass(frozen=True, slots=True)
class JournalReading:
    """What the bytes of a journal say."""

    lines: list[Line]
    """Those before any damage."""
    damage: str | None
    """Which line is damaged and how; None if the journal is whole."""
    check: str
    """What the next line continues from."""
    torn: int = 0
    """Bytes of a torn line at the end."""
    open: bool = False
    """Whether the end lacks a newline."""


class Lines:
    """A journal that is open to be added to."""

    def __init__(self, file: BinaryIO, reading: JournalReading) -> None:
        self._file = file
        self._check = reading.check
        start = b"\n" if reading.open else b""
        if reading.torn and reading.damage is None:
            # In one write: how the rest of it begins tells a torn line from damage.
            self._file.write(start + self._next({"torn": reading.torn}))
        elif start:
            self._file.write(start)

    def write(self, **line: object) -> None:
        """Add a line."""
        self._file.write(self._next(line))

    def write_all(self, lines: Iterable[Mapping[str, object]]) -> None:
        """Add many lines at once."""
        self._file.write(b"".join(map(self._next, lines)))

    def flush(self) -> None:
        """Make the lines durable."""
        self._file.flush()

    def _next(self, line: Mapping[str, object]) -> bytes:
        text, self._check = _written(self._check, line)
        return text


def empty(run: str) -> JournalReading:
    """Return the reading of a journal that does not exist yet."""
    return JournalReading([], None, _sum(b"", run.encode()))


def read(run: str, data: bytes) -> JournalReading:
    """Return what the journal of a run says."""
    return _LineParser(run, data).read()


def tail_of(data: bytes) -> Line | None:
    """Return the last line of a journal, from its last bytes; None if it may not be whole."""
    *before, last, end = [b"", b"", *data.split(b"\n")]
    if end:
        return None
    found, earlier = _CHECK.search(last), _CHECK.search(before[-1])
    text = last if found is None else last[: found.start()] + b"}"
    # After a line without a check there is nothing to check it by.
    if earlier and (found is None or _sum(earlier[1], text) != found[1].decode()):
        return None
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def _sum(check: bytes, text: bytes) -> str:
    return sha256(check + text).hexdigest()[:_SIZE]


def _written(check: str, line: Mapping[str, object]) -> tuple[bytes, str]:
    """Return a line as it is written, and its check."""
    text = json.dumps(line).encode()
    fresh = _sum(check.encode(), text)
    return text[:-1] + f', "check": "{fresh}"}}\n'.encode(), fresh


class _LineParser:
    """Reads a journal line by line, once."""

    def __init__(self, run: str, data: bytes) -> None:
        self._run = run
        self._data = data
        self._pieces = data.split(b"\n")
        self._place = 0
        """Index of the piece that is read next."""
        self._start = 0
        """Offset of that piece, in bytes."""
        self._old = True
        """Whether no line with a check has come yet."""
        self._check = empty(run).check
        self._lines: list[Line] = []

    def read(self) -> JournalReading:
        while self._place < len(self._pieces):
            if not (self._take() or self._pass_torn()):
                return self._end()
        return JournalReading(
            self._lines, None, self._continued(len(self._data)), 0, self._is_open()
        )

    def _is_open(self) -> bool:
        return bool(self._pieces[-1])

    def _continued(self, start: int) -> str:
        """Return the check that a line at this offset continues from."""
        if not self._old:
            return self._check
        before = self._data[:start]
        whole = before if not before or before.endswith(b"\n") else before + b"\n"
        return _sum(whole, self._run.encode())

    def _take(self) -> bool:
        """Read one line; return whether it is whole."""
        piece = self._pieces[self._place]
        last = self._place == len(self._pieces) - 1
        if not piece and (last or self._old):
            self._go_on()
            return True
        line = self._parsed(piece, self._start)
        if line is None:
            return False
        self._lines.append(line)
        self._go_on()
        return True

    def _go_on(self, pieces: int = 1) -> None:
        for piece in self._pieces[self._place : self._place + pieces]:
            self._start += len(piece) + 1
        self._place += pieces

    def _parsed(self, piece: bytes, start: int) -> Line | None:
        """Return the line in a piece, if it continues those before; else None."""
        found = _CHECK.search(piece)
        if found is None and not self._old:
            return None
        if found is not None:
            text, check = piece[: found.start()] + b"}", found[1].decode()
            if _sum(self._continued(start).encode(), text) != check:
                return None
            piece = text
        try:
            line = json.loads(piece.decode())
        except ValueError:
            return None
        if not isinstance(line, dict):
            return None
        if found is not None:
            self._check, self._old = check, False
        return line

    def _pass_torn(self) -> bool:
        """Skip a torn line, if the line after it says so; return whether."""
        size = 0
        for ahead, piece in enumerate(self._pieces[self._place :]):
            if ahead and piece[:9] == b'{"torn": ':
                line = self._parsed(piece, self._start)
                if line is not None and line.get("torn") == size:
                    self._go_on(ahead + 1)
                    return True
            size += len(piece) + 1
        return False

    def _end(self) -> JournalReading:
        """Return what was read so far; what follows is no line."""
        check = self._continued(self._start)
        rest = self._data[self._start :]
        if self._is_torn(check):
            return JournalReading(self._lines, None, check, len(rest) + 1, True)
        damage = f"line {self._place + 1} does not continue the lines before it"
        return JournalReading(self._lines, damage, check, len(rest), self._is_open())

    def _is_torn(self, check: str) -> bool:
        """Return whether what follows is one torn line, or several."""
        first, *others = self._pieces[self._place :]
        size = len(first) + 1
        for piece in others:
            meant, _ = _written(check, {"torn": size})
            if not piece or not meant.startswith(piece):
                return False
            size += len(piece) + 1
        return self._is_open()
