"""Who sent a request, and whether it is allowed: Basic authentication and the rules.

    no password file       everybody may do whatever the server is set to allow
    a password file        so may every user, and nobody else
    and an access file     only what its rules allow

With a password file, `/v2/` itself always asks for a password, even if some repositories can
be read without one: only there do clients learn that a password can be given. `/login` does the
same for browsers. Totals over all repositories (`/metrics`, some pages) are for those who may
read all of them.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import os
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import blake2b
from typing import Final

from aiohttp import web

from regfs.errors import DocumentInvalid
from regfs.server.errors import ApiError
from regfs.server.htpasswd import PasswordFile, matches
from regfs.server.keys import ROUTE
from regfs.server.lines import FairQueue, LineFull, client_of
from regfs.server.routes import Route, RouteKind, Verb, verb_of
from regfs.server.rules import Access

CHALLENGE: Final = 'Basic realm="regfs", charset="UTF-8"'
USER: Final = web.RequestKey("user", str)
"""The user whose password was right; absent for anonymous requests."""
OPEN: Final = frozenset({"/healthz", "/static/{name}"})
"""Paths that need no password: monitors have none, and the page that asks for one needs its
style."""
METRICS: Final = "/metrics"
LOGIN: Final = "/login"

REMEMBERED: Final = 1024
"""Right passwords that are remembered for a while. Wrong ones are not: they could push out
the right ones."""
REMEMBERED_FOR: Final = 60.0
LOOK_EVERY: Final = 1.0
"""Seconds between two looks at whether the password file has changed."""
WAITING: Final = 128
"""Passwords of one client that are being checked or wait to be; more are refused. Each client
has its own queue, so that one that guesses passwords does not delay others."""

_log = logging.getLogger(__name__)
_Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Gate:
    """Authenticates users by password, and decides what each may do."""

    def __init__(self, passwords: PasswordFile, access: Access | None = None) -> None:
        self.passwords = passwords
        self.access = access
        self._secret = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, float] = OrderedDict()
        """Keyed hash of user, password and entry -> until when; the last used is last."""
        self._under_way: dict[bytes, asyncio.Future[bool]] = {}
        threads = max(1, (os.cpu_count() or 2) // 2)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="regfs-bcrypt")
        self._lines = FairQueue(threads)
        self._look_at = 0.0

    def close(self) -> None:
        """Shut the threads down."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    # -- who ----------------------------------------------------------------------

    async def identify(self, headers: list[str], client: str = "") -> str | None:
        """Return the user that `Authorization` proves; None if it names none.

        `client` is whose queue a password waits in if it is not remembered.

        Raises:
            ApiError: UNAUTHORIZED, or TOOMANYREQUESTS.
        """
        if not headers:
            return None
        given = _basic(headers[0]) if len(headers) == 1 else None
        if given is None:
            raise unauthorized("Authorization must be Basic, once")
        name, password = given
        if not name and not password:
            return None  # how containers/image says that it has no password
        self._look()
        user = name.decode("utf-8", "surrogateescape")
        hashed, known = self.passwords.hash_of(user)
        # The entry is part of the key: when it changes, remembered passwords are void.
        parts = b"".join(len(part).to_bytes(4) + part for part in (name, password, hashed))
        key = blake2b(parts, key=self._secret, digest_size=32).digest()
        if not (
            self._remembers(key) or (await self._check(key, password, hashed, client) and known)
        ):
            raise unauthorized("no such user and password")
        if known:
            self._remember(key)
        return user

    async def _check(self, key: bytes, password: bytes, hashed: bytes, client: str) -> bool:
        """Check a password, once for all requests that send it at the same time."""
        under_way = self._under_way.get(key)
        if under_way is None:
            under_way = asyncio.ensure_future(self._compute(password, hashed, client))
            self._under_way[key] = under_way
            under_way.add_done_callback(partial(self._computed, key))
        try:
            return await asyncio.shield(under_way)
        except LineFull:
            raise ApiError(
                "TOOMANYREQUESTS",
                "too many passwords to check; try again",
                headers={"Retry-After": "2"},
            ) from None

    async def _compute(self, password: bytes, hashed: bytes, client: str) -> bool:
        async with self._lines.turn(client, longest=WAITING):
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, matches, password, hashed)

    def _computed(self, key: bytes, done: asyncio.Future[bool]) -> None:
        self._under_way.pop(key, None)
        if not done.cancelled():
            done.exception()  # the client may have left

    def _remembers(self, key: bytes) -> bool:
        until = self._right.get(key)
        return until is not None and until >= asyncio.get_running_loop().time()

    def _remember(self, key: bytes) -> None:
        """Remember a right password, so that it is computed once for many requests."""
        self._right[key] = asyncio.get_running_loop().time() + REMEMBERED_FOR
        self._right.move_to_end(key)
        while len(self._right) > REMEMBERED:
            self._right.popitem(last=False)

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY
        try:
            if self.passwords.refresh():
                _log.info("%s was read again", self.passwords.path)
        except DocumentInvalid as error:
            _log.warning("%s; the users stay as they were", error)
        except OSError as error:
            problem = error.strerror or error
            _log.warning("%s: %s; the users stay as they were", self.passwords.path, problem)

    # -- what -----------------------------------------------------------------------

    def allows(self, user: str | None, verb: Verb, name: str) -> bool:
        """Return whether a user (None: anonymous) may do this to a repository."""
        if self.access is None:
            return user is not None
        return self.access.allows(user, verb, name)

    def may(self, request: web.Request, verb: Verb, name: str) -> bool:
        """Return whether the sender of a request may do this to a repository."""
        return self.allows(request.get(USER), verb, name)

    def admit(self, user: str | None, route: Route | None, method: str, path: str) -> None:
        """Check a request; `path` is that of the handler, if `route` is not of the API.

        Raises:
            ApiError: UNAUTHORIZED if it is anonymous, DENIED if it is from a user.
        """
        if route is None:
            allowed, words = self._admits_to_page(user, path)
        elif route.action is RouteKind.BASE:
            allowed, words = user is not None, "a user and a password are needed"
        elif route.action is RouteKind.CATALOG:
            allowed, words = user is not None or self._shows_something(), "no repository for you"
        else:
            verb = verb_of(route.action, method)
            allowed = self.allows(user, verb, route.name)
            words = f"you may not {verb.value} in this repository"
        if allowed:
            return
        if user is None:
            raise unauthorized(words)
        raise ApiError("DENIED", words)

    def _admits_to_page(self, user: str | None, path: str) -> tuple[bool, str]:
        if path == METRICS and self.access is not None:
            every = self.access.allows_all(user, Verb.READ)
            return every, 'this adds up all repositories: it needs a rule to read "**"'
        known = user is not None or (path not in (LOGIN, METRICS) and self._shows_something())
        return known, "a user and a password are needed"

    def _shows_something(self) -> bool:
        return self.access is not None and self.access.allows_something(None, Verb.READ)


GATE: Final = web.AppKey("gate", Gate)
"""Of an application that asks for passwords."""


def unauthorized(message: str) -> ApiError:
    """Return the answer that asks for a password."""
    return ApiError("UNAUTHORIZED", message, headers={"WWW-Authenticate": CHALLENGE})


def _basic(header: str) -> tuple[bytes, bytes] | None:
    """Return user and password; None if the header is not Basic authentication."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        plain = base64.b64decode(value.strip().encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return None
    user, colon, password = plain.partition(b":")
    return (user, password) if colon else None


def guarded(gate: Gate) -> Callable[[web.Request, _Next], Awaitable[web.StreamResponse]]:
    """Return the middleware that checks every request with `gate`."""

    @web.middleware
    async def guard(request: web.Request, handler: _Next) -> web.StreamResponse:
        resource = request.match_info.route.resource
        path = "" if resource is None else resource.canonical
        if path not in OPEN:
            given = request.headers.getall("Authorization", [])
            user = await gate.identify(given, client_of(request))
            if user is not None:
                request[USER] = user
            gate.admit(user, request.get(ROUTE), request.method, path)
        return await handler(request)

    return guard
