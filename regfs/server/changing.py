"""Threads for requests that change links, which may have to wait for a collection to end.

They are separate threads, so that reads do not wait for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from aiohttp import web

THREADS: Final = 64
"""Requests that may wait for a run at the same time."""
_THREADS: Final = web.AppKey("changing", ThreadPoolExecutor)
_Result = TypeVar("_Result")


def install(app: web.Application) -> None:
    """Give an application its threads, and shut them down at the end."""
    threads = app[_THREADS] = ThreadPoolExecutor(THREADS, thread_name_prefix="regfs-changing")

    async def end(_: web.Application) -> None:
        threads.shutdown(wait=False, cancel_futures=True)

    app.on_cleanup.append(end)


async def changed(request: web.Request, work: Callable[[], _Result]) -> _Result:
    """Run work that changes links, and return its result."""
    return await asyncio.get_running_loop().run_in_executor(request.app[_THREADS], work)
