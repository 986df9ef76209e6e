"""The space that stays free on a disk, whatever is pushed.

A disk that is full to the last byte stops more than pushes: what else writes to it, and the
way back of a collection. Links and manifests are small and complete what has arrived before,
so only uploads are asked.
"""

from __future__ import annotations

from regfs.errors import StoreFull
from regfs.stores import Store


class Floor:
    """How many bytes stay free where a folder of a tree is; 0 asks nothing."""

    def __init__(self, store: Store, folder: str, least: int) -> None:
        self._store = store
        self._folder = folder
        self._least = least

    def see_to(self, size: int) -> None:
        """See that so many bytes may come.

        Raises:
            StoreFull: less would stay free than the limit requires.
        """
        if not self._least:
            return
        free = self._store.room(self._folder).bytes
        if free - size < self._least:
            more = f"{size} bytes more would not leave" if size else "that is less than"
            raise StoreFull(
                f"{free} bytes are free on the disk of the registry, and {more} the "
                f"{self._least} that are to stay free"
            )
