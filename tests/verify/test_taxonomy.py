"""Every code of the closed list: the damage that gives it, and all that is said of it.

The damage is done to a copy of `fixtures/trees/whole`, which a registry wrote:

    app:v1         an image; app:multi is an index that lists it, and another for arm64
    app@...        a signature of that image, which has no tag
    team/other:v1  an image on the same base layer
    old:v1         the base layer alone, as a schema 1 manifest
"""

from __future__ import annotations

import ast
import gzip
import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from regfs.findings import RULES, Code, Severity
from regfs.verify import Level
from tests.make_fixtures import EXTENDED, TREES
from tests.support.builder import (
    Blob,
    Document,
    Layer,
    TreeBuilder,
    blob_of,
    digest_of,
    dumps,
    image,
    tar,
)
from tests.support.damage import OTHER
from tests.support.verification import check

PACKAGE = Path(__file__).parents[2] / "regfs"
V2 = "docker/registry/v2"
IMAGE = EXTENDED.digest
TOP = EXTENDED.blobs[2].digest
"""The layer that only the image has."""
STRAY = digest_of(b"of a push that failed")
UNUSED = blob_of("of a push that failed").digest

ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO
BOTH = ("app:multi", "app:v1")
"""The image, and the index that lists it."""
V1 = ("app:v1",)


@pytest.fixture
def whole(tmp_path: Path) -> TreeBuilder:
    """A copy of the whole tree, with the age of something that is in use."""
    shutil.copytree(TREES / "whole", tmp_path / "whole")
    tree = TreeBuilder(tmp_path / "whole")
    tree.age(86_400)
    return tree


def test_the_tree_that_is_damaged_here_is_whole(whole: TreeBuilder) -> None:
    for level in Level:
        rows = check(whole, level=level).findings
        told = [(row.finding.code, row.finding.severity) for row in rows]
        # A registry stores schema 1 without its signature: no damage, but content tells of it.
        expected = [(Code.SIGNATURE_MISSING, INFO)] if level is Level.CONTENT else []
        assert told == expected


# -- where things are, as findings name it -------------------------------------


def blob(digest: str) -> str:
    return f"{V2}/blobs/sha256/{digest[7:9]}/{digest[7:]}/data"


def link(place: str, digest: str = "") -> str:
    folder = f"{place}/sha256/{digest[7:]}" if digest else place
    return f"{V2}/repositories/app/{folder}/link"


LAYER = link("_layers", TOP)
REVISION = link("_manifests/revisions", IMAGE)
CURRENT = link("_manifests/tags/v1/current")


def new(tree: TreeBuilder, tag: str = "v1") -> str:
    """Return where the manifest is that the damage has put under a tag."""
    return blob(tree.current("app", tag))


# -- the table ------------------------------------------------------------------


class Row(NamedTuple):
    """One damage, and the finding it must give."""

    kind: str
    """Of tests.support.damage, done to `app:v1` (or to `digest`); or of DONE below."""
    path: str | Callable[[TreeBuilder], str]
    severity: Severity
    images: Iterable[str] = ()
    """Exactly those that the finding touches."""
    digest: str | None = None
    repository: str | None = None
    tag: str | None = None
    also: Iterable[Code] = ()
    """Other errors that this damage cannot be without."""
    level: Level = Level.DIGESTS


def _stale_upload(tree: TreeBuilder) -> None:
    (folder,) = (tree.repository_path("app") / "_uploads").iterdir()
    tree.write(folder / "startedat", "2015-01-01T00:00:00Z")
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (1_420_070_400, 1_420_070_400))


def _upload(tree: TreeBuilder) -> str:
    (folder,) = (tree.repository_path("app") / "_uploads").iterdir()
    return tree.relative(folder)


def _upload_without(leaf: str) -> Callable[[TreeBuilder], None]:
    def remove(tree: TreeBuilder) -> None:
        (folder,) = (tree.repository_path("app") / "_uploads").iterdir()
        tree.write(folder / "startedat", "2015-01-01T00:00:00Z")  # not a minute ago
        (folder / leaf).unlink()
        for path in (*folder.rglob("*"), folder):
            tree.set_age(path, 86_400)

    return remove


def _behind(tree: TreeBuilder) -> None:
    """Cut a push off between the history of a tag and what it points to."""
    newer = tree.current("app", "multi")
    with tree.at_age(3600):
        tree.write(tree.tag_index_path("app", "v1", newer), newer)


def _nfs(tree: TreeBuilder) -> None:
    tree.write(tree.blob_path(TOP).with_name(".nfs000000000012ab3400000001"), b"held open")


def _lost(tree: TreeBuilder) -> None:
    tree.write(tree.v2 / "blobs/lost+found/#12345", b"rescued by fsck")


def _push(change: Callable[[Document], Document], *layers: Layer) -> Callable[[TreeBuilder], None]:
    """Push an image under the tag whose config or manifest errs, and whose digests are right."""

    def push(tree: TreeBuilder) -> None:
        made = image(layers or ["inside"])
        document = change({"config": json.loads(made.blobs[0].data)})
        tree.push("app", "v1", image(layers or ["inside"], dumps(document["config"])))

    return push


def _with_diff_ids(*diff_ids: str) -> Callable[[Document], Document]:
    def change(document: Document) -> Document:
        rootfs = {"type": "layers", "diff_ids": list(diff_ids)}
        return {"config": {**document["config"], "rootfs": rootfs, "history": []}}

    return change


INSIDE = blob_of("inside")
NO_TAR = Blob(gzip.compress(b"no tar" * 200, mtime=0))
PLAIN = Blob(tar({"plain": b"x"}))


def _no_repositories(tree: TreeBuilder) -> None:
    shutil.rmtree(tree.v2 / "repositories")


def _second_name(tree: TreeBuilder) -> None:
    (tree.v2 / "repositories/second-name").symlink_to("app")


def _file_for_tags(tree: TreeBuilder) -> None:
    folder = tree.tag_folder("app", "v1").parent
    shutil.rmtree(folder)
    tree.write(folder, b"what a synchroniser left")


def _annotated(tree: TreeBuilder) -> None:
    document = json.loads(EXTENDED.data) | {"annotations": {"data": UNUSED}}
    digest = tree.blob(dumps(document))
    tree.revision("app", digest)
    tree.tag("app", "v1", digest)
    tree.add_blob("app", "of a push that failed")


def _signed(tree: TreeBuilder) -> None:
    tree.push("app", _SIGNED, image(["signature"]))


_SIGNED = OTHER.replace(":", "-") + ".sig"


DONE: dict[str, Callable[[TreeBuilder], None]] = {
    "upload-stale": _stale_upload,
    "repositories-missing": _no_repositories,
    "blobs-missing": lambda tree: shutil.rmtree(tree.v2 / "blobs"),
    "symlink-inside": _second_name,
    "upload-without-data": _upload_without("data"),
    "upload-without-startedat": _upload_without("startedat"),
    "tag-behind": _behind,
    "nfs-leftover": _nfs,
    "lost-and-found": _lost,
    "file-for-tags": _file_for_tags,
    "annotated": _annotated,
    "signed": _signed,
    "diffid-mismatch": _push(_with_diff_ids(OTHER)),
    "layer-count-mismatch": _push(_with_diff_ids(OTHER, OTHER)),
    "config-unreadable": _push(lambda document: {"config": {"rootfs": 7}}),
    "layer-unreadable": _push(_with_diff_ids(OTHER), NO_TAR),
    "layer-type-mismatch": _push(_with_diff_ids(PLAIN.diff_id()), PLAIN),
    "signature-missing": lambda tree: None,
}
"""What cannot be done to one image."""

ROWS: dict[Code, Row] = {
    Code.BLOB_CORRUPT: Row("blob-flipped", blob(TOP), ERROR, BOTH, TOP),
    Code.BLOB_SIZE_MISMATCH: Row("blob-truncated", blob(TOP), ERROR, BOTH, TOP, level=Level.SIZES),
    Code.BLOB_MISSING: Row("blob-missing", blob(TOP), ERROR, BOTH, TOP),
    Code.BLOB_UNREADABLE: Row(
        "folder-data", blob(TOP), ERROR, BOTH, TOP, also=[Code.PATH_UNREADABLE]
    ),
    Code.BLOB_MISPLACED: Row(
        "blob-wrong-prefix",
        f"{V2}/blobs/sha256/00/{TOP[7:]}",
        ERROR,
        digest=TOP,
        also=[Code.BLOB_MISSING],
    ),
    Code.BLOB_UNREFERENCED: Row("blob-unreferenced", blob(STRAY), INFO),
    Code.LINK_EMPTY: Row("layer-link-empty", LAYER, ERROR, BOTH, TOP, "app"),
    Code.LINK_INVALID: Row("link-newline", REVISION, ERROR, BOTH, repository="app"),
    Code.LINK_MISMATCH: Row("layer-link-other-digest", LAYER, ERROR, BOTH, TOP, "app"),
    Code.LINK_DANGLING: Row(
        "layer-link-dangling", link("_layers", OTHER), WARNING, repository="app"
    ),
    Code.LAYER_LINK_MISSING: Row("layer-link-missing", LAYER, ERROR, BOTH, TOP, "app"),
    Code.LAYER_LINK_UNUSED: Row(
        "layer-link-unused",
        link("_layers", UNUSED),
        INFO,
        repository="app",
    ),
    Code.TAG_DANGLING: Row(
        "tag-current-other-digest", CURRENT, ERROR, V1, repository="app", tag="v1"
    ),
    Code.TAG_WITHOUT_CURRENT: Row(
        "tag-without-current",
        f"{V2}/repositories/app/_manifests/tags/v1",
        WARNING,
        V1,
        repository="app",
        tag="v1",
    ),
    Code.TAG_INVALID: Row(
        "tag-invalid",
        f"{V2}/repositories/app/_manifests/tags/-not-a-tag",
        WARNING,
        ["app:-not-a-tag"],
        repository="app",
        tag="-not-a-tag",
    ),
    Code.REPOSITORY_INVALID_NAME: Row(
        "repository-invalid-name",
        f"{V2}/repositories/Bad/Name",
        WARNING,
        repository="Bad/Name",
    ),
    Code.REPOSITORY_EMPTY: Row(
        "repository-empty",
        f"{V2}/repositories/nothing/here",
        INFO,
        repository="nothing/here",
    ),
    Code.REPOSITORY_TAGLESS: Row(
        "repository-tagless", f"{V2}/repositories/app", WARNING, repository="app"
    ),
    Code.REPOSITORIES_MISSING: Row("repositories-missing", f"{V2}/repositories", ERROR),
    Code.BLOBS_MISSING: Row(
        "blobs-missing", f"{V2}/blobs", ERROR, also=[Code.LINK_DANGLING, Code.TAG_DANGLING]
    ),
    Code.MANIFEST_UNREADABLE: Row("manifest-deep", new, ERROR, V1),
    Code.MANIFEST_TOO_LARGE: Row(
        "manifest-too-large", blob(IMAGE), ERROR, BOTH, also=[Code.BLOB_CORRUPT]
    ),
    Code.MANIFEST_UNKNOWN_TYPE: Row("manifest-unknown-type", new, WARNING, V1),
    Code.DESCRIPTOR_SIZE_MISMATCH: Row("descriptor-wrong-size", new, ERROR, V1),
    Code.DESCRIPTOR_INVALID: Row("manifest-bogus-digest", new, ERROR, V1),
    Code.INDEX_CHILD_MISSING: Row("index-child-missing", new, WARNING, V1),
    Code.SUBJECT_MISSING: Row("subject-missing", new, INFO),
    Code.UPLOAD_STALE: Row("upload-stale", _upload, INFO, repository="app"),
    Code.TEMPORARY_FILE: Row(
        "temporary-file",
        f"{blob(TOP)}.0b0f8d5e-8a0f-4c59-9d52-3a8d35a0a9b1.tmp",
        INFO,
        digest=TOP,
    ),
    Code.FOREIGN_PATH: Row("foreign-file", f"{V2}/repositories/app/NOTES.txt", WARNING),
    Code.JUNK: Row("junk-file", f"{V2}/repositories/app/.DS_Store", INFO),
    Code.SPECIAL_FILE: Row("fifo-link", REVISION, ERROR, BOTH),
    Code.SYMLINK_INSIDE: Row("symlink-inside", f"{V2}/repositories/second-name", WARNING),
    Code.SYMLINK_LOOP: Row("symlink-loop", f"{V2}/repositories/app/loop", ERROR),
    Code.SYMLINK_OUTSIDE: Row(
        "symlink-outside", blob(TOP), ERROR, BOTH, TOP, also=[Code.BLOB_UNREADABLE]
    ),
    Code.BLOB_ANNOTATED: Row(
        "annotated",
        f"{V2}/repositories/app/_layers/{UNUSED.replace(':', '/')}/link",
        INFO,
        digest=UNUSED,
        repository="app",
    ),
    Code.SIGNATURE_DANGLING: Row(
        "signed",
        f"{V2}/repositories/app/_manifests/tags/{_SIGNED}/current/link",
        INFO,
        repository="app",
        tag=_SIGNED,
    ),
    Code.FOLDER_REPLACED: Row(
        "file-for-tags", f"{V2}/repositories/app/_manifests/tags", ERROR, repository="app"
    ),
    Code.PATH_UNREADABLE: Row(
        "folder-data", blob(TOP), ERROR, BOTH, TOP, also=[Code.BLOB_UNREADABLE]
    ),
    Code.ALGORITHM_UNSUPPORTED: Row("algorithm-unknown", f"{V2}/blobs/md5", WARNING),
    Code.NAME_NOT_UTF8: Row("name-not-utf8", f"{V2}/repositories/caf\udce9", WARNING),
    Code.UPLOAD_WITHOUT_DATA: Row("upload-without-data", _upload, INFO, repository="app"),
    Code.UPLOAD_WITHOUT_STARTEDAT: Row("upload-without-startedat", _upload, INFO, repository="app"),
    Code.TAG_BEHIND: Row("tag-behind", CURRENT, INFO, repository="app", tag="v1"),
    Code.NFS_LEFTOVER: Row(
        "nfs-leftover", blob(TOP).replace("/data", "/.nfs000000000012ab3400000001"), INFO
    ),
    Code.LOST_AND_FOUND: Row("lost-and-found", f"{V2}/blobs/lost+found", WARNING),
    Code.DIFFID_MISMATCH: Row(
        "diffid-mismatch", blob(INSIDE.digest), ERROR, V1, level=Level.CONTENT
    ),
    Code.LAYER_COUNT_MISMATCH: Row("layer-count-mismatch", new, ERROR, V1, level=Level.CONTENT),
    Code.CONFIG_UNREADABLE: Row(
        "config-unreadable",
        blob(digest_of(dumps({"rootfs": 7}))),
        ERROR,
        V1,
        level=Level.CONTENT,
    ),
    Code.LAYER_UNREADABLE: Row(
        "layer-unreadable", blob(NO_TAR.digest), ERROR, V1, level=Level.CONTENT
    ),
    Code.LAYER_TYPE_MISMATCH: Row(
        "layer-type-mismatch", blob(PLAIN.digest), WARNING, V1, level=Level.CONTENT
    ),
    Code.SIGNATURE_MISSING: Row(
        "signature-missing",
        lambda tree: blob(tree.current("old", "v1")),
        INFO,
        level=Level.CONTENT,
    ),
    Code.DIRECTORY_EMPTY: Row(
        "directory-empty",
        f"{V2}/repositories/app/_layers/sha256/{digest_of(b'deleted')[7:]}",
        INFO,
    ),
}


@pytest.mark.parametrize("code", ROWS)
def test_a_code_is_given_where_it_belongs_and_says_whom_it_hurts(
    whole: TreeBuilder, code: Code
) -> None:
    row = ROWS[code]
    if row.kind in DONE:
        DONE[row.kind](whole)
    else:
        whole.break_(row.kind, "app", "v1", row.digest)
    path = row.path if isinstance(row.path, str) else row.path(whole)
    result = check(whole, level=row.level)
    (found,) = (one for one in result.findings if one.finding.code is code)
    finding = found.finding
    assert (finding.path, finding.severity) == (path, row.severity)
    assert (finding.repository, finding.tag) == (row.repository, row.tag)
    assert set(found.images) == set(row.images)
    assert found.affected == len(found.images)
    errors = {one.finding.code for one in result.findings if one.finding.severity is ERROR}
    assert errors - {code} == set(row.also)


BY_CASE = {Code.SIGNATURE_MISSING, Code.LOST_AND_FOUND}
"""Codes whose weight depends on what is found."""

# -- that the table is whole ------------------------------------------------------


def _named_in_the_program() -> set[Code]:
    """Return the codes that some module other than the list itself names."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        if path.name == "findings.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "Code":
                found.add(Code[node.attr])
    return found


def test_every_code_that_is_looked_for_has_a_row() -> None:
    # A blob that changes while it is read is no state of a tree: see test_verify_content; and
    # what is missing by the word of others, or what a policy says, is for gc to tell: see
    # test_gc_roots and test_gc_patterns. What is odd in a layer is told by who lists its files, and
    # what is odd in an archive by stores/test_archives_hostile, in an OCI layout by tree/test_oci,
    # what is unknown of a bucket by stores/test_bucket_uploads.
    apart = {Code.BLOB_CHANGED, Code.ROOT_MISSING, Code.PATTERN_SLOW, Code.LAYER_ENTRY_ODD}
    apart |= {Code.ARCHIVE_TRUNCATED, Code.ENTRY_DUPLICATE, Code.TAG_AMBIGUOUS}
    apart |= {Code.UPLOAD_UNKNOWN}
    assert sorted(code.value for code in _named_in_the_program() - ROWS.keys() - apart) == []


def test_every_code_of_the_list_is_looked_for() -> None:
    assert {code.value for code in set(Code) - _named_in_the_program()} == set()


@pytest.mark.parametrize("code", [code for code in ROWS if code not in BY_CASE])
def test_a_row_has_the_weight_of_the_list(code: Code) -> None:
    assert ROWS[code].severity is RULES[code].severity
