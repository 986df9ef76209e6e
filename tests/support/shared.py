"""One server of a kind for all workers of a test run; it ends with the last of them.

    with shared("rgw", folder) as url: ...

Each user holds a shared lock on a file. A process of its own runs the server until it gets that
lock for itself: the kernel frees the locks of workers that end in any way, so no server is left.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.object_stores import SERVERS

_PROJECT = Path(__file__).parents[2]
_STARTS = 400
"""Seconds for all attempts."""
_ATTEMPTS = 3


@contextmanager
def shared(kind: str, folder: Path) -> Iterator[str]:
    """Yield the URL of the run's server of a kind, which keeps its state below the folder."""
    folder = folder / kind
    folder.mkdir(exist_ok=True)
    with (folder / "users").open("a") as users, (folder / "starting").open("a") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)
        if not (folder / "url").exists():
            command = [sys.executable, "-m", "tests.support.shared", kind, str(folder)]
            subprocess.run(command, cwd=_PROJECT, stdin=subprocess.DEVNULL, check=True)
            _wait(folder)
        url = (folder / "url").read_text()
        fcntl.flock(starting, fcntl.LOCK_UN)
        yield url


def _wait(folder: Path) -> None:
    until = time.monotonic() + _STARTS
    while not (folder / "url").exists():
        if (folder / "failed").exists() or time.monotonic() > until:
            raise AssertionError((folder / "said").read_text()[-3000:])
        time.sleep(0.05)


def _keep(kind: str, folder: Path) -> None:
    """Run a server until nobody uses it."""
    url = folder / "url"
    try:
        with ExitStack() as running, (folder / "users").open("a") as users:
            address = _start(kind, folder, running)
            url.with_suffix(".new").write_text(address)
            url.with_suffix(".new").rename(url)
            while not _free(users.fileno()):
                time.sleep(0.2)
    except BaseException:
        (folder / "failed").touch()
        raise


def _start(kind: str, folder: Path, running: ExitStack) -> str:
    """Start a server, again if that fails: a port may be taken before it is used."""
    for attempt in range(_ATTEMPTS):
        state = folder / f"state{attempt}"
        state.mkdir()
        try:
            return running.enter_context(SERVERS[kind](state))
        except (AssertionError, subprocess.TimeoutExpired) as error:
            print(f"attempt {attempt}: {error}", flush=True)
    raise AssertionError(f"{kind} does not start")


def _free(users: int) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _main(kind: str, folder: Path) -> None:
    if os.fork():  # nobody waits for it
        return
    os.setsid()
    said = os.open(folder / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    _keep(kind, folder)


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]))
