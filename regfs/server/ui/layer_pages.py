"""What is inside images: pages that read layers, in the thread of jobs.

    /r/<name>/_files/<digest>/<path>      a folder or file; ?layer=2: what that layer did
    /r/<name>/_documents/<digest>         what documents say about an image
    /r/<name>/_documents/<digest>/<one>   one of them: its packages, its text
    /compare?a=app:v1&b=app:v2            what differs between two images

What a page may show is decided before anything is read, with the snapshot, and a layer is read
only if the repository itself has it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from aiohttp import web

from regfs.content.cache import Cache
from regfs.content.entries import EntryKind
from regfs.digest import Digest
from regfs.errors import TooManyEntries
from regfs.files.changes import Placed
from regfs.manifests import Kind
from regfs.reports.attestations import ReadDocument
from regfs.reports.diff import DiffReport
from regfs.server.auth import USER
from regfs.server.lines import LineFull, client_of
from regfs.server.ui.addresses import PageAddress
from regfs.server.ui.comparing import check_comparable, compare
from regfs.server.ui.documents import OpenDocument, OpenDocuments, open_document, open_documents
from regfs.server.ui.image_files import (
    FileStart,
    LayerEffects,
    NotOwn,
    OutOfReach,
    PageImage,
    check_own,
    file_start,
    layer_changes,
    open_image,
)
from regfs.server.ui.jobs import Deadline, Jobs, TakesTooLong, Work
from regfs.server.ui.page_maker import PageMaker, page_response
from regfs.server.ui.request_targets import (
    Refusal,
    in_repository,
    page_in,
    repository_of,
    target_in,
    text_in,
)
from regfs.server.ui.snapshot import Snapshot
from regfs.server.ui.views.comparing import comparison, nothing
from regfs.server.ui.views.documents import document, documents
from regfs.server.ui.views.files import FilesPlace, FilesView, file, folder
from regfs.server.ui.views.repository import kind_of


class NotYet(Exception):
    """Work for a page goes on: the page says so and comes again."""


class LayerPages:
    """The handlers of pages that read layers and documents."""

    def __init__(self, maker: PageMaker, cache: Cache | None, *, patience: float) -> None:
        self._maker = maker
        self._cache = cache
        self._jobs = Jobs(patience=patience)

    def close(self) -> None:
        """Stop reading."""
        self._jobs.close()

    async def files(self, request: web.Request, address: PageAddress) -> web.StreamResponse:
        """Answer a folder or file of an image."""
        return await self._answered(request, partial(self._files, request, address))

    async def documents(self, request: web.Request, address: PageAddress) -> web.StreamResponse:
        """Answer what documents say about an image, or one of them."""
        return await self._answered(request, partial(self._documents, request, address))

    async def _files(
        self, request: web.Request, address: PageAddress, snapshot: Snapshot
    ) -> web.StreamResponse:
        text, _, path = address.reference.partition("/")
        look = self._maker.look(request, snapshot)
        digest = in_repository(look, repository_of(look, address), text)
        if kind_of(snapshot.graph, digest) == Kind.INDEX:  # its entries need not be in it
            raise Refusal(404, "Not found", "An index has no files; its images have.")
        place = FilesPlace(address.name, digest, path.rstrip("/"), _layer(request))
        image: PageImage = await self._job(
            request,
            ("image", place.name, place.digest),
            partial(_opened, snapshot, place, self._cache),
            lambda image: not image.findings,
        )
        check_own(image.files, partial(snapshot.own.has, place.name))
        changes: LayerEffects | None = None
        if place.layer is not None:
            if place.layer >= len(image.files.layers):
                raise Refusal(404, "Not found", f"It has {len(image.files.layers)} layers.")
            changes = await self._job(
                request,
                ("changes", place.name, place.digest, place.layer),
                partial(_compared, image, place.layer),
            )
        placed, start = _found(image, changes, place), None
        if placed is not None and placed.entry.kind in (EntryKind.FILE, EntryKind.HARDLINK):
            where = placed.layer, placed.entry.position
            start = await self._job(
                request,
                ("start", place.name, place.digest, *where),
                partial(_started, image, placed),
            )
        view = partial(_view, place, image, changes, placed, start, page_in(request))
        return await self._shown(request, snapshot, "files.html", view)

    async def _documents(
        self, request: web.Request, address: PageAddress, snapshot: Snapshot
    ) -> web.StreamResponse:
        text, _, one = address.reference.partition("/")
        look = self._maker.look(request, snapshot)
        digest = in_repository(look, repository_of(look, address), text)
        name = address.name
        found: OpenDocuments = await self._job(
            request,
            ("documents", name, digest),
            lambda doing: (open_documents(snapshot, name, digest, doing), 1000),
            lambda found: not any(one.problem for one in found.documents),
        )
        if not one:
            view = partial(documents, name, digest, found)
            return await self._shown(request, snapshot, "documents.html", view)
        chosen = next((each for each in found.documents if each.document.digest == one), None)
        if chosen is None or not look.has(name, Digest(one)):
            raise Refusal(404, "Not found", f"No such document about {digest}: {one}")
        opened: OpenDocument = await self._job(
            request,
            ("document", name, one),
            lambda doing: _document(snapshot, chosen, doing),
            lambda opened: not opened.read.problem and bool(opened.text),
        )
        shown = partial(document, name, digest, opened, page_in(request))
        return await self._shown(request, snapshot, "document.html", shown)

    async def compare(self, request: web.Request) -> web.StreamResponse:
        """Answer `/compare`."""
        return await self._answered(request, partial(self._compare, request))

    async def _compare(self, request: web.Request, snapshot: Snapshot) -> web.StreamResponse:
        asked = text_in(request, "a"), text_in(request, "b")
        if not all(asked):
            return await self._shown(request, snapshot, "compare.html", partial(nothing, asked))
        look = self._maker.look(request, snapshot)
        before, after = target_in(look, asked[0]), target_in(look, asked[1])
        for one in (before, after):
            check_comparable(snapshot, one, everything=look.everything)
        report: DiffReport = await self._job(
            request,
            ("difference", before, after),
            lambda doing: _weighed(compare(snapshot, before, after, self._cache, doing)),
            lambda report: not report.problems,
        )
        view = partial(comparison, asked, (before, after), report, page_in(request))
        return await self._shown(request, snapshot, "compare.html", view)

    # -- how such a page is made ------------------------------------------------------------

    async def _answered(
        self,
        request: web.Request,
        make: Callable[[Snapshot], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """Answer with a page that reads, or with one that waits for it."""

        async def answer() -> web.StreamResponse:
            snapshot = await self._maker.snapshots.get()
            if snapshot is None:
                return self._maker.waiting(request, self._maker.snapshots.doing)
            try:
                return await make(snapshot)
            except NotYet:
                return self._maker.waiting(request, self._jobs.doing, "This is being read")
            except (TakesTooLong, TooManyEntries, OutOfReach) as error:
                more = "the command line has no such limits"
                raise Refusal(422, "Too much for a page", f"{error}; {more}.") from None
            except NotOwn as error:
                raise Refusal(404, "Not found", str(error)) from None

        return await self._maker.answered(request, answer)

    async def _shown(
        self, request: web.Request, snapshot: Snapshot, template: str, view: Callable[[], object]
    ) -> web.StreamResponse:
        def render() -> web.Response:
            look = self._maker.look(request, snapshot)
            return page_response(request, self._maker.html(request, template, look, view=view()))

        return await self._maker.in_turn(request, render)

    async def _job(
        self,
        request: web.Request,
        key: tuple[object, ...],
        work: Work,
        lasts: Callable[[Any], bool] = lambda value: True,
    ) -> Any:
        """Return the result of some work.

        Raises:
            NotYet: it is not there yet.
        """
        client = request.get(USER) or client_of(request)
        try:
            found = await self._jobs.get(client, key, work, lasts=lasts)
        except LineFull:
            raise Refusal(
                429,
                "Too much at once",
                "Several images of yours are being read; ask again when they are there.",
                {"Retry-After": "5"},
            ) from None
        if found is None:
            raise NotYet
        return found


def _opened(
    snapshot: Snapshot, place: FilesPlace, cache: Cache | None, doing: Deadline
) -> tuple[PageImage, int]:
    has = partial(snapshot.own.has, place.name)
    image = open_image(snapshot.registry, place.name, place.digest, has, doing, cache)
    return image, image.entries + 1


def _compared(image: PageImage, layer: int, doing: Deadline) -> tuple[LayerEffects, int]:
    changes = layer_changes(image, layer, doing)
    return changes, len(changes) + 1


def _started(image: PageImage, placed: Placed, doing: Deadline) -> tuple[FileStart, int]:
    return file_start(image, placed, doing), 1000


def _weighed(report: DiffReport) -> tuple[DiffReport, int]:
    return report, 1000 + sum(len(one.files.changes) for one in report.images if one.files)


def _document(
    snapshot: Snapshot, chosen: ReadDocument, doing: Deadline
) -> tuple[OpenDocument, int]:
    opened = open_document(snapshot, chosen, doing)
    return opened, len(opened.packages) + 1000


def _found(image: PageImage, changes: LayerEffects | None, place: FilesPlace) -> Placed | None:
    """Return the file that a page is about; None if it is a folder.

    Of a layer, that is what it has left, though a later one may have removed it.
    """
    path = place.path
    if changes is not None and changes.has(path):
        change = changes.get(path)
        placed = None if change is None else change.after
        return None if placed is None or placed.entry.kind is EntryKind.FOLDER else placed
    placed = image.merged.get(path)
    if placed is None and path:
        raise Refusal(404, "Not found", f"The image has no /{path}")
    return None if placed is None or placed.entry.kind is EntryKind.FOLDER else placed


def _view(
    place: FilesPlace,
    image: PageImage,
    changes: LayerEffects | None,
    placed: Placed | None,
    start: FileStart | None,
    number: int,
) -> FilesView:
    if placed is None:
        return folder(place, image, changes, number)
    return file(place, image, changes, placed, start)


def _layer(request: web.Request) -> int | None:
    """Return the number of a layer, from 0; None for all."""
    text = text_in(request, "layer")
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0
    return number - 1 if number else None
