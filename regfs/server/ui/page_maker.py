"""How a page is made: a snapshot, a turn in the thread of pages, a view model, a template.

Each page waits a moment for a snapshot of the tree. If that takes longer, the page says so and
reloads by itself.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from aiohttp import web

from regfs import __version__
from regfs.errors import RegfsError, Unknown
from regfs.server.auth import GATE, USER
from regfs.server.errors import as_api_error
from regfs.server.keys import MAY, REGISTRY, SETTINGS
from regfs.server.lines import FairQueue, LineFull, client_of
from regfs.server.routes import Verb, path_in
from regfs.server.ui.request_targets import Refusal, text_in
from regfs.server.ui.responses import packed
from regfs.server.ui.snapshot import Report, Snapshot
from regfs.server.ui.snapshots import Snapshots
from regfs.server.ui.templating import assets, environment
from regfs.server.ui.views.parts import Look

_log = logging.getLogger(__name__)

_HOST = re.compile(r"[A-Za-z0-9.:\[\]_-]+")
"""Hosts that are safe in a command that people copy."""
PATHS: Final = "regfs-paths"
"""The cookie of a browser that shows paths on the disk."""
THREADS: Final = 1
"""Threads that make pages, separate from those of the API. Two would not be faster: making a
page is computing, and they would slow each other and pulls down."""


WAITING: Final = 32
"""Pages of one client that are being made or wait. Each client has its own queue."""


Make = Callable[[Look], Any]


class PageMaker:
    """Makes the pages of one application."""

    def __init__(self, app: web.Application) -> None:
        self.snapshots = Snapshots(app[REGISTRY], patience=app[SETTINGS].limits.page_seconds)
        self.assets = assets()
        self._root = app[REGISTRY].store.url
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="regfs-view")
        self._lines = FairQueue(THREADS)
        self._environment = environment(self.assets)

    def close(self) -> None:
        """Stop reading the tree."""
        self.snapshots.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def page(
        self, request: web.Request, template: str, make: Make, *, needs: Iterable[Report] = ()
    ) -> web.StreamResponse:
        """Answer with a page that is made of a snapshot, or with one that waits for it."""

        async def answer() -> web.StreamResponse:
            snapshot = await self.snapshots.get(needs)
            if snapshot is None:
                return self.waiting(request, self.snapshots.doing)

            def render() -> web.Response:
                look = self.look(request, snapshot)
                return page_response(request, self.html(request, template, look, view=make(look)))

            return await self.in_turn(request, render)

        return await self.answered(request, answer)

    async def answered(
        self, request: web.Request, answer: Callable[[], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Return the answer, or a page that explains the error."""
        try:
            return await answer()
        except Refusal as error:
            refusal = error
        except RegfsError as error:
            title = "Not found" if isinstance(error, Unknown) else "This cannot be shown"
            refusal = Refusal(as_api_error(error).status, title, str(error))
        except Exception:
            _log.exception("%s %s", request.method, request.raw_path)
            refusal = Refusal(500, "Something went wrong", "The log of the server has more.")
        return self.refused(request, refusal)

    def waiting(
        self, request: web.Request, doing: str, title: str = "The tree is being read"
    ) -> web.Response:
        """Return the page that says what is going on, and comes again."""
        text = self.html(request, "waiting.html", doing=doing, title=title)
        return page_response(request, text, 202)

    def refused(self, request: web.Request, refusal: Refusal) -> web.Response:
        """Return the page that explains an error."""
        text = self.html(request, "problem.html", problem=refusal)
        response = page_response(request, text, refusal.status)
        response.headers.update(refusal.headers)
        return response

    def look(self, request: web.Request, snapshot: Snapshot) -> Look:
        """Return a snapshot as the sender of a request may see it."""
        may = request.app[MAY]
        return Look(snapshot, lambda name: may(request, Verb.READ, name))

    async def in_turn(self, request: web.Request, make: Callable[[], web.Response]) -> web.Response:
        """Make a page in a thread, when it is the client's turn."""
        client = request.get(USER) or client_of(request)
        try:
            async with self._lines.turn(client, longest=WAITING):
                return await asyncio.get_running_loop().run_in_executor(self._threads, make)
        except LineFull:
            raise Refusal(
                429,
                "Too much at once",
                f"{WAITING} pages of yours are being made; ask again when they are there.",
                {"Retry-After": "2"},
            ) from None

    def html(
        self, request: web.Request, template: str, look: Look | None = None, **context: Any
    ) -> str:
        """Return a page as text; `look` is None where it shows nothing of the tree."""
        path = path_in(request.raw_path)
        back = f"{path}?{request.query_string}" if request.query_string else path
        return self._environment.get_template(template).render(
            here="/" + path[1:].partition("/")[0],
            back=back if request.method in ("GET", "HEAD") else "/",
            asked=text_in(request, "q") if path == "/search" else "",
            host=request.host if _HOST.fullmatch(request.host) else "HOST",
            paths=PATHS in request.cookies,
            writable=request.app[SETTINGS].writable,
            root=self._root if look is not None and _knows(request, look) else "",
            can_log_in=_is_unknown(request),
            version=__version__,
            snapshot=None if look is None else look.snapshot,
            renewing=self.snapshots.renewing,
            **context,
        )


def _is_unknown(request: web.Request) -> bool:
    """Return whether the server has passwords and the request has none."""
    return GATE in request.app and USER not in request


def _knows(request: web.Request, look: Look) -> bool:
    """Return whether the sender of a request may know where on the disk the tree is."""
    return look.everything and not _is_unknown(request)


def page_response(request: web.Request, text: str, status: int = 200) -> web.Response:
    """Return the response that has a page."""
    # Invalid UTF-8 is escaped already; a surrogate that is left must not make the page fail.
    return packed(request, text.encode("utf-8", "backslashreplace"), "text/html", status)
