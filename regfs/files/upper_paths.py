"""What the upper layers of an image say of paths: whether those below them have to be read.

    layer        .names       .closed      .above
    app/         app
    app/run      app/run      app/run      app
    etc/.wh.old  etc/old      etc/old

Paths are taken as they are written. Where a link in a lower layer gives a place two names, an
image that writes one of them says nothing of the other, and the lower layers are asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from regfs.content.entries import EntryKind
from regfs.files.listing import LayerListing
from regfs.files.merged import LONGEST, OPAQUE, WHITEOUT


class UpperPaths:
    """What some layers say of paths without those below them."""

    def __init__(self, listings: Sequence[LayerListing]) -> None:
        self.names: set[str] = set()
        """Paths of which they say what is there, or that nothing is."""
        self.closed: set[str] = set()
        """Paths where nothing is left of what is in a folder that lies there in lower layers."""
        self.above: set[str] = set()
        """Folders of what they have."""
        self.needs_more = False
        """Whether a hard link leads to what they do not have."""
        for listing in listings:
            for number, path in enumerate(listing.paths()):
                if len(path) <= LONGEST:  # `Merged` leaves out the rest
                    self._add(listing, number, path)

    def _add(self, listing: LayerListing, number: int, path: str) -> None:
        above, slash, name = path.rpartition("/")
        if name == OPAQUE:
            self.closed.add(above)
            return
        if name.startswith(WHITEOUT):
            path = f"{above}{slash}{name.removeprefix(WHITEOUT)}"
        else:
            while above and above not in self.above:
                self.above.add(above)
                above = above.rpartition("/")[0]
        kind = listing.kind(number)
        if kind is EntryKind.HARDLINK and listing.target(number) not in self.names:
            self.needs_more = True
        self.names.add(path)
        if kind is not EntryKind.FOLDER:
            self.closed.add(path)

    def is_as_far_as(self, other: UpperPaths) -> bool:
        """Return whether both leave open the same paths, where lower layers then have the same."""
        if self.needs_more or other.needs_more or self.above != other.above:
            return False
        return self._covers(other) and other._covers(self)

    def _covers(self, other: UpperPaths) -> bool:
        """Return whether this says as well what the other says."""
        names = other.names - self.names
        closed = other.closed - self.closed
        return all(map(self._is_closed, _folders(names))) and all(map(self._is_closed, closed))

    def _is_closed(self, path: str) -> bool:
        """Return whether nothing of lower layers is left in a folder."""
        while path and path not in self.closed:
            path = path.rpartition("/")[0]
        return path in self.closed


def _folders(paths: Iterable[str]) -> set[str]:
    """Return the folders in which paths lie."""
    return {path.rpartition("/")[0] for path in paths}
