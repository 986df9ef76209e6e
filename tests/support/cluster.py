"""A cluster of Dask on loopback: a scheduler and two workers, each a process of its own.

with cluster_of(folder) as cluster:
    run(["verify", "--cluster", cluster.address])
    cluster.workers[0].kill()
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_READY = 60.0
"""Seconds until both workers must be there; they take 4 on a quiet machine."""
_NO_PAGE = "--no-dashboard"


@dataclass
class DaskCluster:
    """What runs."""

    address: str
    folder: Path
    scheduler: subprocess.Popen[bytes]
    host: str
    variables: dict[str, str]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def add_worker(self, **variables: str) -> None:
        """Start a worker with one thread, and wait until it is connected."""
        name = f"worker{len(self.workers)}"
        log = self.folder / f"{name}.log"
        options = ("--host", self.host, "--nthreads", "1", "--no-nanny", "--name", name)
        variables = self.variables | variables
        arguments = (self.address, _NO_PAGE, *options)
        self.workers.append(_start("dask_worker", arguments, log, self.folder, variables))
        _wait(lambda: "Registered to:" in log.read_text(), self.workers[-1], log)


@contextmanager
def cluster_of(
    folder: Path, workers: int = 2, *, scheme: str = "tcp", variables: dict[str, str] | None = None
) -> Iterator[DaskCluster]:
    """Run a cluster; its processes have the environment of this moment, and more `variables`."""
    file, log = folder / "scheduler.json", folder / "scheduler.log"
    host, variables = f"{scheme}://127.0.0.1", variables or {}
    options = ("--host", host, _NO_PAGE, "--port", "0", "--scheduler-file", str(file))
    scheduler = _start("dask_scheduler", options, log, folder, variables)
    running = DaskCluster("", folder, scheduler, host, variables)
    try:
        _wait(lambda: file.exists() and file.read_text().endswith("}"), scheduler, log)
        running.address = json.loads(file.read_text())["address"]
        for _ in range(workers):
            running.add_worker()
        yield running
    finally:
        for process in (*running.workers, scheduler):
            process.kill()
            process.wait()


def regfs(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, which the threads of a client stay in."""
    return subprocess.run(
        [sys.executable, "-m", "regfs", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ,
    )


def _start(
    program: str, options: tuple[str, ...], log: Path, folder: Path, variables: dict[str, str]
) -> subprocess.Popen[bytes]:
    with log.open("wb") as sink:
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{program}", *options],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            cwd=folder,
            env={**os.environ, **variables},
        )


def _wait(ready: object, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _READY
    while not ready():  # type: ignore[operator]
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)
