"""Settings: which of command line, environment and files goes first, and what they may not say."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from regfs.cli.app import COMMANDS, cli, run
from regfs.cli.common import key_of, settable
from regfs.cli.settings import RAISED, SHOWN, TYPED, candidates, variable
from tests.support.builder import TreeBuilder
from tests.support.spawned import PROJECT

Said = pytest.CaptureFixture[str]
Write = Callable[..., Path]


@pytest.fixture
def whole(tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch) -> TreeBuilder:
    """A tree with two images, and an unreferenced blob of 2000 bytes, as the current folder."""
    tree.push("app", "v1")
    tree.push("app", "v2")
    tree.blob(b"x" * 2000)
    monkeypatch.chdir(tree.root)
    return tree


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write the file of the user, or with `system` that of the machine."""
    monkeypatch.delenv("REGFS_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.setattr("regfs.cli.settings.SYSTEM", str(tmp_path / "system"))

    def write(text: str, *, system: bool = False) -> Path:
        path = tmp_path / ("system" if system else "user") / "regfs/regfs.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def listed(capsys: Said, *arguments: str) -> int:
    """Return how many rows `regfs log app` prints."""
    assert run(["log", "app", "--json", *arguments]) == 0
    return len(json.loads(capsys.readouterr().out)["entries"])


def test_the_command_line_goes_first_then_the_environment_the_user_and_the_machine(
    whole: TreeBuilder, configure: Write, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    for tag in ("v3", "v4", "v5"):
        whole.push("app", tag)
    assert listed(capsys) == 5
    configure("[log]\ntop = 4\n", system=True)
    assert listed(capsys) == 4
    configure("[log]\ntop = 3\n")
    assert listed(capsys) == 3
    monkeypatch.setenv("REGFS_LOG_TOP", "2")
    assert listed(capsys) == 2
    assert listed(capsys, "-n", "1") == 1
    monkeypatch.setenv("REGFS_LOG_TOP", "")
    assert listed(capsys) == 3


def min_age(capsys: Said, *command: str) -> float:
    run([*command, "--json"])
    return float(json.loads(capsys.readouterr().out)["policy"]["min_age"])


def test_a_command_goes_before_its_group(
    whole: TreeBuilder, configure: Write, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    configure('[gc]\nmin-age = "2h"\n[gc.plan]\nmin-age = "3h"\n')
    assert min_age(capsys, "gc", "plan") == 3 * 3600
    assert min_age(capsys, "gc", "run", "-n") == 2 * 3600
    monkeypatch.setenv("REGFS_GC_MIN_AGE", "4h")
    assert min_age(capsys, "gc", "plan") == 4 * 3600
    monkeypatch.setenv("REGFS_GC_PLAN_MIN_AGE", "5h")
    assert min_age(capsys, "gc", "plan") == 5 * 3600


def test_options_of_all_commands_are_set_for_all(
    whole: TreeBuilder, configure: Write, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    configure('units = "binary"\n')
    assert run(["gc", "plan"]) == 0
    assert "1.95 KiB" in capsys.readouterr().out
    assert run(["gc", "plan", "--units", "decimal"]) == 0
    assert "2 kB" in capsys.readouterr().out
    monkeypatch.setenv("REGFS_JSON", "1")
    assert run(["ls"]) == 0
    json.loads(capsys.readouterr().out)
    # And nowhere else.
    configure('[ls]\nunits = "binary"\n')
    assert run(["ls"]) == 2
    assert "ls.units: is no option" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--json", "-r", "ROOT", "gc", "plan"],
        ["gc", "--json", "-r", "ROOT", "plan"],
        ["gc", "plan", "--json", "-r", "ROOT"],
        ["--json", "gc", "-r", "ROOT", "plan"],
        ["-r", "/nowhere", "--json", "gc", "-r", "ROOT", "plan"],
    ],
)
def test_options_of_all_commands_stand_anywhere(
    whole: TreeBuilder, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    monkeypatch.chdir("/")
    assert run([str(whole.root) if one == "ROOT" else one for one in arguments]) == 0
    assert json.loads(capsys.readouterr().out)["totals"]["blobs"] == 1


@pytest.mark.parametrize(
    "arguments", [["-r", "", "ls"], ["ls", "-r", ""], ["gc", "-r", "", "plan"], ["ls", "--root="]]
)
def test_an_empty_root_is_never_another_one(
    whole: TreeBuilder, arguments: list[str], capsys: Said
) -> None:
    assert run(arguments) == 2
    assert "is empty" in capsys.readouterr().err


def test_a_root_in_a_file_counts_where_no_tree_is_in_the_current_folder(
    whole: TreeBuilder,
    configure: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Said,
) -> None:
    other = TreeBuilder(tmp_path / "other")
    other.push("other", "v1")
    configure(f'root = "{other.root}"\n')
    assert run(["ls"]) == 0
    assert capsys.readouterr().out == "app\n"
    monkeypatch.chdir("/")
    assert run(["ls"]) == 0
    assert capsys.readouterr().out == "other\n"
    monkeypatch.setenv("REGFS_ROOT", str(whole.root))
    assert run(["ls"]) == 0
    assert capsys.readouterr().out == "app\n"


# -- nothing is deleted because of a setting that nobody sees -------------------------------------


def commands(group: click.Group = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        made = group.get_command(context, name)
        yield (*path, name)
        if isinstance(made, click.Group):
            yield from commands(made, (*path, name))


def options_of(path: tuple[str, ...]) -> list[click.Option]:
    found: click.Command = cli
    for name in path:
        assert isinstance(found, click.Group)
        found = found.get_command(click.Context(found), name) or found
    return list(settable(found, path))


HARMLESS = {
    *("no_ledger", "merge", "ndjson", "explain"),
    *("writable", "delete", "redirect"),  # serve prints the first two
}
"""Flags of commands that change a tree, which neither delete nor take a guard away."""
LOOKS = {"See", "Look inside images", "Measure", "Manual"}
"""Headings of commands that change nothing."""


def test_every_flag_is_known_to_be_harmless_or_is_not_taken_unseen() -> None:
    for path in commands():
        for option in options_of(path) if COMMANDS[path[0]] not in LOOKS else ():
            if option.is_flag and option.name not in HARMLESS:
                assert key_of(option) in TYPED | SHOWN, (path, option.name)


def test_every_rule_is_about_an_option() -> None:
    keys = {key_of(option) for path in [(), *commands()] for option in options_of(path)}
    assert keys >= TYPED | SHOWN | RAISED
    assert not TYPED & SHOWN


@pytest.mark.parametrize("key", ["yes", "purge", "delete-untagged", "offline", "wait"])
def test_what_deletes_is_taken_from_the_command_line_only(
    key: str,
    whole: TreeBuilder,
    configure: Write,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Said,
) -> None:
    before = whole.blobs()
    for scope in (("gc",), ("gc", "run")):
        monkeypatch.setenv(variable(scope, key), "1")
        assert run(["gc", "run"]) == 2
        assert f"{variable(scope, key)}: only the command line" in capsys.readouterr().err
        monkeypatch.delenv(variable(scope, key))
        file = configure(f"[{'.'.join(scope)}]\n{key} = true\n")
        assert run(["gc", "run"]) == 2
        assert f"{file}: {'.'.join(scope)}.{key}: only the" in capsys.readouterr().err
    assert whole.blobs() == before


def test_an_empty_folder_is_never_a_registry_because_of_a_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    monkeypatch.setenv("REGFS_ALLOW_EMPTY", "1")
    assert run(["-r", str(tmp_path), "verify"]) == 2
    assert "only the command line" in capsys.readouterr().err


def test_what_protects_recent_data_is_only_made_longer(
    whole: TreeBuilder, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    for key, value in (("MIN_AGE", "0"), ("MIN_AGE", "59m"), ("UPLOADS_OLDER_THAN", "6d")):
        monkeypatch.setenv(f"REGFS_GC_{key}", value)
        assert run(["gc", "plan"]) == 2
        assert "only the command line can make it shorter than" in capsys.readouterr().err
        monkeypatch.delenv(f"REGFS_GC_{key}")
    monkeypatch.setenv("REGFS_GC_MIN_AGE", "61m")
    assert run(["gc", "plan"]) == 0


def test_what_else_decides_what_is_deleted_is_printed(
    whole: TreeBuilder, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    monkeypatch.setenv("REGFS_GC_MAX_FREED", "1MB")
    assert run(["gc", "plan"]) == 0
    assert capsys.readouterr().err == "regfs: --max-freed 1MB (from REGFS_GC_MAX_FREED)\n"
    assert run(["gc", "plan", "--max-freed", "2MB"]) == 0
    assert capsys.readouterr().err == ""
    assert run(["gc", "plan", "-q"]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("REGFS_QUIET", "1")  # hides remarks, but not this
    assert run(["gc", "plan"]) == 0
    assert "--max-freed 1MB" in capsys.readouterr().err


# -- invalid settings ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('unitss = "x"', "unitss: is no option; did you mean units?"),
        ('units = "x"', "units: 'x' is not one of 'decimal', 'binary'."),
        ("gc = 5", "gc: must be a table"),
        ("quiet = 7", "quiet: must be true or false"),
        ("units = [1]", "units: must be a string or a number"),
        ("[gc]\npolicyy = 1", "gc.policyy: is no option; did you mean policy?"),
        ("[gc]\nroots-host = [1]", "gc.roots-host: must be an array of strings"),
        ("[gc]\nmin-age = true", "gc.min-age: must be a string or a number"),
        ('[gc]\nmin-age = "soon"', "gc.min-age: 'soon' is not a duration; use e.g. 90s, 30m"),
        ("[gc.plan.more]\nx = 1", "gc.plan.more: is no option"),
        ("[gc.plan]\nmin-age = {}", "gc.plan.min-age: must not be a table"),
        ("x =", "not TOML: Invalid value"),
        ("[gc]\n[gc]", "not TOML: Cannot declare"),
    ],
)
def test_an_invalid_setting_is_one_line_about_its_place(
    text: str, words: str, whole: TreeBuilder, configure: Write, capsys: Said
) -> None:
    file = configure(text)
    assert run(["gc", "plan"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith(f"regfs: {file}:")
    assert words in line


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _open_to_all(path: Path) -> None:
    path.touch()
    path.chmod(0o666)


HOSTILE: dict[str, Callable[[Path], object]] = {
    "is not a file": _pipe,
    "is not a file ": lambda path: path.mkdir(),
    "Too many levels of symbolic links": lambda path: path.symlink_to(path),
    "not text in UTF-8": lambda path: path.write_bytes(b"\xff\xfe"),
    "is larger than": lambda path: path.write_bytes(b"#" * (1 << 20) + b"\n"),
    "can be written by everybody": _open_to_all,
    "nested too deep": lambda path: path.write_text("a = " + "[" * 100_000),
}


@pytest.mark.parametrize("words", HOSTILE)
def test_a_hostile_file_is_one_line(
    words: str, whole: TreeBuilder, configure: Write, capsys: Said
) -> None:
    file = configure("")
    file.unlink()
    HOSTILE[words](file)
    assert run(["ls"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(file) in line
    assert words.strip() in line
    # But help is still printed.
    assert run(["--help"]) == 0


def test_a_named_file_replaces_both_and_must_be_there(
    whole: TreeBuilder, configure: Write, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    configure("[log]\ntop = 1\n")
    other = whole.root / "other.toml"
    monkeypatch.setenv("REGFS_CONFIG", str(other))
    assert run(["ls"]) == 2
    assert f"{other}: No such file" in capsys.readouterr().err
    other.write_text("")
    assert listed(capsys) == 2


def test_where_files_are_looked_for() -> None:
    assert candidates({"XDG_CONFIG_HOME": "/x"}) == ["/x/regfs/regfs.toml", "/etc/regfs/regfs.toml"]
    home = os.path.expanduser("~/.config/regfs/regfs.toml")
    assert candidates({"XDG_CONFIG_HOME": "relative"})[0] == home
    assert candidates({}) == [home, "/etc/regfs/regfs.toml"]
    assert candidates({"REGFS_CONFIG": "/dev/null"}) == []


def test_the_example_of_the_guide_is_valid(
    whole: TreeBuilder, configure: Write, capsys: Said
) -> None:
    guide = (PROJECT / "docs/guide.md").read_text()
    (example,) = re.findall(r"```toml\n(# /etc/regfs/regfs\.toml\n.*?)```", guide, re.DOTALL)
    configure(example)
    for command in (["ls"], ["gc", "plan"], ["gc", "purge", "-n"], ["config"]):
        assert run(command) == 0
    assert "7d" in capsys.readouterr().out


# -- regfs config ----------------------------------------------------------------------------------


def test_config_tells_where_each_value_comes_from(
    whole: TreeBuilder, configure: Write, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    file = configure('units = "binary"\n[gc]\nmin-age = "2h"\n[gc.purge]\nolder-than = "7d"\n')
    monkeypatch.setenv("REGFS_GC_PLAN_MIN_AGE", "3h")
    monkeypatch.setenv("REGFS_HEAL_CREDS", "me:secret")
    monkeypatch.setenv("REGFS_GC_PLN_MIN_AGE", "3h")
    monkeypatch.setenv("REGFS_MIN_AGE", "3h")
    monkeypatch.delenv("REGFS_CI", raising=False)
    assert run(["config", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    values = {
        (one["command"], one["option"]): (one["value"], one["source"]) for one in document["values"]
    }
    assert values == {
        ("", "root"): (str(whole.root), "the current folder"),
        ("", "units"): ("binary", str(file)),
        ("heal", "creds"): ("(hidden)", "REGFS_HEAL_CREDS"),
        ("gc plan", "min-age"): ("3h", "REGFS_GC_PLAN_MIN_AGE"),
        ("gc run", "min-age"): ("2h", str(file)),
        ("gc purge", "older-than"): ("7d", str(file)),
    }
    assert document["unused"] == ["REGFS_GC_PLN_MIN_AGE", "REGFS_MIN_AGE"]
    assert [one["found"] for one in document["files"]] == [True, False]
    assert run(["config"]) == 0
    out = capsys.readouterr().out
    assert "secret" not in out
    assert "REGFS_GC_PLN_MIN_AGE: sets no option" in out


def test_config_shows_every_option_and_which_only_the_command_line_gives(
    whole: TreeBuilder, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    monkeypatch.setenv("REGFS_ROOT", str(whole.root))
    assert run(["config", "--all", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["values"]
    sources = {(one["command"], one["option"]): one["source"] for one in rows}
    assert sources["", "root"] == "REGFS_ROOT"
    assert sources["gc run", "yes"] == "command line only"
    assert sources["serve", "listen"] == "default"
    assert run(["-r", "/x", "config", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["values"][0] == {
        "command": "", "option": "root", "value": "/x", "source": "the command line"
    }  # fmt: skip


@pytest.mark.parametrize("words", [[], ["du"], ["gc"], ["gc", "plan"]])
def test_help_of_a_command(words: list[str], capsys: Said) -> None:
    assert run([*words, "--help"]) == 0
    expected = capsys.readouterr().out
    assert run(["help", *words]) == 0
    assert capsys.readouterr().out == expected


def test_help_of_what_is_no_command(capsys: Said) -> None:
    assert run(["help", "gc", "pln"]) == 2
    assert "no such command: pln; did you mean plan?" in capsys.readouterr().err
    assert run(["help", "ls", "x"]) == 2
    assert "regfs ls has no commands" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "meant"), [("verfy", "verify"), ("fsck", "verify"), ("inspect", "show")]
)
def test_a_command_like_it_is_named(typed: str, meant: str, capsys: Said) -> None:
    assert run([typed]) == 2
    assert f"no such command: {typed}; did you mean {meant}?" in capsys.readouterr().err
