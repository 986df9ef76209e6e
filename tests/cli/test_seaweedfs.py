"""A tree in SeaweedFS: another order of keys, whole seconds, ETags and refusals of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from regfs.cli.app import run
from regfs.cli.session import Exit
from tests.make_fixtures import TREES
from tests.support.buckets import NAME, needs_seaweedfs, reached_at, seaweedfs, upload
from tests.support.reference import needs_programs
from tests.support.reference import run as program
from tests.support.served import serving

pytestmark = needs_seaweedfs
ROOT = f"s3://{NAME}/pfx"
ALIKE = (
    ["ls"], ["ls", "--untagged"], ["du"], ["du", "--by", "tag"], ["reuse"], ["bases"],
    ["verify", "--level", "links"], ["verify", "-v"], ["verify", "--level", "content"],
    ["files", "my-busybox-extended", "--no-cache"], ["waste", "--no-cache"],
    ["diff", "my-busybox", "my-busybox-extended", "--no-cache"],
)  # fmt: skip
"""What depends on no time: objects are as old as their upload."""
_VARY = {
    "changed",
    "root",
    "seconds",
    "started_at",
    "finished_at",
    "allocated",
    "mtime",
    "time",
    "written_at",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose bucket holds the tutorial's tree."""
    with seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as url:
        with reached_at(url):
            upload(TREES / "tutorial", "pfx/")
        yield url


def answer(root: str, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    """Return the exit code and the document of a command."""
    code = run(["-r", root, *arguments, "--json"])
    return code, _plain(json.loads(capsys.readouterr().out))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items() if key not in _VARY}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def test_every_command_answers_alike(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = shutil.copytree(TREES / "tutorial", tmp_path / "tree")
    with reached_at(server):
        for arguments in ALIKE:
            expected = answer(str(tree), arguments, capsys)
            assert answer(ROOT, arguments, capsys) == expected, arguments


@pytest.mark.parametrize(
    ("root", "variables", "words"),
    [
        (ROOT, {"AWS_ACCESS_KEY_ID": "other"}, "the access key is not known there"),
        (ROOT, {"AWS_SECRET_ACCESS_KEY": "other"}, "the secret key is wrong"),
        ("s3://no-such-bucket", {}, "there is no such bucket"),
    ],
)
def test_what_it_refuses(
    server: str,
    root: str,
    variables: dict[str, str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with reached_at(server, **variables):
        assert run(["-r", root, "ls"]) == Exit.STORAGE.value
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


@needs_programs("skopeo")
@pytest.mark.parametrize("options", [(), ("--redirect",)])
def test_images_are_pulled_from_a_bucket(
    server: str, tmp_path: Path, options: tuple[str, ...]
) -> None:
    with reached_at(server), serving(ROOT, *options) as (_, url):
        source = f"docker://{url.removeprefix('http://')}/my-busybox-extended:latest"
        program("skopeo", "copy", "--src-tls-verify=false", source, f"dir:{tmp_path}/pulled")
    assert len(list((tmp_path / "pulled").iterdir())) >= 4
