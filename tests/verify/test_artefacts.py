"""What crashes, full disks, NFS and fsck leave in a tree: each told apart, with its exact path."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from regfs.findings import RULES, Code, Severity
from regfs.verify import Level
from tests.support.builder import Blob, TreeBuilder, digest_of, image
from tests.support.verification import BASE, V1, check, codes, only, stocked

DAY = 86400.0
UUID = "0b0f8d5e-8a0f-4c59-9d52-3a8d35a0a9b1"
TEMPORARY = f".{UUID}.tmp"


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    return stocked(tree)


def said(tree: TreeBuilder, level: Level = Level.LINKS) -> list[tuple[str, str]]:
    return sorted(
        (row.finding.code.value, row.finding.path) for row in check(tree, level=level).findings
    )


@pytest.mark.parametrize("kind", ["link", "layer-link", "tag-current"])
def test_an_empty_link_is_a_crash_and_a_wrong_one_is_not(shop: TreeBuilder, kind: str) -> None:
    empty = shop.break_(f"{kind}-empty", "app", "v1")
    assert said(shop) == [("link-empty", empty)]
    shop.break_(f"{kind}-garbage", "app", "v1")
    assert said(shop) == [("link-invalid", empty)]


def test_an_empty_manifest_is_known_by_its_size(shop: TreeBuilder) -> None:
    empty = shop.break_("manifest-empty", "app", "v1")
    row = only(check(shop, level=Level.SIZES), Code.BLOB_CORRUPT)
    assert (row.finding.path, row.finding.actual) == (empty, "0 bytes")
    assert row.images == ("app:v1",)


@pytest.mark.parametrize("empty", [True, False])
@pytest.mark.parametrize("leaf", ["data", "link", "startedat", "hashstates/sha256/2"])
def test_temporary_files_of_every_write(shop: TreeBuilder, leaf: str, empty: bool) -> None:
    place = {
        "data": shop.blob_path(V1.digest),
        "link": shop.layer_path("app", digest_of(BASE)),
    }.get(leaf, shop.upload_path("app", shop.upload("app", 3)) / leaf)
    left = shop.write(place.with_name(place.name + TEMPORARY), b"" if empty else b"half")
    assert said(shop) == [("temporary-file", shop.relative(left))]
    assert check(shop).severity is Severity.INFO


@pytest.mark.parametrize("name", [".data.0123456789ab.regfs-tmp", ".link.x.regfs-tmp"])
def test_what_a_killed_server_of_regfs_leaves(shop: TreeBuilder, name: str) -> None:
    left = shop.write(shop.blob_path(V1.digest).with_name(name), b"half")
    assert said(shop) == [("temporary-file", shop.relative(left))]
    assert check(shop).severity is Severity.INFO


@pytest.mark.parametrize("name", ["data.tmp", f"other{TEMPORARY}", f"{TEMPORARY}", "data~"])
def test_what_only_looks_like_a_temporary_file(shop: TreeBuilder, name: str) -> None:
    left = shop.write(shop.blob_path(V1.digest).with_name(name), b"x")
    assert said(shop) == [("foreign-path", shop.relative(left))]


# -- uploads ------------------------------------------------------------------


def test_an_upload_whose_data_has_moved_away_is_done(shop: TreeBuilder) -> None:
    upload = shop.upload_path("app", shop.upload("app", 3))
    assert said(shop) == []
    (upload / "data").unlink()
    assert said(shop) == []  # just now: the registry may be about to tidy up
    shop.set_age(upload, DAY)
    row = only(check(shop, level=Level.LINKS), Code.UPLOAD_WITHOUT_DATA)
    assert (row.finding.path, row.finding.repository) == (shop.relative(upload), "app")
    assert row.finding.severity is Severity.INFO
    assert "Nothing is lost" in row.finding.remedy


def test_an_upload_that_is_done_is_not_called_unfinished_when_it_is_old(
    shop: TreeBuilder,
) -> None:
    with shop.at_age(30 * DAY):
        upload = shop.upload_path("app", shop.upload("app", 3))
    (upload / "data").unlink()
    for path in (*upload.rglob("*"), upload):
        shop.set_age(path, 30 * DAY)
    assert said(shop) == [("upload-without-data", shop.relative(upload))]


def test_a_registry_at_work_is_not_disturbed(shop: TreeBuilder) -> None:
    with shop.at_age(60):
        path = shop.upload_path("app", "just-begun")
        shop.write(path / "hashstates/sha256/0", b"state")
    assert said(shop) == []


@pytest.mark.parametrize("content", [None, b"", b"yesterday"])
def test_an_upload_that_does_not_say_when_it_was_begun(
    shop: TreeBuilder, content: bytes | None
) -> None:
    upload = shop.upload_path("app", UUID)
    shop.write(upload / "data", b"half")
    if content is not None:
        shop.write(upload / "startedat", content)
    row = only(check(shop, level=Level.LINKS), Code.UPLOAD_WITHOUT_STARTEDAT)
    assert row.finding.path == shop.relative(upload)
    assert "never removes it" in row.finding.remedy


def test_the_time_in_an_id_does_not_stand_for_the_file(shop: TreeBuilder) -> None:
    upload = shop.upload_path("app", "01932d5e-8a0f-7c59-9d52-3a8d35a0a9b1")
    shop.write(upload / "data", b"half")
    assert ("upload-without-startedat", shop.relative(upload)) in said(shop)


def test_an_empty_upload_is_an_empty_folder(shop: TreeBuilder) -> None:
    upload = shop.folder(shop.upload_path("app", UUID))
    assert said(shop) == [("directory-empty", shop.relative(upload))]


# -- tags ---------------------------------------------------------------------


def test_a_tag_without_current_is_told_once(shop: TreeBuilder) -> None:
    shop.break_("tag-without-current", "app", "v1")
    assert said(shop) == [
        ("tag-without-current", "docker/registry/v2/repositories/app/_manifests/tags/v1")
    ]


def test_a_push_that_died_before_the_tag_was_set(shop: TreeBuilder) -> None:
    later = shop.push("app", "later", image(["later", BASE]))
    entry = shop.write(shop.tag_index_path("app", "v1", later), later)
    shop.set_age(entry, DAY)
    row = only(check(shop), Code.TAG_BEHIND)
    assert (row.finding.repository, row.finding.tag) == ("app", "v1")
    assert (row.finding.expected, row.finding.actual) == (later, V1.digest)
    assert row.finding.severity is Severity.INFO


def test_a_tag_that_was_put_back_by_a_push_is_not_behind(shop: TreeBuilder) -> None:
    later = image(["later", BASE])
    with shop.at_age(DAY):
        shop.push("app", "v1", later)
    with shop.at_age(DAY / 2):
        shop.push("app", "v1", V1)
    assert said(shop) == []


def test_a_copied_tree_has_no_tags_behind(shop: TreeBuilder) -> None:
    later = shop.push("app", "v1", image(["later", BASE]))
    for number, digest in enumerate((V1.digest, later)):
        shop.set_age(shop.tag_index_path("app", "v1", digest), 1000 + number)
    shop.set_age(shop.tag_path("app", "v1"), 1010)  # copied first
    assert said(shop) == []


# -- links and folders --------------------------------------------------------


def test_an_alias_link_is_as_it_should_be(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image([Blob(BASE, algorithm="sha512")]))
    alias = tree.repository_path("app") / "_layers/sha512"
    assert [path.read_text()[:7] for path in alias.rglob("link")] == ["sha256:"]
    for level in Level:
        assert said(tree, level) == []


def test_folders_that_deletion_leaves_empty(shop: TreeBuilder) -> None:
    layer = shop.layer_path("app", digest_of(BASE))
    other = digest_of(b"collected")
    empty = [
        shop.folder(shop.blob_path(other).parent.parent),
        shop.folder(shop.layer_path("app", other).parent),
        shop.folder(shop.revision_path("app", other).parent),
        shop.folder(shop.tag_folder("app", "v1") / "index/sha512"),
    ]
    assert layer.exists()
    assert said(shop) == sorted(("directory-empty", shop.relative(path)) for path in empty)
    assert check(shop).severity is Severity.INFO


def test_files_deleted_while_nfs_clients_had_them_open(shop: TreeBuilder) -> None:
    name = ".nfs000000000c2a0f0100000007"
    left = [
        shop.write(shop.blob_path(V1.digest).with_name(name), b"x"),
        shop.write(shop.tag_path("app", "v1").with_name(name), b"x"),
        shop.write(shop.repository_path("app") / name, b"x"),
        shop.write(shop.v2 / "blobs/sha256" / name, b"x"),
    ]
    assert said(shop) == sorted(("nfs-leftover", shop.relative(path)) for path in left)
    other = shop.write(shop.repository_path("app") / ".nfs-notes", b"x")
    assert ("foreign-path", shop.relative(other)) in said(shop)


@pytest.mark.parametrize("place", ["", "blobs", "blobs/sha256", "repositories", "repositories/app"])
def test_the_folder_of_fsck_is_no_damage_unless_it_holds_something(
    shop: TreeBuilder, place: str
) -> None:
    folder = shop.folder(shop.v2 / place / "lost+found")
    path = shop.relative(folder)
    assert said(shop) == [("lost-and-found", path)]
    assert check(shop).severity is Severity.INFO
    shop.write(folder / "#12345", b"rescued")
    shop.write(folder / "#12346/data", b"rescued")
    row = only(check(shop), Code.LOST_AND_FOUND)
    assert (row.finding.path, row.finding.actual) == (path, "2 inside")
    if not place.startswith("repositories"):  # there the scan looks for repositories in it, too
        assert codes(check(shop)) == ["lost-and-found"]


def test_new_codes_have_words_a_person_can_act_on() -> None:
    for code in (Code.UPLOAD_WITHOUT_DATA, Code.NFS_LEFTOVER, Code.LOST_AND_FOUND, Code.TAG_BEHIND):
        assert RULES[code].severity is Severity.INFO
        assert RULES[code].remedy


def test_every_artefact_at_once_stays_apart(shop: TreeBuilder, tmp_path: Path) -> None:
    expected = [
        ("temporary-file", shop.break_("temporary-file", "app", "v1")),
        ("directory-empty", os.path.dirname(shop.break_("layer-link-missing", "app", "v1"))),
        ("link-empty", shop.break_("link-empty", "app", "v1")),
    ]
    assert said(shop) == sorted(expected)
