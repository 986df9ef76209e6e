"""Processes for what threads of one Python cannot do in parallel: small files and tars.

A large blob is hashed outside of Python, which threads do in parallel. Opening many small files
and walking through a tar is work in Python; two threads of it are slower than one. So each thread
of the pool may have a process that does such tasks while the thread waits. A thread starts one
after it has done as much of that work itself as a start costs: a small tree never pays for a
start, and a large one only a little more.

Not `multiprocessing`: it would run the script of a program that uses regfs as a library again in
each process. A lost process does no harm; its task is done again in the thread.
"""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import IO, Final, Self, cast

from regfs.content.hashing import HashOutcome, Task, hash_blobs
from regfs.stores import Store

START_COST: Final = 3000
"""The cost of starting a process, in small files hashed in that time: a tenth of a second."""
FILE_COST: Final = 8 << 10
"""Bytes of a layer that take as long to unpack as one small file takes to hash."""
_MANY: Final = 20
"""Number of files from which a task is more Python than hashing."""


class WorkerLost(Exception):
    """A process ended before its task, or could not be started."""


class Worker:
    """A process that does tasks, one at a time, for one thread."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @classmethod
    def start(cls) -> Self:
        """Start a process.

        Raises:
            WorkerLost: the system refuses.
        """
        path = list(map(str, sys.path))
        code = f"import sys; sys.path[:] = {path}; from regfs.content.hashing import serve; serve()"
        # Ctrl-C is for this process: block it until the new one ignores it by itself.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process = subprocess.Popen(
                # The environment of this process does not count: its path is passed on.
                [sys.executable, "-I", "-S", "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                process_group=0,
            )
        except (OSError, ValueError) as error:
            raise WorkerLost from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return cls(process)

    def run(self, task: Task, advance: Callable[[int], None]) -> HashOutcome:
        """Let the process do a task; `advance` is called in this thread.

        Raises:
            WorkerLost: the task was not finished; nothing of it counts.
        """
        counted = 0
        try:
            stdin = cast(IO[bytes], self._process.stdin)
            pickle.dump(task, stdin, pickle.HIGHEST_PROTOCOL)
            stdin.flush()
            while isinstance(answer := pickle.load(cast(IO[bytes], self._process.stdout)), int):
                counted += answer
                advance(answer)
        except (OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
            advance(-counted)
            raise WorkerLost from error
        return cast(HashOutcome, answer)

    def kill(self) -> None:
        """Kill it, from any thread."""
        self._process.kill()

    def close(self) -> None:
        """Release it after it was killed."""
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                cast(IO[bytes], pipe).close()
            except OSError:  # unwritten data
                continue


class Crew:
    """Does tasks for the threads of a pool, each in the thread or in its process."""

    def __init__(
        self, store: Store, advance: Callable[[int], None], *, processes: bool = True
    ) -> None:
        self._store = store
        self._advance = advance
        self._processes = processes and bool(sys.executable)
        self._lock = threading.Lock()
        self._workers: list[Worker] = []
        self._own = threading.local()

    def run(self, task: Task) -> HashOutcome:
        """Do one task."""
        worker = self._worker(_cost(task)) if self._processes else None
        if worker is not None:
            try:
                return worker.run(task, self._advance)
            except WorkerLost:
                self._own.worker = None
        return hash_blobs(task, self._store, self._advance)

    def _worker(self, cost: int) -> Worker | None:
        """Return the process of this thread, if there is to be one for such a task."""
        if not cost:
            return None
        own = self._own.__dict__
        own["spent"] = own.get("spent", 0) + cost
        if "worker" not in own and own["spent"] > START_COST:
            own["worker"] = self._start()
        found: Worker | None = own.get("worker")
        return found

    def _start(self) -> Worker | None:
        with self._lock:
            if not self._processes:
                return None
            try:
                worker = Worker.start()
            except WorkerLost:
                return None
            self._workers.append(worker)
            return worker

    def kill(self) -> None:
        """Kill all processes; no thread waits for one any longer."""
        with self._lock:
            self._processes = False
            for worker in self._workers:
                worker.kill()

    def close(self) -> None:
        """Release the processes after they were killed, when no thread runs a task."""
        for worker in self._workers:
            worker.close()


def _cost(task: Task) -> int:
    """Return how much Python there is in a task, in small files."""
    files = len(task.items) if len(task.items) >= _MANY else 0
    return files + sum(item.size for item in task.items if item.unpack) // FILE_COST
