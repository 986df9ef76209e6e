"""Every digest of a tree, each with a number: a million take 40 MB, where objects take 250 MB.

    number = digests.add(digest)     the same digest always has the same number
    digests[number]                  the digest, as a new object
    digests.find(digest)             its number, or None

The bytes of the digests lie one after the other, in the order of their numbers; beside them is
a hash table with open addressing. Python hashes bytes differently in every process, so nobody
can choose digests that collide.

Why not numpy: this needs no look-up of whole columns, and numpy costs 25 MB and 0.1 s.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import compress, count
from typing import Final

from regfs.digest import ALGORITHMS, CANONICAL, Digest

_BEGINNING: Final = f"{CANONICAL}:"
_START: Final = len(_BEGINNING)
_WIDTH: Final = ALGORITHMS[CANONICAL] // 2
"""Bytes of a digest in the algorithm that nearly all have; the others are kept as objects."""
_SMALLEST: Final = 64


class Digests:
    """Digests with numbers from 0 on, in order of arrival. None is ever taken away."""

    __slots__ = ("_long", "_long_numbers", "_rows", "_slots")

    def __init__(self) -> None:
        self._rows = bytearray()
        self._slots = array("I", bytes(4 * _SMALLEST))
        """Slot -> number + 1, or 0. There are a power of two, of which a third is free."""
        self._long: dict[int, Digest] = {}
        """Number -> digest in another algorithm."""
        self._long_numbers: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._rows) // _WIDTH

    def __getitem__(self, number: int) -> Digest:
        encoded = self._rows[number * _WIDTH : (number + 1) * _WIDTH].hex()
        if not encoded:
            raise IndexError(number)
        return self._long.get(number) or Digest(_BEGINNING + encoded)

    def find(self, digest: str) -> int | None:
        """Return the number of a digest; None of one that has none, and of any other text."""
        if not digest.startswith(_BEGINNING):
            return self._long_numbers.get(digest)
        encoded = digest[_START:]
        try:
            row = bytes.fromhex(encoded)
        except ValueError:
            return None
        if len(row) != _WIDTH or row.hex() != encoded:
            return None
        rows, slots, mask = self._rows, self._slots, len(self._slots) - 1
        slot = hash(row) & mask
        while entry := slots[slot]:
            if rows.startswith(row, (entry - 1) * _WIDTH):
                return entry - 1
            slot = (slot + 1) & mask
        return None

    def starting_with(self, start: str) -> Iterator[Digest]:
        """Yield the digests whose hexadecimal digits begin with at least two given ones."""
        rows, whole = self._rows, bytes.fromhex(start[: len(start) // 2 * 2])
        position = rows.find(whole)
        while position != -1:
            number, inside = divmod(position, _WIDTH)
            if not inside and number not in self._long:
                digest = self[number]
                if digest.encoded.startswith(start):
                    yield digest
            position = rows.find(whole, position + 1)
        yield from (one for one in self._long.values() if one.encoded.startswith(start))

    def find_all(self, digests: Iterable[str]) -> array[int] | None:
        """Return the numbers of digests that are all of sha256; None if any has none.

        Asking for them one by one takes three times as long.
        """
        return self._numbers(bytes.fromhex("".join(digests).replace(_BEGINNING, "")), add=False)

    def add(self, digest: Digest) -> int:
        """Return the number of a digest; it gets one if it has none."""
        number = self.find(digest)
        return self.add_names(digest.algorithm, [digest.encoded])[0] if number is None else number

    def add_names(self, algorithm: str, names: Iterable[str]) -> array[int]:
        """Return the numbers of the digests `<algorithm>:<name>`; those without one get one."""
        if algorithm == CANONICAL:
            return self.add_rows(bytes.fromhex("".join(names)))
        return array("I", [self._add_long(Digest(f"{algorithm}:{name}")) for name in names])

    def add_rows(self, data: bytes) -> array[int]:
        """Return the numbers of sha256 digests, given as 32 bytes each; those without get one."""
        self._make_room(len(self) + len(data) // _WIDTH)
        numbers = self._numbers(data, add=True)
        assert numbers is not None
        return numbers

    def _numbers(self, data: bytes, *, add: bool) -> array[int] | None:
        """Return the numbers of digests; those without one get one, or there is no answer."""
        rows, slots, mask, numbers = self._rows, self._slots, len(self._slots) - 1, array("I")
        for start in range(0, len(data), _WIDTH):
            row = data[start : start + _WIDTH]
            slot = hash(row) & mask
            while entry := slots[slot]:
                if rows.startswith(row, (entry - 1) * _WIDTH):
                    break
                slot = (slot + 1) & mask
            else:
                if not add:
                    return None
                rows += row
                slots[slot] = entry = len(rows) // _WIDTH
            numbers.append(entry - 1)
        return numbers

    def others(self, numbers: Collection[int]) -> list[Digest]:
        """Return those digests, by their numbers, that are in another algorithm than sha256."""
        return (
            [self._long[number] for number in numbers if number in self._long] if self._long else []
        )

    def rows_of(self, numbers: Sequence[int]) -> bytes | None:
        """Return digests as 32 bytes each; None if any is in another algorithm than sha256."""
        if not self._long.keys().isdisjoint(numbers):
            return None
        rows = self._rows
        return b"".join([rows[n * _WIDTH : (n + 1) * _WIDTH] for n in numbers])

    def beginnings(self) -> set[str]:
        """Return the algorithm and the first two digits of every digest: `sha256:ab`.

        Where a digest is in another algorithm, `sha256:00` may be among them for nothing.
        """
        beginnings = {f"{_BEGINNING}{first:02x}" for first in set(self._rows[::_WIDTH])}
        return beginnings | {digest[: _START + 2] for digest in self._long.values()}

    def _add_long(self, digest: Digest) -> int:
        number = self._long_numbers.setdefault(digest, len(self))
        if number == len(self):
            self._long[number] = digest
            self._rows += bytes(_WIDTH)  # in no slot, so it is never found
        return number

    def _make_room(self, count: int) -> None:
        if 3 * count <= 2 * len(self._slots):
            return
        length = len(self._slots)
        while 3 * count > 2 * length:
            length *= 2
        self._slots = slots = array("I", bytes(4 * length))
        rows, mask = bytes(self._rows), length - 1
        for number in range(len(self)):
            if number not in self._long:
                slot = hash(rows[number * _WIDTH : (number + 1) * _WIDTH]) & mask
                while slots[slot]:
                    slot = (slot + 1) & mask
                slots[slot] = number + 1


class DigestSet(Collection[Digest]):
    """A set of digests that have numbers; it takes a byte for each digest that could be in it."""

    __slots__ = ("_known", "_marks")

    def __init__(self, known: Digests) -> None:
        self._known = known
        self._marks = bytearray(len(known))

    def update(self, numbers: Iterable[int]) -> None:
        """Add the digests with these numbers."""
        self._grow()
        marks = self._marks
        for number in numbers:
            marks[number] = 1

    def add_new(self, numbers: Iterable[int]) -> Iterator[int]:
        """Add the digests with these numbers; yield those that were not in the set."""
        marks = self._marks
        for number in numbers:
            if number >= len(marks):
                self._grow()
            if not marks[number]:
                marks[number] = 1
                yield number

    def has(self, number: int) -> bool:
        """Return whether the digest with this number is in the set."""
        return number < len(self._marks) and bool(self._marks[number])

    def has_any(self, numbers: Iterable[int]) -> bool:
        """Return whether any of the digests with these numbers is in the set."""
        self._grow()
        return any(map(self._marks.__getitem__, numbers))

    def lacking(self, numbers: Iterable[int]) -> Iterator[int]:
        """Yield the positions of those of some numbers that are not in the set."""
        self._grow()
        return (
            place for place, mark in enumerate(map(self._marks.__getitem__, numbers)) if not mark
        )

    def _grow(self) -> None:
        self._marks.extend(bytes(len(self._known) - len(self._marks)))

    def numbers(self, without: DigestSet | None = None) -> Iterator[int]:
        """Yield the numbers of the digests that are in this set, and in none other."""
        found = compress(count(), self._marks)
        if without is None:
            return found
        without._grow()
        return (number for number in found if not without._marks[number])

    def __len__(self) -> int:
        return self._marks.count(1)

    def __iter__(self) -> Iterator[Digest]:
        return map(self._known.__getitem__, self.numbers())

    def __contains__(self, digest: object) -> bool:
        number = self._known.find(digest) if isinstance(digest, str) else None
        return number is not None and self.has(number)
