"""Point reads: what a reference means, what a tag points to, and bytes that are verified."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.digest import BUFFER_SIZE, Digest
from regfs.errors import (
    BlobUnknown,
    ContentMismatch,
    LayoutInvalid,
    ManifestInvalid,
    ManifestTooLarge,
    ManifestUnknown,
    NameUnknown,
    PathUnsafe,
    ReferenceAmbiguous,
    ReferenceInvalid,
    StoreError,
    Unknown,
)
from regfs.findings import Code
from regfs.manifests import ImageManifest
from regfs.stores import open_store
from regfs.tree.references import SHORTEST
from regfs.tree.registry import Registry, Target
from tests.support.builder import TreeBuilder, digest_of, image
from tests.support.damage import OTHER


def registry_of(tree: TreeBuilder) -> Registry:
    return Registry(open_store(str(tree.root)))


@pytest.fixture
def registry(tree: TreeBuilder) -> Registry:
    """A registry with `app:v1`, `team/app:v1`, and a layer of app that nothing uses."""
    tree.push("app", "v1", image(["base", "one"]))
    tree.push("team/app", "v1", image(["base", "two"]))
    tree.add_blob("app", "spare")
    return registry_of(tree)


# -- what a reference means -----------------------------------------------------------


@pytest.mark.parametrize("name", ["app", "team/app"])
def test_a_name_is_its_repository(registry: Registry, name: str) -> None:
    assert registry.find(name) == Target(name, None, None)


@pytest.mark.parametrize("name", ["app", "team/app"])
def test_a_name_with_a_tag_is_what_the_tag_points_to(
    registry: Registry, tree: TreeBuilder, name: str
) -> None:
    assert registry.find(f"{name}:v1") == Target(name, "v1", Digest(tree.current(name, "v1")))


def test_a_name_with_a_digest_is_a_manifest_or_layer_of_it(
    registry: Registry, tree: TreeBuilder
) -> None:
    manifest = tree.current("app", "v1")
    layer = tree.document(manifest)["layers"][0]["digest"]
    for digest in (manifest, layer):
        for text in (digest, digest[7:], digest[:20], digest[7 : 7 + SHORTEST]):
            assert registry.find(f"app@{text}") == Target("app", None, Digest(digest))


def test_a_digest_is_any_blob(registry: Registry, tree: TreeBuilder) -> None:
    loose = tree.blob(b"linked by nothing")
    for digest in (loose, tree.current("app", "v1")):
        for text in (digest, digest[7:], digest[:20], digest[7 : 7 + SHORTEST]):
            assert registry.find(text) == Target(None, None, Digest(digest))


def test_what_is_found_can_be_written_down_and_found_again(
    registry: Registry, tree: TreeBuilder
) -> None:
    digest = tree.current("app", "v1")
    for text in ("app", "app:v1", f"app@{digest}", digest):
        target = registry.find(text)
        assert str(target) == text
        assert registry.find(str(target)) == target


def test_a_digest_in_another_repository_is_not_in_this_one(
    registry: Registry, tree: TreeBuilder
) -> None:
    digest = tree.current("team/app", "v1")
    with pytest.raises(ManifestUnknown, match="in app"):
        registry.find(f"app@{digest}")


@pytest.mark.parametrize("length", [SHORTEST - 1, 1, 0])
def test_a_digest_can_be_cut_too_short(registry: Registry, tree: TreeBuilder, length: int) -> None:
    short = tree.current("app", "v1")[7 : 7 + length]
    with pytest.raises(ReferenceInvalid, match=str(SHORTEST)):
        registry.find(f"app@{short}")
    with pytest.raises((NameUnknown, ReferenceInvalid)):
        registry.find(short)


def _alike(tree: TreeBuilder, count: int) -> list[str]:
    digests = sorted(f"sha256:abcdef0{number:057x}" for number in range(count))
    for digest in digests:
        tree.write(tree.blob_path(digest), b"any")
        tree.layer_link("app", digest)
    return digests


@pytest.mark.parametrize("reference", ["abcdef0", "sha256:abcdef0", "app@abcdef0"])
def test_an_ambiguous_digest_lists_what_it_could_be(tree: TreeBuilder, reference: str) -> None:
    digests = _alike(tree, 3)
    with pytest.raises(ReferenceAmbiguous) as caught:
        registry_of(tree).find(reference)
    assert all(digest in str(caught.value) for digest in digests)


def test_of_very_many_candidates_some_are_listed(tree: TreeBuilder) -> None:
    digests = _alike(tree, 25)
    with pytest.raises(ReferenceAmbiguous, match="and 15 more") as caught:
        registry_of(tree).find("abcdef0")
    assert [digest in str(caught.value) for digest in digests] == [True] * 10 + [False] * 15


def test_one_digit_more_decides(tree: TreeBuilder) -> None:
    digests = _alike(tree, 3)
    assert registry_of(tree).find(digests[1]).digest == digests[1]
    assert registry_of(tree).find(f"app@{digests[2]}").digest == digests[2]


def test_the_same_digits_in_two_algorithms_are_ambiguous(tree: TreeBuilder) -> None:
    short, long = "sha256:" + "ab" * 32, "sha512:" + "ab" * 64
    for digest in (short, long):
        tree.write(tree.blob_path(digest), b"any")
    with pytest.raises(ReferenceAmbiguous):
        registry_of(tree).find("ab" * 10)
    assert registry_of(tree).find("sha512:" + "ab" * 10).digest == long
    assert registry_of(tree).find("ab" * 33).digest == long


def test_a_repository_named_like_a_digest_goes_first(tree: TreeBuilder) -> None:
    digest = tree.push("deadbeef", "v1")
    tree.write(tree.blob_path("sha256:deadbeef" + "0" * 56), b"any")
    registry = registry_of(tree)
    assert registry.find("deadbeef") == Target("deadbeef", None, None)
    assert registry.find("deadbeef:v1").digest == digest
    assert registry.find("sha256:deadbeef").digest == "sha256:deadbeef" + "0" * 56
    assert registry.find("deadbeef0").digest == "sha256:deadbeef" + "0" * 56


def test_a_tag_of_a_repository_named_like_an_algorithm(tree: TreeBuilder) -> None:
    digest = tree.push("sha256", "1234567")
    registry = registry_of(tree)
    assert registry.find("sha256:1234567") == Target("sha256", "1234567", Digest(digest))
    assert registry.find(digest) == Target(None, None, Digest(digest))
    with pytest.raises(BlobUnknown):
        registry.find("sha256:7654321")


@pytest.mark.parametrize("tag", ["link", "current", "index", "_layers", "data", "v1.0-rc_2"])
def test_tags_with_names_of_the_layout(tree: TreeBuilder, tag: str) -> None:
    digest = tree.push("app", tag)
    assert registry_of(tree).find(f"app:{tag}").digest == digest


@pytest.mark.parametrize("name", ["tags/list", "blobs/uploads", "a/b/c/d/e", "Team/app"])
def test_names_with_names_of_the_layout(tree: TreeBuilder, name: str) -> None:
    digest = tree.push(name, "v1")
    assert registry_of(tree).find(f"{name}:v1") == Target(name, "v1", Digest(digest))


def test_what_no_client_can_ask_for_can_be_asked_for_here(tree: TreeBuilder) -> None:
    name = "Bad/" + os.fsdecode(b"caf\xe9")
    digest = tree.push(name, "with space")
    registry = registry_of(tree)
    assert registry.find(name) == Target(name, None, None)
    assert registry.find(f"{name}:with space").digest == digest
    assert registry.find(f"{name}@{digest}").digest == digest


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "/app",
        "app/",
        "app//v1",
        "app/../app",
        "./app",
        "..",
        "app:",
        ":v1",
        "app:.v1",
        "app:v 1",
        "app@",
        "@",
        "@sha256:" + "0" * 64,
        "app@latest",
        "app@sha256:" + "A" * 64,
        "app@sha256:" + "0" * 129,
        "app@md5:" + "0" * 32,
        "_layers",
        "app/_layers",
        "app/_manifests:v1",
        "App Name",
        "app\0",
        "app\n",
        "app:v1\n",
        "a" * 300,
        "\ud800",
        "x" * 100_000,
    ],
)
def test_what_is_no_reference(registry: Registry, text: str) -> None:
    with pytest.raises(ReferenceInvalid):
        registry.find(text)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("team", NameUnknown),
        ("app/inner", NameUnknown),
        ("other:v1", NameUnknown),
        ("localhost:5000/other", NameUnknown),
        ("other@sha256:" + "0" * 64, NameUnknown),
        ("app:v2", ManifestUnknown),
        ("app@sha256:" + "0" * 64, ManifestUnknown),
        ("app@0000000", ManifestUnknown),
        ("sha256:" + "0" * 64, BlobUnknown),
        ("0000000", BlobUnknown),
    ],
)
def test_what_is_not_there(registry: Registry, text: str, error: type[Unknown]) -> None:
    with pytest.raises(error):
        registry.find(text)


@given(st.text(st.sampled_from("ab01/:@._-\0\ud800é"), max_size=20) | st.text(max_size=20))
def test_any_text_is_found_or_refused(text: str) -> None:
    registry = _shared()
    try:
        target = registry.find(text)
    except (ReferenceInvalid, Unknown):
        return
    assert target.name in ("a", "a/b", None)


_trees: list[Registry] = []


@pytest.fixture(scope="module", autouse=True)
def _one_tree(tmp_path_factory: pytest.TempPathFactory) -> None:
    tree = TreeBuilder(tmp_path_factory.mktemp("shared"))
    tree.push("a", "0")
    tree.push("a/b", "1")
    _trees.append(registry_of(tree))


def _shared() -> Registry:
    return _trees[-1]


# -- tags, repositories, revisions ------------------------------------------------------


def test_a_damaged_tag_is_told_from_none(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    path = tree.break_("tag-current-garbage", "app", "v1")
    with pytest.raises(ManifestUnknown) as caught:
        registry_of(tree).find("app:v1")
    assert path in str(caught.value)
    assert "not a digest" in str(caught.value)


@pytest.mark.parametrize("kind", ["tag-current-newline", "tag-current-bare-hex"])
def test_a_tag_is_understood_with_good_will(tree: TreeBuilder, kind: str) -> None:
    digest = tree.push("app", "v1")
    tree.break_(kind, "app", "v1")
    assert registry_of(tree).tag("app", "v1") == digest


def test_a_tag_that_cannot_be_read_is_no_unknown_one(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    tree.tag_path("app", "v1").unlink()
    os.mkfifo(tree.tag_path("app", "v1"))
    with pytest.raises(PathUnsafe):
        registry_of(tree).tag("app", "v1")


def test_tags_that_can_be_asked_for(tree: TreeBuilder) -> None:
    for tag in ("b", "a", "c"):
        tree.push("app", tag)
    tree.break_("tag-current-missing", "app", "b")
    tags = registry_of(tree).tags("app")
    assert list(tags) == ["a", "c"]
    assert tags["a"] == tree.tag_path("app", "a").stat().st_mtime


def test_no_tags_are_told_from_no_repository(tree: TreeBuilder) -> None:
    tree.push("app", None)
    assert registry_of(tree).tags("app") == {}
    with pytest.raises(NameUnknown):
        registry_of(tree).tags("other")


def test_repositories_are_listed_as_a_scan_lists_them(tree: TreeBuilder) -> None:
    for name in ("foo", "foo/1x", "foo-bar/a", "foo/z"):
        tree.push(name, "v1", image(["same"]))
    assert list(registry_of(tree).repositories()) == ["foo", "foo/1x", "foo/z", "foo-bar/a"]


@pytest.mark.parametrize("part", ["_layers", "_manifests", "_uploads"])
def test_a_repository_exists_with_any_of_its_parts(tree: TreeBuilder, part: str) -> None:
    tree.folder(tree.repository_path("team/app") / part)
    registry = registry_of(tree)
    assert registry.exists("team/app")
    assert not registry.exists("team")
    assert not registry.exists("team/app/inner")


@pytest.mark.parametrize("name", ["", "_x", "a/_b", "../a", "a//b", "/a"])
def test_what_can_be_no_repository_is_misuse(registry: Registry, name: str) -> None:
    with pytest.raises(LayoutInvalid):
        registry.exists(name)


def test_revisions_of_a_repository(registry: Registry, tree: TreeBuilder) -> None:
    digest = tree.current("app", "v1")
    other = tree.push("app", None, image(["other"]))
    tree.write(tree.repository_path("app") / "_manifests/revisions/sha256/junk/link", "x")
    revisions = registry.revisions("app")
    assert set(revisions) == {digest, other}
    assert revisions[Digest(other)] == tree.revision_path("app", other).stat().st_mtime
    assert registry.revisions("other") == {}


def test_a_repository_holds_what_it_links(registry: Registry, tree: TreeBuilder) -> None:
    manifest = Digest(tree.current("app", "v1"))
    layer = Digest(tree.document(manifest)["layers"][1]["digest"])
    assert registry.holds("app", manifest)
    assert registry.holds("app", layer)
    assert not registry.holds("team/app", manifest)
    assert not registry.holds("team/app", layer)


def test_a_folder_is_no_link(tree: TreeBuilder) -> None:
    digest = Digest(digest_of(b"x"))
    tree.folder(tree.layer_path("app", digest))
    assert not registry_of(tree).holds("app", digest)


def test_a_link_never_raises(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    path = tree.break_("fifo-link", "app", "v1")
    link = registry_of(tree).link(path)
    assert (link.digest, link.problem) == (None, Code.PATH_UNREADABLE)


# -- bytes ----------------------------------------------------------------------------------


def test_a_blob_has_a_size_and_a_time(tree: TreeBuilder) -> None:
    digest = Digest(tree.blob(b"12345"))
    entry = registry_of(tree).blob(digest)
    assert (entry.path, entry.size) == (tree.relative(tree.blob_path(digest)), 5)
    assert entry.mtime == tree.blob_path(digest).stat().st_mtime


def test_part_of_a_blob_can_be_read(tree: TreeBuilder) -> None:
    digest = Digest(tree.blob(b"0123456789"))
    registry = registry_of(tree)
    with registry.open_blob(digest) as whole, registry.open_blob(digest, 3, 4) as part:
        assert (whole.read(), part.read()) == (b"0123456789", b"3456")


@pytest.mark.parametrize("size", [0, 1, BUFFER_SIZE - 1, BUFFER_SIZE, BUFFER_SIZE + 1, 10**6])
def test_a_stream_is_all_of_the_blob(tree: TreeBuilder, size: int) -> None:
    data = os.urandom(size)
    digest = Digest(tree.blob(data))
    assert b"".join(registry_of(tree).stream(digest)) == data


@pytest.mark.parametrize("kind", ["blob-flipped", "blob-truncated", "blob-grown", "blob-empty"])
def test_a_stream_of_other_bytes_never_ends_well(tree: TreeBuilder, kind: str) -> None:
    manifest = tree.push("app", "v1", image([os.urandom(3 * BUFFER_SIZE)]))
    layer = Digest(tree.document(manifest)["layers"][0]["digest"])
    path = tree.break_(kind, "app", "v1")
    stream = registry_of(tree).stream(layer)
    with pytest.raises(ContentMismatch, match=path):
        for _ in stream:
            pass


def test_what_is_missing_is_unknown(tree: TreeBuilder) -> None:
    digest, registry = Digest(OTHER), registry_of(tree)
    for read in (
        registry.blob,
        registry.open_blob,
        lambda digest: next(registry.stream(digest)),
        registry.manifest_bytes,
        registry.manifest,
    ):
        with pytest.raises(BlobUnknown, match=OTHER):
            read(digest)


@pytest.mark.parametrize("kind", ["fifo-data", "symlink-outside", "symlink-dangling"])
def test_what_is_unsafe_is_not_opened(tree: TreeBuilder, kind: str) -> None:
    manifest = tree.push("app", "v1")
    layer = Digest(tree.document(manifest)["layers"][0]["digest"])
    tree.break_(kind, "app", "v1")
    registry = registry_of(tree)
    with pytest.raises(StoreError):
        registry.open_blob(layer)
    with pytest.raises(StoreError):
        next(registry.stream(layer))


def test_a_manifest_is_verified_and_parsed(registry: Registry, tree: TreeBuilder) -> None:
    digest = Digest(tree.current("app", "v1"))
    assert isinstance(registry.manifest(digest), ImageManifest)
    assert registry.manifest_bytes(digest) == tree.blob_path(digest).read_bytes()


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("manifest-flipped", ContentMismatch),
        ("manifest-other-json", ContentMismatch),
        ("manifest-empty", ContentMismatch),
        ("manifest-too-large", ManifestTooLarge),
        ("manifest-missing", BlobUnknown),
    ],
)
def test_a_damaged_manifest(tree: TreeBuilder, kind: str, error: type[Exception]) -> None:
    digest = Digest(tree.push("app", "v1"))
    tree.break_(kind, "app", "v1")
    with pytest.raises(error):
        registry_of(tree).manifest(digest)


def test_a_blob_is_no_manifest(tree: TreeBuilder) -> None:
    with pytest.raises(ManifestInvalid):
        registry_of(tree).manifest(Digest(tree.blob(b"just bytes")))


def test_the_limit_is_the_largest_size_that_is_read(tree: TreeBuilder) -> None:
    digest, registry = Digest(tree.blob(b"12345")), registry_of(tree)
    assert registry.manifest_bytes(digest, 5) == b"12345"
    with pytest.raises(ManifestTooLarge):
        registry.manifest_bytes(digest, 4)


def test_a_bare_path_is_not_taken_for_a_reference(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(ReferenceInvalid):
        registry.find(str(tmp_path))
