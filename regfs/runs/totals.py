"""What a run moves or creates, by kind, and how much that is together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from enum import StrEnum
from typing import Final


class ActionKind(StrEnum):
    """What an item is; in the order in which items are moved away."""

    TAG = "tag"
    TAG_INDEX = "tag-index"
    REVISION = "revision"
    LAYER_LINK = "layer-link"
    UPLOAD = "upload"
    BLOB = "blob"
    TEMPORARY = "temporary"
    DIRECTORY = "directory"
    REPOSITORY = "repository"


LINK_KINDS: Final = frozenset({ActionKind.TAG_INDEX, ActionKind.REVISION, ActionKind.LAYER_LINK})
"""Kinds that are a single link."""
FOLDER_KINDS: Final = frozenset({ActionKind.TAG, ActionKind.UPLOAD})
"""Kinds that are moved as a folder, with all that it holds."""
EMPTY_KINDS: Final = frozenset({ActionKind.DIRECTORY, ActionKind.REPOSITORY})
"""Kinds that are only removed if they are empty."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What the items of a plan or a run add up to."""

    blobs: int = 0
    bytes: int = 0
    """Bytes of all items, links included."""
    manifests: int = 0
    layer_links: int = 0
    tag_indexes: int = 0
    uploads: int = 0
    tags: int = 0
    temporaries: int = 0
    directories: int = 0
    repositories: int = 0

    def plus(self, other: Totals) -> Totals:
        """Return the sum of both."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Totals(*(mine + theirs for mine, theirs in pairs))


def sum_up(things: Iterable[tuple[str, int]]) -> Totals:
    """Return the totals of items, each given as its kind and its size in bytes."""
    everything = list(things)
    counts = Counter([kind for kind, _ in everything])
    size = sum([length for _, length in everything])
    return Totals(
        blobs=counts[ActionKind.BLOB],
        bytes=size,
        manifests=counts[ActionKind.REVISION],
        layer_links=counts[ActionKind.LAYER_LINK],
        tag_indexes=counts[ActionKind.TAG_INDEX],
        uploads=counts[ActionKind.UPLOAD],
        tags=counts[ActionKind.TAG],
        temporaries=counts[ActionKind.TEMPORARY],
        directories=counts[ActionKind.DIRECTORY],
        repositories=counts[ActionKind.REPOSITORY],
    )
