"""What every writer does at the end of its `with` block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self


class BlockWriter(ABC):
    """A base of writers: as the block ends they commit, or discard if it raised."""

    _open: bool
    """Whether it was neither committed nor discarded yet."""

    @abstractmethod
    def commit(self) -> None:
        """As `Writer.commit`."""

    @abstractmethod
    def discard(self) -> None:
        """As `Writer.discard`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Commit, or discard when the block raised; nothing, if the block has done either."""
        if not self._open:
            return
        if error[0] is None:
            self.commit()
        else:
            self.discard()
