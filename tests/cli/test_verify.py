"""`regfs verify` as people and scripts use it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from regfs.cli.app import run
from regfs.cli.schema import schema_of
from regfs.cli.verify import LEVELS
from regfs.verify import Level
from regfs.verify.report import VerifyDocument
from tests.make_fixtures import TREES
from tests.support.builder import Blob, TreeBuilder, image, index, layer

BASE = layer({"base": b"base"})

Said = pytest.CaptureFixture[str]


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    tree.push("app", "v1", image(["only in v1", BASE]))
    tree.push("app", "whole", image([BASE]))
    return tree


def verify(tree: TreeBuilder, *arguments: str) -> int:
    return run(["-r", str(tree.root), "verify", *arguments])


def as_json(tree: TreeBuilder, capsys: Said, *arguments: str) -> dict[str, Any]:
    verify(tree, "--json", *arguments)
    return dict(json.loads(capsys.readouterr().out))


def test_verify_of_an_intact_tree_finds_no_problems(shop: TreeBuilder, capsys: Said) -> None:
    assert verify(shop) == 0
    said = capsys.readouterr()
    assert "no problems found" in said.out
    assert "6 blobs" in said.out
    assert said.err == ""


def test_an_error_is_printed_with_remedy_and_images_and_exits_1(
    shop: TreeBuilder, capsys: Said
) -> None:
    damaged = shop.break_("blob-flipped", "app", "v1")
    assert verify(shop) == 1
    out = capsys.readouterr().out
    assert f"blob-corrupt  {damaged}" in out
    assert "push the image again" in out
    assert "affects app:v1\n" in out
    assert "Images affected" in out
    assert "app:whole" not in out


def test_warnings_alone_exit_0(shop: TreeBuilder, capsys: Said) -> None:
    shop.break_("foreign-file", "app", "v1")
    assert verify(shop) == 0
    assert "foreign-path" in capsys.readouterr().out


def test_leftovers_are_counted_and_listed_on_demand(shop: TreeBuilder, capsys: Said) -> None:
    orphan = shop.relative(shop.blob_path(shop.blob(b"orphan")))
    assert verify(shop) == 0
    said = capsys.readouterr()
    assert "blob-unreferenced" in said.out
    assert orphan not in said.out
    assert "-v lists them" in said.err
    assert verify(shop, "-v") == 0
    assert orphan in capsys.readouterr().out


def test_a_long_list_of_images_is_cut(tree: TreeBuilder, capsys: Said) -> None:
    pushed = tree.push("app", "t00", image([BASE]))
    for number in range(1, 30):
        tree.tag("app", f"t{number:02}", pushed)
    tree.break_("blob-flipped", "app", "t00")
    assert verify(tree) == 1
    said = capsys.readouterr()
    assert "app:t09 and 20 more" in said.out
    assert "and 10 more images" in said.err


def test_json_has_the_documented_keys(shop: TreeBuilder, capsys: Said) -> None:
    damaged = shop.break_("blob-flipped", "app", "v1")
    document = as_json(shop, capsys)
    assert list(document) == [
        *("root", "level", "checked", "findings", "more", "interrupted"),
        *("started_at", "finished_at", "seconds"),
    ]
    started, finished = map(
        datetime.fromisoformat, (document["started_at"], document["finished_at"])
    )
    assert timedelta(0) <= finished - started <= timedelta(seconds=document["seconds"] + 1)
    assert document["root"] == str(shop.root)
    assert document["level"] == "digests"
    size = sum(shop.blob_path(digest).stat().st_size for digest in shop.blobs())
    links = len(list(shop.v2.rglob("link")))
    read = {"blobs": 6, "bytes": size, "links": links, "manifests": 2}
    left = {"skipped": 0, "remaining": 0, "remaining_bytes": 0}
    assert document["checked"] == read | left
    (finding,) = document["findings"]
    assert list(finding) == [
        *("code", "severity", "path", "digest", "repository", "tag", "expected", "actual"),
        *("message", "remedy", "images", "affected"),
    ]
    assert (finding["path"], finding["images"]) == (damaged, ["app:v1"])


@pytest.mark.parametrize("name", ["tutorial", "digest-only", "damaged-layer-missing"])
def test_json_follows_its_schema(tmp_path: Path, capsys: Said, name: str) -> None:
    shutil.copytree(TREES / name, tmp_path / name)
    document = as_json(TreeBuilder(tmp_path / name), capsys)
    TypeAdapter(VerifyDocument).validate_python(document)
    only_of_buckets = {"requests"}
    assert {*document, *only_of_buckets} == set(schema_of("verify")["properties"])
    row = schema_of("verify")["$defs"]["FindingDocument"]["properties"]
    assert all(set(finding) == set(row) for finding in document["findings"])


def test_ndjson_has_a_line_for_each_finding(shop: TreeBuilder, capsys: Said) -> None:
    shop.break_("blob-flipped", "app", "v1")
    shop.break_("temporary-file", "app", "whole")
    assert verify(shop, "--ndjson") == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["code"] for line in lines] == ["temporary-file", "blob-corrupt"]


def test_every_level_can_be_asked_for() -> None:
    assert list(LEVELS) == [level.value for level in Level]


@pytest.mark.parametrize(("level", "code"), [("links", 0), ("sizes", 1), ("digests", 1)])
def test_levels(shop: TreeBuilder, capsys: Said, level: str, code: int) -> None:
    shop.break_("blob-truncated", "app", "v1")
    assert verify(shop, "--level", level) == code
    assert f"level {level}:" in capsys.readouterr().out


def test_references_limit_what_is_checked(shop: TreeBuilder, capsys: Said) -> None:
    shop.break_("blob-flipped", "app", "v1")
    assert verify(shop, "app:whole") == 0
    assert verify(shop, "app:v1", "app:whole") == 1
    assert verify(shop, "app:nowhere") == 4
    assert "app:nowhere" in capsys.readouterr().err


def test_control_characters_in_names_are_escaped(shop: TreeBuilder, capsys: Said) -> None:
    shop.write(shop.v2 / os.fsdecode(b"repositories/app/\x1b[2J\xff"), b"x")
    assert verify(shop) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\\x1b[2J\\xff" in out
    document = as_json(shop, capsys)
    found = {one["code"]: one["path"] for one in document["findings"]}
    assert found.keys() == {"foreign-path", "name-not-utf8"}
    assert set(found.values()) == {"docker/registry/v2/repositories/app/\x1b[2J\udcff"}


def test_an_image_in_an_index_is_named_by_its_tag(tree: TreeBuilder, capsys: Said) -> None:
    tree.push("app", "multi", index(image([BASE]), image(["arm"], platform="linux/arm64")))
    tree.break_("blob-missing", "app", "multi")
    (missing,) = [one for one in as_json(tree, capsys)["findings"] if one["code"] == "blob-missing"]
    assert missing["images"] == ["app:multi"]


def test_a_folder_that_is_no_registry_exits_4(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert run(["-r", str(tmp_path), "verify"]) == 4


def test_ctrl_c_prints_what_was_found_and_exits_130(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image([Blob(b"x" * (256 << 10))]))
    tree.break_("tag-current-newline", "app", "v1")
    with tree.blob_path(tree.blob(b"huge")).open("r+b") as huge:
        huge.truncate(1 << 40)  # a hole: it takes no room, and many minutes to hash
    command = [sys.executable, "-m", "regfs", "-r", str(tree.root), "verify", "--ndjson"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        while True:  # the last finding before the hashing begins
            if json.loads(process.stdout.readline())["code"] == "blob-unreferenced":
                break
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert first["code"] == "link-invalid"
    assert process.returncode == 130
    assert b"interrupted" in errors
    assert b"Traceback" not in errors


def test_progress_shows_bytes_rate_and_time_left(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image([BASE]))
    with tree.blob_path(tree.blob(b"huge")).open("r+b") as huge:
        huge.truncate(1 << 37)  # a hole: it takes no room, and minutes to hash
    bar = re.compile(
        rb"Hashing blobs [^\r]*? [\d.]+/137\.4 GB [\d.]+ [kMG]B/s \d:\d\d:\d\d \d:\d\d:\d\d"
    )
    terminal, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "regfs", "-r", str(tree.root), "verify"]
    with subprocess.Popen(command, stdout=other, stderr=other, env=environment) as process:
        os.close(other)
        drawn, stopped = b"", False
        with suppress(OSError):  # how a terminal ends
            while piece := os.read(terminal, 1 << 16):
                drawn += piece
                if not stopped and bar.search(drawn):
                    process.send_signal(signal.SIGINT)
                    stopped = True
    os.close(terminal)
    assert stopped
    assert process.returncode == 130
    # What is drawn is taken away: the summary begins on a line of its own.
    assert re.search(rb"\x1b\[2Klevel digests: 3 blobs", drawn)
    assert b"Traceback" not in drawn
