"""Where in a layer the files lie that images do not show.

    tally.add(var/lib/apt/lists/a, hidden in images 3 to 8)
    tally.places() -> var/lib/apt/lists: 40 MB in images 3 to 8

Places are folders with a tenth of what is hidden in the layer, or more. What lies elsewhere counts
for the nearest folder above that makes a tenth with others, or for the root: ten places at most
say where everything is, however many folders it lies in.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from regfs.digest import Digest
from regfs.files.layer_stack import HiddenFile

_PARTS: Final = 10
"""A place has at least one of so many equal parts of what is hidden in its layer."""


class HiddenPlace:
    """A folder of a layer, and what is hidden in it."""

    def __init__(self, layer: Digest, folder: str) -> None:
        self.layer = layer
        self.folder = folder
        self.bytes = 0
        self.files = 0
        self.unseen = 0
        """Bytes that no image shows."""
        self.removed = 0
        self.largest = (0, "")
        """The size and path of the largest file."""
        self.images: list[tuple[int, int]] = []
        """Images that hide any of it: first, and the one behind the last; in order, apart."""
        self.hider = (0, 0)
        """An image, and the position of its layer that hides the largest file."""

    def count(self, hidden: HiddenFile, image: int) -> None:
        """Count a file that no image before has hidden."""
        self.bytes += hidden.size
        self.files += 1
        self.removed += hidden.size if hidden.removed else 0
        if hidden.size > self.largest[0]:
            self.largest = (hidden.size, hidden.path)
            self.hider = (image, hidden.by)

    def extend(self, begin: int, end: int) -> None:
        """Add images; `end` is not before that of any call before."""
        while self.images and self.images[-1][1] >= begin:
            begin = min(begin, self.images.pop()[0])
        self.images.append((begin, end))

    def take(self, other: HiddenPlace) -> None:
        """Count all of another place for this one."""
        self.bytes += other.bytes
        self.files += other.files
        self.unseen += other.unseen
        self.removed += other.removed
        if other.largest > self.largest:
            self.largest, self.hider = other.largest, other.hider
        spans = sorted((*self.images, *other.images), key=lambda span: span[1])
        self.images = []
        for begin, end in spans:
            self.extend(begin, end)

    def numbers(self) -> Iterator[int]:
        """Yield the number of each image."""
        for begin, end in self.images:
            yield from range(begin, end)


class HiddenTally:
    """What is hidden of one layer, over all images."""

    def __init__(self, layer: Digest, stored: int) -> None:
        self.layer = layer
        self.stored = stored
        """Bytes of the files in it."""
        self.uses = 0
        """How often it is part of an image."""
        self._slots: dict[int, int] = {}
        """Number of an entry -> its position in the columns below."""
        self._sizes = array("q")
        self._times = array("q")
        """How often it is hidden."""
        self._folders: list[HiddenPlace] = []
        self._by_path: dict[str, HiddenPlace] = {}

    def add(self, hidden: HiddenFile, begin: int, end: int) -> None:
        """Count a file that is hidden in the images from `begin` to before `end`."""
        slot = self._slots.get(hidden.number)
        if slot is None:
            slot = self._slots[hidden.number] = len(self._times)
            path = hidden.path.rpartition("/")[0]
            place = self._by_path.get(path)
            if place is None:
                place = self._by_path[path] = HiddenPlace(self.layer, path)
            place.count(hidden, begin)
            self._folders.append(place)
            self._sizes.append(hidden.size)
            self._times.append(0)
        self._times[slot] += end - begin
        self._folders[slot].extend(begin, end)

    def places(self) -> Iterator[HiddenPlace]:
        """Yield the places, once everything is counted."""
        for size, times, folder in zip(self._sizes, self._times, self._folders, strict=True):
            folder.unseen += size if times == self.uses else 0
        levels: defaultdict[int, dict[str, HiddenPlace]] = defaultdict(dict)
        for path, place in self._by_path.items():
            levels[_depth(path)][path] = place
        total = sum(self._sizes)
        for depth in range(max(levels, default=-1), -1, -1):
            for path, place in levels.pop(depth, {}).items():
                if not depth or place.bytes * _PARTS >= total:
                    yield place
                    continue
                above = path.rpartition("/")[0]
                known = levels[depth - 1].get(above)
                if known is None:
                    known = levels[depth - 1][above] = HiddenPlace(self.layer, above)
                known.take(place)


def _depth(path: str) -> int:
    return path.count("/") + 1 if path else 0
