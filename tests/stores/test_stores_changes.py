"""Every store appends, moves, replaces, deletes and syncs by the same contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from regfs.errors import PathMissing, PathUnsafe, StoreError
from regfs.stores import FileKind, WritableStore
from tests.support.stores import files, no_findings, put


class TestChangeContract:
    def test_append_adds_at_the_end(self, store: WritableStore) -> None:
        for line in (b"one\n", b"two\n"):
            with store.append("state/journal") as journal:
                assert journal.write(line) == 4
                journal.flush()
        assert store.read("state/journal", 100) == b"one\ntwo\n"

    def test_move_takes_a_file_or_a_folder_with_all_it_holds(self, store: WritableStore) -> None:
        put(store, "a/data", b"1")
        put(store, "b/c/data", b"2")
        store.move("a/data", "q/deep/a/data")
        store.move("b", "q/b")
        assert files(store) == ["q/b/c/data", "q/deep/a/data"]
        assert store.read("q/b/c/data", 9) == b"2"

    def test_a_file_is_made_with_the_time_that_is_given(self, store: WritableStore) -> None:
        with store.create("a/data", mtime=1_000_000_000.25) as writer:
            writer.write(b"1")
        assert store.stat("a/data").mtime == 1_000_000_000.25

    def test_share_gives_the_content_of_an_open_file_or_nothing(self, store: WritableStore) -> None:
        put(store, "a/data", b"1" * 1000)
        put(store, "c/data", b"before")
        with store.open("a/data") as source:
            shared = [store.share(path, source) for path in ("b/data", "c/data")]
        there = [store.read(path, 2000) for path in ("b/data", "c/data") if path in files(store)]
        assert there == ([b"1" * 1000] * 2 if all(shared) else [b"before"])
        store.delete(["a/data"])
        assert [store.read(path, 2000) for path in files(store)] == there

    def test_replace_takes_the_place_of_what_is_there(self, store: WritableStore) -> None:
        put(store, "a/data", b"new")
        put(store, "b/data", b"old and longer")
        store.replace("a/data", "b/data")
        assert (files(store), store.read("b/data", 99)) == (["b/data"], b"new")
        store.replace("b/data", "c/d/data")
        assert (files(store), store.read("c/d/data", 99)) == (["c/d/data"], b"new")
        store.sync("c/d")

    def test_who_reads_what_is_replaced_reads_it_to_its_end(self, store: WritableStore) -> None:
        put(store, "data", b"old" * 1000)
        put(store, "next", b"new")
        with store.open("data") as stream:
            begun = stream.read(10)
            store.replace("next", "data")
            assert begun + stream.read() == b"old" * 1000

    def test_replace_moves_nothing_that_is_no_file(self, store: WritableStore) -> None:
        put(store, "a/data", b"file")
        put(store, "b/c/data", b"deep")
        with pytest.raises(PathMissing):
            store.replace("missing", "a/data")
        with pytest.raises(PathUnsafe):
            store.replace("b", "a/data")
        with pytest.raises(StoreError):
            store.replace("a/data", "b/c")
        assert files(store) == ["a/data", "b/c/data"]
        assert store.read("a/data", 9) == b"file"

    def test_many_moves_are_each_as_one(self, store: WritableStore) -> None:
        for path in ("a/1/data", "a/2/data", "b/data", "taken"):
            put(store, path, path.encode())
        moves = [
            ("a/1", "q/a/1"),
            ("a/missing", "q/a/missing"),
            ("a/2", "q/a/2"),
            ("b/data", "taken"),
            ("b/data", "q/b/data"),
            ("../out", "q/out"),
        ]
        answers = list(store.move_many(moves))
        assert [answer if answer is None else type(answer) for answer in answers] == [
            None,
            PathMissing,
            None,
            StoreError,
            None,
            PathUnsafe,
        ]
        assert files(store) == ["q/a/1/data", "q/a/2/data", "q/b/data", "taken"]
        assert store.read("taken", 9) == b"taken"

    def test_the_next_move_is_asked_for_when_the_last_is_done(self, store: WritableStore) -> None:
        """So that each can be looked at just before it is moved."""
        for name in "abc":
            put(store, f"from/{name}")
        seen = []

        def moves() -> Iterator[tuple[str, str]]:
            for name in "abc":
                seen.append(files(store, "from"))
                yield f"from/{name}", f"to/{name}"

        for answer in store.move_many(moves()):
            assert answer is None
            seen.append(files(store, "to"))
        assert seen[::2] == [[f"from/{n}" for n in names] for names in ("abc", "bc", "c")]
        assert seen[1::2] == [[f"to/{n}" for n in names] for names in ("a", "ab", "abc")]

    def test_a_folder_made_anew_between_two_moves_is_found(self, store: WritableStore) -> None:
        put(store, "from/a")
        put(store, "from/b")

        def moves() -> Iterator[tuple[str, str]]:
            yield "from/a", "to/a"
            store.delete_tree("to")
            store.move("from", "aside")
            put(store, "from/b", b"new")
            yield "from/b", "to/b"

        assert list(store.move_many(moves())) == [None, None]
        there = [path for path in files(store) if path.startswith("to/")]
        assert there == ["to/b"]

    def test_examine_tells_what_is_there_and_whether_it_is_alone(
        self, store: WritableStore
    ) -> None:
        for path in ("a/alone/data", "a/two/data", "a/two/more", "top"):
            put(store, path, b"12345")
        paths = ["a/alone/data", "a/alone", "a/missing/data", "a/two/data", "top", "../out"]
        answers = list(store.examine(paths))
        kinds = [
            FileKind.FILE,
            FileKind.FOLDER,
            PathMissing,
            FileKind.FILE,
            FileKind.FILE,
            PathUnsafe,
        ]
        alone = []
        for path, answer, kind in zip(paths, answers, kinds, strict=True):
            if isinstance(answer, StoreError):
                assert type(answer) is kind
            else:
                assert (answer.entry, answer.entry.kind) == (store.stat(path), kind)
                alone.append((path, answer.alone))
        assert alone == [
            ("a/alone/data", True),
            ("a/alone", False),
            ("a/two/data", False),
            ("top", False),
        ]

    def test_examine_looks_at_the_moment_it_is_asked(self, store: WritableStore) -> None:
        put(store, "a/1/data")
        put(store, "a/2/data")
        looks = store.examine(["a/1/data", "a/2/data"])
        assert not isinstance(next(looks), StoreError)
        put(store, "a/2/data", b"longer")
        put(store, "a/2/stranger")
        answer = next(looks)
        assert not isinstance(answer, StoreError)
        assert (answer.entry.size, answer.alone) == (6, False)

    def test_move_never_overwrites(self, store: WritableStore) -> None:
        put(store, "a/data", b"source")
        put(store, "b/data", b"target")
        for source, target in (("a/data", "b/data"), ("a", "b"), ("a/data", "b")):
            with pytest.raises(StoreError):
                store.move(source, target)
        assert store.read("a/data", 9) == b"source"
        assert store.read("b/data", 9) == b"target"

    def test_delete_counts_what_was_there(self, store: WritableStore) -> None:
        for path in ("a/1", "a/2", "b/1"):
            put(store, path)
        assert store.delete(["a/1", "a/missing", "no/such/folder", "a/1/below", "b/1"]) == 2
        assert files(store) == ["a/2"]

    def test_delete_takes_empty_folders_only(self, store: WritableStore) -> None:
        put(store, "a/b/1")
        put(store, "used/1")
        assert store.delete(["a/b/1", "a/b", "a", "used"]) == 3
        assert [entry.path for entry in store.walk("", no_findings)] == ["used", "used/1"]

    def test_delete_tree_takes_everything_below(self, store: WritableStore) -> None:
        for path in ("a/b/c/1", "a/b/2", "a/3", "ab/4"):
            put(store, path)
        assert store.delete_tree("a") == 3
        assert [entry.path for entry in store.walk("", no_findings)] == ["ab", "ab/4"]
        assert store.delete_tree("a") == 0

    def test_sync_takes_what_is_there(self, store: WritableStore) -> None:
        put(store, "a/data")
        store.move("a/data", "q/r/s/data")
        store.sync("q/r/s")
        store.sync("")
