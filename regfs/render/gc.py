"""Words of a collection, which the command line and the page share."""

from __future__ import annotations

from typing import Final

from regfs.runs.totals import Totals
from regfs.units import human_size

KEPT: Final = {
    "young": "too young (--min-age, --uploads-older-than)",
    "future": "dated later than now: a clock is wrong, or was",
    "frozen": "unreferenced, but named by a repository in doubt",
    "frozen_repositories": "whole repositories, in doubt (see the findings)",
    "blind": "unreferenced, but part of the tree cannot be seen",
    "tagless": "untagged manifests of repositories without any tag (--allow-tagless)",
    "outside": "unreferenced here, but in use by the word of somebody else (--roots)",
    "copies": "halves of copies whose file is needed and not there (run rsync again)",
    "max_freed": "unreferenced, beyond what was to be freed (--max-freed)",
}
"""Why things stay: the words of `Plan.kept`."""


def in_words(totals: Totals) -> str:
    """Return what things add up to: `2 blobs, 1 tag, 3.4 kB`."""
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
