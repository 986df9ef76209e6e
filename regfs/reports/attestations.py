"""What documents say of an image: provenance, SBOMs, signatures, by every way that leads to them.

    attached_documents(graph, registry, target, digest) -> AttachedDocument(kind="SBOM", ...), ...
        found by manifests alone; nothing of the documents is read
    read_document(registry, document) -> ReadDocument(document, provenance=..., sbom=...)

    index --lists--> attestation manifest --names--> statement          BuildKit
    image <-subject- manifest --names--> statement, envelope or SBOM    OCI 1.1, cosign, notation
    image <-cosign's tag- manifest --names--> the same                  cosign

Nothing is believed: a statement about another digest says so in `problem`. Signatures are named
and not checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from regfs import layout
from regfs.content.provenance import Provenance, read_provenance
from regfs.content.sbom import Sbom, SbomPackage, read_sbom
from regfs.content.statements import Subject, Wrapped, form_of, look_into, text_form
from regfs.digest import Digest
from regfs.errors import AttestationInvalid, BlobUnknown, RegfsError
from regfs.graph import EdgeKind, Graph, Node
from regfs.graph.attached import Way, attachments
from regfs.manifests import (
    DOCKER_ATTESTATION,
    IN_TOTO,
    LAYER_PREFIXES,
    ArtifactManifest,
    Descriptor,
    DockerManifestList,
    ImageIndex,
    Kind,
    Manifest,
    attested,
    is_attestation,
    is_blob_type,
)
from regfs.manifests.models import UnknownManifest
from regfs.tree.registry import Registry

COUNTED: Final = 16 << 20
"""Bytes of the largest SBOM that is read only to count its packages."""
_PREDICATE_TYPES: Final = (
    "in-toto.io/predicate-type",
    "predicateType",
    "dev.sigstore.bundle.predicateType",
)
"""Annotations that name the type of a predicate: BuildKit's, cosign's and Sigstore's."""
_SIGNATURES: Final = ("simplesigning", "notary", "jose+json", "/cose")
_FORMS: Final = {"spdx": "SPDX", "cyclonedx": "CycloneDX", "syft": "syft"}
_INDEXES: Final = (ImageIndex, DockerManifestList)


@dataclass(frozen=True, slots=True)
class AttachedDocument:
    """One document about an image, as manifests tell of it."""

    about: str
    """The image or index that it is about; empty where that is not known."""
    platform: str
    """Of that image, where an index gives it."""
    manifest: str
    """What names the document."""
    way: str
    """How it was found: `index`, `subject`, `fallback tag` or `cosign tag`."""
    digest: str
    """Of the document, a blob."""
    size: int
    """Bytes of the blob; as its manifest says where it is missing."""
    media_type: str
    kind: str
    """`provenance`, `SBOM`, `signature`, `attestation` or `document`: of any other type."""
    form: str
    """Of an SBOM: `SPDX`, `CycloneDX` or `syft`."""
    predicate_type: str
    """As an annotation says; empty if none does."""


@dataclass(frozen=True, slots=True)
class ReadDocument:
    """A document that was read: what it says."""

    document: AttachedDocument
    wrappings: tuple[str, ...]
    """What stands around it, from the outside: `bundle`, `envelope`, `statement`."""
    predicate_type: str
    """By the statement itself."""
    subjects: tuple[Subject, ...]
    """What the statement says it is about."""
    provenance: Provenance | None
    sbom: Sbom | None
    """None of an SBOM that is too large to be counted in passing, or not in JSON."""
    problem: str
    """Why it could not be read, or that it is about something else; empty if all is well."""


class Carrier(NamedTuple):
    """A manifest that names documents."""

    digest: Digest
    about: Digest
    platform: str
    way: Way | None
    """None of what is about nothing: an image that an index lists."""
    holds: str = ""
    """What cosign's tag says it holds."""


def _anything(_: Digest) -> bool:
    return True


def attached_documents(
    graph: Graph,
    registry: Registry,
    repository: str | None,
    digest: Digest,
    has: Callable[[Digest], bool] = _anything,
) -> list[AttachedDocument]:
    """Return every document about an image or index, or about an image that an index lists.

    With `repository`, what that has itself; `has` says what may be told of. Of an index come
    only BuildKit's own attestations in it, not those of other builds of the same image. A
    manifest that cannot be read tells nothing: `Registry.report` hears of it.
    """
    finder = DocumentFinder(graph, registry, repository, has)
    found: dict[tuple[Digest, Digest], Carrier] = {}
    for carrier in finder.carriers(digest):
        found.setdefault((carrier.digest, carrier.about), carrier)
    every = (one for carrier in found.values() for one in finder.documents(carrier))
    return list({(one.digest, one.about): one for one in every}.values())


def held_documents(
    graph: Graph,
    registry: Registry,
    repository: str | None,
    digest: Digest,
    has: Callable[[Digest], bool] = _anything,
) -> list[AttachedDocument]:
    """Return the documents that a manifest itself holds, or the one that a blob is."""
    finder = DocumentFinder(graph, registry, repository, has)
    manifests = [digest] if digest in graph.manifests else graph.manifests_naming(digest)
    found: list[AttachedDocument] = []
    for manifest in manifests:
        info = graph.manifests.get(manifest)
        subject = None if info is None else info.subject
        every = finder.documents(Carrier(manifest, subject or manifest, "", None))
        chosen = (one for one in every if digest in (manifest, one.digest))
        found += (replace(one, about=subject or "") for one in chosen)
    return found


class DocumentFinder:
    """Finds what is about manifests, by manifests alone."""

    def __init__(
        self,
        graph: Graph,
        registry: Registry,
        repository: str | None,
        has: Callable[[Digest], bool] = _anything,
    ) -> None:
        self._graph = graph
        self._registry = registry
        self._repository = repository
        self._has = has

    def _read(self, digest: Digest) -> Manifest | None:
        try:
            return self._registry.manifest(digest) if self._has(digest) else None
        except RegfsError:
            return None

    def carriers(self, digest: Digest) -> Iterator[Carrier]:
        """Yield what is about a manifest: of an index, also what is about its images."""
        yield from self.attached(digest, "")
        info = self._graph.manifests.get(digest)
        if info is None or info.kind is not Kind.INDEX:
            yield from self.indexed(digest)
            return
        yield from self.listed(digest)
        for image, platform in self.images(digest):
            about_it = self.attached(image, platform)
            yield from (one for one in about_it if not self._is_of_a_build(one.digest))

    def images(self, index: Digest) -> Iterator[tuple[Digest, str]]:
        """Yield what an index lists beside attestations, with its platform."""
        manifest = self._read(index)
        for entry in manifest.manifests if isinstance(manifest, _INDEXES) else ():
            is_manifest = not is_attestation(entry) and not is_blob_type(entry.media_type)
            if is_manifest and self._has(entry.digest):
                yield entry.digest, str(entry.platform or "")

    def attached(self, digest: Digest, platform: str) -> Iterator[Carrier]:
        """Yield what names a manifest as its subject, by field or by tag."""
        for one in attachments(self._graph, digest, self._repository):
            if self._has(one.digest):
                yield Carrier(one.digest, digest, platform, one.way, one.holds)

    def _is_of_a_build(self, manifest: Digest) -> bool:
        """Return whether a manifest is an attestation that BuildKit lists in an index."""
        info = self._graph.manifests.get(manifest)
        return info is not None and info.artifact_type == DOCKER_ATTESTATION

    def listed(self, index: Digest) -> Iterator[Carrier]:
        """Yield the attestations in an index."""
        manifest = self._read(index)
        if not isinstance(manifest, _INDEXES):
            return
        platforms = {one.digest: str(one.platform or "") for one in manifest.manifests}
        for entry in manifest.manifests:
            about = attested(entry) if is_attestation(entry) else None
            if about is not None and self._has(entry.digest):
                yield Carrier(entry.digest, about, platforms.get(about, ""), Way.INDEX)

    def indexed(self, image: Digest) -> list[Carrier]:
        """Return the attestations about an image in the indexes that list it."""
        every = (one for index in self._indexes(image) for one in self.listed(index))
        return [one for one in every if one.about == image]

    def _indexes(self, image: Digest) -> list[Digest]:
        """Return the indexes that list an image: those of tags, or else all."""
        above = self._graph.predecessors(image).items()
        every = [
            node
            for node, kind in above
            if kind is EdgeKind.CHILD and isinstance(node, Digest) and self._is_here(node)
        ]
        return [one for one in every if self._is_tagged(one)] or every

    def _is_here(self, digest: Digest) -> bool:
        if self._repository is None:
            return True
        repository = self._graph.inventory.repositories.get(self._repository)
        return repository is not None and digest in repository.revisions

    def _is_tagged(self, index: Digest) -> bool:
        return any(
            kind is EdgeKind.CURRENT
            and isinstance(node, Node)
            and self._repository in (None, node.repository)
            for node, kind in self._graph.predecessors(index).items()
        )

    def documents(self, carrier: Carrier) -> Iterator[AttachedDocument]:
        """Yield the documents that a manifest names."""
        manifest = self._read(carrier.digest)
        if manifest is None or isinstance(manifest, UnknownManifest):
            return
        blobs = self._graph.inventory.blobs
        for one in _parts(manifest):
            if not self._has(one.digest) or one.media_type.startswith(LAYER_PREFIXES):
                continue
            predicate = _predicate_type(one, manifest.annotations)
            kind, form = _kind(one.media_type, predicate, manifest.artifact_type or "", carrier)
            yield AttachedDocument(
                about=carrier.about,
                platform=carrier.platform,
                manifest=carrier.digest,
                way=carrier.way.value if carrier.way else "",
                digest=one.digest,
                size=blobs[one.digest].size if one.digest in blobs else one.size,
                media_type=one.media_type,
                kind=kind,
                form=form,
                predicate_type=predicate,
            )


def _parts(manifest: Manifest) -> Iterable[Descriptor]:
    if isinstance(manifest, ArtifactManifest):
        return manifest.blobs
    return getattr(manifest, "layers", ())


def _predicate_type(part: Descriptor, annotations: dict[str, str]) -> str:
    for notes in (part.annotations, annotations):
        for key in _PREDICATE_TYPES:
            if key in notes:
                return notes[key]
    return ""


def _kind(media_type: str, predicate: str, artifact: str, carrier: Carrier) -> tuple[str, str]:
    """Return the kind of a document and the form of an SBOM, by all that its manifest says."""
    form = form_of(predicate) or _form_by_type(media_type) or _form_by_type(artifact)
    if form == "provenance":
        return form, ""
    if form:
        return "SBOM", form
    if any(part in f"{media_type} {artifact}" for part in _SIGNATURES):
        return "signature", ""
    if carrier.holds in ("SBOM", "signature"):
        return carrier.holds, ""
    wrapped = "in-toto" in media_type or "dsse" in media_type or "sigstore" in media_type
    return ("attestation" if wrapped else "document"), ""


def _form_by_type(media_type: str) -> str:
    return next((form for word, form in _FORMS.items() if word in media_type), "")


# -- reading ---------------------------------------------------------------------------------


def body_of(registry: Registry, document: AttachedDocument) -> Wrapped:
    """Return what a document is; its body is checked against its digest while it is read.

    Raises:
        AttestationInvalid: it is broken; with its path.
        BlobUnknown: it is not there.
    """
    digest = Digest(document.digest)
    try:
        return look_into(lambda: registry.stream(digest))
    except (AttestationInvalid, BlobUnknown) as error:
        raise _located(error, digest) from None


def _located(error: RegfsError, digest: Digest) -> RegfsError:
    path = layout.blob_path(digest)
    if isinstance(error, BlobUnknown):
        return BlobUnknown(f"{path}: document is not there")
    return AttestationInvalid(f"{path}: {error}")


def read_document(
    registry: Registry,
    document: AttachedDocument,
    each: Callable[[SbomPackage], object] | None = None,
) -> ReadDocument:
    """Read a document; signatures, and what regfs does not know, only as far as they are wrapped.

    `each` gets every package of an SBOM, however large that is. Never raises for what it holds:
    see `problem`.
    """
    nothing = ReadDocument(document, (), "", (), None, None, "")
    if document.kind in ("signature", "document"):
        return nothing
    found = nothing
    try:
        wrapped = body_of(registry, document)
        found = replace(
            nothing,
            document=better_known(document, wrapped),
            wrappings=wrapped.wrappings,
            predicate_type=wrapped.predicate_type,
            subjects=wrapped.subjects,
            problem=doubt_about(document, wrapped),
        )
        if found.problem and not wrapped.wrappings:
            return found
        if found.document.kind == "provenance":
            made = read_provenance(wrapped.body(), wrapped.predicate_type)
            return replace(found, provenance=made)
        if found.document.kind == "SBOM" and (each is not None or document.size <= COUNTED):
            return _counted(found, wrapped, each)
        return found
    except RegfsError as error:
        text, path = str(error), layout.blob_path(Digest(document.digest))
        return replace(found, problem=text if path in text else f"{path}: {text}")


def _counted(
    found: ReadDocument, wrapped: Wrapped, each: Callable[[SbomPackage], object] | None
) -> ReadDocument:
    """Return an SBOM with what is in it; one that is not in JSON is passed by unless `each` waits.

    Raises:
        AttestationInvalid: it cannot be read.
    """
    begin = next(filter(None, wrapped.body()), b"")
    if not text_form(begin):
        return replace(found, sbom=read_sbom(wrapped.body(), each or id))
    if each is None:
        return found
    raise AttestationInvalid(f"is {text_form(begin)}, but not in JSON: its packages are not told")


def better_known(document: AttachedDocument, wrapped: Wrapped) -> AttachedDocument:
    """Return a document with the kind that its content shows, where its manifest says none."""
    if wrapped.form == "provenance":
        return replace(document, kind="provenance", form="")
    if wrapped.form:
        return replace(document, kind="SBOM", form=wrapped.form)
    return document


def doubt_about(document: AttachedDocument, wrapped: Wrapped) -> str:
    """Return that a statement is none, or about something else; empty if all is as it should be."""
    path = layout.blob_path(Digest(document.digest))
    if "statement" not in wrapped.wrappings:
        is_one = document.media_type == IN_TOTO
        return f"{path}: is no in-toto statement, which {IN_TOTO} should be" if is_one else ""
    named = [digest for subject in wrapped.subjects for digest in subject.digests]
    if document.about in named or not document.about:
        return ""
    other = ", ".join(named[:3]) or "nothing"
    return f"{path}: the statement is about {other}, not about {document.about}"
