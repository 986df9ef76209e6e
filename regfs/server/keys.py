"""What an application and a request carry from one part of the server to another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import web

from regfs.push.manifests import Publisher
from regfs.push.uploads import Uploads
from regfs.server.calls import ShortCalls
from regfs.server.routes import Route, Verb
from regfs.server.settings import Settings
from regfs.tree.pages import Paging
from regfs.tree.referrers import Referrers
from regfs.tree.registry import Registry

REGISTRY: Final = web.AppKey("registry", Registry)
SHORT_CALLS: Final = web.AppKey("short_calls", ShortCalls)
PAGING: Final = web.AppKey("paging", Paging)
REFERRERS: Final = web.AppKey("referrers", Referrers)
REFERRERS_TURN: Final = web.AppKey("referrers_turn", asyncio.Semaphore)
"""Held while referrers are looked up: a large repository is read for seconds the first time."""
SETTINGS: Final = web.AppKey("settings", Settings)

UPLOADS: Final = web.AppKey("uploads", Uploads)
PUBLISHER: Final = web.AppKey("publisher", Publisher)

May = Callable[[web.Request, Verb, str], bool]
"""Whether the sender of a request may do this to the repository of that name."""

MAY: Final[web.AppKey[May]] = web.AppKey("may")

ROUTE: Final = web.RequestKey("route", Route)
"""What a request below /v2 asks for."""
