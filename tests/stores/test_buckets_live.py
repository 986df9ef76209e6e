"""A bucket asked live, and as a snapshot: both tell the same, and what came since only the one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from regfs.cli.app import run
from regfs.cli.session import Exit
from regfs.errors import PathMissing, PathUnsafe, StoreError
from regfs.findings import Finding
from regfs.stores import FileKind, Store, open_store
from regfs.stores.bucket.place import of_url
from tests.make_fixtures import TREES
from tests.support.buckets import NAME, FakeBucket, Stored, bucket_of
from tests.support.stores import no_findings

ROOT = f"s3://{NAME}/pfx"
V2 = "docker/registry/v2"


@pytest.fixture
def bucket() -> Iterator[FakeBucket]:
    """A bucket with a small tree, whose times have parts of seconds."""
    with bucket_of(TREES / "whole", "pfx/") as served:
        for number, key in enumerate(served.objects):
            served.objects[key] = served.objects[key]._replace(mtime=1.7e9 + number + 0.123)
        yield served


def opened() -> Store:
    """Return the bucket with the keys in the environment, as commands open it."""
    return open_store(of_url(ROOT, dict(os.environ)))


def walked(walk: Callable[..., Iterator[object]], path: str) -> None:
    for _ in walk(path, no_findings):
        pass


def told(store: Store, folders: list[str]) -> list[object]:
    """Return all that a store tells of some folders, but for the times of folders."""
    found: list[object] = []
    for folder in folders:
        listed = store.list(folder, no_findings)
        found += [one._replace(mtime=0.0) if one.kind is FileKind.FOLDER else one for one in listed]
        names = store.subfolders(folder, no_findings)
        found.append(None if names is None else sorted(names))
        found += store.walk(folder, no_findings)
        found += store.tree(folder, no_findings, leaf="link", limit=99)
        for leaf in ("link", "current/link", "data"):
            found.append(store.leaves(folder, leaf, no_findings, limit=9))
    return found


@pytest.mark.parametrize("name", ["whole", "tutorial", "damaged-link-empty", "digest-only"])
def test_a_snapshot_tells_what_the_bucket_does(name: str) -> None:
    with bucket_of(TREES / name, "pfx/"):
        live = opened()
        snapshot = live.snapshot()
        entries = list(snapshot.walk("docker", no_findings))
        folders = [one.path for one in entries if one.kind is FileKind.FOLDER]
        assert told(live, folders) == told(snapshot, folders)
        assert snapshot.snapshot() is snapshot
        files = [one.path for one in entries if one.kind is FileKind.FILE]
        assert all(live.read(path, 99) == snapshot.read(path, 99) for path in files)


def test_a_file_looks_the_same_however_it_is_looked_at(bucket: FakeBucket) -> None:
    live = opened()
    snapshot = live.snapshot()
    for key in bucket.objects:
        path = key.removeprefix("pfx/")
        entry = snapshot.stat(path)
        assert live.stat(path) == entry
        (look,) = live.examine([path], limit=9)
        assert not isinstance(look, StoreError)
        assert look.entry == entry
        assert look.content == bucket.objects[key].data[:9]
        (again,) = live.examine([look])
        assert again is look


def test_what_came_or_went_since_shows_live_only(bucket: FakeBucket) -> None:
    live = opened()
    snapshot = live.snapshot()
    folder = f"{V2}/repositories/app/_manifests/tags"
    bucket.objects[f"pfx/{folder}/new/current/link"] = Stored(b"x", 0.0)
    gone = next(key.removeprefix("pfx/") for key in bucket.objects if key.endswith("/data"))
    del bucket.objects[f"pfx/{gone}"]
    assert live.stat(f"{folder}/new").kind is FileKind.FOLDER
    assert "new" in live.leaves(folder, "current/link", no_findings).names
    assert "new" not in snapshot.leaves(folder, "current/link", no_findings).names
    assert snapshot.stat(gone).kind is FileKind.FILE
    for path in (gone, f"{gone}/x", "docker/none", "docker/\udcff"):
        with pytest.raises(PathMissing):
            live.stat(path)
        with pytest.raises(PathMissing):
            live.open(path)
        (error,) = live.examine([path])
        assert isinstance(error, PathMissing)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "..", "../x", "a/../b", "a//b", "a/", ".", "a/./b", "a\0b", "\ud800"]
)
def test_paths_that_cannot_be_meant_are_refused(bucket: FakeBucket, path: str) -> None:
    live = opened()
    bucket.requests.clear()
    for store in (live, live.snapshot()):
        attempts: list[Callable[[], object]] = [
            partial(store.list, path, no_findings),
            partial(store.subfolders, path, no_findings),
            partial(walked, store.walk, path),
            partial(walked, store.tree, path),
            partial(store.leaves, path, "data", no_findings),
            partial(store.leaves, "docker", path, no_findings),
            partial(store.stat, path),
            partial(store.open, path),
            partial(store.read, path, 1),
            partial(live.signed_url, path, 1.0),
        ]
        for attempt in attempts:
            with pytest.raises(PathUnsafe):
                attempt()


def test_a_key_that_cannot_be_asked_for_is_not_gone(bucket: FakeBucket) -> None:
    for ask in (opened().stat, opened().open):
        with pytest.raises(StoreError) as raised:
            ask(f"{V2}/a\x01b")
        assert not isinstance(raised.value, PathMissing)


def test_a_folder_is_as_old_as_the_youngest_in_it(bucket: FakeBucket) -> None:
    inside = [one.mtime for key, one in bucket.objects.items() if "/repositories/app/" in key]
    assert opened().stat(f"{V2}/repositories/app").mtime == max(inside) // 1


@pytest.mark.parametrize("call", ["list", "walk", "subfolders", "tree", "leaves"])
def test_what_cannot_be_listed_is_raised(bucket: FakeBucket, call: str) -> None:
    """Who passes it over would take what is there for gone."""
    store = opened()
    bucket.denied = {"s3:ListBucket"}
    with pytest.raises(StoreError, match="lack s3:ListBucket"):
        if call == "leaves":
            store.leaves(V2, "link", no_findings)
        else:
            getattr(store, call)(V2, no_findings)


def test_keys_that_are_no_paths_are_told_of_the_folder_they_are_in(bucket: FakeBucket) -> None:
    folder = f"{V2}/repositories/app"
    store = opened()
    expected = [one.path for one in store.list(folder, no_findings)]
    bucket.objects[f"pfx/{folder}//b"] = Stored(b"x", 0.0)
    for ask in (store.list, store.walk, store.tree):
        found: list[Finding] = []
        assert list(ask(folder, found.append))
        assert [one.path for one in found] == [folder]
    assert [one.path for one in store.list(folder, lambda _: None)] == expected
    assert store.stat(folder).kind is FileKind.FOLDER


# -- failures --------------------------------------------------------------------------


def line_of(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """Return the one line in which a command fails."""
    assert run(["-r", ROOT, *arguments]) == Exit.STORAGE.value
    captured = capsys.readouterr()
    assert not captured.out
    (line,) = captured.err.splitlines()
    return line


@pytest.mark.parametrize("command", ["ls", "du", "verify", "cat app:v1", "log app:v1"])
@pytest.mark.parametrize("right", ["s3:ListBucket", "s3:GetObject"])
def test_a_missing_right_is_named(
    bucket: FakeBucket, capsys: pytest.CaptureFixture[str], right: str, command: str
) -> None:
    bucket.denied = {right}
    assert f"permission denied: these credentials lack {right}" in line_of(capsys, command.split())


def test_a_wrong_clock_is_named(bucket: FakeBucket, capsys: pytest.CaptureFixture[str]) -> None:
    bucket.clock = 3600.0
    assert "the clock of this machine is wrong" in line_of(capsys, ["ls"])


def test_the_name_of_a_repository_is_no_reason(
    bucket: FakeBucket, capsys: pytest.CaptureFixture[str]
) -> None:
    for key in [key for key in bucket.objects if "/repositories/app/" in key]:
        bucket.objects[key.replace("/app/", "/oauth/")] = bucket.objects[key]
    bucket.fault = lambda method, key, query: (400, "Odd") if key.endswith("/link") else None
    assert "answers 400 (Odd)" in line_of(capsys, ["cat", "oauth:v1"])
