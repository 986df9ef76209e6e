"""Requests -> view models -> responses: the handlers of the page.

    /            repositories      /usage     who uses how much     /search   ?q=
    /r/<name>..  one of them       /reuse     what is shared        /refresh  POST
    /b/<digest>  a blob            /bases     what is built on what /paths    POST
                                   /findings  what is wrong         /static/
    /compare     two images        /gc        what gc would delete

Nothing here is below `/v2`, and nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from regfs.server.errors import ApiError
from regfs.server.keys import SETTINGS
from regfs.server.routes import path_in
from regfs.server.ui import addresses
from regfs.server.ui.addresses import PageAddress
from regfs.server.ui.layer_pages import LayerPages
from regfs.server.ui.page_maker import PATHS, PageMaker
from regfs.server.ui.request_targets import (
    Refusal,
    blob_of,
    in_repository,
    page_in,
    removable,
    repository_of,
    tag_of,
    text_in,
    whole,
)
from regfs.server.ui.responses import HEADERS, packed
from regfs.server.ui.snapshot import TagRemoval
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

YEAR: Final = 365 * 86_400
FOREVER: Final = "public, max-age=31536000, immutable"


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
    get("/compare", pages.compare)
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
        self._maker = PageMaker(app)
        self._inside = LayerPages(
            self._maker, app[SETTINGS].cache, patience=app[SETTINGS].limits.page_seconds
        )

    async def close(self, app: web.Application) -> None:
        """Stop reading the tree."""
        self._inside.close()
        self._maker.close()

    def refused(self, request: web.Request, refusal: Refusal) -> web.Response:
        """Return the page that explains an error."""
        return self._maker.refused(request, refusal)

    # -- pages ------------------------------------------------------------------

    async def home(self, request: web.Request) -> web.StreamResponse:
        """Answer `/`."""
        query, sort, number = text_in(request, "q"), text_in(request, "sort"), page_in(request)
        return await self._maker.page(
            request, "home.html", lambda look: repositories(look, query, sort, number)
        )

    async def below_repository(self, request: web.Request) -> web.StreamResponse:
        """Answer everything below `/r/`."""
        place = addresses.place_of(path_in(request.raw_path))
        if place is not None and place.part == "":
            query, sort, number = text_in(request, "q"), text_in(request, "sort"), page_in(request)
            return await self._maker.page(
                request,
                "repository.html",
                lambda look: repository(look, repository_of(look, place), query, sort, number),
            )
        if place is not None and place.part == addresses.RAW:
            return await self._maker.answered(request, lambda: self._raw(request, place))
        if place is not None and place.part == addresses.FILES:
            return await self._inside.files(request, place)
        if place is not None and place.part == addresses.DOCUMENTS:
            return await self._inside.documents(request, place)
        if place is not None and place.part == addresses.REMOVAL:
            return await self._maker.answered(request, lambda: self._removal(request, place))
        if place is not None and place.part in (addresses.TAGS, addresses.MANIFESTS):
            of = text_in(request, "of")
            return await self._maker.page(
                request, "image.html", lambda look: _image(look, place, of)
            )
        return await self._maker.answered(request, _missing)

    async def blob(self, request: web.Request) -> web.StreamResponse:
        """Answer everything below `/b/`."""
        text = addresses.blob_of(path_in(request.raw_path))
        return await self._maker.page(
            request, "blob.html", lambda look: blob(look, blob_of(look, text))
        )

    async def usage(self, request: web.Request) -> web.StreamResponse:
        """Answer `/usage`."""
        by, number = by_of(text_in(request, "by")), page_in(request)
        needs = [f"usage_{by.name.lower()}"]
        if by in SHARED_BY:
            needs.append(f"sharing_{by.name.lower()}")
        return await self._maker.page(
            request, "usage.html", lambda look: usage(whole(look), by, number), needs=needs
        )

    async def reuse(self, request: web.Request) -> web.StreamResponse:
        """Answer `/reuse`."""
        return await self._maker.page(request, "reuse.html", reuse, needs=["reuse"])

    async def bases(self, request: web.Request) -> web.StreamResponse:
        """Answer `/bases`."""
        query, number = text_in(request, "q"), page_in(request)
        return await self._maker.page(
            request, "bases.html", lambda look: lineage(look, query, number), needs=["bases"]
        )

    async def compare(self, request: web.Request) -> web.StreamResponse:
        """Answer `/compare`."""
        return await self._inside.compare(request)

    async def findings(self, request: web.Request) -> web.StreamResponse:
        """Answer `/findings`."""
        severity, number = text_in(request, "severity"), page_in(request)
        each = bool(text_in(request, "each"))
        return await self._maker.page(
            request,
            "findings.html",
            lambda look: findings(whole(look), severity, number, each=each),
            needs=["ledger"],
        )

    async def gc(self, request: web.Request) -> web.StreamResponse:
        """Answer `/gc`."""
        untagged, number = bool(text_in(request, "untagged")), page_in(request)
        return await self._maker.page(
            request,
            "gc.html",
            lambda look: collecting(whole(look), untagged, number),
            needs=["plan_untagged" if untagged else "plan"],
        )

    async def search(self, request: web.Request) -> web.StreamResponse:
        """Answer `/search`."""
        query = text_in(request, "q")
        return await self._maker.page(request, "search.html", lambda look: search(look, query))

    async def refresh(self, request: web.Request) -> web.StreamResponse:
        """Answer `/refresh`: read the tree again, and redirect back to the page."""
        back = _back(await request.post())

        async def answer() -> web.StreamResponse:
            await self._maker.snapshots.get(fresh=True)
            return _redirect(back)

        return await self._maker.answered(request, answer)

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
        asset = self._maker.assets.get(request.match_info["name"])
        if asset is None:
            return await self._maker.answered(request, _missing)
        headers = {"ETag": f'W/"{asset.version}"'}
        if request.query.get("v") == asset.version:
            headers["Cache-Control"] = FOREVER
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return web.Response(status=304, headers={**HEADERS, **headers})
        response = packed(request, asset.body, asset.content_type)
        response.headers.update(headers)
        return response

    async def _raw(self, request: web.Request, place: PageAddress) -> web.StreamResponse:
        """Return the bytes of a manifest or config as plain text."""
        snapshot = await self._maker.snapshots.get(patience=60.0)
        if snapshot is None:
            raise Refusal(503, "Not yet", "The tree is still being read; ask again in a minute.")

        def read() -> web.Response:
            look = self._maker.look(request, snapshot)
            digest = in_repository(look, repository_of(look, place), place.reference, configs=True)
            return packed(request, snapshot.registry.manifest_bytes(digest), "text/plain")

        return await self._maker.in_turn(request, read)

    async def _removal(self, request: web.Request, place: PageAddress) -> web.StreamResponse:
        """Answer what removing a tag would free, which takes a moment to work out."""
        of = TagRemoval(place.name, place.reference)
        snapshot = await self._maker.snapshots.get()
        if snapshot is not None:
            removable(self._maker.look(request, snapshot), place)

        def view(look: Look) -> Any:
            removable(look, place)
            return removing(look, of)

        needs = [] if snapshot is None else [of]
        return await self._maker.page(request, "removal.html", view, needs=needs)


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


def _image(look: Look, place: PageAddress, of: str) -> Any:
    one = repository_of(look, place)
    if place.part == addresses.MANIFESTS:
        digest = in_repository(look, one, place.reference)
        return image(look, one.name, None, digest, of)
    info = tag_of(one, place)
    if info.current is None:
        why = info.problem.value if info.problem else "it has no current link"
        raise Refusal(404, "Not found", f"The tag {place.reference} points to nothing: {why}")
    return image(look, one.name, place.reference, info.current, of)


_PAGES: Final = web.AppKey("pages", _Pages)
