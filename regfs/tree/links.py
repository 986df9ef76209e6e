"""What small files say: links of tags and revisions, and when an upload began.

A link is understood with good will, and what is wrong with it is said beside it: who asks
decides whether that is enough. The reference registry truncates a link before it writes it, so
one that says nothing and is new is read once more.
"""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from regfs import layout
from regfs.errors import DigestInvalid, StoreError
from regfs.findings import Code
from regfs.stores import Store
from regfs.tree.inventory import Inventory, LinkContent, RepositoryInventory, TagInfo

LINK_LIMIT: Final = 1024
"""Bytes of a link that are read; a right one has 71 (sha256) to 135 (sha512)."""
_NOW: Final = 5.0
"""Seconds; a link that was written so short before the scan may be in the middle of it."""
_MOMENT: Final = 0.1
"""Seconds in which a registry that is writing a link has done so, once for a whole scan."""
_UNDONE: Final = frozenset({Code.LINK_EMPTY, Code.LINK_INVALID, Code.TAG_WITHOUT_CURRENT})
"""What a link looks like that is being written: it is made, or emptied, and then filled."""


def read_link(store: Store, path: str) -> LinkContent:
    """Read one link file; never raises for what it holds or for not being readable."""
    try:
        return parse_link_content(store.read(path, LINK_LIMIT))
    except StoreError as error:
        return LinkContent(None, Code.PATH_UNREADABLE, str(error))


def parse_link_content(content: bytes | None) -> LinkContent:
    """Return what a link says by its content; None when it could not be read."""
    if content is None:
        return LinkContent(None, Code.PATH_UNREADABLE, "cannot be read")
    try:
        return LinkContent(layout.parse_link(content), None)
    except DigestInvalid:
        problem = Code.LINK_INVALID if content.strip(b"\0 \t\r\n") else Code.LINK_EMPTY
        text = repr(content[:80].decode("utf-8", "backslashreplace"))
        return LinkContent(layout.tolerant_link(content), problem, text)


def read_again(store: Store, inventory: Inventory) -> None:
    """Read those links once more that say nothing and were being written when they were read.

    The reference registry truncates a link before it writes it; that is no damage.
    """
    since = inventory.taken_at - _NOW
    tags = [
        (repository, tag)
        for repository in inventory.repositories.values()
        for tag, info in repository.tags.items()
        if info.problem in _UNDONE
        and max([info.mtime, *(entry.mtime for entry in info.history)]) >= since
    ]
    revisions = [
        (repository, digest)
        for repository in inventory.repositories.values()
        for digest, link in repository.links.items()
        if link.problem in _UNDONE
        and (info := repository.revisions.get(digest)) is not None
        and info.mtime >= since
    ]
    if tags or revisions:
        time.sleep(_MOMENT)
    for repository, digest in revisions:
        link = read_link(store, layout.path_of(layout.RevisionLink(repository.name, digest)))
        if link.digest == digest and link.problem is None:
            del repository.links[digest]  # it simply says what its path says
    for repository, tag in tags:
        _read_tag_again(store, inventory, repository, tag)


def _read_tag_again(
    store: Store, inventory: Inventory, repository: RepositoryInventory, tag: str
) -> None:
    path = layout.path_of(layout.TagCurrent(repository.name, tag))
    link = read_link(store, path)
    if link.problem is not None:
        return
    with suppress(StoreError):
        entry = store.stat(path)
        history = repository.tags[tag].history
        repository.tags[tag] = TagInfo(link.digest, entry.mtime, entry.size, None, history)
        told = {path, layout.tag_folder(repository.name, tag)}
        # In place: who asks about files later adds to this very list.
        inventory.findings[:] = [
            one for one in inventory.findings if not (one.path in told and one.code in _UNDONE)
        ]


def upload_started(store: Store, name: str, upload: str) -> float | None:
    """Return when an upload began, by its startedat file; None when that says no time."""
    path = layout.path_of(layout.UploadStartedAt(name, upload))
    try:
        text = store.read(path, 64).decode("ascii").strip()
        began = datetime.fromisoformat(text)
        return (began if began.tzinfo else began.replace(tzinfo=UTC)).timestamp()
    except (StoreError, ValueError):
        return None
