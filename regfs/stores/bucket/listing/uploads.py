"""Uploads under way: what a registry has of a blob that is not complete, as the file `data`.

The S3 driver keeps it as an open upload in parts of `_uploads/<id>/data`, which no listing of
objects shows. Here it is that file: of the size of its parts, as old as the last of them. It cannot
be read.

    _uploads/<id>/data           the open upload, if there is one and no object
    _uploads/<id>/data.<hash>    each open upload where there is an object as well, or several: a
                                 registry that goes on with a short last part begins another one

Google's driver keeps a small object there, Azure's the bytes themselves: a listing shows them.

What is set aside is left out, as long as its stub is in quarantine (see `unfinished`).

An upload elsewhere is never taken for one of these, and never ended: it may be a blob that is being
copied to its place, or be of another program. What it takes is told by `unlisted`.
"""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import blake2b
from typing import Final, NamedTuple

from regfs.errors import Doubt, PathMissing, RightMissing, StoreError
from regfs.findings import Code, Finding
from regfs.stores.bucket.place import Bucket
from regfs.stores.bucket.requests.answers import OpenUpload, UploadedPart
from regfs.stores.bucket.requests.client import Object
from regfs.stores.bucket.requests.signed import Signed
from regfs.stores.records import Unlisted

_REPOSITORIES: Final = "docker/registry/v2/repositories"
_AREAS: Final = ("docker/registry/", ".regfs/")
"""What is ours to tell of in a bucket."""
_DATA: Final = re.compile(rf"{_REPOSITORIES}/.+/_uploads/[^/]+/data", re.DOTALL)
_OTHERS: Final = re.compile(r"/_(?:layers|manifests)(?:/|$)")
_ASKED: Final = 16
"""Uploads whose parts are asked for at once."""


class UploadAsFile(NamedTuple):
    """An open upload as a file."""

    object: Object
    """As a listing would tell of it; its ETag is that of the parts."""
    key: str
    """What is uploaded to."""
    id: str


class UploadsUnderWay:
    """Asks one bucket for them. May be used from several threads."""

    def __init__(self, bucket: Bucket) -> None:
        """Nothing is requested yet."""
        self._bucket = bucket
        self.set_aside: Callable[[str], Collection[tuple[str, str]]] = lambda folder: ()
        """Folder -> key and id of those below it that are set aside."""
        self._signed: Signed | None = None
        self._opening = threading.Lock()

    def below(self, folder: str, there: Collection[str] = ()) -> list[Object]:
        """Return the open uploads below a folder of the tree as objects, sorted by key.

        `there` are the paths of those `data` that are objects.

        Raises:
            RightMissing: they cannot be asked for with these keys.
            StoreError: they cannot be listed.
        """
        return [one.object for one in self.shown(folder, there)]

    def at(self, path: str) -> UploadAsFile | None:
        """Return the open upload that is a file at a path; None if there is none.

        Raises:
            As `below`.
        """
        folder = path.rpartition("/")[0]
        there = {f"{folder}/data"} if path != f"{folder}/data" else set()
        key = f"{self._bucket.base}{path}"
        names = (*self.shown(folder), *(self.shown(folder, there) if there else ()))
        return next((one for one in names if one.object.key == key), None)

    def now(self, key: str, upload: str) -> Object | None:
        """Return what an open upload has by now; None if it is complete or aborted.

        Raises:
            As `below`.
        """
        try:
            parts = self.signed().parts(key, upload)
        except PathMissing:
            return None
        mtime = max((part.mtime for part in parts), default=0.0) // 1
        return Object(key, sum(part.size for part in parts), mtime, etag_of_parts(parts))

    def folders(self, folder: str) -> set[str]:
        """Return the folders of those in the folder of all uploads of a repository.

        Raises:
            As `below`.
        """
        return {data.rpartition("/")[0] for data in self._begun(folder)}

    def shown(self, folder: str, there: Collection[str] = ()) -> list[UploadAsFile]:
        """Return them with their ids. Raises as `below`."""
        named = [
            (name, one)
            for path, several in self._begun(folder).items()
            for name, one in _named(several, path in there)
        ]
        with ThreadPoolExecutor(_ASKED) as pool:
            found = pool.map(lambda pair: self._shown(*pair), named)
            return sorted(one for one in found if one is not None)

    def _begun(self, folder: str) -> dict[str, list[OpenUpload]]:
        """Return the open uploads below a folder, by the path of their `data`."""
        begun: dict[str, list[OpenUpload]] = defaultdict(list)
        if self._bucket.scheme != "s3" or not may_hold(folder):
            return begun
        base = self._bucket.base
        inside = folder if folder.startswith(_REPOSITORIES) else _REPOSITORIES
        for page in self.signed().uploads(f"{base}{inside}/"):
            for one in page:
                path = one.key[len(base) :]
                if one.key.startswith(base) and _DATA.fullmatch(path):
                    begun[path].append(one)
        if begun:
            aside = self.set_aside(inside)
            for path, several in begun.items():
                begun[path] = [one for one in several if (one.key, one.id) not in aside]
        return begun

    def unlisted(self) -> Unlisted:
        """Return what other open uploads take: those that no file stands for.

        Raises:
            As `below`.
        """
        if self._bucket.scheme != "s3":
            return Unlisted(0, 0)
        base = self._bucket.base
        others = [
            one
            for area in _AREAS
            for page in self.signed().uploads(f"{base}{area}")
            for one in page
            if one.key.startswith(base) and not _DATA.fullmatch(one.key[len(base) :])
        ]
        with ThreadPoolExecutor(_ASKED) as pool:
            parts = [found for found in pool.map(self._parts, others) if found is not None]
        return Unlisted(len(parts), sum(part.size for some in parts for part in some))

    def signed(self) -> Signed:
        """Return what signs requests. Raises as `below`."""
        with self._opening:
            if self._signed is None:
                try:
                    self._signed = Signed(self._bucket)
                except Doubt as error:
                    raise RightMissing(str(error)) from None
            return self._signed

    def prepare(self) -> None:
        """Load what signs requests, which takes a tenth of a second, while others are answered."""
        if self._bucket.scheme == "s3":
            with suppress(StoreError):  # who asks hears of it
                self.signed()

    def _shown(self, name: str, one: OpenUpload) -> UploadAsFile | None:
        parts = self._parts(one)
        if parts is None:
            return None
        # Whole seconds, as those of objects.
        mtime = max((part.mtime for part in parts), default=one.initiated) // 1
        size = sum(part.size for part in parts)
        return UploadAsFile(Object(name, size, mtime, etag_of_parts(parts)), one.key, one.id)

    def _parts(self, one: OpenUpload) -> list[UploadedPart] | None:
        """Return the parts of an upload; None if it has come to its end meanwhile."""
        try:
            return self.signed().parts(one.key, one.id)
        except PathMissing:
            return None


def may_hold(folder: str) -> bool:
    """Return whether an upload may be below a folder."""
    above = f"{_REPOSITORIES}/".startswith(f"{folder}/") or not folder
    return above or (folder.startswith(f"{_REPOSITORIES}/") and not _OTHERS.search(folder))


def key_of_upload(base: str, path: str) -> str:
    """Return the key of the upload that a path ends with, be it in quarantine."""
    inside = path[path.rindex(_REPOSITORIES) :].rpartition("/")[0]
    return f"{base}{inside}/data"


def is_uploads(folder: str) -> bool:
    """Return whether a folder is that of all uploads of a repository."""
    return folder.startswith(f"{_REPOSITORIES}/") and folder.endswith("/_uploads")


def is_upload(folder: str) -> bool:
    """Return whether a folder is that of one upload."""
    return is_uploads(folder.rpartition("/")[0])


def upload_of(path: str) -> str:
    """Return the folder of the upload that a path is in."""
    above, uploads, inside = path.partition("/_uploads/")
    return f"{above}{uploads}{inside.partition('/')[0]}"


def is_in_upload(path: str) -> bool:
    """Return whether a path may be that of an open upload."""
    above, _, name = path.rpartition("/")
    return is_upload(above) and (name == "data" or name.startswith("data."))


def not_known(folder: str, error: StoreError) -> Finding:
    """Return what to report of a folder whose open uploads cannot be listed."""
    return Finding(Code.UPLOAD_UNKNOWN, folder, actual=str(error).partition(": ")[2])


def etag_of_parts(parts: Iterable[UploadedPart]) -> str:
    """Return what is the same for the same parts only, as long as the ETag of an object."""
    told = "\n".join(f"{part.number} {part.size} {part.etag}" for part in parts)
    return blake2b(told.encode(), digest_size=16).hexdigest()


def _named(several: list[OpenUpload], there: bool) -> list[tuple[str, OpenUpload]]:
    """Return the key that each open upload of one key has as a file."""
    if len(several) == 1 and not there:
        return [(several[0].key, several[0])]
    return [
        (f"{one.key}.{blake2b(one.id.encode(), digest_size=8).hexdigest()}", one) for one in several
    ]
