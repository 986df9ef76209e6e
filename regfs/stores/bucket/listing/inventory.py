"""A bucket as a report of S3 Inventory lists it: reports without one request to list.

    inventory:s3://reports/images/daily/2026-11-28T01-00Z/manifest.json    in a bucket
    inventory:/srv/copy/2026-11-28T01-00Z/manifest.json                    copied from one
    inventory:s3://reports/.../manifest.json#prod                          the tree below prod/

The report says what there is, with sizes, times and, if it has them, ETags, which tell what links
hold. Manifests are read from the bucket itself, with the same credentials. All is as old as the
report (`taken_at`), a day or a week, so nothing is collected by it: what was pushed since would be
lost.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from regfs.errors import NotARegistry, printable
from regfs.findings import Code, Finding
from regfs.progress import SILENT, Progress
from regfs.stores.bucket.listing.listed import ListedObjects
from regfs.stores.bucket.listing.report_files import (
    MANIFEST,
    BucketFiles,
    CopiedFiles,
    ReportFiles,
    ReportManifest,
    read_report,
    report_pages,
)
from regfs.stores.bucket.listing.report_lines import ReportPage
from regfs.stores.bucket.meter import Meter
from regfs.stores.bucket.place import INVENTORY, Bucket, is_bucket, keys_of, of_url, profile
from regfs.stores.bucket.requests.client import Client
from regfs.stores.flat.rows import Rows
from regfs.stores.flat.store import FlatStore

_TREE: Final = b"docker/registry/"
_OWN: Final = (b".regfs/", b"scheduler-state.json")
_NAMED: Final = 20
"""Keys that are reported one by one because they are no paths."""
_REFUSAL: Final = (
    "is a listing of yesterday, or older: what was pushed since would be lost; give the bucket "
    "itself"
)


@dataclass(frozen=True, slots=True)
class InventoryPlace:
    """Where a report is, and how the bucket is reached that it is of. Its text holds no secret."""

    path: str
    """The key of manifest.json, or its file."""
    bucket: Bucket | None = None
    """The bucket that the report is in; None for a file."""
    prefix: str = ""
    """Where in its bucket the tree is; empty if there is no other."""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    meter: Meter = field(default_factory=Meter, repr=False, compare=False)
    """Of both buckets: that of the report, and the one that it is of."""

    @property
    def url(self) -> str:
        """As it was given."""
        where = self.path if self.bucket is None else f"{self.bucket.url}/{self.path}"
        return f"{INVENTORY}{where}" + (f"#{self.prefix}" if self.prefix else "")


def of_inventory(root: str, variables: Mapping[str, str] | None = None) -> InventoryPlace:
    """Return the report that a root names, with the keys of the user.

    Raises:
        NotARegistry: it names none.
        StoreError: the user's profile cannot be used.
    """
    text, _, prefix = root.removeprefix(INVENTORY).partition("#")
    if os.path.basename(text) != MANIFEST:
        raise NotARegistry(
            f"{printable(root)}: must be {INVENTORY}s3://BUCKET/PATH/{MANIFEST}, or "
            f"{INVENTORY}PATH/{MANIFEST} of a copy"
        )
    given = variables or {}
    options, keys = profile(given) if given else {}, keys_of(given)
    prefix = "/".join(part for part in prefix.split("/") if part)
    if not is_bucket(text):
        return InventoryPlace(os.path.abspath(text), None, prefix, options, keys)
    bucket = of_url(text, variables)
    if bucket.scheme != "s3":
        raise NotARegistry(f"{printable(root)}: S3 Inventory reports lie in s3://")
    place = replace(bucket, prefix="")
    return InventoryPlace(bucket.prefix, place, prefix, options, keys, place.meter)


class InventorySource(ListedObjects):
    """The source over one report."""

    def __init__(
        self,
        client: Client,
        place: InventoryPlace,
        report: ReportManifest,
        files: ReportFiles,
        progress: Progress,
    ) -> None:
        """`client` reads from the bucket that the report is of."""
        url = printable(place.url)
        super().__init__(client, place.url, f"{url}: a report on {client.bucket.url}")
        self.refusal = f"{url}: {_REFUSAL} ({client.bucket.url})"
        self._report = report
        self._files = files
        self._prefix = f"{place.prefix}/".encode() if place.prefix else b""
        self._progress = progress
        self._odd = 0

    def rows(self) -> Rows:
        """Read the report.

        Raises:
            NotARegistry: there is no tree in it, or more than one.
            StoreError: it cannot be read whole.
        """
        progress, url = self._progress, printable(self.url)
        progress.start("Reading the report", self._report.bytes, "bytes")
        try:
            for page in report_pages(self._report, self._files, url, progress.advance):
                self._take_page(page)
        finally:
            progress.finish()
        if self._odd > _NAMED:
            self._report_odd(_TREE, f"{self._odd - _NAMED} more keys that are no paths")
        return self._finish(anchored=False)

    def _take_page(self, page: ReportPage) -> None:
        """Take what is of the tree."""
        keys, prefix = page.keys, self._prefix
        mine = [(_TREE in key or _is_own(key)) and key.startswith(prefix) for key in keys]
        text = b"\n".join((b"", *keys))
        for place, key in enumerate(keys) if b"//" in text or b"\n/" in text else ():
            if mine[place] and (b"//" in key or key[:1] == b"/"):
                self._note_odd(key)
                mine[place] = False
        if not all(mine):
            page = page.only(mine)
        self._take_all(page.keys, page.sizes, page.mtimes, page.etags)

    def _note_odd(self, key: bytes) -> None:
        self._odd += 1
        if self._odd <= _NAMED:
            self._report_odd(key, "a key that is no path (an empty part, as in a//b)")

    def _report_odd(self, key: bytes, words: str) -> None:
        path = os.fsdecode(key[:200])
        self._gathering.problems.append(Finding(Code.PATH_UNREADABLE, path, actual=words))

    def _key_of(self, row: int) -> str:
        return os.fsdecode(self._gathering.name_of(self._rows.keys[row]))


def _is_own(key: bytes) -> bool:
    """Return whether a key may be one of what lies beside `docker` in a tree."""
    return any(key.startswith(one) or b"/" + one in key for one in _OWN)


def open_inventory(place: InventoryPlace, progress: Progress = SILENT) -> FlatStore:
    """Open the tree that a report lists.

    Raises:
        NotARegistry: there is no such report, or no tree in it.
        Doubt: what reads buckets is not installed.
        StoreError: it cannot be read whole.
    """
    files: ReportFiles = (
        CopiedFiles(place.path)
        if place.bucket is None
        else BucketFiles(Client(place.bucket), place.path)
    )
    report = read_report(files, printable(place.url))
    bucket = Bucket("s3", report.bucket, "", place.options, place.keys, meter=place.meter)
    source = InventorySource(Client(bucket), place, report, files, progress)
    return FlatStore(source, taken_at=report.taken_at, requests=place.meter.counts)
