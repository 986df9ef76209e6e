"""Collecting in a bucket while a registry writes, and when answers are lost, repeated or old."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from regfs.cli.app import run
from regfs.gc.collect import settle
from regfs.gc.sweep import apply
from regfs.runs import runs
from regfs.stores.bucket.changing import copies
from regfs.stores.bucket.requests import transport
from regfs.tree.registry import Registry
from tests.support.bucket_runs import KINDS, PREFIX, ROOT, BucketTree, litter_bucket
from tests.support.buckets import just_before
from tests.support.s3.bucket import Conditions, FakeBucket

APP = f"{PREFIX}docker/registry/v2/repositories/app"
CURRENT = f"{APP}/_manifests/tags/v1/current/link"
OTHER = "0" * 64


@pytest.fixture(params=list(KINDS))
def tree(request: pytest.FixtureRequest) -> Iterator[BucketTree]:
    with litter_bucket(**KINDS[str(request.param)]) as found:
        yield found


def put(bucket: FakeBucket, key: str, data: bytes) -> None:
    """Write as a registry does."""
    bucket.put(key, data, Conditions())


def set_tag(bucket: FakeBucket, hexadecimal: str = OTHER) -> None:
    """Set a tag as a registry does: its index, then what it points to."""
    link = b"sha256:" + hexadecimal.encode()
    put(bucket, f"{APP}/_manifests/tags/v1/index/sha256/{hexadecimal}/link", link)
    put(bucket, CURRENT, link)


def current(tree: BucketTree) -> str:
    return tree.bucket.objects[CURRENT].data.decode()


def test_a_tag_that_is_set_while_it_is_moved_away_stays_set(tree: BucketTree) -> None:
    done = just_before(tree.bucket, "DELETE", CURRENT, lambda: set_tag(tree.bucket))
    run(["-r", ROOT, "untag", "app:v1"])
    assert done
    assert current(tree) == f"sha256:{OTHER}"


@pytest.mark.parametrize("deed", ["restore", "purge"])
def test_a_tag_that_is_set_in_the_instant_of_a_crash_stays_set(tree: BucketTree, deed: str) -> None:
    def set_and_stop() -> None:
        set_tag(tree.bucket)
        tree.bucket.stop_after(1)

    done = just_before(tree.bucket, "DELETE", CURRENT, set_and_stop)
    assert run(["-r", ROOT, "untag", "app:v1"]) == 5
    assert done and tree.bucket.stopped
    tree.revive()
    (found,) = runs(tree.store())
    if deed == "restore" or tree.purge().stays:  # of half of a tag in its place
        tree.restore(found.run)
    assert current(tree) == f"sha256:{OTHER}"


def test_a_tag_that_is_set_again_to_the_same_stays_set(tree: BucketTree) -> None:
    same = current(tree).partition(":")[2]
    done = just_before(tree.bucket, "DELETE", CURRENT, lambda: set_tag(tree.bucket, same))
    run(["-r", ROOT, "untag", "app:v1"])
    assert done
    assert current(tree) == f"sha256:{same}"


def test_a_set_that_has_begun_is_given_time(
    tree: BucketTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    if tree.bucket.versioning:
        return  # what is hidden then is seen afterwards
    monkeypatch.setattr(copies, "UNDER_WAY", 2.5)
    same = current(tree)
    index = f"{APP}/_manifests/tags/v1/index"
    put(tree.bucket, f"{index}/{same.replace(':', '/')}/link", same.encode())
    done: list[str] = []

    def wait(method: str, key: str, query: dict[str, str]) -> float:
        # The registry has written the index; it writes the rest after the first look.
        if not done and query.get("prefix", "") == f"{index}/":
            done.append(key)
            put(tree.bucket, CURRENT, same.encode())
        return 0.0

    tree.bucket.wait = wait
    run(["-r", ROOT, "untag", "app:v1"])
    assert done
    assert current(tree) == same


def test_a_manifest_that_is_linked_again_while_it_is_moved_away_is_in_place(
    tree: BucketTree,
) -> None:
    planned = tree.plan()
    (action,) = [one for one in planned.actions if one.kind == "revision"]
    key = PREFIX + action.path
    linked = tree.bucket.objects[key].data
    if tree.bucket.versioning:
        done = just_before(tree.bucket, "DELETE", key, lambda: put(tree.bucket, key, linked))
    else:
        done = []

        def wait(method: str, name: str, query: dict[str, str]) -> float:
            # Between the copy and the last look.
            if not done and method == "HEAD" and "/quarantine/" in name and "/revisions/" in name:
                done.append(name)
                put(tree.bucket, key, linked)
            return 0.0

        tree.bucket.wait = wait
    applied = apply(planned, Registry(tree.store()))
    settle(Registry(tree.store()))
    assert done
    assert action.path in [one.path for one in applied.skipped]
    assert run(["-r", ROOT, "verify"]) == 0  # with all that it needs


def test_lost_answers_change_nothing(tree: BucketTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_PAUSE", 0.001)
    seen: Counter[tuple[str, str]] = Counter()

    def lose(method: str, key: str, query: dict[str, str]) -> bool:
        seen[method, key] += 1
        return bool(key) and method in ("PUT", "DELETE") and seen[method, key] == 1

    tree.bucket.lose = lose
    done = tree.apply()
    assert not done.skipped
    tree.restore(done.run)
    assert tree.state() == tree.before
    assert not tree.own()
    tree.apply()
    tree.purge()
    assert not tree.own()
    assert not tree.hidden()


def test_what_a_repeated_delete_no_longer_finds_is_in_quarantine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A delete whose answer was lost is sent again, and says that its condition is not met."""
    monkeypatch.setattr(transport, "_PAUSE", 0.001)
    with litter_bucket(versioned=False) as tree:
        tree.bucket.gone_is_changed = True
        tree.bucket.repeat = lambda method, key, query: method == "DELETE" and "/docker/" in key
        done = tree.apply()
        assert not done.skipped
        assert tree.state() != tree.before
        tree.restore(done.run)
        assert tree.state() == tree.before


def test_requests_that_are_carried_out_twice_change_nothing(tree: BucketTree) -> None:
    tree.bucket.repeat = lambda method, key, query: bool(key) and method in ("PUT", "DELETE")
    done = tree.apply()
    assert not done.skipped
    assert not tree.restore(done.run).skipped
    assert tree.state() == tree.before
    assert not tree.own()


def test_a_bucket_whose_listings_are_old_is_not_changed(
    tree: BucketTree, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.bucket.stale = lambda prefix: 3
    assert run(["-r", ROOT, "untag", "app:v1"]) == 5
    (said,) = capsys.readouterr().err.splitlines()
    assert "a listing does not show what was just written" in said
    assert tree.state() == tree.before


def test_listings_that_grow_old_lose_nothing(tree: BucketTree) -> None:
    tree.prepare()
    kept = {path for path in tree.before if "/tags/v1/current/" in path}
    tree.bucket.stale = lambda prefix: 3
    name = tree.apply().run
    assert kept <= tree.state().keys()
    tree.bucket.stale = None
    tree.restore(name)
    assert tree.state() == tree.before
