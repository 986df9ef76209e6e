"""A blob as an answer: all of it, parts, only the headers, or not modified.

The kernel sends a file if it has a file descriptor and the connection is plain; otherwise a
thread reads it in pieces, one ahead of what is sent. Either way memory does not depend on the
size of the blob.

Or the answer is where the blob is stored: a URL that is signed for it, as the reference registry
answers. The client has passed all that guards the blob here by then. HEAD is answered here.

Several parts are one body, `multipart/byteranges`: clients that mount an image and fetch its
files on demand (stargz, soci, nydus) request many at once. Parts are opened one after the other.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from functools import partial
from typing import BinaryIO, Final, NamedTuple

from aiohttp import web
from multidict import MultiMapping

from regfs import layout
from regfs.digest import Digest
from regfs.errors import BlobUnknown, RegfsError, StoreError
from regfs.server import conditional
from regfs.server.conditional import Extent
from regfs.server.errors import VERSION_HEADER, ApiError
from regfs.stores import FileKind
from regfs.tree.registry import Registry

PIECE: Final = 256 * 1024
"""Bytes of one piece."""
SMALL: Final = 64 * 1024
"""Bytes up to which a part is read before it is sent, so that it fits into one packet."""

CONTENT_TYPE: Final = "application/octet-stream"
_YEAR: Final = "max-age=31536000"
_SIGNED_FOR: Final = 20 * 60.0
"""Seconds in which a client begins to follow a redirection."""

_log = logging.getLogger(__name__)


class Sendable(NamedTuple):
    """A blob and the parts of it to send."""

    digest: Digest
    size: int
    status: int
    parts: list[Extent]
    """The parts, mostly one; for HEAD nothing is sent."""
    file: BinaryIO | None = None
    """Opened at the start of the first part; None if nothing is sent in pieces."""
    data: bytes | None = None
    """The part itself, if it is small and the only one."""
    open: Callable[[int, int], BinaryIO] | None = None
    """Opens another part, given offset and length, if there are several. This blocks."""
    url: str = ""
    """Where the client gets it instead."""


def prepare(
    registry: Registry,
    name: str,
    digest: Digest,
    method: str,
    headers: MultiMapping[str],
    *,
    redirect: bool = False,
) -> Sendable:
    """Find and open a blob of a repository, as a request needs it. This blocks.

    With `redirect`, a request for its bytes is answered by a URL.

    Raises:
        BlobUnknown: the repository has no such blob, or the blob has lost its content.
        ApiError: a range is not satisfiable, or a condition failed.
        StoreError: it cannot be read.
    """
    stored = registry.layer(name, digest)
    entry = registry.blob(stored)
    # Reported as missing, so that clients push it again, which repairs it.
    if entry.kind is not FileKind.FILE:
        raise BlobUnknown(f"{digest} is damaged: no file is in its place")
    if entry.size == 0 and not stored.is_of_nothing:
        raise BlobUnknown(f"{digest} is damaged: its file is empty")
    whole = [Extent(0, entry.size)]
    if conditional.precondition_failed(headers, digest):
        raise ApiError("UNSUPPORTED", f"If-Match does not allow {digest}", status=412)
    if conditional.not_modified(headers, digest):
        return Sendable(digest, entry.size, 304, whole)
    if method == "HEAD":  # a range is a matter of GET alone
        return Sendable(digest, entry.size, 200, whole)
    if redirect:
        url = registry.store.signed_url(layout.blob_path(stored), _SIGNED_FOR)
        return Sendable(digest, entry.size, 307, whole, url=url)
    asked = conditional.extents(headers, entry.size, digest)
    status = 206 if asked else 200
    parts = asked or whole
    part = parts[0]
    file = registry.open_blob(stored, part.start, part.length)
    if part.length > SMALL or len(parts) > 1:
        opener = partial(registry.open_blob, stored)
        return Sendable(digest, entry.size, status, parts, file=file, open=opener)
    with file:
        data = _read(file, part.length)
    if len(data) < part.length:
        raise BlobUnknown(f"{digest} is shorter than when it was opened")
    return Sendable(digest, entry.size, status, parts, data=data)


def _read(file: BinaryIO, length: int) -> bytes:
    """Return the next `length` bytes; fewer at the end."""
    data = b""
    while len(data) < length and (piece := file.read(length - len(data))):
        data += piece
    return data


async def send(request: web.Request, blob: Sendable) -> web.StreamResponse:
    """Answer with a blob; `blob.file` is closed."""
    if blob.url:
        # Not to be kept: the URL is good for a while, and for whoever was let in.
        moved = {**VERSION_HEADER, "Location": blob.url, "Cache-Control": "no-store"}
        return web.Response(status=blob.status, headers=moved)
    headers = {
        **VERSION_HEADER,
        "Docker-Content-Digest": blob.digest,
        "ETag": conditional.etag(blob.digest),
        "Accept-Ranges": "bytes",
        "Cache-Control": _YEAR,
    }
    if len(blob.parts) > 1:
        return await _send_parts(request, blob, headers)
    (part,) = blob.parts
    if blob.status == 206:
        headers["Content-Range"] = part.content_range(blob.size)
    if blob.data is not None:
        return web.Response(
            body=blob.data, status=blob.status, headers=headers, content_type=CONTENT_TYPE
        )
    response = web.StreamResponse(status=blob.status, headers=headers)
    if blob.status != 304:
        response.content_type = CONTENT_TYPE
        response.content_length = part.length
    if blob.file is not None:
        with blob.file:
            await response.prepare(request)
            await _send_file(request, response, blob.file, part)
        await response.write_eof()
    return response


async def _send_parts(
    request: web.Request, blob: Sendable, headers: dict[str, str]
) -> web.StreamResponse:
    """Answer with several parts of a blob."""
    assert blob.file is not None and blob.open is not None
    boundary = secrets.token_hex(16)
    heads = [
        f"\r\n--{boundary}\r\nContent-Type: {CONTENT_TYPE}\r\n"
        f"Content-Range: {part.content_range(blob.size)}\r\n\r\n".encode()
        for part in blob.parts
    ]
    end = f"\r\n--{boundary}--\r\n".encode()
    response = web.StreamResponse(status=206, headers=headers)
    response.headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
    response.content_length = sum(map(len, [*heads, end])) + sum(p.length for p in blob.parts)
    with blob.file as first:
        await response.prepare(request)
        await response.write(heads[0])
        await _send_file(request, response, first, blob.parts[0])
    for head, part in zip(heads[1:], blob.parts[1:], strict=True):
        with await asyncio.to_thread(_opened, request, blob.open, part) as file:
            await response.write(head)
            await _send_file(request, response, file, part)
    await response.write_eof(end)
    return response


def _opened(request: web.Request, opener: Callable[[int, int], BinaryIO], part: Extent) -> BinaryIO:
    """Open a part.

    Raises:
        ConnectionError: it cannot be opened; the start of the answer has been sent.
    """
    try:
        return opener(part.start, part.length)
    except RegfsError as error:
        _log.warning("%s: could not be sent completely: %s", request.path, error)
        raise ConnectionAbortedError("the content cannot be read") from None


async def _send_file(
    request: web.Request, response: web.StreamResponse, file: BinaryIO, part: Extent
) -> None:
    """Send a part of a file.

    Raises:
        ConnectionError: the client has left, or the rest cannot be read: closing the
            connection tells the client.
    """
    try:
        if _descriptor(file) is None or request.transport is None or request.secure:
            sent = await _send_pieces(response, file, part.length)
        else:
            loop = asyncio.get_running_loop()
            sent = await loop.sendfile(request.transport, file, part.start, part.length)
    except (ConnectionError, TimeoutError):
        raise ConnectionAbortedError("the client has left") from None
    except (StoreError, OSError) as error:
        _log.warning("%s: could not be sent completely: %s", request.path, error)
        raise ConnectionAbortedError("the content cannot be read") from None
    if sent < part.length:
        _log.warning("%s: ended after %d bytes of %d", request.path, sent, part.length)
        raise ConnectionAbortedError("the content has ended too early")


def _descriptor(file: BinaryIO) -> int | None:
    try:
        return file.fileno()
    except (OSError, AttributeError):
        return None


async def _send_pieces(response: web.StreamResponse, file: BinaryIO, length: int) -> int:
    """Send up to `length` bytes of a file; return how many it had."""
    sent = 0
    piece = await asyncio.to_thread(file.read, min(PIECE, length))
    while piece:
        sent += len(piece)
        ahead = asyncio.create_task(asyncio.to_thread(file.read, min(PIECE, length - sent)))
        try:
            await response.write(piece)
        finally:
            # Always awaited: the file must not be closed while it is read.
            piece = await ahead
    return sent
