"""The path dictionary both ways."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from regfs import layout
from regfs.digest import Digest
from regfs.errors import DigestInvalid, LayoutInvalid
from regfs.layout import (
    BlobData,
    Foreign,
    Key,
    LayerLink,
    ReferrerLink,
    RevisionLink,
    SignatureLink,
    TagCurrent,
    TagIndex,
    UploadData,
    UploadHashState,
    UploadStartedAt,
    key_of,
    path_of,
)
from regfs.names import name_problem, tag_problem
from tests.support import strategies

HEX = "ab" + "0123456789" * 6 + "cd"
D = Digest.parse(f"sha256:{HEX}")
OTHER = Digest.parse("sha256:" + "e" * 64)
LONG = Digest.parse("sha512:" + "f0" * 64)
MIDDLE = Digest.parse("sha384:" + "1d" * 48)
REPOSITORIES = "docker/registry/v2/repositories"
UUID4 = "3c1f2c0a-6f0e-4a57-9d3b-0d6f5b1a2c3d"
UUID7 = "01938a5e-7c00-7abc-8def-0123456789ab"

EXAMPLES: list[tuple[Key, str]] = [
    (BlobData(D), f"docker/registry/v2/blobs/sha256/ab/{HEX}/data"),
    (BlobData(LONG), f"docker/registry/v2/blobs/sha512/f0/{LONG.encoded}/data"),
    (BlobData(MIDDLE), f"docker/registry/v2/blobs/sha384/1d/{MIDDLE.encoded}/data"),
    (LayerLink("a", D), f"{REPOSITORIES}/a/_layers/sha256/{HEX}/link"),
    (LayerLink("a/b", LONG), f"{REPOSITORIES}/a/b/_layers/sha512/{LONG.encoded}/link"),
    (LayerLink("Bad/Name", D), f"{REPOSITORIES}/Bad/Name/_layers/sha256/{HEX}/link"),
    (LayerLink("caf\udce9", D), f"{REPOSITORIES}/caf\udce9/_layers/sha256/{HEX}/link"),
    (RevisionLink("a", D), f"{REPOSITORIES}/a/_manifests/revisions/sha256/{HEX}/link"),
    (
        SignatureLink("a", D, OTHER),
        f"{REPOSITORIES}/a/_manifests/revisions/sha256/{HEX}/signatures/sha256/{'e' * 64}/link",
    ),
    (
        ReferrerLink("a", D, "application/x+json", OTHER),
        f"{REPOSITORIES}/a/_manifests/revisions/sha256/{HEX}/_referrers/_application/x+json"
        f"/sha256/{'e' * 64}/link",
    ),
    (TagCurrent("a", "v1"), f"{REPOSITORIES}/a/_manifests/tags/v1/current/link"),
    (
        TagCurrent("tags/list", "link"),
        f"{REPOSITORIES}/tags/list/_manifests/tags/link/current/link",
    ),
    (TagCurrent("a", "current"), f"{REPOSITORIES}/a/_manifests/tags/current/current/link"),
    (TagCurrent("a", "_layers"), f"{REPOSITORIES}/a/_manifests/tags/_layers/current/link"),
    (TagIndex("a", "v1", D), f"{REPOSITORIES}/a/_manifests/tags/v1/index/sha256/{HEX}/link"),
    (TagIndex("a", "index", D), f"{REPOSITORIES}/a/_manifests/tags/index/index/sha256/{HEX}/link"),
    (UploadData("blobs/uploads", UUID4), f"{REPOSITORIES}/blobs/uploads/_uploads/{UUID4}/data"),
    (UploadData("a", UUID4, "0" * 16), f"{REPOSITORIES}/a/_uploads/{UUID4}/data.{'0' * 16}"),
    (UploadStartedAt("a", "x"), f"{REPOSITORIES}/a/_uploads/x/startedat"),
    (UploadHashState("a", "x", "sha256", 0), f"{REPOSITORIES}/a/_uploads/x/hashstates/sha256/0"),
    (
        UploadHashState("manifests/x", "x", "sha512", 1048576),
        f"{REPOSITORIES}/manifests/x/_uploads/x/hashstates/sha512/1048576",
    ),
    (Foreign("scheduler-state.json"), "scheduler-state.json"),
]

FOREIGN = {
    "the fan-out is another": f"docker/registry/v2/blobs/sha256/cd/{HEX}/data",
    "hex in capitals": f"docker/registry/v2/blobs/sha256/AB/{HEX.upper()}/data",
    "hex too short": f"docker/registry/v2/blobs/sha256/ab/{HEX[:-1]}/data",
    "hex too long": f"docker/registry/v2/blobs/sha256/ab/{HEX}0/data",
    "hex as long as another algorithm": f"docker/registry/v2/blobs/sha512/ab/{HEX}/data",
    "unknown algorithm": f"docker/registry/v2/blobs/md5/ab/{HEX}/data",
    "tarsum": f"docker/registry/v2/blobs/tarsum/v1/sha256/ab/{HEX}/data",
    "something beside the data": f"docker/registry/v2/blobs/sha256/ab/{HEX}/data.bak",
    "something below the data": f"docker/registry/v2/blobs/sha256/ab/{HEX}/data/x",
    "a newline after the data": f"docker/registry/v2/blobs/sha256/ab/{HEX}/data\n",
    "a folder": f"docker/registry/v2/blobs/sha256/ab/{HEX}",
    "the whole of it": "docker/registry/v2",
    "another root": f"docker/registry/v1/blobs/sha256/ab/{HEX}/data",
    "no name": f"{REPOSITORIES}/_layers/sha256/{HEX}/link",
    "a name that begins with _": f"{REPOSITORIES}/_a/_layers/sha256/{HEX}/link",
    "a component that begins with _": f"{REPOSITORIES}/a/_b/_layers/sha256/{HEX}/link",
    "a folder nobody knows": f"{REPOSITORIES}/a/_trash/sha256/{HEX}/link",
    "a layer of an unknown algorithm": f"{REPOSITORIES}/a/_layers/blake3/{HEX}/link",
    "a layer with a fan-out": f"{REPOSITORIES}/a/_layers/sha256/ab/{HEX}/link",
    "a revision of nothing": f"{REPOSITORIES}/a/_manifests/revisions/link",
    "a tag with a slash": f"{REPOSITORIES}/a/_manifests/tags/v/1/current/link",
    "a tag without a name": f"{REPOSITORIES}/a/_manifests/tags/current/link",
    "a link right in a tag": f"{REPOSITORIES}/a/_manifests/tags/v1/link",
    "a neighbour of tags": f"{REPOSITORIES}/a/_manifests/labels/v1/current/link",
    "an offset with a zero before": f"{REPOSITORIES}/a/_uploads/x/hashstates/sha256/01",
    "an offset beyond reason": f"{REPOSITORIES}/a/_uploads/x/hashstates/sha256/{'9' * 5000}",
    "an offset in other digits": f"{REPOSITORIES}/a/_uploads/x/hashstates/sha256/\u0663",
    "a file in the uploads": f"{REPOSITORIES}/a/_uploads/data",
    "a look-alike of the uploads": f"{REPOSITORIES}/a/_important/x/data",
    "a file of an operating system": f"{REPOSITORIES}/.DS_Store",
    "a name of dots": f"{REPOSITORIES}/.../a",
    "a lock file": "docker/registry/lockfiles/database-in-use",
}

NO_PATH = [
    "",
    "/",
    "/docker",
    "docker/",
    "docker//registry",
    ".",
    "..",
    "./docker",
    "../docker",
    "docker/..",
    "docker/./registry",
    "docker/../../etc/passwd",
    "docker\0",
    "\ud800",
    "caf\udcc3\udca9",
]


@pytest.mark.parametrize(("key", "path"), EXAMPLES)
def test_a_key_and_its_path_are_one(key: Key, path: str) -> None:
    assert path_of(key) == path
    assert key_of(path) == key
    assert type(key_of(path)) is type(key)


def test_the_examples_show_every_class_of_key() -> None:
    assert {type(key) for key, _ in EXAMPLES} == set(get_args(Key))


@pytest.mark.parametrize("path", FOREIGN.values(), ids=FOREIGN.keys())
def test_what_is_not_in_the_layout_is_foreign(path: str) -> None:
    assert key_of(path) == Foreign(path)
    assert type(key_of(path)) is Foreign


@pytest.mark.parametrize("path", NO_PATH)
def test_what_no_path_can_be_is_refused(path: str) -> None:
    with pytest.raises(LayoutInvalid):
        key_of(path)


@pytest.mark.parametrize(
    "key",
    [
        BlobData(Digest("sha256:../../../etc")),
        BlobData(Digest("nothing")),
        LayerLink("", D),
        LayerLink("../..", D),
        LayerLink("a/_layers", D),
        LayerLink("_a", D),
        LayerLink("/a", D),
        LayerLink("a/", D),
        LayerLink("a//b", D),
        LayerLink("a\0", D),
        RevisionLink("a/./b", D),
        RevisionLink("a", Digest(D + "\n")),
        TagCurrent("a", ""),
        TagCurrent("a", ".."),
        TagCurrent("a", "v/1"),
        TagCurrent("a", "v1/current"),
        TagCurrent("a", "\ud800"),
        TagIndex("a", "../v1", D),
        UploadData("a", ".."),
        UploadData("a", "x/../y"),
        UploadData("a", "x", "../../y"),
        UploadHashState("a", "x", "md5", 0),
        UploadHashState("a", "x", "sha256", -1),
        UploadHashState("a", "x", "sha256", 10**19),
        ReferrerLink("a", D, "../../x", D),
        Foreign(""),
        Foreign("../x"),
        Foreign(path_of(BlobData(D))),
    ],
)
def test_a_key_that_would_leave_its_place_is_refused(key: Key) -> None:
    with pytest.raises(LayoutInvalid):
        path_of(key)


@given(strategies.keys())
def test_every_key_comes_back_from_its_path(key: Key) -> None:
    found = key_of(path_of(key))
    assert found == key
    assert type(found) is type(key)


@given(strategies.paths())
@example("docker/registry/v2/repositories/a\n/_layers/sha256/" + "a" * 64 + "/link")
def test_every_path_comes_back_from_its_key(path: str) -> None:
    assert path_of(key_of(path)) == path


@given(st.text() | st.text("./_a\0") | strategies.paths().map(lambda path: path + "/.."))
def test_any_text_is_a_path_or_refused(text: str) -> None:
    try:
        key = key_of(text)
    except LayoutInvalid:
        return
    assert path_of(key) == text


@given(st.binary())
def test_any_bytes_are_a_path_or_refused(data: bytes) -> None:
    path = layout.from_bytes(data)
    assert path.encode("utf-8", "surrogateescape") == data
    try:
        key_of(path)
    except LayoutInvalid:
        parts = data.split(b"/")
        assert b"\0" in data or not {b"", b".", b".."}.isdisjoint(parts)


# Folders


@given(
    strategies.disk_names(), strategies.disk_tags(), strategies.upload_ids(), strategies.digests()
)
def test_every_folder_holds_its_keys(name: str, tag: str, upload: str, digest: Digest) -> None:
    algorithm = digest.algorithm
    holds: dict[Key, list[str]] = {
        BlobData(digest): [layout.blobs_folder(algorithm), layout.blob_folder(digest)],
        LayerLink(name, digest): [
            layout.repository_folder(name),
            layout.layers_folder(name),
            layout.layers_folder(name, algorithm),
            layout.layer_folder(name, digest),
        ],
        ReferrerLink(name, digest, "x", digest): [
            layout.revisions_folder(name),
            layout.revisions_folder(name, algorithm),
            layout.revision_folder(name, digest),
        ],
        TagIndex(name, tag, digest): [
            layout.tags_folder(name),
            layout.tag_folder(name, tag),
            layout.tag_index_folder(name, tag),
            layout.tag_index_folder(name, tag, algorithm),
            layout.tag_index_entry_folder(name, tag, digest),
        ],
        UploadData(name, upload): [
            layout.uploads_folder(name),
            layout.upload_folder(name, upload),
        ],
    }
    for key, folders in holds.items():
        parents = [path_of(key).split("/")[: folder.count("/") + 1] for folder in folders]
        assert ["/".join(parent) for parent in parents] == folders


@given(strategies.keys())
def test_a_path_is_its_parent_and_its_name(key: Key) -> None:
    path = path_of(key)
    assert f"{layout.parent_of(path)}/{layout.name_of(path)}" == path
    assert (layout.parent_of("a"), layout.name_of("a")) == ("", "a")


@given(strategies.digests())
def test_the_path_of_a_blob_is_that_of_its_key(digest: Digest) -> None:
    assert layout.blob_path(digest) == path_of(BlobData(digest))
    assert layout.blob_folder(digest) == layout.parent_of(layout.blob_path(digest))


def test_the_folder_of_a_link_is_right_above_it() -> None:
    assert layout.blob_folder(D) + "/data" == path_of(BlobData(D))
    assert layout.layer_folder("a", D) + "/link" == path_of(LayerLink("a", D))
    assert layout.revision_folder("a", D) + "/link" == path_of(RevisionLink("a", D))
    assert layout.tag_folder("a", "v") + "/current/link" == path_of(TagCurrent("a", "v"))
    assert layout.tag_index_entry_folder("a", "v", D) + "/link" == path_of(TagIndex("a", "v", D))
    assert layout.upload_folder("a", "x") + "/data" == path_of(UploadData("a", "x"))


@pytest.mark.parametrize("name", ["", "/", "/a", "a/", "..", "a/..", "_a", "a/_layers", "a\0"])
def test_no_folder_is_made_from_what_is_no_name(name: str) -> None:
    with pytest.raises(LayoutInvalid):
        layout.repository_folder(name)
    with pytest.raises(LayoutInvalid):
        layout.tags_folder(name)


@pytest.mark.parametrize("part", ["", ".", "..", "a/b", "/", "a\0", "\ud800"])
def test_no_folder_is_made_from_what_is_no_component(part: str) -> None:
    with pytest.raises(LayoutInvalid):
        layout.tag_folder("a", part)
    with pytest.raises(LayoutInvalid):
        layout.upload_folder("a", part)
    with pytest.raises(LayoutInvalid):
        layout.blobs_folder(part)
    with pytest.raises(LayoutInvalid):
        layout.layers_folder("a", part)


def test_no_folder_is_made_from_what_is_no_digest() -> None:
    for text in ("", "sha256:", "sha256:..", "sha256:../../..", D + "/..", "md5:" + "a" * 32):
        with pytest.raises(LayoutInvalid):
            layout.blob_folder(Digest(text))
        with pytest.raises(LayoutInvalid):
            layout.blob_path(Digest(text))
        with pytest.raises(LayoutInvalid):
            layout.revision_folder("a", Digest(text))


# Lengths, uploads, leftovers


@pytest.mark.parametrize("unit", ["a-", "a.", "a__", "a/", "-", "a", "A.", "_"])
def test_hostile_length_does_not_hang(unit: str) -> None:
    text = unit * 50_000 + "!"
    assert name_problem(text) is not None
    assert tag_problem(text) is not None
    assert not layout.is_temporary(text + ".tmp")
    assert type(key_of(f"{REPOSITORIES}/x/_manifests/revisions/{text}")) is Foreign


def test_an_error_about_a_long_text_is_short() -> None:
    with pytest.raises(LayoutInvalid) as caught:
        key_of("/" + "a" * 10_000)
    assert len(str(caught.value)) < 500


def test_the_id_of_an_upload_tells_when_it_began_from_version_7_on() -> None:
    assert layout.upload_time(UUID7) == 0x01938A5E7C00 / 1000
    for upload in (UUID4, UUID7.upper(), UUID7[:-1], UUID7.replace("-8def", "-cdef"), "x"):
        assert layout.upload_time(upload) is None


@given(strategies.keys(), st.uuids())
def test_a_temporary_file_lies_beside_the_file_it_was_to_be(key: Key, uuid: object) -> None:
    assert layout.is_temporary(f"{path_of(key)}.{uuid}.tmp")
    assert not layout.is_temporary(path_of(key))
    assert not layout.is_temporary(f"{path_of(key)}.tmp")
    assert not layout.is_temporary(f"{path_of(key)}.{uuid}")


@pytest.mark.parametrize(
    "path",
    [
        f"{UUID4}.tmp",
        f"{REPOSITORIES}/a/notes.{UUID4}.tmp",
        f"{REPOSITORIES}/a/..{UUID4}.tmp",
        f"docker/registry/v2/blobs/sha256/cd/{HEX}/data.{UUID4}.tmp",
        f"docker/registry/v2/blobs/sha256/ab/{HEX}/data.{UUID4.upper()}.tmp",
    ],
)
def test_other_temporary_files_are_not_ours(path: str) -> None:
    assert not layout.is_temporary(path)


# Links


def test_a_link_is_its_digest_and_nothing_else() -> None:
    for digest in (D, LONG, MIDDLE):
        assert layout.parse_link(digest.encode()) == digest
        assert layout.tolerant_link(digest.encode()) == digest


@pytest.mark.parametrize(
    "content",
    [D.encode() + b"\n", b" " + D.encode(), HEX.encode(), D.upper().encode(), D.encode() + b"\0\0"],
)
def test_a_damaged_link_is_invalid_though_it_can_be_guessed(content: bytes) -> None:
    with pytest.raises(DigestInvalid):
        layout.parse_link(content)
    assert layout.tolerant_link(content) == D


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"\0" * 71, D.encode()[:-1], D.encode() * 2, b"\xff" * 71, b"md5:" + b"a" * 32],
)
def test_a_ruined_link_means_nothing(content: bytes) -> None:
    with pytest.raises(DigestInvalid):
        layout.parse_link(content)
    assert layout.tolerant_link(content) is None


@given(st.binary() | strategies.digests().map(str.encode))
def test_whatever_reads_as_a_link_is_exactly_that_digest(content: bytes) -> None:
    try:
        digest = layout.parse_link(content)
    except DigestInvalid:
        return
    assert digest.encode() == content
    assert layout.tolerant_link(content) == digest
