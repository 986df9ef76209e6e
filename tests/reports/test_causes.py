"""One root cause is one message, with the way out first; what differs is told one by one."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.cli.app import run
from regfs.findings import RULES, Code, Finding
from regfs.render.tables import incomplete
from regfs.reports.causes import NAMED, Causes, is_denied, lacking
from regfs.tree.inventory import INCOMPLETE
from tests.support.builder import TreeBuilder, image
from tests.support.nobody import public_folder, run_as_nobody

V2 = "docker/registry/v2"
TAGS = [f"v{number:02}" for number in range(40)]


def told(out: str) -> list[str]:
    """Return the lines that begin to tell of a finding, of what a command has printed."""
    starts = tuple(f"{weight:<8}" for weight in ("error", "warning", "info"))
    before = out.split("\nlevel ")[0].split("\nEligible")[0]
    return [line for line in before.splitlines() if line.startswith(starts)]


@pytest.fixture
def cut_short(tree: TreeBuilder) -> TreeBuilder:
    """An image under 40 tags whose deletion has taken the manifest's link and no tag."""
    for tag in TAGS:
        tree.push("app", tag, image(["one"]))
    tree.push("app", "other", image(["other"]))
    digest = tree.current("app", TAGS[0])
    shutil.rmtree(tree.revision_path("app", digest).parent)
    return tree


# -- the causes of the field ------------------------------------------------------------------


def test_40_tags_of_one_deletion_are_one_cause(
    cut_short: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(cut_short.root)
    assert run(["-r", root, "verify", "--no-ledger"]) == 1
    captured = capsys.readouterr()
    first, together = told(captured.out)
    assert first.startswith(f"error   tag-dangling  {V2}/repositories/app/_manifests/tags/v")
    assert together == f"error   tag-dangling  {RULES[Code.TAG_DANGLING].remedy}"
    after = captured.out.partition(together)[2].splitlines()
    named = re.fullmatch(
        r" +40 of one cause: app:(v\d\d), app:(v\d\d), app:(v\d\d) and 37 more", after[1]
    )
    assert named is not None
    assert {*named.groups()} < {*TAGS}
    assert "40 images are damaged" in captured.out  # and of that nothing is lost
    assert "-v prints each" in captured.err


def test_verbose_prints_each_finding(
    cut_short: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["-r", str(cut_short.root), "verify", "--no-ledger", "-v"]) == 1
    lines = told(capsys.readouterr().out)
    assert sum("tag-dangling" in line for line in lines) == 40
    assert not any(RULES[Code.TAG_DANGLING].remedy in line for line in lines)


@pytest.mark.parametrize("how", ["--json", "--ndjson"])
def test_json_has_each_finding(
    cut_short: TreeBuilder, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    assert run(["-r", str(cut_short.root), "verify", "--no-ledger", how]) == 1
    out = capsys.readouterr().out
    rows = json.loads(out)["findings"] if how == "--json" else map(json.loads, out.splitlines())
    assert sum(row["code"] == "tag-dangling" for row in rows) == 40


def test_two_deletions_are_two_causes(
    cut_short: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    cut_short.push("app", "another", image(["two"]))
    cut_short.push("app", "and-another", image(["two"]))
    digest = cut_short.current("app", "another")
    shutil.rmtree(cut_short.revision_path("app", digest).parent)
    assert run(["-r", str(cut_short.root), "verify", "--no-ledger"]) == 1
    out = capsys.readouterr().out
    assert "40 of one cause" in out
    assert "2 of one cause" in out


def test_corrupt_blobs_are_separate_causes(
    tree: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.push("app", "v1", image(["a", "b", "c", "d"]))
    layers = [one["digest"] for one in tree.document(tree.current("app", "v1"))["layers"]]
    for layer in layers:
        tree.break_("blob-flipped", "app", "v1", layer)
    assert run(["-r", str(tree.root), "verify", "--no-ledger"]) == 1
    lines = told(capsys.readouterr().out)
    assert len([line for line in lines if "blob-corrupt" in line]) == len(layers) == 4
    assert all(any(layer[7:] in line for line in lines) for layer in layers)


@pytest.fixture
def public() -> Iterator[TreeBuilder]:
    """A tree where anybody can get to."""
    with public_folder() as folder:
        yield TreeBuilder(folder / "registry")


def test_unreadable_blobs_are_one_cause(public: TreeBuilder) -> None:
    tree = public
    for number in range(5):
        tree.push(f"app{number}", "v1", image([str(number)]))
    (tree.v2 / "blobs").chmod(0)
    root = str(tree.root)
    ran = run_as_nobody("-r", root, "verify", "--no-ledger")
    first, together = told(ran.out)
    assert first == f"error   path-unreadable  {V2}/blobs"
    assert together == f"error   path-unreadable  {RULES[Code.PATH_UNREADABLE].remedy}"
    assert f"6 of one cause: {V2}/blobs and 5 more" in ran.out
    # Nobody knows whether they are whole: that is not the same as that they are not.
    assert "5 images could not be checked: not all can be read" in ran.out
    assert "damaged" not in ran.out
    assert ran.code == 1
    plan = run_as_nobody("-r", root, "gc", "plan")
    assert told(plan.out) == [together]
    assert f"6 of one cause: {V2}/blobs and 5 more" in plan.out
    du = run_as_nobody("-r", root, "du")
    advice = "regfs: incomplete. Run with more rights, or remove what is in the way"
    assert du.err == f"{advice}: {V2}/blobs and 5 more: permission denied\n"


def test_blobs_on_a_disk_that_is_not_mounted_are_one_cause(
    cut_short: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(cut_short.v2 / "blobs")
    cut_short.folder(cut_short.v2 / "blobs")
    remedy = RULES[Code.BLOBS_MISSING].remedy
    for command in (["verify", "--no-ledger"], ["verify", "--level", "links"], ["gc", "plan"]):
        assert run(["-r", str(cut_short.root), *command]) == 1
        out = capsys.readouterr().out
        lines = told(out)
        assert lines[-1] == f"error   blobs-missing  {remedy}"
        assert not any("dangling" in line for line in lines)
        assert f"of one cause: {V2}/blobs and " in out


def test_a_tree_without_blobs_and_images_reports_no_missing_blobs(
    tree: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.folder(tree.repository_path("app") / "_layers")
    assert run(["-r", str(tree.root), "verify", "--no-ledger", "-v"]) == 0
    assert "blobs-missing" not in capsys.readouterr().out


# -- the law ----------------------------------------------------------------------------------

FINDINGS = st.builds(
    Finding,
    st.sampled_from(list(Code)),
    st.sampled_from([f"{V2}/a/x", f"{V2}/a/y", f"{V2}/b/x"]),
    digest=st.sampled_from([None, "sha256:1", "sha256:2"]),
    repository=st.sampled_from(["app", "team/app"]),
    tag=st.sampled_from([None, "v1", "v2"]),
    actual=st.sampled_from([None, "permission denied", "input/output error"]),
)
ALONE = (Code.BLOB_CORRUPT, Code.LINK_EMPTY, Code.LINK_INVALID, Code.DIFFID_MISMATCH)


@given(st.lists(FINDINGS))
def test_nothing_is_lost_or_counted_twice(findings: list[Finding]) -> None:
    causes = Causes()
    first = [finding for finding in findings if causes.add(finding)]
    assert [cause.first for cause in causes] == first
    assert sum(cause.count for cause in causes) == len(findings)
    assert all(len(cause.others) < NAMED for cause in causes)


@given(st.lists(FINDINGS, unique=True))
def test_findings_with_their_own_remedy_are_never_grouped(findings: list[Finding]) -> None:
    for cause in Causes(one for one in findings if one.code in ALONE):
        places = {(cause.first.path, cause.first.tag, cause.first.digest)}
        assert cause.count == 1 or len(places) == 1


@given(FINDINGS)
def test_lacking_selects_unreadable_and_unparsable(finding: Finding) -> None:
    if finding.code in INCOMPLETE or is_denied(finding):
        assert lacking([finding]) == [finding]
    if finding.code in (Code.BLOB_MISSING, Code.LINK_DANGLING, Code.JUNK):
        assert lacking([finding]) == []


def test_lacking_has_each_path_once_the_first_finding_counts() -> None:
    read = Finding(Code.BLOB_CORRUPT, "a", digest="sha256:1")
    listed = Finding(Code.PATH_UNREADABLE, "a")
    other = Finding(Code.PATH_UNREADABLE, "b")
    assert lacking([read, listed, other]) == [read, other]


@given(st.lists(FINDINGS, min_size=1))
def test_a_cause_prints_the_remedy_first(findings: list[Finding]) -> None:
    for cause in Causes(findings):
        words = incomplete(cause)
        assert words.startswith(f"incomplete. {cause.remedy.rstrip('.')}: ")
        assert "\n" not in words
