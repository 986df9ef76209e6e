"""Man pages: made of the help, current, and readable by man."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from regfs.cli.app import cli, run
from regfs.cli.common import Group
from regfs.cli.manual import page, pages

SHIPPED = Path(__file__).parents[2] / "man"
Said = pytest.CaptureFixture[str]


def names(group: Group, name: str = "regfs") -> Iterator[str]:
    yield f"{name}.1"
    context = click.Context(group)
    for word in group.list_commands(context):
        found = group.get_command(context, word)
        if isinstance(found, Group):
            yield from names(found, f"{name}-{word}")
        else:
            yield f"{name}-{word}.1"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    assert run(["man", "--output", str(tmp_path / "man1")]) == 0
    return tmp_path / "man1"


def test_every_command_has_a_page(written: Path) -> None:
    assert isinstance(cli, Group)
    assert {path.name for path in written.iterdir()} == set(names(cli))


def test_the_shipped_pages_are_current(written: Path) -> None:
    said = {path.name: path.read_text() for path in written.iterdir()}
    shipped = {path.name: path.read_text() for path in SHIPPED.iterdir()}
    stale = sorted(
        name for name in said.keys() | shipped.keys() if said.get(name) != shipped.get(name)
    )
    assert not stale, "renew them: regfs man --output man"


def test_a_page_has_what_the_help_has(capsys: Said) -> None:
    assert run(["man", "gc", "plan"]) == 0
    text = capsys.readouterr().out.replace("\\-", "-").replace("\\&", "")
    assert text.startswith('.TH "REGFS-GC-PLAN" "1"')
    assert run(["gc", "plan", "--help"]) == 0
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert all(option in text for option in options)
    for section in ("SYNOPSIS", "EXAMPLES", "EXIT STATUS", "SEE ALSO"):
        assert f".SH {section}\n" in text
    assert "  regfs gc plan" in text


def test_nothing_in_a_text_is_an_order_to_roff() -> None:
    @click.command(help=".hidden\n\n'quoted -x \\fBbold")
    def made() -> None: ...

    text = page(click.Context(made, info_name="made"))
    assert "\n\\&.hidden\n" in text
    assert "\n\\&'quoted \\-x \\efBbold\n" in text


def test_a_page_of_nothing(capsys: Said) -> None:
    assert run(["man", "nothing"]) == 2
    assert run(["man", "-o", "x", "ls"]) == 2
    capsys.readouterr()
    assert run(["man", "-o", "/dev/null/x"]) == 5
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("regfs: /dev/null/x: ")


@pytest.mark.reference
def test_man_reads_every_page_without_a_warning(written: Path) -> None:
    if shutil.which("man") is None:
        pytest.skip("man is not installed")
    files = [str(path) for path in sorted(written.iterdir())]
    checked = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", *files], capture_output=True, text=True, check=True
    )
    assert checked.stderr == ""
    shown = subprocess.run(
        ["man", "-P", "cat", f"{written}/regfs-gc-plan.1"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "regfs-gc-plan - Print" in shown
    assert "--delete-untagged" in shown


def test_pages_are_the_same_each_time() -> None:
    assert dict(pages(click.Context(cli))) == dict(pages(click.Context(cli)))
