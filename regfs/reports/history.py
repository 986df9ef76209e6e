"""How an image was built: each step of its history with its layer.

    history   FROM..ADD   ENV (no layer)   COPY        RUN
    layers    25b16005                     27079509    4f4fb700

The config says which steps left no layer. If it has no history, or one that does not
fit the layers, each layer is a step without an instruction.

Where builders put several steps into one layer (see instructions.py):

    history   COPY (no layer)   CMD         COPY has written what is in the layer:
    layers                      860a49f9    its `folded_into` names the layer
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from regfs.manifests import DockerManifestV1, V1History
from regfs.manifests.image_config import History, ImageConfig
from regfs.reports.instructions import folded_from, instruction

EMPTY_TAR: Final = frozenset(
    {
        "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
        "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4",
    }
)
"""An empty layer: its diffID, and the digest of it as Docker compresses it."""
TITLE: Final = "org.opencontainers.image.title"


class LayerFacts(NamedTuple):
    """What is known about a layer without reading it."""

    digest: str
    size: int
    media_type: str
    present: bool | None
    """None if its place cannot be read."""
    elsewhere: bool
    """Whether clients fetch it from its urls, because the repository does not have it."""
    images: int


@dataclass(frozen=True, slots=True)
class BuildStep:
    """One step of the history, or one layer without a history."""

    instruction: str
    """As in a Dockerfile, as far as that is known; the file name of an artifact's layer."""
    created_by: str
    """As the history has it."""
    created: str | None
    comment: str
    empty: bool
    """Whether the step left no layer, or an empty one."""
    digest: str | None
    """Of its layer."""
    size: int
    media_type: str
    present: bool | None
    """None if its place cannot be read."""
    images: int
    """Other images that have the same layer."""
    elsewhere: bool = False
    """Whether clients fetch the layer from its urls; the repository need not have it."""
    folded_into: str | None = None
    """The layer of a later step that has what this one wrote, if it has no layer itself."""


def config_steps(
    layers: Sequence[LayerFacts],
    annotations: Sequence[Mapping[str, str]],
    config: ImageConfig | None,
) -> Iterator[BuildStep]:
    """Yield the steps of an image with a config; `annotations` are those of the layers."""
    history = config.history if config else ()
    diff_ids = config.rootfs.diff_ids if config else ()
    number = 0
    empty: list[BuildStep] = []
    for entry in history:
        if entry.empty_layer or number >= len(layers):
            empty.append(_step(None, entry))
            continue
        step = _step(layers[number], entry, diff_ids[number] if number < len(diff_ids) else "")
        yield from _folded(empty, step)
        yield step
        empty = []
        number += 1
    yield from empty
    for layer, notes in zip(layers[number:], annotations[number:], strict=True):
        yield _step(layer, History(created_by=notes.get(TITLE, "")))


def _folded(before: list[BuildStep], step: BuildStep) -> Iterator[BuildStep]:
    """Yield the steps without a layer before a step with one, marked if it is theirs as well."""
    first = folded_from([one.instruction for one in before], step.instruction)
    yield from before[:first]
    for one in before[first:]:
        yield replace(one, folded_into=step.digest)


def schema1_steps(layers: Sequence[LayerFacts], manifest: DockerManifestV1) -> Iterator[BuildStep]:
    """Yield the steps of a schema 1 image; `layers` have the base first."""
    history = list(reversed(manifest.history))
    if len(history) != len(layers):
        history = []
    for number, layer in enumerate(layers):
        yield _step(layer, _v1_history(history[number]) if history else History())


def _v1_history(entry: V1History) -> History:
    try:
        raw = json.loads(entry.v1_compatibility)
        command = raw["container_config"]["Cmd"]
        text = " ".join(command) if isinstance(command, list) else ""
    except (ValueError, TypeError, KeyError, RecursionError):
        return History()
    created: Any = raw.get("created")
    return History(created_by=text, created=created if isinstance(created, str) else None)


def _step(layer: LayerFacts | None, entry: History, diff_id: str = "") -> BuildStep:
    return BuildStep(
        instruction=instruction(entry.created_by),
        created_by=entry.created_by,
        created=entry.created,
        comment=entry.comment,
        empty=layer is None or not EMPTY_TAR.isdisjoint({diff_id, layer.digest}),
        digest=layer.digest if layer else None,
        size=layer.size if layer else 0,
        media_type=layer.media_type if layer else "",
        present=layer.present if layer else True,
        images=layer.images if layer else 0,
        elsewhere=layer is not None and layer.elsewhere,
    )
