"""What an export or an import did. Pure data."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from regfs.edits.edit import Edited
from regfs.findings import Finding


class Format(StrEnum):
    """How a copy is laid out."""

    TREE = "tree"
    """As a registry keeps it: docker/registry/v2."""
    OCI = "oci"
    """An OCI image layout: blobs, index.json, oci-layout."""


@dataclass(frozen=True, slots=True)
class BlobCount:
    """Some blobs."""

    blobs: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export did."""

    root: str
    to: str
    format: Format
    repositories: int
    tags: int
    manifests: int
    """Links of manifests, or entries of an index without a tag."""
    layer_links: int
    """0 in an OCI layout, which has none."""
    copied: BlobCount
    """What was written, manifests included."""
    present: BlobCount
    """What was there already."""
    left_out: BlobCount
    """What a former export has."""
    docker: tuple[str, ...]
    """Names in an OCI layout, among others, of manifests with Docker's media types: older skopeo
    finds such a one only where it is alone."""
    lacking: int
    """Blobs that images need and that could not be copied."""
    findings: list[Finding] = field(default_factory=list)
    """What is missing, damaged or was left out, and why."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did; without a run in `edit`, what it would do, or that there was nothing."""

    source: str
    edit: Edited
    """The links, and the content that the tree lacked."""
    findings: list[Finding] = field(default_factory=list)
    """What was left out, and why."""
