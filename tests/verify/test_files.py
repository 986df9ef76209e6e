"""Which files the blobs of a tree are."""

from __future__ import annotations

import pytest

from regfs.digest import Digest
from regfs.stores import FileId, open_store
from regfs.tree.scan import scan
from regfs.verify import files
from regfs.verify.files import identify_blobs
from tests.support.builder import TreeBuilder, digest_of
from tests.support.verification import stocked


@pytest.mark.parametrize("many", [0, 10**9])
def test_each_blob_is_the_file_at_its_path(
    tree: TreeBuilder, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MANY", many)
    stocked(tree)
    store = open_store(str(tree.root))
    blobs = scan(store).blobs
    gone, *others = map(Digest, tree.blobs())
    tree.delete_blob(gone)
    found = identify_blobs(store, blobs)
    assert found.find(gone) is None
    assert found.find(Digest(digest_of(b"of another tree"))) is None
    for digest in others:
        status = tree.blob_path(digest).stat()
        assert found.find(digest) == FileId(status.st_dev, status.st_ino, status.st_ctime_ns)
