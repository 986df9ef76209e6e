"""The explorer on a real terminal: what it leaves behind, and what it says where there is none."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import pytest

from tests.support.builder import TreeBuilder
from tests.support.spawned import spawn
from tests.support.terminal import Terminal

ENTERED, LEFT = b"\x1b[?1049h", b"\x1b[?1049l"


def check_sane(terminal: Terminal) -> bytes:
    """Check that the terminal is as it was; return what was printed after the explorer."""
    assert terminal.settings == terminal.before
    assert ENTERED in terminal.output
    screen, _, after = terminal.output.rpartition(LEFT)
    assert screen
    for mode in (1000, 1003, 1006, 2004):  # mouse and paste
        if b"\x1b[?%dh" % mode in screen:
            assert terminal.output.rindex(b"\x1b[?%dl" % mode) > screen.rindex(b"\x1b[?%dh" % mode)
    assert b"Traceback" not in terminal.output
    return re.sub(rb"\x1b\[[?<>=0-9;]*[a-zA-Z]|\x1b[>=]", b"", after)


def test_marks_are_printed_on_the_terminal_that_was(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    with Terminal("-r", str(tree.root), "browse") as terminal:
        terminal.wait_for("1 repository, 1 tag")
        terminal.type("\r")
        terminal.wait_for("> app")
        terminal.type("d")
        terminal.wait_for("1 marked")
        terminal.type("q")
        assert terminal.ended() == 0
        lines = check_sane(terminal).decode().split()
        assert lines[0] == "app:v1"
        assert lines[-5:] == ["-r", str(tree.root), "rm", "-n", "app:v1"]


def test_a_pipe_gets_what_is_marked_and_the_terminal_the_whole_screen(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    with Terminal("-r", str(tree.root), "browse", size=(100, 30), piped=True) as terminal:
        terminal.wait_for("1 repository, 1 tag")
        drawn = len(terminal.output)
        terminal.type("d")
        terminal.wait_for("1 marked")
        changed = re.findall(rb"\x1b\[(\d+);\d+H", terminal.output[drawn:])
        assert b"29" in changed  # the status, above the keys
        terminal.type("q")
        assert terminal.ended() == 0
        check_sane(terminal)
        assert terminal.process.stdout is not None
        assert terminal.process.stdout.read() == b"app\n"
        terminal.process.stdout.close()


@pytest.mark.parametrize("how", ["ctrl-c", "SIGTERM", "SIGHUP"])
def test_who_interrupts_it_finds_the_terminal_as_it_was(tree: TreeBuilder, how: str) -> None:
    tree.push("app", "v1")
    with Terminal("-r", str(tree.root), "browse") as terminal:
        terminal.wait_for("app")
        if how == "ctrl-c":
            terminal.type("\x03")
        else:
            terminal.process.send_signal(signal.Signals[how])
        assert terminal.ended() == 130
        assert b"regfs: interrupted" in check_sane(terminal)


@pytest.mark.parametrize("no_color", [True, False])
def test_colours_are_left_out_on_demand(tree: TreeBuilder, no_color: bool) -> None:
    tree.push("app", "v1")
    with Terminal(
        "-r", str(tree.root), "browse", env={"NO_COLOR": "1"} if no_color else {}
    ) as term:
        term.wait_for("1 repository, 1 tag")
        term.type("q")
        assert term.ended() == 0
        codes = [
            one
            for found in re.findall(rb"\x1b\[([0-9;]+)m", term.output)
            for one in found.split(b";")
        ]
        colours = {code for code in codes if re.fullmatch(rb"3[0-8]|4[0-8]|9[0-7]|10[0-7]", code)}
        assert bool(colours) is not no_color


def test_without_a_terminal_it_says_so(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    done = spawn("-r", str(tree.root), "browse")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "browse needs a terminal" in done.stderr.splitlines()[-1]


def test_where_there_is_no_tree_the_screen_is_not_touched(tmp_path: Path) -> None:
    with Terminal("-r", str(tmp_path), "browse") as terminal:
        assert terminal.ended() == 4
        assert ENTERED not in terminal.output


def test_without_textual_it_says_what_to_install(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from regfs.cli.app import run

    monkeypatch.setitem(sys.modules, "textual", None)
    monkeypatch.setenv("TERM", "xterm")
    for stream in (sys.stdin, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    assert run(["-r", str(tree.root), "browse"]) == 3
    said = capsys.readouterr().err
    assert said == "regfs: textual is missing: pip install 'regfs[browse]'\n"
