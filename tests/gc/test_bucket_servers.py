"""Collecting in buckets of real object stores, with versions and without."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from regfs.cli.app import run
from regfs.stores.bucket.client import Client
from regfs.stores.bucket.place import of_url
from regfs.stores.bucket.signed import Signed
from regfs.stores.bucket.transport import S3Call
from tests.make_fixtures import TREES
from tests.support.real_buckets import Server, bucket_on, kinds

OBJECT_STORES = kinds("rgw", "seaweedfs")
VERSIONING = (
    b'<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    b"<Status>Enabled</Status></VersioningConfiguration>"
)


@contextmanager
def bucket(server: Server, tree: Path, *, versioned: bool) -> Iterator[str]:
    """Yield the root of a bucket that holds a tree."""
    with bucket_on(server, None, "pfx") as root:
        if versioned:
            call = S3Call("PUT", "", "", {"versioning": ""}, {}, VERSIONING)
            Signed(of_url(root, os.environ)).transport.ask(call)
        fill_bucket(root, tree)
        yield root


def fill_bucket(root: str, tree: Path) -> None:
    import obstore

    client = Client(of_url(root, os.environ))
    for path in sorted(tree.rglob("*")):
        if path.is_file():
            obstore.put(client._later, f"pfx/{path.relative_to(tree).as_posix()}", path)


def objects(root: str) -> dict[str, bytes]:
    """Return what the tree in a bucket holds."""
    client = Client(of_url(root, os.environ))
    found = [one for page in client.pages("pfx/docker") for one in page]
    return {one.key: client.read(one.key, one.size, one.size) for one in found}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    shutil.copytree(TREES / "tutorial", tmp_path / "tree")
    shutil.rmtree(tmp_path / "tree/.regfs", ignore_errors=True)
    return tmp_path / "tree"


@pytest.mark.parametrize("versioned", [True, False], ids=["versions", "copies"])
@pytest.mark.parametrize("kind", OBJECT_STORES)
def test_a_collection_is_restored_and_another_purged(
    kind: str, versioned: bool, tree: Path, object_store: Callable[[str], Server],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with bucket(object_store(kind), tree, versioned=versioned) as root:
        before = objects(root)
        assert run(["-r", root, "gc", "run", "-m", "--yes", "--offline"]) == 0
        assert len(objects(root)) == len(before) - 5
        assert run(["-r", root, "gc", "restore", "latest"]) == 0
        assert objects(root) == before
        assert run(["-r", root, "untag", "my-busybox:latest"]) == 0
        assert run(["-r", root, "gc", "restore", "latest"]) == 0
        assert objects(root) == before
        run(["-r", root, "gc", "run", "-m", "--yes", "--offline", "--purge"])
        assert len(objects(root)) == len(before) - 5
        capsys.readouterr()
        assert run(["-r", root, "gc", "runs", "--json"]) == 0
        states = {one["state"] for one in json.loads(capsys.readouterr().out)}
        assert states == {"restored", "purged"}
        assert run(["-r", root, "verify"]) == 0
        if versioned:
            signed = Signed(of_url(root, os.environ))
            versions = [one for page in signed.versions("pfx/docker") for one in page]
            assert {one.key for one in versions} == objects(root).keys()
            assert not any(one.marker for one in versions)
