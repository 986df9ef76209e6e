"""A registry as a source, over HTTP: finding content, and reading it despite interruptions.

A registry serves by repository. A digest is looked for in the repositories that the user has
named, then in those that use it in our tree, then in those of the catalog. An interrupted body is
resumed with a range request.

`session` authenticates. The answers are not trusted: a body can be the page of a proxy, endless,
or wrong; the reader counts and compares.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, cast
from urllib.parse import SplitResult, parse_qs, quote, urlsplit

from requests import RequestException, Response
from urllib3.exceptions import HTTPError

from regfs.digest import BUFFER_SIZE
from regfs.errors import Invalid, SourceError, SourceLacks
from regfs.heal.session import HttpSession, stored_credentials
from regfs.heal.source import BlobRequest, Credentials, RegistryAccess
from regfs.manifests import MANIFEST_TYPES

CATALOG_LIMIT: Final = 10_000
"""Maximum number of repositories of a catalog to look in."""
_PAGE: Final = 1000
_PAGE_BYTES: Final = 4 << 20
_BREAKS: Final = 20
"""How often one body may be interrupted."""
_HUB: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_RANGE: Final = re.compile(r"bytes (\d+)-")
_ACCEPT: Final = ", ".join(sorted(MANIFEST_TYPES)) + ", */*;q=0.1"


class RegistrySource:
    """A registry."""

    def __init__(self, http: HttpSession, names: tuple[str, ...], *, library: bool) -> None:
        self._http = http
        self._names = names
        self._library = library
        self._catalog: list[str] | None = None

    @property
    def url(self) -> str:
        """The address, without credentials."""
        return self._http.base

    def ping(self) -> None:
        """Check that a registry answers.

        Raises:
            SourceError: none does.
        """
        with self._http.request("GET", "/v2/", scope="") as response:
            if response.status_code not in (200, 401, 403):
                raise SourceError(f"{self.url}: not a registry: {self._http.words(response)}")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def size(self, request: BlobRequest) -> int:
        """Ask for the size, by HEAD."""
        response = self._first(request, "HEAD")
        response.close()
        return _length(response)

    def open(self, request: BlobRequest) -> BinaryIO:
        """Open the body."""
        response = self._first(request, "GET")
        kind = response.headers.get("Content-Type", "")
        length = _length(response)
        problem = None
        if kind.partition(";")[0].strip().lower() == "text/html":
            problem = "answered with a web page"
        elif 0 <= request.size != length >= 0:
            problem = f"has {length} bytes instead of {request.size}"
        if problem is not None:
            response.close()
            raise SourceError(f"{self.url}: {problem}")
        return cast(BinaryIO, _Body(self._http, response))

    def _first(self, request: BlobRequest, method: str) -> Response:
        """Return the response of the first repository that has it.

        Raises:
            SourceLacks: none has it; the message says how many were asked.
            SourceError: none has it, and some failed.
        """
        problem: SourceError | None = None
        asked = 0
        for name in self._places(request):
            kinds = ("manifests", "blobs") if request.manifest else ("blobs", "manifests")
            asked += 1
            for kind in kinds:
                path = f"/v2/{quote(name)}/{kind}/{request.digest}"
                try:
                    response = self._http.request(
                        method, path, scope=f"repository:{name}:pull", accept=_ACCEPT
                    )
                except SourceError as error:
                    problem = error
                    continue
                if response.status_code == 200:
                    return response
                response.close()
                if response.status_code != 404:
                    problem = SourceError(f"{self.url}: {name}: {self._http.words(response)}")
        if problem is not None:
            raise problem
        raise SourceLacks(f"the source does not have it (looked in {asked} repositories)")

    def _places(self, request: BlobRequest) -> Iterator[str]:
        ours = (*self._names, *request.repositories)
        if self._library:
            ours = (*ours, *(f"library/{name}" for name in ours if "/" not in name))
        yield from dict.fromkeys(ours)
        yield from (name for name in self._listed() if name not in ours)

    def _listed(self) -> list[str]:
        """Return the catalog, as far as the registry gives it; requested once."""
        if self._catalog is None:
            self._catalog = list(dict.fromkeys(self._pages()))
        return self._catalog

    def _pages(self) -> Iterator[str]:
        last, count = "", 0
        while count < CATALOG_LIMIT:
            query = f"?n={_PAGE}" + (f"&last={quote(last, safe='')}" if last else "")
            try:
                response = self._http.request(
                    "GET", f"/v2/_catalog{query}", scope="registry:catalog:*"
                )
                with response:
                    names = _names(self._http, response)
                    following = _next(response)
            except (SourceError, RequestException, HTTPError):
                return  # not every user may list it, and not every registry has one
            yield from names
            count += len(names)
            if not names or following in (None, last):
                return
            last = following or ""


def _names(http: HttpSession, response: Response) -> list[str]:
    if response.status_code != 200:
        return []
    try:
        document = json.loads(http.document(response, _PAGE_BYTES))
        names = document["repositories"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _next(response: Response) -> str | None:
    """Return the start of the next page; of a link, only its parameter is used, not its host."""
    link = response.links.get("next", {}).get("url", "")
    return parse_qs(urlsplit(link).query).get("last", [None])[0]


def _length(response: Response) -> int:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() else -1


class _Body(io.RawIOBase):
    """The body of a response; it is resumed after an interruption."""

    def __init__(self, http: HttpSession, response: Response) -> None:
        super().__init__()
        self._http = http
        self._response = response
        self._length = _length(response)
        self._done = 0
        self._breaks = 0
        self._pace = http.pace()

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._response.close()
        super().close()

    def readinto(self, buffer: Any, /) -> int:
        with memoryview(buffer) as view:
            while True:
                try:
                    data = self._http.some(self._response, min(len(view), BUFFER_SIZE), self._pace)
                    if data or self._length < 0 or self._done >= self._length:
                        break
                    problem = "interrupted"
                except (HTTPError, RequestException, OSError) as error:
                    problem = type(error).__name__
                self._carry_on(problem)
            view[: len(data)] = data
        self._done += len(data)
        return len(data)

    def _carry_on(self, problem: str) -> None:
        """Request the rest; if the registry sends everything again, skip what is known."""
        self._breaks += 1
        if self._breaks > _BREAKS:
            raise SourceError(f"{self._http.base}: interrupted again and again ({problem})")
        self._response.close()
        self._http.wait(min(self._breaks, 5))
        self._response = self._http.again(self._response, self._done)
        if self._response.status_code == 206:
            found = _RANGE.match(self._response.headers.get("Content-Range", ""))
            if found is None or int(found[1]) != self._done:
                raise SourceError(f"{self._http.base}: sent another range than requested")
        elif self._response.status_code == 200:
            self._skip(self._done)
        else:
            raise SourceError(f"{self._http.base}: {self._http.words(self._response)}")

    def _skip(self, count: int) -> None:
        while count > 0:
            try:
                data = self._http.some(self._response, min(count, BUFFER_SIZE), self._pace)
            except (HTTPError, RequestException, OSError) as error:
                raise SourceError(f"{self._http.base}: {type(error).__name__}") from error
            if not data:
                raise SourceError(f"{self._http.base}: sent less than before")
            count -= len(data)


def open_registry(text: str, access: RegistryAccess) -> RegistrySource:
    """Open `docker://host[:port][/name]` or `http(s)://host[:port][/prefix]`.

    Raises:
        Invalid: the address or an option is invalid.
        SourceError: no registry answers there.
    """
    parts = urlsplit(text)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if not parts.hostname or port == -1:
        raise Invalid(f"not the address of a registry: {text.partition('@')[2] or text}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    host = f"{host}:{port}" if port is not None else host
    names = access.repositories
    path = parts.path.strip("/")
    scheme, prefix = parts.scheme, f"/{path}" if path else ""
    if scheme == "docker":
        scheme, prefix = "https", ""
        name = path.partition("@")[0].partition(":")[0]
        names = (*names, name) if name else names
    hub = host in _HUB
    base = f"{scheme}://{'registry-1.docker.io' if hub else host}{prefix}"
    may_be_plain = parts.scheme == "docker" and not access.verify_tls
    if access.ca is not None and not os.path.isfile(access.ca):
        raise Invalid(f"{access.ca}: no such certificate file")
    credentials = _credentials(parts, urlsplit(base).netloc, access)
    http = HttpSession(base, access, credentials, may_be_plain=may_be_plain)
    source = RegistrySource(http, names, library=hub)
    try:
        source.ping()
    except BaseException:
        source.close()
        raise
    return source


def _credentials(address: SplitResult, host: str, access: RegistryAccess) -> Credentials | None:
    """Return the credentials for `host`: those given, those in the address, or those stored.

    Raises:
        Invalid: the file of credentials cannot be read.
    """
    if access.credentials is not None:
        return access.credentials
    if address.username:
        return Credentials(address.username, address.password or "")
    return stored_credentials(access.authfile, host)
