"""What desktops, NAS systems and copying tools leave in a tree is named as theirs: it is no tag,
no algorithm, no repository and no upload, and it holds nothing back from a collection."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.cli.app import run
from regfs.findings import Code
from regfs.names import name_problem, tag_problem
from regfs.stores import open_store
from regfs.tree.junk import is_junk_file, is_junk_folder, rsync_target
from regfs.tree.scan import scan
from regfs.verify import Level
from tests.support.builder import TreeBuilder, image
from tests.support.nobody import public_folder, run_as_nobody
from tests.support.verification import check

V2 = "docker/registry/v2"
HEX = "ab" * 32


@pytest.fixture
def shared(tree: TreeBuilder) -> TreeBuilder:
    """A tree on a share, with something in it that may go."""
    return stocked(tree)


@pytest.fixture
def public() -> Iterator[TreeBuilder]:
    """The same, where anybody can get to."""
    with public_folder() as folder:
        yield stocked(TreeBuilder(folder / "registry"))


def stocked(tree: TreeBuilder) -> TreeBuilder:
    tree.push("team/app", "v1", image(["app"]))
    tree.push("team/app", None, image(["untagged"]))
    tree.blob(b"of a push that failed")
    return tree


def littered(tree: TreeBuilder) -> set[str]:
    """Let a Synology NAS, a NetApp, a Mac, a PC and FUSE be at a tree; return what they make."""
    v2, app = tree.v2, tree.repository_path("team/app")
    blob = min(v2.glob("blobs/sha256/*/*"))
    files = [
        v2 / "@eaDir/SYNO@.fileindexdb",
        v2 / "blobs/.snapshot/hourly/sha256/ab/data",
        v2 / "blobs/sha256/@eaDir/x",
        v2 / "repositories/@eaDir/SYNO@.fileindexdb",
        v2 / "repositories/team/@eaDir/app/_manifests/SYNOINDEX_MEDIA_INFO",
        v2 / "repositories/.snapshot/hourly/app/_manifests/tags/v1/current/link",
        app / "_manifests/tags/@eaDir/v1@SynoEAStream",
        app / "_manifests/tags/v1/@eaDir/current@SynoEAStream",
        app / "_manifests/tags/v1/current/@eaDir/link@SynoEAStream",
        app / "_manifests/tags/v1/index/@eaDir/x",
        app / "_manifests/revisions/@eaDir/x",
        app / "_layers/@eaDir/x",
        app / "_layers/sha256/@eaDir/x",
        app / "_uploads/@eaDir/x",
        app / "@eaDir/x",
    ]
    alone = [
        v2 / "repositories/.DS_Store",
        v2 / "repositories/team/.DS_Store",
        v2 / "repositories/Thumbs.db",
        app / "_manifests/tags/.DS_Store",
        app / "_manifests/tags/v1/current/._link",
        app / "_manifests/._tags",
        app / f"_layers/sha256/._{HEX}",
        app / "desktop.ini",
        app / ".wh._uploads",
        blob / "._data",
        blob / ".fuse_hidden0000012300000001",
    ]
    for path in (*files, *alone):
        tree.write(path, b"junk")
    named = {next(one for one in path.parents if is_junk_folder(one.name)) for path in files}
    return {tree.relative(path) for path in (*named, *alone)}


def test_all_of_it_is_named_and_nothing_else_is_said(shared: TreeBuilder) -> None:
    before = {(one.finding.code, one.finding.path) for one in check(shared).findings}
    expected = {(Code.JUNK, path) for path in littered(shared)}
    after = {(one.finding.code, one.finding.path) for one in check(shared).findings}
    assert after - before == expected
    assert before <= after


def test_it_is_nothing_of_the_registry(shared: TreeBuilder) -> None:
    def seen() -> Any:
        inventory = scan(open_store(str(shared.root)))
        content = {
            name: (sorted(one.tags), sorted(one.revisions), sorted(one.layers), one.uploads)
            for name, one in inventory.repositories.items()
        }
        return sorted(inventory.blobs), content

    before = seen()
    littered(shared)
    assert seen() == before
    inventory = scan(open_store(str(shared.root)))
    assert inventory.complete
    assert {finding.code for finding in inventory.findings} == {Code.JUNK}


def test_it_holds_nothing_back(shared: TreeBuilder, capsys: pytest.CaptureFixture[str]) -> None:
    def going() -> set[str]:
        assert run(["-r", str(shared.root), "gc", "plan", "-m", "--offline", "--json"]) == 0
        return {one["path"] for one in json.loads(capsys.readouterr().out)["actions"]}

    before = going()
    assert len(before) > 3
    littered(shared)
    assert going() == before


def test_people_are_told_of_it_in_one_row(
    shared: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    count = len(littered(shared))
    assert run(["-r", str(shared.root), "verify", "--no-ledger"]) == 0
    out = capsys.readouterr().out
    (row,) = (line for line in out.splitlines() if "junk" in line)
    assert row.split()[:3] == ["info", "junk", str(count)]
    assert run(["-r", str(shared.root), "ls"]) == 0
    assert capsys.readouterr().out == "team/app\n"
    assert run(["-r", str(shared.root), "ls", "team/app"]) == 0
    assert capsys.readouterr().out == "team/app:v1\n"


def test_what_of_others_may_not_be_read_is_nothing_that_an_answer_lacks(
    public: TreeBuilder,
) -> None:
    places = ["repositories/@eaDir", "repositories/.snapshot", "repositories/lost+found"]
    for place in places:
        public.folder(public.v2 / place).chmod(0)
    for command in (["ls"], ["info"], ["reuse"], ["verify", "-q", "--no-ledger"]):
        ran = run_as_nobody("-r", str(public.root), *command)
        assert (ran.code, ran.err) == (0, "")


def test_among_tags_what_cannot_be_read_may_be_one(public: TreeBuilder) -> None:
    digest = public.current("team/app", "v1")
    public.tag("team/app", ".snapshot", digest)
    public.tag_folder("team/app", ".snapshot").chmod(0)
    for command in (["gc", "plan"], ["verify", "-q", "--no-ledger"]):
        assert run_as_nobody("-r", str(public.root), *command).code == 1


# -- what is not taken for junk ---------------------------------------------------------------


def test_what_a_bin_holds_may_be_put_back_and_counts(shared: TreeBuilder) -> None:
    (shared.v2 / "repositories/#recycle").mkdir()
    shared.repository_path("team/app").rename(shared.v2 / "repositories/#recycle/app")
    inventory = scan(open_store(str(shared.root)))
    assert "#recycle/app" in inventory.repositories


def test_a_tag_is_one_whatever_it_is_called(shared: TreeBuilder) -> None:
    # No client can have made it, and yet what it names is kept.
    digest = shared.current("team/app", "v1")
    shared.tag("team/app", ".snapshot", digest)
    inventory = scan(open_store(str(shared.root)))
    assert inventory.repositories["team/app"].tags[".snapshot"].current == digest
    codes = {one.finding.code for one in check(shared, level=Level.LINKS).findings}
    assert Code.TAG_INVALID in codes
    assert Code.JUNK not in codes


@given(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True))
def test_no_folder_that_a_client_can_make_is_junk(name: str) -> None:
    assert tag_problem(name) is None
    assert not is_junk_folder(f"{V2}/repositories/app/_manifests/tags/{name}")


@given(st.from_regex(r"[a-z0-9]+([._-][a-z0-9]+){0,3}", fullmatch=True))
def test_no_repository_that_a_client_can_push_to_is_junk(name: str) -> None:
    if name_problem(name) is None:
        assert not is_junk_folder(f"{V2}/repositories/{name}")


@pytest.mark.parametrize("name", ["thumbs.db", "desktop.ini", "v1.xy12ab"])
def test_names_that_only_files_have_can_be_those_of_repositories_and_tags(
    tree: TreeBuilder, name: str
) -> None:
    tree.push(name, name)
    assert list(scan(open_store(str(tree.root))).repositories[name].tags) == [name]


@pytest.mark.parametrize("leaf", ["data", "link", "startedat", "current", "README"])
def test_no_file_of_the_layout_is_junk(leaf: str) -> None:
    assert not is_junk_file(f"{V2}/blobs/sha256/ab/{HEX}/{leaf}")


# -- what rsync leaves ------------------------------------------------------------------------

BLOB = f"{V2}/blobs/sha256/ab/{HEX}"
TAG = f"{V2}/repositories/app/_manifests/tags/v1/current"


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (f"{BLOB}/.data.Xy12Ab", f"{BLOB}/data"),
        (f"{BLOB}/.~tmp~/data", f"{BLOB}/data"),
        (f"{BLOB}/.rsync-partial/data", f"{BLOB}/data"),
        (f"{TAG}/.link.000000", f"{TAG}/link"),
        (f"{TAG}/.~tmp~/link", f"{TAG}/link"),
        (f"{BLOB}/data", None),
        (f"{BLOB}/.data.Xy12", None),
        (f"{BLOB}/.data.Xy12Ab7", None),
        (f"{BLOB}/.data.Xy-2Ab", None),
        (f"{BLOB}/data.Xy12Ab", None),
        (f"{BLOB}/.other.Xy12Ab", None),
        (f"{BLOB}/....Xy12Ab", None),
        (f"{BLOB}/.~tmp~/other", None),
        (f"{BLOB}/.~tmp~/deeper/data", None),
        (f"{V2}/.data.Xy12Ab", None),
    ],
)
def test_whose_half_a_file_is(path: str, target: str | None) -> None:
    assert rsync_target(path) == target


def test_a_half_is_named_as_one_and_an_empty_folder_as_one(shared: TreeBuilder) -> None:
    blob = min(shared.v2.glob("blobs/sha256/*/*"))
    shared.write(blob / ".data.Xy12Ab", b"half")
    shared.write(blob / ".~tmp~/data", b"half")
    empty = shared.folder(shared.repository_path("team/app") / "_layers/sha256/.~tmp~")
    before = {
        (Code.TEMPORARY_FILE, shared.relative(blob / name))
        for name in (".data.Xy12Ab", ".~tmp~/data")
    }
    found = {(one.finding.code, one.finding.path) for one in check(shared).findings}
    assert before <= found
    assert (Code.DIRECTORY_EMPTY, shared.relative(empty)) in found
    assert Code.JUNK not in {code for code, _ in found}


# -- overlays ---------------------------------------------------------------------------------


def test_a_whiteout_is_named_and_is_no_lack_of_a_tag(shared: TreeBuilder, tmp_path: Path) -> None:
    path = shared.repository_path("team/app") / "_manifests/tags/v2"
    try:
        os.mknod(path, 0o20000, os.makedev(0, 0))
    except PermissionError:
        pytest.skip("only root makes devices")
    inventory = scan(open_store(str(shared.root)))
    (finding,) = set(inventory.findings)
    assert (finding.code, finding.path) == (Code.SPECIAL_FILE, shared.relative(path))
    assert "one layer of an overlay" in finding.message
    assert not inventory.complete  # what the lower layers hold nobody sees from here
    assert "v2" not in inventory.repositories["team/app"].tags
