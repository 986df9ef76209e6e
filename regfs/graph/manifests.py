"""What is known of every manifest, as columns: 20 bytes each, and 13 for each blob it names.

    ManifestTable       digest -> ManifestInfo
        .leaves(m)      the blobs that a manifest names itself
        .naming(b)      the manifests that name a blob

Digests are numbers of `regfs.tree.digests`. As objects, what a million edges take here 40 MB
for would take 300 MB.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Final, NamedTuple

from regfs.digest import Digest
from regfs.manifests.media_types import Kind, Role
from regfs.tree.digests import Digests


class Leaf(NamedTuple):
    """A blob as a manifest names it."""

    digest: Digest
    role: Role
    size: int
    """Bytes by the descriptor; -1 where it gives none."""


class ManifestInfo(NamedTuple):
    """What is kept of a manifest once it is read."""

    kind: Kind
    media_type: str
    artifact_type: str | None
    size: int
    """Bytes of the manifest."""
    subject: Digest | None
    names_base: bool = False
    """Whether its annotations name an image that it is built on."""


class Images(NamedTuple):
    """Many images as columns: all of their blobs are listed, and none of these is a manifest."""

    numbers: Sequence[int]
    """Of the digests of the manifests."""
    media_types: Sequence[str]
    artifact_types: Sequence[str | None]
    sizes: Sequence[int]
    """Bytes of each manifest."""
    counts: Sequence[int]
    """How many blobs each names."""
    leaves: array[int]
    """The numbers of those blobs, one image after the other."""
    lengths: array[int]
    """Bytes of each of these, by its descriptor."""
    based: Iterable[int] = ()
    """The numbers of those images whose annotations name a base."""


_KINDS: Final = tuple(Kind)
_KIND_NUMBERS: Final = {kind: number for number, kind in enumerate(_KINDS)}
_ROLES: Final = tuple(Role)
_ROLE_NUMBERS: Final = {role: number for number, role in enumerate(_ROLES)}
_CONFIG: Final = bytes([_ROLE_NUMBERS[Role.CONFIG]])
_LAYER: Final = bytes([_ROLE_NUMBERS[Role.LAYER]])


class ManifestTable(Mapping[Digest, ManifestInfo]):
    """Every manifest that was read and is what its digest says, in the order of reading."""

    def __init__(self, known: Digests) -> None:
        self._known = known
        self._rows = array("I")
        """Number of a digest -> row + 1; 0 where it is no manifest."""
        self._numbers = array("I")
        self._kinds = bytearray()
        self._media_types = _Words()
        self._artifact_types = _Words()
        self._sizes = array("I")
        self._subjects: dict[int, Digest] = {}
        """Row -> subject, of those that have any."""
        self._based: set[int] = set()
        """The numbers of those whose annotations name a base."""
        self._ends = array("I", [0])
        """Row + 1 -> where its leaves end, which is where those of the next row begin."""
        self._leaves = array("I")
        self._roles = bytearray()
        self._lengths = array("q")

    # -- adding ---------------------------------------------------------------

    def add(self, digest: Digest, info: ManifestInfo, leaves: Iterable[Leaf]) -> None:
        """Add a manifest that is not there yet, and the blobs it names."""
        for leaf in leaves:
            self._leaves.append(self._known.add(leaf.digest))
            self._roles.append(_ROLE_NUMBERS[leaf.role])
            self._lengths.append(leaf.size)
        if info.subject is not None:
            self._subjects[len(self)] = info.subject
        number = self._known.add(digest)
        if info.names_base:
            self._based.add(number)
        self._add_row(number, info.kind, info.media_type, info.artifact_type, info.size)
        self._ends.append(len(self._leaves))

    def add_images(self, images: Images) -> None:
        """Add images, the first blob of each its config and all others layers."""
        for row in zip(*images[:4], strict=True):
            number, media_type, artifact_type, size = row
            self._add_row(number, Kind.IMAGE, media_type, artifact_type, size)
        self._roles += b"".join([_CONFIG + _LAYER * (count - 1) for count in images.counts])
        self._ends.extend(list(accumulate(images.counts, initial=len(self._leaves)))[1:])
        self._leaves.extend(images.leaves)
        self._lengths.extend(images.lengths)
        self._based.update(images.based)

    def _add_row(
        self, number: int, kind: Kind, media_type: str, artifact_type: str | None, size: int
    ) -> None:
        self._numbers.append(number)
        if number >= len(self._rows):
            self._rows.frombytes(bytes(4 * (len(self._known) - len(self._rows))))
        self._rows[number] = len(self._numbers)
        self._kinds.append(_KIND_NUMBERS[kind])
        self._media_types.append(media_type)
        self._artifact_types.append(artifact_type)
        self._sizes.append(size)

    # -- one manifest ---------------------------------------------------------

    def _row(self, number: int | None) -> int:
        """Return the row of a digest by its number; -1 when it is no manifest."""
        return -1 if number is None or number >= len(self._rows) else self._rows[number] - 1

    def __getitem__(self, digest: Digest) -> ManifestInfo:
        row = self._row(self._known.find(digest))
        if row < 0:
            raise KeyError(digest)
        return self._info(row)

    def _info(self, row: int) -> ManifestInfo:
        return ManifestInfo(
            _KINDS[self._kinds[row]],
            self._media_types[row] or "",
            self._artifact_types[row],
            self._sizes[row],
            self._subjects.get(row),
            self._numbers[row] in self._based,
        )

    def __contains__(self, digest: object) -> bool:
        return isinstance(digest, str) and self._row(self._known.find(digest)) >= 0

    def __iter__(self) -> Iterator[Digest]:
        return map(self._known.__getitem__, self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def leaves(self, digest: Digest) -> Iterator[Leaf]:
        """Yield the blobs a manifest names itself, in its order; none when it is unknown."""
        row = self._row(self._known.find(digest))
        for place in range(self._ends[row], self._ends[row + 1]) if row >= 0 else ():
            role = _ROLES[self._roles[place]]
            yield Leaf(self._known[self._leaves[place]], role, self._lengths[place])

    def numbers_as(self, role: Role, digest: Digest) -> list[int]:
        """Return the numbers of the blobs that a manifest names in a role, in its order."""
        row, wanted = self._row(self._known.find(digest)), _ROLE_NUMBERS[role]
        part = slice(self._ends[row], self._ends[row + 1]) if row >= 0 else slice(0)
        pairs = zip(self._leaves[part], self._roles[part], strict=True)
        return [number for number, role_number in pairs if role_number == wanted]

    def sizes(self, digest: Digest) -> Iterator[tuple[int, int]]:
        """Yield the numbers of the blobs a manifest names itself, and their sizes as it says.

        Much cheaper than `leaves`, for whoever looks at all of them.
        """
        row = self._row(self._known.find(digest))
        part = slice(self._ends[row], self._ends[row + 1]) if row >= 0 else slice(0)
        return zip(self._leaves[part], self._lengths[part], strict=True)

    def leaf_count(self, digest: Digest) -> int:
        """Return how many blobs a manifest names itself; 0 when it is unknown."""
        row = self._row(self._known.find(digest))
        return self._ends[row + 1] - self._ends[row] if row >= 0 else 0

    def leaf_numbers(self, number: int) -> array[int]:
        """Return the numbers of the blobs that a manifest names itself, by its own number."""
        row = self._row(number)
        return self._leaves[self._ends[row] : self._ends[row + 1]] if row >= 0 else _NONE

    # -- one blob -------------------------------------------------------------

    def naming(self, blob: Digest) -> list[Digest]:
        """Return the manifests that name a blob, in the order in which they were read."""
        number = self._known.find(blob)
        starts, rows = self._by_leaf
        if number is None or number + 1 >= len(starts):
            return []
        found = dict.fromkeys(rows[starts[number] : starts[number + 1]])
        return [self._known[self._numbers[row]] for row in found]

    @cached_property
    def _by_leaf(self) -> tuple[array[int], array[int]]:
        """Return where the rows of each blob start, by its number; and all these rows."""
        starts = array("I", bytes(4 * (len(self._known) + 2)))
        for leaf in self._leaves:
            starts[leaf + 2] += 1
        starts = array("I", accumulate(starts))
        rows = array("I", bytes(4 * len(self._leaves)))
        for row in range(len(self)):
            for leaf in self._leaves[self._ends[row] : self._ends[row + 1]]:
                rows[starts[leaf + 1]] = row
                starts[leaf + 1] += 1
        return starts, rows


_NONE: Final = array("I")


class _Words:
    """A column of words, most of which are the same few."""

    def __init__(self) -> None:
        self._words: list[str | None] = []
        self._numbers: dict[str | None, int] = {}
        self._column = array("I")

    def append(self, word: str | None) -> None:
        number = self._numbers.setdefault(word, len(self._words))
        if number == len(self._words):
            self._words.append(word)
        self._column.append(number)

    def __getitem__(self, row: int) -> str | None:
        return self._words[self._column[row]]
