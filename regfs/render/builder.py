"""Who built an image, and what a build cache holds, in words: for `show` and `buildkit`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from regfs.render.tables import plural, short
from regfs.reports.builder import BUILDKIT

if TYPE_CHECKING:
    from regfs.reports.build_cache import CacheFacts
    from regfs.reports.builder import BuilderFacts


def cache_words(cache: CacheFacts) -> str:
    """Return what a build cache is, in words."""
    what = plural(cache.layers, "layer")
    if cache.records >= 0:
        what += f" and what is known of {plural(cache.records, 'step')}"
    listed = ", listed by an index as if they were images" if cache.form == "index" else ""
    if not cache.only_here:
        return f"{what}{listed}; images here have all the layers: probably mode=min"
    be = "is" if cache.only_here == 1 else "are"
    stages = f"{cache.only_here:,} of the layers {be} in no image here"
    return f"{what}{listed}; {stages}, as those of build stages are: probably mode=max"


def built_pairs(built: BuilderFacts) -> Iterator[tuple[str, str]]:
    """Yield what is told of a build in `show`, as names and values."""
    if built.builder:
        yield "built by", f"{built.builder} {built.version}".strip()
    if built.time:
        files = f", and of the files in {plural(built.rewritten, 'layer')}"
        how = "SOURCE_DATE_EPOCH" if built.builder == BUILDKIT else "--timestamp"
        yield "times", f"all set to {built.time} ({how}){files if built.rewritten else ''}"
    if built.squash in ("yes", "probably"):
        sure = "" if built.squash == "yes" else "probably "
        yield "layers", f"{sure}squashed: {built.squash_evidence}"
    for layer, packing in built.packings.items():
        yield "packed", f"{short(layer)} as {packing}"
