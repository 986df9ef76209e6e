"""What documents say about an image, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from regfs.content.sbom import SbomPackage
from regfs.digest import Digest
from regfs.render.attestations import provenance_pairs, sbom_pairs
from regfs.reports.attestations import ReadDocument
from regfs.server.ui import addresses
from regfs.server.ui.documents import OpenDocument, OpenDocuments
from regfs.server.ui.views.parts import Few, Hyperlink, PagedRows, page_of

PACKAGES: Final = 200
"""Packages of one page."""


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """One document."""

    title: str
    """`provenance`, `SPDX SBOM`, `signature`, in words."""
    digest: str
    href: str
    size: int
    media_type: str
    about: Hyperlink | None
    """The image that it is about, if that is not the one of the page."""
    platform: str
    wrapped: str
    """What stands around it, in words; empty if nothing does."""
    pairs: tuple[tuple[str, str], ...]
    dockerfile: str
    problem: str


@dataclass(frozen=True, slots=True)
class DocumentsView:
    """The view."""

    name: str
    digest: str
    repository_href: str
    image_href: str
    rows: Few[DocumentRow]


@dataclass(frozen=True, slots=True)
class DocumentView:
    """The view of one document."""

    name: str
    repository_href: str
    image_href: str
    digest: str
    """Of the image."""
    documents_href: str
    row: DocumentRow
    page: PagedRows[SbomPackage]
    packages_omitted: int
    text: str
    whole: bool


def documents(name: str, digest: Digest, found: OpenDocuments) -> DocumentsView:
    """Return what documents say about a manifest."""
    rows = tuple(_row(name, digest, one) for one in found.documents)
    return DocumentsView(
        name=name,
        digest=digest,
        repository_href=addresses.of_repository(name),
        image_href=addresses.of_manifest(name, digest),
        rows=Few(rows, found.omitted),
    )


def document(name: str, digest: Digest, opened: OpenDocument, number: int) -> DocumentView:
    """Return the view of one document, with one page of its packages."""
    row = _row(name, digest, opened.read)

    def address(page: int) -> str:
        return addresses.with_query(row.href, page=page if page > 1 else "")

    return DocumentView(
        name=name,
        repository_href=addresses.of_repository(name),
        image_href=addresses.of_manifest(name, digest),
        digest=digest,
        documents_href=addresses.of_documents(name, digest),
        row=row,
        page=page_of(opened.packages, number, address, PACKAGES),
        packages_omitted=opened.packages_omitted,
        text=opened.text,
        whole=opened.whole,
    )


def _row(name: str, digest: Digest, read: ReadDocument) -> DocumentRow:
    one = read.document
    about = None
    if one.about and one.about != digest:
        about = Hyperlink(one.about, addresses.of_manifest(name, one.about))
    return DocumentRow(
        title=" ".join(filter(None, (one.form, one.kind))),
        digest=one.digest,
        href=addresses.of_documents(name, digest, one.digest),
        size=one.size,
        media_type=one.media_type,
        about=about,
        platform=one.platform,
        wrapped=", in a signed envelope" if "envelope" in read.wrappings else "",
        pairs=tuple(_pairs(read)),
        dockerfile=read.provenance.dockerfile if read.provenance else "",
        problem=read.problem,
    )


def _pairs(read: ReadDocument) -> list[tuple[str, str]]:
    if read.provenance is not None:
        # Its page has the Dockerfile itself.
        return [pair for pair in provenance_pairs(read.provenance) if pair[0] != "Dockerfile"]
    if read.sbom is not None:
        return list(sbom_pairs(read.sbom))
    return [("predicate", read.predicate_type)] if read.predicate_type else []
