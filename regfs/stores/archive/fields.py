"""What the headers of a tar are written in: numbers, checksums, pax records.

Two walks read headers, and share this. `stores.archive.headers` lists an archive in which a
registry lies: it takes from a stream as it needs, skips content where the stream can, and is as
lenient as GNU tar, because somebody has packed that tree by hand. `content.tar` reads a layer: it
is fed the pieces that are hashed or decompressed anyway, and is as strict as the clients written in
Go that will unpack it. One walk for both would wait for pieces, or read what can be skipped.
"""

from __future__ import annotations

import re
import zlib
from abc import ABC, abstractmethod
from typing import Final

BLOCK: Final = 512
EXTENDED_LIMIT: Final = 1 << 20
"""Maximum bytes of an extended header (pax, long names), as in clients written in Go."""
LARGEST: Final = 2**63 - 1
"""The largest size and number that a tar may state."""
NO_DATA: Final = frozenset(b"123456")
"""Types without data, whatever size they claim: links, devices, folders, FIFOs."""
ZEROS: Final = bytes(BLOCK)
"""Two such blocks end a tar."""
_RECORD: Final = re.compile(rb"([1-9][0-9]{0,6}) ")


class HeaderFields(ABC):
    """Reads the fields of headers; a base of what walks through a tar."""

    @abstractmethod
    def error(self, what: str) -> Exception:
        """Return the error that says where and what is wrong."""

    def number(self, field: bytes, name: str) -> int:
        """Return a number from a field of a header: octal digits, or base 256."""
        digits = field.rstrip(b"\0 ")
        if digits.isdigit() and b"8" not in digits and b"9" not in digits:
            return int(digits, 8)  # as nearly all writers fill it
        if field[0] & 0x80:  # base 256, for numbers too large for octal digits
            value = int.from_bytes(field) - (0x80 << 8 * (len(field) - 1))
            if field[0] & 0x40 or value > LARGEST:
                raise self.error(f"a {name} that is negative or too large")
            return value
        text = field.strip(b" \0").partition(b"\0")[0]
        if not text:
            return 0
        if not text.isdigit() or b"8" in text or b"9" in text:
            raise self.error(f"a {name} that is not a number")
        return int(text, 8)

    def natural(self, text: bytes, name: str) -> int:
        """Return a decimal number from a pax record."""
        if not text.isdigit() or len(text) > 19 or int(text) > LARGEST:
            raise self.error(f"a {name} of {shown(text)}")
        return int(text)

    def records(self, content: bytes) -> list[tuple[bytes, bytes]]:
        r"""Return the records `<length> <key>=<value>\n` of a pax header."""
        found, position = [], 0
        while position < len(content):
            length = _RECORD.match(content, position)
            end = position + int(length[1]) if length else 0
            record = content[length.end() : end] if length else b""
            key, equals, value = record.partition(b"=")
            if not equals or not key or end > len(content) or record[-1:] != b"\n":
                raise self.error("an invalid pax header")
            found.append((key, value[:-1]))
            position = end
        return found

    def check_sum(self, block: bytes) -> None:
        """Check the sum of all bytes, with those of the checksum field counted as spaces."""
        field = block[148:156]
        stated = self.number(field, "checksum")
        expected = stated + sum(field) - 8 * 32
        # The low half of adler32 is the sum modulo 65521: twenty times as fast as sum(block).
        if zlib.adler32(block) & 0xFFFF == (expected + 1) % 65521:
            return
        # Some old writers summed signed bytes.
        signed = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + block[156:])
        if stated != signed + 8 * 32:
            raise self.error("its checksum is wrong")


def shown(value: bytes) -> str:
    """Return the beginning of hostile bytes, for a message."""
    return repr(value[:40])[1:]
