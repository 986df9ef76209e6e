"""`/v2/<name>/referrers/<digest>`: an image index of the referrers of a manifest.

Without any, the answer is 200 and an empty index, even if there is no such repository: a 404
would mean that there is no such API, and send clients to the fallback tag.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final, NamedTuple

from aiohttp import web

from regfs.manifests import LIMIT, OCI_INDEX
from regfs.server.api.paged import next_link
from regfs.server.keys import REFERRERS, REFERRERS_TURN
from regfs.server.routes import Route
from regfs.tree.referrers import Referrer, Referrers

AT_ONCE: Final = 2
"""Lookups of referrers at the same time; others wait without taking a thread from pulls."""

_BEGIN: Final = f'{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":['.encode()
_END: Final = b"]}\n"


class _ReferrersPage(NamedTuple):
    body: bytes
    last: str
    """The digest of the last entry if more follow; else empty."""


async def get(request: web.Request, route: Route) -> web.StreamResponse:
    """List the referrers of a digest, if requested only those of one `artifactType`."""
    # A plus that is not encoded reads as a space, which no media type has.
    given = [one.replace(" ", "+") for one in request.query.getall("artifactType", [])]
    types = frozenset(filter(None, given))
    last = request.query.get("last", "")
    async with request.app[REFERRERS_TURN]:
        page = await asyncio.to_thread(_page, request.app[REFERRERS], route, types, last)
    headers = {"OCI-Filters-Applied": "artifactType"} if types else {}
    if page.last:
        query = [("last", page.last), *(("artifactType", one) for one in sorted(types))]
        headers |= next_link(f"/v2/{route.name}/referrers/{route.digest}", query)
    return web.Response(body=page.body, headers=headers, content_type=OCI_INDEX)


def _page(referrers: Referrers, route: Route, types: Collection[str], last: str) -> _ReferrersPage:
    found = [
        one
        for one in referrers.of(route.name, route.digest)
        if one.digest > last and (not types or one.artifact_type in types)
    ]
    shown = found[: _fitting(found)]
    body = _BEGIN + b",".join(one.descriptor for one in shown) + _END
    return _ReferrersPage(body, shown[-1].digest if len(shown) < len(found) else "")


def _fitting(referrers: list[Referrer], limit: int = LIMIT) -> int:
    """Return how many fit into an index that clients accept: at least one."""
    size = len(_BEGIN) + len(_END)
    for count, one in enumerate(referrers):
        size += len(one.descriptor) + 1
        if size > limit and count:
            return count
    return len(referrers)
