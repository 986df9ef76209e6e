"""What a run moves or makes, by kind, and how much it is together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from enum import StrEnum


class ActionKind(StrEnum):
    """What something in the tree is; in the order in which things are moved away."""

    TAG = "tag"
    TAG_INDEX = "tag-index"
    REVISION = "revision"
    LAYER_LINK = "layer-link"
    UPLOAD = "upload"
    BLOB = "blob"
    TEMPORARY = "temporary"
    DIRECTORY = "directory"
    REPOSITORY = "repository"


@dataclass(frozen=True, slots=True)
class Totals:
    """What the things of a plan or a run add up to."""

    blobs: int = 0
    bytes: int = 0
    """Bytes of everything, links included."""
    manifests: int = 0
    layer_links: int = 0
    tag_indexes: int = 0
    uploads: int = 0
    tags: int = 0
    temporaries: int = 0
    directories: int = 0
    repositories: int = 0

    def plus(self, other: Totals) -> Totals:
        """Return both together."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Totals(*(mine + theirs for mine, theirs in pairs))


def sum_up(things: Iterable[tuple[str, int]]) -> Totals:
    """Add up kinds of things and their sizes in bytes."""
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
