"""Reports of verify as files: replaced whole, into pipes, on standard output."""

from __future__ import annotations

import os
import stat
import threading
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from regfs.cli.app import run
from tests.support.builder import TreeBuilder
from tests.support.results import LAST, parsed, states
from tests.support.verification import stocked

Said = pytest.CaptureFixture[str]


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    return stocked(tree)


def verified(tree: TreeBuilder, *arguments: str) -> int:
    return run(["-r", str(tree.root), "verify", *arguments])


def test_a_report_replaces_what_was_there_and_leaves_nothing_beside_it(
    shop: TreeBuilder, tmp_path: Path
) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    kept = folder / "kept.prom"
    kept.write_text("old")
    kept.chmod(0o640)
    (folder / "regfs.prom").symlink_to("kept.prom")
    with kept.open() as opened:  # who has it open reads the old one to its end
        assert verified(shop, "-q", "--metrics", str(folder / "regfs.prom")) == 0
        assert opened.read() == "old"
    assert kept.read_text().startswith("# HELP regfs_verify")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o640
    assert sorted(path.name for path in folder.iterdir()) == ["kept.prom", "regfs.prom"]


def test_new_reports_can_be_read_by_others(shop: TreeBuilder, tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        assert verified(shop, "-q", "--metrics", str(tmp_path / "m.prom")) == 0
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "m.prom").stat().st_mode) == 0o644


def test_a_report_can_go_into_a_pipe(shop: TreeBuilder, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    assert verified(shop, "-q", "--junit", str(pipe)) == 0
    reader.join()
    assert parsed(read[0]).attrib["tests"] == "3"
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("option", ["--junit", "--metrics"])
def test_a_report_on_standard_output_is_alone_there(
    shop: TreeBuilder, capsys: Said, option: str
) -> None:
    shop.break_("blob-flipped", "app", "v1")
    assert verified(shop, "-v", option, "-") == 1
    said = capsys.readouterr()
    assert said.out.startswith({"--junit": "<?xml", "--metrics": "# HELP"}[option])
    assert "affects app:v1" in said.err
    assert "1 image is damaged" in said.err
    if option == "--junit":
        parsed(said.out)
    else:
        assert list(text_string_to_metric_families(said.out))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--junit", "-", "--metrics", "-"],
        ["--junit", "-", "--json"],
        ["--metrics", "-", "--ndjson"],
    ],
)
def test_two_documents_do_not_fit_on_standard_output(
    shop: TreeBuilder, capsys: Said, arguments: list[str]
) -> None:
    assert verified(shop, *arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "only one document" in said.err


def test_a_report_that_cannot_be_written_is_told_after_all_the_rest(
    shop: TreeBuilder, tmp_path: Path, capsys: Said
) -> None:
    shop.break_("blob-flipped", "app", "v1")
    absent, written = tmp_path / "absent/verify.xml", tmp_path / "regfs.prom"
    assert verified(shop, "--junit", str(absent), "--metrics", str(written)) == 5
    said = capsys.readouterr()
    assert "1 image is damaged" in said.out
    assert said.err == f"regfs: {absent}: No such file or directory\n"
    assert written.exists()


def test_no_report_is_written_into_a_tree(shop: TreeBuilder, capsys: Said) -> None:
    inside = shop.v2 / "blobs/verify.xml"
    assert verified(shop, "--junit", str(inside)) == 2
    assert "inside a registry tree" in capsys.readouterr().err
    assert not inside.exists()


def test_what_was_found_before_a_key_is_in_every_report(
    shop: TreeBuilder, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.break_("tag-current-newline", "app", "whole")

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("regfs.verify.levels.hash_all", interrupt)
    reports = tmp_path / "verify.xml", tmp_path / "regfs.prom"
    assert verified(shop, "--junit", str(reports[0]), "--metrics", str(reports[1])) == 130
    assert "1 image is damaged so far" in capsys.readouterr().out
    assert Counter(states(parsed(reports[0].read_text())).values()) == {
        "failure": 1,
        "skipped": 2,
        "error": 1,
    }
    text = reports[1].read_text()
    assert 'code="link-invalid"' in text
    assert LAST not in text
