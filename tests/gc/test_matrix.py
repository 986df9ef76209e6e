"""Every state of a tree that the reference collector gets wrong, stops at, or gets right.

Beside the repository in question stands a healthy one with garbage: whatever is
wrong in the first, the second must be cleaned and stay whole. Only while parts
of the tree cannot be seen (*blind*) does no blob go anywhere.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from regfs.cli.app import run
from regfs.findings import Code
from regfs.gc.plan import Plan
from tests.support.builder import (
    Blob,
    TreeBuilder,
    artifact,
    blob_of,
    cache_index,
    image,
    index,
    schema1,
)
from tests.support.damage import DAMAGE, OTHER
from tests.support.images import Content, digest_of, dumps
from tests.support.registries import collect, files_of, going, plan_of

IMAGE = image(["base", "app"])


@dataclass(frozen=True)
class Row:
    """One case: how the tree comes to be, and what regfs makes of it."""

    make: Callable[[TreeBuilder], Path | str | None]
    """Push app:v1 and damage it; return the path that must be named."""
    code: Code | None = None
    frozen: bool = False
    incomplete: bool = False


ROWS: dict[str, Row] = {}
_Make = Callable[[TreeBuilder], Path | str | None]


def row(
    name: str, code: Code | None = None, *, frozen: bool = False, incomplete: bool = False
) -> Callable[[_Make], _Make]:
    def add(make: _Make) -> _Make:
        ROWS[name] = Row(make, code, frozen, incomplete)
        return make

    return add


def _damaged(name: str, kind: str, code: Code | None, *, frozen: bool = True) -> None:
    def make(tree: TreeBuilder) -> str:
        tree.push("app", "v1", IMAGE)
        return tree.break_(kind, "app", "v1")

    row(name, code, frozen=frozen)(make)


def _pushed(name: str, content: Content, code: Code | None = None, *, frozen: bool = False) -> None:
    def make(tree: TreeBuilder) -> Path:
        digest = tree.push("app", "v1", content)
        return tree.blob_path(digest)

    row(name, code, frozen=frozen)(make)


# What breaks a manifest

_damaged("manifest flipped to other JSON", "manifest-other-json", Code.BLOB_CORRUPT)
_damaged("manifest of no bytes", "manifest-empty", Code.BLOB_CORRUPT)
_damaged("manifest cut off", "manifest-truncated", Code.BLOB_CORRUPT)
_damaged("manifest over 4 MiB", "manifest-too-large", Code.MANIFEST_TOO_LARGE)
_damaged("manifest with a bogus digest", "manifest-bogus-digest", Code.DESCRIPTOR_INVALID)
_damaged("manifest of unknown type", "manifest-unknown-type", Code.MANIFEST_UNKNOWN_TYPE, frozen=False)  # fmt: skip  # noqa: E501


@row("manifest blob missing", Code.LINK_DANGLING, frozen=True)
def _manifest_missing(tree: TreeBuilder) -> Path:
    digest = tree.push("app", "v1", IMAGE)
    tree.break_("manifest-missing", "app", "v1")
    return tree.revision_path("app", digest)


@row("manifest blob missing, seen from its tag", Code.TAG_DANGLING, frozen=True)
def _tag_dangling(tree: TreeBuilder) -> Path:
    tree.push("app", "v1", IMAGE)
    tree.break_("manifest-missing", "app", "v1")
    return tree.tag_path("app", "v1")


_document = {key: value for key, value in IMAGE.document.items() if key != "schemaVersion"}
_pushed("schemaVersion missing", Content(dumps(_document), IMAGE.media_type, IMAGE.blobs))
_bad = {"schemaVersion": 2, "manifests": {"digest": OTHER}}
_pushed(
    "manifests of the wrong type",
    Content(dumps(_bad), IMAGE.media_type),
    Code.MANIFEST_UNREADABLE,
    frozen=True,
)
_pushed("schema 1", schema1("app", "v1", ["base", "app"]))

# What breaks a link

_damaged("revision link empty", "link-empty", Code.LINK_EMPTY)
_damaged("revision link garbled", "link-garbage", Code.LINK_INVALID)
_damaged("revision link cut off", "link-truncated", Code.LINK_INVALID)
_damaged("revision link with a newline", "link-newline", Code.LINK_INVALID, frozen=False)
_damaged("revision link of bare hex", "link-bare-hex", Code.LINK_INVALID, frozen=False)
_damaged("layer link empty", "layer-link-empty", None, frozen=False)
_damaged("tag's current link empty", "tag-current-empty", Code.LINK_EMPTY)
_damaged("tag's current link garbled", "tag-current-garbage", Code.LINK_INVALID)


@row("revision link names another manifest", Code.LINK_MISMATCH)
def _link_mismatch(tree: TreeBuilder) -> Path:
    tree.push("app", "other", image(["other"]))
    digest = tree.push("app", "v1", IMAGE)
    return tree.write(tree.revision_path("app", digest), image(["other"]).digest)


@row("revision by an unknown algorithm", Code.ALGORITHM_UNSUPPORTED, frozen=True)
def _unknown_algorithm(tree: TreeBuilder) -> Path:
    tree.push("app", "v1", IMAGE)
    tree.add_blob("app", "needed by who knows what")
    folder = tree.repository_path("app") / "_manifests/revisions/blake3"
    tree.write(folder / ("ab" * 32) / "link", "blake3:" + "ab" * 32)
    return folder


# What is missing


@row("no _layers")
def _no_layers(tree: TreeBuilder) -> None:
    tree.push("app", "v1", IMAGE)
    shutil.rmtree(tree.repository_path("app") / "_layers")


@row("no tags folder", Code.REPOSITORY_TAGLESS)
def _no_tags(tree: TreeBuilder) -> Path:
    tree.push("app", None, IMAGE)
    return tree.repository_path("app")


@row("tag without current", Code.TAG_WITHOUT_CURRENT)
def _tag_without_current(tree: TreeBuilder) -> Path:
    tree.push("app", "v1", IMAGE)
    tree.break_("tag-without-current", "app", "v1")
    return tree.tag_folder("app", "v1")


@row("no revision link")
def _no_revision(tree: TreeBuilder) -> None:
    tree.delete_revision("app", tree.push("app", "v1", IMAGE))


# Indexes, referrers, aliases: nothing is wrong with them

_pushed("index with untagged children", index(IMAGE, image(["arm"])))
_pushed("nested index", index(index(IMAGE)))
_pushed("Docker list", index(IMAGE, docker=True))
_pushed("index without media type", index(IMAGE, media_type=False))
_pushed("BuildKit cache index", cache_index(["base", "app"]))
_pushed("layer named by sha512", image([Blob(blob_of("app").data, algorithm="sha512")]))


@row("index whose child was deleted by digest")
def _child_deleted(tree: TreeBuilder) -> None:
    tree.push("app", "v1", index(IMAGE))
    tree.delete_manifest("app", IMAGE.digest)


@row("child in another repository only")
def _child_elsewhere(tree: TreeBuilder) -> None:
    tree.push("other", None, IMAGE)
    tree.push("app", "v1", index(sparse=[IMAGE]))


@row("sparse here, full in the next repository")
def _sparse(tree: TreeBuilder) -> None:
    tree.push("full", "v1", index(IMAGE))
    tree.push("app", "v1", index(sparse=[IMAGE]))


@row("untagged referrer of a tagged image")
def _referrer(tree: TreeBuilder) -> None:
    tree.push("app", None, artifact(["sbom"], subject=IMAGE))
    tree.push("app", "v1", IMAGE)


@row("fallback tag of a tagged image")
def _fallback(tree: TreeBuilder) -> None:
    tree.push("app", "v1", IMAGE)
    tree.fallback("app", IMAGE.digest, artifact(["sbom"]))


@row("fallback tag whose subject is gone", Code.SUBJECT_MISSING)
def _fallback_left(tree: TreeBuilder) -> Path:
    tree.push("app", "v1", IMAGE)
    listed = artifact(["sbom"], subject=OTHER)
    tree.fallback("app", OTHER, listed)
    return tree.blob_path(listed.digest)


# What does not belong


@row("blob in a folder that is no digest", Code.FOREIGN_PATH)
def _no_digest(tree: TreeBuilder) -> Path:
    tree.push("app", "v1", IMAGE)
    return tree.write(tree.v2 / "blobs/sha256/ga/garbage/data", b"x").parents[1]


@row("blob with capital digits", Code.FOREIGN_PATH)
def _capitals(tree: TreeBuilder) -> Path:
    tree.push("app", "v1", IMAGE)
    tree.break_("uppercase-digest", "app", "v1")
    return tree.v2 / "blobs/sha256/AB"


@row("tarsum", Code.ALGORITHM_UNSUPPORTED)
def _tarsum(tree: TreeBuilder) -> Path:
    tree.push("app", "v1", IMAGE)
    return tree.write(tree.v2 / "blobs/tarsum/v1/sha256/ab/abcd/data", b"x").parents[4]


@row("md5", Code.ALGORITHM_UNSUPPORTED)
def _md5(tree: TreeBuilder) -> Path:
    tree.push("app", "v1", IMAGE)
    tree.break_("algorithm-unknown", "app", "v1")
    return tree.v2 / "blobs/md5"


@row("blob in the folder of another prefix", Code.BLOB_MISPLACED)
def _misplaced(tree: TreeBuilder) -> str:
    tree.push("app", "v1", IMAGE)
    return tree.break_("blob-wrong-prefix", "app", "v1").removesuffix("/data")


@row("repository with an illegal name", Code.REPOSITORY_INVALID_NAME)
def _illegal(tree: TreeBuilder) -> Path:
    tree.push("app", "v1", IMAGE)
    tree.push("Bad/Name", "v1", image(["bad"]))
    return tree.repository_path("Bad/Name")


@row("stray file in a repository", Code.FOREIGN_PATH)
def _stray(tree: TreeBuilder) -> str:
    tree.push("app", "v1", IMAGE)
    return tree.break_("foreign-file", "app", "v1")


@row("link to a folder outside", Code.SYMLINK_OUTSIDE, incomplete=True)
def _outside(tree: TreeBuilder) -> Path:
    tree.push("app", "v1", IMAGE)
    (tree.repository_path("app") / "more").symlink_to("/usr")
    return tree.repository_path("app") / "more"


@row("link to a folder that is not there", Code.SYMLINK_LOOP, incomplete=True)
def _unmounted(tree: TreeBuilder) -> Path:
    tree.push("app", "v1", IMAGE)
    (tree.repository_path("team")).symlink_to("/mnt/of/a/disk/that/is/away")
    return tree.repository_path("team")


@row("revision link is a FIFO", Code.SPECIAL_FILE, frozen=True, incomplete=True)
def _fifo(tree: TreeBuilder) -> str:
    tree.push("app", "v1", IMAGE)
    return tree.break_("fifo-link", "app", "v1")


@row("blob data is a link inside the tree")
def _linked_blob(tree: TreeBuilder) -> None:
    tree.push("app", "v1", IMAGE)
    data = tree.blob_path(IMAGE.blobs[1].digest)
    data.rename(tree.v2 / "elsewhere")
    data.symlink_to(os.path.relpath(tree.v2 / "elsewhere", data.parent))


# -- the rows, one by one -----------------------------------------------------


@pytest.fixture
def tree(tree: TreeBuilder) -> TreeBuilder:
    """A tree with the healthy repository, its garbage, and a blob that nothing names."""
    tree.push("well", "v1", image(["well", "old"]))
    tree.push("well", "v1", image(["well", "new"]))
    tree.add_blob("well", "never used")
    tree.blob(b"orphan")
    return tree


OLD = image(["well", "old"])
LINKS = {digest_of(blob_of("never used").data)}
GARBAGE = LINKS | {digest_of(b"orphan")}


def assert_well_is_cleaned(tree: TreeBuilder, whole: dict[str, str], row: Row) -> None:
    files = tree.files()
    assert {path: files.get(path) for path in whole} == whole
    assert not tree.revision_path("well", OLD.digest).exists()
    assert not any(tree.layer_path("well", digest).exists() for digest in LINKS)
    gone = GARBAGE | {OLD.digest}
    assert gone & tree.blobs() == (gone if row.incomplete else set())


def look_at(tree: TreeBuilder, name: str, tag: str) -> dict[str, str]:
    files = tree.files()
    return {path: files[path] for path in files_of(tree, name, tag) if path in files}


def check_plan(tree: TreeBuilder, planned: Plan, row: Row, path: Path | str | None) -> None:
    assert planned.doubtful == (row.frozen or row.incomplete)
    assert bool(planned.kept.get("frozen_repositories")) == row.frozen
    assert (planned.kept.get("incomplete", 0) > 0) == row.incomplete
    if row.code is not None:
        told = tree.relative(path) if isinstance(path, Path) else path
        assert (row.code, told) in {(finding.code, finding.path) for finding in planned.findings}


@pytest.mark.parametrize("name", ROWS)
def test_nothing_reachable_or_doubtful_goes_and_the_rest_is_cleaned(
    tree: TreeBuilder, name: str
) -> None:
    case = ROWS[name]
    path = case.make(tree)
    before = tree.files()
    # All of it stays: it is tagged, a referrer of what is tagged, or in doubt.
    mine = {p: d for p, d in before.items() if "/repositories/well/" not in p}
    mine = {p: d for p, d in mine.items() if not any(b.split(":")[1] in p for b in _garbage(tree))}
    whole = look_at(tree, "well", "v1")
    check_plan(tree, plan_of(tree, delete_untagged=True), case, path)
    collect(tree, delete_untagged=True)
    after = tree.files()
    expected = _rightly_gone(tree, name)
    assert {p for p in mine if after.get(p) != mine[p]} == {p for p in mine if expected(p)}
    assert_well_is_cleaned(tree, whole, case)


def _garbage(tree: TreeBuilder) -> set[str]:
    return {*GARBAGE, OLD.digest, *(blob.digest for blob in OLD.blobs)}


def _rightly_gone(tree: TreeBuilder, name: str) -> Callable[[str], bool]:
    """Return which paths go all the same: an image that the case itself has untagged."""
    if name == "manifest of unknown type":
        manifest = IMAGE.digest.partition(":")[2]
        return lambda path: manifest in path
    return lambda path: False


@pytest.mark.parametrize("name", ROWS)
def test_the_command_says_so_with_its_exit_code(
    tree: TreeBuilder, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    case = ROWS[name]
    path = case.make(tree)
    before = tree.files("")
    code = run(["gc", "plan", "-m", "--json", "-r", str(tree.root)])
    assert code == (1 if case.frozen or case.incomplete else 0)
    document = json.loads(capsys.readouterr().out)
    if case.code is not None:
        told = tree.relative(path) if isinstance(path, Path) else path
        assert told in {f["path"] for f in document["findings"] if f["code"] == case.code.value}
    assert tree.files("") == before


# -- trees of which a part is missing -----------------------------------------


def test_blobs_without_repositories_are_not_garbage(tree: TreeBuilder) -> None:
    shutil.rmtree(tree.v2 / "repositories")
    for _ in range(2):
        planned = plan_of(tree)
        assert planned.actions == []
        assert planned.kept == {"incomplete": len(tree.blobs())}
        assert [f.code for f in planned.findings] == [Code.REPOSITORIES_MISSING]
        (tree.v2 / "repositories").mkdir(exist_ok=True)  # as an empty mount point looks
    assert run(["gc", "plan", "-q", "-r", str(tree.root)]) == 1


def test_no_blobs_folder_freezes_and_goes_on(tree: TreeBuilder) -> None:
    shutil.rmtree(tree.v2 / "blobs")
    tree.upload("other", 3)
    planned = plan_of(tree, uploads_older_than=0)
    assert planned.kept == {"frozen_repositories": 1}
    assert [action.kind for action in planned.actions] == ["upload"]


def test_a_dangling_layer_link_that_nothing_needs_goes(tree: TreeBuilder) -> None:
    link = tree.layer_link("well", OTHER)
    collect(tree)
    assert not link.exists()


def test_leftovers_of_crashes_and_file_managers_are_no_trouble(tree: TreeBuilder) -> None:
    tree.push("app", "v1", IMAGE)
    for kind in ("temporary-file", "foreign-file", "foreign-blob", "directory-empty"):
        tree.break_(kind, "app", "v1")
    whole = look_at(tree, "app", "v1")
    planned = plan_of(tree)
    assert not planned.doubtful
    assert going(planned, "blob") == GARBAGE
    collect(tree)
    assert look_at(tree, "app", "v1") == whole


# -- every damage there is ----------------------------------------------------

NAMED = {
    "manifest-unknown-type": IMAGE.blobs,
    "manifest-wrong-types": IMAGE.blobs[1:2],
    "descriptor-wrong-size": IMAGE.blobs[:2],
    "subject-missing": IMAGE.blobs,
}
"""Damage that is a new manifest under the tag, and is understood -> what the new one names."""


@pytest.mark.parametrize("content", [IMAGE, index(IMAGE)], ids=["image", "index"])
@pytest.mark.parametrize("kind", DAMAGE)
def test_no_damage_makes_a_run_remove_what_the_image_needs(
    tree: TreeBuilder, kind: str, content: Content
) -> None:
    tree.push("app", "v1", content)
    wanted = files_of(tree, "app", "v1")
    tree.break_(kind, "app", "v1")
    if kind in NAMED:
        blobs = {blob.digest for blob in NAMED[kind]} | {tree.current("app", "v1")}
        wanted = {p for p in tree.files() if any(blob.partition(":")[2] in p for blob in blobs)}
    files = tree.files()
    whole = {path: files[path] for path in wanted if path in files}
    for _ in range(2):
        collect(tree, delete_untagged=True, min_age=0)
        after = tree.files()
        assert {path: after.get(path) for path in whole} == whole
        assert files_of(tree, "well", "v1") <= after.keys()
    assert not tree.revision_path("well", OLD.digest).exists()
