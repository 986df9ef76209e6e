"""The clients of `serve.py`: what they send is the same for every server.

    python -m tests.benchmarks.loading get HOST:PORT PATH --clients 4
    python -m tests.benchmarks.loading ranges HOST:PORT PATH --size 16777216
    python -m tests.benchmarks.loading push HOST:PORT NAME --file DATA --digest sha256:...
    python -m tests.benchmarks.loading pages HOST:PORT PATH...
    python -m tests.benchmarks.loading idle HOST:PORT PATH --clients 1000

Each prints one line of JSON. Only the time from the first byte sent to the last one
received counts: processes are started and connections made before the clock is.
`idle` holds its connections until its standard input ends, then asks on each once more.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

BUFFER: Final = 1 << 20
TIMEOUT: Final = 120
OCTETS: Final = "application/octet-stream"
ACCEPT: Final = ", ".join(
    (
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)

Json = dict[str, Any]


class Failed(Exception):
    """A server answered something else than was asked for."""


class Client:
    """One connection."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=TIMEOUT, blocksize=BUFFER)
        self._connection.connect()
        self._buffer = memoryview(bytearray(BUFFER))

    def ask(
        self, method: str, target: str, *, expect: int, body: Any = None, **fields: str
    ) -> tuple[int, http.client.HTTPMessage]:
        """Send one request, throw the body of the answer away; return its length and the headers.

        Raises:
            Failed: the status is another one.
        """
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        self._connection.request(method, target, body, {"Accept": ACCEPT, **headers})
        answer = self._connection.getresponse()
        if answer.status != expect:
            said = answer.read(300).decode(errors="replace")
            raise Failed(f"{method} {target}: {answer.status} {said}")
        length = 0
        while count := answer.readinto(self._buffer):
            length += count
        return length, answer.headers


def together(clients: int, address: str, work: Callable[[Client], int]) -> Json:
    """Let so many processes do the same at once, each with a connection of its own."""
    fork = multiprocessing.get_context("fork")
    barrier, results = fork.Barrier(clients + 1), fork.SimpleQueue()

    def one(start: Barrier) -> None:
        client = Client(address)
        start.wait()
        try:
            results.put((work(client), time.monotonic(), ""))
        except (Failed, OSError, http.client.HTTPException) as error:
            results.put((0, time.monotonic(), str(error) or repr(error)))

    workers = [fork.Process(target=one, args=(barrier,)) for _ in range(clients)]
    for worker in workers:
        worker.start()
    barrier.wait()
    began = time.monotonic()
    done = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    problems = [problem for _, _, problem in done if problem]
    if problems:
        raise Failed(problems[0])
    ended = max(end for _, end, _ in done)
    return {"seconds": ended - began, "bytes": sum(size for size, _, _ in done)}


def get(options: argparse.Namespace) -> Json:
    """Read a file as a whole, by several clients at once."""
    (path,) = options.paths
    return together(
        options.clients, options.address, lambda client: client.ask("GET", path, expect=200)[0]
    )


def ranges(options: argparse.Namespace) -> Json:
    """Read a file range by range on one connection."""
    (path,) = options.paths

    def work(client: Client) -> int:
        _, headers = client.ask("HEAD", path, expect=200)
        total, done = int(headers["Content-Length"]), 0
        while done < total:
            last = min(done + options.size, total) - 1
            done += client.ask("GET", path, expect=206, Range=f"bytes={done}-{last}")[0]
        return done

    return together(1, options.address, work)


def push(options: argparse.Namespace) -> Json:
    """Push a file as one blob: POST, one PATCH with all of it, PUT."""
    (name,) = options.paths
    size: int = options.file.stat().st_size

    def work(client: Client) -> int:
        _, headers = client.ask("POST", f"/v2/{name}/blobs/uploads/", expect=202)
        with options.file.open("rb") as data:
            length = str(size)
            place = relative(headers["Location"])
            _, headers = client.ask(
                "PATCH", place, expect=202, body=data, Content_Length=length, Content_Type=OCTETS
            )
        place = relative(headers["Location"])
        separator = "&" if "?" in place else "?"
        client.ask("PUT", f"{place}{separator}digest={options.digest}", expect=201)
        return size

    return together(1, options.address, work)


def relative(location: str) -> str:
    """Return the path and query of where an answer points."""
    parts = urlsplit(location)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def pages(options: argparse.Namespace) -> Json:
    """Read each of these pages once, one after the other, on one connection."""
    client = Client(options.address)
    client.ask("GET", "/v2/", expect=200)
    taken, size = [], 0
    for path in options.paths:
        began = time.perf_counter()
        size += client.ask("GET", path, expect=200)[0]
        taken.append(time.perf_counter() - began)
    return {"seconds": sum(taken), "pages": taken, "bytes": size}


def idle(options: argparse.Namespace) -> Json:
    """Hold connections that have asked once, until told to ask again; count who is answered."""
    (path,) = options.paths
    clients = [Client(options.address) for _ in range(options.clients)]
    for client in clients:
        client.ask("GET", path, expect=200)
    print(json.dumps({"held": len(clients)}), flush=True)
    sys.stdin.read()
    answered = 0
    for client in clients:
        try:
            client.ask("GET", path, expect=200)
            answered += 1
        except (Failed, OSError, http.client.HTTPException):
            continue
    return {"answered": answered}


WAYS: Final[dict[str, Callable[[argparse.Namespace], Json]]] = {
    "get": get,
    "ranges": ranges,
    "push": push,
    "pages": pages,
    "idle": idle,
}


def main() -> int:
    """Do what was asked for, once."""
    parser = argparse.ArgumentParser(prog="loading", description="Ask a server and take the time.")
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("paths", nargs="+", metavar="PATH")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--size", type=int, default=16 << 20, help="bytes of a range")
    parser.add_argument("--file", type=Path)
    parser.add_argument("--digest")
    options = parser.parse_args()
    try:
        print(json.dumps(WAYS[options.way](options)))
    except (Failed, OSError, http.client.HTTPException) as error:
        print(f"{error!r}"[:400], file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
