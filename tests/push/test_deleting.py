"""Tags, manifests and blobs are deleted over the API: what goes, what stays, what is refused."""

from __future__ import annotations

import shutil

import pytest

from regfs.digest import Digest
from regfs.errors import BlobUnknown, ManifestUnknown, PathUnsafe
from tests.support.builder import TreeBuilder, image, index, layer
from tests.support.pusher import pusher

BASE = layer({"base": b"base"})
V1, V2 = image([BASE, "one"]), image([BASE, "two"])


def blobs_in(tree: TreeBuilder) -> dict[str, str]:
    return {path: data for path, data in tree.files().items() if "/blobs/" in path}


def test_deleting_a_tag_leaves_everything_else(tree: TreeBuilder) -> None:
    one = pusher(tree)
    one.push("app", "v1", V1)
    one.push("app", "v1", V2)
    one.push("app/v1", "v1", V1)
    before = tree.files()
    one.publisher.delete_tag("app", "v1")
    gone = before.keys() - tree.files().keys()
    assert gone == {
        tree.relative(tree.tag_path("app", "v1")),
        tree.relative(tree.tag_index_path("app", "v1", V1.digest)),
        tree.relative(tree.tag_index_path("app", "v1", V2.digest)),
    }
    assert not tree.tag_folder("app", "v1").exists()
    with pytest.raises(ManifestUnknown):
        one.publisher.delete_tag("app", "v1")


def test_deleting_a_manifest_takes_the_tags_that_point_to_it(tree: TreeBuilder) -> None:
    one = pusher(tree)
    for tag, content in (("a", V1), ("b", V2), ("c", V1), ("d", index(V1))):
        one.push("app", tag, content)
    one.push("other", "a", V1)
    blobs = blobs_in(tree)
    one.publisher.delete_manifest("app", Digest(V1.digest))
    assert tree.tags("app") == ["b", "d"]
    assert tree.tags("other") == ["a"]
    assert not tree.revision_path("app", V1.digest).exists()
    assert tree.revision_path("app", V2.digest).exists()
    assert tree.revision_path("other", V1.digest).exists()
    assert blobs_in(tree) == blobs
    with pytest.raises(ManifestUnknown):
        one.publisher.delete_manifest("app", Digest(V1.digest))


def test_deleting_a_blob_takes_one_link(tree: TreeBuilder) -> None:
    one = pusher(tree)
    one.push("app", "v1", V1)
    one.push("other", "v1", V1)
    before, digest = tree.files(), Digest(V1.blobs[0].digest)
    one.publisher.delete_blob("app", digest)
    link = tree.relative(tree.layer_path("app", digest))
    assert before.keys() - tree.files().keys() == {link}
    with pytest.raises(BlobUnknown):
        one.publisher.delete_blob("app", digest)


def test_deleting_something_absent_is_refused(tree: TreeBuilder) -> None:
    one = pusher(tree)
    one.push("app", "v1", V1)
    tree.layer_path("app", V1.digest)
    before = tree.files()
    with pytest.raises(ManifestUnknown):
        one.publisher.delete_tag("app", "v2")
    with pytest.raises(ManifestUnknown):
        one.publisher.delete_tag("missing", "v1")
    with pytest.raises(ManifestUnknown):
        one.publisher.delete_manifest("app", Digest(V1.blobs[0].digest))
    with pytest.raises(ManifestUnknown):
        one.publisher.delete_manifest("missing", Digest(V1.digest))
    with pytest.raises(BlobUnknown):
        one.publisher.delete_blob("app", Digest(V1.digest))
    assert tree.files() == before


def test_a_tag_whose_link_is_damaged_can_be_deleted(tree: TreeBuilder) -> None:
    one = pusher(tree)
    one.push("app", "v1", V1)
    one.push("app", "v2", V1)
    tree.tag_path("app", "v1").write_bytes(b"")
    tree.tag_path("app", "v2").write_text(V1.digest + "\n")
    one.publisher.delete_manifest("app", Digest(V1.digest))
    assert tree.tags("app") == ["v1"]  # what it meant nobody knows
    one.publisher.delete_tag("app", "v1")
    assert tree.tags("app") == []


def test_foreign_files_in_the_folder_of_a_tag_stay(tree: TreeBuilder) -> None:
    one = pusher(tree)
    one.push("app", "v1", V1)
    note = tree.write(tree.tag_folder("app", "v1") / "index/notes.txt", "mine")
    one.publisher.delete_tag("app", "v1")
    assert not tree.tag_path("app", "v1").exists()
    assert not tree.tag_index_path("app", "v1", V1.digest).exists()
    assert note.read_text() == "mine"


@pytest.mark.parametrize("part", ["current", "index", f"index/sha256/{V1.digest[7:]}"])
def test_a_tag_is_not_deleted_through_a_symbolic_link(tree: TreeBuilder, part: str) -> None:
    one = pusher(tree)
    one.push("app", "real", V1)
    one.push("app", "odd", V1)
    place = tree.tag_folder("app", "odd") / part
    shutil.rmtree(place)
    place.symlink_to(tree.tag_folder("app", "real") / part)
    before = tree.files()
    with pytest.raises(PathUnsafe):
        one.publisher.delete_tag("app", "odd")
    assert tree.files() == before


@pytest.mark.parametrize("what", ["revision", "layer"])
def test_the_folder_of_a_deleted_link_stays_unless_empty(tree: TreeBuilder, what: str) -> None:
    one = pusher(tree)
    one.push("app", "v1", V1)
    digest = Digest(V1.digest if what == "revision" else V1.blobs[0].digest)
    link = (tree.revision_path if what == "revision" else tree.layer_path)("app", digest)
    other = tree.write(link.parent / "signatures/sha256/x/link", "signature")
    delete = one.publisher.delete_manifest if what == "revision" else one.publisher.delete_blob
    delete("app", digest)
    assert not link.exists()
    assert other.read_text() == "signature"
