"""`sbom` and `referrers` on the command line."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from regfs.cli.app import run
from tests.support.attached import own
from tests.support.builder import Blob, TreeBuilder, artifact, attestation, image, index
from tests.support.images import Content, dumps
from tests.support.sboms import CYCLONE, SPDX, SPDX2, envelope, statement
from tests.support.spawned import PROJECT

Said = pytest.CaptureFixture[str]
APP, OTHER = image(["app"]), image(["other"], platform="linux/arm64")
PEAK = """
import sys
from regfs.cli.app import run
code = run(sys.argv[1:])
sys.stdout.flush()
status = open("/proc/self/status").read()
sys.exit(f"{code} {status.partition('VmHWM:')[2].split()[0]}")
"""
"""Runs a command line, and says its exit code and the most kB of memory that it took."""


def push(tree: TreeBuilder, body: bytes) -> Content:
    """Push an image with an SBOM beside it."""
    made = index(APP, attestation(APP, body, types=[SPDX]))
    tree.push("app", "v1", made)
    return made


def regfs(tree: TreeBuilder, *arguments: str) -> int:
    return run(["-r", str(tree.root), *arguments])


def test_the_document_is_written_as_it_is(tree: TreeBuilder, capsys: Said) -> None:
    push(tree, statement(APP, SPDX2))
    assert regfs(tree, "sbom", "app:v1") == 0
    out, err = capsys.readouterr()
    assert (out.encode(), err) == (dumps(SPDX2), "")


def test_an_sbom_about_another_image_is_written_and_told(tree: TreeBuilder, capsys: Said) -> None:
    push(tree, statement(OTHER, SPDX2))
    for form in ([], ["--json"], ["--packages"]):
        assert regfs(tree, "sbom", "app:v1", *form) == 1
        out, err = capsys.readouterr()
        assert f"the statement is about {OTHER.digest}, not about {APP.digest}" in err
        assert "libc6" in out or form == ["--json"]


def test_packages_are_listed(tree: TreeBuilder, capsys: Said) -> None:
    push(tree, statement(APP, SPDX2))
    assert regfs(tree, "sbom", "app:v1", "--packages") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["libc6", "2.36-9", "deb", "LGPL-2.1"]
    assert "packages     3 (1 deb, 1 npm, 1 other); 2 files" in lines
    assert regfs(tree, "sbom", "app:v1", "--packages", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found["packages"]] == ["libc6", "left-pad", "plain"]


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b"no JSON", 1, "is no in-toto statement"),
        (b'{"predicateType":"https://spdx.dev/Document",', 1, "is not JSON: it ends too early"),
        (statement(APP, SPDX2)[:-1], 1, "it ends too early"),
    ],
)
def test_what_is_broken_is_one_line_and_no_document(
    tree: TreeBuilder, capsys: Said, body: bytes, code: int, words: str
) -> None:
    push(tree, body)
    assert regfs(tree, "sbom", "app:v1", "--json") == code
    assert words in capsys.readouterr().err
    assert regfs(tree, "sbom", "app:v1") == code
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_an_sbom_that_is_corrupt_is_not_written(tree: TreeBuilder, capsys: Said) -> None:
    made = push(tree, statement(APP, SPDX2))
    digest = made.children[1].blobs[1].digest
    path = tree.blob_path(digest)
    path.write_bytes(path.read_bytes().replace(b"libc6", b"libc7"))
    assert regfs(tree, "sbom", "app:v1") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "content does not match its digest" in err


@pytest.mark.parametrize("wrap", [lambda text: text, lambda text: statement(APP, text.decode())])
def test_an_sbom_that_is_not_in_json_is_written_and_not_counted(
    tree: TreeBuilder, capsys: Said, wrap: Callable[[bytes], bytes]
) -> None:
    text = b"SPDXVersion: SPDX-2.3\nPackageName: libc6\n"
    tree.push("app", "v1", APP)
    kind = "text/spdx" if wrap(text) == text else "application/vnd.in-toto+json"
    notes = {"annotations": {"in-toto.io/predicate-type": SPDX}}
    tree.push("app", None, artifact([Blob(wrap(text), kind, notes)], subject=APP))
    assert regfs(tree, "sbom", "app:v1") == 0
    assert capsys.readouterr().out.encode() == text
    assert regfs(tree, "show", "app:v1") == 0
    assert "not counted, it is not in JSON" in capsys.readouterr().out
    assert regfs(tree, "sbom", "app:v1", "--packages") == 1
    assert "is SPDX, but not in JSON" in capsys.readouterr().err


def test_no_sbom_and_no_such_image(tree: TreeBuilder, capsys: Said) -> None:
    tree.push("app", "v1", APP)
    assert regfs(tree, "sbom", "app:v1") == 4
    assert "app:v1 has no SBOM; BuildKit makes one" in capsys.readouterr().err
    for command in ("sbom", "referrers"):
        assert regfs(tree, command, "app:v2") == 4


def test_referrers_are_drawn_as_a_tree(tree: TreeBuilder, capsys: Said) -> None:
    made = push(tree, statement(APP, SPDX2))
    sbom = artifact([Blob(dumps(CYCLONE), "application/vnd.cyclonedx+json")], subject=APP)
    tree.push("app", None, sbom)
    assert regfs(tree, "referrers", "app:v1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"app:v1  {made.digest[7:19]}  index, ")
    assert lines[1].startswith(f"`- {APP.digest[7:19]}  linux/amd64  image, ")
    assert {line[3:6] for line in lines[2:]} == {"|- ", "`- "}
    rest = sorted(line[6:] for line in lines[2:])
    wanted = {sbom.digest[7:19]: "CycloneDX SBOM", made.children[1].digest[7:19]: "SPDX SBOM"}
    assert [line.partition(",")[0] for line in rest] == [
        f"{digest}  {what}" for digest, what in sorted(wanted.items())
    ]


def test_nothing_about_an_image_is_said(tree: TreeBuilder, capsys: Said) -> None:
    tree.push("app", "v1", APP)
    assert regfs(tree, "referrers", "app:v1") == 0
    assert "Nothing is about it" in capsys.readouterr().out


def test_a_hostile_artifact_type_does_not_reach_the_terminal(
    tree: TreeBuilder, capsys: Said
) -> None:
    tree.push("app", "v1", APP)
    tree.push("app", None, artifact([Blob(b"x", "\x1b[2J")], subject=APP, artifact_type="\x1b[2J"))
    said = statement(APP, {**SPDX2, "name": "\x1b[31mred", "packages": [{"name": "\x1b]0;x"}]})
    made = artifact([Blob(envelope(said), "dsse")], subject=APP, artifact_type="a/b")
    tree.push("app", f"{own(APP.digest)}.att", made)
    for form in (["referrers"], ["sbom", "--packages"], ["show"]):
        assert regfs(tree, form[0], "app:v1", *form[1:]) == 0
        assert "\x1b" not in capsys.readouterr().out


def test_show_says_what_statements_say_and_what_is_wrong(tree: TreeBuilder, capsys: Said) -> None:
    push(tree, statement(APP, SPDX2))
    assert regfs(tree, "show", "app:v1") == 0
    assert "  packages     3 (1 deb, 1 npm, 1 other); 2 files" in capsys.readouterr().out
    push(tree, statement(OTHER, SPDX2))
    assert regfs(tree, "show", "app:v1") == 1
    assert f"the statement is about {OTHER.digest}" in capsys.readouterr().err


def test_a_document_with_control_characters_is_not_written_to_a_terminal(
    tree: TreeBuilder,
) -> None:
    push(tree, statement(APP, SPDX2).replace(b"libc6", b"lib\xc2\x9bc"))
    ours, theirs = pty.openpty()
    arguments = [sys.executable, "-m", "regfs", "-r", str(tree.root), "sbom", "app:v1"]
    done = subprocess.run(arguments, stdout=theirs, stderr=subprocess.PIPE, cwd=PROJECT)
    os.close(theirs)
    os.close(ours)
    assert done.returncode == 3
    assert b"the SBOM has control characters" in done.stderr


def test_a_large_sbom_takes_little_memory(tree: TreeBuilder, tmp_path: Path) -> None:
    """What is written and what is counted is a stream; 48 MB as objects would take 300."""
    package = dumps({"name": "n" * 400, "versionInfo": "1.0", "SPDXID": "SPDXRef-1"})
    many = b",".join([package] * 110_000)
    body = statement(APP, {"spdxVersion": "SPDX-2.3", "packages": []})
    push(tree, body.replace(b"[]", b"[" + many + b"]"))
    for form in ([], ["--json"]):
        with (tmp_path / "out").open("wb") as out:
            arguments = ["-r", str(tree.root), "sbom", "app:v1", *form]
            done = subprocess.run(
                [sys.executable, "-c", PEAK, *arguments],
                stdout=out,
                stderr=subprocess.PIPE,
                cwd=PROJECT,
            )
        code, peak = map(int, done.stderr.split())
        assert (code, peak < 150_000) == (0, True), peak
        text = (tmp_path / "out").read_bytes()
        assert b'"packages": 110000' in text if form else len(text) > 40_000_000
