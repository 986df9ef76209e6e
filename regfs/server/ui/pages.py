"""Requests -> view models -> responses: the handlers of the page.

    /            repositories      /usage     who uses how much     /search   ?q=
    /r/<name>..  one of them       /reuse     what is shared        /refresh  POST
    /b/<digest>  a blob            /bases     what is built on what /paths    POST
                                   /findings  what is wrong         /static/
                                   /gc        what gc would delete

Each page waits a moment for a snapshot of the tree. If that takes longer, the page says so and
reloads by itself. Nothing here is below `/v2`, and nothing here changes anything.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from regfs import __version__
from regfs.digest import Digest
from regfs.errors import DigestInvalid, RegfsError, Unknown
from regfs.manifests import Role
from regfs.server.auth import GATE, USER
from regfs.server.errors import ApiError, as_api_error
from regfs.server.keys import MAY, REGISTRY, SETTINGS
from regfs.server.lines import FairQueue, LineFull, client_of
from regfs.server.routes import Verb, path_in
from regfs.server.ui import addresses
from regfs.server.ui.addresses import PageAddress
from regfs.server.ui.packing import HEADERS, packed
from regfs.server.ui.snapshot import Report, Snapshot, TagRemoval
from regfs.server.ui.snapshots import Snapshots
from regfs.server.ui.templating import assets, environment
from regfs.server.ui.views.blob import blob
from regfs.server.ui.views.collecting import collecting
from regfs.server.ui.views.findings import findings
from regfs.server.ui.views.image import image
from regfs.server.ui.views.lineage import lineage
from regfs.server.ui.views.parts import Look
from regfs.server.ui.views.removing import removing
from regfs.server.ui.views.repositories import repositories
from regfs.server.ui.views.repository import repository
from regfs.server.ui.views.reuse import reuse
from regfs.server.ui.views.search import search
from regfs.server.ui.views.usage import SHARED_BY, by_of, usage
from regfs.tree.inventory import RepositoryInventory, TagInfo

_log = logging.getLogger(__name__)

_HOST = re.compile(r"[A-Za-z0-9.:\[\]_-]+")
"""Hosts that are safe in a command that people copy."""
PATHS: Final = "regfs-paths"
"""The cookie of a browser that shows paths on the disk."""
YEAR: Final = 365 * 86_400
FOREVER: Final = "public, max-age=31536000, immutable"
THREADS: Final = 1
"""Threads that make pages, separate from those of the API. Two would not be faster: making a
page is computing, and they would slow each other and pulls down."""


WAITING: Final = 32
"""Pages of one client that are being made or wait. Each client has its own queue."""


@dataclass
class Refusal(Exception):
    """A page that does not exist, or that this user may not see."""

    status: int
    title: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


Make = Callable[[Look], Any]


def page_of_error(request: web.Request, error: ApiError | web.HTTPException) -> web.Response:
    """Return a page that explains why a request failed."""
    if isinstance(error, ApiError):
        message, headers = str(error), error.headers
    else:
        kept = {name: error.headers[name] for name in _KEPT if name in error.headers}
        message, headers = _MESSAGES.get(error.status, error.reason), kept
    title = _TITLES.get(error.status, "This cannot be answered")
    return request.app[_PAGES].refused(request, Refusal(error.status, title, message, headers))


_KEPT: Final = ("Allow",)
_TITLES: Final = {
    401: "A password is needed",
    403: "Not for you",
    404: "Not found",
    405: "This cannot be done here",
    413: "Too large",
    429: "Too much at once",
}
_MESSAGES: Final = {404: "There is no such page.", 405: "This page is read-only."}


def add_pages(app: web.Application) -> None:
    """Add the page to an application."""
    pages = app[_PAGES] = _Pages(app)
    get = app.router.add_get
    get("/", pages.home)
    get("/r/{tail:.+}", pages.below_repository)
    get("/b/{digest:.+}", pages.blob)
    get("/usage", pages.usage)
    get("/reuse", pages.reuse)
    get("/bases", pages.bases)
    get("/findings", pages.findings)
    get("/gc", pages.gc)
    get("/search", pages.search)
    get("/login", pages.login)
    get("/static/{name}", pages.static)
    app.router.add_post("/refresh", pages.refresh)
    app.router.add_post("/paths", pages.paths)
    app.on_cleanup.append(pages.close)


class _Pages:
    """The handlers of one application."""

    def __init__(self, app: web.Application) -> None:
        self._snapshots = Snapshots(app[REGISTRY])
        self._root = app[REGISTRY].store.url
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="regfs-view")
        self._lines = FairQueue(THREADS)
        self._assets = assets()
        self._environment = environment(self._assets)

    async def close(self, app: web.Application) -> None:
        """Stop reading the tree."""
        self._snapshots.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    # -- pages ------------------------------------------------------------------

    async def home(self, request: web.Request) -> web.StreamResponse:
        """Answer `/`."""
        query, sort, number = _text(request, "q"), _text(request, "sort"), _number(request)
        return await self._page(
            request, "home.html", lambda look: repositories(look, query, sort, number)
        )

    async def below_repository(self, request: web.Request) -> web.StreamResponse:
        """Answer everything below `/r/`."""
        place = addresses.place_of(path_in(request.raw_path))
        if place is not None and place.part == "":
            query, sort, number = _text(request, "q"), _text(request, "sort"), _number(request)
            return await self._page(
                request,
                "repository.html",
                lambda look: repository(look, _repository(look, place), query, sort, number),
            )
        if place is not None and place.part == addresses.RAW:
            return await self._answered(request, lambda: self._raw(request, place))
        if place is not None and place.part == addresses.REMOVAL:
            return await self._answered(request, lambda: self._removal(request, place))
        if place is not None and place.part in (addresses.TAGS, addresses.MANIFESTS):
            of = _text(request, "of")
            return await self._page(request, "image.html", lambda look: _image(look, place, of))
        return await self._answered(request, _missing)

    async def blob(self, request: web.Request) -> web.StreamResponse:
        """Answer everything below `/b/`."""
        text = addresses.blob_of(path_in(request.raw_path))
        return await self._page(request, "blob.html", lambda look: blob(look, _blob(look, text)))

    async def usage(self, request: web.Request) -> web.StreamResponse:
        """Answer `/usage`."""
        by, number = by_of(_text(request, "by")), _number(request)
        needs = [f"usage_{by.name.lower()}"]
        if by in SHARED_BY:
            needs.append(f"sharing_{by.name.lower()}")
        return await self._page(
            request, "usage.html", lambda look: usage(_whole(look), by, number), needs=needs
        )

    async def reuse(self, request: web.Request) -> web.StreamResponse:
        """Answer `/reuse`."""
        return await self._page(request, "reuse.html", reuse, needs=["reuse"])

    async def bases(self, request: web.Request) -> web.StreamResponse:
        """Answer `/bases`."""
        query, number = _text(request, "q"), _number(request)
        return await self._page(
            request, "bases.html", lambda look: lineage(look, query, number), needs=["bases"]
        )

    async def findings(self, request: web.Request) -> web.StreamResponse:
        """Answer `/findings`."""
        severity, number = _text(request, "severity"), _number(request)
        each = bool(_text(request, "each"))
        return await self._page(
            request,
            "findings.html",
            lambda look: findings(_whole(look), severity, number, each=each),
            needs=["ledger"],
        )

    async def gc(self, request: web.Request) -> web.StreamResponse:
        """Answer `/gc`."""
        untagged, number = bool(_text(request, "untagged")), _number(request)
        return await self._page(
            request,
            "gc.html",
            lambda look: collecting(_whole(look), untagged, number),
            needs=["plan_untagged" if untagged else "plan"],
        )

    async def search(self, request: web.Request) -> web.StreamResponse:
        """Answer `/search`."""
        query = _text(request, "q")
        return await self._page(request, "search.html", lambda look: search(look, query))

    async def refresh(self, request: web.Request) -> web.StreamResponse:
        """Answer `/refresh`: read the tree again, and redirect back to the page."""
        back = _back(await request.post())

        async def answer() -> web.StreamResponse:
            await self._snapshots.get(fresh=True)
            return _redirect(back)

        return await self._answered(request, answer)

    async def paths(self, request: web.Request) -> web.StreamResponse:
        """Answer `/paths`: show paths on the disk, or hide them, in this browser."""
        form = await request.post()
        response = _redirect(_back(form))
        if form.get("show"):
            response.set_cookie(PATHS, "1", max_age=YEAR, httponly=True, samesite="Strict")
        else:
            response.del_cookie(PATHS)
        return response

    async def login(self, request: web.Request) -> web.StreamResponse:
        """Answer `/login`, which needs a password: redirect to the first page."""
        return _redirect("/")

    async def static(self, request: web.Request) -> web.StreamResponse:
        """Answer `/static/`."""
        asset = self._assets.get(request.match_info["name"])
        if asset is None:
            return await self._answered(request, _missing)
        headers = {"ETag": f'W/"{asset.version}"'}
        if request.query.get("v") == asset.version:
            headers["Cache-Control"] = FOREVER
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return web.Response(status=304, headers={**HEADERS, **headers})
        response = packed(request, asset.body, asset.content_type)
        response.headers.update(headers)
        return response

    # -- how a page is made ----------------------------------------------------------

    async def _page(
        self, request: web.Request, template: str, make: Make, *, needs: Iterable[Report] = ()
    ) -> web.StreamResponse:
        async def answer() -> web.StreamResponse:
            snapshot = await self._snapshots.get(needs)
            if snapshot is None:
                text = self._html(request, "waiting.html", doing=self._snapshots.doing)
                return _response(request, text, 202)

            def render() -> web.Response:
                look = self._look(request, snapshot)
                return _response(request, self._html(request, template, look, view=make(look)))

            return await self._in_turn(request, render)

        return await self._answered(request, answer)

    async def _removal(self, request: web.Request, place: PageAddress) -> web.StreamResponse:
        """Answer what removing a tag would free, which takes a moment to work out."""
        of = TagRemoval(place.name, place.reference)
        snapshot = await self._snapshots.get()
        if snapshot is not None:
            _removable(self._look(request, snapshot), place)

        def view(look: Look) -> Any:
            _removable(look, place)
            return removing(look, of)

        needs = [] if snapshot is None else [of]
        return await self._page(request, "removal.html", view, needs=needs)

    async def _answered(
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

    def refused(self, request: web.Request, refusal: Refusal) -> web.Response:
        """Return the page that explains an error."""
        text = self._html(request, "problem.html", problem=refusal)
        response = _response(request, text, refusal.status)
        response.headers.update(refusal.headers)
        return response

    async def _raw(self, request: web.Request, place: PageAddress) -> web.StreamResponse:
        """Return the bytes of a manifest or config as plain text."""
        snapshot = await self._snapshots.get(patience=60.0)
        if snapshot is None:
            raise Refusal(503, "Not yet", "The tree is still being read; ask again in a minute.")

        def read() -> web.Response:
            look = self._look(request, snapshot)
            digest = _in_repository(look, _repository(look, place), place.reference, configs=True)
            return packed(request, snapshot.registry.manifest_bytes(digest), "text/plain")

        return await self._in_turn(request, read)

    def _look(self, request: web.Request, snapshot: Snapshot) -> Look:
        may = request.app[MAY]
        return Look(snapshot, lambda name: may(request, Verb.READ, name))

    async def _in_turn(
        self, request: web.Request, make: Callable[[], web.Response]
    ) -> web.Response:
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

    def _html(
        self, request: web.Request, template: str, look: Look | None = None, **context: Any
    ) -> str:
        path = path_in(request.raw_path)
        back = f"{path}?{request.query_string}" if request.query_string else path
        return self._environment.get_template(template).render(
            here="/" + path[1:].partition("/")[0],
            back=back if request.method in ("GET", "HEAD") else "/",
            asked=_text(request, "q") if path == "/search" else "",
            host=request.host if _HOST.fullmatch(request.host) else "HOST",
            paths=PATHS in request.cookies,
            writable=request.app[SETTINGS].writable,
            root=self._root if look is not None and _knows(request, look) else "",
            can_log_in=_is_unknown(request),
            version=__version__,
            snapshot=None if look is None else look.snapshot,
            renewing=self._snapshots.renewing,
            **context,
        )


def _is_unknown(request: web.Request) -> bool:
    """Return whether the server has passwords and the request has none."""
    return GATE in request.app and USER not in request


def _knows(request: web.Request, look: Look) -> bool:
    """Return whether the sender of a request may know where on the disk the tree is."""
    return look.everything and not _is_unknown(request)


def _response(request: web.Request, text: str, status: int = 200) -> web.Response:
    # Invalid UTF-8 is escaped already; a surrogate that is left must not make the page fail.
    return packed(request, text.encode("utf-8", "backslashreplace"), "text/html", status)


def _redirect(to: str) -> web.Response:
    return web.Response(status=303, headers={**HEADERS, "Location": to})


def _back(form: Mapping[str, Any]) -> str:
    """Return the page of this server that a form was on."""
    back = str(form.get("back", "/"))
    # `//elsewhere` would be another server.
    outside = not back.startswith("/") or back.startswith(("//", "/\\")) or not back.isprintable()
    return "/" if outside else back


async def _missing() -> web.StreamResponse:
    raise Refusal(404, "Not found", "There is no such page.")


def _text(request: web.Request, name: str) -> str:
    return request.query.get(name, "")[:1000]


def _number(request: web.Request) -> int:
    text = request.query.get("page", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 1


# -- what is asked for, and whether it may be shown -------------------------------------


def _repository(look: Look, place: PageAddress) -> RepositoryInventory:
    one = look.repository(place.name)
    if one is None:
        raise Refusal(404, "Not found", f"No such repository: {place.name}")
    return one


def _image(look: Look, place: PageAddress, of: str) -> Any:
    one = _repository(look, place)
    if place.part == addresses.MANIFESTS:
        digest = _in_repository(look, one, place.reference)
        return image(look, one.name, None, digest, of)
    info = _tag(one, place)
    if info.current is None:
        why = info.problem.value if info.problem else "it has no current link"
        raise Refusal(404, "Not found", f"The tag {place.reference} points to nothing: {why}")
    return image(look, one.name, place.reference, info.current, of)


def _tag(one: RepositoryInventory, place: PageAddress) -> TagInfo:
    info = one.tags.get(place.reference)
    if info is None:
        raise Refusal(404, "Not found", f"No such tag: {one.name}:{place.reference}")
    return info


def _removable(look: Look, place: PageAddress) -> None:
    """Check that a tag is there, and that all that it shares may be shown."""
    _tag(_repository(_whole(look), place), place)


def _in_repository(
    look: Look, one: RepositoryInventory, text: str, *, configs: bool = False
) -> Digest:
    """Return a digest that is a manifest of a repository, or one of their configs."""
    digest, graph = _digest(text), look.snapshot.graph
    if look.has(one.name, digest) and (
        (digest in graph.manifests and digest not in graph.problems)
        or digest in graph.named(one)
        or (configs and _is_config(look, one, digest))
    ):
        return digest
    raise Refusal(404, "Not found", f"No such manifest in {one.name}: {text}")


def _is_config(look: Look, one: RepositoryInventory, digest: Digest) -> bool:
    """Return whether a manifest of a repository has a blob as its config."""
    graph = look.snapshot.graph
    return any(
        leaf.digest == digest and leaf.role is Role.CONFIG
        for holder in graph.manifests_naming(digest)
        if look.has(one.name, holder)
        for leaf in graph.leaves(holder)
    )


def _blob(look: Look, text: str) -> Digest:
    digest = _digest(text)
    snapshot = look.snapshot
    graph = snapshot.graph
    known = (
        digest in snapshot.inventory.blobs
        or graph.predecessors(digest)
        or graph.manifests_naming(digest)
    )
    if not known or not look.holds(digest):
        raise Refusal(404, "Not found", f"No such blob: {text}")
    return digest


def _digest(text: str) -> Digest:
    try:
        return Digest.parse(text)
    except DigestInvalid as error:
        raise Refusal(404, "Not found", str(error)) from None


def _whole(look: Look) -> Look:
    """Return a look that sees everything, for pages with totals over everything."""
    if look.everything:
        return look
    raise Refusal(
        403,
        "Not for you",
        "This page adds up all repositories, and there are some that you may not read.",
    )


_PAGES: Final = web.AppKey("pages", _Pages)
