"""The protocol of `regfs.gc.collect` as a model, in a bucket: see `test_online_model`.

Whoever else is there does single requests between any two of the collector's. What comes in
addition: answers are lost after the deed, requests are carried out twice, and listings lag, by
less than the wait: each prefix by as much as it likes.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

import regfs.graph.read
import regfs.tree.scan
from regfs.gc.collect import collect, settle
from regfs.gc.plan import Plan, plan
from regfs.gc.policy import Policy
from regfs.graph import build_graph
from regfs.stores import open_store
from regfs.stores.bucket.changing import writing
from regfs.stores.bucket.place import of_url
from regfs.stores.bucket.requests import transport
from regfs.tree.registry import Registry
from regfs.tree.scan import scan
from tests.support.bucket_site import (
    ROOT,
    BucketCollector,
    BucketSite,
    TimedBucket,
    dump,
    load,
    timed_bucket,
)
from tests.support.builder import TreeBuilder
from tests.support.environment import reached_at
from tests.support.online import WAIT, start, with_garbage
from tests.support.online_model import (
    Online,
    assert_finds_a_loss,
    takes_a_while,
    without_the_wait,
)
from tests.support.registries import Oracle, fewer
from tests.support.s3.faults import Query
from tests.support.s3.server import serving_s3

LEASE = 60.0
"""Seconds after which the lease of a process that was killed has ended."""


@pytest.fixture(autouse=True, scope="module")
def one_request_at_a_time() -> Iterator[None]:
    """Many threads at once would stand at the gate in any order."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (regfs.graph.read, regfs.tree.scan):
            patch.setattr(
                module, "adaptive_map", lambda function, items, is_slow: map(function, items)
            )
        patch.setattr(writing, "AHEAD", 1)
        patch.setattr(transport, "_PAUSE", 0.001)
        yield


class InBucket(Online):
    """Anybody does one step at a time."""

    versioning: ClassVar[str] = ""
    conditional: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.bucket: TimedBucket = timed_bucket(self._clock)
        self.bucket.versioning = self.versioning
        self.bucket.conditional_delete = self.conditional
        self.bucket.behind = self._lag
        self.bucket.lose = self._lose
        self.bucket.repeat = self._repeat
        self.lags: dict[str, float] = {}
        self.lost = self.repeated = 0
        self.site = BucketSite(self.bucket, self.root, self._clock)
        self.kind = type("Here", (BucketCollector,), {"bucket": self.bucket})
        self._open = ExitStack()
        self._open.enter_context(serving_s3(self.bucket))
        self._open.enter_context(reached_at(self.bucket.url))

    # -- what the bucket does -----------------------------------------------------------

    def _lag(self, prefix: str) -> float:
        # One that does not show what was just written, as the probe asks, is refused at once.
        if prefix.startswith(".regfs/probe"):
            return 0.0
        return next((lag for part, lag in self.lags.items() if part in prefix), 0.0)

    def _is_change(self, method: str, key: str) -> bool:
        return method in ("PUT", "DELETE") and bool(key)

    def _lose(self, method: str, key: str, query: Query) -> bool:
        if not self.lost or not self._is_change(method, key):
            return False
        self.lost -= 1
        return True

    def _repeat(self, method: str, key: str, query: Query) -> bool:
        if not self.repeated or not self._is_change(method, key):
            return False
        self.repeated -= 1
        return True

    @rule(part=st.sampled_from(["blobs", "repositories", ".regfs"]), lag=st.floats(0, WAIT * 0.9))
    def listings_lag(self, part: str, lag: float) -> None:
        self.lags[part] = lag

    @rule(number=st.integers(1, 3))
    def answers_are_lost(self, number: int) -> None:
        self.lost = number

    @rule(number=st.integers(1, 5))
    def requests_are_repeated(self, number: int) -> None:
        self.repeated = number

    # -- the collector --------------------------------------------------------------------

    @initialize()
    def there_is_garbage(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            with_garbage(Path(folder))
            load(self.bucket, Path(folder))

    @rule(purge=st.booleans())
    @precondition(lambda self: self.collector is None)
    def begin(self, purge: bool) -> None:
        self.begun += 1
        self.collector = start(
            self.root,
            self._clock,
            purge=purge,
            by=self.collect,
            number=self.begun,
            kind=self.kind,
        )

    @rule()
    @precondition(lambda self: self.collector)
    def kill_the_collector(self) -> None:
        self._collect(lambda one: one.crash())
        self.now += LEASE

    @rule(seconds=st.sampled_from([1.0, WAIT, 10 * WAIT]))
    def set_the_clock(self, seconds: float) -> None:
        self.now += seconds

    # -- what must hold ---------------------------------------------------------------------

    def teardown(self) -> None:
        with self._folder, self._open:
            for client in self.clients:
                while not client.done:
                    client.step()
            if self.collector is not None:
                self.collector.crash()
            self.now += LEASE
            self.bucket.fault = lambda *_: None
            self.lags, self.lost, self.repeated = {}, 0, 0
            settle(self.registry())
            self.judge()

    def registry(self) -> Registry:
        return Registry(open_store(of_url(ROOT, os.environ)))

    def judge(self) -> None:
        self.site.assert_whole()
        later = time.time() + 10**8
        collect(self._plan(later), self.registry(), wait=0, purge=True, clock=lambda: later)
        self.site.assert_whole()
        assert self._plan(later).actions == []
        with tempfile.TemporaryDirectory() as folder:
            dump(self.bucket, Path(folder))
            tree = TreeBuilder(Path(folder))
            assert tree.blobs() <= Oracle(tree, untagged=True).blobs

    def _plan(self, now: float) -> Plan:
        registry = self.registry()
        policy = Policy(
            delete_untagged=True, min_age=0, uploads_older_than=0, allow_no_manifests=True
        )
        return plan(build_graph(scan(registry.store), registry), policy, now)


class InCopies(InBucket):
    """Without versions, as Ceph 16 answers: no delete is conditional."""

    conditional = False


class InVersions(InBucket):
    """With versions."""

    versioning = "Enabled"


class HastyInBucket(InCopies):
    """Purges while requests are under way that have looked before."""

    collect = staticmethod(without_the_wait)

    def judge(self) -> None:
        self.site.assert_whole()


@takes_a_while
def test_the_model_finds_by_itself_what_is_lost_by_less() -> None:
    assert_finds_a_loss(HastyInBucket)


for _machine in (InBucket, InCopies, InVersions):
    _machine.TestCase.settings = settings(fewer(10, least=6), stateful_step_count=40)

TestInBucket = InBucket.TestCase
TestInCopies = InCopies.TestCase
TestInVersions = InVersions.TestCase
