"""What a writable server does in the background: it deletes old uploads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

from aiohttp import web

from regfs.errors import RegfsError
from regfs.push.expiry import Expiry
from regfs.render.tables import plural
from regfs.server.keys import SETTINGS, UPLOADS
from regfs.units import human_size, written

_PAUSE: Final = 3600.0
"""Seconds between two checks of all uploads."""

_log = logging.getLogger(__name__)


async def expiring(app: web.Application) -> AsyncIterator[None]:
    """Delete old uploads while the application runs."""
    age = app[SETTINGS].expire_uploads
    if age is None or not app[SETTINGS].writable:
        yield
        return
    work = asyncio.get_running_loop().create_task(_expire(Expiry(app[UPLOADS], age), age))
    yield
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work


async def _expire(expiry: Expiry, age: float) -> None:
    doubt = ""
    while True:
        try:
            found = await asyncio.to_thread(expiry.round)
        except RegfsError as error:
            _log.warning("old uploads could not be looked for: %s", error)
        else:
            if found.uploads:
                _log.info(
                    "%s, %s, were deleted: idle for %s",
                    plural(found.uploads, "upload"),
                    human_size(found.bytes),
                    written(age),
                )
            if found.doubt and found.doubt != doubt:
                _log.warning("no uploads deleted: %s", found.doubt)
            doubt = found.doubt
        await asyncio.sleep(min(_PAUSE, age / 2))
