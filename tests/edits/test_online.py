"""An edit while docker-registry serves pushes step by step: what it acknowledged is whole after.

The steps of the registry are those of `tests.support.docker_registry`. Before each operation of
the edit on its store the clients may do some; in the end a collection settles.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import regfs.graph.read
import regfs.tree.scan
from regfs.errors import RegfsError
from regfs.gc.collect import collect
from regfs.layout import name_of
from regfs.stores import open_store
from regfs.tree.registry import Registry
from tests.support.docker_registry import Client, Site, push
from tests.support.edits import editor, is_served
from tests.support.images import image
from tests.support.online import ARM, IMAGES, ONE
from tests.support.registries import plan_of

EDITS = [
    ("rm", "a:one"),
    ("rm", "a:multi"),
    ("rm", f"a@{ONE.digest}"),
    ("rm", "a"),
    ("untag", "a:one"),
    ("mv", "a", "b"),
]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """What is random here must come in the same order each time."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (regfs.graph.read, regfs.tree.scan):
            patch.setattr(
                module, "adaptive_map", lambda function, items, is_slow: map(function, items)
            )
        yield


class BusyStore:
    """A store beside which clients go on with their pushes, a few steps at each operation."""

    OPERATIONS = frozenset(
        {"list", "leaves", "contents", "stat", "examine", "move", "move_many", "create", "append",
         "sync", "delete", "tree", "read"}
    )  # fmt: skip

    def __init__(self, root: Path, clients: list[Client], chance: random.Random) -> None:
        self._store = open_store(str(root))
        self._clients = clients
        self._chance = chance

    def snapshot(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        if name in self.OPERATIONS and self._chance.random() < 0.2:
            for _ in range(self._chance.randrange(4)):
                self._chance.choice(self._clients).step()
        return getattr(self._store, name)


@given(
    st.sampled_from(EDITS),
    st.lists(st.sampled_from(range(len(IMAGES))), min_size=1, max_size=3),
    st.integers(0, 2**32),
)
def test_what_the_registry_acknowledged_meanwhile_is_whole(
    call: tuple[str, ...], pushed: list[int], seed: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), time.time)
        site.tree.push("a", "one", ONE)
        site.tree.push("a", "multi", IMAGES[2])
        site.tree.push("a", "other", image(["other"]))
        site.tree.push("c", "v1", ARM)
        clients = [
            Client(push(site, "a", f"new-{number}", IMAGES[chosen]))
            for number, chosen in enumerate(pushed)
        ]
        store: Any = BusyStore(Path(folder), clients, random.Random(seed))
        method, *arguments = call
        removed = set()
        try:
            done = getattr(editor(site.tree, store), method)(*arguments)
            removed = {name_of(one.path) for one in done.removed if one.kind == "tag"}
        except RegfsError:
            pass  # a link that is being written may be in doubt
        for client in clients:
            while not client.done:
                client.step()
        registry = Registry(open_store(folder))
        for _ in range(2):
            collect(plan_of(site.tree, min_age=0.0), registry)
        for (name, tag), content in site.acknowledged.items():
            # What was acknowledged before may have been removed or moved by name.
            if tag in removed and method != "mv" and not site.tree.tag_path(name, tag).exists():
                continue
            places = [one for one in (name, "b") if site.tree.tag_path(one, tag).exists()]
            assert places, (call, name, tag)
            for one in places:
                assert site.tree.current(one, tag) == content.digest
                assert is_served(site.tree, one, content), (call, one, tag)
