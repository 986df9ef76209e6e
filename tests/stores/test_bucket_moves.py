"""Each guard of setting aside, bringing back and dropping in a bucket, by what is lost without it.

A registry writes in the moment between two requests, or the process is killed there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from regfs.errors import PathChanged, StoreError
from regfs.stores import FileKind, WritableStore, open_store
from regfs.stores.bucket.place import of_url
from regfs.stores.bucket.requests import transport
from tests.support.buckets import NAME, FakeBucket, Stored, bucket_of, just_before
from tests.support.s3.bucket import Conditions
from tests.support.stores import no_findings

RUN = ".regfs/runs/one"
V2 = "docker/registry/v2"
PATH = f"{V2}/blobs/sha256/aa/aa/data"
OTHER = f"{V2}/blobs/sha256/bb/bb/data"
TAG = f"{V2}/repositories/a/_manifests/tags/v1"
CURRENT = f"{TAG}/current/link"
OLD, NEW = (f"sha256:{letter * 64}".encode() for letter in "01")
LARGE = 2 << 20
"""Bytes of what is copied on the server, and not read and written."""


def entry(link: bytes) -> str:
    return f"{TAG}/index/sha256/{link[7:].decode()}/link"


def aside(path: str) -> str:
    return f"{RUN}/quarantine/{path}"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_PAUSE", 0.001)


def served(**facts: object) -> Iterator[FakeBucket]:
    with bucket_of() as bucket:
        for name, value in facts.items():
            setattr(bucket, name, value)
        for path, data in ((PATH, b"first"), (CURRENT, OLD), (entry(OLD), OLD)):
            bucket.objects[path] = Stored(data, 0.0)
        yield bucket


@pytest.fixture
def versions() -> Iterator[FakeBucket]:
    yield from served(versioning="Enabled")


@pytest.fixture(params=[True, False], ids=["If-Match", "no If-Match"])
def copies(request: pytest.FixtureRequest) -> Iterator[FakeBucket]:
    yield from served(conditional_delete=request.param)


@pytest.fixture(params=["versions", "copies"])
def bucket(request: pytest.FixtureRequest) -> Iterator[FakeBucket]:
    yield from served(versioning="Enabled" if request.param == "versions" else "")


def opened() -> WritableStore:
    """Open the bucket as another process does."""
    return open_store(of_url(f"s3://{NAME}", os.environ))


def own() -> list[str]:
    """Return what lies in quarantine."""
    found = opened().walk(f"{RUN}/quarantine", no_findings)
    return sorted(one.path for one in found if one.kind is FileKind.FILE)


def write(bucket: FakeBucket, path: str, data: bytes) -> None:
    """Write as a registry does."""
    bucket.put(path, data, Conditions())


def test_a_move_that_was_cut_off_is_finished_by_the_next(bucket: FakeBucket) -> None:
    store = opened()
    store.require_writable(["docker"])
    bucket.stop_after(1)
    with pytest.raises(StoreError):
        store.move(PATH, aside(PATH))
    bucket.stop_after(None)
    assert bucket.objects[PATH].data == b"first" and own() == [aside(PATH)]
    opened().move(PATH, aside(PATH))
    assert PATH not in bucket.objects and own() == [aside(PATH)]


def test_something_else_in_quarantine_is_not_replaced(bucket: FakeBucket) -> None:
    opened().move(PATH, aside(PATH))
    write(bucket, PATH, b"newer")
    with pytest.raises(StoreError, match="something is there already"):
        opened().move(PATH, aside(PATH))
    assert bucket.objects[PATH].data == b"newer"
    assert opened().read(aside(PATH), 99) == b"first"


@pytest.mark.parametrize("set_again", [NEW, OLD], ids=["another", "the same"])
def test_the_history_of_a_tag_stays_aside_where_the_tag_was_set_again(
    bucket: FakeBucket, set_again: bytes
) -> None:
    opened().move(TAG, aside(TAG))
    assert own() == [aside(CURRENT), aside(entry(OLD))] and CURRENT not in bucket.objects
    write(bucket, CURRENT, set_again)
    if set_again == OLD:  # as a move leaves it that was cut off
        opened().move(aside(TAG), TAG)
        assert bucket.objects[entry(OLD)].data == OLD and own() == []
        return
    with pytest.raises(StoreError, match="something is there already"):
        opened().move(aside(TAG), TAG)
    assert bucket.objects[CURRENT].data == NEW
    assert own() == [aside(CURRENT), aside(entry(OLD))]


@pytest.mark.parametrize("size", [6, LARGE])
def test_what_was_written_in_quarantine_comes_back_onto_nothing_only(
    bucket: FakeBucket, size: int
) -> None:
    with opened().create(aside(OTHER), mtime=5.0) as file:
        file.write(b"healed".ljust(size))
        file.commit()
    write(bucket, OTHER, b"newer")
    with pytest.raises(StoreError, match="something is there already"):
        opened().move(aside(OTHER), OTHER)
    assert bucket.objects[OTHER].data == b"newer" and own() == [aside(OTHER)]
    del bucket.objects[OTHER]
    opened().move(aside(OTHER), OTHER)
    assert bucket.objects[OTHER].data == b"healed".ljust(size) and own() == []


def test_a_file_that_somebody_has_put_into_quarantine_is_moved_and_dropped(
    bucket: FakeBucket,
) -> None:
    for path in (OTHER, PATH):
        bucket.objects[aside(path)] = Stored(b"hello", 0.0)
    opened().move(aside(OTHER), OTHER)
    assert opened().delete([aside(PATH)]) == 1
    assert own() == []
    assert bucket.objects[OTHER].data == b"hello" and bucket.objects[PATH].data == b"first"


# -- with versions -----------------------------------------------------------------------


def test_nothing_is_hidden_of_which_no_version_is_told(versions: FakeBucket) -> None:
    versions.objects[PATH] = Stored(b"first", 0.0, version="")
    with pytest.raises(StoreError, match="does not say which version"):
        opened().move(PATH, aside(PATH))
    assert versions.objects[PATH].data == b"first" and own() == []


def test_a_version_that_goes_in_the_instant_of_its_move_leaves_no_stub(
    versions: FakeBucket,
) -> None:
    version = versions.objects[PATH].version
    just_before(versions, "DELETE", PATH, lambda: versions.delete(PATH, Conditions(), version))
    with pytest.raises(PathChanged):
        opened().move(PATH, aside(PATH))
    assert own() == []


@pytest.mark.parametrize("ended", [1, 2, None])
@pytest.mark.parametrize("then", ["drop", "bring back"])
@pytest.mark.parametrize("size", [5, LARGE])
def test_what_is_written_just_before_the_marker_is_shown_again_after_a_crash(
    versions: FakeBucket, ended: int | None, then: str, size: int
) -> None:
    versions.objects[PATH] = Stored(b"first".ljust(size), 0.0)

    def write_and_stop() -> None:
        write(versions, PATH, b"newer".ljust(size))
        versions.stop_after(ended)

    done = just_before(versions, "DELETE", PATH, write_and_stop)
    with pytest.raises(StoreError):
        opened().move(PATH, aside(PATH))
    assert done
    versions.stop_after(None)
    if ended is None:
        assert own() == []
    elif then == "drop":
        opened().delete([aside(PATH)])
    else:
        with pytest.raises(StoreError, match="something is there already"):
            opened().move(aside(PATH), PATH)
    assert versions.objects[PATH].data == b"newer".ljust(size)


@pytest.mark.parametrize("overwritten", [False, True])
def test_a_version_that_no_marker_hides_is_never_dropped(
    versions: FakeBucket, overwritten: bool
) -> None:
    versions.delete(OTHER, Conditions())  # a marker below it hides nothing of it
    write(versions, OTHER, b"second")
    meant = versions.objects[OTHER].version
    store = opened()
    store.require_writable(["docker"])
    versions.stop_after(1)  # the stub, and no marker
    with pytest.raises(StoreError):
        store.move(OTHER, aside(OTHER))
    versions.stop_after(None)
    if overwritten:
        write(versions, OTHER, b"third")
    opened().delete([aside(OTHER)])
    assert own() == []
    assert versions.objects[OTHER].data == (b"third" if overwritten else b"second")
    assert meant in [one.version for key, one, _ in versions.versions() if key == OTHER]


@pytest.mark.parametrize("older", [False, True])
def test_a_drop_shows_no_older_version_and_leaves_nothing_else(
    versions: FakeBucket, older: bool
) -> None:
    if older:
        write(versions, PATH, b"second")
    opened().move(PATH, aside(PATH))
    opened().delete([aside(PATH)])
    left = [one for key, one, _ in versions.versions() if key == PATH]
    assert [(one.marker, one.data) for one in left] == (
        [(True, b""), (False, b"first")] if older else []
    )
    assert PATH not in versions.objects and own() == []


def test_what_comes_back_is_the_version_that_went(versions: FakeBucket) -> None:
    before = versions.versions()
    opened().move(PATH, aside(PATH))
    opened().move(aside(PATH), PATH)
    after = versions.versions()
    assert [row for row in after if row[0].startswith(V2)] == before


def test_what_comes_back_lies_above_what_came_and_went_meanwhile(versions: FakeBucket) -> None:
    opened().move(PATH, aside(PATH))
    write(versions, PATH, b"newer")
    versions.delete(PATH, Conditions())
    store = opened()
    store.require_writable(["docker"])
    versions.stop_after(1)
    with pytest.raises(StoreError):
        store.move(aside(PATH), PATH)
    versions.stop_after(None)
    assert versions.objects[PATH].data == b"first" and own() == [aside(PATH)]
    opened().move(aside(PATH), PATH)
    assert versions.objects[PATH].data == b"first" and own() == []


def test_what_is_hidden_elsewhere_stays_hidden(versions: FakeBucket) -> None:
    versions.objects[OTHER] = Stored(b"other", 0.0)  # both are the version "null" of their key
    for path in (PATH, OTHER):
        opened().move(path, aside(path))
    opened().move(aside(PATH), OTHER)
    assert versions.objects[OTHER].data == b"first"
    assert own() == [aside(OTHER)]


# -- without versions --------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["PUT", "DELETE"])
def test_what_is_written_just_before_a_request_of_a_move_stays(
    copies: FakeBucket, moment: str
) -> None:
    if moment == "DELETE":
        copies.conditional_delete = True
    store = opened()
    store.require_writable(["docker"])
    done: list[str] = []

    def wait(method: str, key: str, query: dict[str, str]) -> float:
        if not done and method == moment and (key == PATH or "/quarantine/" in key):
            done.append(key)
            write(copies, PATH, b"newer")
        return 0.0

    copies.wait = wait
    with pytest.raises(PathChanged):
        store.move(PATH, aside(PATH))
    assert done and copies.objects[PATH].data == b"newer"
    assert own() == []


@pytest.mark.parametrize("ended", [1, 2, 3, None])
def test_a_tag_that_is_set_as_it_goes_is_set_after_a_crash(
    copies: FakeBucket, ended: int | None
) -> None:
    copies.objects[entry(OLD)] = Stored(OLD, 0.0)

    def set_and_stop() -> None:
        write(copies, entry(NEW), NEW)  # and `current` was about to be written
        copies.stop_after(ended)

    done = just_before(copies, "DELETE", CURRENT, set_and_stop)
    with pytest.raises(StoreError):
        opened().move(CURRENT, aside(CURRENT))
    assert done
    copies.stop_after(None)
    assert ended or own() == []
    opened().delete([aside(CURRENT)])
    assert copies.objects[CURRENT].data == NEW and own() == []


def test_a_set_that_was_cut_off_long_ago_is_not_waited_for(copies: FakeBucket) -> None:
    copies.objects[entry(NEW)] = Stored(NEW, 5.0)
    opened().move(TAG, aside(TAG))
    assert CURRENT not in copies.objects
    assert own() == [aside(CURRENT), aside(entry(OLD)), aside(entry(NEW))]


@pytest.mark.parametrize("came", ["all at once", "later"])
def test_a_drop_sets_no_tag_to_what_a_restore_has_brought_back(
    copies: FakeBucket, came: str
) -> None:
    opened().move(CURRENT, aside(CURRENT))
    if came == "later":
        copies.objects[entry(NEW)] = Stored(NEW, time.time() + 1000.0)
    else:
        write(copies, entry(OLD), OLD)
    opened().delete([aside(CURRENT)])
    assert CURRENT not in copies.objects and own() == []
