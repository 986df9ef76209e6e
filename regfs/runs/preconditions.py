"""What has to hold before a run begins: one file system, and the right to write.

A rename to another file system, or to another mount of the same one, fails. If that came up
during a run, links would lie in quarantine while the blobs they name lie in place. So it is
checked before, and the run is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from regfs import layout
from regfs.errors import Doubt
from regfs.runs.paths import RUNS
from regfs.stores import Store, WritableStore, folders_above

_SHOWN: Final = 5
_TOP: Final = (layout.PREFIX, layout.BLOBS, layout.REPOSITORIES)


def require_one_filesystem(store: Store, folders: Iterable[str] = ()) -> None:
    """See that what lies in the registry, and in `folders`, can be renamed into quarantine.

    Raises:
        Doubt: some of it lies on another file system.
    """
    found = set(store.apart(RUNS, [*_TOP, *folders]))
    if not found:
        return
    apart = sorted(one for one in found if found.isdisjoint(folders_above(one)))
    shown = ", ".join(apart[:_SHOWN]) + (", ..." if len(apart) > _SHOWN else "")
    state = layout.STATE
    if layout.PREFIX in apart:
        way = (
            f"If a link leads there, name as ROOT the folder that really holds docker/; if docker/ "
            f"is a mount, keep {state} in it: mkdir docker/{state} && ln -s docker/{state} {state} "
            "in ROOT, before there is any"
        )
    else:
        way = f"All of {layout.PREFIX} has to lie on one file system, without mounts inside"
    raise Doubt(
        f"{shown}: on another file system or mount than {state}, so nothing there can be moved "
        f"into quarantine. {way}"
    )


def require_writable(store: WritableStore, folders: Iterable[str] = ()) -> None:
    """See that we may write a journal and a quarantine, and change what is in `folders`.

    Nothing is written to find that out.

    Raises:
        PathDenied, StoreError: we may not; the message names the first folder.
    """
    store.require_writable([layout.STATE, RUNS, *folders])
