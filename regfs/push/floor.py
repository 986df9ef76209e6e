"""The space that stays free on a disk, whatever is pushed.

A full disk stops more than pushes: other programs that write to it, and the undo of a
collection. Links and manifests are small and complete what has arrived before, so only
uploads are checked.
"""

from __future__ import annotations

from regfs.errors import StoreFull
from regfs.stores import Store


class Floor:
    """Keeps bytes free on the disk of a folder; with 0 it checks nothing."""

    def __init__(self, store: Store, folder: str, least: int) -> None:
        self._store = store
        self._folder = folder
        self._least = least

    def see_to(self, size: int) -> None:
        """Check that so many bytes may arrive.

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
