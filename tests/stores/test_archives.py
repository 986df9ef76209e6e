"""What a tar of a folder answers is what the folder answers, whatever its form and order."""

from __future__ import annotations

import hashlib
import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from regfs.errors import NotARegistry, PathMissing, PathUnsafe, Refused, StoreError
from regfs.manifests.media_types import LIMIT
from regfs.stores import Capability, FileKind, Store, open_store, writable
from regfs.stores.archive.streamed import KEPT, SMALL, StreamOptions
from tests.support.archives import FORMS, opened, packed, standard_input, tar_of
from tests.support.stores import no_findings

V2 = "docker/registry/v2"
PARTS = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8
).filter(lambda part: part not in {".", ".."} and len(part.encode()) < 60)
LARGE = 30_001
Tree = dict[tuple[str, ...], bytes | int | None]
"""Parts of a path -> content, or how much of one: even is like JSON, odd is not; None: a folder."""
TREES = st.dictionaries(
    st.lists(PARTS | st.sampled_from("abl"), min_size=1, max_size=4).map(tuple),
    st.none() | st.binary(max_size=40) | st.sampled_from([20_000, LARGE]),
    max_size=10,
)


def answers(store: Store) -> list[Any]:
    """Return what a store answers to every question about all that is in it."""
    folders = [V2, "docker", *(e.path for e in store.walk(V2, no_findings) if _folder(e.kind))]
    files = [e.path for e in store.walk(V2, no_findings) if e.kind is FileKind.FILE]
    found: list[Any] = [[(e.path, e.kind) for e in store.walk("docker", no_findings)]]
    for folder in folders:
        found.append([(e.path, e.kind) for e in store.list(folder, no_findings)])
        found.append(store.stat(folder).kind)
        found.append(_set(store.subfolders(folder, no_findings)))
        for leaf in ("a", "l", "a/l"):
            leaves = store.leaves(folder, leaf, no_findings, limit=7)
            columns = (leaves.names, leaves.sizes, leaves.mtimes, leaves.contents)
            found.append(sorted(zip(*columns, strict=True)))
            found.append(sorted(leaves.absent))
            found.append(sorted((e.path, e.kind) for e in leaves.others))
            only = store.leaves(folder, leaf, no_findings, only={"a", "b"})
            found.append(sorted(only.names))
        found.append(list(store.contents(folder, [], "a", 3)))
    for path in files:
        entry = store.stat(path)
        found.append((path, entry.size, entry.mtime, entry.kind))
        found.append(store.read(path, 5))
        for offset, length in ((0, None), (2, None), (1, 3), (9, 9), (90_000, 1)):
            with store.open(path, offset, length) as stream:
                found.append(stream.read())
        above, _, name = path.rpartition("/")
        found.append(list(store.contents(above.rpartition("/")[0], [_last(above)], name, 4)))
        (state,) = store.examine([path], limit=4)
        found.append(state if isinstance(state, StoreError) else (state.alone, state.content))
    found.append(list(store.tree("docker", no_findings, leaf="l", limit=6)))
    return found


def _folder(kind: FileKind) -> bool:
    return kind is FileKind.FOLDER


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _set(names: Any) -> Any:
    return None if names is None else sorted(names)


def _grow(folder: Path, tree: Tree) -> Path:
    """Write a tree, as far as its names do not stand in each other's way."""
    root = folder / "registry"
    (root / V2).mkdir(parents=True)
    for parts, data in tree.items():
        place = (root / V2).joinpath(*parts)
        if place.exists() or any(above.is_file() for above in place.parents):
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        if data is None:
            place.mkdir()
            continue
        if isinstance(data, int):
            data = (b"x" if data % 2 else b"{") * data
        place.write_bytes(data)
    return root


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    tree=TREES,
    seed=st.integers(0, 99),
    kind=st.sampled_from(FORMS),
    form=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    prefix=st.sampled_from(["", "./", "/", "var/lib/registry/", "/./"]),
)
def test_a_tar_answers_as_the_folder(
    memory: Path, tree: Tree, seed: int, kind: str, form: int, prefix: str
) -> None:
    # What is large and no manifest passes by on a pipe.
    assume(kind != "stdin" or LARGE not in tree.values())
    folder = memory / str(len(list(memory.iterdir())))
    folder.mkdir()
    root = _grow(folder, tree)
    for path in root.rglob("*"):
        _set_time(path)
    data = packed(root, form=form, shuffle=random.Random(seed), prefix=prefix)
    assert answers(opened(data, kind, folder)) == answers(open_store(str(root)))


def _set_time(path: Path) -> None:
    os.utime(path, (1_790_000_000, 1_790_000_000 + path.stat().st_size))


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize(
    "name", ["registry/v2/blobs/x", "v2/repositories/a", "./v2/blobs/x", "docker/registry/v2/x"]
)
def test_the_tree_is_found_from_the_last_part_of_its_path_on(
    tmp_path: Path, kind: str, name: str
) -> None:
    store = opened(tar_of([(name, b"1"), ("else/where", b"2")]), kind, tmp_path)
    (path,) = (e.path for e in store.walk(V2, no_findings) if e.kind is FileKind.FILE)
    assert path.endswith(name[-2:])
    assert store.read(path, 9) == b"1"


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a/docker/registry/v2/x", "b/docker/registry/v2/x"], "more than one registry"),
        (["docker/registry/v20/x"], "no registry in it"),
        (["blobs/sha256/x"], "no registry in it"),
    ],
)
def test_one_tree_is_to_be_in_it(tmp_path: Path, kind: str, names: list[str], words: str) -> None:
    with pytest.raises(NotARegistry, match=words):
        opened(tar_of([(name, b"1") for name in names]), kind, tmp_path)


@pytest.mark.parametrize("kind", FORMS)
def test_a_registry_within_the_registrys_own_state_is_none(tmp_path: Path, kind: str) -> None:
    inner = f".regfs/runs/1/quarantine/{V2}/blobs/y"
    store = opened(tar_of([(inner, b"1"), (f"{V2}/blobs/x", b"2")]), kind, tmp_path)
    assert store.read(inner, 9) == b"1"
    assert [e.path for e in store.list(f"{V2}/blobs", no_findings)] == [f"{V2}/blobs/x"]


@pytest.mark.parametrize("kind", FORMS)
def test_what_cannot_be_meant_is_refused_and_what_is_not_there_is_missing(
    tmp_path: Path, kind: str
) -> None:
    store = opened(tar_of([(f"{V2}/a/data", b"1")]), kind, tmp_path)
    for path in ("/etc", "..", "a/../b", "a//b", "a/", ".", "a\0b", "\ud800"):
        attempts: list[Callable[[str], object]] = [
            lambda path: store.list(path, no_findings),
            lambda path: list(store.tree(path, no_findings)),
            lambda path: list(store.walk(path, no_findings)),
            lambda path: store.leaves(path, "data", no_findings),
            lambda path: store.leaves("a", path, no_findings),
            store.stat,
            store.open,
            lambda path: store.read(path, 1),
        ]
        for attempt in attempts:
            with pytest.raises(PathUnsafe):
                attempt(path)
    for path in ("b", f"{V2}/a/b", f"{V2}/a/data/deeper"):
        with pytest.raises(PathMissing):
            store.stat(path)
        with pytest.raises(PathMissing):
            store.read(path, 1)
    with pytest.raises(PathUnsafe):
        store.open(f"{V2}/a")
    assert store.list("no/such", no_findings) == []
    assert list(store.tree("no/such", no_findings)) == []


@pytest.mark.parametrize("kind", FORMS)
def test_nothing_is_changed_and_the_refusal_says_what_to_do(tmp_path: Path, kind: str) -> None:
    store: Any = opened(tar_of([(f"{V2}/a", b"1")]), kind, tmp_path)
    assert Capability.CHANGE not in store.capabilities
    with pytest.raises(Refused, match="unpack it, and give the folder"):
        writable(store)
    attempts: list[Callable[[], object]] = [
        lambda: store.create("a"),
        lambda: store.append("a"),
        lambda: store.move("a", "b"),
        lambda: store.replace("a", "b"),
        lambda: store.move_many([("a", "b")]),
        lambda: store.delete(["a"]),
        lambda: store.delete_tree("a"),
        lambda: store.require_writable(()),
        lambda: store.claim("a", 1),
        lambda: store.sync(""),
        lambda: store.share("a", None),
        lambda: store.lock("a", "me"),
    ]
    for attempt in attempts:
        with pytest.raises(Refused, match="unpack it, and give the folder"):
            attempt()


BIG = f"{V2}/blobs/sha256/ab/{'ab' * 32}/data"
JSON = f"{V2}/blobs/sha256/cd/{'cd' * 32}/data"


def sha512(name: bytes) -> str | None:
    return "sha512" if name.endswith(b"data") else None


def test_a_pipe_keeps_what_is_small_or_looks_like_a_manifest_and_hashes_the_rest(
    tmp_path: Path,
) -> None:
    assert KEPT == LIMIT + 1
    big, json = b"x" * (SMALL + 1), b'\n {"a": "' + b"b" * KEPT
    data = tar_of([(BIG, big), (JSON, json), (f"{V2}/small", b"y" * SMALL)])
    store = opened(data, "stdin", tmp_path, StreamOptions(sha512))
    assert store.digest(BIG, "sha512") == hashlib.sha512(big).hexdigest()
    assert store.digest(JSON, "sha512") == hashlib.sha512(json).hexdigest()
    assert store.digest(BIG, "sha256") is None
    assert store.digest(f"{V2}/small", "sha512") is None
    assert store.read(f"{V2}/small", SMALL) == b"y" * SMALL
    assert store.read(JSON, KEPT) == json[:KEPT]
    with store.open(JSON, 5, 10) as part:
        assert part.read() == json[5:15]
    for ask in (lambda: store.open(BIG), lambda: store.open(JSON), lambda: store.read(BIG, 1)):
        with pytest.raises(StoreError, match="is read once; save the archive to a file"):
            ask()


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.zst"])
def test_a_file_gives_every_byte_again(tmp_path: Path, kind: str) -> None:
    big = random.Random(1).randbytes(700_000)
    store = opened(tar_of([(BIG, big), (JSON, b"{" + big), (BIG + "2", big)]), kind, tmp_path)
    for offset, length in ((0, None), (699_000, 5000), (300_000, 100)):
        for path, data in ((BIG, big), (JSON, b"{" + big), (BIG + "2", big)):
            with store.open(path, offset, length) as part:
                end = None if length is None else offset + length
                assert part.read() == data[offset:end]


def test_a_plain_file_on_standard_input_is_read_where_it_lies(tmp_path: Path) -> None:
    big = b"x" * 100_000
    with standard_input(tar_of([(BIG, big)]), file=tmp_path / "file"):
        store = open_store("-")
    assert store.read(BIG, 200_000) == big


def test_standard_input_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    before, writing = os.dup(0), os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    try:
        os.dup2(writing, 0)
        with pytest.raises(StoreError, match="standard input cannot be read: Bad file descriptor"):
            open_store("-")
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(writing)


def test_standard_input_that_is_no_archive(tmp_path: Path) -> None:
    for data in (b"", b"hello", b"\x1f\x8bnot gzip", b"\x28\xb5\x2f\xfd", b"x" * 2000):
        with standard_input(data), pytest.raises(NotARegistry, match=r"^-: not a tar archive: "):
            open_store("-")
