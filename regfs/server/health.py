"""`/healthz`: whether the tree can be listed now."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web

from regfs import layout
from regfs.errors import RegfsError
from regfs.findings import Finding
from regfs.server.api.paged import json_response
from regfs.tree.registry import Registry

FRESH_FOR = 1.0
"""Seconds for which an answer is remembered, so that the disk is asked once a second."""
TIMEOUT = 5.0
"""Seconds that the disk may take."""

_log = logging.getLogger(__name__)


class Health:
    """Checks whether the tree is there."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._looking: asyncio.Future[str] | None = None
        self._problem = ""
        self._until = 0.0
        self._was_there = False

    async def page(self, request: web.Request) -> web.Response:
        """Answer 200 or 503; the reason is only in the log, because anybody may ask."""
        problem = await self._fresh()
        status = {"status": "unavailable"} if problem else {"status": "ok"}
        return json_response(status, {"Cache-Control": "no-store"}, 503 if problem else 200)

    async def _fresh(self) -> str:
        loop = asyncio.get_running_loop()
        if loop.time() < self._until:
            return self._problem
        # A disk that hangs blocks one thread, however many requests there are.
        looking = self._looking
        if looking is None:
            looking = self._looking = loop.run_in_executor(None, self._look)
        done, _ = await asyncio.wait({looking}, timeout=TIMEOUT)
        problem = "the storage does not answer"
        if done:
            problem = looking.result()
            self._looking, self._until = None, loop.time() + FRESH_FOR
        if problem and problem != self._problem:
            _log.warning("not healthy: %s", problem)
        self._problem = problem
        return problem

    def _look(self) -> str:
        found: list[Finding] = []
        try:
            folders = self._registry.store.subfolders(layout.PREFIX, found.append)
        except RegfsError as error:
            return str(error)
        if found:
            return str(found[0])
        there = folders is None or bool(folders)
        if self._was_there and not there:
            return f"{layout.PREFIX} is gone"
        self._was_there = there
        return ""
