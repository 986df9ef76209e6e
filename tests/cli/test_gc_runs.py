"""After a run and before a purge: what is said, what is asked, and which run is meant."""

from __future__ import annotations

import io
import os
import re
import shlex

import pytest

from regfs.cli.app import run
from regfs.cli.session import Exit
from regfs.gc.collect import collect
from regfs.gc.sweep import apply
from regfs.runs import runs
from regfs.tree.registry import Registry
from regfs.units import human_size
from tests.support.builder import TreeBuilder, image
from tests.support.crashes import Crash, CrashingStore
from tests.support.journals import write_journal
from tests.support.quarantined import the_run
from tests.support.registries import plan_of, registry_of, store_of


@pytest.fixture
def old(tree: TreeBuilder) -> TreeBuilder:
    tree.push("app", "v1", image(["one", "x" * 3000]))
    tree.push("app", "v1", image(["two"]))
    tree.age(30 * 86400)
    return tree


def gc(tree: TreeBuilder, *arguments: str) -> int:
    return run(["-r", str(tree.root), "gc", *arguments])


def states(tree: TreeBuilder) -> list[str]:
    return [one.state for one in runs(store_of(tree))]


class Terminal(io.StringIO):
    """Standard input of somebody who answers."""

    def isatty(self) -> bool:
        return True


# -- after a run ------------------------------------------------------------------------------


def test_after_a_run_the_space_is_still_taken_and_each_command_is_spelled_out(
    old: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gc(old, "run", "-m", "--yes") == 0
    out = capsys.readouterr().out
    (name,) = [one.run for one in runs(store_of(old))]
    assert re.search(
        r"^Still taken: +[\d.]+ kB \([\d.]+ kB on disk\), until it is purged$", out, re.M
    )
    assert f"Undo:           regfs -r {old.root} gc restore {name}\n" in out
    assert re.search(r"^ +from \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ: ", out, re.M)
    now = f"regfs -r {old.root} gc purge {name} --offline"
    assert f"Free it now:    {now}\n" in out
    assert gc(old, "purge", name) == Exit.REFUSED.value
    assert run(shlex.split(now)[1:]) == 0
    assert states(old) == ["purged"]


def test_without_a_wait_there_is_one_command_to_free_the_space(
    old: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gc(old, "run", "-m", "--offline", "--yes") == 0
    out = capsys.readouterr().out
    assert "Free it now" not in out
    (line,) = [line for line in out.splitlines() if line.startswith("Free the space:")]
    assert run(shlex.split(line.partition(": ")[2])[1:]) == 0
    assert states(old) == ["purged"]


def test_what_lies_in_quarantine_is_counted_by_its_files_everywhere(
    old: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a plan counts it: not with the folders, of which a quarantine has many."""
    assert gc(old, "run", "-m", "--offline", "--yes") == 0
    quarantine = old.root / ".regfs/runs" / the_run(old).run / "quarantine"
    files = [path for path in quarantine.rglob("*") if path.is_file()]
    blocks = human_size(sum(path.stat().st_blocks * 512 for path in files))
    for arguments, line in ((["gc", "purge", "-n"], "To delete:"), (["info"], "quarantine")):
        capsys.readouterr()
        assert run(["-r", str(old.root), *arguments]) == 0
        out = capsys.readouterr().out
        assert re.findall(rf"^{line} .*\((.+) on disk\)", out, re.MULTILINE) == [blocks]


# -- which run --------------------------------------------------------------------------------


def test_a_run_is_meant_by_its_beginning_or_as_the_latest(
    old: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    names = []
    for text in ("one", "two"):
        old.blob(text.encode())
        names.append(collect(plan_of(old), registry_of(old), wait=0).run)
    names.sort()
    assert gc(old, "restore", "latest") == 0
    assert dict(zip(names, states(old), strict=True))[names[-1]] == "restored"
    assert gc(old, "restore", names[0][:-2]) == 0
    assert states(old) == ["restored", "restored"]
    capsys.readouterr()
    assert gc(old, "restore", names[0][:4]) == Exit.USAGE.value
    err = capsys.readouterr().err
    assert all(name in err for name in names)
    assert gc(old, "restore", "1999") == Exit.NOT_FOUND.value


@pytest.mark.parametrize("text", ["latest", "2026", "", ".", "../runs"])
def test_a_run_that_there_is_not_is_unknown(tree: TreeBuilder, text: str) -> None:
    tree.push("app", "v1", image(["one"]))
    assert gc(tree, "restore", text) == Exit.NOT_FOUND.value


@pytest.mark.parametrize("columns", ["80", "120"])
def test_names_of_runs_stay_on_one_line(
    old: TreeBuilder,
    columns: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = collect(plan_of(old, delete_untagged=True), registry_of(old)).run
    monkeypatch.setenv("COLUMNS", columns)
    assert gc(old, "runs") == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.split()[:3] == [name, "gc", "applied"]
    assert re.fullmatch(r"\d\d:\d\d:\d\dZ", line.split()[-1])


# -- before a purge ---------------------------------------------------------------------------


def test_a_dry_run_deletes_nothing_and_takes_no_lock(
    old: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    collect(plan_of(old, delete_untagged=True), registry_of(old), wait=0)
    before = old.files("")
    assert gc(old, "purge", "-n") == 0
    assert re.search(r"^To delete: [\d.]+ kB \([\d.]+ kB on disk\) of 1 run$",
                     capsys.readouterr().out, re.M)  # fmt: skip
    assert old.files("") == before


def test_a_dry_run_says_what_has_to_wait(
    old: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    name = collect(plan_of(old, delete_untagged=True), registry_of(old), wait=3600).run
    assert gc(old, "purge", "-n") == 0
    *_, line, waits, nothing = capsys.readouterr().out.splitlines()
    assert line.split()[0] == name
    assert waits == "Waits: 1 run (--offline: delete it now)"
    assert nothing == "To delete: nothing"


@pytest.mark.parametrize(("answer", "state"), [("y\n", "purged"), ("n\n", "applied")])
def test_on_a_terminal_a_purge_asks(
    old: TreeBuilder,
    answer: str,
    state: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = collect(plan_of(old, delete_untagged=True), registry_of(old), wait=0).run
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    code = gc(old, "purge")
    shown = capsys.readouterr()
    assert name in shown.out
    assert "Delete this for good?" in shown.err
    assert states(old) == [state]
    assert code == (0 if state == "purged" else Exit.REFUSED.value)


def test_on_a_terminal_a_purge_of_nothing_does_not_ask(
    old: TreeBuilder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = collect(plan_of(old, delete_untagged=True), registry_of(old), wait=3600).run
    monkeypatch.setattr("sys.stdin", Terminal(""))
    assert gc(old, "purge") == 0
    assert capsys.readouterr().out == (
        f"Not deleted yet: run {name} is younger than its wait (--offline: delete now)\n"
        "Deleted: nothing\n"
    )


@pytest.mark.parametrize("options", [["--yes"], ["--json"]])
def test_who_says_yes_or_reads_json_is_not_asked(
    old: TreeBuilder, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    collect(plan_of(old, delete_untagged=True), registry_of(old), wait=0)
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert gc(old, "purge", *options) == 0
    assert states(old) == ["purged"]


def test_a_timer_without_a_terminal_is_not_asked(old: TreeBuilder) -> None:
    collect(plan_of(old, delete_untagged=True), registry_of(old), wait=0)
    assert gc(old, "purge") == 0
    assert states(old) == ["purged"]


# -- interrupted runs -------------------------------------------------------------------------


def cut_off(tree: TreeBuilder) -> str:
    """Let a collection die half way; return its run."""
    made = plan_of(tree, delete_untagged=True, min_age=0.0)
    with pytest.raises(Crash):
        apply(made, Registry(CrashingStore(store_of(tree), 12)), wait=0)
    assert states(tree) == ["interrupted"]
    return made.id


def test_a_run_that_purges_also_purges_what_an_interrupted_one_left(old: TreeBuilder) -> None:
    first = cut_off(old)
    assert gc(old, "run", "-m", "--offline", "--purge", "--yes") == 0
    found = {one.run: one.state for one in runs(store_of(old))}
    assert found[first] == "purged"
    assert set(found.values()) == {"purged"}
    assert plan_of(old, delete_untagged=True, min_age=0.0).actions == []
    assert gc(old, "plan", "-m", "--offline") == 0


def test_an_interrupted_run_is_purged_where_nothing_else_goes(
    old: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    cut_off(old)
    old.tag("app", "keeps", old.current("app", "v1"))
    assert gc(old, "run", "--offline", "--purge", "--yes") == 0
    assert states(old)[0] == "purged"
    assert "Deleted: " in capsys.readouterr().out


def test_what_an_interrupted_run_left_is_said_to_be_deleted(
    old: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the plan of this run has nothing in it."""
    collect(plan_of(old), registry_of(old), wait=0)
    made = plan_of(old, delete_untagged=True, min_age=0.0)
    with pytest.raises(Crash):
        apply(made, Registry(CrashingStore(store_of(old), 7)), wait=0)
    assert gc(old, "run", "--max-freed", "0", "--offline", "--purge", "--yes") == 0
    assert "Deleted: " in capsys.readouterr().out
    assert "purged" in states(old)


def test_what_a_living_image_needs_comes_back_from_an_interrupted_run(old: TreeBuilder) -> None:
    """What is purged is settled first: a tag that was set meanwhile brings its image back."""
    digest = old.current("app", "v1")
    (other,) = {d for d in _manifests(old) if d != digest}
    cut_off(old)
    old.tag("app", "needed", other)
    assert gc(old, "run", "-m", "--offline", "--purge", "--yes") == 0
    assert run(["-r", str(old.root), "verify", "-q"]) == 0
    assert old.tags("app") == ["needed", "v1"]


def _manifests(tree: TreeBuilder) -> set[str]:
    folder = tree.repository_path("app") / "_manifests/revisions/sha256"
    return {f"sha256:{path.name}" for path in folder.iterdir()}


@pytest.mark.parametrize("kind", ["heal", "quarantine", "relink", "rm", "untag"])
def test_what_an_interrupted_run_of_another_kind_left_stays(old: TreeBuilder, kind: str) -> None:
    path = old.relative(old.layer_path("app", f"sha256:{'ab' * 32}"))
    name = "20260101T000000Z-aaaaaa"
    place = old.root / ".regfs/runs" / name / "quarantine" / path
    place.parent.mkdir(parents=True)
    place.write_bytes(b"strange")
    os.utime(place, (1000, 1000))
    line = {"move": path, "path": path, "kind": "layer-link", "digest": None, "size": 7}
    line["mtime"] = 1000
    write_journal(old, name, {"run": name, "kind": kind, "wait": 0}, line)
    assert gc(old, "run", "-m", "--offline", "--purge", "--yes") == 0
    assert states(old) == ["interrupted", "purged"]
    assert place.exists()


def test_an_interrupted_run_that_has_not_waited_is_named_and_stays(
    old: TreeBuilder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = plan_of(old, delete_untagged=True)
    with pytest.raises(Crash):
        apply(made, Registry(CrashingStore(store_of(old), 12)), wait=10_000)
    monkeypatch.setattr("regfs.cli.gc_carry_out.time.sleep", lambda _: None)
    assert gc(old, "run", "-m", "--wait", "1s", "--purge", "--yes") == 0
    assert f"Not deleted yet: run {made.id}" in capsys.readouterr().out
    assert {one.run: one.state for one in runs(store_of(old))}[made.id] == "interrupted"


def test_before_it_purges_an_interrupted_run_it_says_so(
    old: TreeBuilder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = cut_off(old)
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert gc(old, "run", "-m", "--offline", "--purge") == Exit.REFUSED.value
    assert f"Run {name} was interrupted" in capsys.readouterr().err
    assert states(old) == ["interrupted"]
