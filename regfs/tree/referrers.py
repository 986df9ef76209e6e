"""Who is about a manifest: the signatures, SBOMs and the like of one repository, by their subject.

    Referrers(registry, folders).of("app", digest)  ->  [Referrer(digest, artifact_type, ...), ...]

Two ways lead to a referrer: its manifest names the subject, or it is listed by the
fallback tag `sha256-<hex>` that clients keep where a registry has no API for this. The
second counts for a manifest that itself names no subject; one that names another is left out.
What such a tag lists is decided by `regfs.tree.fallback`, as for the graph. A manifest that was
pushed by another digest than it is stored under is known by both.

Every manifest of a repository is read once, and checked against its digest. What is
remembered of it goes by the digest, so it is never out of date. What is told is asked of
the tree each time: that the repository still has the manifest, and that its bytes are there.

Source: opencontainers/distribution-spec, spec.md, "Listing Referrers".
"""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final, NamedTuple

from regfs import layout
from regfs.digest import ALGORITHMS, CANONICAL, Digest
from regfs.errors import DigestInvalid, ManifestInvalid, StoreError, Unknown
from regfs.manifests import (
    DockerManifest,
    DockerManifestList,
    ImageIndex,
    ImageManifest,
    Manifest,
    UnknownManifest,
    parse,
)
from regfs.manifests.media_types import Role
from regfs.names import fallback_tag, subject_tag
from regfs.tree.cache import LRUCache
from regfs.tree.fallback import About, is_about, listed
from regfs.tree.pages import Folders
from regfs.tree.registry import Registry

_MEMORY: Final = 64 * 1024 * 1024
"""Bytes, about, of what is remembered of single manifests."""
_OVERHEAD: Final = 400
"""Bytes, about, that anything remembered takes beside its descriptor."""
_NAMES: Final = 1_000_000
"""Manifests, in all, of the repositories whose subjects are remembered."""

_UNREADABLE: Final = (Unknown, StoreError, ManifestInvalid)


class Referrer(NamedTuple):
    """A manifest that is about another one."""

    digest: Digest
    size: int
    artifact_type: str
    """Empty where there is none: an index need not have one."""
    descriptor: bytes
    """How an image index lists it: JSON, with the annotations of its manifest."""


class _Content(NamedTuple):
    """What is remembered of one manifest."""

    subject: Digest | None
    referrer: Referrer | None
    """None while nobody has called it a referrer."""
    about: About | None = None
    """None likewise, and of what is no manifest."""


class _KnownReferrers(NamedTuple):
    """What is known of one repository."""

    listings: tuple[list[str], ...]
    """The names of its manifests, by algorithm; others, and it has to be found out again."""
    by_subject: dict[Digest, tuple[Digest, ...]]
    aliases: dict[Digest, tuple[Digest, ...]]
    """Manifest -> its digests in another algorithm, by which the repository has it."""
    damaged: dict[Digest, str]
    """Manifests that could not be read, and the etag of their blob then."""


class Referrers:
    """Answers for one tree; several threads may ask."""

    def __init__(self, registry: Registry, folders: Folders) -> None:
        self._registry = registry
        self._folders = folders
        self._contents: LRUCache[Digest, _Content] = LRUCache(_MEMORY)
        self._repositories: LRUCache[str, _KnownReferrers] = LRUCache(_NAMES)
        # One at a time: those who wait would read the very same manifests.
        self._reading = threading.Lock()

    def of(self, name: str, subject: Digest) -> list[Referrer]:
        """Return the referrers of a manifest in a repository, by digest; it need not be there."""
        with self._reading:
            known = self._index(name)
        subjects = {subject, *known.aliases.get(subject, ())}
        candidates = {one for each in subjects for one in known.by_subject.get(each, ())}
        candidates |= {one for each in subjects for one in self._listed(name, each, subjects)}
        found = []
        for digest in self._linked(name, candidates):
            content = self._content(digest, described=True)
            if content is None or content.referrer is None:
                continue
            fits = content.subject is None or content.subject in subjects
            if fits and self._is_there(content.referrer):
                found.append(content.referrer)
        return found

    # Manifests that name their subject

    def _index(self, name: str) -> _KnownReferrers:
        """Return what is known of a repository, after reading what is new in it."""
        folders = [layout.revisions_folder(name, algorithm) for algorithm in ALGORITHMS]
        listings = tuple(self._folders.names(folder) for folder in folders)
        known = self._repositories.get(name)
        if known is None or known.listings != listings:
            known = self._grown(
                _KnownReferrers(listings, {}, self._aliases(name, listings), {}), _digests(listings)
            )
        else:
            changed = [one for one, etag in known.damaged.items() if self._etag(one) != etag]
            if not changed:
                return known
            known = self._grown(known, changed)
        self._repositories.put(name, known, sum(map(len, listings)) + 1)
        return known

    def _grown(self, known: _KnownReferrers, digests: Iterable[Digest]) -> _KnownReferrers:
        by_subject, damaged = dict(known.by_subject), dict(known.damaged)
        for digest in digests:
            # Asked first: what is put right while it is read shows the next time.
            etag = "" if self._contents.get(digest) else self._etag(digest)
            content = self._content(digest)
            damaged.pop(digest, None)
            if content is None:
                damaged[digest] = etag
            elif content.subject is not None:
                others = by_subject.get(content.subject, ())
                by_subject[content.subject] = (*others, digest)
        return known._replace(by_subject=by_subject, damaged=damaged)

    def _aliases(
        self, name: str, listings: tuple[list[str], ...]
    ) -> dict[Digest, tuple[Digest, ...]]:
        aliases: dict[Digest, tuple[Digest, ...]] = {}
        for digest in _digests(listings):
            if digest.algorithm == CANONICAL:
                continue
            try:
                target = self._registry.revision(name, digest)
            except _UNREADABLE:
                continue
            if target != digest:
                aliases[target] = (*aliases.get(target, ()), digest)
        return aliases

    def _etag(self, digest: Digest) -> str:
        try:
            return self._registry.blob(digest).etag
        except _UNREADABLE:
            return ""

    def _content(self, digest: Digest, *, described: bool = False) -> _Content | None:
        """Return what a manifest says, `described` even if it names no subject; None if damaged."""
        known = self._contents.get(digest)
        if known is not None and (known.referrer is not None or not described):
            return known
        try:
            data = self._registry.manifest_bytes(digest)
        except _UNREADABLE:
            return None
        content = _understood(digest, data, described=described)
        size = 0 if content.referrer is None else len(content.referrer.descriptor)
        self._contents.put(digest, content, _OVERHEAD + size)
        return content

    # Manifests that are listed by the fallback tag

    def _listed(self, name: str, subject: Digest, subjects: Collection[Digest]) -> list[Digest]:
        tag = fallback_tag(subject)
        named = subject_tag(tag)
        try:
            tagged = self._registry.tag(name, tag)
            # A tool that mirrors by digest names the image after itself.
            if named is None or tagged in subjects or named.names(tagged):
                return []
            manifest = self._registry.manifest(self._registry.revision(name, tagged))
        except _UNREADABLE:
            return []
        if not isinstance(manifest, (ImageIndex, DockerManifestList)):
            return []
        about = None if manifest.subject is None else manifest.subject.digest
        references = [one for one in manifest.references() if one.role is not Role.SUBJECT]
        is_list = all(one.role is Role.MANIFEST for one in references)
        children = [one.digest for one in references]
        if not is_about(named, about, children if is_list else None, self._about):
            return []
        return listed(subjects, children, self._about)

    def _about(self, digest: Digest) -> About | None:
        content = self._content(digest, described=True)
        return None if content is None else content.about

    # What is true now

    def _linked(self, name: str, digests: set[Digest]) -> Iterator[Digest]:
        """Yield those of the digests that are manifests of a repository, in their order."""
        for algorithm in ALGORITHMS:
            start = f"{algorithm}:"
            names = sorted(one.encoded for one in digests if one.startswith(start))
            folder = layout.revisions_folder(name, algorithm)
            for encoded in self._folders.having(folder, names, "link"):
                yield Digest(start + encoded)

    def _is_there(self, referrer: Referrer) -> bool:
        try:
            return self._registry.blob(referrer.digest).size == referrer.size
        except _UNREADABLE:
            return False


def _digests(listings: tuple[list[str], ...]) -> Iterator[Digest]:
    for algorithm, names in zip(ALGORITHMS, listings, strict=True):
        for name in names:
            try:
                yield Digest.parse(f"{algorithm}:{name}")
            except DigestInvalid:
                continue


def _understood(digest: Digest, data: bytes, *, described: bool) -> _Content:
    # Most manifests are about nothing, and no key is written without its letters or an escape.
    if not described and b'"subject"' not in data and b"\\" not in data:
        return _Content(None, None)
    try:
        manifest = parse(data)
    except ManifestInvalid:
        return _Content(None, None)
    subject = None if manifest.subject is None else manifest.subject.digest
    about = About(subject, manifest.artifact_type)
    if isinstance(manifest, UnknownManifest) or not (subject or described):
        return _Content(None, None, about)
    return _Content(subject, _described(digest, len(data), manifest), about)


def _described(digest: Digest, size: int, manifest: Manifest) -> Referrer:
    artifact_type = artifact_type_of(manifest)
    descriptor: dict[str, Any] = {"mediaType": manifest.media_type, "digest": digest, "size": size}
    if artifact_type:
        descriptor["artifactType"] = artifact_type
    if manifest.annotations:
        descriptor["annotations"] = manifest.annotations
    encoded = json.dumps(descriptor, separators=(",", ":")).encode()
    return Referrer(digest, size, artifact_type, encoded)


def artifact_type_of(manifest: Manifest) -> str:
    """Return the artifact type of a referrer: as declared, else an image's type of config."""
    if isinstance(manifest, UnknownManifest):
        return ""
    if isinstance(manifest, (ImageManifest, DockerManifest)) and not manifest.declared_type:
        return manifest.config.media_type
    return manifest.declared_type
