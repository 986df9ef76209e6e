"""Workers on other machines, by Dask: batches of digests go there, what came of them comes back.

    with connected("tcp://scheduler:8786", store) as cluster:
        verify(.., executor=cluster.executor)        hashes blobs there
        Registry(.., fetch=cluster.fetch)            reads manifests there

A worker opens the same root itself, by the store's `spec`, so a folder has to be mounted at the
same path, and a bucket has to be reached with the credentials of the spec or of the worker's own
environment. Bytes of blobs never travel, those of manifests do, compressed.

What a worker says is checked where that matters. Manifests are hashed again here, so a worker
cannot say anything about references that is not so. A blob that a worker calls damaged or missing
is looked at here (`verify.content`): a worker without the volume makes no findings. Of a blob that
a worker calls intact it is believed: workers run the same version of regfs, and that is checked
with each task.

With its result, each task tells the requests that its process has made since the last one, so that
all are counted once: but for those of tasks that were cut off, and of workers that died.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, Future, InvalidStateError
from contextlib import contextmanager, suppress
from itertools import islice, repeat
from threading import Lock
from typing import Any, Final, Generic, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from regfs import __version__
from regfs.content.cache import pack_item, unpack_item
from regfs.content.hashing import opened
from regfs.content.kept_manifests import pack, unpack
from regfs.digest import Digest
from regfs.errors import Doubt, Invalid, Refused, RegfsError, StoreError, printable
from regfs.layout import blob_folder, parent_of
from regfs.stores import Spec, Store

T = TypeVar("T")

TIMEOUT: Final = 5.0
"""Seconds until a scheduler that does not answer is given up."""
_FIRST_ANSWER: Final = 60.0
"""Seconds until workers have loaded regfs, from a network disk too, and said its version."""
RETRIES: Final = 2
"""How often a task that failed is done again; one whose worker died is done again in any case."""
TOGETHER: Final = 250
"""Manifests of a task: fewer are not worth its 2 to 4 ms."""
_WINDOW: Final = 2
"""Tasks under way, for each thread of the cluster."""
_LARGEST: Final = 4 << 20
"""Bytes of a manifest, as `manifests.media_types.LIMIT`: more is none."""
_MOST: Final = 64 << 20
"""Bytes of the manifests that a task sends; what exceeds it is read here."""
_ADDRESS: Final = re.compile(r"(?:tcp|tls)://[\w.:\[\]-]+:[0-9]{1,5}")
_MISSING: Final = "dask is missing: pip install 'regfs[cluster]'"


class OtherVersion(Refused):
    """A worker runs another version of regfs."""


class Cluster:
    """The workers behind one scheduler."""

    def __init__(self, client: Any, spec: Spec) -> None:
        self._client = client
        self._spec = spec
        self.requests: Counter[str] = Counter()
        """Kind -> requests that workers have made, as far as they have told."""
        real = client.get_executor(pure=False, retries=RETRIES)
        self.executor: Executor = Workers(real, spec, self.requests)
        """Does tasks there; those that fail raise here, as `StoreError` or what they raised."""

    @property
    def threads(self) -> int:
        """Number of tasks that run at once, now."""
        threads: dict[str, int] = self._client.nthreads()
        return max(1, sum(threads.values()))

    def fetch(self, batches: Iterable[Sequence[Digest]]) -> Iterator[Mapping[str, bytes]]:
        """Yield for each batch the manifests that could be had, by digits; nothing is checked.

        More than those of the batch may be among them.

        Raises:
            StoreError: the cluster is lost.
        """
        window = _WINDOW * self.threads
        tasks = iter(_together(batches))
        running: deque[tuple[int, Future[bytes] | None]] = deque()

        def begin() -> None:
            for group in islice(tasks, window - len(running)):
                every = [digest for batch in group for digest in batch]
                future = None
                if every:
                    future = self.executor.submit(read_manifests, self._spec, every)
                running.append((len(group), future))

        begin()
        try:
            while running:
                count, future = running.popleft()
                found = None if future is None else unpack_item(result_of(future))
                begin()
                yield from repeat({} if found is None else unpack(found), count)
        finally:
            for _, future in running:
                if future is not None:
                    future.cancel()


def _together(batches: Iterable[Sequence[Digest]]) -> Iterator[list[Sequence[Digest]]]:
    """Yield batches in groups, each of one algorithm, that are worth a task; none is split."""
    group: list[Sequence[Digest]] = []
    count, algorithm = 0, ""
    for batch in batches:
        other = bool(batch) and algorithm not in ("", batch[0].algorithm)
        if group and (other or count >= TOGETHER):
            yield group
            group, count, algorithm = [], 0, ""
        group.append(batch)
        count += len(batch)
        algorithm = batch[0].algorithm if batch else algorithm
    if group:
        yield group


class Told(NamedTuple, Generic[T]):
    """What a worker says of a task."""

    result: T
    requests: dict[str, int]
    """Kind -> requests of its process that no task has told yet."""


class Workers(Executor):
    """An executor whose tasks check the version of regfs, and whose requests are counted."""

    def __init__(self, real: Executor, spec: Spec, requests: Counter[str]) -> None:
        self._real = real
        self._spec = spec
        self._requests = requests
        self._adding = Lock()

    def submit(self, function: Callable[..., T], /, *given: Any, **options: Any) -> Future[T]:
        """Do something there."""
        arguments = (there, __version__, self._spec, function, *given)
        return _TaskFuture(self._real.submit(*arguments, **options), self._count)

    def _count(self, requests: Mapping[str, int]) -> None:
        with self._adding:
            self._requests.update(requests)


class _TaskFuture(Future[T]):
    """The result of a task, whose requests are counted before anybody can have it."""

    def __init__(self, real: Future[Told[T]], count: Callable[[Mapping[str, int]], None]) -> None:
        super().__init__()
        self._real = real
        self._count = count
        real.add_done_callback(self._take)

    def cancel(self) -> bool:
        """Do not do it, if there is no result yet."""
        self._real.cancel()
        return super().cancel()

    def _take(self, real: Future[Told[T]]) -> None:
        with suppress(InvalidStateError):  # it was cancelled as it ended
            try:
                told = real.result()
            except CancelledError:
                if super().cancel():
                    self.set_running_or_notify_cancel()
            except BaseException as error:  # for who waits for it
                self.set_exception(error)
            else:
                self._count(told.requests)
                self.set_result(told.result)


def result_of(future: Future[T]) -> T:
    """Wait for what a worker says.

    Raises:
        RegfsError: what it has met.
        StoreError: it, or the scheduler, is lost.
    """
    try:
        return future.result()
    except RegfsError:
        raise
    except CancelledError:
        raise StoreError("the cluster is lost: its scheduler has gone") from None
    except Exception as error:
        words = printable(str(error).partition("\n")[0][:200])
        raise StoreError(f"a worker was lost: {type(error).__name__}: {words}") from None


@contextmanager
def connected(address: str, store: Store) -> Iterator[Cluster]:
    """Connect to a scheduler for the block.

    Raises:
        Doubt: Dask is not installed.
        Invalid: it is no address of a scheduler.
        Refused: no other process can open the store, or a worker has another version of regfs.
        StoreError: there is no such scheduler, or it has no workers.
    """
    spec = store.spec
    if spec is None:
        raise Refused(
            f"{printable(store.url)}: only this process can read that; --cluster needs a folder "
            "or a bucket, which its workers open themselves"
        )
    try:
        import distributed
    except ModuleNotFoundError:
        raise Doubt(_MISSING) from None
    shown = printable(address)
    if not _ADDRESS.fullmatch(address):
        raise Invalid(f"{shown}: a scheduler is tcp://HOST:PORT, or tls://HOST:PORT")
    _silence()
    _require_scheduler(address, shown)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other versions of Dask: what matters is asked below
        try:
            make: Any = distributed.Client
            client = make(address, timeout=TIMEOUT, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            words = "no scheduler answers there" if isinstance(error, OSError) else str(error)
            raise StoreError(f"{shown}: {printable(words)}") from None
        try:
            share_rate(spec, _check_workers(client))
            yield Cluster(client, spec)
        finally:
            with suppress(Exception):  # one that is lost cannot be closed either
                client.close(timeout=TIMEOUT)


def _silence() -> None:
    """Let Dask log nothing: what matters is raised, and it logs tracebacks beside."""
    for name in list(logging.root.manager.loggerDict):  # Dask gives some a level of their own
        if name.partition(".")[0] in ("distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _require_scheduler(address: str, shown: str) -> None:
    """Ask what listens there: a client waits for ever for the answer of something else.

    Raises:
        StoreError: no scheduler, or one without workers.
    """
    import distributed

    dask: Any = distributed
    arguments = _certificates(dask, address, shown)

    async def ask() -> Any:
        async with dask.rpc(address, timeout=TIMEOUT, connection_args=arguments) as one:
            return await one.identity()

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = asyncio.run(asyncio.wait_for(ask(), TIMEOUT))
    except Exception as error:
        raise StoreError(f"{shown}: {_no_answer(error, address)}") from None
    if not isinstance(found, dict) or found.get("type") != "Scheduler":
        raise StoreError(f"{shown}: no scheduler of Dask listens there")
    if not found.get("workers"):
        raise StoreError(f"{shown}: the cluster has no workers")


def _certificates(dask: Any, address: str, shown: str) -> dict[str, Any]:
    """Return what a connection needs, by Dask's own configuration.

    Raises:
        StoreError: it is not there, or cannot be used.
    """
    try:
        found: dict[str, Any] = dask.Security().get_connection_args("client")
    except Exception as error:
        words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        what = "the certificates that Dask's configuration names cannot be used"
        raise StoreError(f"{shown}: {what}: {printable(words[:200])}") from None
    if address.startswith("tls:") and found.get("ssl_context") is None:
        raise StoreError(
            f"{shown}: no certificates: set distributed.comm.tls (ca-file, client.cert, "
            "client.key) in Dask's configuration"
        )
    return found


def _no_answer(error: BaseException, address: str) -> str:
    """Return why a scheduler does not answer."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) and len(causes) < 9:
        causes.append(cause)
    if any(isinstance(one, ssl.SSLError) or "SSL" in str(one) for one in causes):
        return "no scheduler that takes these certificates, and that these trust, answers there"
    if isinstance(error, OSError | EOFError | asyncio.TimeoutError):
        other = "tls" if address.startswith("tcp:") else "tcp"
        return f"no scheduler answers there (is it {other}://?)"
    return "no scheduler answers there that this version of Dask understands"


def _check_workers(client: Any) -> int:
    """Return the number of workers.

    Raises:
        Refused, StoreError: one has another version, or does not answer.
    """
    try:
        found = client.run(version_there, on_error="return", callback_timeout=_FIRST_ANSWER)
    except TimeoutError:
        raise StoreError(
            "a worker of the cluster does not answer; stop it, or start it again"
        ) from None
    for worker, version in sorted(found.items()):
        if isinstance(version, ModuleNotFoundError):
            version = "none"
        if isinstance(version, Exception):
            raise StoreError(f"{printable(worker)}: {printable(str(version))}")
        if version != __version__:
            raise _other(version, printable(worker))
    return len(found)


def share_rate(spec: Spec, workers: int) -> None:
    """Let workers make as many requests in a second as one process may: each has a part."""
    if not isinstance(spec, str):
        spec.meter.processes = max(workers, 1)


def _other(version: str, worker: str) -> OtherVersion:
    has = "no regfs" if version == "none" else f"regfs {printable(version)}"
    return OtherVersion(f"{worker} has {has}, and this is regfs {__version__}; install the same")


# -- on a worker ---------------------------------------------------------------------------


def version_there() -> str:
    """Return the version of regfs, on a worker."""
    return __version__


def there(
    version: str, spec: Spec, function: Callable[..., T], *given: Any, **options: Any
) -> Told[T]:
    """Do something with a store on a worker, for a regfs of this version.

    Raises:
        OtherVersion: the worker has another one: it came after the others were asked.
    """
    if version != __version__:
        raise _other(__version__, "a worker")
    result = function(*given, **options)
    return Told(result, _untold(opened(spec)))


_told: Final[WeakKeyDictionary[Store, Counter[str]]] = WeakKeyDictionary()
"""Store -> its requests of which tasks have told."""
_telling: Final = Lock()


def _untold(store: Store) -> dict[str, int]:
    """Return the requests of a store of which no task has told; of threads, one tells each."""
    if not store.requests:
        return {}
    with _telling:
        now = Counter(store.requests)
        new = now - _told.get(store, Counter())
        _told[store] = now
    return dict(new)


def read_manifests(spec: Spec, digests: Sequence[Digest]) -> bytes:
    """Return what can be had of manifests, packed; what has another digest is left out.

    They are of one algorithm.
    """
    store, left = opened(spec), _MOST
    folders: dict[str, list[str]] = {}
    for digest in digests:
        folders.setdefault(parent_of(blob_folder(digest)), []).append(digest.encoded)
    found: dict[str, bytes] = {}
    for folder, names in folders.items():
        contents = store.contents(folder, names, "data", _LARGEST + 1)
        for name, content in zip(names, contents, strict=True):
            if isinstance(content, StoreError) or len(content) > min(_LARGEST, left):
                continue
            if Digest.of(content, digests[0].algorithm).encoded == name:
                left -= len(content)
                found[name] = content
    return pack_item(pack(found))
