"""What `ls` shows, by point reads alone: no scan of the tree, and no graph.

The tags of a repository or the entries of an index have to come at once from a registry of
any size, so nothing here depends on other repositories.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from regfs import layout
from regfs.digest import Digest
from regfs.errors import BlobUnknown, ManifestUnknown, NameUnknown, RegfsError, StoreError
from regfs.findings import Finding
from regfs.manifests import Kind as ManifestKind
from regfs.manifests import Role
from regfs.names import SubjectTag, subject_tag
from regfs.stores import FileKind
from regfs.tree.inventory import INCOMPLETE
from regfs.tree.links import upload_started
from regfs.tree.registry import Registry
from regfs.units import utc_time

if TYPE_CHECKING:
    from regfs.manifests import Manifest


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository; the numbers are None without details."""

    name: str
    tags: int | None = None
    revisions: int | None = None
    uploads: int | None = None
    changed: datetime | None = None
    """When a tag or a manifest was last written."""
    complete: bool | None = None
    """Whether all of it could be read; if not, there may be more than the numbers say."""


@dataclass(frozen=True, slots=True)
class Repositories:
    """All repositories, by name."""

    repositories: tuple[Repository, ...]


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag, or one untagged manifest; most fields are None without details."""

    name: str | None
    """None for an untagged manifest."""
    repository: str
    changed: datetime
    """When it was set, or the manifest was pushed."""
    digest: str | None = None
    kind: str | None = None
    """`image`, `index`, `artifact`, ...; for a tag attached to an image, what it holds:
    `signature`, `attestation`, `SBOM` or `referrers`."""
    media_type: str | None = None
    platforms: tuple[str, ...] = ()
    """By the index, or by the config of an image; none if that cannot be read."""
    size: int | None = None
    """Bytes of the manifest and of all it names, by descriptors."""
    subject: str | None = None
    """The subject that it names, or that the name of an attached tag gives."""
    problem: str | None = None
    """Why the details are unknown."""


@dataclass(frozen=True, slots=True)
class Tags:
    """The tags of a repository, or untagged manifests."""

    tags: tuple[Tag, ...]


@dataclass(frozen=True, slots=True)
class ListedReference:
    """One thing that a manifest refers to."""

    role: str
    """`manifest`, `attestation`, `config`, `layer`, `blob` or `subject`."""
    digest: str
    size: int
    """Bytes, by the manifest; -1 if it does not say."""
    media_type: str
    platform: str
    present: bool | None
    """None if that cannot be read."""


@dataclass(frozen=True, slots=True)
class Entries:
    """The content of one manifest."""

    reference: str
    digest: str
    media_type: str
    entries: tuple[ListedReference, ...]


@dataclass(frozen=True, slots=True)
class ListedUpload:
    """One unfinished upload."""

    repository: str
    id: str
    size: int
    """Bytes of all its files."""
    started_at: datetime | None
    changed: datetime


@dataclass(frozen=True, slots=True)
class UploadListing:
    """Unfinished uploads."""

    uploads: tuple[ListedUpload, ...]


def repositories(
    registry: Registry,
    names: Iterable[str] | None = None,
    *,
    details: bool = False,
    empty: bool = False,
) -> Repositories:
    """Return all repositories, or some; with `empty`, only those certain to hold nothing."""
    names = registry.repositories() if names is None else names
    if not details and not empty:
        return Repositories(tuple(map(Repository, names)))
    found = (_repository(registry, name) for name in names)
    return Repositories(tuple(one for one in found if not empty or _is_empty(one)))


def _is_empty(one: Repository) -> bool:
    return bool(one.complete) and not (one.tags or one.revisions)


def _repository(registry: Registry, name: str) -> Repository:
    unread: list[Finding] = []
    aside = Registry(registry.store, unread.append)
    tags = _tags_of(aside, name)
    revisions = aside.revisions(name)
    uploads = aside.store.list(layout.uploads_folder(name), unread.append)
    for finding in unread:
        registry.report(finding)
    times = [*tags.values(), *revisions.values()]
    return Repository(
        name,
        tags=len(tags),
        revisions=len(revisions),
        uploads=sum(entry.kind is FileKind.FOLDER for entry in uploads),
        changed=utc_time(max(times)) if times else None,
        complete=not any(finding.code in INCOMPLETE for finding in unread),
    )


def _tags_of(registry: Registry, name: str) -> dict[str, float]:
    try:
        return registry.tags(name)
    except NameUnknown:  # removed since it was listed
        return {}
    except StoreError:  # the listing of its tags has reported that
        return {}


def tags(
    registry: Registry, name: str, only: Container[str] | None = None, *, details: bool = False
) -> Tags:
    """Return the tags of a repository, or some of them.

    Raises:
        NameUnknown: there is no such repository.
    """
    found = []
    for tag, mtime in registry.tags(name).items():
        if only is not None and tag not in only:
            continue
        if not details:
            found.append(Tag(tag, name, utc_time(mtime)))
            continue
        try:
            digest = registry.tag(name, tag)
        except (ManifestUnknown, StoreError) as error:
            found.append(Tag(tag, name, utc_time(mtime), problem=str(error)))
            continue
        found.append(_described(registry, Tag(tag, name, utc_time(mtime)), digest))
    return Tags(tuple(found))


def _described(registry: Registry, tag: Tag, digest: Digest) -> Tag:
    try:
        manifest = registry.manifest(digest)
        own = registry.blob(digest).size
    except RegfsError as error:
        return Tag(tag.name, tag.repository, tag.changed, digest, problem=str(error))
    references = manifest.references()
    parts = [one for one in references if one.role is not Role.SUBJECT]
    attached = _attached_to(registry, tag.name, digest, manifest)
    subject = None if manifest.subject is None else manifest.subject.digest
    return Tag(
        tag.name,
        tag.repository,
        tag.changed,
        digest,
        kind=manifest.kind.value if attached is None else attached.holds,
        media_type=manifest.media_type,
        platforms=_platforms(registry, manifest),
        size=own + sum(max(one.size, 0) for one in parts) + _below(registry, manifest),
        subject=subject or (None if attached is None else attached.subject),
    )


def _platforms(registry: Registry, manifest: Manifest) -> tuple[str, ...]:
    from regfs.manifests import DockerManifest, DockerManifestV1, ImageManifest
    from regfs.manifests.image_config import parse_config

    if isinstance(manifest, DockerManifestV1):
        return (manifest.architecture,) if manifest.architecture else ()
    if isinstance(manifest, (DockerManifest, ImageManifest)):
        if manifest.artifact_type is not None:
            return ()
        try:
            config = parse_config(registry.manifest_bytes(manifest.config.digest))
        except RegfsError:
            return ()
        return (config.platform,) if config.platform else ()
    named = (one.platform for one in manifest.references() if one.role is not Role.SUBJECT)
    return tuple(dict.fromkeys(one for one in named if one not in ("", "unknown/unknown")))


def _attached_to(
    registry: Registry, tag: str | None, digest: Digest, manifest: Manifest
) -> SubjectTag | None:
    """Return what a tag is attached to: as in `regfs.graph.attached`, without a graph."""
    found = None if tag is None else subject_tag(tag)
    if found is None or found.names(digest):
        return None
    if not found.is_fallback:
        return found
    if manifest.subject is not None:
        return found if found.names(manifest.subject.digest) else None
    references = manifest.references()
    if manifest.kind is not ManifestKind.INDEX or any(
        one.role is not Role.MANIFEST or _is_runnable(registry, one.digest) for one in references
    ):
        return None
    return found


def _is_runnable(registry: Registry, digest: Digest) -> bool:
    """Return whether a manifest can be read and has neither subject nor artifact type."""
    try:
        manifest = registry.manifest(digest)
    except RegfsError:
        return False
    return manifest.subject is None and manifest.artifact_type is None


def _below(registry: Registry, manifest: Manifest) -> int:
    """Return the bytes of what the manifests of an index name, each digest once."""
    sizes: dict[Digest, int] = {}
    pending = [one.digest for one in manifest.references() if one.role is Role.MANIFEST]
    seen: set[Digest] = set()
    while pending:
        digest = pending.pop()
        if digest in seen:
            continue
        seen.add(digest)
        try:
            child = registry.manifest(digest)
        except RegfsError:  # a sparse index is legal
            continue
        for one in child.references():
            if one.role is Role.MANIFEST:
                pending.append(one.digest)
            if one.role is not Role.SUBJECT:
                sizes[one.digest] = max(one.size, 0)
    return sum(sizes.values())


def untagged(registry: Registry, name: str, *, details: bool = False) -> Tags:
    """Return the manifests of a repository that no tag of it reaches.

    An untagged referrer of a tagged image is listed here, and yet kept by gc.
    """
    tagged = _reached(registry, name)
    found = []
    for digest, mtime in registry.revisions(name).items():
        if digest not in tagged:
            plain = Tag(None, name, utc_time(mtime), digest)
            found.append(_described(registry, plain, digest) if details else plain)
    return Tags(tuple(found))


def _reached(registry: Registry, name: str) -> set[Digest]:
    """Return every manifest that the tags reach, directly or through an index."""
    reached: set[Digest] = set()
    for tag in _tags_of(registry, name):
        try:
            _follow(registry, registry.tag(name, tag), reached)
        except (ManifestUnknown, StoreError):  # reported, unless it is just damaged
            continue
    return reached


def _follow(registry: Registry, digest: Digest, reached: set[Digest]) -> None:
    pending = [digest]
    while pending:
        one = pending.pop()
        if one in reached:
            continue
        reached.add(one)
        try:
            references = registry.manifest(one).references()
        except RegfsError:
            continue
        pending.extend(child.digest for child in references if child.role is Role.MANIFEST)


def entries(registry: Registry, reference: str, digest: Digest) -> Entries:
    """Return the content of a manifest.

    Raises:
        BlobUnknown, ContentMismatch, ManifestInvalid: it cannot be read.
    """
    manifest = registry.manifest(digest)
    attestations = _attestations(manifest)
    found = tuple(
        ListedReference(
            role="attestation" if one.digest in attestations else one.role.value,
            digest=one.digest,
            size=one.size,
            media_type=one.media_type,
            platform=one.platform,
            present=_is_present(registry, one.digest),
        )
        for one in manifest.references()
    )
    return Entries(reference, digest, manifest.media_type, found)


def _attestations(manifest: Manifest) -> set[Digest]:
    from regfs.manifests import is_attestation  # the models

    listed = getattr(manifest, "manifests", ())
    return {entry.digest for entry in listed if is_attestation(entry)}


def _is_present(registry: Registry, digest: Digest) -> bool | None:
    try:
        return registry.blob(digest).kind is FileKind.FILE
    except BlobUnknown:
        return False
    except StoreError:
        return None


def uploads(registry: Registry, names: Iterable[str]) -> UploadListing:
    """Return the unfinished uploads of some repositories."""
    found = []
    for name in names:
        for folder in registry.store.list(layout.uploads_folder(name), registry.report):
            if folder.kind is not FileKind.FOLDER:
                continue
            files = [
                entry
                for entry in registry.store.walk(folder.path, registry.report)
                if entry.kind is FileKind.FILE
            ]
            upload = layout.name_of(folder.path)
            found.append(
                ListedUpload(
                    repository=name,
                    id=upload,
                    size=sum(entry.size for entry in files),
                    started_at=_started(registry, name, upload),
                    changed=utc_time(max(entry.mtime for entry in [folder, *files])),
                )
            )
    return UploadListing(tuple(found))


def _started(registry: Registry, name: str, upload: str) -> datetime | None:
    seconds = upload_started(registry.store, name, upload)
    if seconds is None:
        seconds = layout.upload_time(upload)
    return None if seconds is None else utc_time(seconds)
