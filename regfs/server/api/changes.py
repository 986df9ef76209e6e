"""Puts manifests; deletes manifests, tags and links of blobs.

    PUT    /v2/<name>/manifests/<tag>               201
    PUT    /v2/<name>/manifests/<digest>?tag=...    201, with as many tags
    DELETE /v2/<name>/manifests/<tag or digest>     202
    DELETE /v2/<name>/blobs/<digest>                202

A PUT with `If-None-Match: *` only creates a tag, one with `If-Match: "<digest>"` only moves it
from that digest; else the answer is 412. Of two pushes at the same time, one succeeds.

Source: opencontainers/distribution-spec, spec.md, "Pushing Manifests", "Content Management".
"""

from __future__ import annotations

from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from regfs.errors import ConditionFailed, ManifestTooLarge, ReferentsUnknown
from regfs.push.manifests import Published
from regfs.server import conditional
from regfs.server.changing import changed
from regfs.server.errors import ApiError
from regfs.server.keys import PUBLISHER, SETTINGS
from regfs.server.routes import Route

MOST_TAGS: Final = 100
"""Most tags of one push."""
_LISTED: Final = 100


async def put_manifest(request: web.Request, route: Route) -> web.StreamResponse:
    """Accept a manifest, and point the tags in path and query to it."""
    tags = (
        [route.reference] if route.by_tag else list(dict.fromkeys(request.query.getall("tag", [])))
    )
    if len(tags) > MOST_TAGS:
        raise ApiError("UNSUPPORTED", f"more than {MOST_TAGS} tags in one push", status=414)
    data = await _body(request)

    def put() -> Published:
        return request.app[PUBLISHER].put(
            route.name,
            data,
            media_type=request.headers.get("Content-Type", ""),
            digest=None if route.by_tag else route.digest,
            tags=tags,
            only_if=conditional.change_wanted(request.headers),
        )

    try:
        published = await changed(request, put)
    except ManifestTooLarge as error:
        raise ApiError(error.code, str(error), status=413) from None
    except ConditionFailed as error:
        raise ApiError(error.code, str(error), status=412) from None
    except ReferentsUnknown as error:
        raise ApiError(error.code, str(error), detail=list(error.missing[:_LISTED])) from None
    headers = CIMultiDict(
        {
            "Location": f"/v2/{route.name}/manifests/{published.digest}",
            "Docker-Content-Digest": str(published.digest),
        }
    )
    if published.subject is not None:
        headers["OCI-Subject"] = str(published.subject)
    if not route.by_tag:
        for tag in published.tags:
            headers.add("OCI-Tag", tag)
    return web.Response(status=201, headers=headers)


async def _body(request: web.Request) -> bytes:
    """Return a manifest as it came.

    Raises:
        ManifestTooLarge: as an answer; no more of it is read.
    """
    limit = request.app[SETTINGS].max_manifest
    data = bytearray()
    if (request.content_length or 0) <= limit:
        async for piece in request.content.iter_any():
            data += piece
            if len(data) > limit:
                break
        else:
            return bytes(data)
    raise ApiError(
        "MANIFEST_INVALID", f"a manifest must not be larger than {limit} bytes", status=413
    )


async def delete_manifest(request: web.Request, route: Route) -> web.StreamResponse:
    """Delete a tag; or a manifest, with the tags that point to it."""
    publisher = request.app[PUBLISHER]
    if route.by_tag:
        await changed(request, lambda: publisher.delete_tag(route.name, route.reference))
    else:
        await changed(request, lambda: publisher.delete_manifest(route.name, route.digest))
    return web.Response(status=202)


async def delete_blob(request: web.Request, route: Route) -> web.StreamResponse:
    """Delete the link that lets a repository serve a blob."""
    publisher = request.app[PUBLISHER]
    await changed(request, lambda: publisher.delete_blob(route.name, route.digest))
    return web.Response(status=202)
