"""A build cache of BuildKit: what it holds, and whether of all steps or of the result alone.

    cache_facts(registry, manifest, in_images) -> CacheFacts(layers=5, records=9, mode="max", ...)

BuildKit exports a cache with `mode=min`, the layers of the result, or `mode=max`, also those of
all stages. Nothing in it says which: layers that no image has are of stages, or their image is
gone. So the mode is a guess.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import from_json

from regfs.digest import Digest
from regfs.errors import RegfsError
from regfs.manifests import BUILDKIT_CACHE, Manifest
from regfs.manifests.media_types import Kind
from regfs.tree.registry import Registry

_LARGEST: Final = 32 << 20
"""Bytes of the largest config that is read; one of 10^5 steps has 20 MB."""


@dataclass(frozen=True, slots=True)
class CacheFacts:
    """A build cache."""

    form: str
    """`image` or `index`: how its layers are listed (image-manifest=true or false)."""
    layers: int
    records: int
    """Steps that it knows the result of; -1 if its config cannot be read."""
    only_here: int
    """Layers that no image of the registry has."""
    mode: str
    """`max` or `min`, probably."""
    problem: str
    """Why its config cannot be read; empty if it can."""


def cache_facts(
    registry: Registry, manifest: Manifest, in_images: Callable[[Digest], bool]
) -> CacheFacts:
    """Describe a build cache; `in_images` says whether any image has a layer."""
    references = manifest.references()
    configs = [one.digest for one in references if one.media_type == BUILDKIT_CACHE]
    layers = {one.digest for one in references if one.digest not in configs}
    only_here = sum(not in_images(one) for one in layers)
    records, problem = -1, ""
    try:
        config = from_json(registry.manifest_bytes(configs[0], _LARGEST), allow_inf_nan=False)
        records = _count(config)
    except (RegfsError, ValueError) as error:
        problem = f"build cache {configs[0].short}: {str(error)[:300]}"
    return CacheFacts(
        form="index" if manifest.kind is Kind.INDEX else "image",
        layers=len(layers),
        records=records,
        only_here=only_here,
        mode="max" if only_here else "min",
        problem=problem,
    )


def _count(config: Any) -> int:
    records = config.get("records") if isinstance(config, dict) else None
    return len(records) if isinstance(records, list) else 0
