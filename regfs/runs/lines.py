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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, BinaryIO, Final

Line = dict[str, Any]

_SIZE: Final = 16
_CHECK: Final = re.compile(rb', "check": "([0-9a-f]{16})"}$')
_CHECK_SIZE: Final = len(', "check": ""}') + _SIZE
_DECODER: Final = json.JSONDecoder()

Parse = Callable[[Line], Any]
"""Makes something of a line. Raises ValueError, with the reason, if the line is damaged."""


@dataclass(frozen=True, slots=True)
class JournalReading:
    """What the bytes of a journal say."""

    lines: list[Any]
    """Those before any damage, parsed."""
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
            self._file.write(start + self._next(json.dumps({"torn": reading.torn})))
        elif start:
            self._file.write(start)

    def write(self, **line: object) -> None:
        """Add a line."""
        self._file.write(self._next(json.dumps(line)))

    def write_all(self, lines: Iterable[Mapping[str, object]]) -> None:
        """Add many lines at once."""
        self.write_texts(map(json.dumps, lines))

    def write_texts(self, texts: Iterable[str]) -> None:
        """Add many lines at once, each given as the text of a JSON object."""
        self._file.write(b"".join(map(self._next, texts)))

    def flush(self) -> None:
        """Make the lines durable."""
        self._file.flush()

    def _next(self, text: str) -> bytes:
        line, self._check = _written(self._check, text)
        return line


def empty(run: str) -> JournalReading:
    """Return the reading of a journal that does not exist yet."""
    return JournalReading([], None, _sum(b"", run.encode()))


def read(run: str, data: bytes, parse: Parse = lambda line: line) -> JournalReading:
    """Return what the journal of a run says."""
    return _LineParser(run, data, parse).read()


def end_of(data: bytes) -> JournalReading | None:
    """Return how a journal goes on, from its last bytes; None if these do not show it.

    They do if the last line continues the one before, and both have a check. Damage further up
    is none of its business: nothing after that is believed, whatever is added.
    """
    *_, earlier, last, end = [b"", b"", *data.split(b"\n")]
    check = _CHECK.search(earlier)
    if end or check is None or (found := _continuing(check[1], last)) is None:
        return None
    return JournalReading([], None, found[1].decode())


def tail_of(data: bytes) -> Line | None:
    """Return the last line of a journal, from its last bytes; None if it may not be whole."""
    *_, earlier, last, end = [b"", b"", *data.split(b"\n")]
    if end:
        return None
    found, check = _CHECK.search(last), _CHECK.search(earlier)
    # After a line without a check there is nothing to check it by.
    if check and _continuing(check[1], last) is None:
        return None
    text = last if found is None else last[: found.start()] + b"}"
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def _continuing(check: bytes, line: bytes) -> re.Match[bytes] | None:
    """Return where the check of a line is, if it continues from an earlier one."""
    found = _CHECK.search(line)
    good = found is not None and _sum(check, line[: found.start()] + b"}") == found[1].decode()
    return found if good else None


def _sum(check: bytes, text: bytes) -> str:
    return sha256(check + text).hexdigest()[:_SIZE]


def _written(check: str, text: str) -> tuple[bytes, str]:
    """Return a line as it is written, and its check."""
    line = text.encode()
    fresh = _sum(check.encode(), line)
    return line[:-1] + _suffix(fresh) + b"\n", fresh


def _suffix(check: str) -> bytes:
    return f', "check": "{check}"}}'.encode()


class _LineParser:
    """Reads a journal line by line, once."""

    def __init__(self, run: str, data: bytes, parse: Parse) -> None:
        self._run = run
        self._data = data
        self._parse = parse
        self._start = 0
        """Offset of the line that is read next."""
        self._number = 1
        """Number of that line."""
        self._old = True
        """Whether no line with a check has come yet."""
        self._check = empty(run).check
        self._lines: list[Any] = []
        self._damage: str | None = None
        """What the first line says that says nothing it should."""

    def read(self) -> JournalReading:
        while self._start <= len(self._data):
            self._take_checked()
            if not (self._take() or self._pass_torn()):
                return self._end()
        check = self._continued(len(self._data))
        return JournalReading(self._lines, self._damage, check, 0, self._is_open())

    def _is_open(self) -> bool:
        return bool(self._data) and not self._data.endswith(b"\n")

    def _continued(self, start: int) -> str:
        """Return the check that a line at this offset continues from."""
        if not self._old:
            return self._check
        before = self._data[:start]
        whole = before if not before or before.endswith(b"\n") else before + b"\n"
        return _sum(whole, self._run.encode())

    def _take_checked(self) -> None:
        """Read the whole lines with a good check that come next, as nearly all are."""
        data, check = self._data, self._check
        while not self._old and (end := data.find(b"\n", self._start)) >= 0:
            text = data[self._start : end - _CHECK_SIZE] + b"}"
            fresh = _sum(check.encode(), text)
            if data[end - _CHECK_SIZE : end] != _suffix(fresh):
                break
            try:
                line, size = _DECODER.raw_decode(text.decode())
            except ValueError:
                break
            if not isinstance(line, dict) or size < len(text):
                break
            self._check = check = fresh
            self._add(line, end)

    def _take(self) -> bool:
        """Read one line; return whether it is whole."""
        end = self._data.find(b"\n", self._start)
        last = end < 0
        end = len(self._data) if last else end
        if self._start == end and (last or self._old):
            self._go_on(end)
            return True
        line = self._parsed(self._data[self._start : end], self._start)
        if line is None:
            return False
        self._add(line, end)
        return True

    def _add(self, line: Line, end: int) -> None:
        """Add what a line says that ends at this offset."""
        self._go_on(end)
        if self._damage is None:
            try:
                self._lines.append(self._parse(line))
            except ValueError as error:
                self._damage = str(error)

    def _go_on(self, end: int, lines: int = 1) -> None:
        self._start = end + 1
        self._number += lines

    def _parsed(self, piece: bytes, start: int) -> Line | None:
        """Return the line in a piece, if it continues those before; else None."""
        found = _CHECK.search(piece)
        if found is None and not self._old:
            return None
        if found is not None:
            if _continuing(self._continued(start).encode(), piece) is None:
                return None
            piece = piece[: found.start()] + b"}"
        try:
            line = json.loads(piece.decode())
        except ValueError:
            return None
        if not isinstance(line, dict):
            return None
        if found is not None:
            self._check, self._old = found[1].decode(), False
        return line

    def _rest(self) -> list[bytes]:
        """Return what is left, cut into lines."""
        return self._data[self._start :].split(b"\n")

    def _pass_torn(self) -> bool:
        """Skip a torn line, if the line after it says so; return whether."""
        size = 0
        for ahead, piece in enumerate(self._rest()):
            if ahead and piece[:9] == b'{"torn": ':
                line = self._parsed(piece, self._start)
                if line is not None and line.get("torn") == size:
                    self._go_on(self._start + size + len(piece), ahead + 1)
                    return True
            size += len(piece) + 1
        return False

    def _end(self) -> JournalReading:
        """Return what was read so far; what follows is no line."""
        check = self._continued(self._start)
        size = len(self._data) - self._start
        if self._is_torn(check):
            return JournalReading(self._lines, self._damage, check, size + 1, True)
        damage = f"line {self._number} does not continue the lines before it"
        return JournalReading(self._lines, self._damage or damage, check, size, self._is_open())

    def _is_torn(self, check: str) -> bool:
        """Return whether what follows is one torn line, or several."""
        first, *others = self._rest()
        size = len(first) + 1
        for piece in others:
            meant, _ = _written(check, json.dumps({"torn": size}))
            if not piece or not meant.startswith(piece):
                return False
            size += len(piece) + 1
        return self._is_open()
