"""The frame of the command line: where the tree is, exit codes, help, and how it ends."""

from __future__ import annotations

import errno
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import regfs
from regfs import cli as frame
from regfs import errors
from regfs.cli import app
from regfs.cli.app import COMMANDS, run
from regfs.cli.bar import RichProgress
from regfs.cli.options import Duration
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command
from regfs.errors import RegfsError
from tests.support.builder import TreeBuilder

PROJECT = Path(__file__).resolve().parents[2]


def spawn(*arguments: str | bytes, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run regfs as scripts do, with no root but the one that is given."""
    environment = {key: value for key, value in os.environ.items() if key != "REGFS_ROOT"}
    environment |= {"PYTHONPATH": str(PROJECT), **options.pop("env", {})}
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.PIPE)
    return subprocess.run(
        [sys.executable, "-m", "regfs", *arguments],
        text=True,
        env=environment,
        timeout=120,
        check=False,
        **options,
    )


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


# -- where the tree is --------------------------------------------------------------------


def test_root_before_and_after_the_command(
    whole: TreeBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, other = str(whole.root), str(tmp_path)
    for arguments in (
        ["-r", root, "ls"],
        ["--root", root, "ls"],
        ["ls", "-r", root],
        ["ls", "--root", root],
        ["-r", other, "ls", "-r", root],
    ):
        assert run(arguments) == 0, arguments
        assert capsys.readouterr().out == "app\n"
    assert run(["-r", root, "gc", "plan", "--json"]) == 0
    assert run(["gc", "plan", "--json", "-r", root]) == 0
    assert run(["-r", root, "ls", "-r", other]) == Exit.NOT_FOUND.value


def test_root_from_the_environment(whole: TreeBuilder, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    env = {"REGFS_ROOT": str(whole.root)}
    assert spawn("ls", cwd=empty, env=env).stdout == "app\n"
    assert spawn("-r", str(empty), "ls", "--allow-empty", env=env).stdout == ""
    # An empty one is none.
    assert spawn("ls", cwd=whole.root, env={"REGFS_ROOT": ""}).stdout == "app\n"


@pytest.mark.parametrize(
    "below",
    [
        "",
        "docker",
        "docker/registry",
        "docker/registry/v2",
        "docker/registry/v2/repositories/app/_manifests",
    ],
)
def test_root_is_the_current_folder_inside_a_tree(whole: TreeBuilder, below: str) -> None:
    done = spawn("ls", cwd=whole.root / below)
    assert (done.returncode, done.stdout, done.stderr) == (0, "app\n", "")


def test_the_environment_wins_over_the_current_folder(whole: TreeBuilder, tmp_path: Path) -> None:
    other = TreeBuilder(tmp_path / "other")
    other.push("other", "v1")
    assert spawn("ls", cwd=whole.root, env={"REGFS_ROOT": str(other.root)}).stdout == "other\n"


def test_root_defaults_to_var_lib_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("REGFS_ROOT", raising=False)
    monkeypatch.setattr("regfs.cli.session.DEFAULT_ROOT", str(tmp_path / "registry"))
    look_alike = tmp_path / "docker/registry/v2.old"
    look_alike.mkdir(parents=True)
    monkeypatch.chdir(look_alike)
    assert run(["ls"]) == Exit.NOT_FOUND.value
    assert str(tmp_path / "registry") in capsys.readouterr().err
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert run(["ls"]) == Exit.NOT_FOUND.value
    assert str(tmp_path / "registry") in capsys.readouterr().err
    os.chdir(tmp_path)


@pytest.mark.parametrize("what", ["missing", "file", "folder"])
def test_a_folder_without_a_tree_exits_4(
    tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "place"
    if what == "file":
        place.write_text("x")
    elif what == "folder":
        (place / "something").mkdir(parents=True)
    assert run(["-r", str(place), "ls"]) == Exit.NOT_FOUND.value
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("regfs: ")
    assert str(place) in line
    assert "docker/registry/v2" in line


def test_a_root_that_is_not_utf8_is_printed_escaped() -> None:
    done = spawn("-r", b"/no\xff\x1b[31mwhere", "ls")
    assert done.returncode == Exit.NOT_FOUND.value
    assert "\x1b" not in done.stderr
    (line,) = done.stderr.splitlines()
    assert "/no" in line
    assert "x1b[31mwhere" in line


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
    errors.PlanStale: Exit.REFUSED,
    errors.ConditionFailed: Exit.REFUSED,
    errors.Doubt: Exit.REFUSED,
    errors.PathMissing: Exit.STORAGE,
    errors.PathDenied: Exit.STORAGE,
    errors.PathUnsafe: Exit.STORAGE,
    errors.StoreFull: Exit.STORAGE,
    errors.ContentMismatch: Exit.FINDINGS,
    errors.StoreError: Exit.STORAGE,
    errors.SourceLacks: Exit.STORAGE,
    errors.SourceError: Exit.STORAGE,
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
    assert (captured.out, captured.err) == ("", "regfs: some\\x1b words\\nmore\n")


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


# -- where results go -----------------------------------------------------------------------------


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


def _in_terminal(*arguments: str, **env: str) -> str:
    """Return what regfs writes to a terminal."""
    main, terminal = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    environment |= {"PYTHONPATH": str(PROJECT), "TERM": "xterm-256color", **env}
    process = subprocess.Popen(
        [sys.executable, "-m", "regfs", *arguments],
        stdin=subprocess.DEVNULL,
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


# -- schema -----------------------------------------------------------------------------------


def _documents() -> list[str]:
    found: list[str] = []
    for name in COMMANDS:
        module = __import__(f"regfs.cli.{name}", fromlist=["DOCUMENTS"])
        parts = getattr(module, "DOCUMENTS", {})
        found.extend(f"{name}-{part}" if part else name for part in parts)
    return found


def test_schemas_are_found() -> None:
    assert {"info", "ls", "du", "verify", "gc-plan", "gc-apply"} <= set(_documents())


@pytest.mark.parametrize("name", _documents())
def test_every_document_has_a_schema(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", name]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert "properties" in schema or "items" in schema or "anyOf" in schema or "$ref" in schema


def test_a_schema_is_found_by_the_sub_command_as_typed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", "gc-plan"]) == 0
    dashed = capsys.readouterr().out
    assert run(["schema", "gc plan"]) == 0
    assert capsys.readouterr().out == dashed


@pytest.mark.parametrize("name", ["nothing", "gc", "gc-nothing", "schema", "..", "app", ""])
def test_a_command_without_a_document_has_no_schema(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["schema", name]) == Exit.NOT_FOUND.value
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("regfs: ")


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
