"""A model of whoever uses a registry beside a collector: anybody does one step at a time.

See `tests/gc/test_online_model.py`, where it runs on a folder.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from regfs.gc.collect import collect, settle
from regfs.gc.plan import Plan
from regfs.gc.sweep import Applied
from regfs.runs import purge as purge_run
from regfs.stores import open_store, writable
from regfs.tree.registry import Registry
from tests.support.docker_registry import Client, Site, mount_and_put, push
from tests.support.gates import Collector
from tests.support.images import Content
from tests.support.online import IMAGES, WAIT, start, with_garbage
from tests.support.registries import Oracle, plan_of

NAMES = ["a", "a/b"]
TAGS = ["v1", "v2"]
STEPS = st.integers(0, 8)


class Online(RuleBasedStateMachine):
    """Anybody does one step at a time."""

    collect: Callable[..., Applied] | None = None
    """What collects in place of the real one."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="online-")
        self.root = Path(self._folder.name)
        # Whole seconds: sums of fractions are now less and now more than an age.
        self.now = float(int(time.time()))
        self.begun = 0
        self.site = Site(self.root, self._clock)
        self.clients: list[Client] = []
        self.collector: Collector | None = None

    def _clock(self) -> float:
        return self.now

    @initialize()
    def there_is_garbage(self) -> None:
        with_garbage(self.root)

    # -- clients ------------------------------------------------------------------

    def _join(self, requests: Iterator[Any], steps: int) -> None:
        """Let a client begin, and get on so far before anybody else does a thing."""
        self.clients.append(Client(requests))
        self.serve(len(self.clients) - 1, steps)

    @rule(
        name=st.sampled_from(NAMES),
        tag=st.sampled_from(TAGS),
        content=st.sampled_from(IMAGES),
        steps=STEPS,
    )
    def push(self, name: str, tag: str, content: Content, steps: int) -> None:
        self._join(push(self.site, name, tag, content), steps)

    @rule(
        way=st.permutations(NAMES),
        tag=st.sampled_from(TAGS),
        content=st.sampled_from(IMAGES),
        steps=STEPS,
    )
    def mount(self, way: list[str], tag: str, content: Content, steps: int) -> None:
        self._join(mount_and_put(self.site, way[0], way[1], tag, content), steps)

    @rule(
        name=st.sampled_from(NAMES),
        tag=st.sampled_from(TAGS),
        content=st.sampled_from(IMAGES),
        steps=STEPS,
    )
    def retag(self, name: str, tag: str, content: Content, steps: int) -> None:
        """Put a manifest that may be there, without a look at anything before."""
        self._join(iter([self.site.put_manifest(name, tag, content)]), steps)

    @rule(name=st.sampled_from(NAMES), content=st.sampled_from(IMAGES), steps=STEPS)
    def delete(self, name: str, content: Content, steps: int) -> None:
        self._join(iter([self.site.delete(name, content.digest)]), steps)

    @rule(which=st.integers(0, 9), steps=st.integers(1, 8))
    @precondition(lambda self: self.clients)
    def serve(self, which: int, steps: int) -> None:
        client = self.clients[which % len(self.clients)]
        for _ in range(steps):
            client.step()
        self.clients = [one for one in self.clients if not one.done]

    @rule(which=st.integers(0, 9))
    @precondition(lambda self: self.clients)
    def serve_all(self, which: int) -> None:
        client = self.clients.pop(which % len(self.clients))
        while not client.done:
            client.step()

    # -- the collector --------------------------------------------------------------

    @rule(purge=st.booleans())
    @precondition(lambda self: self.collector is None)
    def begin(self, purge: bool) -> None:
        self.begun += 1
        self.collector = start(
            self.root, self._clock, purge=purge, by=self.collect, number=self.begun
        )

    def _collect(self, act: Callable[[Collector], None]) -> None:
        assert self.collector is not None
        act(self.collector)
        if self.collector.done:
            self.collector = None

    @rule(steps=st.integers(1, 40))
    @precondition(lambda self: self.collector)
    def collect_some(self, steps: int) -> None:
        def go_on(collector: Collector) -> None:
            for _ in range(steps):
                collector.step()

        self._collect(go_on)

    @rule()
    @precondition(lambda self: self.collector)
    def collect_to_a_move(self) -> None:
        self._collect(lambda one: one.run_to("move", "delete_tree"))

    @rule()
    @precondition(lambda self: self.collector)
    def collect_to_the_pause(self) -> None:
        self._collect(lambda one: one.run_to("pause"))

    @rule()
    @precondition(lambda self: self.collector)
    def collect_to_the_end(self) -> None:
        """Or to the pause, where that is still before it."""
        self._collect(lambda one: one.run_to())

    @rule()
    @precondition(lambda self: self.collector and self.collector.pausing is not None)
    def let_the_wait_be_over(self) -> None:
        for client in self.clients:
            client.finish_request()
        self.now += WAIT
        self._collect(lambda one: one.resume())

    @rule(purge=st.booleans())
    @precondition(lambda self: self.collector is None)
    def collect_at_once(self, purge: bool) -> None:
        """Collect while nobody else does a thing, but for what was under way before the wait."""
        self.begin(purge)
        self.collect_to_the_end()
        if self.collector is not None:
            self.let_the_wait_be_over()
        if self.collector is not None:
            self.collect_to_the_end()

    @rule()
    @precondition(lambda self: self.collector)
    def kill_the_collector(self) -> None:
        self._collect(lambda one: one.crash())

    # -- time ----------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1.0, WAIT, 10 * WAIT, -5 * WAIT, -1.0]))
    def set_the_clock(self, seconds: float) -> None:
        self.now += seconds

    # -- what must hold -------------------------------------------------------------------

    @invariant()
    def no_collector_has_failed(self) -> None:
        assert self.collector is None or self.collector.error is None

    def teardown(self) -> None:
        with self._folder:
            for client in self.clients:
                while not client.done:
                    client.step()
            if self.collector is not None:
                self.collector.crash()
            settle(Registry(open_store(str(self.root))))
            self.judge()

    def judge(self) -> None:
        """Be sure that nothing is lost, and that nothing else is left."""
        self.site.assert_whole()
        assert_clean_after_an_offline_run(self.site)


def assert_clean_after_an_offline_run(site: Site) -> None:
    options: dict[str, Any] = {"delete_untagged": True, "min_age": 0, "uploads_older_than": 0}
    options["now"] = later = time.time() + 10**8
    made = plan_of(site.tree, **options)
    registry = Registry(open_store(str(site.tree.root)))
    collect(made, registry, wait=0, purge=True, clock=lambda: later)
    site.assert_whole()
    assert plan_of(site.tree, **options).actions == []
    assert site.tree.blobs() <= Oracle(site.tree, untagged=True).blobs


def without_the_second_mark(
    made: Plan, registry: Registry, *, purge: bool, **options: Any
) -> Applied:
    """Apply, settle, wait, and purge without another look."""
    applied = collect(made, registry, **options)
    if purge and made.actions:
        options["pause"](WAIT)
        purge_run(writable(registry.store), made.id)
    return applied


def without_the_wait(made: Plan, registry: Registry, **options: Any) -> Applied:
    """Apply, settle, and purge while requests are under way that have looked before."""
    return collect(made, registry, wait=0, **options)


class Lesser(Online):
    """Only what was acknowledged and is lost is held against it."""

    def judge(self) -> None:
        self.site.assert_whole()


takes_a_while = pytest.mark.skipif(
    settings().max_examples < 1000, reason="takes a while: HYPOTHESIS_PROFILE=thorough"
)


def assert_finds_a_loss(machine: type[Online]) -> None:
    """See that the model finds what is lost by a collector that does less."""
    some = settings(
        max_examples=1000,
        stateful_step_count=40,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        print_blob=False,
    )
    with pytest.raises(AssertionError) as lost:
        run_state_machine_as_test(machine, settings=some)
    assert "_assert_manifest" in {entry.name for entry in lost.traceback}
