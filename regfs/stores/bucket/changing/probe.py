"""What a bucket lets us do, found out before the first change: permissions, conditions, versions.

    .regfs/probe/<random>    put, put where something is, copied, listed, deleted

The one permission that is missing is named, and nothing was changed. What cannot be trusted is
refused: without a conditional put there is no lock.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import Final, NamedTuple

from regfs.errors import PathMissing, Refused, RightMissing, StoreError, printable
from regfs.stores.bucket.changing.objects import Objects
from regfs.stores.bucket.listing.aside import STATE
from regfs.stores.bucket.requests.transport import ObjectChanged

FOLDER: Final = f"{STATE}/probe"


class Powers(NamedTuple):
    """What can be done in a bucket."""

    versioned: bool
    """Whether a delete makes a marker."""
    conditional: bool
    """Whether the server honours If-Match when it deletes."""
    keeps_deleted: bool
    """Whether something is left of what is deleted, and takes space."""


def probe(objects: Objects) -> Powers:
    """Find out what can be done; leave nothing behind.

    Raises:
        RightMissing: a permission is missing; the message names it.
        Refused: the bucket is of a kind that regfs does not change.
        StoreError: the storage failed.
    """
    url = printable(objects.client.bucket.url)
    versioned = _is_versioned(objects, url)
    _require_no_object_lock(objects, url)
    key = f"{objects.base}{FOLDER}/{secrets.token_hex(8)}"
    made = [key, f"{key}-2"]
    try:
        _put(objects, key, url, versioned=versioned)
        objects.copy(key, made[1], 5)
        if not {one.key for one in objects.below(f"{objects.base}{FOLDER}")}.issuperset(made):
            raise StoreError(f"{url}: a listing does not show what was just written")
        conditional = not versioned and _is_conditional(objects, made[1])
        if versioned:
            objects.delete(key)  # to make a marker is a right of its own
    except RightMissing as error:
        raise _denied(error) from None
    finally:
        with suppress(StoreError):
            for one in made:
                objects.forget(one, versioned=versioned)
    try:
        for one in made:  # with words, if that is what is missing
            objects.forget(one, versioned=versioned)
    except RightMissing as error:
        raise _denied(error) from None
    if any(objects.find(one) for one in made):
        raise StoreError(f"{url}: what was deleted is still there")
    return Powers(versioned, conditional, objects.signed.keeps_deleted(key))


def _denied(error: RightMissing) -> RightMissing:
    return RightMissing(f"{error}; nothing was changed")


def _put(objects: Objects, key: str, url: str, *, versioned: bool) -> None:
    """Write an object, and see that it is not written onto.

    Raises:
        Refused: it is.
    """
    if not objects.put_absent(key, b"first"):
        raise StoreError(f"{url}: an object of a random name is there already")
    if _is_first(objects, key):
        return
    objects.is_conditional = not versioned
    second = f"{key}-2"
    if not (versioned and objects.put_absent(second, b"first") and _is_first(objects, second)):
        raise Refused(
            f"{url}: this server writes onto objects where it is asked not to (If-None-Match), so "
            "there is no lock, and nothing is changed there"
        )


def _is_first(objects: Objects, key: str) -> bool:
    """Return whether what was written first stays."""
    return not objects.put_absent(key, b"other") and objects.content(key, 8) == b"first"


def _is_conditional(objects: Objects, key: str) -> bool:
    """Return whether a delete of another ETag is refused."""
    with suppress(ObjectChanged, PathMissing):
        objects.delete(key, match='"00000000000000000000000000000000"')
    return objects.find(key) is not None


def _is_versioned(objects: Objects, url: str) -> bool:
    """Return whether versions are kept.

    Raises:
        Refused: in a way that regfs does not handle.
    """
    found = objects.signed.versioning()
    if found.mfa_delete:
        raise Refused(
            f"{url}: versions are deleted with a one-time password only (MFA delete), so nothing "
            "could be purged; turn that off to clean this bucket"
        )
    if found.state == "Suspended":
        raise Refused(
            f"{url}: its versioning is suspended, so a delete would destroy some versions and hide "
            "others; enable it to clean this bucket"
        )
    return found.state == "Enabled"


def _require_no_object_lock(objects: Objects, url: str) -> None:
    """See that objects may be deleted.

    Raises:
        Refused: they are locked for a time.
    """
    if objects.signed.is_locked():
        raise Refused(
            f"{url}: it has object lock, so nothing could be purged; regfs changes no such bucket"
        )
