"""Pages of tags and of repositories: what comes after a name, without what comes before it.

    tags          by bytes:            1.0  1.0-rc  latest  v1
    repositories  component by component, a repository before those in its folder:
                                       foo  foo/1x  foo/z  foo-bar/a

Only what a client can ask for is listed: a folder whose name breaks the grammar is passed
over, and so is a tag that points to nothing. A page of repositories lists the folders that
it shows and those on the way to where it begins.

A large folder on a disk is listed once and then remembered for as long as its time of
modification stays; elsewhere folders have no times of their own. Two changes can fall into one
tick of a file system's clock, so the listing of a folder that was changed just before is not
remembered.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from regfs import layout
from regfs.errors import NameUnknown, PathMissing, PathUnsafe, StoreError
from regfs.findings import Code, Finding
from regfs.names import name_problem, tag_problem
from regfs.stores import Capability, FileKind, Store, stat_or_none
from regfs.tree.cache import LRUCache

TICK: Final = 2.0
"""Seconds within which a folder can change twice and show one time: the coarsest that is known
(FAT, and servers of NFS whose clock is a little behind)."""

_LARGE: Final = 64
"""Names from which on it is cheaper to ask about a folder than to list it."""
_REMEMBERED: Final = 1_000_000
"""Names of folders that are remembered in all; each takes about 100 bytes."""
_APART: Final = 500
"""Leaves up to which each is looked at; beyond that a listing of them all is cheaper."""


class Page(NamedTuple):
    """Some names in their order."""

    names: list[str]
    more: bool
    """Whether others come after them."""


class _Stamp(NamedTuple):
    """What shows that a folder is as it was."""

    mtime: float
    size: int


class _Folder(NamedTuple):
    stamp: _Stamp
    names: list[str]


def _everything(name: str) -> bool:
    return True


class Folders:
    """What folders there are in a folder: by name, sorted, and remembered while that is safe."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self.store = store
        self._clock = clock
        self._recent: LRUCache[str, _Folder] = LRUCache(_REMEMBERED)

    def names(self, folder: str) -> list[str]:
        """Return the names of the folders in `folder`; as long as they stay, the same list.

        The list is shared: it must not be changed. A missing folder has no names.

        Raises:
            StoreError: it cannot be listed: that is not the same as being empty.
        """
        known = self._recent.get(folder)
        if known is not None and known.stamp == self._stamp(folder):
            return known.names
        now = self._clock()
        names, whole = self._list(folder)
        dated = Capability.FOLDERS in self.store.capabilities
        if dated and whole and len(names) >= _LARGE:
            stamp = self._stamp(folder)
            # Asked after the listing began: what changed during it would show now.
            if stamp is not None and stamp.mtime < now - TICK:
                self._recent.put(folder, _Folder(stamp, names), len(names))
        return names

    def _stamp(self, folder: str) -> _Stamp | None:
        try:
            entry = self.store.stat(folder)
        except StoreError:
            return None
        return _Stamp(entry.mtime, entry.size)

    def _list(self, folder: str) -> tuple[list[str], bool]:
        """Return the names, and whether the folder could be read to its end."""
        findings: list[Finding] = []
        found = self.store.subfolders(folder, findings.append)
        if found is None:
            entries = self.store.list(folder, findings.append)
            start = len(folder) + 1
            found = [entry.path[start:] for entry in entries if entry.kind is FileKind.FOLDER]
        for finding in findings:
            if f"{folder}/".startswith(f"{finding.path}/"):
                raise StoreError(f"cannot be listed: {finding}")
        whole = all(finding.code is not Code.PATH_UNREADABLE for finding in findings)
        return sorted(found), whole

    def having(self, folder: str, names: list[str], leaf: str) -> list[str]:
        """Return those of the names whose folder holds the file `leaf`, in their order.

        One that cannot be looked at is taken to hold it: who asks for it will be told why not.
        """
        if len(names) <= _APART:
            return [name for name in names if self._has(f"{folder}/{name}/{leaf}")]
        findings: list[Finding] = []
        leaves = self.store.leaves(folder, leaf, findings.append, only=frozenset(names))
        unseen = [
            finding.path[len(folder) + 1 :].partition("/")[0]
            for finding in findings
            if finding.code is Code.PATH_UNREADABLE
        ]
        found = {*leaves.names, *unseen}
        return [name for name in names if name in found]

    def _has(self, path: str) -> bool:
        try:
            return self.store.stat(path).kind is FileKind.FILE
        except (PathMissing, PathUnsafe):
            return False
        except StoreError:
            return True


class Paging:
    """Pages of one tree."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders

    # Tags

    def tags(self, name: str, n: int | None = None, last: str = "") -> Page:
        """Return up to `n` tags of a repository that come after `last`; all of them without `n`.

        Raises:
            NameUnknown: there is no such repository.
            StoreError: its tags cannot be listed.
        """
        folder = layout.tags_folder(name)
        names = self._folders.names(folder)
        if not names and not self._is_repository(name):
            raise NameUnknown(f"no such repository: {name}")
        position = bisect_right(names, last) if last else 0
        if n is None:
            found = self._folders.having(folder, names[position:], "current/link")
            return Page(_askable(found), more=False)
        found = []
        while n and len(found) <= n and position < len(names):
            some = names[position : position + n + 1 - len(found)]
            position += len(some)
            found += _askable(self._folders.having(folder, some, "current/link"))
        return Page(found[:n], more=len(found) > n)

    def _is_repository(self, name: str) -> bool:
        folder = layout.repository_folder(name)
        for part in layout.PARTS:
            if stat_or_none(self._folders.store, f"{folder}/{part}") is not None:
                return True
        return False

    # Repositories

    def repositories(
        self, n: int, last: str = "", want: Callable[[str], bool] = _everything
    ) -> Page:
        """Return up to `n` repositories after `last`, of those whose name `want` accepts.

        A repository that cannot be looked into is left out, with those in its folder.

        Raises:
            StoreError: none of them can be listed.
        """
        if n == 0:
            return Page([], more=False)
        found = list(islice(filter(want, self._after(last)), n + 1))
        return Page(found[:n], more=len(found) > n)

    def _after(self, last: str) -> Iterator[str]:
        """Yield the repositories after `last`, which need not be there."""
        pending = self._way_to(last)
        while pending:
            prefix, names, position = pending.pop()
            if position == len(names):
                continue
            pending.append((prefix, names, position + 1))
            name = prefix + names[position]
            parts, nested = self._look(name)
            if parts and name_problem(name) is None:
                yield name
            if nested:
                pending.append((f"{name}/", nested, 0))

    def _way_to(self, last: str) -> list[tuple[str, list[str], int]]:
        """Return where to go on after `last`: its folder on top, then what comes after that.

        Each is the beginning of some names, what they go on with, and the first to be seen.
        """
        way: list[tuple[str, list[str], int]] = []
        prefix = ""
        _, names = self._look("")
        for component in last.split("/") if last else []:
            position = bisect_left(names, component)
            if names[position : position + 1] != [component]:
                way.append((prefix, names, position))
                return way
            way.append((prefix, names, position + 1))
            _, names = self._look(prefix + component)
            prefix += f"{component}/"
        way.append((prefix, names, 0))
        return way

    def _look(self, name: str) -> tuple[bool, list[str]]:
        """Return whether a folder is a repository, and which folders in it can lead to others."""
        # No longer name can be asked for, or begins one that can.
        if name and name_problem(f"{name}/a") is not None:
            return self._is_legal_repository(name), []
        if not name:
            names = self._folders.names(layout.REPOSITORIES)
        else:
            try:
                names = self._folders.names(layout.repository_folder(name))
            except StoreError:
                return False, []
        low, high = bisect_left(names, "_"), bisect_left(names, "`")
        own = names[low:high]
        parts = not layout.PARTS.isdisjoint(own)
        return parts, names[:low] + names[high:] if own else names

    def _is_legal_repository(self, name: str) -> bool:
        try:
            return name_problem(name) is None and self._is_repository(name)
        except StoreError:
            return False


def _askable(tags: list[str]) -> list[str]:
    return [tag for tag in tags if tag_problem(tag) is None]
