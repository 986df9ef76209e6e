"""Words about a collection that the command line and the page share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from regfs.render.tables import plural
from regfs.runs.totals import Totals
from regfs.units import human_size

if TYPE_CHECKING:
    from regfs.gc.plan import Plan

_KEPT: Final = {
    "young": ("item", "items", "too young (--min-age, --uploads-older-than)"),
    "future": ("item", "items", "dated in the future: a clock is or was wrong"),
    "frozen": ("blob", "blobs", "that a repository in doubt may need"),
    "frozen_repositories": ("repository", "repositories", "in doubt (see the findings)"),
    "incomplete": ("blob", "blobs", "while part of the tree cannot be read"),
    "tagless": (
        "untagged manifest",
        "untagged manifests",
        "where a repository has no tags at all (--allow-tagless)",
    ),
    "outside": ("blob", "blobs", "in use elsewhere (--roots)"),
    "copies": (
        "partial copy",
        "partial copies",
        "whose file is needed but missing (run rsync again)",
    ),
    "upload_unknown": ("upload", "uploads", "whose bytes are not known (see the findings)"),
    "max_freed": ("blob", "blobs", "beyond the limit (--max-freed)"),
}
"""Key of `Plan.kept` -> what stays, one and many, and why."""


def kept_in_words(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield for each reason its key in `Plan.kept` and a line: `3 items (4 kB) too young ..`."""
    for reason, count in plan.kept.items():
        one, many, why = _KEPT[reason]
        size = plan.kept_bytes.get(reason, 0)
        amount = f" ({human_size(size)})" if size else ""
        yield reason, f"{plural(count, one, many)}{amount} {why}"


def on_disk(size: int, allocated: int) -> str:
    """Return bytes and the disk blocks that they take: `19.4 MB (77 MB on disk)`."""
    blocks = f" ({human_size(allocated)} on disk)" if allocated > size else ""
    return f"{human_size(size)}{blocks}"


def in_words(totals: Totals, allocated: int = 0) -> str:
    """Return totals in words: `2 blobs, 1 tag, 3.4 kB (8.2 kB on disk)`."""
    counts = [
        (totals.blobs, "blob", "blobs"),
        (totals.manifests, "manifest", "manifests"),
        (totals.layer_links, "layer link", "layer links"),
        (totals.tag_indexes, "tag history entry", "tag history entries"),
        (totals.uploads, "upload", "uploads"),
        (totals.tags, "tag", "tags"),
        (totals.temporaries, "temporary file", "temporary files"),
        (totals.directories, "empty folder", "empty folders"),
        (totals.repositories, "empty repository", "empty repositories"),
    ]
    parts = [plural(count, one, many) for count, one, many in counts if count]
    return f"{', '.join(parts)}, {on_disk(totals.bytes, allocated)}" if parts else "nothing"
