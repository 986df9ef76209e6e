"""`/v2/<name>/manifests/<tag or digest>`: the bytes of a manifest, as they were pushed.

There is no content negotiation. A manifest is sent even if it does not match `Accept`, as HTTP
allows and the large registries do: `Content-Type` tells the client what it got, while a
refusal (docker-registry's 404 for an OCI manifest, even with `Accept: */*`) looks like a
missing image. For the same reason a Docker manifest list is never replaced by one of its
images: the digest that a client learns is always that of the tag.

Bytes that do not match their digest are never sent. They are reported as missing, because
clients then push them again, which repairs them; containerd stops pushing at any other
status.
"""

from __future__ import annotations

import logging
import re
from typing import Final, NamedTuple

from aiohttp import web

from regfs.digest import Digest
from regfs.errors import (
    BlobUnknown,
    ContentMismatch,
    ManifestInvalid,
    ManifestTooLarge,
    ManifestUnknown,
)
from regfs.manifests import type_of
from regfs.server import conditional
from regfs.server.errors import ApiError
from regfs.server.keys import REGISTRY, SHORT_CALLS
from regfs.server.routes import Route
from regfs.tree.registry import Registry

_MEDIA_TYPE: Final = re.compile(r"application/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
"""Media types that may become a header: a manifest can claim any, and browsers trust them."""

_log = logging.getLogger(__name__)


class _Found(NamedTuple):
    data: bytes
    digest: Digest
    media_type: str


async def get(request: web.Request, route: Route) -> web.StreamResponse:
    """Send a manifest."""
    found = await request.app[SHORT_CALLS].make(_find, request.app[REGISTRY], route)
    headers = {
        "Docker-Content-Digest": found.digest,
        "ETag": conditional.etag(found.digest),
    }
    if conditional.precondition_failed(request.headers, found.digest):
        raise ApiError("UNSUPPORTED", f"If-Match does not allow {found.digest}", status=412)
    if conditional.not_modified(request.headers, found.digest):
        return web.Response(status=304, headers=headers)
    return web.Response(body=found.data, headers=headers, content_type=found.media_type)


def _find(registry: Registry, route: Route) -> _Found:
    """Return a manifest of a repository, verified.

    Raises:
        ManifestUnknown: it is not there, or no longer what its digest says.
        StoreError: it cannot be read.
    """
    name = route.name
    digest = registry.tag(name, route.reference) if route.by_tag else route.digest
    stored = registry.revision(name, digest)
    try:
        data = registry.manifest_bytes(stored)
        if stored != digest and Digest.of(data, digest.algorithm) != digest:
            raise ContentMismatch(f"the link of {digest} leads to {stored}, which is other bytes")
        media_type = type_of(data)
    except BlobUnknown:
        raise ManifestUnknown(f"the content of {digest} is missing") from None
    except (ContentMismatch, ManifestTooLarge, ManifestInvalid) as error:
        _log.warning("%s@%s is not served: %s", name, digest, error)
        raise ManifestUnknown(f"{digest} is damaged, push it again: {error}") from None
    if not _MEDIA_TYPE.fullmatch(media_type):
        media_type = "application/octet-stream"
    return _Found(data, digest, media_type)
