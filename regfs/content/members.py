"""The members of a JSON object, one after the other, as bytes: for documents of any size.

    for key, value in members(pieces):        b'{"_type": "...", "predicate": {...}}'
        if key == "predicate":
            for piece in value: ...           the bytes of the value, as they are written

Nothing is parsed but the outermost object: memory holds one piece and one key, however long or
deep the values are. What they hold is checked by whoever reads them.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from regfs.errors import AttestationInvalid

_KEY: Final = 1 << 16
"""Bytes of the longest key."""
_IN_STRING: Final = rb'[^"\\]*+(?:\\.[^"\\]*+)*+(?:(")|\\?\Z)'
_REST: Final = re.compile(_IN_STRING, re.DOTALL)
"""The rest of a string, and its end if that is there."""
_STRING: Final = re.compile(b'"' + _IN_STRING.replace(b'(")', b'"'), re.DOTALL)
_MARK: Final = b"\x01"
"""A byte that no JSON has outside of strings."""
_TOKEN: Final = re.compile(b'"' + _IN_STRING + rb"|[{}\[\],]", re.DOTALL)
_BRACKETS: Final = bytes.maketrans(b"{}[]", b"()()")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"{}[]"))
_ROUNDS: Final = 32
"""Levels of brackets that are told at once; pieces with more are looked at byte by byte."""
_SPACE: Final = b" \t\r\n"


def members(pieces: Iterable[bytes]) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield the key and the value of each member of the object in `pieces`, in order.

    A value is read, or passed by, before the next key is.

    Raises:
        AttestationInvalid: it is not a JSON object, or ends too early.
    """
    scanner = _Scanner(pieces)
    scanner.skip_space()
    if scanner.take() != b"{":
        raise AttestationInvalid("is not a JSON object")
    scanner.skip_space()
    if scanner.peek() == b"}":
        scanner.take()
        scanner.end()
        return
    while True:
        key = _key(scanner)
        value = scanner.value()
        yield key, value
        for _ in value:
            pass
        if scanner.take() == b"}":
            break
        scanner.skip_space()
    scanner.end()


def _key(scanner: _Scanner) -> str:
    raw = b"".join(scanner.string(_KEY))
    try:
        key = json.loads(raw)
    except ValueError:
        raise AttestationInvalid("is not JSON: a key cannot be read") from None
    scanner.skip_space()
    if scanner.take() != b":":
        raise AttestationInvalid("is not JSON: a key without a value")
    scanner.skip_space()
    return str(key)


class _Scanner:
    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._piece = b""
        self._at = 0

    def _more(self) -> bool:
        """Return whether there is a byte; go to the next piece if there has to be one."""
        while self._at >= len(self._piece):
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._piece, self._at = piece, 0
        return True

    def peek(self) -> bytes:
        """Return the next byte.

        Raises:
            AttestationInvalid: there is none.
        """
        if not self._more():
            raise AttestationInvalid("is not JSON: it ends too early")
        return self._piece[self._at : self._at + 1]

    def take(self) -> bytes:
        """Return the next byte and go past it."""
        found = self.peek()
        self._at += 1
        return found

    def skip_space(self) -> None:
        """Go to the next byte that is no white space."""
        while self._more():
            rest = len(self._piece[self._at :].lstrip(_SPACE))
            self._at = len(self._piece) - rest
            if rest:
                return

    def end(self) -> None:
        """Check that nothing follows."""
        self.skip_space()
        if self._more():
            raise AttestationInvalid("is not JSON: something follows its end")

    def string(self, limit: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of a string, with its quotation marks."""
        if self.peek() != b'"':
            raise AttestationInvalid("is not JSON: a key is not a string")
        yield self.take()
        yield from self._rest_of_string(escaped=False, limit=limit)

    def _rest_of_string(self, *, escaped: bool, limit: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of a string from here on; `escaped` of what a backslash stands before."""
        size = 0
        while True:
            self.peek()
            start = self._at
            found = _REST.match(self._piece, start + escaped)
            self._at = found.end() if found else len(self._piece)
            yield self._piece[start : self._at]
            if found and found[1]:
                return
            escaped = _ends_escaped(self._piece[start + escaped :])
            size += self._at - start
            if limit is not None and size > limit:
                raise AttestationInvalid(f"has a key of more than {limit} bytes")

    def value(self) -> Iterator[bytes]:
        """Yield the bytes of a value; then comes the comma or bracket that ends it."""
        depth = 0
        while True:
            self.peek()
            rest = self._piece[self._at :]
            part = (_passed(rest, depth) if depth else None) or _looked_through(rest, depth)
            depth = part.depth
            self._at += part.end
            if part.end:
                yield rest[: part.end]
            if part.in_string:
                yield from self._rest_of_string(escaped=_ends_escaped(rest))
            elif part.end < len(rest):
                return


class _ValuePart(NamedTuple):
    """A part of a value."""

    depth: int
    """Of brackets that are open after it."""
    end: int
    """Where it ends, or the value does."""
    in_string: bool
    """Whether a string goes on in the next piece."""


def _passed(rest: bytes, depth: int) -> _ValuePart | None:
    """Return the part of a value that a piece is; None unless it surely is wholly inside.

    Nothing is looked at one by one: for documents of hundreds of megabytes.
    """
    # The quotation mark ends a string that goes on in the next piece, or begins one.
    outside = _STRING.sub(b"", rest + b'"' + _MARK)
    in_string = outside.endswith(_MARK) or _ends_escaped(rest)
    brackets = outside.translate(_BRACKETS, _NO_BRACKETS)
    for _ in range(_ROUNDS):
        if b"()" not in brackets:
            break
        brackets = brackets.replace(b"()", b"")
    opened = brackets.lstrip(b")")
    closed = len(brackets) - len(opened)
    if depth <= closed or b")" in opened:
        return None
    return _ValuePart(depth - closed + len(opened), len(rest), in_string)


def _looked_through(rest: bytes, depth: int) -> _ValuePart:
    """Return the part of a value up to the comma or bracket that ends it, or all of the piece."""
    for found in _TOKEN.finditer(rest):
        mark = found[0]
        if mark.startswith(b'"'):
            if not found[1]:
                return _ValuePart(depth, len(rest), in_string=True)
        elif mark in b"{[":
            depth += 1
        elif depth == 0:
            if mark == b"]":
                raise AttestationInvalid("is not JSON: a bracket closes what none has opened")
            return _ValuePart(depth, found.start(), in_string=False)
        elif mark in b"}]":
            depth -= 1
    return _ValuePart(depth, len(rest), in_string=False)


def _ends_escaped(part: bytes) -> bool:
    """Return whether what follows this part of a string is escaped."""
    return (len(part) - len(part.rstrip(b"\\"))) % 2 == 1


def limited(pieces: Iterable[bytes], limit: int, what: str) -> bytes:
    """Return pieces as one.

    Raises:
        AttestationInvalid: they are longer than `limit` bytes.
    """
    found = bytearray()
    for piece in pieces:
        found += piece
        if len(found) > limit:
            raise AttestationInvalid(f"{what} is larger than {limit} bytes, and is not read")
    return bytes(found)


def unquoted(value: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the content of a JSON string of plain ASCII, as base64 is."""
    first = True
    for piece in filter(None, value):
        if first and not piece.startswith(b'"'):
            raise AttestationInvalid("its payload is not a string")
        first = False
        # A slash may be escaped; base64 has no other character that ever is.
        yield piece.translate(None, b'"\\')


def from_base64(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what is in base64, of either alphabet.

    Raises:
        AttestationInvalid: it is no base64.
    """
    rest = b""
    for piece in pieces:
        rest += piece.translate(_ALPHABET)
        whole = len(rest) // 4 * 4
        if whole >= _BLOCK:
            yield _decoded(rest[:whole])
            rest = rest[whole:]
    yield _decoded(rest + b"=" * (-len(rest) % 4))


def _decoded(data: bytes) -> bytes:
    try:
        return b64decode(data, validate=True)
    except Base64Error:
        raise AttestationInvalid("its payload is not base64") from None


_ALPHABET: Final = bytes.maketrans(b"-_", b"+/")
_BLOCK: Final = 1 << 16
