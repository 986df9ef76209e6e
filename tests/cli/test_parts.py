"""`show` and `cat` of what is no manifest: layers, configs, and blobs that nothing names."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from regfs.cli.app import run
from regfs.cli.session import Exit
from regfs.reports.blob import TextCheck, content_of, is_text
from tests.support.builder import TreeBuilder, blob_of, digest_of, image
from tests.support.spawned import PROJECT

Said = pytest.CaptureFixture[str]
LAYER = blob_of("layer")


@pytest.fixture
def whole(tree: TreeBuilder) -> TreeBuilder:
    """A tree whose images `app:v1`, `app:v2` and `other:v1` have a layer in common."""
    tree.push("app", "v1", image([LAYER, "one"]))
    tree.push("app", "v2", image([LAYER, "two"]))
    tree.push("other", "v1", image([LAYER, "three"]))
    return tree


def shown(tree: TreeBuilder, capsys: Said, reference: str) -> Any:
    assert run(["-r", str(tree.root), "show", reference, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


@pytest.mark.parametrize("prefix", ["", "app@", "localhost:5000/app@"])
def test_show_says_what_a_layer_is_and_who_needs_it(
    whole: TreeBuilder, prefix: str, capsys: Said
) -> None:
    found = shown(whole, capsys, prefix + LAYER.digest)
    assert (found["role"], found["content"], found["size"]) == ("layer", "gzip", len(LAYER.data))
    assert found["media_type"] == "application/vnd.oci.image.layer.v1.tar+gzip"
    assert found["tags"] == ["app:v1", "app:v2", "other:v1"]
    assert (found["tag_count"], found["repositories"]) == (3, 2)
    assert (whole.root / found["path"]).read_bytes() == LAYER.data
    assert run(["-r", str(whole.root), "show", prefix + LAYER.digest]) == 0
    out = capsys.readouterr().out
    assert "layer (application/vnd.oci.image.layer.v1.tar+gzip); not a manifest" in out
    assert "3 tags in 2 repositories: app:v1, app:v2, other:v1" in out


def test_show_of_a_config(whole: TreeBuilder, capsys: Said) -> None:
    config = whole.document(whole.current("app", "v1"))["config"]["digest"]
    found = shown(whole, capsys, config)
    assert (found["role"], found["content"], found["tags"]) == ("config", "JSON", ["app:v1"])


def test_show_of_a_blob_that_nothing_names(whole: TreeBuilder, capsys: Said) -> None:
    found = shown(whole, capsys, whole.blob(b"some text"))
    assert (found["role"], found["content"], found["tags"]) == ("", "text", [])


def test_show_of_a_manifest_that_nothing_refers_to(whole: TreeBuilder, capsys: Said) -> None:
    content = image(["lost"])
    whole.blob(content.data)
    assert run(["-r", str(whole.root), "show", content.digest, "--json"]) == 1  # without its layer
    assert json.loads(capsys.readouterr().out)["kind"] == "image"


def test_show_of_a_missing_layer_is_one_line(whole: TreeBuilder, capsys: Said) -> None:
    whole.blob_path(LAYER.digest).unlink()
    assert run(["-r", str(whole.root), "show", f"app@{LAYER.digest}"]) == Exit.FINDINGS.value
    (line,) = capsys.readouterr().err.splitlines()
    assert LAYER.digest in line


def test_raw_is_for_manifests(whole: TreeBuilder, capsys: Said) -> None:
    assert run(["-r", str(whole.root), "show", "--raw", LAYER.digest]) == Exit.USAGE.value
    (line,) = capsys.readouterr().err.splitlines()
    assert "is no manifest (gzip); its bytes: regfs cat" in line


# -- cat on a terminal -----------------------------------------------------------------------------


def on_terminal(root: Path, *arguments: str) -> tuple[int, str, str]:
    """Return the exit code, what is written to the terminal, and standard error."""
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "regfs", "-r", str(root), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        text=True,
    )
    os.close(terminal)
    _, err = process.communicate(timeout=60)
    try:
        out = os.read(main, 1 << 16)
    except OSError:  # nothing was written
        out = b""
    os.close(main)
    return process.returncode, out.decode(), err


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (LAYER.data, "is a layer (gzip), "),
        (b"\x28\xb5\x2f\xfd" + bytes(100), "is a layer (zstd), "),
        (b"text and \x1b]0;title\x07", "is no text, "),
        (b"x" * (1 << 20) + b"\x1b[2J", "is no text, "),
        (b"\xff\xfe", "is no text, "),
    ],
)
def test_cat_writes_nothing_to_a_terminal_that_it_would_act_on(
    whole: TreeBuilder, data: bytes, words: str
) -> None:
    digest = whole.blob(data)
    code, out, err = on_terminal(whole.root, "cat", digest)
    assert (code, out) == (Exit.REFUSED.value, "")
    (line,) = err.splitlines()
    assert words in line
    assert "> FILE" in line


def test_cat_writes_text_to_a_terminal(whole: TreeBuilder) -> None:
    assert on_terminal(whole.root, "cat", whole.blob("größer".encode())) == (0, "größer", "")
    code, out, _ = on_terminal(whole.root, "cat", "app:v1")
    assert (code, digest_of(out.encode())) == (0, whole.current("app", "v1"))


@pytest.mark.parametrize(
    ("begin", "content"),
    [
        (b"", "text"),
        (b'{"a": 1}', "JSON"),
        (b" [1]", "JSON"),
        (b"\x1f\x8b\x08", "gzip"),
        (bytes(257) + b"ustar", "tar"),
        (b"\0", "data"),
        ("ö".encode()[:1], "text"),
    ],
)
def test_what_first_bytes_show(begin: bytes, content: str) -> None:
    assert content_of(begin) == content


def test_text_may_be_cut_anywhere_between_pieces() -> None:
    check = TextCheck()
    data = "aöüß\n".encode() * 3
    assert not any(check.is_broken_by(data[at : at + 1]) for at in range(len(data)))
    assert not is_text(b"\xc3\x28")
