"""References to tags that may be damaged: what removes a tag has to find it all the same."""

from __future__ import annotations

from regfs import layout
from regfs.errors import LayoutInvalid, ManifestUnknown
from regfs.stores import stat_or_none
from regfs.tree.registry import Registry, Target


def find_tagged(registry: Registry, text: str) -> Target:
    """Return what a reference means; the digest of NAME:TAG is None if the tag is damaged.

    Raises:
        ReferenceInvalid, Unknown, StoreError: as `Registry.find`.
    """
    try:
        return registry.find(text)
    except ManifestUnknown:
        name, colon, tag = text.rpartition(":")
        if not colon or "@" in text or not _is_there(registry, name, tag):
            raise
        return Target(name, tag, None)


def _is_there(registry: Registry, name: str, tag: str) -> bool:
    try:
        return stat_or_none(registry.store, layout.tag_folder(name, tag)) is not None
    except LayoutInvalid:
        return False
