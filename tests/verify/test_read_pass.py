"""Verifying in rounds: what a ledger saves, what limits leave, and what no end of a run loses."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from regfs.digest import Digest
from regfs.errors import Invalid, PathMissing
from regfs.findings import Code
from regfs.gc.sweep import Applied, apply
from regfs.progress import SILENT, Progress, Silent
from regfs.stores import locate, open_store
from regfs.tree.registry import Registry
from regfs.tree.scan import scan
from regfs.verify import (
    LedgerFile,
    Level,
    ReportedFinding,
    Result,
    Selection,
    VerifyOptions,
    verify,
)
from regfs.verify.ledger import LedgerEntry
from regfs.verify.ledger_file import read_ledger
from regfs.verify.schedule import Shard
from tests.support.builder import Blob, TreeBuilder, digest_of, image
from tests.support.crashes import Crash, CrashingStore
from tests.support.registries import plan_of, registry_of
from tests.support.verification import BASE, Watched, codes, stocked, watched

DAY = 86400.0
START = 1_800_000_000.0


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    return stocked(tree)


class Rounds:
    """Verifications of one tree, one after the other, with a ledger beside it."""

    def __init__(self, tree: TreeBuilder, file: Path) -> None:
        self.tree = tree
        self.file = file
        self.now = START
        self.store: Any = None
        self.read: set[Digest] = set()
        """What the last round has read, manifests included."""

    def __call__(
        self, selection: Selection | None = None, progress: Progress = SILENT, **options: Any
    ) -> Result:
        self.now += 60.0
        self.store = watched(self.tree) if self.store is None else self.store
        registry = Registry(self.store)
        names = {self.tree.relative(self.tree.blob_path(one)): one for one in self.tree.blobs()}
        try:
            with LedgerFile(*locate(str(self.file), self.store), owner="test") as ledger:
                return verify(
                    registry,
                    scan(registry.store),
                    options=VerifyOptions(
                        selection=selection or Selection(),
                        ledger=ledger,
                        clock=lambda: self.now,
                        jobs=1,
                        **options,
                    ),
                    progress=progress,
                )
        finally:
            self.read = {Digest(names[path]) for path in self.store.reads if path in names}
            self.store = None

    def kept(self) -> dict[tuple[Digest, Level], LedgerEntry]:
        ledger = read_ledger(*locate(str(self.file), open_store(str(self.tree.root))))
        return {(digest, entry.level): entry for digest, entry in ledger}

    def results(self, level: Level = Level.DIGESTS) -> dict[Digest, Code | None]:
        return {one: entry.result for (one, depth), entry in self.kept().items() if depth is level}


@pytest.fixture
def rounds(shop: TreeBuilder, tmp_path: Path) -> Rounds:
    return Rounds(shop, tmp_path / "ledger")


@pytest.fixture
def single(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make each blob a task of its own."""
    monkeypatch.setattr("regfs.verify.content.BATCH_FILES", 1)
    yield


def manifests(tree: TreeBuilder) -> set[Digest]:
    found = scan(open_store(str(tree.root)))
    return {one for content in found.repositories.values() for one in content.revisions}


YOUNG = Selection(max_age=DAY)

# -- what a ledger saves ----------------------------------------------------------


def test_everything_is_recorded_as_it_was_found(rounds: Rounds) -> None:
    rounds.tree.break_("blob-flipped", "app", "v1")
    rounds()
    results = rounds.results()
    assert set(results) == set(rounds.tree.blobs())
    assert [code for code in results.values() if code] == [Code.BLOB_CORRUPT]


def test_a_broken_manifest_is_recorded_too(rounds: Rounds) -> None:
    manifest = rounds.tree.current("app", "v1")
    path = rounds.tree.blob_path(manifest)
    path.write_bytes(path.read_bytes().replace(b"{", b"[", 1))
    assert "blob-corrupt" in codes(rounds())
    assert rounds.results()[Digest(manifest)] is Code.BLOB_CORRUPT


def test_what_was_found_intact_lately_is_not_read_again(rounds: Rounds) -> None:
    rounds()
    result = rounds(YOUNG)
    assert rounds.read == manifests(rounds.tree)
    assert result.checked.skipped == len(rounds.tree.blobs()) - len(rounds.read)
    rounds.now += DAY
    result = rounds(YOUNG)
    assert (rounds.read, result.checked.skipped) == (set(rounds.tree.blobs()), 0)


def test_what_was_broken_is_read_again_and_told_again(rounds: Rounds) -> None:
    path = rounds.tree.root / rounds.tree.break_("blob-flipped", "app", "v1")
    rounds()
    assert codes(rounds(YOUNG)) == ["blob-corrupt"]
    (broken,) = rounds.read - manifests(rounds.tree)
    assert rounds.tree.blob_path(broken) == path


@pytest.mark.parametrize("change", ["written", "longer"])
def test_what_was_touched_is_verified_again(rounds: Rounds, change: str) -> None:
    rounds()
    path = rounds.tree.blob_path(digest_of(BASE))
    status = path.stat()
    if change == "longer":
        path.write_bytes(path.read_bytes() + b"x")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        os.utime(path)
    result = rounds(YOUNG)
    assert digest_of(BASE) in rounds.read
    assert codes(result) == (["blob-corrupt"] if change == "longer" else [])


def test_a_blob_that_goes_away_meanwhile_is_no_result(rounds: Rounds) -> None:
    orphan = rounds.tree.blob(b"orphan")
    store: Watched = watched(rounds.tree)

    def vanish(path: str) -> None:
        if path == rounds.tree.relative(rounds.tree.blob_path(orphan)):
            raise PathMissing("a collector took it")

    store.before = vanish
    rounds.store = store
    assert codes(rounds()) == []
    assert orphan not in rounds.results()


def test_a_collection_during_a_round_is_no_damage(rounds: Rounds) -> None:
    going = image(["going"])
    rounds.tree.push("app", "going", going)
    rounds.tree.untag("app", "going")
    planned = plan_of(rounds.tree, delete_untagged=True, min_age=0.0)
    store: Watched = watched(rounds.tree)
    applied: list[Applied] = []

    def collect_once(path: str) -> None:
        if "/blobs/" in path and path.endswith("data") and hashing and not applied:
            applied.append(apply(planned, registry_of(rounds.tree)))

    hashing: list[bool] = []

    class Noticing(Silent):
        def start(self, task: str, total: int | None = None, unit: str = "items") -> None:
            if task == "Hashing blobs":
                hashing.append(True)

    store.before = collect_once
    rounds.store = store
    assert codes(rounds(progress=Noticing())) == []
    assert applied
    assert set(rounds.results().values()) == {None}
    assert codes(rounds(YOUNG)) == []


def test_only_what_is_asked_for_is_scheduled(shop: TreeBuilder, rounds: Rounds) -> None:
    registry = Registry(open_store(str(shop.root)))
    result = rounds(targets=[registry.find("app:whole")])
    assert 0 < len(rounds.results()) == result.checked.blobs < len(shop.blobs())
    assert result.checked.remaining == 0


def test_an_age_without_a_ledger_makes_no_sense(shop: TreeBuilder) -> None:
    registry = Registry(open_store(str(shop.root)))
    with pytest.raises(Invalid, match="needs a ledger"):
        verify(registry, scan(registry.store), options=VerifyOptions(selection=YOUNG))


# -- level content ---------------------------------------------------------------------


def test_a_proof_of_digests_is_none_of_content(rounds: Rounds) -> None:
    rounds()
    assert rounds(YOUNG, level=Level.CONTENT).checked.skipped == 0
    left = set(rounds.tree.blobs()) - manifests(rounds.tree)
    assert rounds(YOUNG, level=Level.CONTENT).checked.skipped == len(left)
    assert rounds(YOUNG).checked.skipped == len(left)


def lie(tree: TreeBuilder) -> None:
    """Push an image whose config names another content for the base layer."""
    diff_ids = [Digest.of(b"something else")]
    tree.push(
        "liar", "v1", image([BASE], config={"rootfs": {"type": "layers", "diff_ids": diff_ids}})
    )


def test_a_lie_about_a_layer_is_told_in_every_round(rounds: Rounds) -> None:
    lie(rounds.tree)
    for _ in range(2):
        assert codes(rounds(YOUNG, level=Level.CONTENT)) == ["diffid-mismatch"]
    assert rounds.results(Level.CONTENT)[Digest(digest_of(BASE))] is Code.DIFFID_MISMATCH


def test_a_new_image_is_compared_with_layers_that_are_known(rounds: Rounds) -> None:
    assert codes(rounds(YOUNG, level=Level.CONTENT)) == []
    lie(rounds.tree)
    assert codes(rounds(YOUNG, level=Level.CONTENT)) == ["diffid-mismatch"]


def test_a_comparison_that_a_limit_prevents_is_made_in_the_next_round(rounds: Rounds) -> None:
    assert codes(rounds(YOUNG, level=Level.CONTENT)) == []
    lie(rounds.tree)
    over = Selection(max_age=DAY, max_duration=0.0)
    assert codes(rounds(over, level=Level.CONTENT)) == []
    assert codes(rounds(YOUNG, level=Level.CONTENT)) == ["diffid-mismatch"]


def test_a_round_that_dies_before_comparing_has_proven_no_content(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    lie(rounds.tree)

    def die(self: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr("regfs.verify.unpack.Unpacking.finish", die)
        with pytest.raises(Crash):
            rounds(YOUNG, level=Level.CONTENT)
    assert codes(rounds(YOUNG, level=Level.CONTENT)) == ["diffid-mismatch"]


# -- limits ------------------------------------------------------------------------------


def test_shards_together_are_one_whole_round(shop: TreeBuilder, tmp_path: Path) -> None:
    shop.break_("blob-flipped", "app", "v1")
    whole = Rounds(shop, tmp_path / "whole")
    whole()
    results: dict[Digest, Code | None] = {}
    read = []
    for number in range(1, 4):
        part = Rounds(shop, tmp_path / f"part{number}")
        result = part(Selection(Shard(number, 3)))
        assert result.checked.remaining == 0
        read.append(part.read - manifests(shop))
        results |= part.results()
    assert results == whole.results()
    assert sorted(one for part in read for one in part) == sorted(set().union(*read))


def test_nights_with_a_limit_get_through_everything(rounds: Rounds) -> None:
    left = set(rounds.tree.blobs()) - manifests(rounds.tree)
    nights = 0
    remaining = []
    while len(rounds.results() if rounds.file.exists() else ()) < len(rounds.tree.blobs()):
        remaining.append(rounds(Selection(max_bytes=1)).checked.remaining)
        rounds.now += DAY
        nights += 1
    assert nights == len(left)
    assert remaining == [len(left) - 1] * nights  # all of them are due again, the oldest first


@pytest.mark.usefixtures("single")
def test_when_the_time_is_up_the_rest_is_for_the_next_round(rounds: Rounds) -> None:
    left = set(rounds.tree.blobs()) - manifests(rounds.tree)
    ticks = iter(range(10**6))
    selection = Selection(max_age=DAY, max_duration=3.0)
    done = 0
    for _ in left:
        result = rounds(selection, steady=lambda: float(next(ticks)))
        remaining = result.checked.remaining
        done += len(rounds.read - manifests(rounds.tree))
        assert done + remaining == len(left)
        if not remaining:
            break
    else:
        raise AssertionError("it never ends")
    assert done == len(left) > len(rounds.read - manifests(rounds.tree))
    assert set(rounds.results()) == set(rounds.tree.blobs())


def test_a_run_whose_time_is_up_before_it_reads_reads_nothing(rounds: Rounds) -> None:
    result = rounds(Selection(max_duration=50.0), started=START)
    assert rounds.read == manifests(rounds.tree)
    sizes = [rounds.tree.blob_path(one).stat().st_size for one in rounds.tree.blobs()]
    assert result.checked.bytes + result.checked.remaining_bytes == sum(sizes)


def test_what_is_known_to_be_broken_is_told_though_there_was_no_time(rounds: Rounds) -> None:
    path = rounds.tree.root / rounds.tree.break_("blob-flipped", "app", "v1")
    rounds()
    result = rounds(Selection(max_duration=0.0))
    assert codes(result) == ["blob-corrupt"]
    assert "earlier run" in str(result.findings[0].finding.actual)
    os.utime(path)  # it was healed, perhaps
    assert codes(rounds(Selection(max_duration=0.0))) == []


def test_a_size_is_not_laid_to_the_manifest_while_the_blob_was_not_read(rounds: Rounds) -> None:
    rounds.tree.break_("blob-truncated", "app", "v1")
    unread = rounds(Selection(max_duration=0.0))
    assert codes(unread) == ["blob-size-mismatch"]
    assert codes(rounds()) == ["blob-corrupt"]


# -- however a round ends ------------------------------------------------------------------


def test_what_was_done_before_a_key_is_recorded(
    tree: TreeBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regfs.verify.content.BATCH_FILES", 1)
    tree.push("app", "v1", image([Blob(bytes([number])) for number in range(60)]))
    rounds = Rounds(tree, tmp_path / "ledger")

    class Stopping(Silent):
        def __init__(self) -> None:
            self.hashing = False
            self.calls = 0

        def start(self, task: str, total: int | None = None, unit: str = "items") -> None:
            self.hashing = task == "Hashing blobs"

        def advance(self, amount: int) -> None:
            self.calls += self.hashing
            if self.calls > 5:
                raise KeyboardInterrupt

    result = rounds(progress=Stopping())
    assert result.interrupted
    assert 0 < result.checked.remaining < 61
    assert len(rounds.results()) == 62 - result.checked.remaining
    assert rounds(YOUNG).checked.skipped == 61 - result.checked.remaining
    assert set(rounds.results()) == set(tree.blobs())


@pytest.mark.usefixtures("single")
def test_wherever_a_round_dies_the_next_one_completes_it(shop: TreeBuilder, tmp_path: Path) -> None:
    shop.break_("blob-flipped", "app", "v1")
    shop.break_("blob-truncated", "team/x", "multi")
    whole = {
        (row.finding.code, row.finding.path) for row in Rounds(shop, tmp_path / "0")().findings
    }
    deaths = 0
    for at in range(100):
        rounds = Rounds(shop, tmp_path / f"ledger{at}")
        found: set[tuple[Code, str]] = set()
        store = open_store(str(shop.root))
        beside, name = locate(str(rounds.file), store)

        def note(row: ReportedFinding, found: set[tuple[Code, str]] = found) -> None:
            found.add((row.finding.code, row.finding.path))

        try:
            with LedgerFile(CrashingStore(beside, at), name, owner="test") as ledger:
                asked = VerifyOptions(ledger=ledger, jobs=1)
                verify(Registry(store), scan(store), options=asked, on_finding=note)
        except Crash:
            deaths += 1
            rounds.now = time.time()
            for row in rounds(YOUNG).findings:
                note(row)
            assert set(rounds.results()) == set(shop.blobs())
            assert found == whole
        else:
            assert deaths > len(shop.blobs()) - len(manifests(shop))
            return
