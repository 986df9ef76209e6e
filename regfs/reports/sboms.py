"""The SBOMs of an image, and the one that is meant.

sbom_documents(graph, registry, target, digest) -> AttachedDocument(form="SPDX", ...), ...
chosen_sbom(found, reference, form, platform)   -> one of them
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from regfs.content.sbom import SbomPackage
from regfs.digest import Digest
from regfs.errors import AttestationUnknown, ReferenceAmbiguous, RegfsError
from regfs.graph import Graph
from regfs.manifests.platforms import fits
from regfs.reports.attestations import (
    AttachedDocument,
    ReadDocument,
    attached_documents,
    better_known,
    body_of,
    held_documents,
)
from regfs.tree.registry import Registry, Target


@dataclass(frozen=True, slots=True)
class ListedPackages:
    """An SBOM with its packages."""

    read: ReadDocument
    packages: tuple[SbomPackage, ...]


def sbom_documents(
    graph: Graph, registry: Registry, target: Target, digest: Digest
) -> list[AttachedDocument]:
    """Return the SBOMs about an image; of a manifest that holds some, or of an SBOM, itself.

    Envelopes whose manifests do not say what they hold are looked into.
    """
    where = (graph, registry, target.name, digest)
    found = held_documents(*where) or attached_documents(*where)
    sboms: dict[tuple[str, str], AttachedDocument] = {}
    for one in found:
        document = _looked_into(registry, one) if one.kind == "attestation" else one
        if document.kind == "SBOM":
            sboms.setdefault((document.digest, document.about), document)
    return list(sboms.values())


def _looked_into(registry: Registry, document: AttachedDocument) -> AttachedDocument:
    try:
        return better_known(document, body_of(registry, document))
    except RegfsError:
        return document


def chosen_sbom(
    found: Sequence[AttachedDocument], reference: str, form: str | None, platform: str | None
) -> AttachedDocument:
    """Return the SBOM of a form and platform.

    Raises:
        AttestationUnknown: there is none.
        ReferenceAmbiguous: there are several; the message lists them.
    """
    fitting = [
        one
        for one in found
        if (form is None or form.lower() == one.form.lower())
        and (platform is None or not one.platform or fits(platform, one.platform))
    ]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        several = f"{reference} has {len(fitting)} SBOMs; give --platform, --format or a digest"
        raise ReferenceAmbiguous(f"{several}: {_listed(fitting)}")
    if found:
        raise AttestationUnknown(f"{reference} has no such SBOM; there is {_listed(found)}")
    raise AttestationUnknown(
        f"{reference} has no SBOM; BuildKit makes one with --attest type=sbom, and "
        "`cosign attest` or `oras attach` adds one"
    )


def _listed(found: Iterable[AttachedDocument]) -> str:
    rows = (
        " ".join(filter(None, (Digest(one.digest).short, one.form, one.platform))) for one in found
    )
    return ", ".join(rows)
