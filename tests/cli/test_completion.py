"""Completion: what is offered for each word, and what real shells make of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from regfs.cli.app import run
from regfs.cli.completion import SHELLS
from tests.support.builder import TreeBuilder, image
from tests.support.shells import Shell, installed

Complete = Callable[..., list[str]]
Said = pytest.CaptureFixture[str]
BREAKS = " \t\n\"'><=;|&(:@"


@pytest.fixture
def whole(tree: TreeBuilder) -> TreeBuilder:
    """A tree with a few repositories."""
    for name in ("app", "team/api", "team/app", "team/app/more", "zoo"):
        for tag in ("v2", "v10"):
            tree.push(name, tag, image([f"{name} {tag}"]))
    return tree


@pytest.fixture
def complete(whole: TreeBuilder, monkeypatch: pytest.MonkeyPatch, capsys: Said) -> Complete:
    """Return what bash is offered for a line."""

    def completed(line: str, *, breaks: str = " ", root: Path | None = None) -> list[str]:
        monkeypatch.setenv("REGFS_ROOT", str(root or whole.root))
        monkeypatch.setenv("_REGFS_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_LINE", line)
        monkeypatch.setenv("COMP_BREAKS", breaks)
        assert run([]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return [text.partition(",")[2] for text in out.split()]

    return completed


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("regfs s", ["show", "sbom", "serve", "schema"]),
        ("regfs gc re", ["restore"]),
        ("regfs --jso", ["--json"]),
        ("regfs gc plan --delete-u", ["--delete-untagged"]),
        ("regfs du --by me", ["media-type"]),
        ("regfs help gc pu", ["purge"]),
        ("regfs completion f", ["fish"]),
        ("regfs ls ", ["app", "team/", "zoo"]),
        ("regfs show te", ["team/"]),
        ("regfs show team/", ["team/api", "team/app", "team/app/"]),
        ("regfs show team/app/", ["team/app/more", "team/app/more:v2", "team/app/more:v10"]),
        ("regfs show z", ["zoo", "zoo:v2", "zoo:v10"]),
        ("regfs why app:", ["app:v2", "app:v10"]),
        ("regfs du zoo app:v1", ["app:v10"]),
        ("regfs ls nothing", []),
        ("regfs ls nothing:", []),
        ("regfs gc restore ", []),
    ],
)
def test_what_is_offered(complete: Complete, line: str, offered: list[str]) -> None:
    assert complete(line) == offered


def test_digests(complete: Complete, whole: TreeBuilder) -> None:
    digest = whole.current("app", "v2")
    plain = digest.removeprefix("sha256:")
    assert complete(f"regfs why {plain[:12]}") == [plain]
    assert complete(f"regfs cat {digest[:19]}") == [digest]
    assert complete(f"regfs show app@{digest[:19]}") == [f"app@{digest}"]


def test_runs(complete: Complete, whole: TreeBuilder, capsys: Said) -> None:
    whole.blob(b"unreferenced")
    assert run(["-r", str(whole.root), "gc", "run", "--yes"]) == 0
    capsys.readouterr()
    latest, run_id = complete("regfs gc restore ")
    assert latest == "latest"
    assert (whole.root / ".regfs/runs" / run_id).is_dir()
    assert complete(f"regfs gc purge {run_id[:6]}") == [run_id]


def test_the_root_of_the_line_is_looked_into(
    complete: Complete, whole: TreeBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for line in ("regfs -r {} ls z", "regfs ls -r {} z", "regfs --root={} ls z"):
        found = complete(line.format(whole.root), root=tmp_path)
        assert found == ["zoo", "zoo:v2", "zoo:v10"]
    assert complete("regfs ls z", root=tmp_path) == []
    monkeypatch.setenv("HOME", str(whole.root.parent))
    assert complete(f"regfs -r ~/{whole.root.name} ls z", root=tmp_path)[0] == "zoo"


def test_a_broken_configuration_breaks_no_line(
    complete: Complete, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "regfs.toml"
    file.write_text("x =")
    monkeypatch.setenv("REGFS_CONFIG", str(file))
    assert complete("regfs ls z") == []
    assert complete("regfs sh") == ["show"]


def test_names_that_a_shell_could_act_on_are_not_offered(
    complete: Complete, whole: TreeBuilder
) -> None:
    whole.push("zoo", "$(reboot)")
    whole.push("z;reboot", "v1")
    whole.push("z\nz", "v1")
    assert complete("regfs ls z") == ["zoo", "zoo:v2", "zoo:v10"]


def test_bash_is_offered_the_rest_of_a_word_that_it_has_cut(complete: Complete) -> None:
    assert complete("regfs ls app:", breaks=BREAKS) == ["v2", "v10"]
    assert complete("regfs ls app:v1", breaks=BREAKS) == ["v10"]
    assert complete("regfs ls app", breaks=BREAKS) == ["app", "app:v2", "app:v10"]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_printed(shell: str, capsys: Said) -> None:
    assert run(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert f"{shell}_complete" in out
    assert "%" not in out.replace("%%,*", "")


@pytest.mark.reference
@pytest.mark.parametrize("shell", SHELLS)
def test_a_real_shell(shell: str, whole: TreeBuilder, tmp_path: Path) -> None:
    if not installed(shell):
        pytest.skip(f"{shell} is not installed")
    with Shell(shell, whole.root, tmp_path) as typed:
        assert typed.complete("regfs inf") == ["info"]
        assert typed.complete("regfs gc plan --delete-unt") == ["gc", "plan", "--delete-untagged"]
        assert typed.complete("regfs show app:v1") == ["show", "app:v10"]
        assert typed.complete("regfs show zoo:v1") == ["show", "zoo:v10"]
        assert typed.complete("regfs du team/ap")[-1].startswith("team/ap")
        typed.offers("regfs show app:v", "v2", "v10")
