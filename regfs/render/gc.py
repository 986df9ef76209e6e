"""Words about a collection that the command line and the page share."""

from __future__ import annotations

from typing import Final

from regfs.runs.totals import Totals
from regfs.units import human_size

KEPT: Final = {
    "young": "too young (--min-age, --uploads-older-than)",
    "future": "dated in the future: a clock is or was wrong",
    "frozen": "unreferenced, but named by a repository in doubt",
    "frozen_repositories": "whole repositories, in doubt (see the findings)",
    "blind": "unreferenced, but part of the tree cannot be read",
    "tagless": "untagged manifests of repositories without any tag (--allow-tagless)",
    "outside": "unreferenced here, but in use elsewhere (--roots)",
    "copies": "partial copies whose file is needed but missing (run rsync again)",
    "max_freed": "unreferenced, but beyond the limit (--max-freed)",
}
"""Key of `Plan.kept` -> its words."""


def in_words(totals: Totals) -> str:
    """Return totals in words: `2 blobs, 1 tag, 3.4 kB`."""
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
    parts = [f"{count} {one if count == 1 else many}" for count, one, many in counts if count]
    return f"{', '.join(parts) or 'nothing'}, {human_size(totals.bytes)}"
