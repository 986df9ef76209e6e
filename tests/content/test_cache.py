"""The cache: bounded, shared by processes, and absent rather than wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from regfs.content.cache import Cache
from regfs.digest import Digest

ONE, OTHER = Digest.of(b"one"), Digest.of(b"other")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(str(tmp_path / "cache/layers"))


def only_file(cache: Cache) -> Path:
    (path,) = Path(cache.folder).iterdir()
    return path


def test_what_is_kept_comes_back(cache: Cache) -> None:
    assert cache.get("entries", ONE) is None
    cache.put("entries", ONE, b"data" * 1000)
    cache.put("paths", ONE, b"")
    assert cache.get("entries", ONE) == b"data" * 1000
    assert cache.get("paths", ONE) == b""
    assert cache.get("entries", OTHER) is None
    assert cache.problem is None


def test_the_latest_counts(cache: Cache) -> None:
    cache.put("entries", ONE, b"old")
    cache.put("entries", ONE, b"new")
    assert cache.get("entries", ONE) == b"new"


def test_every_damage_makes_it_absent(cache: Cache) -> None:
    cache.put("entries", ONE, bytes(range(256)))
    path = only_file(cache)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert cache.get("entries", ONE) in (None, bytes(range(256))), place
        path.write_bytes(whole[:place])
        assert cache.get("entries", ONE) is None, place
    path.write_bytes(whole)
    assert cache.get("entries", ONE) == bytes(range(256))


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path / "cache"), limit=10_000)
    digests = [Digest.of(b"%d" % number) for number in range(12)]
    for age, digest in enumerate(digests):
        cache.put("entries", digest, os.urandom(1000))
        path = Path(cache.folder) / f"entries-sha256-{digest.encoded}"
        os.utime(path, (1000 + age, 1000 + age)) if path.exists() else None
        assert cache.get("entries", digests[0]) is not None
    kept = [digest for digest in digests if cache.get("entries", digest) is not None]
    assert digests[0] in kept
    assert digests[1] not in kept
    assert digests[-1] in kept
    assert sum(path.stat().st_size for path in Path(cache.folder).iterdir()) <= 10_000


def test_an_item_that_is_larger_than_the_cache_is_not_kept(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path / "cache"), limit=1000)
    cache.put("entries", ONE, b"small")
    cache.put("entries", OTHER, os.urandom(2000))
    assert cache.get("entries", ONE) == b"small"
    assert cache.get("entries", OTHER) is None


def test_files_of_others_are_never_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    cache = Cache(str(folder), limit=500)
    folder.mkdir(mode=0o700)
    names = ["thesis.tex", "entries-sha256-short", "new", f"entries-sha256-{'A' * 64}"]
    for name in names:
        (folder / name).write_bytes(bytes(1000))
        os.utime(folder / name, (1, 1))
    for number in range(20):
        cache.put("entries", Digest.of(b"%d" % number), os.urandom(100))
    assert set(names) <= {path.name for path in folder.iterdir()}


def test_an_abandoned_file_is_deleted(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path), limit=500)
    tmp_path.chmod(0o700)
    (tmp_path / "new-abandoned").write_bytes(bytes(100))
    (tmp_path / "new-being_written").write_bytes(bytes(100))
    os.utime(tmp_path / "new-abandoned", (1, 1))
    for number in range(10):
        cache.put("entries", Digest.of(b"%d" % number), os.urandom(100))
    assert not (tmp_path / "new-abandoned").exists()
    assert (tmp_path / "new-being_written").exists()


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_folder_where_others_can_write_is_not_used(tmp_path: Path, mode: int) -> None:
    cache = Cache(str(tmp_path / "cache"))
    cache.put("entries", ONE, b"data")
    (tmp_path / "cache").chmod(mode)
    assert cache.get("entries", ONE) is None
    cache.put("entries", OTHER, b"data")
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert cache.problem is not None


def test_a_link_in_place_of_an_item_is_not_followed(cache: Cache, tmp_path: Path) -> None:
    cache.put("entries", ONE, b"data")
    path = only_file(cache)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert cache.get("entries", ONE) is None


def test_what_is_no_item_in_its_place_is_absent(cache: Cache) -> None:
    cache.put("entries", ONE, b"data")
    path = only_file(cache)
    path.unlink()
    os.mkfifo(path)  # nobody writes to it
    assert cache.get("entries", ONE) is None
    path.unlink()
    with path.open("wb") as file:
        file.truncate(cache.limit + 1)
    assert cache.get("entries", ONE) is None


def test_a_place_that_cannot_be_written_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = Cache(str(tmp_path / "file/cache"))
    cache.put("entries", ONE, b"data")
    assert cache.get("entries", ONE) is None
    assert cache.problem is not None


WRITER = """
import sys, os
from regfs.content.cache import Cache
from regfs.digest import Digest
cache = Cache(sys.argv[1], limit=60_000)
for turn in range(60):
    for number in range(8):
        digest = Digest.of(b"%d" % number)
        found = cache.get("entries", digest)
        assert found in (None, b"%d" % number * 5000), "wrong"
        cache.put("entries", digest, b"%d" % number * 5000)
        cache.put("sums", Digest.of(os.urandom(8)), os.urandom(5000))
assert cache.problem is None, cache.problem
"""


def test_processes_share_a_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "cache")]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    for process in running:
        _, told = process.communicate(timeout=120)
        assert process.returncode == 0, told
    size = sum(path.stat().st_size for path in (tmp_path / "cache").iterdir())
    assert size < 4 * 60_000
