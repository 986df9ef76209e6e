"""Every store keeps the same contract; its moves and deletions are in test_stores_changes.py."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regfs.digest import hash_stream
from regfs.errors import LockHeld, PathMissing, PathUnsafe, Refused, StoreError
from regfs.stores import Capability, FileKind, Store, WritableStore, open_store, writable
from tests.support.stores import files, no_findings, put

V2 = "docker/registry/v2"
PARTS = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12
).filter(lambda part: part not in {".", ".."} and len(part.encode()) < 100)


class TestStoreContract:
    def test_is_a_store(self, store: WritableStore) -> None:
        assert isinstance(store, Store)

    def test_its_url_opens_it_again(self, store: WritableStore) -> None:
        put(store, f"{V2}/a", b"1")
        assert open_store(store.url).read(f"{V2}/a", 10) == b"1"

    def test_a_committed_file_is_there_whole(self, store: WritableStore) -> None:
        with store.create("a/b/data") as writer:
            writer.write(b"one ")
            writer.write(b"two")
        assert store.read("a/b/data", 100) == b"one two"
        entry = store.stat("a/b/data")
        assert (entry.path, entry.size, entry.kind) == ("a/b/data", 7, FileKind.FILE)

    def test_a_file_is_not_there_before_commit(self, store: WritableStore) -> None:
        writer = store.create("a/data")
        writer.write(b"x")
        with pytest.raises(PathMissing):
            store.stat("a/data")
        writer.discard()

    def test_commit_replaces_and_the_etag_changes(self, store: WritableStore) -> None:
        put(store, "data", b"old")
        before = store.stat("data")
        put(store, "data", b"newer")
        assert store.read("data", 100) == b"newer"
        assert store.stat("data").etag != before.etag

    def test_an_error_in_the_block_leaves_what_was_there(self, store: WritableStore) -> None:
        put(store, "kept", b"old")
        for path in ("kept", "fresh/folder/data"):
            with pytest.raises(ZeroDivisionError), store.create(path) as writer:
                writer.write(b"half")
                raise ZeroDivisionError
        assert store.read("kept", 100) == b"old"
        assert [entry.path for entry in store.walk("", no_findings)] == ["kept"]

    def test_discard_may_come_twice_and_after_commit(self, store: WritableStore) -> None:
        writer = store.create("data")
        writer.discard()
        writer.discard()
        assert files(store) == []
        writer = store.create("data")
        writer.commit()
        writer.discard()
        assert files(store) == ["data"]

    def test_committing_twice_is_refused(self, store: WritableStore) -> None:
        writer = store.create("data")
        writer.commit()
        with pytest.raises(StoreError):
            writer.commit()

    def test_reads_are_limited(self, store: WritableStore) -> None:
        put(store, "data", bytes(range(256)) * 20)
        assert store.read("data", 0) == b""
        assert store.read("data", 3) == b"\0\1\2"
        assert len(store.read("data", 5120)) == 5120
        assert len(store.read("data", 100_000)) == 5120

    def test_open_serves_any_part(self, store: WritableStore) -> None:
        put(store, "data", b"0123456789")
        for offset, length, expected in [
            (0, None, b"0123456789"),
            (4, None, b"456789"),
            (2, 3, b"234"),
            (8, 50, b"89"),
            (50, None, b""),
            (0, 0, b""),
        ]:
            with store.open("data", offset, length) as stream:
                assert stream.read() == expected
            with store.open("data", offset, length) as stream:
                assert hash_stream(stream)[1] == len(expected)

    def test_a_part_can_be_read_in_pieces(self, store: WritableStore) -> None:
        put(store, "data", b"0123456789")
        with store.open("data", 1, 5) as stream:
            assert [stream.read(2), stream.read(2), stream.read(2), stream.read(2)] == [
                b"12",
                b"34",
                b"5",
                b"",
            ]

    def test_nothing_at_a_path_is_missing(self, store: WritableStore) -> None:
        put(store, "a/data")
        for path in ("b", "a/b", "a/data/deeper"):
            for ask in (store.stat, store.open, lambda path: store.read(path, 1)):
                with pytest.raises(PathMissing, match=r"^\S+: \S.*$"):
                    ask(path)
        with pytest.raises(PathMissing):
            store.move("b", "c")

    def test_a_message_shows_a_path_in_one_printable_line(self, store: WritableStore) -> None:
        with pytest.raises(PathMissing) as raised:
            store.stat("caf\udce9\u00e9\x1b[2J")
        assert str(raised.value).startswith("caf\\xe9\u00e9\\x1b[2J: ")

    def test_a_folder_cannot_be_read(self, store: WritableStore) -> None:
        put(store, "a/data")
        for ask in (store.open, lambda path: store.read(path, 1)):
            with pytest.raises((PathUnsafe, PathMissing)):
                ask("a")

    def test_a_missing_folder_lists_nothing(self, store: WritableStore) -> None:
        assert store.list("no/such", no_findings) == []
        assert list(store.walk("no/such", no_findings)) == []
        assert store.leaves("no/such", "data", no_findings).names == []
        assert list(store.tree("no/such", no_findings)) == []

    def test_list_is_sorted_by_bytes_and_shallow(self, store: WritableStore) -> None:
        for path in ("r/b/data", "r/a", "r/B", "r/a-b", "r/_x", "r/é", "r/😀"):
            put(store, path, path.encode())
        entries = store.list("r", no_findings)
        assert [entry.path for entry in entries] == [
            f"r/{name}" for name in ("B", "_x", "a", "a-b", "b", "é", "😀")
        ]
        assert [entry.path for entry in entries if entry.kind is FileKind.FOLDER] == ["r/b"]
        assert entries[0].size == len("r/B")

    def test_walk_goes_folders_first_and_meets_each_once(self, store: WritableStore) -> None:
        for path in ("a/b/2", "a/b/1", "a/c", "a-b", "d/e/f/g"):
            put(store, path)
        paths = [entry.path for entry in store.walk("", no_findings)]
        assert paths == ["a", "a/b", "a/b/1", "a/b/2", "a/c", "a-b", "d", "d/e", "d/e/f", "d/e/f/g"]
        assert [entry.path for entry in store.walk("a/b", no_findings)] == ["a/b/1", "a/b/2"]

    def test_a_tree_is_every_folder_once_with_the_names_in_it(self, store: WritableStore) -> None:
        for path in ("a/b/2", "a/b/1", "a/c", "a-b", "d/e/f/g", "d/é", "d/😀", "d/B"):
            put(store, path)
        found = {listing.path: listing for listing in store.tree("", no_findings)}
        assert list(found) == ["", "a", "a/b", "d", "d/e", "d/e/f"]
        assert (found[""].folders, found[""].files) == (["a", "d"], ["a-b"])
        assert (found["a"].folders, found["a"].files) == (["b"], ["c"])
        assert found["a/b"].files == ["1", "2"]
        assert found["d"].files == ["B", "é", "😀"]
        assert all(
            one.complete and one.others == [] and one.content is None for one in found.values()
        )
        assert [listing.path for listing in store.tree("d/e", no_findings)] == ["d/e", "d/e/f"]

    def test_a_tree_tells_of_the_same_names_as_a_walk(self, store: WritableStore) -> None:
        for number in range(200):
            put(store, f"t/{number % 7}/{number}/link")
        walked = {entry.path for entry in store.walk("t", no_findings)}
        listed = list(store.tree("t", no_findings))
        names = {f"{one.path}/{name}" for one in listed for name in (*one.folders, *one.files)}
        assert names == walked
        assert len({one.path for one in listed}) == len(listed) == 208

    def test_a_tree_reads_one_file_of_each_folder(self, store: WritableStore) -> None:
        put(store, "t/link", b"top")
        put(store, "t/long/link", bytes(100_000))
        put(store, "t/none/other", b"other")
        put(store, "t/short/link", b"short")
        for limit in (1, 4, 70_000, 200_000):
            found = store.tree("t", no_findings, leaf="link", limit=limit)
            assert [listing.content for listing in found] == [
                b"top"[:limit],
                bytes(min(limit, 100_000)),
                None,
                b"short"[:limit],
            ]

    def test_leaves_are_columns(self, store: WritableStore) -> None:
        put(store, "p/one/data", b"1")
        put(store, "p/two/data", b"22")
        put(store, "p/none/other")
        put(store, "p/stray", b"stray")
        found = store.leaves("p", "data", no_findings)
        assert dict(zip(found.names, found.sizes, strict=True)) == {"one": 1, "two": 2}
        assert len(found.mtimes) == len(found.allocated) == 2
        assert all(abs(mtime - store.stat("p/one/data").mtime) < 60 for mtime in found.mtimes)
        assert found.absent == ["none"]
        assert [(entry.path, entry.size) for entry in found.others] == [("p/stray", 5)]

    def test_leaves_may_lie_deeper(self, store: WritableStore) -> None:
        put(store, "tags/v1/current/link", b"x")
        put(store, "tags/v2/index/link", b"x")
        put(store, "tags/v3/current", b"a file, not a folder")
        found = store.leaves("tags", "current/link", no_findings)
        assert found.names == ["v1"]
        assert found.absent == ["v2"]
        assert [(one.path, one.kind) for one in found.others] == [
            ("tags/v3/current", FileKind.FILE)
        ]

    def test_a_lock_excludes_and_says_who(self, store: WritableStore) -> None:
        with store.lock("state/lock", "gc on host 7\nand more"):
            for shared in (False, True):
                with pytest.raises(LockHeld, match="gc on host 7 and more") as raised:
                    store.lock("state/lock", "other", shared=shared).__enter__()
                assert not raised.value.shared
        with store.lock("state/lock", "other"):
            pass

    def test_shared_locks_go_together(self, store: WritableStore) -> None:
        with (
            store.lock("lock", "a", shared=True),
            store.lock("lock", "b", shared=True),
            pytest.raises(LockHeld) as raised,
        ):
            store.lock("lock", "c").__enter__()
        assert raised.value.shared
        with store.lock("lock", "c"):
            pass

    def test_a_lock_is_freed_by_an_error(self, store: WritableStore) -> None:
        with pytest.raises(ZeroDivisionError), store.lock("lock", "a"):
            raise ZeroDivisionError
        with store.lock("lock", "b"):
            pass

    @pytest.mark.parametrize(
        "path",
        ["/etc/passwd", "..", "../x", "a/../b", "a//b", "a/", ".", "a/./b", "a\0b", "\ud800"],
    )
    def test_paths_that_cannot_be_meant_are_refused(self, store: WritableStore, path: str) -> None:
        attempts: list[Callable[[], object]] = [
            lambda: store.list(path, no_findings),
            lambda: list(store.walk(path, no_findings)),
            lambda: list(store.tree(path, no_findings)),
            lambda: store.leaves(path, "data", no_findings),
            lambda: store.leaves("a", path, no_findings),
            lambda: store.stat(path),
            lambda: store.open(path),
            lambda: store.read(path, 1),
            lambda: store.create(path),
            lambda: store.append(path),
            lambda: store.move(path, "b"),
            lambda: store.move("a", path),
            lambda: store.replace(path, "b"),
            lambda: store.replace("a/data", path),
            lambda: store.delete([path]),
            lambda: store.delete_tree(path),
            lambda: store.sync(path),
            lambda: store.lock(path, "me").__enter__(),
        ]
        put(store, "a/data")
        for attempt in attempts:
            with pytest.raises(PathUnsafe):
                attempt()

    def test_the_root_itself_is_never_changed(self, store: WritableStore) -> None:
        put(store, "a")
        attempts: list[Callable[[], object]] = [
            lambda: store.create(""),
            lambda: store.append(""),
            lambda: store.move("", "b"),
            lambda: store.move("a", ""),
            lambda: store.replace("", "b"),
            lambda: store.replace("a", ""),
            lambda: store.delete([""]),
            lambda: store.delete(["missing", ""]),
            lambda: store.delete_tree(""),
        ]
        for attempt in attempts:
            with pytest.raises(PathUnsafe):
                attempt()
        assert files(store) == ["a"]

    @settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(tree=st.dictionaries(st.tuples(PARTS, PARTS), st.binary(max_size=40), max_size=8))
    def test_what_is_written_is_what_is_walked(
        self, store: WritableStore, tree: dict[tuple[str, str], bytes]
    ) -> None:
        for (folder, name), data in tree.items():
            put(store, f"t/{folder}/{name}", data)
        expected = {f"t/{folder}/{name}": data for (folder, name), data in tree.items()}
        assert {path: store.read(path, 100) for path in files(store, "t")} == expected
        walked = [entry.path for entry in store.walk("t", no_findings)]
        assert walked == sorted(walked, key=lambda path: [os.fsencode(p) for p in path.split("/")])
        store.delete_tree("t")

    def test_many_threads_may_use_one_store(self, store: WritableStore) -> None:
        failures: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for turn in range(10):
                    put(store, f"shared/{turn}/{number}", b"x")
                    store.move(f"shared/{turn}/{number}", f"q/{turn}/{number}")
                    assert store.read(f"q/{turn}/{number}", 9) == b"x"
                    store.delete([f"shared/{turn}"])
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(files(store, "q")) == 60


def test_what_can_only_be_read_is_not_changed() -> None:
    class ReadOnly:
        url = "somewhere"
        capabilities = Capability(0)
        refusal = "somewhere: only read"

    with pytest.raises(Refused, match="somewhere: only read"):
        writable(cast(Store, ReadOnly()))
