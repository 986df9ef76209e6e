"""What every store answers that can only be read, when it is asked to change something."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any, BinaryIO, Final, NoReturn

from regfs.errors import Refused, StoreError
from regfs.stores import Writer

NO_REQUESTS: Final[Mapping[str, int]] = MappingProxyType({})


class ReadOnly:
    """The changing half of a WritableStore: each method refuses, and says what to do instead."""

    refusal: str
    """Why nothing is changed, and what to do; one line that begins with the URL."""
    taken_at: float | None = None
    """As in `Store`."""
    freed_later = ""
    """As in `WritableStore`."""
    requests: Mapping[str, int] = NO_REQUESTS
    """As in `Store`."""

    def _refuse(self) -> NoReturn:
        raise Refused(self.refusal)

    def create(self, path: str, *, mtime: float | None = None) -> Writer:
        """Refuse."""
        self._refuse()

    def share(self, path: str, source: BinaryIO) -> bool:
        """Refuse."""
        self._refuse()

    def append(self, path: str) -> BinaryIO:
        """Refuse."""
        self._refuse()

    def move(self, source: str, target: str) -> None:
        """Refuse."""
        self._refuse()

    def replace(self, source: str, target: str) -> None:
        """Refuse."""
        self._refuse()

    def move_many(self, moves: Iterable[tuple[str, str]]) -> Iterator[StoreError | None]:
        """Refuse."""
        self._refuse()

    def delete(self, paths: Iterable[str]) -> int:
        """Refuse."""
        self._refuse()

    def delete_tree(self, folder: str) -> int:
        """Refuse."""
        self._refuse()

    def require_writable(self, folders: Iterable[str]) -> None:
        """Refuse."""
        self._refuse()

    def claim(self, path: str, size: int) -> None:
        """Refuse."""
        self._refuse()

    def sync(self, folder: str) -> None:
        """Refuse."""
        self._refuse()

    def lock(self, path: str, owner: str, *, shared: bool = False) -> AbstractContextManager[Any]:
        """Refuse."""
        self._refuse()
