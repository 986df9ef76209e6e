"""What could not be read is said, on standard error and by the exit code: no answer is silently
incomplete, and what cannot be read is never said to be missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator

import pytest

from regfs.cli.app import run
from regfs.digest import Digest
from regfs.errors import BlobUnknown, NameUnknown, StoreError
from regfs.findings import Code, Finding
from regfs.stores import open_store
from regfs.tree.registry import Registry
from tests.support.builder import TreeBuilder, digest_of, image, index
from tests.support.nobody import as_nobody, public_folder, run_as_nobody

SECRET = image(["base", "secret"])
ADVICE = "regfs: incomplete. Run with more rights, or remove what is in the way: "


@pytest.fixture
def public() -> Iterator[TreeBuilder]:
    """Two repositories and an index, where anybody can get to."""
    with public_folder() as folder:
        tree = TreeBuilder(folder / "registry")
        tree.push("app", "v1", image(["base", "v1"]))
        tree.push("app", "multi", index(image(["a"]), image(["b"])))
        tree.push("secret", "s1", SECRET)
        yield tree


def hide(tree: TreeBuilder, place: str) -> str:
    """Let nobody but root look into a place; return it as regfs names it."""
    (tree.v2 / place).chmod(0)
    return f"docker/registry/v2/{place}"


OF_ALL = [
    ["info"],
    ["info", "--json"],
    ["du"],
    ["du", "--json"],
    ["du", "--by", "layer"],
    ["du", "--by", "tag"],
    ["du", "--rm", "app:v1"],
    ["reuse"],
    ["reuse", "--json"],
    ["waste"],
    ["waste", "--json"],
    ["bases"],
    ["bases", "--json"],
    ["ls", "-l"],
    ["ls", "-l", "--json"],
    ["ls", "--untagged"],
    ["ls", "--empty"],
    ["ls", "--uploads"],
    ["show", "app:v1"],
    ["why", "app:v1"],
    ["heal", "--relink", "-n"],
]
"""Questions whose answer rests on every repository."""


@pytest.mark.parametrize("command", OF_ALL, ids=" ".join)
def test_an_answer_that_lacks_a_repository_says_so(public: TreeBuilder, command: list[str]) -> None:
    before = run_as_nobody("-r", str(public.root), *command)
    assert (before.code, before.err) == (0, "")
    place = hide(public, "repositories/secret")
    after = run_as_nobody("-r", str(public.root), *command)
    assert after.code == 1
    assert after.err == f"{ADVICE}{place}: permission denied\n"
    assert after.out or "--uploads" in command or "--empty" in command or "--untagged" in command


def test_a_listing_reports_folders_it_could_not_read(public: TreeBuilder) -> None:
    place = hide(public, "repositories/secret")
    ran = run_as_nobody("-r", str(public.root), "ls")
    assert ran == (1, "app\n", f"{ADVICE}{place}: permission denied\n")


NAMING = [
    ["ls", "secret"],
    ["ls", "secret:s1"],
    ["ls", f"secret@{SECRET.digest}"],
    ["ls", "--untagged", "secret"],
    ["show", "secret:s1"],
    ["cat", "secret:s1"],
    ["why", "secret:s1"],
    ["du", "secret"],
    ["du", "--rm", "secret:s1"],
    ["reuse", "secret"],
    ["verify", "--no-ledger", "secret"],
]


@pytest.mark.parametrize("command", NAMING, ids=" ".join)
@pytest.mark.parametrize("place", ["repositories/secret", "repositories"])
def test_an_unreadable_repository_is_not_reported_as_unknown(
    public: TreeBuilder, place: str, command: list[str]
) -> None:
    hide(public, place)
    ran = run_as_nobody("-r", str(public.root), *command)
    assert ran.code == 5
    assert "permission denied" in ran.err
    assert "no such" not in ran.err
    assert ran.out == ""


@pytest.mark.parametrize(
    "name", ["nothing", "app/nothing", "x" * 300, "x/" * 2100 + "x", "secret/nothing"]
)
def test_an_absent_repository_is_still_unknown(public: TreeBuilder, name: str) -> None:
    registry = Registry(open_store(str(public.root)))
    assert not registry.exists(name)
    (public.v2 / "repositories/plain").write_text("a file")
    assert not registry.exists("plain")
    with pytest.raises(NameUnknown):
        registry.find("plain")


def test_a_name_below_an_unsearchable_folder_is_a_storage_failure(public: TreeBuilder) -> None:
    hide(public, "repositories/secret")
    registry = Registry(open_store(str(public.root)))

    def ask() -> str:
        try:
            return str(registry.exists("secret/nested"))
        except StoreError as error:
            return str(error)

    assert "permission denied" in as_nobody(ask)


# -- part of a repository ---------------------------------------------------------------------

PARTS = ["_manifests", "_manifests/tags", "_manifests/revisions", "_manifests/revisions/sha256"]


@pytest.mark.parametrize("part", PARTS)
def test_an_unreadable_repository_is_not_listed_as_empty(public: TreeBuilder, part: str) -> None:
    for path in (public.repository_path("secret") / "_manifests").iterdir():
        if path.name not in part or part == "_manifests":
            shutil.rmtree(path)
    hide(public, f"repositories/secret/{part}")
    root = str(public.root)
    assert "secret" not in run_as_nobody("-r", root, "ls", "--empty").out
    found = json.loads(run_as_nobody("-r", root, "verify", "--no-ledger", "--json").out)["findings"]
    codes = {one["code"] for one in found}
    assert "path-unreadable" in codes
    assert not codes & {"repository-empty", "repository-tagless", "repositories-missing"}


def test_a_repository_of_which_not_all_was_read_has_no_numbers(public: TreeBuilder) -> None:
    place = hide(public, "repositories/secret/_manifests")
    ran = run_as_nobody("-r", str(public.root), "ls", "-l")
    (row,) = (line.split() for line in ran.out.splitlines() if line.startswith("secret"))
    assert row == ["secret", "?", "?", "?"]
    assert ran.code == 1
    assert ran.err.startswith(f"{ADVICE}{place}/")
    report = json.loads(run_as_nobody("-r", str(public.root), "ls", "-l", "--json").out)
    complete = {one["name"]: one["complete"] for one in report["repositories"]}
    assert complete == {"app": True, "secret": False}


def test_unreadable_tags_are_not_reported_as_none(public: TreeBuilder) -> None:
    place = hide(public, "repositories/secret/_manifests/tags")
    ran = run_as_nobody("-r", str(public.root), "ls", "secret")
    assert ran == (1, "", f"{ADVICE}{place}: permission denied\n")
    hide(public, "repositories/app/_manifests/tags")
    report = json.loads(run_as_nobody("-r", str(public.root), "info", "--json").out)
    assert report["owner"] == "plain"  # and not that of somebody who keeps tags elsewhere


def test_one_tag_that_cannot_be_read_hides_no_other(public: TreeBuilder) -> None:
    public.tag_path("app", "v1").chmod(0)
    ran = run_as_nobody("-r", str(public.root), "ls", "-l", "app")
    rows = {line.split()[0]: line for line in ran.out.splitlines() if line.startswith(("v", "m"))}
    assert "unreadable" in rows["v1"]
    assert "index" in rows["multi"]
    assert ran.code == 1
    assert ran.err.startswith(ADVICE)
    # What it points to is not known, so nobody may call it untagged without a word.
    assert run_as_nobody("-r", str(public.root), "ls", "--untagged", "app").code == 1


def test_unreadable_runs_are_not_reported_as_none(public: TreeBuilder) -> None:
    folder = public.root / ".regfs/runs"
    folder.mkdir(parents=True)
    folder.chmod(0)
    ran = run_as_nobody("-r", str(public.root), "gc", "runs")
    assert ran.code == 1
    assert ran.err == f"{ADVICE}.regfs/runs: permission denied\n"


# -- blobs ------------------------------------------------------------------------------------


def test_unreadable_blobs_are_not_reported_as_missing(public: TreeBuilder) -> None:
    place = hide(public, "blobs")
    root = str(public.root)
    info = run_as_nobody("-r", root, "info")
    assert "missing" not in info.out
    assert info.code == 1
    assert info.err.startswith(f"{ADVICE}{place} and ")
    assert len(info.err.splitlines()) == 1
    assert "Missing" not in run_as_nobody("-r", root, "du").out
    why = run_as_nobody("-r", root, "why", "app:v1")
    assert "its place cannot be read" in why.out
    assert "not stored" not in why.out


def test_an_unreadable_layer_is_not_reported_as_missing(public: TreeBuilder) -> None:
    layer = SECRET.document["layers"][-1]["digest"]
    hide(public, f"blobs/sha256/{layer[7:9]}")
    listed = run_as_nobody("-r", str(public.root), "ls", "secret:s1")
    assert "UNREADABLE" in listed.out
    assert "MISSING" not in listed.out
    assert listed.code == 1
    shown = run_as_nobody("-r", str(public.root), "show", "secret:s1")
    assert "layer cannot be seen" in shown.err
    assert "UNREADABLE" in shown.out
    assert "MISSING" not in shown.out
    assert "missing" not in run_as_nobody("-r", str(public.root), "info").out


def test_a_short_digest_is_looked_for_where_it_can_be(public: TreeBuilder) -> None:
    digest = SECRET.digest
    hide(public, f"blobs/sha256/{digest[7:9]}")
    ran = run_as_nobody("-r", str(public.root), "cat", digest[7:19])
    assert ran.code == 5
    assert "permission denied" in ran.err
    other = next(
        path.parent.name
        for path in public.v2.glob("blobs/sha256/*/*/data")
        if path.parent.parent.name != digest[7:9]
    )
    assert run_as_nobody("-r", str(public.root), "cat", other[:12]).code == 0


def test_a_digest_can_be_asked_for_where_no_repository_can_be_seen(public: TreeBuilder) -> None:
    hide(public, "repositories")
    ran = run_as_nobody("-r", str(public.root), "cat", SECRET.digest)
    assert ran.out == SECRET.data.decode()
    assert ran.code == 1


def test_an_unreadable_config_is_reported(public: TreeBuilder) -> None:
    config = SECRET.document["config"]["digest"]
    public.blob_path(config).chmod(0)
    for command in (["reuse"], ["show", "secret:s1"]):
        ran = run_as_nobody("-r", str(public.root), *command)
        assert ran.code == 1
        assert config[7:] in ran.err


def test_an_unreadable_alias_link_is_not_trusted(public: TreeBuilder) -> None:
    data = public.blob_path(SECRET.digest).read_bytes()
    alias = digest_of(data, "sha512")
    link = public.layer_path("secret", alias)
    public.write(link, SECRET.digest.encode())
    assert run_as_nobody("-r", str(public.root), "cat", f"secret@{alias}").code == 0
    link.chmod(0)
    ran = run_as_nobody("-r", str(public.root), "cat", f"secret@{alias}")
    assert ran.code == 5
    assert "no such" not in ran.err


# -- what is there and means nothing ----------------------------------------------------------


@pytest.mark.parametrize("kind", ["manifest-not-json", "manifest-flipped", "manifest-too-large"])
@pytest.mark.parametrize("command", [["du"], ["info"], ["reuse"], ["bases"], ["ls", "-l", "app"]])
def test_an_unparsable_manifest_is_reported_as_lacking(
    tree: TreeBuilder, capsys: pytest.CaptureFixture[str], kind: str, command: list[str]
) -> None:
    tree.push("app", "v1", image(["one"]))
    tree.push("app", "v2", image(["two"]))
    path = tree.break_(kind, "app", "v1")
    assert run(["-r", str(tree.root), *command]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("regfs: incomplete. ")
    assert path in captured.err


@pytest.mark.parametrize("kind", ["manifest-missing", "blob-missing", "index-child-missing"])
def test_absent_content_is_not_reported_as_unread(
    tree: TreeBuilder, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    tree.push("app", "v1", image(["one"]))
    tree.break_(kind, "app", "v1")
    for command in (["du"], ["ls", "-l", "app"], ["reuse"], ["bases"]):
        assert run(["-r", str(tree.root), *command]) == 0
        assert capsys.readouterr().err == ""


Read = Callable[[Registry], object]
READS: dict[str, Read] = {
    "a manifest": lambda registry: registry.manifest(Digest(SECRET.digest)),
    "its bytes": lambda registry: registry.manifest_bytes(Digest(SECRET.digest)),
    "a blob": lambda registry: registry.blob(Digest(SECRET.digest)),
}


@pytest.mark.parametrize("what", READS)
def test_a_registry_reports_what_it_raises_but_not_what_is_not_there(
    public: TreeBuilder, what: str
) -> None:
    reported: list[Finding] = []
    registry = Registry(open_store(str(public.root)), reported.append)
    folder = public.blob_path(SECRET.digest).parent

    def fail() -> list[Finding]:
        with pytest.raises(StoreError):
            READS[what](registry)
        return reported

    folder.chmod(0)
    (finding,) = as_nobody(fail)
    assert finding.code is Code.BLOB_UNREADABLE
    assert finding.path == public.relative(folder / "data")
    shutil.rmtree(folder)
    with pytest.raises(BlobUnknown):
        READS[what](registry)
    assert reported == []


@pytest.mark.parametrize(
    "command", [["show", "app:v1"], ["diff", "app:v2", "app:v1"], ["buildkit", "app:v1"]]
)
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_config_that_says_nothing_is_reported_once(
    tree: TreeBuilder, capsys: pytest.CaptureFixture[str], command: list[str], more: list[str]
) -> None:
    tree.push("app", "v1", image(["base"], b"[1, 2]"))
    tree.push("app", "v2", image(["base", "more"]))
    assert run(["-r", str(tree.root), *command, *more]) == 1
    said = capsys.readouterr().err.splitlines()
    assert [line.startswith("regfs: ") and "config" in line for line in said] == [True]
    assert "JSON, but not an object" in said[0]
