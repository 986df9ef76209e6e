"""The frame of the command line: exit codes, help, durations, and how it ends."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

import regfs
from regfs import cli as frame
from regfs import errors
from regfs.cli import app
from regfs.cli.app import COMMANDS, run
from regfs.cli.options import Duration
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command
from regfs.errors import RegfsError
from tests.support.builder import TreeBuilder
from tests.support.spawned import PROJECT, spawn


@pytest.fixture
def whole(tree: TreeBuilder) -> TreeBuilder:
    """A tree with one image, `app:v1`."""
    tree.push("app", "v1")
    return tree


# -- help and version ------------------------------------------------------------------


def test_the_version() -> None:
    done = spawn("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"regfs {regfs.__version__}\n"


def test_the_version_with_other_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-r", "/nowhere", "--version"]) == 0
    assert capsys.readouterr().out == f"regfs {regfs.__version__}\n"


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_every_command_and_every_exit_code(
    flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([flag]) == 0
    text = capsys.readouterr().out
    for name in COMMANDS:
        assert re.search(rf"^  {name}\s+\S", text, re.MULTILINE), name
    for heading in COMMANDS.values():
        assert f"\n{heading}:\n" in text
    flat = " ".join(text.split())
    for code in Exit:
        assert f"{code.value} {code.meaning}" in flat


def test_no_command_prints_help_and_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == Exit.USAGE.value
    captured = capsys.readouterr()
    assert "Usage: regfs" in captured.out + captured.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["_gc"],
        ["../app"],
        ["ls", "--no-such-option"],
        ["cat"],
        ["gc"],
        ["gc", "no-such-command"],
        ["-r"],
        ["gc", "plan", "--min-age", "soon"],
    ],
)
def test_misuse_exits_2_with_usage(
    whole: TreeBuilder, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    root = [] if arguments == ["-r"] else ["-r", str(whole.root)]
    assert run([*root, *arguments]) == Exit.USAGE.value
    captured = capsys.readouterr()
    assert "Usage: regfs" in captured.err + captured.out or "Error: Option" in captured.err
    assert "Traceback" not in captured.err


def test_a_command_is_imported_only_when_it_is_used() -> None:
    code = (
        "import sys\nfrom regfs.cli.app import run\nassert run(['schema', '--help']) == 0\n"
        "sys.stderr.write('\\n'.join(m for m in sys.modules if m.startswith('regfs.cli.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT
    )
    loaded = {name.removeprefix("regfs.cli.") for name in done.stderr.splitlines()}
    assert "schema" in loaded
    assert loaded & (set(COMMANDS) - {"schema"}) == set()


# -- how it ends ------------------------------------------------------------------------------


Failing = Callable[[BaseException], int]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Failing:
    """Run a command that raises."""

    def runs(error: BaseException) -> int:
        @regfs_command(name="fail", examples=["regfs fail"])
        def command(session: Session) -> Exit:
            """Fail."""
            raise error

        module = types.ModuleType("regfs.cli.fail")
        module.command = command  # type: ignore[attr-defined]  # it is made here
        monkeypatch.setitem(sys.modules, "regfs.cli.fail", module)
        monkeypatch.setitem(app.COMMANDS, "fail", "See")
        return run(["fail"])

    return runs


CODES: dict[type[RegfsError], Exit] = {
    errors.NotARegistry: Exit.NOT_FOUND,
    errors.DigestInvalid: Exit.USAGE,
    errors.AlgorithmUnsupported: Exit.USAGE,
    errors.NameInvalid: Exit.USAGE,
    errors.TagInvalid: Exit.USAGE,
    errors.ReferenceInvalid: Exit.USAGE,
    errors.ReferenceAmbiguous: Exit.USAGE,
    errors.LayoutInvalid: Exit.USAGE,
    errors.ManifestInvalid: Exit.FINDINGS,
    errors.ManifestTooLarge: Exit.FINDINGS,
    errors.DescriptorInvalid: Exit.FINDINGS,
    errors.AttestationInvalid: Exit.FINDINGS,
    errors.AttestationUnknown: Exit.NOT_FOUND,
    errors.TooManyEntries: Exit.STORAGE,
    errors.SourceError: Exit.STORAGE,
    errors.SourceLacks: Exit.STORAGE,
    errors.LayerInvalid: Exit.FINDINGS,
    errors.DocumentInvalid: Exit.USAGE,
    errors.NameUnknown: Exit.NOT_FOUND,
    errors.ManifestUnknown: Exit.NOT_FOUND,
    errors.BlobUnknown: Exit.NOT_FOUND,
    errors.RunUnknown: Exit.NOT_FOUND,
    errors.ReferentsUnknown: Exit.NOT_FOUND,
    errors.UploadUnknown: Exit.NOT_FOUND,
    errors.UploadInvalid: Exit.USAGE,
    errors.OutOfOrder: Exit.USAGE,
    errors.SizeInvalid: Exit.USAGE,
    errors.BlobTooLarge: Exit.USAGE,
    errors.LockHeld: Exit.REFUSED,
    errors.LockLost: Exit.REFUSED,
    errors.PlanStale: Exit.REFUSED,
    errors.ConditionFailed: Exit.REFUSED,
    errors.Doubt: Exit.REFUSED,
    errors.PathChanged: Exit.STORAGE,
    errors.PathTooLong: Exit.STORAGE,
    errors.RightMissing: Exit.STORAGE,
    errors.PathMissing: Exit.STORAGE,
    errors.PathDenied: Exit.STORAGE,
    errors.PathUnsafe: Exit.STORAGE,
    errors.StoreFull: Exit.STORAGE,
    errors.ContentMismatch: Exit.FINDINGS,
    errors.StoreError: Exit.STORAGE,
    errors.SourceLacks: Exit.STORAGE,
    errors.SourceError: Exit.STORAGE,
    errors.PlatformUnknown: Exit.NOT_FOUND,
    errors.Refused: Exit.REFUSED,
    errors.Unknown: Exit.NOT_FOUND,
    errors.Invalid: Exit.USAGE,
    errors.RegfsError: Exit.STORAGE,
}


def _all_errors(error: type[RegfsError] = RegfsError) -> set[type[RegfsError]]:
    return {error}.union(*map(_all_errors, error.__subclasses__()))


def test_every_error_class_has_an_exit_code() -> None:
    assert {e for e in _all_errors() if e.__module__ == "regfs.errors"} == set(CODES)


@pytest.mark.parametrize(("error", "code"), CODES.items())
def test_an_error_is_one_line_and_an_exit_code(
    failing: Failing, error: type[RegfsError], code: Exit, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failing(error("some\x1b words\nmore")) == code.value
    captured = capsys.readouterr()
    advice = "; run as the owner of the tree, or as root" if error is errors.PathDenied else ""
    assert (captured.out, captured.err) == ("", f"regfs: some\\x1b words\\nmore{advice}\n")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_exits_130(
    failing: Failing, error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failing(error) == Exit.INTERRUPTED.value
    assert capsys.readouterr().err.strip() == "regfs: interrupted"


@pytest.mark.parametrize("error", [ValueError("five"), RecursionError("deep"), MemoryError()])
def test_a_bug_prints_one_line_without_a_traceback(
    failing: Failing,
    error: Exception,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("REGFS_TRACEBACK", raising=False)
    assert failing(error) == Exit.STORAGE.value
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"regfs: internal error: {type(error).__name__}: ")
    assert "REGFS_TRACEBACK" in line


def test_a_bug_prints_a_traceback_on_demand(
    failing: Failing, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGFS_TRACEBACK", "1")
    assert failing(ValueError("five")) == Exit.STORAGE.value
    assert "raise error" in capsys.readouterr().err


def test_an_os_error_is_printed_in_the_words_of_the_system(
    failing: Failing, capsys: pytest.CaptureFixture[str]
) -> None:
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert failing(error) == Exit.STORAGE.value
    assert capsys.readouterr().err == f"regfs: standard output: {os.strerror(errno.ENOSPC)}\n"
    named = PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/some/where")
    assert failing(named) == Exit.STORAGE.value
    assert "/some/where: " in capsys.readouterr().err


def test_ctrl_c_while_waiting(whole: TreeBuilder) -> None:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "regfs", "-r", str(whole.root), "gc", "apply", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    # It waits for the plan once it has read from standard input; a byte there makes sure.
    assert process.stdin is not None
    process.stdin.write("{")
    process.stdin.flush()
    while _unread(process.stdin.fileno()):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == Exit.INTERRUPTED.value
    assert out == ""
    assert err.strip() == "regfs: interrupted"


def _unread(pipe: int) -> int:
    """Return how many bytes wait in a pipe."""
    import array
    import fcntl
    import termios

    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]


def test_ctrl_c_during_the_import_exits_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "run", interrupted)
    monkeypatch.setattr(sys, "argv", ["regfs", "ls"])
    with pytest.raises(SystemExit) as caught:
        frame.main()
    assert caught.value.code == Exit.INTERRUPTED.value


# -- durations -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("90s", 90),
        ("30m", 1800),
        ("30min", 1800),
        ("1h", 3600),
        ("7d", 604800),
        ("2w", 1209600),
        ("1y", 31536000),
        ("1d12h", 129600),
        ("1.5h", 5400),
        (" 1H ", 3600),
        (5, 5.0),
    ],
)
def test_durations(text: Any, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "h", "-1h", "1 h", "1h30", "1hh", "1x", "1e9s", "nan", "\u0663h"]
)
def test_an_invalid_duration_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="duration"):
        Duration().convert(text, None, None)


@given(st.lists(st.tuples(st.integers(0, 999), st.sampled_from("smhdwy")), min_size=1, max_size=4))
def test_a_duration_is_the_sum_of_its_parts(parts: list[tuple[int, str]]) -> None:
    convert = Duration().convert
    text = "".join(f"{number}{unit}" for number, unit in parts)
    alone = sum(convert(f"{number}{unit}", None, None) for number, unit in parts)
    assert convert(text, None, None) == alone
