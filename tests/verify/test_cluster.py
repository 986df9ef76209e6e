"""Workers of a cluster read in place of threads: the same findings, whatever becomes of them."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs import __version__, layout
from regfs.cli.session import Exit
from regfs.content.cluster import (
    OtherVersion,
    Told,
    Workers,
    read_manifests,
    result_of,
    share_rate,
    there,
)
from regfs.content.hashing import HashItem, HashOutcome, Problem, Task, hash_blobs
from regfs.digest import Digest
from regfs.errors import StoreError
from regfs.findings import Code, Severity
from regfs.gc.plan import plan
from regfs.gc.policy import Policy
from regfs.graph import build_graph
from regfs.stores import open_store
from regfs.stores.bucket.meter import Meter
from regfs.stores.bucket.place import Bucket
from regfs.tree.registry import Registry
from regfs.tree.scan import scan
from regfs.verify import VerifyOptions, verify
from tests.make_fixtures import TREES
from tests.support.buckets import NAME, SECRET, bucket_of
from tests.support.builder import TreeBuilder, image
from tests.support.cluster import DaskCluster, cluster_of, regfs
from tests.support.registries import build, new_tree, recipes

pytest.importorskip("distributed")


_VARY = ("started_at", "finished_at", "seconds", "created_at", "id", "interrupted", "requests")


def answer(*arguments: object) -> tuple[int, Any]:
    done = regfs(*arguments, "--json")
    assert "Traceback" not in done.stderr
    document = json.loads(done.stdout)
    return done.returncode, {key: value for key, value in document.items() if key not in _VARY}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    with cluster_of(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    for number in range(40):
        tree.push(f"app{number % 3}", f"v{number}", image([f"{number}", "base"]))
    tree.untag("app1", "v1")
    tree.blob(b"lost")
    return tree


# -- the same ----------------------------------------------------------------------------------


def test_workers_find_what_threads_find(shop: TreeBuilder, cluster: DaskCluster) -> None:
    shop.break_("blob-flipped", "app1", "v4")
    for command in (["verify", "--no-ledger", "-v"], ["verify", "--level", "content"]):
        alone = answer("-r", shop.root, *command)
        assert alone[0] == Exit.FINDINGS.value
        shutil.rmtree(shop.root / ".regfs", ignore_errors=True)
        assert answer("-r", shop.root, *command, "--cluster", cluster.address) == alone
        shutil.rmtree(shop.root / ".regfs", ignore_errors=True)


def test_workers_read_manifests_of_a_plan(shop: TreeBuilder, cluster: DaskCluster) -> None:
    command = ["-r", shop.root, "gc", "plan", "-m", "--min-age", "1d"]
    alone = answer(*command)
    assert alone[1]["totals"]["manifests"] == 1
    assert answer(*command, "--cluster", cluster.address) == alone


def test_what_only_this_process_reads_is_refused(
    shop: TreeBuilder, cluster: DaskCluster, tmp_path: Path
) -> None:
    shutil.make_archive(str(tmp_path / "tree"), "gztar", shop.root)
    done = regfs("-r", tmp_path / "tree.tar.gz", "verify", "--cluster", cluster.address)
    assert done.returncode == Exit.REFUSED.value
    assert "only this process can read that" in done.stderr
    assert len(done.stderr.splitlines()) == 1


# -- requests ----------------------------------------------------------------------------


def test_requests_of_workers_are_counted(shop: TreeBuilder, tmp_path: Path) -> None:
    for number in range(1100):
        shop.blob(b"%d" % number)
    with bucket_of(shop.root) as bucket, cluster_of(tmp_path) as workers:
        for command in (["verify", "--no-ledger"], ["gc", "plan", "-m"]):
            before = bucket.requests.copy()
            done = regfs(
                *["-r", f"s3://{NAME}", "--no-cache", *command],
                *["--cluster", workers.address, "--json"],
            )
            told = json.loads(done.stdout)["requests"]
            made = bucket.requests - before
            assert made["get"] >= 40
            assert told == {kind.lower(): count for kind, count in made.items()}


def test_each_request_of_a_process_is_told_by_one_task() -> None:
    with bucket_of(TREES / "whole") as bucket:
        spec = open_store(f"s3://{NAME}").spec
        assert spec is not None
        key = next(key for key in sorted(bucket.objects) if key.endswith("/data"))
        digest = Digest(f"sha256:{key.split('/')[-2]}")
        sent = pickle.dumps(spec)
        with ThreadPoolExecutor(4) as pool:
            before = bucket.requests["get"]
            tasks = [
                pool.submit(there, __version__, pickle.loads(sent), read_manifests, spec, [digest])
                for _ in range(20)
            ]
            told = sum(task.result().requests.get("get", 0) for task in tasks)
            assert told == bucket.requests["get"] - before == 20
        other = open_store(f"s3://{NAME}").spec
        assert other is not None
        there(__version__, other, read_manifests, spec, [digest])
        assert there(__version__, other, abs, 1).requests.get("get", 0) == 0, "of another command"
        assert there(__version__, spec, abs, 1).requests["get"] == 1


def test_workers_share_the_rate_of_requests() -> None:
    spec = Bucket("s3", NAME, meter=Meter(12))
    share_rate(spec, 4)
    assert pickle.loads(pickle.dumps(spec)).meter.most == 3
    assert spec.meter.most == 12


def test_what_was_cancelled_is_not_waited_for() -> None:
    """A task that is cancelled before or after it ends, or ends badly, ends for who waits."""
    for end in ("cancelled", "before", "after", "badly"):
        real: Future[Any] = Future()

        class Real(Executor):
            def submit(self, *_: Any, **__: Any) -> Any:
                return real  # noqa: B023  # of this round

        counts: Counter[str] = Counter()
        future = Workers(Real(), "", counts).submit(abs, 1)
        match end:
            case "cancelled":  # by the scheduler
                real.cancel()
                real.set_running_or_notify_cancel()
            case "before":
                assert future.cancel()
                assert real.cancelled()
            case "after":
                real.set_result(Told(1, {"get": 2}))
                assert not future.cancel()
                assert (future.result(), counts) == (1, {"get": 2})
            case "badly":
                real.set_exception(StoreError("gone"))
                assert isinstance(future.exception(), StoreError)
        assert wait([future], timeout=60).not_done == set()


# -- workers that die --------------------------------------------------------------------


def test_a_worker_that_is_killed_half_way_loses_nothing(tmp_path: Path) -> None:
    """At the 30th blob that workers ask for, one of them is killed; of a bucket, which waits."""
    tree = TreeBuilder(tmp_path / "tree")
    for number in range(700):
        tree.blob(b"%d" % number)
    tree.push("app", "v1")
    bad = tree.blob_path(tree.blob(b"bad"))
    bad.write_bytes(b"bat")
    with bucket_of(tree.root) as bucket, cluster_of(tmp_path) as cluster:
        root = ["-r", f"s3://{NAME}", "verify", "--no-ledger", "-v"]
        alone = answer(*root)
        killed = threading.Event()
        asked: list[str] = []

        def kill(method: str, key: str, _: object) -> None:
            if method == "GET" and key.endswith("/data") and not killed.is_set():
                asked.append(key)
                if len(asked) == 30:
                    killed.set()
                    os.kill(cluster.workers[0].pid, signal.SIGKILL)

        bucket.fault = kill
        assert answer(*root, "--cluster", cluster.address) == alone
        assert killed.is_set()
        assert cluster.workers[0].wait() == -signal.SIGKILL
    assert [one["digest"] for one in alone[1]["findings"] if one["severity"] == "error"]


def test_a_scheduler_that_is_killed_half_way_ends_the_run_with_a_line(tmp_path: Path) -> None:
    tree = TreeBuilder(tmp_path / "tree")
    for number in range(700):
        tree.blob(b"%d" % number)
    tree.push("app", "v1")
    with bucket_of(tree.root) as bucket, cluster_of(tmp_path, 1) as cluster:
        asked: list[str] = []

        def kill(method: str, key: str, _: object) -> None:
            asked.append(key)
            if method == "GET" and key.endswith("/data") and len(asked) > 30:
                cluster.scheduler.kill()

        bucket.fault = kill
        done = regfs("-r", f"s3://{NAME}", "verify", "-q", "--cluster", cluster.address)
    assert (done.returncode, done.stdout) == (Exit.STORAGE.value, "")
    assert "the cluster is lost" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_workers_without_the_tree_make_no_findings(shop: TreeBuilder) -> None:
    class Blind(Executor):
        """Finds no blob at all, or that all are damaged."""

        code = Code.BLOB_MISSING

        def submit(self, _: Callable[..., Any], /, *given: Any, **options: Any) -> Future[Any]:
            (task,) = given
            digests = tuple(item.digest for item in task.items)
            problems = tuple(Problem(one, self.code, "not there") for one in digests)
            future: Future[Any] = Future()
            future.set_result(HashOutcome(digests, 0, 0, problems, (), task.number))
            return future

    registry = Registry(open_store(str(shop.root)))
    blind = Blind()
    options = VerifyOptions(executor=blind)
    with pytest.raises(StoreError, match="is the registry mounted there"):
        verify(registry, scan(registry.store), options=options)
    blind.code = Code.BLOB_CORRUPT
    found = verify(registry, scan(registry.store), options=options)
    assert found.severity is not Severity.ERROR


def test_what_became_of_a_task_is_said_in_a_line() -> None:
    class KilledWorker(Exception):
        pass

    future: Future[int] = Future()
    future.set_exception(KilledWorker("task-1 on\ntcp://127.0.0.1"))
    with pytest.raises(StoreError, match=r"a worker was lost: KilledWorker: task-1 on$"):
        result_of(future)
    future = Future()
    future.cancel()
    with pytest.raises(StoreError, match="the cluster is lost"):
        result_of(future)


# -- manifests from elsewhere ------------------------------------------------------------


@given(recipes(), st.randoms(use_true_random=False))
def test_a_plan_of_fetched_manifests_is_the_plan(recipe: Any, rng: random.Random) -> None:
    """Workers that lose, cut, exchange or make up manifests only cost time."""
    with new_tree() as tree:
        build(tree, recipe)
        root = str(tree.root)

        def fetch(batches: Iterable[Sequence[Digest]]) -> Iterator[Mapping[str, bytes]]:
            for batch in list(batches):
                found = {one.encoded: hashed(root, one) for one in batch}
                for name, content in list(found.items()):
                    match rng.randrange(6):
                        case 0:
                            del found[name]
                        case 1:
                            found[name] = content[: rng.randrange(len(content) + 1)]
                        case 2:
                            found[name] = rng.choice(list(found.values()))
                        case 3:
                            found[name] = b'{"schemaVersion": 2, "layers": []}'
                yield found

        def plan_of(registry: Registry) -> object:
            policy = Policy(delete_untagged=True, allow_no_manifests=True, min_age=0)
            made = plan(build_graph(scan(registry.store, lean=True), registry), policy, 2e9)
            return made.actions, made.totals, made.kept, made.findings

        alone = plan_of(Registry(open_store(root)))
        assert plan_of(Registry(open_store(root), fetch=fetch)) == alone


def hashed(root: str, digest: Digest) -> bytes:
    return open_store(root).read(layout.blob_path(digest), 9999)


def test_a_worker_sends_only_what_is_right(shop: TreeBuilder) -> None:
    from regfs.content.cache import unpack_item
    from regfs.content.kept_manifests import unpack

    good, bad = Digest(shop.current("app0", "v0")), Digest(shop.current("app0", "v3"))
    shop.blob_path(bad).write_bytes(b"{}")
    wanted = [good, bad, Digest.of(b"nowhere")]
    sent = unpack_item(read_manifests(str(shop.root), wanted))
    assert sent is not None
    assert unpack(sent) == {good.encoded: shop.blob_path(good).read_bytes()}


# -- versions, secrets -----------------------------------------------------------


def test_another_version_does_no_task() -> None:
    root = str(TREES / "whole")
    assert there(__version__, root, abs, -2) == (2, {})
    with pytest.raises(OtherVersion, match=f"has regfs {__version__}, and this is"):
        there("0.0.1", root, abs, -2)


def test_a_worker_of_another_version_is_named(shop: TreeBuilder, tmp_path: Path) -> None:
    other = tmp_path / "other/regfs/content"
    other.mkdir(parents=True)
    (other.parent / "__init__.py").write_text("__version__ = '0.0.1'\n")
    (other / "__init__.py").write_text("")
    (other / "cluster.py").write_text("def version_there(): return '0.0.1'\n")
    with cluster_of(tmp_path, workers=0) as cluster:
        done = regfs("-r", shop.root, "verify", "--cluster", cluster.address)
        assert (done.returncode, done.stdout) == (Exit.STORAGE.value, "")
        assert done.stderr == f"regfs: {cluster.address}: the cluster has no workers\n"
        cluster.add_worker(PYTHONPATH=str(tmp_path / "other"))
        done = regfs("-r", shop.root, "verify", "--cluster", cluster.address)
    assert (done.returncode, done.stdout) == (Exit.REFUSED.value, "")
    assert f"has regfs 0.0.1, and this is regfs {__version__}; install the same" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_threads_and_a_cluster_are_not_asked_for_at_once(shop: TreeBuilder) -> None:
    done = regfs("-r", shop.root, "verify", "--jobs", 2, "--cluster", "tcp://127.0.0.1:1")
    assert done.returncode == Exit.USAGE.value


def test_what_opens_a_store_elsewhere_hides_its_secrets() -> None:
    spec = Bucket("s3", "bucket", options={"secret_access_key": SECRET})
    task = Task(spec, (HashItem(Digest.of(b""), 0),), 0)
    assert SECRET not in repr(task)
    assert pickle.loads(pickle.dumps(task)) == task


def test_a_bucket_is_opened_once_by_a_worker() -> None:
    with bucket_of(TREES / "whole") as bucket:
        store = open_store(f"s3://{NAME}")
        assert store.spec is not None
        assert store.snapshot().spec == store.spec
        key = next(key for key in sorted(bucket.objects) if key.endswith("/data"))
        digest = Digest(f"sha256:{key.split('/')[-2]}")
        task = Task(store.spec, (HashItem(digest, len(bucket.objects[key].data)),), 0)
        before = bucket.requests["list"]
        for _ in range(3):
            outcome = hash_blobs(task)
            assert (outcome.blobs, outcome.problems) == (1, ())
        assert bucket.requests["list"] <= before + 1
