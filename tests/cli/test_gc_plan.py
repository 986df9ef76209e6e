"""What `gc plan` says to people: by repository, what stays, what -m would add, and what is next."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from regfs.cli.app import run
from regfs.cli.session import Exit
from regfs.runs.totals import ActionKind
from regfs.units import human_size
from tests.support.builder import TreeBuilder, image
from tests.support.registries import plan_of


@pytest.fixture
def pushed(tree: TreeBuilder) -> TreeBuilder:
    """Return a tree with an image that lost its tag, and blobs that nobody links."""
    tree.push("team/app", "v1", image(["base", "x" * 9000]))
    tree.push("team/app", "v1", image(["base", "new"]))
    tree.push("lib", "latest", image(["base"]))
    tree.blob(b"lost" * 100)
    tree.age(30 * 86400)
    return tree


def shown(tree: TreeBuilder, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["-r", str(tree.root), "gc", *arguments]) == 0
    return capsys.readouterr().out


def rows(out: str) -> dict[str, list[str]]:
    """Return the lines of a plan that begin with a word and a colon."""
    found: dict[str, list[str]] = {}
    for line in out.splitlines():
        word, colon, rest = line.partition(":")
        if colon and " " not in word:
            found.setdefault(word, []).append(rest.strip())
    return found


def test_a_plain_plan_says_what_untagged_manifests_would_add(
    pushed: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    everything = plan_of(pushed, delete_untagged=True)
    links = sum(one.size for one in everything.actions if one.kind is ActionKind.TAG_INDEX)
    added = everything.totals.bytes - links - plan_of(pushed).totals.bytes
    out = shown(pushed, capsys, "plan")
    (line,) = [line for line in out.splitlines() if line.startswith("With -m:")]
    assert line.startswith(f"With -m:  {human_size(added)} (")
    assert "1 untagged manifest" in line
    assert "With -m" not in shown(pushed, capsys, "plan", "-m")


def test_where_untagged_manifests_add_nothing_that_is_said(
    pushed: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    shown(pushed, capsys, "run", "-m", "--yes")
    assert "With -m:  nothing more" in shown(pushed, capsys, "plan")


def test_what_stays_is_counted(pushed: TreeBuilder, capsys: pytest.CaptureFixture[str]) -> None:
    stays = rows(shown(pushed, capsys, "plan", "-m"))["Stays"]
    assert stays == ["2 tags, 2 manifests, 6 blobs in 2 repositories"]


def test_the_summary_is_by_repository_and_single_items_are_for_v(
    pushed: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    short, full = (shown(pushed, capsys, "plan", "-m", *more) for more in ([], ["-v"]))
    (line,) = [line.split() for line in short.splitlines() if line.startswith("team/app")]
    assert (line[1], line[-1]) == ("1", "1")
    assert "(no repository)" in short
    assert "no tag reaches this manifest" not in short
    assert "no tag reaches this manifest" in full


@pytest.mark.parametrize(
    "options",
    [
        ["-m"],
        ["--offline", "-m", "--allow-tagless", "a b", "--allow-tagless", "c"],
        ["--min-age", "1h30m", "--max-freed", "10M", "--delete-referrers-of-subject", "-m"],
        ["--uploads-older-than", "3d", "--tag-history", "2", "--leftovers"],
    ],
)
def test_the_next_command_does_what_was_planned(
    pushed: TreeBuilder, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (command,) = rows(shown(pushed, capsys, "plan", *options))["Next"]
    words = shlex.split(command)
    assert words[:5] == ["regfs", "-r", str(pushed.root), "gc", "run"]
    plain = shown(pushed, capsys, "plan", *options)
    assert run([*words[1:], "-n"]) == 0
    assert capsys.readouterr().out == plain


def test_a_root_that_was_not_given_is_not_in_the_next_command(
    pushed: TreeBuilder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(pushed.root)
    assert run(["gc", "plan"]) == 0
    assert "Next:     regfs gc run\n" in capsys.readouterr().out


def test_where_only_untagged_manifests_may_go_the_next_command_has_m(
    tree: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.push("app", "v1", image(["one"]))
    tree.push("app", "v1", image(["two"]))
    tree.age(30 * 86400)
    out = rows(shown(tree, capsys, "plan"))
    assert out["Eligible"] == ["nothing"]
    assert out["Next"] == [f"regfs -r {tree.root} gc run -m"]


def test_nothing_to_do_names_no_next_command(
    tree: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.push("app", "v1", image(["one"]))
    assert "Next" not in rows(shown(tree, capsys, "plan"))


def test_a_plan_in_a_file_is_applied_next(
    pushed: TreeBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "the plan.json")
    (command,) = rows(shown(pushed, capsys, "plan", "-m", "-o", file))["Next"]
    assert shlex.split(command) == ["regfs", "-r", str(pushed.root), "gc", "apply", file]
    assert run(shlex.split(command)[1:]) == 0


def test_what_is_kept_has_bytes_and_with_v_names(
    pushed: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    young = pushed.blob(b"young" * 10)
    pushed.set_age(pushed.blob_path(young), 0)
    short, full = (shown(pushed, capsys, "plan", *more) for more in ([], ["-v"]))
    assert rows(short)["Kept"] == ["1 item (50 B) too young (--min-age, --uploads-older-than)"]
    assert young[7:] not in short
    assert young[7:] in full


def test_a_time_to_come_is_named(pushed: TreeBuilder, capsys: pytest.CaptureFixture[str]) -> None:
    ahead = pushed.blob(b"ahead")
    pushed.set_age(pushed.blob_path(ahead), -86400 * 3650)
    out = shown(pushed, capsys, "plan").splitlines()
    number = next(n for n, line in enumerate(out) if "dated in the future" in line)
    assert ahead[7:] in out[number + 1]
    assert out[number + 1].rstrip().endswith("Z")


def test_a_repository_in_doubt_is_one_repository(
    pushed: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = pushed.current("lib", "latest")
    pushed.blob_path(digest).write_bytes(b"{}")
    assert run(["-r", str(pushed.root), "gc", "plan"]) == Exit.FINDINGS.value
    assert "Kept: 1 repository in doubt (see the findings)" in capsys.readouterr().out


def test_of_what_is_kept_not_all_names_are_held(
    pushed: TreeBuilder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("regfs.gc.kept.NAMED", 2)
    for number in range(5):
        young = pushed.blob(b"young" * number)
        pushed.set_age(pushed.blob_path(young), 0)
    out = shown(pushed, capsys, "plan", "-v")
    assert rows(out)["Kept"] == ["5 items (50 B) too young (--min-age, --uploads-older-than)"]
    assert out.count("      blobs/sha256/") == 2
    assert "      and 3 more\n" in out
