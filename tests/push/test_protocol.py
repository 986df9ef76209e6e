"""Uploads under any order of requests, across restarts."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from regfs.digest import Digest
from regfs.errors import ContentMismatch, OutOfOrder, UploadUnknown
from regfs.push.uploads import Upload
from tests.support.builder import TreeBuilder
from tests.support.stores import MEMORY
from tests.support.uploads import commit, uploads_of


class Protocol(RuleBasedStateMachine):
    """Uploads as a model: bytes that have arrived, and whether the upload still is."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="regfs-uploads-", dir=MEMORY)
        self.tree = TreeBuilder(Path(self._folder.name) / "registry")
        self.some = uploads_of(self.tree)
        self.open: dict[Upload, bytes] = {}
        self.blobs: dict[Digest, bytes] = {}

    def teardown(self) -> None:
        self._folder.cleanup()

    def pick(self, number: int) -> Upload:
        return list(self.open)[number % len(self.open)]

    @rule(name=st.sampled_from(["app", "app/x"]), algorithm=st.sampled_from(["sha256", "sha512"]))
    def begin(self, name: str, algorithm: str) -> None:
        if len(self.open) < 4:
            self.open[self.some.begin(name, algorithm)] = b""

    @precondition(lambda self: self.open)
    @rule(
        number=st.integers(0, 3), data=st.binary(max_size=40), skew=st.sampled_from([0, 0, 1, -1])
    )
    def send(self, number: int, data: bytes, skew: int) -> None:
        upload = self.pick(number)
        start = len(self.open[upload]) + skew
        try:
            with self.some.receive(upload.name, upload.id, start=start) as reception:
                for at in range(0, len(data), 7):
                    reception.write(data[at : at + 7])
        except OutOfOrder as error:
            assert skew != 0
            assert error.size == len(self.open[upload])
        else:
            assert skew == 0
            self.open[upload] += data

    @precondition(lambda self: self.open)
    @rule(
        number=st.integers(0, 3),
        data=st.binary(max_size=20),
        algorithm=st.sampled_from(["sha256", "sha384", "sha512"]),
        right=st.booleans(),
    )
    def commit(self, number: int, data: bytes, algorithm: str, right: bool) -> None:
        upload = self.pick(number)
        whole = self.open.pop(upload) + data
        digest = Digest.of(whole if right else whole + b"x", algorithm)
        try:
            commit(self.some, upload, digest, data)
        except ContentMismatch:
            assert not right
        else:
            assert right
            self.blobs[digest] = whole
        with pytest.raises(UploadUnknown):
            self.some.status(upload.name, upload.id)

    @precondition(lambda self: self.open)
    @rule(number=st.integers(0, 3))
    def cancel(self, number: int) -> None:
        upload = self.pick(number)
        self.some.cancel(upload.name, upload.id)
        del self.open[upload]

    @rule()
    def restart(self) -> None:
        self.some = uploads_of(self.tree)

    @invariant()
    def every_upload_stands_where_it_should(self) -> None:
        for upload, data in self.open.items():
            assert self.some.status(upload.name, upload.id).size == len(data)

    @invariant()
    def every_blob_is_there_and_nothing_else(self) -> None:
        found = {path for path in self.tree.files() if "/blobs/" in path}
        places = {digest: self.tree.blob_path(digest) for digest in self.blobs}
        assert found == {self.tree.relative(path) for path in places.values()}
        for digest, data in self.blobs.items():
            assert places[digest].read_bytes() == data


TestProtocol = Protocol.TestCase
TestProtocol.settings = settings(stateful_step_count=30)
