"""How an image was built, by what its config and manifest give away: who, when, what was squashed.

    builder_facts(manifest, config, steps) -> BuilderFacts(builder="BuildKit", squash="no", ...)

Nothing here reads a blob. What only a habit of a builder shows is called probable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from regfs.content.layers import Packing, packing_of
from regfs.manifests import Descriptor, DockerManifest, ImageManifest
from regfs.manifests.image_config import History, ImageConfig
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
class BuilderFacts:
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


def builder_facts(
    manifest: ImageManifest | DockerManifest,
    config: ImageConfig | None,
    steps: Sequence[BuildStep],
) -> BuilderFacts:
    """Return how an image was built."""
    builder, version, evidence = builder_of(config) if config else ("", "", "")
    squash, why = _squash(steps)
    into = {step.folded_into for step in steps if step.folded_into}
    return BuilderFacts(
        builder=builder,
        version=version,
        evidence=evidence,
        squash=squash,
        squash_evidence=why,
        folded=len(into),
        empty_layers=sum(step.empty and step.digest is not None for step in steps),
        time=set_time(config) if config else None,
        rewritten=sum(_REWRITTEN in layer.annotations for layer in manifest.layers),
        packings=dict(_packings(manifest.layers)),
    )


def builder_of(config: ImageConfig) -> tuple[str, str, str]:
    """Return who has made the last step of an image, in which version, and what shows it."""
    if not config.history:
        return "", "", ""
    last = config.history[-1]
    if _by_buildkit(last) or last.created_by.endswith("# buildkit"):
        return BUILDKIT, "", f"its history says {last.comment or '# buildkit'}"
    if version := config.labels.get(_BUILDAH_LABEL, ""):
        return BUILDAH, version, f"its label {_BUILDAH_LABEL}"
    if "kaniko" in (config.author, last.author):
        return "kaniko", "", "the author in its history"
    if last.created_by.startswith(_NOP):
        version = (config.model_extra or {}).get("docker_version", "")
        return CLASSIC, version if isinstance(version, str) else "", "#(nop) in its history"
    return "", "", ""


def _by_buildkit(step: History) -> bool:
    return step.comment.startswith("buildkit.")


def set_time(config: ImageConfig) -> str | None:
    """Return the time of all own steps if it was set: a clock would tell fractions of a second."""
    builder, *_ = builder_of(config)
    if builder not in (BUILDKIT, BUILDAH):
        return None
    own = [step for step in config.history if _by_buildkit(step)] or config.history[-1:]
    times = {step.created for step in own} | {config.created}
    (time, *others) = times
    return time if not others and time is not None and "." not in time else None


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


def _packings(layers: Iterable[Descriptor]) -> Iterable[tuple[str, str]]:
    for layer in layers:
        packing = packing_of(layer.media_type)
        if _ESTARGZ in layer.annotations:
            yield layer.digest, "eStargz"
        elif _CHUNKED in layer.annotations:
            yield layer.digest, "zstd:chunked"
        elif packing not in (None, Packing.GZIP):
            yield layer.digest, str(packing)
