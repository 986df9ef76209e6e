"""Two lists of layers side by side: what both have, and what only one has. Pure.

    before   base  a     b                    after   base  c     b'     b' holds what b holds
    shared   removed a   added c   repacked b -> b'

Layers are the same if their digests are, or what they unpack to (diffID, as the configs say).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class LayerAt:
    """A layer where it lies in an image."""

    digest: str
    size: int
    """Bytes as it is stored, by the manifest; -1 if it does not say."""
    diff_id: str
    """Digest of what it unpacks to; empty if no config says it."""
    media_type: str
    instruction: str
    """What made it, as in a Dockerfile; empty if that is not known."""


class LayerFate(StrEnum):
    """What becomes of a layer."""

    SHARED = "shared"
    REPACKED = "repacked"
    """Another digest, and the same content: it was compressed anew."""
    MOVED = "moved"
    """The same layer, which now lies on other ones."""
    REMOVED = "removed"
    ADDED = "added"


@dataclass(frozen=True, slots=True)
class LayerChange:
    """A layer of one image, and its counterpart in the other."""

    change: LayerFate
    before: LayerAt | None
    after: LayerAt | None


def layer_changes(before: Sequence[LayerAt], after: Sequence[LayerAt]) -> list[LayerChange]:
    """Return every layer of two images once, base first, in the order of a patch."""
    pairs = _paired(*contents(before, after))
    kept = _ascending([second for _, second in pairs])
    partner = {second: first for first, second in pairs}
    matched = {first for first, _ in pairs}
    found: list[LayerChange] = []
    first = second = 0
    for here, there in [*(pairs[number] for number in kept), (len(before), len(after))]:
        found += (
            LayerChange(LayerFate.REMOVED, before[one], None)
            for one in range(first, here)
            if one not in matched
        )
        for one in range(second, there):
            old = before[partner[one]] if one in partner else None
            fate = LayerFate.ADDED if old is None else LayerFate.MOVED
            found.append(LayerChange(fate, old, after[one]))
        if there < len(after):
            same = before[here].digest == after[there].digest
            fate = LayerFate.SHARED if same else LayerFate.REPACKED
            found.append(LayerChange(fate, before[here], after[there]))
        first, second = here + 1, there + 1
    return found


def contents(before: Sequence[LayerAt], after: Sequence[LayerAt]) -> tuple[list[str], list[str]]:
    """Return for each layer what those with the same content have in common."""
    unpacked = {one.digest: one.diff_id for one in (*before, *after) if one.diff_id}
    old, new = ([unpacked.get(one.digest, one.digest) for one in own] for own in (before, after))
    return old, new


def matching(before: Sequence[object], after: Sequence[object]) -> list[tuple[int, int]]:
    """Return the positions of equal items that stand in the same order in both lists."""
    pairs = _paired(before, after)
    return [pairs[number] for number in _ascending([second for _, second in pairs])]


def _paired(before: Iterable[object], after: Iterable[object]) -> list[tuple[int, int]]:
    """Return the positions of equal items, the first with the first and so on."""
    places: dict[object, list[int]] = defaultdict(list)
    for number, item in enumerate(after):
        places[item].append(number)
    left = {item: iter(found) for item, found in places.items()}
    nothing: Iterator[int] = iter(())
    numbers = (next(left.get(item, nothing), None) for item in before)
    return [(first, second) for first, second in enumerate(numbers) if second is not None]


def _ascending(numbers: Sequence[int]) -> list[int]:
    """Return the positions of a longest run of numbers, not all adjacent, that ascend.

    n * log(n) steps, where comparing all with all could take minutes: manifests are hostile.
    """
    ends: list[int] = []
    """The smallest number in which a run of each length ends."""
    places: list[int] = []
    before: list[int] = []
    for place, number in enumerate(numbers):
        length = bisect_left(ends, number)
        before.append(places[length - 1] if length else -1)
        ends[length : length + 1] = [number]
        places[length : length + 1] = [place]
    found: list[int] = []
    place = places[-1] if places else -1
    while place >= 0:
        found.append(place)
        place = before[place]
    return found[::-1]
