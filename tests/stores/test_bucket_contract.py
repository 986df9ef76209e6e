"""What is set aside in a bucket, brought back and dropped, against a plain model of it.

Answers are lost after the deed and requests are carried out twice; any process may go on where
another has ended; a registry writes the same keys meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from regfs.errors import PathMissing, StoreError
from regfs.stores import FileKind, WritableStore, open_store
from regfs.stores.bucket.place import of_url
from regfs.stores.bucket.requests import transport
from tests.support.buckets import NAME, FakeBucket, Stored, bucket_of
from tests.support.registries import fewer
from tests.support.s3.bucket import Conditions
from tests.support.stores import no_findings

RUN = ".regfs/runs/one"
JOURNAL = f"{RUN}/journal.jsonl"
V2 = "docker/registry/v2"
PLACES = [f"{V2}/blobs/sha256/aa/aa/data", f"{V2}/repositories/a/_layers/b/link"]
PATHS = st.sampled_from(PLACES)
DATA = st.sampled_from([b"", b"one", b"other"])


@pytest.fixture(autouse=True, scope="module")
def no_pause() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transport, "_PAUSE", 0.001)
        yield


def aside(path: str) -> str:
    return f"{RUN}/quarantine/{path}"


class Contract(RuleBasedStateMachine):
    """One process after the other changes a bucket."""

    versioning: ClassVar[str] = ""
    conditional: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self._open = ExitStack()
        self.bucket: FakeBucket = self._open.enter_context(bucket_of())
        self.bucket.versioning = self.versioning
        self.bucket.conditional_delete = self.conditional
        self.tree = {path: b"first" for path in [*PLACES, f"{V2}/there"]}
        self.bucket.objects |= {path: Stored(data, 0.0) for path, data in self.tree.items()}
        self.bucket.lose = lambda *told: self._once("lost", *told)
        self.bucket.repeat = lambda *told: self._once("repeated", *told)
        self.left = {"lost": 0, "repeated": 0}
        self.aside: dict[str, bytes] = {}
        self.log: list[bytes] = []
        self.overwritten: set[tuple[str, str]] = set()
        """Versions that are the bucket's own business."""
        self.store = self._store()

    def _store(self) -> WritableStore:
        return open_store(of_url(f"s3://{NAME}", os.environ))

    def _once(self, what: str, method: str, key: str, query: dict[str, str]) -> bool:
        if not self.left[what] or method not in ("PUT", "DELETE"):
            return False
        self.left[what] -= 1
        return True

    def _move(self, source: str, target: str) -> StoreError | None:
        (failure,) = self.store.move_many([(source, target)])
        return failure

    @rule(what=st.sampled_from(["lost", "repeated"]), number=st.integers(1, 4))
    def trouble(self, what: str, number: int) -> None:
        self.left[what] = number

    @rule()
    def another_process_goes_on(self) -> None:
        self.store = self._store()

    @rule(path=PATHS, data=DATA)
    def a_registry_writes(self, path: str, data: bytes) -> None:
        if path in self.tree and self.versioning:
            self.overwritten.add((path, self.bucket.objects[path].version))
        self.bucket.put(path, data, Conditions())
        self.tree[path] = data

    @rule(path=PATHS)
    def set_aside(self, path: str) -> None:
        failure = self._move(path, aside(path))
        if path not in self.tree:
            assert isinstance(failure, PathMissing)
        elif path in self.aside and self.aside[path] != self.tree[path]:
            assert "something is there already" in str(failure)
        elif failure is None:
            self.aside[path] = self.tree.pop(path)
        else:  # what was set aside before is the same, but for its time
            assert path in self.aside

    @rule(path=PATHS)
    @precondition(lambda self: not self.aside)
    def nothing_is_brought_back_or_dropped(self, path: str) -> None:
        assert isinstance(self._move(aside(path), path), PathMissing)
        assert self.store.delete([aside(path)]) == 0

    @rule(which=st.integers(0, 1))
    @precondition(lambda self: self.aside)
    def bring_back(self, which: int) -> None:
        path = sorted(self.aside)[which % len(self.aside)]
        failure = self._move(aside(path), path)
        if path in self.tree and self.tree[path] != self.aside[path]:
            assert "something is there already" in str(failure)
        else:
            assert failure is None
            self.tree[path] = self.aside.pop(path)

    @rule(which=st.integers(0, 1))
    @precondition(lambda self: self.aside)
    def drop(self, which: int) -> None:
        path = sorted(self.aside)[which % len(self.aside)]
        assert self.store.delete([aside(path)]) == 1
        del self.aside[path]

    @rule(path=PATHS)
    def nothing_in_the_tree_is_deleted(self, path: str) -> None:
        if path in self.tree:
            with pytest.raises(StoreError, match="never deleted in its place"):
                self.store.delete([path])

    @rule(data=st.sampled_from([b"a\n", b"bc\n"]))
    def note(self, data: bytes) -> None:
        with self.store.append(JOURNAL) as file:
            file.write(data)
            file.flush()
        self.log.append(data)

    @invariant()
    def all_is_where_it_should_be(self) -> None:
        held = {key: one.data for key, one in self.bucket.objects.items() if key.startswith(V2)}
        assert held == self.tree
        kept = {(key, one.version) for key, one, _ in self.bucket.versions()}
        assert self.overwritten <= kept
        found = self.store.walk(f"{RUN}/quarantine", no_findings)
        files = {one.path: one.size for one in found if one.kind is FileKind.FILE}
        assert files == {aside(path): len(data) for path, data in self.aside.items()}
        for path, data in self.aside.items():
            assert self.store.read(aside(path), 99) == data
        if self.log:
            assert self.store.read(JOURNAL, 9999) == b"".join(self.log)

    def teardown(self) -> None:
        self._open.close()


class AsCeph(Contract):
    """No delete is conditional."""

    conditional = False


class WithVersions(Contract):
    """A delete makes a marker."""

    versioning = "Enabled"


for _machine in (Contract, AsCeph, WithVersions):
    _machine.TestCase.settings = settings(fewer(3, least=10), stateful_step_count=25)

TestContract = Contract.TestCase
TestAsCeph = AsCeph.TestCase
TestWithVersions = WithVersions.TestCase


def test_a_writer_that_the_block_has_ended_is_left_alone() -> None:
    with bucket_of() as bucket:
        bucket.objects[PLACES[0]] = Stored(b"first", 0.0)
        store = open_store(of_url(f"s3://{NAME}", os.environ))
        with store.create(f"{RUN}/kept") as kept:
            kept.write(b"whole")
            kept.commit()
        with store.create(f"{RUN}/gone") as gone:
            gone.write(b"half")
            gone.discard()
        assert bucket.objects[f"{RUN}/kept"].data == b"whole"
        assert f"{RUN}/gone" not in bucket.objects
        with pytest.raises(StoreError, match="committed or discarded before"):
            kept.commit()
