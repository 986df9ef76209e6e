"""cp --to: an image in another tree, whole before anything refers to it."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from regfs import facade
from regfs.edits.edit import Edited
from regfs.errors import ContentMismatch, Doubt, LockHeld, ReferenceInvalid, Refused
from regfs.gc.policy import Policy
from regfs.runs.lock import exclusive
from regfs.stores import WritableStore, open_store
from regfs.tree.registry import Registry
from tests.support.archives import packed
from tests.support.builder import TreeBuilder, image, index
from tests.support.crashes import Crash, CrashingStore
from tests.support.edits import assert_pullable, editor, opened
from tests.support.stores import MEMORY

ONE, TWO = image(["base", "one"]), image(["base", "two"])
ARM = image(["base", "arm"], platform="linux/arm64")
MULTI = index(ONE, ARM)
BLOBS = 8
"""Of MULTI: 3 manifests, 2 configs, 3 layers."""


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    tree.push("app", "multi", MULTI)
    tree.push("app", "v2", TWO)
    return tree


@pytest.fixture
def backup(tmp_path: Path) -> TreeBuilder:
    other = TreeBuilder(tmp_path / "backup")
    other.push("else", "v1", image(["else"]))
    return other


def registry(tree: TreeBuilder, store: WritableStore | None = None) -> Registry:
    return Registry(store or open_store(str(tree.root)))


class Unsharing:
    """A store that can neither clone nor link, as on another file system."""

    def __init__(self, tree: TreeBuilder) -> None:
        self._store = open_store(str(tree.root))

    def snapshot(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def share(self, path: str, source: BinaryIO) -> bool:
        return False


def copy(tree: TreeBuilder, to: Registry, reference: str = "app:multi", **options: Any) -> Edited:
    return editor(tree).cp(reference, to=to, **options)


def amount(done: Edited) -> tuple[int, int]:
    assert done.transferred is not None
    return done.transferred.blobs, done.transferred.shared


@pytest.mark.parametrize("shares", [True, False])
def test_an_image_is_whole_in_the_other_tree(
    shop: TreeBuilder, backup: TreeBuilder, shares: bool
) -> None:
    before = shop.files("")
    store: Any = open_store(str(backup.root)) if shares else Unsharing(backup)
    done = copy(shop, registry(backup, store))
    assert_pullable(backup, "app", "multi", MULTI)
    assert amount(done) == (BLOBS, BLOBS if shares else 0)
    assert backup.tags("else") == ["v1"]
    assert shop.files("") == before


def test_what_is_shared_takes_no_space(shop: TreeBuilder, backup: TreeBuilder) -> None:
    copy(shop, registry(backup))
    layer = ONE.blobs[1].digest
    assert os.path.samefile(shop.blob_path(layer), backup.blob_path(layer))


def test_a_file_of_another_owner_is_copied(shop: TreeBuilder, backup: TreeBuilder) -> None:
    """A registry that runs as the owner of its tree could not read it."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(shop.blob_path(ONE.blobs[1].digest), 12345, 12345)
    assert amount(copy(shop, registry(backup))) == (BLOBS, BLOBS - 1)
    assert backup.blob_path(ONE.blobs[1].digest).stat().st_uid == 0


def test_another_file_system_gets_a_copy(shop: TreeBuilder, memory: Path) -> None:
    if MEMORY is None:
        pytest.skip("there is only one file system")
    done = copy(shop, registry(TreeBuilder(memory)))
    assert amount(done)[1] == 0
    assert_pullable(TreeBuilder(memory), "app", "multi", MULTI)


def test_an_image_comes_out_of_an_archive(
    shop: TreeBuilder, backup: TreeBuilder, tmp_path: Path
) -> None:
    for pack in (bytes, gzip.compress):
        (tmp_path / "t.tar").write_bytes(pack(packed(shop.root)))
        tree = facade.open(str(tmp_path / "t.tar"))
        done = tree.edit.cp("app:multi", f"{pack.__name__}:v1", to=registry(backup))
        assert_pullable(backup, pack.__name__, "v1", MULTI)
        assert amount(done)[1] == 0


def test_what_is_there_already_is_not_brought(shop: TreeBuilder, backup: TreeBuilder) -> None:
    backup.push("app", "v1", ONE)
    assert amount(copy(shop, registry(backup)))[0] == BLOBS - 4
    assert_pullable(backup, "app", "multi", MULTI)
    assert_pullable(backup, "app", "v1", ONE)


def test_it_gets_another_name_if_one_is_given(shop: TreeBuilder, backup: TreeBuilder) -> None:
    editor(shop).cp("app:v2", "team/web:old", to=registry(backup))
    assert_pullable(backup, "team/web", "old", TWO)


def test_an_empty_folder_becomes_a_tree(shop: TreeBuilder, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    target = facade.open(str(tmp_path / "new"), empty=True)
    copy(shop, target.registry)
    assert_pullable(TreeBuilder(tmp_path / "new"), "app", "multi", MULTI)


def test_a_dry_run_says_how_much_it_is(shop: TreeBuilder, backup: TreeBuilder) -> None:
    before = backup.files("")
    done = copy(shop, registry(backup), dry_run=True)
    assert done.run is None
    assert amount(done) == (BLOBS, 0)
    assert done.transferred is not None
    assert done.transferred.bytes > 0
    assert backup.files("") == before


def test_undo_in_the_other_tree_leaves_content_to_its_collection(
    shop: TreeBuilder, backup: TreeBuilder
) -> None:
    before = backup.files()
    done = copy(shop, registry(backup))
    opened(backup).restore(done.run or "")
    assert [path for path in backup.files() if "/app/" in path] == []
    opened(backup).apply(opened(backup).plan(Policy(min_age=0.0)))
    assert backup.files() == before
    assert_pullable(shop, "app", "multi", MULTI)


def test_a_collection_in_the_other_tree_deletes_no_byte_of_this_one(
    shop: TreeBuilder, backup: TreeBuilder
) -> None:
    copy(shop, registry(backup))
    editor(backup).rm("app", offline=True)
    opened(backup).apply(opened(backup).plan(Policy(min_age=0.0)))
    opened(backup).purge(offline=True)
    assert_pullable(shop, "app", "multi", MULTI)


# -- refusals --------------------------------------------------------------------------------


def test_a_tag_that_points_elsewhere_needs_force(shop: TreeBuilder, backup: TreeBuilder) -> None:
    backup.push("app", "multi", TWO)
    with pytest.raises(Refused, match="give --force"):
        copy(shop, registry(backup))
    assert_pullable(backup, "app", "multi", TWO)
    copy(shop, registry(backup), force=True)
    assert_pullable(backup, "app", "multi", MULTI)


def test_the_same_tree_is_none_other(shop: TreeBuilder) -> None:
    with pytest.raises(ReferenceInvalid, match="the same tree; leave out --to"):
        copy(shop, registry(shop))


def test_a_repository_or_a_bare_digest_is_no_image(shop: TreeBuilder, backup: TreeBuilder) -> None:
    for reference in ("app", TWO.digest):
        with pytest.raises(ReferenceInvalid):
            copy(shop, registry(backup), reference)


def test_bad_bytes_in_the_other_tree_refuse_it(shop: TreeBuilder, backup: TreeBuilder) -> None:
    backup.write(backup.blob_path(ONE.blobs[1].digest), b"short")
    with pytest.raises(Doubt, match="repair that tree first: regfs heal --from"):
        copy(shop, registry(backup))
    assert not backup.repository_path("app").exists()


def test_a_tree_of_another_owner_gets_nothing(shop: TreeBuilder, backup: TreeBuilder) -> None:
    backup.write(backup.root / "docker/registry/lockfiles/database-in-use", b"")
    before = backup.files("")
    with pytest.raises(Doubt, match="another program manages this tree"):
        copy(shop, registry(backup))
    assert backup.files("") == before


def test_damaged_content_is_not_copied(shop: TreeBuilder, backup: TreeBuilder) -> None:
    layer = ONE.blobs[1]
    shop.write(shop.blob_path(layer.digest), b"x" * len(layer.data))
    store: Any = Unsharing(backup)
    with pytest.raises(ContentMismatch):
        copy(shop, registry(backup, store))
    assert not backup.repository_path("app").exists()
    assert not backup.blob_path(layer.digest).exists()
    assert not any(".regfs-tmp" in path for path in backup.files())


def test_nothing_refers_to_it_while_another_run_is_under_way(
    shop: TreeBuilder, backup: TreeBuilder
) -> None:
    with exclusive(open_store(str(backup.root))), pytest.raises(LockHeld):
        copy(shop, registry(backup))
    assert not backup.repository_path("app").exists()


def test_what_a_collection_takes_meanwhile_is_brought_again(
    shop: TreeBuilder, backup: TreeBuilder
) -> None:
    """Content without a link is garbage: it is looked for once more under the lock."""
    taken: list[bool] = []

    class Collected(Unsharing):
        def lock(self, *arguments: Any, **options: Any) -> Any:
            if not taken:
                taken.append(backup.blob_path(ARM.digest).exists())
                backup.delete_blob(ARM.digest)
            return self._store.lock(*arguments, **options)

    store: Any = Collected(backup)
    copy(shop, registry(backup, store))
    assert taken == [True]
    assert_pullable(backup, "app", "multi", MULTI)


def test_a_crash_leaves_a_whole_image_or_no_tag(shop: TreeBuilder, tmp_path: Path) -> None:
    for at in range(0, 1000, 4):
        other = TreeBuilder(tmp_path / str(at))
        other.push("else", "v1", image(["else"]))
        store: WritableStore = CrashingStore(open_store(str(other.root)), at)
        try:
            copy(shop, registry(other, store))
        except Crash:
            if other.tag_path("app", "multi").exists():
                assert_pullable(other, "app", "multi", MULTI)
            copy(shop, registry(other), force=True)
            assert_pullable(other, "app", "multi", MULTI)
        else:
            assert at > 40
            return
