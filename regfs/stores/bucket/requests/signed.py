"""What obstore cannot ask of S3: versions, uploads in parts, conditions, copies of parts.

    versioning  versions  delete(version)  delete_many          what a delete leaves, and its end
    uploads  parts  abort                                       bytes that no listing shows
    head  copy  delete(match)  now                              conditions, and the server's clock

Other clouds have nothing of these: who needs it there is told so.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote
from xml.sax.saxutils import escape

from regfs.errors import PathMissing, RightMissing, StoreError, printable
from regfs.stores.bucket.place import Bucket
from regfs.stores.bucket.requests.answers import (
    Deletion,
    ObjectHead,
    ObjectVersion,
    OpenUpload,
    UploadedPart,
    Versioning,
    decoded,
    etag_of,
    key_of,
    text_of,
)
from regfs.stores.bucket.requests.calls import Call, SignedAnswer
from regfs.stores.bucket.requests.s3 import S3Cloud
from regfs.stores.bucket.requests.transport import NotOffered, ObjectChanged, Transport

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

BATCH: Final = 1000
"""Keys of one bulk delete."""
WHOLE: Final = 5 << 30
"""Bytes of the largest object that is copied at once."""
_PARTS: Final = 10_000
"""Parts that an object may have."""
_COPIES: Final = 8
"""Parts that are copied at once."""
_LIST_VERSIONS: Final = "s3:ListBucketVersions"
_LIST_UPLOADS: Final = "s3:ListBucketMultipartUploads"
_LIST_PARTS: Final = "s3:ListMultipartUploadParts"
_PLAIN: Final = re.compile('"?[0-9a-f]{32}"?')
"""An ETag that is the MD5 of the content, so that a copy has the same."""
_NO_LOCK: Final = "NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError", "404"
_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Signed:
    """Signed requests to one bucket. May be used from several threads."""

    content_in_etags = True

    def __init__(self, bucket: Bucket) -> None:
        """Nothing is requested yet.

        Raises:
            As `S3Cloud`.
        """
        self.transport = Transport(bucket, S3Cloud(bucket))

    def before_change(self, ask: Callable[[], float | None]) -> None:
        """Let `ask` be asked before each change."""
        self.transport.before_change = ask

    def now(self) -> float:
        """Return what the server's clock shows. Raises as `Transport.now`."""
        return self.transport.now()

    # -- versions ----------------------------------------------------------------------

    def versioning(self) -> Versioning:
        """Return whether versions are kept; of a server that has none, that they are not.

        Raises:
            As `Transport.ask`.
        """
        asked = Call("GET", "s3:GetBucketVersioning", query={"versioning": ""})
        try:
            root, _ = self.transport.document(asked)
        except NotOffered:
            return Versioning("", False)
        state = text_of(root, "Status")
        if state not in ("", "Enabled", "Suspended"):
            raise self.transport.odd()
        return Versioning(state, text_of(root, "MfaDelete") == "Enabled")

    def is_locked(self) -> bool:
        """Return whether the bucket has object lock. Who may not ask is told when deleting fails.

        Raises:
            StoreError: the storage failed.
        """
        asked = Call("GET", "s3:GetBucketObjectLockConfiguration", query={"object-lock": ""})
        try:
            body = self.transport.ask(asked).body
        except (PathMissing, NotOffered, RightMissing):
            return False
        except StoreError as error:
            if any(word in str(error) for word in _NO_LOCK):
                return False
            raise
        return b"<ObjectLockEnabled>Enabled" in body

    def keeps_deleted(self, key: str) -> bool:
        """Return False: without versions, nothing is left of what is deleted."""
        return False

    def versions(self, prefix: str) -> Iterator[list[ObjectVersion]]:
        """Yield all versions and delete markers of keys that begin with a prefix, by pages.

        Those of one key follow one another, newest first.

        Raises:
            As `Transport.ask`.
        """
        query = {"versions": "", "prefix": prefix}
        marks = {"key-marker": "NextKeyMarker", "version-id-marker": "NextVersionIdMarker"}
        for root in self._pages(query, marks, _LIST_VERSIONS):
            kinds = ((one, one.tag.rpartition("}")[2]) for one in root)
            yield [
                self._version(one, kind == "DeleteMarker", root)
                for one, kind in kinds
                if kind in ("Version", "DeleteMarker")
            ]

    def _version(self, one: Element, marker: bool, root: Element) -> ObjectVersion:
        return ObjectVersion(
            key_of(one, root),
            text_of(one, "VersionId"),
            marker,
            text_of(one, "IsLatest") == "true",
            0 if marker else self._number(one, "Size"),
            self._time(one, "LastModified"),
            etag_of(text_of(one, "ETag")),
        )

    def delete(self, key: str, *, version: str = "", match: str = "") -> Deletion:
        """Delete an object, or one version of it for good; with `match`, if its ETag is that.

        Whether a server honours `match` is to be found out before. Without a version, in a
        bucket with versions, this makes a delete marker, and an attempt that is repeated two.

        Raises:
            ObjectChanged: its ETag is another one.
            As `Transport.ask`.
        """
        permission = "s3:DeleteObjectVersion" if version else "s3:DeleteObject"
        asked = Call(
            "DELETE",
            permission,
            key,
            {"versionId": version} if version else {},
            {"If-Match": f'"{etag_of(match)}"'} if match else {},
        )
        return _removal(self.transport.ask(asked))

    def delete_many(self, items: Sequence[tuple[str, str]]) -> list[Deletion | StoreError]:
        """Delete up to `BATCH` objects in one request, each (key, version or ""); one answer each.

        What the server does not say is gone is an error. Raises as `Transport.ask`.
        """
        # XML has no words for some keys.
        single = [item for item in items if _NO_XML.search(item[0])]
        listed = [item for item in items if not _NO_XML.search(item[0])]
        found: dict[tuple[str, str], Deletion | StoreError] = {}
        for key, version in single:
            try:
                found[key, version] = self.delete(key, version=version)
            except StoreError as error:
                found[key, version] = error
        if listed:
            found |= self._delete_listed(listed)
        silent = "the server does not say that it is deleted"
        return [
            found.get(item) or StoreError(f"{printable(self.transport.url)}: {item[0]!a}: {silent}")
            for item in items
        ]

    def _delete_listed(
        self, items: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], Deletion | StoreError]:
        rows = "".join(
            f"<Object><Key>{escape(key)}</Key>"
            + (f"<VersionId>{escape(version)}</VersionId>" if version else "")
            + "</Object>"
            for key, version in items
        )
        body = f"<Delete>{rows}</Delete>".encode()
        md5 = hashlib.md5(body, usedforsecurity=False).digest()
        headers = {"Content-MD5": base64.b64encode(md5).decode(), "Content-Type": "application/xml"}
        asked = Call("POST", "s3:DeleteObject", "", {"delete": ""}, headers, body)
        root, answer = self.transport.document(asked)
        found: dict[tuple[str, str], Deletion | StoreError] = {}
        for one in root.iterfind("{*}Deleted"):
            key, marker = text_of(one, "Key"), text_of(one, "DeleteMarker") == "true"
            made = text_of(one, "DeleteMarkerVersionId") or text_of(one, "VersionId")
            # SeaweedFS leaves out the version that was asked for if that is a marker.
            version = made if (key, made) in items else ""
            found[key, version] = Deletion(marker, made, answer.repeated)
        for one in root.iterfind("{*}Error"):
            key, version = text_of(one, "Key"), text_of(one, "VersionId")
            found[key, version] = self.transport.refused(
                asked._replace(key=key), text_of(one, "Code")
            )
        return found

    # -- uploads in parts --------------------------------------------------------------

    def uploads(self, prefix: str) -> Iterator[list[OpenUpload]]:
        """Yield the open uploads whose keys begin with a prefix, by pages.

        Raises:
            As `Transport.ask`.
        """
        query = {"uploads": "", "prefix": prefix}
        marks = {"key-marker": "NextKeyMarker", "upload-id-marker": "NextUploadIdMarker"}
        for root in self._pages(query, marks, _LIST_UPLOADS):
            yield [
                OpenUpload(
                    key_of(one, root), text_of(one, "UploadId"), self._time(one, "Initiated")
                )
                for one in root.iterfind("{*}Upload")
            ]

    def parts(self, key: str, upload: str) -> list[UploadedPart]:
        """Return the parts of an open upload.

        Raises:
            PathMissing: it is complete or aborted.
            As `Transport.ask`.
        """
        found: list[UploadedPart] = []
        marks = {"part-number-marker": "NextPartNumberMarker"}
        for root in self._pages({"uploadId": upload}, marks, _LIST_PARTS, key):
            found += [
                UploadedPart(
                    self._number(one, "PartNumber"),
                    self._number(one, "Size"),
                    self._time(one, "LastModified"),
                    etag_of(text_of(one, "ETag")),
                )
                for one in root.iterfind("{*}Part")
            ]
            if len(found) > _PARTS:
                raise self.transport.odd()
        return found

    def abort(self, key: str, upload: str) -> None:
        """End an open upload: its parts are deleted, and nothing can complete it any more.

        Raises:
            PathMissing: it is complete or aborted.
            As `Transport.ask`.
        """
        query = {"uploadId": upload}
        self.transport.ask(Call("DELETE", "s3:AbortMultipartUpload", key, query))

    # -- objects -----------------------------------------------------------------------

    def put(self, key: str, data: bytes, *, absent: bool = False) -> str:
        """Write an object whole; with `absent`, where none is, if the server honours that.

        Raises:
            ObjectChanged: something is there.
            As `Transport.ask`.
        """
        condition = {"If-None-Match": "*"} if absent else {}
        call = Call("PUT", "s3:PutObject", key, headers=condition, body=data)
        return self.transport.ask(call).headers.get("x-amz-version-id", "")

    def head(self, key: str, version: str = "") -> ObjectHead:
        """Return what the server tells of an object, or of one version of it.

        Raises:
            PathMissing: there is none, or a delete marker.
            As `Transport.ask`.
        """
        query = {"versionId": version} if version else {}
        try:
            headers = self.transport.ask(Call("HEAD", "s3:GetObject", key, query)).headers
        except NotOffered as error:  # 405: what is asked for is a delete marker
            raise PathMissing(str(error)) from None
        return self.transport.object_told(headers, headers.get("x-amz-version-id", ""))

    def copy(
        self, source: str, target: str, size: int, *, version: str = "", match: str = "",
        absent: bool = False, whole: int | None = None,
    ) -> ObjectHead:  # fmt: skip
        """Copy an object of `size` bytes on the server, replacing what is at `target`.

        With `match`, only if its ETag is that; with `version`, that version. S3 has no condition
        `absent` for copies. One of more than `whole` bytes, `WHOLE` if not given, is copied in
        parts, and appears complete or not at all.

        Raises:
            PathMissing, ObjectChanged: the source is gone, or another.
            As `Transport.ask`.
        """
        path = quote(f"/{self.transport.name}/{source}", safe="/~")
        headers = {"x-amz-copy-source": path + (f"?versionId={quote(version)}" if version else "")}
        if match:
            headers["x-amz-copy-source-if-match"] = f'"{etag_of(match)}"'
        whole = whole or WHOLE
        if size > whole:
            return self._copy_parts(headers, target, size, max(whole, -(-size // _PARTS)))
        root, answer = self.transport.document(Call("PUT", "s3:PutObject", target, headers=headers))
        made = answer.headers.get("x-amz-version-id", "")
        etag = etag_of(text_of(root, "ETag"))
        if match and etag != etag_of(match) and _PLAIN.fullmatch(etag) and _PLAIN.fullmatch(match):
            # Ceph 16 copies it all the same.
            self.delete(target, version=made)
            where = f"{printable(self.transport.url)}: {printable(source)}"
            raise ObjectChanged(f"{where}: it has changed meanwhile")
        return ObjectHead(size, self._time(root, "LastModified"), etag, made)

    def _copy_parts(
        self, headers: Mapping[str, str], target: str, size: int, step: int
    ) -> ObjectHead:
        transport, permission = self.transport, "s3:PutObject"
        kind = {"Content-Type": "application/octet-stream"}
        root, _ = transport.document(Call("POST", permission, target, {"uploads": ""}, kind))
        upload = text_of(root, "UploadId")

        def copied(number: int) -> str:
            first = (number - 1) * step
            bounds = f"bytes={first}-{min(first + step, size) - 1}"
            query = {"partNumber": str(number), "uploadId": upload}
            more = {**headers, "x-amz-copy-source-range": bounds}
            part, _ = transport.document(Call("PUT", permission, target, query, more))
            return text_of(part, "ETag")

        try:
            with ThreadPoolExecutor(_COPIES) as pool:
                etags = list(pool.map(copied, range(1, -(-size // step) + 1)))
            return self._complete(target, upload, etags, size)
        except BaseException:
            with suppress(StoreError):  # what is left open is told as such, and collected later
                self.abort(target, upload)
            raise

    def _complete(self, target: str, upload: str, etags: Sequence[str], size: int) -> ObjectHead:
        rows = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag></Part>"
            for number, etag in enumerate(etags, 1)
        )
        body = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
        asked = Call("POST", "s3:PutObject", target, {"uploadId": upload}, body=body)
        try:
            self.transport.ask(asked)
        except PathMissing:
            # An earlier attempt whose answer was lost has completed it, or somebody has aborted it.
            found = self.head(target)
            if found.size != size or not found.etag.endswith(f"-{len(etags)}"):
                raise
            return found
        found = self.head(target)
        if found.size != size:
            words = "is not what was copied to it"
            raise StoreError(f"{printable(self.transport.url)}: {printable(target)}: {words}")
        return found

    # -- answers -----------------------------------------------------------------------

    def _pages(
        self, query: Mapping[str, str], marks: Mapping[str, str], permission: str, key: str = ""
    ) -> Iterator[Element]:
        """Yield the documents of a listing; `marks`: parameter of the next page -> its element."""
        more: dict[str, str] = {} if key else {"encoding-type": "url"}
        seen: set[tuple[str, ...]] = set()
        while True:
            root, _ = self.transport.document(Call("GET", permission, key, {**query, **more}))
            yield root
            if text_of(root, "IsTruncated") != "true":
                return
            at = tuple(text_of(root, name) for name in marks.values())
            if not at[0] or at in seen:
                raise self.transport.odd()  # it would never end
            seen.add(at)
            for (parameter, name), text in zip(marks.items(), at, strict=True):
                more[parameter] = decoded(text, root) if name == "NextKeyMarker" else text

    def _number(self, one: Element, name: str) -> int:
        text = text_of(one, name)
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise self.transport.odd()
        return int(text)

    def _time(self, one: Element, name: str) -> float:
        try:
            time = datetime.fromisoformat(text_of(one, name))
            return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            raise self.transport.odd() from None


def _removal(answer: SignedAnswer) -> Deletion:
    headers = answer.headers
    marker = headers.get("x-amz-delete-marker", "") == "true"
    return Deletion(marker, headers.get("x-amz-version-id", ""), answer.repeated)
