"""What a bucket holds and how it changes: objects, versions, conditions.

Objects may be set and removed directly in `objects`; what is done by request goes through the
methods, which obey conditions, versioning and the faults.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.support.s3.faults import Faults, Refused

NULL = "null"
"""The version of what was written without versioning."""
MAX_KEY = 1024


class Stored(NamedTuple):
    """One version of an object, or the marker of a deletion."""

    data: bytes
    mtime: float
    etag: str | None = None
    """In place of the MD5."""
    version: str = NULL
    marker: bool = False


@dataclass
class Upload:
    """A multipart upload that is under way."""

    key: str
    began: float
    parts: dict[int, Stored] = field(default_factory=dict)


@dataclass
class Conditions:
    """What a request demands of the object that it changes or reads."""

    match: str | None = None
    """The ETag that it has, without quotes; `*` for any."""
    absent: bool = False


@dataclass
class FakeBucket(Faults):
    """What a server holds, how it fails, and what it was asked."""

    objects: dict[str, Stored] = field(default_factory=dict)
    """The current versions."""
    older: dict[str, list[Stored]] = field(default_factory=dict)
    """Other versions and markers, the newest first."""
    uploads: dict[str, Upload] = field(default_factory=dict)
    versioning: str = ""
    """`Enabled`, `Suspended`, or empty for never."""
    url: str = ""
    page: int = 1000
    conditional_delete: bool = True
    """Whether If-Match is honoured when an object is deleted: Ceph 16 ignores it."""
    gone_is_changed: bool = False
    """Whether a conditional delete of what is not there fails by its condition: 412, not 404."""
    conditional_source: bool = True
    """Whether a copy heeds x-amz-copy-source-if-match: Ceph 16 ignores it."""
    conditional_put: bool = True
    """Whether If-None-Match is honoured in buckets with versions: Ceph 16 ignores it."""
    conditional_copy: bool = True
    """Whether If-None-Match is honoured when an object is copied."""
    opaque_etags: bool = False
    """Whether ETags of what is written are no MD5, as under SSE-KMS."""
    whole_seconds: bool = False
    """Whether times are cut to seconds, as SeaweedFS and AWS do."""
    copy_limit: int = 5 << 30
    """Bytes that one request copies at most."""
    least_part: int = 5 << 20
    """Bytes of each part but the last."""
    requests: Counter[str] = field(default_factory=Counter)
    signed: set[tuple[str, str | None]] = field(default_factory=set)
    """Access keys and session tokens of the requests."""
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    _count: int = 0

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let nothing else change the bucket within the block."""
        with self._lock:
            yield

    def now(self) -> float:
        """Return the time of what is written now."""
        now = self.time()
        return float(int(now)) if self.whole_seconds else now

    def unique(self) -> str:
        """Return a new name of a version or an upload."""
        with self._lock:
            self._count += 1
            return f"{self._count:08x}{hashlib.sha1(b'%d' % self._count).hexdigest()[:12]}"

    def get(self, key: str, version: str | None = None) -> Stored:
        """Return an object, or one version of it."""
        with self._lock:
            found = self.objects.get(key) if version is None else self._version(key, version)
        if found is None:
            raise Refused(404, "NoSuchKey" if version is None else "NoSuchVersion")
        if found.marker:
            raise Refused(405, "MethodNotAllowed")
        return found

    def put(self, key: str, data: bytes, conditions: Conditions, etag: str | None = None) -> Stored:
        """Write an object whole."""
        if len(key.encode()) > MAX_KEY:
            raise Refused(400, "KeyTooLongError")
        with self._lock:
            if self.conditional_put or not self.versioning:
                self.check(key, conditions)
            self.change(self.objects)
            if self.opaque_etags:
                etag = self.unique() + "-kms"
            version = self.unique() if self.versioning == "Enabled" else NULL
            stored = Stored(data, self.now(), etag, version)
            self._shelve(key)
            self.objects[key] = stored
            return stored

    def delete(self, key: str, conditions: Conditions, version: str | None = None) -> Stored | None:
        """Delete an object, or one version for good; return the marker or the version."""
        with self._lock:
            if conditions.match is not None and self.conditional_delete:
                self.check(key, conditions)
            self.change(self.objects)
            if version is not None:
                return self._drop(key, version)
            if not self.versioning:
                self.objects.pop(key, None)
                return None
            name = self.unique() if self.versioning == "Enabled" else NULL
            marker = Stored(b"", self.now(), None, name, marker=True)
            self._shelve(key)
            self.objects.pop(key, None)
            self.older.setdefault(key, []).insert(0, marker)
            return marker

    def check(self, key: str, conditions: Conditions) -> None:
        """Raise if an object is not as demanded."""
        found = self.objects.get(key)
        if conditions.absent and found is not None:
            raise Refused(412, "PreconditionFailed")
        if conditions.match is None:
            return
        if found is None and not self.gone_is_changed:
            raise Refused(404, "NoSuchKey")
        if found is None or conditions.match not in ("*", etag_of(found)):
            raise Refused(412, "PreconditionFailed")

    def versions(self) -> list[tuple[str, Stored, bool]]:
        """Return key, version and whether it is the latest, in the order of a listing."""
        with self._lock:
            keys = sorted(self.objects.keys() | self.older.keys())
            rows = []
            for key in keys:
                current = [self.objects[key]] if key in self.objects else []
                for number, one in enumerate([*current, *self.older.get(key, [])]):
                    rows.append((key, one, number == 0))
            return rows

    def _version(self, key: str, version: str) -> Stored | None:
        current = [self.objects[key]] if key in self.objects else []
        every = [*current, *self.older.get(key, [])]
        return next((one for one in every if one.version == version), None)

    def _shelve(self, key: str) -> None:
        """Make room for a new version; the one without a name is replaced."""
        older = self.older.setdefault(key, []) if self.versioning else []
        if key in self.objects and self.versioning:
            older.insert(0, self.objects[key])
        if self.versioning == "Suspended":
            older[:] = [one for one in older if one.version != NULL]

    def _drop(self, key: str, version: str) -> Stored | None:
        found = self._version(key, version)
        older = [one for one in self.older.get(key, []) if one.version != version]
        if key in self.objects and self.objects[key].version == version:
            del self.objects[key]
        if key not in self.objects and older and not older[0].marker:
            self.objects[key] = older.pop(0)
        self.older[key] = older
        if not older:
            del self.older[key]
        return found


def etag_of(stored: Stored) -> str:
    """Return the ETag of a version, without quotes."""
    return stored.etag or hashlib.md5(stored.data, usedforsecurity=False).hexdigest()
