"""The gc commands with policies, roots and limits: what is printed, and how they exit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from regfs.cli.app import run
from regfs.cli.session import Exit
from tests.support.builder import TreeBuilder, image

POLICY = """
[[policies]]
repositories = ["**"]
[[policies.keepTags]]
patterns = ["keep"]
"""


@pytest.fixture
def old(tree: TreeBuilder, tmp_path: Path) -> TreeBuilder:
    tree.push("team/app", "keep", image(["new"]))
    tree.push("team/app", "old", image(["old"], {"created": "2020-05-06T00:00:00Z"}))
    (tmp_path / "keep.toml").write_text(POLICY)
    return tree


def gc(tree: TreeBuilder, command: str, *arguments: str) -> int:
    return run(["-r", str(tree.root), "gc", command, *arguments])


def test_explain_prints_every_decision(
    old: TreeBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = str(tmp_path / "keep.toml")
    assert gc(old, "plan", "--policy", policy, "--explain") == 0
    out = capsys.readouterr().out
    decisions = out[: out.index("To delete")]
    lines = [line for line in decisions.splitlines() if "team/app" in line]
    assert [line.split()[1] for line in lines] == ["keep", "old"]
    assert [line.split()[3] for line in lines] == ["keep", "drop"]
    assert "policies[0]" in out
    assert gc(old, "plan", "--policy", policy) == 0
    assert "Decisions" not in capsys.readouterr().out


def test_explain_shows_both_ages(
    old: TreeBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "age.toml").write_text(POLICY.replace("patterns", "createdWithin = '1d'\n#"))
    assert gc(old, "plan", "--policy", str(tmp_path / "age.toml"), "--explain") == 0
    out = capsys.readouterr().out
    assert "2020-05-06" in out


def test_explain_of_a_policy_about_nothing(
    old: TreeBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none.toml").write_text(POLICY.replace("**", "elsewhere"))
    assert gc(old, "plan", "--policy", str(tmp_path / "none.toml"), "--explain") == 0
    assert "applies to no tag" in capsys.readouterr().out


def test_explain_without_a_policy_exits_2(old: TreeBuilder) -> None:
    assert gc(old, "plan", "--explain") == Exit.USAGE.value


def test_decisions_are_in_the_json_document(
    old: TreeBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gc(old, "plan", "--policy", str(tmp_path / "keep.toml"), "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert {(one["tag"], one["keep"]) for one in document["decisions"]} == {
        ("keep", True), ("old", False)
    }  # fmt: skip
    assert document["policy"]["retention"]["policies"][0]["repositories"] == ["**"]
    assert document["totals"]["tags"] == 1


@pytest.mark.parametrize(
    ("option", "content"),
    [
        ("--policy", "[[policies]]\nrepositories = 3\n"),
        ("--policy", "policies = ["),
        ("--policy", ""),
        ("--policy", None),
        ("--roots", "no reference at all!\n"),
        ("--roots", "# nothing\n"),
        ("--roots", None),
    ],
)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_an_invalid_policy_file_exits_2(
    old: TreeBuilder,
    tmp_path: Path,
    option: str,
    content: str | None,
    command: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "given"
    if content is not None:
        file.write_text(content)
    before = old.files("")
    assert gc(old, command, option, str(file)) == Exit.USAGE.value
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("regfs: ")
    assert str(file) in line
    assert old.files("") == before


@pytest.mark.parametrize("arguments", [("plan",), ("run", "-n")])
def test_a_missing_root_is_a_finding_of_the_plan(
    old: TreeBuilder, tmp_path: Path, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    roots = tmp_path / "roots.txt"
    roots.write_text("team/app:keep\n")
    assert gc(old, *arguments, "--roots", str(roots)) == 0
    roots.write_text("team/app:keep\nteam/app:gone\n")
    capsys.readouterr()
    assert gc(old, *arguments, "--roots", str(roots)) == Exit.FINDINGS.value
    assert "listed as in use" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["run", "apply", "purge"])
def test_a_missing_root_refuses_the_run_before_anything_moves(
    old: TreeBuilder, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The list knows the registry by another name: what it means must not go."""
    roots, plan = tmp_path / "roots.txt", str(tmp_path / "plan.json")
    roots.write_text("proxy.example.com/docker/team/app:old\n")
    policy = ("--offline", "--policy", str(tmp_path / "keep.toml"))
    options: tuple[str, ...] = ("--roots", str(roots))
    if command == "run":
        arguments = (*policy, "--yes", *options)
    elif command == "apply":
        assert gc(old, "plan", *policy, *options, "-o", plan) == Exit.FINDINGS.value
        arguments = (plan,)
    else:
        assert gc(old, "run", *policy, "--yes") == 0
        arguments = ("--offline", *options)
    before = {path: file for path, file in old.files("").items() if "/lock" not in path}
    capsys.readouterr()
    assert gc(old, command, *arguments) == Exit.REFUSED.value
    err = capsys.readouterr().err
    assert "proxy.example.com/docker/team/app:old" in err or "docker/team/app:old" in err
    assert "--ignore-missing-roots" in err
    after = {path: file for path, file in old.files("").items() if "/lock" not in path}
    assert after == before

    if command == "apply":
        assert gc(old, "plan", *policy, *options, "--ignore-missing-roots", "-o", plan) == 0
    else:
        arguments = (*arguments, "--ignore-missing-roots")
    assert gc(old, command, *arguments) == 0
    assert old.tags("team/app") == ["keep"]


def test_a_missing_root_is_reported_before_the_confirmation(
    old: TreeBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "roots.txt").write_text("gone:v1\n")
    options = ("--policy", str(tmp_path / "keep.toml"), "--roots", str(tmp_path / "roots.txt"))
    assert gc(old, "run", *options) == Exit.REFUSED.value
    assert "--ignore-missing-roots" in capsys.readouterr().err
    assert old.files(".regfs") == {}


def test_roots_host_with_a_prefix_selects_its_lines(
    old: TreeBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    roots = tmp_path / "roots.txt"
    roots.write_text(
        "proxy.example.com/docker/team/app:old\ndocker.io/library/nginx:1\nquay.io/x/y:2\n"
    )
    policy = ("--offline", "--policy", str(tmp_path / "keep.toml"), "--roots", str(roots))
    assert gc(old, "run", *policy, "--yes", "--roots-host", "proxy.example.com/docker") == 0
    assert "lines of other hosts, skipped: 2" in capsys.readouterr().err
    assert old.tags("team/app") == ["keep", "old"]


@pytest.mark.parametrize("command", ["plan", "purge"])
@pytest.mark.parametrize("option", [("--roots-host", "x:5000"), ("--ignore-missing-roots",)])
def test_options_about_roots_need_roots(
    old: TreeBuilder, command: str, option: tuple[str, ...]
) -> None:
    assert gc(old, command, *option) == Exit.USAGE.value


def test_reasons_for_keeping_are_printed_in_words(
    old: TreeBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    used = old.blob(b"used by the word of others")
    old.blob(b"small")
    old.blob(b"large" * 100)
    (tmp_path / "roots.txt").write_text(f"{used}\n")
    assert gc(old, "plan", "--roots", str(tmp_path / "roots.txt"), "--max-freed", "1") == 0
    out = capsys.readouterr().out
    assert "Kept: 1 blob (26 B) in use elsewhere (--roots)" in out
    assert "Kept: 1 blob (5 B) beyond the limit (--max-freed)" in out


def test_every_kind_is_counted_in_words(
    old: TreeBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old.folder(old.repository_path("empty") / "_layers")
    old.folder(old.v2 / "blobs/sha256/00")
    old.write(old.tag_folder("team/app", "keep") / "current/.link.x.regfs-tmp", b"half")
    policy = str(tmp_path / "keep.toml")
    options = ("--policy", policy, "--leftovers", "--empty-repositories")
    assert gc(old, "run", "--yes", *options) == 0
    done = next(line for line in capsys.readouterr().out.splitlines() if "quarantine:" in line)
    for words in ("1 tag", "1 temporary file", "1 empty folder", "1 empty repository"):
        assert words in done


def test_a_written_plan_carries_its_policy(
    old: TreeBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "plan.json")
    assert gc(old, "plan", "--policy", str(tmp_path / "keep.toml"), "-o", file) == 0
    (tmp_path / "keep.toml").unlink()
    assert gc(old, "apply", file) == 0
    assert old.tags("team/app") == ["keep"]
