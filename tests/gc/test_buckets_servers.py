"""Collecting in Ceph, SeaweedFS and Azurite, in processes of their own, beside docker-registry.

After apply and restore every key, size and digest is as before; whoever is killed loses nothing;
of two at once one is refused; what has lost its lease changes nothing more; and what is pushed
between apply and purge can be pulled.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from requests.adapters import HTTPAdapter

from regfs.cli.session import Exit
from regfs.gc.plan import Plan, plan
from regfs.gc.policy import Policy
from regfs.gc.restoring import restore
from regfs.gc.sweep import apply
from regfs.graph import build_graph
from regfs.runs import runs
from regfs.stores import WritableStore, open_store
from regfs.stores.bucket.place import of_url
from regfs.tree.registry import Registry
from regfs.tree.scan import scan
from tests.support.bucket_registry import BucketRegistry, held, keep_versions
from tests.support.builder import TreeBuilder, image
from tests.support.real_buckets import AZURE_KEY, Server, bucket_on, fill, kinds, object_store_of
from tests.support.reference import copy, make_oci_layout, needs_reference, pull_all
from tests.support.s3.server import SECRET

MOMENTS = 20
_S3 = [
    *(pytest.param(*one.values, False, marks=one.marks, id=f"{one.values[0]}-copies")
      for one in kinds("rgw", "seaweedfs")),
    *(pytest.param(*one.values, True, marks=one.marks, id=f"{one.values[0]}-versions")
      for one in kinds("seaweedfs")),
]  # fmt: skip
_AZURE = [
    pytest.param(*one.values, False, marks=one.marks, id=one.values[0]) for one in kinds("azurite")
]
OF_S3 = pytest.mark.parametrize(("kind", "versioned"), _S3)
BUCKETS = pytest.mark.parametrize(("kind", "versioned"), [*_S3, *_AZURE])
"""Of Ceph with versions, the last test."""
OLD = image(["base", "old"], {"author": "old"})
NEW = image(["base", "new"], {"author": "new"})
Servers = Callable[[str], Server]


STOPPING = """
import os, signal
from requests.adapters import HTTPAdapter

send, stopped = HTTPAdapter.send, []

def sent(adapter, request, **options):
    answer = send(adapter, request, **options)
    if request.method not in ("GET", "HEAD") and {part!r} in request.url and not stopped:
        stopped.append(True)
        os.kill(os.getpid(), signal.SIGSTOP)
    return answer

HTTPAdapter.send = sent
"""


def is_stopped(process: subprocess.Popen[str]) -> bool:
    """Wait until a process has stopped itself; return whether it has not ended instead."""
    told = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    return told is not None and told.si_code == os.CLD_STOPPED


class Site(NamedTuple):
    """A tree in a bucket."""

    server: Server
    root: str

    def start(
        self, *arguments: str, lease: float | None = None, stops: str = ""
    ) -> subprocess.Popen[str]:
        """Start a command, whose lease lasts so many seconds from its last renewal.

        It stops itself, as a signal does, after its first change of a key that has `stops` in it.
        """
        room = "regfs.stores.bucket.changing"
        lasts = f"from {room} import lease; lease.LASTS = {lease}\n" if lease else ""
        stopping = STOPPING.format(part=stops) if stops else ""
        code = f"{lasts}{stopping}from regfs.cli import main; main()"
        return subprocess.Popen(
            [sys.executable, "-c", code, "-r", self.root, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, code: int = 0) -> Any:
        """Run a command to its end; return its document."""
        with self.start(*arguments, "--json") as process:
            out, err = process.communicate(timeout=300)
        assert process.returncode == code, out + err
        assert SECRET not in out + err and AZURE_KEY not in out + err
        return json.loads(out) if out else err

    def store(self) -> WritableStore:
        """Open it."""
        return open_store(of_url(self.root, os.environ))

    def keys(self, part: str) -> list[str]:
        """Return the keys of what regfs keeps there that hold a text."""
        import obstore

        prefix = self.root.partition("://")[2].partition("/")[2] + "/.regfs/"
        pages = obstore.list(object_store_of(self.root), prefix)
        return sorted(one["path"] for page in pages for one in page if part in one["path"])

    def end_lease(self) -> None:
        """Let the lease of who was killed be over: it would last most of a minute."""
        import obstore

        if keys := self.keys("/lock/"):
            obstore.delete(object_store_of(self.root), keys)

    def plan(self, file: Path) -> Path:
        """Plan to delete what has no tag."""
        self.run("gc", "plan", "-m", "--offline", "-o", str(file))
        return file


@contextmanager
def site_of(server: Server, folder: Path, *, versioned: bool) -> Iterator[Site]:
    """Put a tree with garbage into a bucket."""
    tree = TreeBuilder(folder / "registry")
    tree.push("app", "v1", OLD)
    tree.push("app", "v1", NEW)
    tree.blob(b"linked by nothing")
    with bucket_on(server) as root:
        site = Site(server, f"{root}/pfx")
        if versioned:
            keep_versions(server, root)
        fill(server, root.partition("://")[2], tree.root, "pfx")
        yield site


@BUCKETS
def test_what_is_applied_is_restored_or_purged(
    kind: str, versioned: bool, object_store: Servers, tmp_path: Path
) -> None:
    with site_of(object_store(kind), tmp_path, versioned=versioned) as site:
        before = held(site.root)
        plan = site.plan(tmp_path / "plan.json")
        applied = site.run("gc", "apply", str(plan))
        after = held(site.root)
        # Layer, config and manifest, their links and the history's, and what nothing links.
        assert len(before) - len(after) == 3 + 4 + 1, sorted(before.keys() - after.keys())
        assert after.items() <= before.items()
        site.run("gc", "restore", applied["run"])
        assert held(site.root) == before
        assert not site.keys("/quarantine/")
        again = site.run("gc", "apply", str(site.plan(tmp_path / "again.json")))
        site.run("gc", "purge", again["run"], "--offline")
        assert held(site.root) == after
        assert not site.keys("/quarantine/")
        site.run("verify")


def plan_of(registry: Registry) -> Plan:
    """Plan to delete what has no tag."""
    graph = build_graph(scan(registry.store), registry)
    return plan(graph, Policy(delete_untagged=True, min_age=0), time.time())


class Crash(BaseException):
    """The process ends here. No handler of an ordinary error may see it."""


@contextmanager
def dying(changes: int) -> Iterator[list[int]]:
    """Let this process die at a change: of two, at one it is not sent, at the next not answered."""
    send, lock, left = HTTPAdapter.send, threading.Lock(), [changes]

    def counted(adapter: HTTPAdapter, request: Any, **options: Any) -> Any:
        if request.method in ("GET", "HEAD"):
            return send(adapter, request, **options)
        with lock:
            left[0] -= 1
            if left[0] < 0:
                raise Crash
        answer = send(adapter, request, **options)
        if left[0] == 0 and changes % 2:
            left[0] = -1
            answer.close()
            raise Crash
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HTTPAdapter, "send", counted)
        yield left


@BUCKETS
def test_who_dies_at_any_of_many_moments_loses_nothing(
    kind: str, versioned: bool, object_store: Servers, tmp_path: Path
) -> None:
    with site_of(object_store(kind), tmp_path, versioned=versioned) as site:
        before = held(site.root)
        died, settled = 0, set[str]()
        for moment in (one for one in range(3 * MOMENTS) if one % 3 < 2):
            registry = Registry(site.store())
            planned = plan_of(registry)
            with dying(moment) as left, suppress(Crash):
                apply(planned, registry)
            died += left[0] < 0
            site.end_lease()
            for run in runs(site.store()):
                if run.run not in settled:
                    settled.add(run.run)
                    restore(site.store(), run.run)
            assert held(site.root) == before, moment
            if left[0] >= 0:
                break
        assert died >= MOMENTS


def wait_for(found: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait until something is there, or the process has ended."""
    until = time.monotonic() + 300
    while not found() and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.01)


@BUCKETS
def test_a_process_that_is_killed_loses_nothing(
    kind: str, versioned: bool, object_store: Servers, tmp_path: Path
) -> None:
    with site_of(object_store(kind), tmp_path, versioned=versioned) as site:
        before = held(site.root)
        plan = site.plan(tmp_path / "plan.json")
        with site.start("gc", "apply", str(plan)) as process:
            wait_for(lambda: site.keys("/quarantine/"), process)
            process.kill()
        site.end_lease()
        for run in site.run("gc", "runs"):
            site.run("gc", "restore", run["run"])
        assert held(site.root) == before
        assert not site.keys("/quarantine/")


@pytest.mark.parametrize("kind", kinds("rgw", "seaweedfs", "azurite"))
def test_one_of_two_at_once_is_refused(kind: str, object_store: Servers, tmp_path: Path) -> None:
    with site_of(object_store(kind), tmp_path, versioned=False) as site:
        plan = site.plan(tmp_path / "plan.json")
        with site.start("gc", "apply", str(plan), lease=600.0, stops="/lock/") as first:
            assert is_stopped(first)
            said = site.run("gc", "apply", str(plan), code=Exit.REFUSED.value)
            first.send_signal(signal.SIGCONT)
            out, err = first.communicate(timeout=300)
        assert first.returncode == 0, out + err
        assert "held by" in said
        assert len(said.splitlines()) == 1


@BUCKETS
def test_what_was_stopped_past_its_lease_changes_nothing_more(
    kind: str, versioned: bool, object_store: Servers, tmp_path: Path
) -> None:
    with site_of(object_store(kind), tmp_path, versioned=versioned) as site:
        before = held(site.root)
        plan = site.plan(tmp_path / "plan.json")
        for lease in (2.0, 8.0, 32.0):  # a busy machine may take all of a short one
            apply = ("gc", "apply", str(plan))
            with site.start(*apply, lease=lease, stops="/quarantine/") as first:
                if stopped := is_stopped(first):
                    time.sleep(lease + 2.5)
                    for run in site.run("gc", "runs"):
                        site.run("gc", "restore", run["run"])
                    # Of what it had asked for when it was stopped, the answers are on their way.
                    first.send_signal(signal.SIGCONT)
                out, err = first.communicate(timeout=300)
            if stopped:
                break
        assert stopped
        assert first.returncode == Exit.REFUSED.value, out + err
        assert "has lost its lease" in err
        assert held(site.root) == before


@needs_reference
@OF_S3
def test_what_is_pushed_between_apply_and_purge_can_be_pulled(
    kind: str, versioned: bool, object_store: Servers, tmp_path: Path
) -> None:
    server = object_store(kind)
    make_oci_layout(tmp_path / "oci", {"old": OLD, "new": NEW})
    with bucket_on(server) as bucket:
        site = Site(server, f"{bucket}/pfx")
        if versioned:
            keep_versions(server, bucket)
        with BucketRegistry(server, site.root) as registry:
            for name in ("old", "new"):
                copy(f"oci:{tmp_path}/oci:{name}", registry.image("app:v1"))
            there = held(site.root)
            applied = site.run("gc", "apply", str(site.plan(tmp_path / "plan.json")))
            assert len(there) - len(held(site.root)) == 3 + 4
            copy(f"oci:{tmp_path}/oci:old", registry.image("app:v2"))
            site.run("gc", "purge", applied["run"], "--offline")
            assert not site.keys("/quarantine/")
            for tag, content in (("v1", NEW), ("v2", OLD)):
                pull_all(registry.image(f"app:{tag}"), tmp_path / tag)
                manifest = (tmp_path / tag / "manifest.json").read_bytes()
                assert manifest == content.data
        site.run("verify")


@pytest.mark.parametrize("kind", kinds("azurite"))
def test_what_is_written_between_apply_and_purge_stays(
    kind: str, object_store: Servers, tmp_path: Path
) -> None:
    """As above, where Debian's registry has no driver: its writes are ours."""
    server = object_store(kind)
    with site_of(server, tmp_path, versioned=False) as site:
        applied = site.run("gc", "apply", str(site.plan(tmp_path / "plan.json")))
        again = TreeBuilder(tmp_path / "again")
        again.push("app", "v2", OLD)
        there = held(site.root)
        for path in again.root.rglob("*"):  # a registry writes no blob that is there
            if path.is_file() and path.relative_to(again.root).as_posix() in there:
                path.unlink()
        fill(server, site.root.partition("://")[2].partition("/")[0], again.root, "pfx")
        pushed = held(site.root)
        site.run("gc", "purge", applied["run"], "--offline")
        assert held(site.root) == pushed
        assert not site.keys("/quarantine/")
        site.run("show", "app:v2")
        site.run("verify")


@pytest.mark.parametrize("kind", kinds("rgw"))
def test_where_a_condition_is_ignored_versions_tell_who_was_first(
    kind: str, object_store: Servers, tmp_path: Path
) -> None:
    with site_of(object_store(kind), tmp_path, versioned=True) as site:
        before = held(site.root)
        plan = site.plan(tmp_path / "plan.json")
        with site.store().lock(".regfs/lock", "the first"):
            assert "the first" in site.run("gc", "apply", str(plan), code=Exit.REFUSED.value)
        assert held(site.root) == before
        applied = site.run("gc", "apply", str(plan))
        assert len(held(site.root)) < len(before)
        site.run("gc", "restore", applied["run"])
        assert held(site.root) == before
