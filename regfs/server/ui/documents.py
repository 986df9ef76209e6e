"""What documents say about an image, for pages: provenance, SBOMs, signatures.

Only what the repository itself has is read, within limits: a hostile index can list very many
attestations, and an SBOM can have hundreds of megabytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from regfs.content.sbom import SbomPackage
from regfs.digest import Digest
from regfs.errors import RegfsError
from regfs.reports.attestations import (
    ReadDocument,
    attached_documents,
    body_of,
    held_documents,
    read_document,
)
from regfs.server.ui.jobs import Deadline
from regfs.server.ui.snapshot import LARGEST, Snapshot

DOCUMENTS: Final = 50
"""Documents of one image that are read."""
PACKAGES: Final = 20_000
"""Packages of one SBOM that are kept; all are counted."""
TEXT: Final = 131_072
"""Bytes of a document that are shown."""


@dataclass(frozen=True, slots=True)
class OpenDocuments:
    """The documents about an image."""

    documents: tuple[ReadDocument, ...]
    omitted: int


@dataclass(frozen=True, slots=True)
class OpenDocument:
    """One document."""

    read: ReadDocument
    packages: tuple[SbomPackage, ...]
    packages_omitted: int
    text: str
    """Its beginning; empty if it cannot be read, as `read.problem` says."""
    whole: bool
    """Whether that is all of it."""


def open_documents(
    snapshot: Snapshot, name: str, digest: Digest, progress: Deadline
) -> OpenDocuments:
    """Read the documents about a manifest, or those that it holds itself."""
    graph, registry = snapshot.graph, snapshot.registry
    progress.start("Reading documents")

    def has(one: Digest) -> bool:
        blobs = graph.inventory.blobs
        small = one not in graph.manifests or blobs.size(one) <= LARGEST
        return small and snapshot.own.has(name, one)

    held = held_documents(graph, registry, name, digest, has)
    found = [one for one in held if one.kind != "document"]
    found = found or attached_documents(graph, registry, name, digest, has)
    read = []
    for one in found[:DOCUMENTS]:
        progress.advance(1)
        read.append(read_document(registry, one))
    return OpenDocuments(tuple(read), max(len(found) - DOCUMENTS, 0))


def open_document(snapshot: Snapshot, chosen: ReadDocument, progress: Deadline) -> OpenDocument:
    """Read one document, with the packages of an SBOM."""
    packages: list[SbomPackage] = []
    omitted = 0
    progress.start("Reading a document")

    def keep(package: SbomPackage) -> None:
        nonlocal omitted
        progress.advance(1)
        if len(packages) < PACKAGES:
            packages.append(package)
        else:
            omitted += 1

    read = chosen
    if chosen.document.kind == "SBOM":
        read = read_document(snapshot.registry, chosen.document, keep)
    text, whole = _text(snapshot, chosen)
    return OpenDocument(read, tuple(packages), omitted, text, whole)


def _text(snapshot: Snapshot, chosen: ReadDocument) -> tuple[str, bool]:
    """Return the beginning of a document, indented if that is all of it."""
    data = bytearray()
    try:
        for piece in body_of(snapshot.registry, chosen.document).body():
            data += piece
            if len(data) > TEXT:
                return data[:TEXT].decode("utf-8", "backslashreplace"), False
    except RegfsError:
        return "", False
    try:
        return json.dumps(json.loads(bytes(data)), indent=2, ensure_ascii=False), True
    except (ValueError, RecursionError):
        return data.decode("utf-8", "backslashreplace"), True
