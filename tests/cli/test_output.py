"""Where results go: full disks, closed outputs, readers that leave, terminals."""

from __future__ import annotations

import errno
import io
import json
import os
import pty
import re
import subprocess
import sys

import pytest
from rich.console import Console

from regfs.cli.bar import RichProgress
from regfs.cli.session import Exit
from tests.support.builder import TreeBuilder
from tests.support.spawned import PROJECT, spawn


@pytest.fixture
def whole(tree: TreeBuilder) -> TreeBuilder:
    """A tree with one image, `app:v1`."""
    tree.push("app", "v1")
    return tree


@pytest.mark.parametrize(
    "arguments", [["ls"], ["info"], ["ls", "--json"], ["--help"], ["schema", "ls"]]
)
def test_output_to_a_full_disk_is_a_storage_failure(
    whole: TreeBuilder, arguments: list[str]
) -> None:
    with open("/dev/full", "wb") as full:
        done = spawn("-r", str(whole.root), *arguments, stdout=full)
    assert done.returncode == Exit.STORAGE.value
    (line,) = done.stderr.splitlines()
    assert line == f"regfs: standard output: {os.strerror(errno.ENOSPC)}"


def _close_output() -> None:
    os.close(1)


@pytest.mark.parametrize("arguments", [["ls"], ["info"], ["cat", "app:v1"], ["--help"]])
def test_a_closed_output(whole: TreeBuilder, arguments: list[str]) -> None:
    done = spawn("-r", str(whole.root), *arguments, stdout=None, preexec_fn=_close_output)
    assert done.returncode == Exit.STORAGE.value
    (line,) = done.stderr.splitlines()
    assert line.startswith("regfs: standard output is closed")


def test_version_to_a_full_or_closed_output() -> None:
    assert spawn("--version", stdout=None, preexec_fn=_close_output).returncode == 5
    with open("/dev/full", "wb") as full:
        done = spawn("--version", stdout=full)
    assert (done.returncode, done.stderr) == (5, "")


@pytest.mark.parametrize(
    "arguments", [["--version"], ["--help"], ["ls"], ["info"], ["cat", "app:v1"]]
)
def test_a_reader_that_has_left_is_not_an_error(whole: TreeBuilder, arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    root = [] if arguments == ["--version"] else ["-r", str(whole.root)]
    done = spawn(*root, *arguments, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_errors_need_no_standard_error(whole: TreeBuilder) -> None:
    done = spawn(
        "-r", str(whole.root), "ls", "nothing", stderr=None, preexec_fn=lambda: os.close(2)
    )
    assert done.returncode == Exit.NOT_FOUND.value


def _in_terminal(*arguments: str, keys: bool = False, **env: str) -> str:
    """Return what regfs writes to a terminal; with `keys` it also reads from there."""
    main, terminal = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    environment |= {"PYTHONPATH": str(PROJECT), "TERM": "xterm-256color", **env}
    process = subprocess.Popen(
        [sys.executable, "-m", "regfs", *arguments],
        stdin=terminal if keys else subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
        env=environment,
    )
    os.close(terminal)
    written = b""
    while True:
        try:
            piece = os.read(main, 65536)
        except OSError:  # the terminal has hung up
            break
        if not piece:
            break
        written += piece
    os.close(main)
    assert process.wait(timeout=60) in (0, 1)
    return written.decode()


COLOUR = re.compile(r"\x1b\[[\d;]*\b(?:3[0-7]|9[0-7]|38)\b[\d;]*m")


def test_colours_on_a_terminal_unless_switched_off(whole: TreeBuilder) -> None:
    whole.break_("manifest-flipped", "app", "v1")
    arguments = ("-r", str(whole.root), "gc", "plan")
    assert COLOUR.search(_in_terminal(*arguments))
    assert not COLOUR.search(_in_terminal(*arguments, NO_COLOR="1"))
    assert "\x1b" not in _in_terminal(*arguments, "-q", TERM="dumb")
    assert "\x1b" not in spawn(*arguments).stdout


def test_progress_only_on_a_terminal_and_not_with_quiet(whole: TreeBuilder) -> None:
    for number in range(20):
        whole.push("app", f"v{number}")
    arguments = ("-r", str(whole.root), "info", "--json")
    assert spawn(*arguments).stderr == ""
    hides = "\x1b[?25l"  # the cursor, while a bar is drawn
    assert hides in _in_terminal(*arguments)
    quiet = _in_terminal(*arguments, "-q")
    assert hides not in quiet
    json.loads(quiet)


def test_the_progress_bar_is_erased() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80)
    with RichProgress(console) as progress:
        progress.advance(5)  # before anything has begun
        progress.start("Listing", 10)
        progress.advance(5)
        progress.start("Hashing", 10**9, "bytes")
        progress.advance(10**6)
        progress.finish()
        progress.finish()
    assert file.getvalue().rstrip().endswith("\x1b[2K")
    assert "Hashing" in file.getvalue()


# -- colours, units and the pager, as asked for -------------------------------------


def test_colours_when_asked_for_and_none_when_not(whole: TreeBuilder) -> None:
    whole.break_("manifest-flipped", "app", "v1")
    arguments = ("-r", str(whole.root), "gc", "plan")
    red = "\x1b[1;31m"
    assert red in spawn(*arguments, "--color").stdout
    assert red in spawn("--color", *arguments, env={"NO_COLOR": "1"}).stdout
    assert red in spawn(*arguments, env={"REGFS_COLOR": "1"}).stdout
    assert "\x1b" not in _in_terminal(*arguments, "--no-color", "-q")


def test_units(whole: TreeBuilder) -> None:
    whole.blob(b"x" * 2048)
    arguments = ("-r", str(whole.root), "gc", "plan")
    assert "2.05 kB" in spawn(*arguments).stdout
    assert "2 KiB" in spawn(*arguments, "--units", "binary").stdout


@pytest.fixture
def long(whole: TreeBuilder) -> TreeBuilder:
    """A tree whose list of repositories is longer than a terminal."""
    for number in range(40):
        whole.push(f"app{number:02}", "v1")
    return whole


PAGER = "sed s/^/paged:/"


def test_a_long_answer_on_a_terminal_goes_through_the_pager(long: TreeBuilder) -> None:
    arguments = ("-r", str(long.root), "ls")
    shown = _in_terminal(*arguments, "--pager", PAGER, keys=True)
    assert shown.count("paged:app") == 41
    assert _in_terminal(*arguments, REGFS_PAGER=PAGER, keys=True).count("paged:app") == 41
    assert _in_terminal(*arguments, PAGER=PAGER, keys=True).count("paged:app") == 41
    assert "paged" not in _in_terminal(*arguments, PAGER=PAGER, REGFS_PAGER="cat", keys=True)


@pytest.mark.parametrize(
    "arguments", [["ls", "--no-pager"], ["ls", "--json"], ["ls", "app00"], ["gc", "runs"]]
)
def test_nothing_else_goes_through_the_pager(long: TreeBuilder, arguments: list[str]) -> None:
    root = ("-r", str(long.root))
    assert "paged" not in _in_terminal(*root, *arguments, REGFS_PAGER=PAGER, keys=True)
    assert "paged" not in spawn(*root, "ls", env={"REGFS_PAGER": PAGER}).stdout
    assert "paged" not in _in_terminal(*root, "ls", REGFS_PAGER=PAGER, TERM="dumb", keys=True)
    assert "paged" not in _in_terminal(*root, "ls", REGFS_PAGER=PAGER)  # no keys to press


def test_a_pager_that_cannot_be_run_hides_nothing(long: TreeBuilder) -> None:
    shown = _in_terminal("-r", str(long.root), "ls", REGFS_PAGER="/no/such", keys=True)
    assert "app39" in shown
    assert "the pager /no/such cannot be run" in shown
