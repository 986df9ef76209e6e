"""The mark of a copy: what an export writes into a folder or bucket that it fills.

    .regfs/export.json     {"root": .., "format": "tree", "begun_at": ..}      it is under way
                           {.., "finished_at": .., "empty": false}             it has ended

A bucket has no folders, so a copy of an empty registry in it is the mark alone. Without that, a
bucket that holds nothing is taken for a wrong prefix.
"""

from __future__ import annotations

import json
from typing import Any, Final

from regfs import layout
from regfs.errors import StoreError
from regfs.findings import Finding
from regfs.stores import Store, stat_or_none

MARK: Final = f"{layout.STATE}/export.json"
"""Says of a folder or bucket that it holds a copy."""
_RUNS: Final = f"{layout.STATE}/runs"
_LONGEST: Final = 1 << 16
"""Bytes that are read of it."""


def is_copy(store: Store) -> bool:
    """Return whether an export has written here, whole or in part."""
    return stat_or_none(store, MARK) is not None


def is_unfinished_copy(store: Store) -> bool:
    """Return whether an export was begun here and has not ended, as far as the mark can be read."""
    said = _mark(store) if is_copy(store) else {}
    return "begun_at" in said and "finished_at" not in said


def is_empty_copy(store: Store) -> bool:
    """Return whether this is the copy of a registry that held nothing, and nothing came since.

    A place where a run has changed anything is none: what lies in its quarantine may be in use by
    a tree that cannot be seen now, so nothing there may be taken for garbage.
    """
    unread: list[Finding] = []
    try:
        if not is_copy(store) or _mark(store).get("empty") is not True:
            return False
        return not store.list(_RUNS, unread.append) and not unread
    except StoreError:
        return False


def _mark(store: Store) -> dict[str, Any]:
    try:
        found = json.loads(store.read(MARK, _LONGEST))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
