"""How an image was built, by what its config and manifest give away: who, when, what was squashed.

    built(manifest, config, steps) -> Built(builder="BuildKit", squash="no", ...)

Nothing here reads a blob. What only a habit of a builder shows is called probable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from regfs.content.layers import Packing, packing_of
from regfs.manifests import Descriptor, DockerManifest, ImageManifest
from regfs.manifests.image_config import ImageConfig
from regfs.reports.history import BuildStep

BUILDKIT: Final = "BuildKit"
BUILDAH: Final = "buildah"
CLASSIC: Final = "Docker's classic builder"

Squash = Literal["no", "probably", "yes", "unknown"]
"""Whether the layers of a base were put into one: `unknown` without a history."""

_BUILDAH_LABEL: Final = "io.buildah.version"
_REWRITTEN: Final = "buildkit/rewritten-timestamp"
_ESTARGZ: Final = "containerd.io/snapshot/stargz/toc.digest"
_CHUNKED: Final = "io.github.containers.zstd-chunked.manifest-checksum"
_FROM: Final = re.compile(r"FROM (\S+)")
_MERGED: Final = re.compile(r"merge sha256:[0-9a-f]+ to ")
_IMPORTED: Final = "Imported from "
_NOP: Final = "/bin/sh -c #(nop)"


@dataclass(frozen=True, slots=True)
class Built:
    """How one image was built."""

    builder: str
    """`BuildKit`, `buildah` (podman too), `Docker's classic builder`, `kaniko`, or empty."""
    version: str
    evidence: str
    """What shows that."""
    squash: Squash
    squash_evidence: str
    """Why that is said; empty of `no` and `unknown`."""
    folded: int
    """Layers that hold what several instructions have written, each."""
    empty_layers: int
    """Layers with nothing in them, of steps that changed nothing."""
    time: str | None
    """The one time that all own steps have, as SOURCE_DATE_EPOCH and --timestamp set it."""
    rewritten: int
    """Layers in which BuildKit has set the times of files to it as well."""
    packings: dict[str, str]
    """Layer -> `zstd`, `zstd:chunked`, `eStargz` or `tar`; those packed by gzip are left out."""


def built(
    manifest: ImageManifest | DockerManifest,
    config: ImageConfig | None,
    steps: Sequence[BuildStep],
) -> Built:
    """Return how an image was built."""
    builder, version, evidence = _builder(config, steps)
    squash, why = _squash(steps)
    into = {step.folded_into for step in steps if step.folded_into}
    return Built(
        builder=builder,
        version=version,
        evidence=evidence,
        squash=squash,
        squash_evidence=why,
        folded=len(into),
        empty_layers=sum(step.empty and step.digest is not None for step in steps),
        time=_time(config, steps, builder),
        rewritten=sum(_REWRITTEN in layer.annotations for layer in manifest.layers),
        packings=dict(_packings(manifest.layers)),
    )


def _builder(config: ImageConfig | None, steps: Sequence[BuildStep]) -> tuple[str, str, str]:
    """Return who has made the last step, in which version, and what shows it."""
    last = steps[-1] if steps and config is not None and config.history else None
    if config is None or last is None:
        return "", "", ""
    if last.comment.startswith("buildkit.") or last.created_by.endswith("# buildkit"):
        return BUILDKIT, "", f"its history says {last.comment or '# buildkit'}"
    if version := config.labels.get(_BUILDAH_LABEL, ""):
        return BUILDAH, version, f"its label {_BUILDAH_LABEL}"
    if "kaniko" in (config.author, config.history[-1].author):
        return "kaniko", "", "the author in its history"
    if last.created_by.startswith(_NOP):
        version = (config.model_extra or {}).get("docker_version", "")
        return CLASSIC, version if isinstance(version, str) else "", "#(nop) in its history"
    return "", "", ""


def own_steps(steps: Sequence[BuildStep]) -> list[BuildStep]:
    """Return the steps that BuildKit has made, which follow those of the base."""
    return [step for step in steps if step.comment.startswith("buildkit.")]


def _squash(steps: Sequence[BuildStep]) -> tuple[Squash, str]:
    made = [step for step in steps if step.digest is not None]
    if not any(step.created_by or step.comment for step in steps):
        return "unknown", ""
    for step in steps:
        if _MERGED.match(step.comment):
            return "yes", f"its history says {step.comment[:80]!r}"
        if step.comment.startswith(_IMPORTED):
            return "yes", "it was imported from a tar of a container's files"
    # buildah notes the base at the last step; the steps of the base come before it, unless the
    # layers were squashed, with which they are gone.
    base = _FROM.match(made[0].comment) if len(made) == 1 else None
    if base and base[1] != "scratch":
        return "probably", f"its only layer was built FROM {base[1]}, of which no step is left"
    return "no", ""


def _time(config: ImageConfig | None, steps: Sequence[BuildStep], builder: str) -> str | None:
    """Return the time of all own steps if it was set: a clock would tell fractions of a second."""
    own = own_steps(steps) if builder == BUILDKIT else steps[-1:]
    times = {step.created for step in own} | {config.created if config else None}
    (time, *others) = times
    is_set = not others and time is not None and "." not in time
    return time if is_set and builder in (BUILDKIT, BUILDAH) else None


def _packings(layers: Iterable[Descriptor]) -> Iterable[tuple[str, str]]:
    for layer in layers:
        packing = packing_of(layer.media_type)
        if _ESTARGZ in layer.annotations:
            yield layer.digest, "eStargz"
        elif _CHUNKED in layer.annotations:
            yield layer.digest, "zstd:chunked"
        elif packing not in (None, Packing.GZIP):
            yield layer.digest, str(packing)
