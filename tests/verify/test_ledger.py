"""The ledger: what comes back from its text, what merging keeps, and what no crash can spoil."""

from __future__ import annotations

import errno
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.digest import Digest
from regfs.errors import DocumentInvalid, LockHeld, PathMissing, PathUnsafe, StoreError
from regfs.findings import Code
from regfs.stores import FileId, WritableStore, locate, open_store
from regfs.verify import LedgerFile, Level
from regfs.verify.ledger import HEADER, Ledger, LedgerEntry, line_of, merge
from regfs.verify.ledger_file import LEDGER, SYNC_AFTER, read_ledger
from tests.support.builder import TreeBuilder
from tests.support.crashes import Crash, CrashingStore
from tests.support.stores import failing_with
from tests.support.strategies import digests

A, B, C = (Digest.of(letter) for letter in (b"a", b"b", b"c"))


def entry(at: float = 1e9, code: Code | None = None, level: Level = Level.DIGESTS) -> LedgerEntry:
    return LedgerEntry(
        10, 5e8 + 0.1, code, level, at, FileId(64769, 1234, 1_700_000_000_123_456_789)
    )


times = st.floats(allow_nan=False, allow_infinity=False)
entries = st.builds(
    LedgerEntry,
    size=st.integers(0, 2**59),
    mtime=times,
    result=st.none() | st.sampled_from(Code),
    level=st.sampled_from(Level),
    checked_at=times,
    file=st.builds(
        FileId, st.integers(0, 2**64 - 1), st.integers(1, 2**64 - 1), st.integers(-(2**62), 2**62)
    ),
)
few = st.sampled_from([A, B, C])
"""So few digests that ledgers overlap."""
clashing = st.builds(
    entry,
    st.sampled_from([1.0, 2.0]),
    st.none() | st.just(Code.BLOB_CORRUPT) | st.just(Code.LAYER_UNREADABLE),
    st.sampled_from([Level.DIGESTS, Level.CONTENT]),
)


def ledger_of(*pairs: tuple[Digest, LedgerEntry]) -> Ledger:
    ledger = Ledger()
    for digest, result in pairs:
        ledger.put(digest, result)
    return ledger


def said(ledger: Ledger) -> dict[tuple[Digest, Level], LedgerEntry]:
    return {(digest, result.level): result for digest, result in ledger}


def text_of(ledger: Ledger) -> str:
    return "".join(line_of(digest, result) for digest, result in ledger)


# -- as text and in memory ------------------------------------------------------


@given(st.lists(st.tuples(digests() | few, entries)))
def test_results_come_back_as_they_were(pairs: list[tuple[Digest, LedgerEntry]]) -> None:
    ledger, again = ledger_of(*pairs), Ledger()
    assert again.take(text_of(ledger)) == len(ledger)
    expected = {(digest, result.level): result for digest, result in pairs}
    assert said(again) == said(ledger) == expected


@given(st.lists(st.tuples(few, entries), min_size=1, max_size=4), st.data())
def test_a_text_that_was_cut_off_says_less_and_nothing_else(
    pairs: list[tuple[Digest, LedgerEntry]], data: st.DataObject
) -> None:
    lines = [line_of(digest, result) for digest, result in pairs]
    text = "".join(lines)
    cut = data.draw(st.integers(0, len(text)))
    whole = sum(1 for n in range(len(lines)) if len("".join(lines[: n + 1])) - 1 <= cut)
    torn = Ledger()
    assert torn.take(text[:cut]) == whole
    assert said(torn) == said(ledger_of(*pairs[:whole]))
    # What is added after the cut, on a line of its own, is not lost in it.
    added = entry(3e9)
    torn.take(text[:cut] + "\n" + line_of(C, added))
    assert torn.last(C, Level.DIGESTS) == added


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    Ledger().take(text)


@pytest.mark.parametrize(
    "line",
    [
        f"1.0 blob-eaten digests 1 1.0 1 2 3 {A}",
        f"1.0 ok depths 1 1.0 1 2 3 {A}",
        f"1.0 ok digests 1 1.0 1 2 3 {A[:-1]}",
        f"1.0 ok digests 1 1.0 1 2 3 {A}0",
        f"1.0 ok digests -1 1.0 1 2 3 {A}",
        f"1.0 ok digests 1{'0' * 18} 1.0 1 2 3 {A}",
        f"nan ok digests 1 1.0 1 2 3 {A}",
        f"1.0 ok digests 1 1.0 {A}",
        f"1.0 ok digests 1 1.0 1 2 {A}",
        f"1.0 ok digests 1 1.0 -1 2 3 {A}",
        f"1.0 ok digests 1 1.0 1 {1 << 64} 3 {A}",
        f"1.0 ok digests 1 1.0 1 2 {1 << 63} {A}",
        f"1.0 ok digests 1 1.0 1 2 3 {A} 1.0 ok digests 1 1.0 1 2 3 {B}",
        f"\0\0\0\0{line_of(A, entry())}",
    ],
)
def test_what_is_no_line_is_passed_over(line: str) -> None:
    ledger = Ledger()
    ledger.take(f"{line}\n{line_of(C, entry())}")
    assert [digest for digest, _ in ledger] == [C]


@pytest.mark.parametrize(
    ("notes", "level", "expected"),
    [
        ([entry(1.0)], Level.DIGESTS, (1.0, None)),
        ([entry(1.0)], Level.CONTENT, None),
        ([entry(1.0, level=Level.CONTENT)], Level.DIGESTS, (1.0, None)),
        ([entry(1.0, level=Level.CONTENT), entry(2.0)], Level.DIGESTS, (2.0, None)),
        ([entry(1.0, level=Level.CONTENT), entry(2.0)], Level.CONTENT, (1.0, None)),
        (
            [entry(1.0, level=Level.CONTENT), entry(2.0, Code.BLOB_CORRUPT)],
            Level.CONTENT,
            (2.0, Code.BLOB_CORRUPT),
        ),
        (
            [entry(1.0, Code.BLOB_CORRUPT), entry(2.0, level=Level.CONTENT)],
            Level.CONTENT,
            (2.0, None),
        ),
        (
            [entry(1.0, Code.LAYER_UNREADABLE, Level.CONTENT), entry(2.0)],
            Level.CONTENT,
            (1.0, Code.LAYER_UNREADABLE),
        ),
        ([entry(1.0), entry(1.0, Code.BLOB_CORRUPT, Level.CONTENT)], Level.DIGESTS, "bad"),
    ],
)
def test_a_deeper_level_needs_its_own_proof_and_no_level_forgives(
    notes: list[LedgerEntry], level: Level, expected: Any
) -> None:
    for order in permutations(notes):
        found = ledger_of(*((A, note) for note in order)).find(A, level)
        if expected == "bad":
            assert found is not None
            assert found.result is Code.BLOB_CORRUPT
        else:
            assert (found and (found.checked_at, found.result)) == expected


# -- merging ----------------------------------------------------------------------

ledgers = st.lists(st.tuples(few, clashing), max_size=6).map(lambda pairs: ledger_of(*pairs))


@given(st.lists(ledgers, max_size=4), st.randoms(use_true_random=False))
def test_merging_knows_no_order(parts: list[Ledger], random: Any) -> None:
    mixed = list(parts)
    random.shuffle(mixed)
    assert said(merge(parts)) == said(merge(mixed))


@given(ledgers, ledgers, ledgers)
def test_merging_in_steps_is_merging_at_once(one: Ledger, two: Ledger, three: Ledger) -> None:
    at_once = said(merge([one, two, three]))
    assert said(merge([merge([one, two]), three])) == at_once
    assert said(merge([one, merge([two, three])])) == at_once


@given(ledgers)
def test_merging_a_ledger_with_itself_or_with_nothing_changes_nothing(one: Ledger) -> None:
    assert said(merge([one, one])) == said(merge([one])) == said(merge([one, Ledger()]))
    assert said(merge([one])) == said(one)


@given(ledgers, ledgers)
def test_the_last_result_counts_and_no_other_is_made_up(one: Ledger, two: Ledger) -> None:
    both = [*said(one).items(), *said(two).items()]
    for key, result in said(merge([one, two])).items():
        known = [other for other_key, other in both if other_key == key]
        assert result in known
        assert result.checked_at == max(other.checked_at for other in known)
        last = [other for other in known if other.checked_at == result.checked_at]
        assert (result.result is None) == all(other.result is None for other in last)


# -- as a file ----------------------------------------------------------------------


@pytest.fixture
def store(tree: TreeBuilder) -> WritableStore:
    tree.push("app", "v1")
    return open_store(str(tree.root))


def opened(store: Any, **options: Any) -> LedgerFile:
    return LedgerFile(store, owner="a test", **options)


def noted(store: Any, *pairs: tuple[Digest, LedgerEntry]) -> None:
    with opened(store) as file:
        file.load()
        file.record(pairs)


def kept(store: WritableStore) -> dict[tuple[Digest, Level], LedgerEntry]:
    return said(read_ledger(store, LEDGER))


def test_what_was_recorded_is_there_the_next_time(store: WritableStore) -> None:
    noted(store, (A, entry(1.0)))
    noted(store, (B, entry(2.0)), (A, entry(3.0, Code.BLOB_CORRUPT)))
    with opened(store) as file:
        file.load()
        assert said(file.ledger) == said(
            ledger_of((A, entry(3.0, Code.BLOB_CORRUPT)), (B, entry(2.0)))
        )
        assert (file.writable, file.trouble) == (True, None)


def test_what_was_recorded_is_on_its_way_before_the_end(store: WritableStore) -> None:
    with opened(store) as file:
        file.record([(A, entry())])
        assert kept(store) == said(ledger_of((A, entry())))


def test_it_is_made_durable_every_few_seconds_and_at_the_end(store: WritableStore) -> None:
    now = [0.0]
    crashing = CrashingStore(store, at=10**9)
    with opened(crashing, clock=lambda: now[0]) as file:
        steps = []
        for seconds in (0.0, SYNC_AFTER / 2, SYNC_AFTER / 2, 0.0):
            now[0] += seconds
            before = crashing.changes
            file.record([(A, entry())])
            steps.append(crashing.changes - before)
    assert steps == [1, 1, 2, 1]  # a write each time, and a flush when it was long ago


@pytest.mark.parametrize("content", [b"regfs", b"regfs-ledger", b"#!/bin/sh\n", b"\0" * 99, b"{}"])
def test_a_file_that_is_no_ledger_is_refused_and_left_alone(
    store: WritableStore, content: bytes
) -> None:
    path = Path(store.url) / LEDGER
    path.parent.mkdir()
    path.write_bytes(content)
    for required in (True, False):
        with (
            pytest.raises(DocumentInvalid, match="not a ledger of regfs"),
            opened(store, required=required),
        ):
            raise AssertionError("it was entered")
    with pytest.raises(DocumentInvalid):
        read_ledger(store, LEDGER)
    assert path.read_bytes() == content


def test_a_ledger_of_a_later_version_is_refused_as_such(store: WritableStore) -> None:
    (Path(store.url) / ".regfs").mkdir()
    (Path(store.url) / LEDGER).write_bytes(b"regfs-ledger 3\nwhatever\n")
    with pytest.raises(DocumentInvalid, match="another version"), opened(store):
        pass


def test_a_ledger_that_knows_no_files_is_begun_anew_and_not_merged(store: WritableStore) -> None:
    (Path(store.url) / ".regfs").mkdir()
    (Path(store.url) / LEDGER).write_bytes(f"regfs-ledger 1\n1.0 ok digests 1 1.0 {A}\n".encode())
    with pytest.raises(DocumentInvalid, match="earlier version"):
        read_ledger(store, LEDGER)
    noted(store, (B, entry()))
    assert kept(store) == said(ledger_of((B, entry())))


def test_an_empty_file_is_a_place_for_a_ledger(store: WritableStore) -> None:
    (Path(store.url) / ".regfs").mkdir()
    (Path(store.url) / LEDGER).touch()
    assert kept(store) == {}
    noted(store, (A, entry()))
    assert kept(store) == said(ledger_of((A, entry())))


def test_no_ledger_at_all_cannot_be_merged(store: WritableStore) -> None:
    with pytest.raises(PathMissing):
        read_ledger(store, LEDGER)


def test_two_cannot_add_to_one_ledger(store: WritableStore) -> None:
    with opened(store), pytest.raises(LockHeld, match="locked by a test"), opened(store):
        pass
    with opened(store) as file:
        assert file.writable


def test_it_is_written_anew_when_most_of_it_is_outdated(store: WritableStore) -> None:
    path = Path(store.url) / LEDGER
    noted(store, *((A, entry(float(n))) for n in range(900)))
    noted(store, *((B, entry(float(n))) for n in range(900)))
    size = path.stat().st_size
    with opened(store) as file:
        file.load()
        assert path.stat().st_size < size / 100
        file.record([(C, entry(1.0))])
    assert kept(store) == said(ledger_of((A, entry(899.0)), (B, entry(899.0)), (C, entry(1.0))))


def test_what_is_gone_from_the_tree_is_forgotten(store: WritableStore) -> None:
    noted(store, (A, entry()), *((B, entry(float(n))) for n in range(1100)))
    with opened(store) as file:
        file.load({str(A): A}.get)
        assert [digest for digest, _ in file.ledger] == [A]
    assert kept(store) == said(ledger_of((A, entry())))


def test_a_line_without_end_is_not_held_in_memory(store: WritableStore) -> None:
    noted(store, (A, entry()))
    with (Path(store.url) / LEDGER).open("ab") as file:
        file.truncate(file.tell() + (20 << 20))
        file.seek(0, 2)
        # The tail of the endless line looks like a line of its own.
        file.write(b" " + line_of(B, entry()).encode() + line_of(C, entry()).encode())
    assert kept(store) == said(ledger_of((A, entry()), (C, entry())))


@pytest.mark.parametrize("outdated", [False, True])
def test_a_crash_at_any_change_loses_nothing_that_was_recorded(
    tmp_path: Path, outdated: bool
) -> None:
    at = 0
    while True:
        root = tmp_path / str(at)
        TreeBuilder(root).push("app", "v1")
        store = open_store(str(root))
        if outdated:  # so it is written anew on the way
            noted(store, *((A, entry(float(n))) for n in range(1100)))
        recorded = kept(store) if outdated else {}
        crashing = CrashingStore(store, at=at)
        try:
            with opened(crashing, clock=iter(range(10**6)).__next__) as file:
                file.load()
                for number, digest in enumerate((B, C)):
                    result = entry(2000.0 + number)
                    file.record([(digest, result)])
                    recorded[digest, Level.DIGESTS] = result
        except Crash:
            with opened(store) as file:
                file.load()
                assert said(file.ledger).items() >= recorded.items()
            at += 1
            continue
        assert at >= (11 if outdated else 9)  # each write, the new file, the rename
        return


def test_a_full_disk_ends_the_recording_and_not_the_work(
    store: WritableStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(store) as file:
        file.record([(A, entry())])
        monkeypatch.setattr("regfs.stores.local.files._write_all", failing_with(errno.ENOSPC))
        file.record([(B, entry())])
        monkeypatch.undo()
        file.record([(C, entry())])
        assert not file.writable
        assert "no space left" in str(file.trouble)
        assert {digest for digest, _ in file.ledger} == {A, B, C}
    assert {digest for digest, _ in read_ledger(store, LEDGER)} == {A}
    noted(store, (C, entry()))


def test_where_nothing_may_be_written_it_is_read(
    store: WritableStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted(store, (A, entry()))
    monkeypatch.setattr(type(store), "lock", failing_with(errno.EROFS))

    def refuse(*args: object, **options: object) -> None:
        raise StoreError("the file system is read-only")

    monkeypatch.setattr(type(store), "lock", refuse)
    with opened(store) as file:
        file.load()
        file.record([(B, entry())])
        assert not file.writable
        assert "read-only" in str(file.trouble)
        assert said(file.ledger).keys() == {(A, Level.DIGESTS), (B, Level.DIGESTS)}
    assert kept(store) == said(ledger_of((A, entry())))
    with pytest.raises(StoreError, match="read-only"), opened(store, required=True):
        pass


# -- files that people name -----------------------------------------------------------


def test_a_file_anywhere_can_be_a_ledger(store: WritableStore, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "part3")
    with LedgerFile(*locate(str(tmp_path / "link"), store), owner="a test") as file:
        file.record([(A, entry())])
    assert (tmp_path / "part3").read_bytes().startswith(HEADER)


@pytest.mark.parametrize("place", ["docker/registry/v2/x", "docker/registry/v2/blobs/x"])
def test_a_ledger_among_the_files_of_the_registry_is_refused(
    store: WritableStore, place: str
) -> None:
    with pytest.raises(PathUnsafe, match="belongs to the registry"):
        locate(f"{store.url}/{place}", store)


def test_a_registry_reached_through_a_link_is_recognised(tmp_path: Path) -> None:
    tree = TreeBuilder(tmp_path / "registry")
    tree.push("app", "v1")
    (tmp_path / "registry/docker/registry/v2").rename(tmp_path / "disk")
    (tmp_path / "registry/docker/registry/v2").symlink_to(tmp_path / "disk")
    store = open_store(str(tmp_path / "registry"))
    for place in ("registry/docker/registry/v2/blobs/x", "disk/x"):
        with pytest.raises(PathUnsafe, match="belongs to the registry"):
            locate(str(tmp_path / place), store)
    assert locate(str(tmp_path / "x"), store)[1] == "x"


@pytest.mark.parametrize(("file", "error"), [("no/x", PathMissing), ("a\0b", PathUnsafe)])
def test_a_ledger_in_no_folder_is_refused(
    store: WritableStore, tmp_path: Path, file: str, error: type[StoreError]
) -> None:
    with pytest.raises(error):
        locate(f"{tmp_path}/{file}", store)
