"""`/v2/<name>/blobs/uploads/`: blobs arrive, at once, in pieces, or from another repository.

    POST                        202, an upload begins
    POST   ?digest=             201, the body is the blob
    POST   ?mount= [&from=]     201, the blob of another repository; else 202
    PATCH  <id>                 202, bytes are added
    PUT    <id>?digest=         201, what has arrived is the blob
    GET    <id>                 204, how far it has come
    DELETE <id>                 204, it is cancelled

Source: opencontainers/distribution-spec, spec.md, "Push". There is no least size of a
chunk, so `OCI-Chunk-Min-Length` is never sent.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from aiohttp import web

from regfs.digest import CANONICAL, Digest
from regfs.errors import (
    BlobTooLarge,
    DigestInvalid,
    OutOfOrder,
    RegfsError,
    SizeInvalid,
    UploadInvalid,
    quoted,
)
from regfs.push.uploads import Upload, UploadWriter
from regfs.server.changing import changed
from regfs.server.errors import ApiError
from regfs.server.keys import MAY, UPLOADS
from regfs.server.routes import Route, Verb

AHEAD: Final = 1024 * 1024
"""Bytes that are read from the network while the previous ones are written."""

_RANGE = re.compile(r"(?:bytes[ =])?([0-9]{1,19})-([0-9]{1,19})(?:/[0-9*]+)?")


class _Chunk(NamedTuple):
    """What a request says about the bytes in its body."""

    start: int | None
    length: int | None


# -- handlers --------------------------------------------------------------------------


async def begin(request: web.Request, route: Route) -> web.StreamResponse:
    """Begin an upload, mount a blob, or accept a whole blob."""
    uploads, query = request.app[UPLOADS], request.query
    if mount := query.get("mount"):
        digest = Digest.parse(mount)
        if await _mounted(request, route, digest, query.get("from") or None):
            return _created(route, digest)
    elif given := query.get("digest"):
        digest = Digest.parse(given)
        if request.can_read_body or digest.is_of_nothing:
            return await _pushed(request, route, digest)
    algorithm = query.get("digest-algorithm", CANONICAL)
    upload = await asyncio.to_thread(uploads.begin, route.name, algorithm)
    return web.Response(status=202, headers=_headers(upload))


async def append(request: web.Request, route: Route) -> web.StreamResponse:
    """Add bytes to an upload."""
    reception = await _receiving(request, route, _chunk(request), None)
    try:
        await _take_in(request, reception)
    except BaseException:
        await _give_up(reception)
        raise
    upload = await asyncio.to_thread(reception.close)
    reception.complete()
    return web.Response(status=202, headers=_headers(upload))


async def complete(request: web.Request, route: Route) -> web.StreamResponse:
    """Add the last bytes, if any, and turn the upload into a blob."""
    digest = _digest(request)
    return await _finished(request, route, digest, _chunk(request))


async def status(request: web.Request, route: Route) -> web.StreamResponse:
    """Answer how far an upload has come."""
    uploads = request.app[UPLOADS]
    upload = await asyncio.to_thread(uploads.status, route.name, route.reference)
    return web.Response(status=204, headers=_headers(upload))


async def cancel(request: web.Request, route: Route) -> web.StreamResponse:
    """Cancel an upload."""
    await asyncio.to_thread(request.app[UPLOADS].cancel, route.name, route.reference)
    return web.Response(status=204)


# -- what they are made of -------------------------------------------------------------


async def _mounted(request: web.Request, route: Route, digest: Digest, source: str | None) -> bool:
    may = request.app[MAY]

    def allowed(name: str) -> bool:
        return may(request, Verb.READ, name)

    mount = request.app[UPLOADS].mount
    return await changed(request, lambda: mount(route.name, digest, source, allowed))


async def _pushed(request: web.Request, route: Route, digest: Digest) -> web.StreamResponse:
    """Accept a whole blob in one request."""
    uploads = request.app[UPLOADS]
    upload = await asyncio.to_thread(uploads.begin, route.name, digest.algorithm)
    try:
        return await _finished(
            request, route._replace(reference=upload.id), digest, _Chunk(None, None)
        )
    except BaseException:
        # No client knows its location, so none can continue it.
        with suppress(RegfsError):
            await asyncio.to_thread(uploads.cancel, route.name, upload.id)
        raise


async def _finished(
    request: web.Request, route: Route, digest: Digest, chunk: _Chunk
) -> web.StreamResponse:
    """Accept the last bytes of an upload, and turn it into a blob."""
    reception = await _receiving(request, route, chunk, digest.algorithm)
    try:
        await _take_in(request, reception)
        reception.complete()
        await changed(request, lambda: reception.commit(digest))
    except BaseException:
        await _give_up(reception)
        raise
    return _created(route, digest)


async def _give_up(reception: UploadWriter) -> None:
    """Keep what has arrived and release the upload; the error itself is reported elsewhere."""
    with suppress(RegfsError):
        await asyncio.to_thread(reception.close)


async def _receiving(
    request: web.Request, route: Route, chunk: _Chunk, algorithm: str | None
) -> UploadWriter:
    name, upload = route.name, route.reference
    try:
        return await asyncio.to_thread(
            request.app[UPLOADS].receive,
            name,
            upload,
            start=chunk.start,
            length=chunk.length,
            algorithm=algorithm,
        )
    except OutOfOrder as error:
        # The code is of the closed list in the spec, the status is what it demands.
        headers = _headers(Upload(name, upload, error.size))
        raise ApiError(error.code, str(error), status=416, headers=headers) from None


async def _take_in(request: web.Request, reception: UploadWriter) -> None:
    """Write a request's body as it arrives: read the next piece while the last one is written."""
    try:
        reception.expect(request.content_length or 0)
        await _pump(request, reception)
    except BlobTooLarge as error:
        raise ApiError(error.code, str(error), status=413) from None


async def _pump(request: web.Request, reception: UploadWriter) -> None:
    pieces: list[bytes] = []
    size = 0
    writing: asyncio.Task[None] | None = None
    try:
        async for piece in request.content.iter_any():
            pieces.append(piece)
            size += len(piece)
            if writing is None or writing.done() or size >= AHEAD:
                if writing is not None:
                    await writing
                writing = asyncio.create_task(asyncio.to_thread(_write, reception, pieces))
                pieces, size = [], 0
    finally:
        if writing is not None:
            await writing
    if pieces:
        await asyncio.to_thread(_write, reception, pieces)


def _write(reception: UploadWriter, pieces: Sequence[bytes]) -> None:
    for piece in pieces:
        reception.write(piece)


def _chunk(request: web.Request) -> _Chunk:
    """Return the range of bytes that a request claims to have.

    Raises:
        UploadInvalid: the header is invalid.
        SizeInvalid: the range does not match the size of the body.
    """
    text = request.headers.get("Content-Range")
    if text is None:
        return _Chunk(None, None)
    found = _RANGE.fullmatch(text.strip())
    if found is None:
        raise UploadInvalid(f"Content-Range must be <first byte>-<last byte>: {quoted(text, 100)}")
    start, length = int(found[1]), int(found[2]) - int(found[1]) + 1
    if length < 1 or request.content_length not in (None, length):
        raise SizeInvalid(
            f"Content-Range {found[0]} does not fit a body of {request.content_length}"
        )
    return _Chunk(start, length)


def _digest(request: web.Request) -> Digest:
    if given := request.query.get("digest"):
        return Digest.parse(given)
    raise DigestInvalid("the digest of the blob is missing: ?digest=<algorithm>:<hex>")


def _headers(upload: Upload) -> dict[str, str]:
    """Return where an upload is and how far it has come; `0-0` means no byte or one."""
    return {
        "Location": f"/v2/{upload.name}/blobs/uploads/{upload.id}",
        "Range": f"0-{max(upload.size - 1, 0)}",
        "Docker-Upload-UUID": upload.id,
    }


def _created(route: Route, digest: Digest) -> web.Response:
    headers = {
        "Location": f"/v2/{route.name}/blobs/{digest}",
        "Docker-Content-Digest": str(digest),
    }
    return web.Response(status=201, headers=headers)
