"""`index.json` of an OCI layout: which images there are, and what they are called.

Of what it says nothing is believed but names and digests. What cannot be meant is left out with a
finding, and the rest is read.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from regfs.digest import Digest
from regfs.errors import DigestInvalid, NotARegistry, StoreError, printable
from regfs.findings import Code, Finding
from regfs.stores import Report, Store
from regfs.tree.oci import INDEX
from regfs.tree.oci.names import ImageName, NotAName, at_host, default_repository, name_of

LARGEST: Final = 32 << 20
"""Bytes of an index: 100,000 images, and what a machine can parse in a second."""
_TOLD: Final = 20
"""Entries that are reported one by one because they cannot be meant."""


class LayoutImage(NamedTuple):
    """One image of a layout."""

    digest: Digest
    size: int
    """Bytes by its descriptor; -1 where it gives none."""
    media_type: str
    repository: str
    """Empty where it does not say: what is about another image belongs to that one."""
    tag: str
    """Empty if it has none."""


class _IndexEntry(NamedTuple):
    """An entry as it stands there."""

    digest: Digest
    size: int
    media_type: str
    name: ImageName


def read_index(store: Store, report: Report) -> list[LayoutImage]:
    """Return the images of the layout that is in a store, in the order of its index.

    Raises:
        NotARegistry: its index is none.
        StoreError: it cannot be read.
    """
    url = printable(store.url)
    try:
        data = store.read(INDEX, LARGEST + 1)
    except StoreError as error:
        raise type(error)(f"{url}: {error}") from None
    listed = list(_listed(_parsed(data, url), report))
    entries = _named(listed, default_repository(store.url))
    return list(_without_second_ones(entries, report))


def _parsed(data: bytes, url: str) -> list[Any]:
    """Return the entries of an index as they are."""
    words = ""
    document: Any = None
    try:
        if len(data) > LARGEST:
            words = f"is larger than {LARGEST} bytes"
        else:
            document = json.loads(data)
    except RecursionError:
        words = "is nested too deep"
    except ValueError as error:
        words = f"is not JSON: {' '.join(str(error).split())[:200]}"
    entries = document.get("manifests") if isinstance(document, dict) else None
    if not words and not isinstance(entries, list):
        words = "is no index: has no list of manifests"
    if words or not isinstance(entries, list):
        raise NotARegistry(f"{url}: an OCI layout, but its {INDEX} {words}")
    return entries


def _listed(entries: list[Any], report: Report) -> Iterator[_IndexEntry]:
    """Yield the entries that can be meant."""
    odd = 0
    for number, entry in enumerate(entries):
        try:
            listed = _one(entry)
        except DigestInvalid as error:
            odd += 1
            if odd <= _TOLD:
                words = f"manifests[{number}]: {error}"
                report(Finding(Code.DESCRIPTOR_INVALID, INDEX, actual=words))
            continue
        try:
            name = name_of(entry.get("annotations"))
        except NotAName as error:
            name = ImageName("", "", "")
            report(Finding(Code.TAG_INVALID, INDEX, listed.digest, actual=printable(str(error))))
        yield listed._replace(name=name)
    if odd > _TOLD:
        words = f"{odd - _TOLD} more entries that have no digest"
        report(Finding(Code.DESCRIPTOR_INVALID, INDEX, actual=words))


def _one(entry: Any) -> _IndexEntry:
    """Return one entry.

    Raises:
        DigestInvalid: it is none, or has no digest.
    """
    if not isinstance(entry, dict):
        raise DigestInvalid("not an object")
    text, size, kind = entry.get("digest"), entry.get("size"), entry.get("mediaType")
    if not isinstance(text, str):
        raise DigestInvalid("has no digest")
    digest = Digest.parse(text)
    bytes_ = size if type(size) is int and size >= 0 else -1
    return _IndexEntry(digest, bytes_, kind if isinstance(kind, str) else "", ImageName("", "", ""))


def _named(listed: list[_IndexEntry], default: str) -> Iterator[LayoutImage]:
    """Yield entries under the names that they have in a registry.

    Where two hosts have images of one name that differ, the hosts stay in their names.
    """
    meant: dict[tuple[str, str], dict[Digest, set[str]]] = defaultdict(dict)
    for digest, _, _, name in listed:
        if name.tag:
            meant[name[1:]].setdefault(digest, set()).add(name.host)
    unlike = {
        repository
        for (repository, _), digests in meant.items()
        if len(digests) > 1 and len(set().union(*digests.values())) > 1
    }
    for digest, size, kind, (host, repository, tag) in listed:
        if repository in unlike:
            repository = at_host(host, repository)
        elif tag and not repository:
            repository = default
        yield LayoutImage(digest, size, kind, repository, tag)


def _without_second_ones(entries: Iterator[LayoutImage], report: Report) -> Iterator[LayoutImage]:
    """Yield entries, of those with one name that differ all but the first without a tag.

    The first is what skopeo and umoci take.
    """
    tags: dict[tuple[str, str], Digest] = {}
    for entry in entries:
        first = tags.setdefault((entry.repository, entry.tag), entry.digest) if entry.tag else ""
        if first in ("", entry.digest):
            yield entry
            continue
        where = INDEX, entry.digest, entry.repository, entry.tag
        report(Finding(Code.TAG_AMBIGUOUS, *where))
        yield entry._replace(tag="")
