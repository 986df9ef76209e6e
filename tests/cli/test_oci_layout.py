"""Layouts that other programs write: each command answers as of the same images in a registry."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regfs.cli.app import run
from regfs.cli.session import Exit
from tests.make_fixtures import TREES
from tests.support.archives import packed, standard_input, zstd
from tests.support.buckets import NAME, Stored, bucket_of
from tests.support.containers import containers
from tests.support.images import image
from tests.support.nobody import public_folder, run_as_nobody
from tests.support.reference import (
    ReferenceRegistry,
    copy,
    make_oci_layout,
    needs_programs,
    needs_reference,
    pull_all,
)
from tests.support.reference import run as program
from tests.support.served import serving

COMMANDS = [
    ["ls"], ["ls", "-l"], ["ls", "ext:v2"], ["ls", "--uploads"], ["info"], ["du"],
    ["du", "--by", "tag"], ["du", "--rm", "ext:v2"], ["reuse"], ["bases"], ["show", "ext:v2"],
    ["log", "ext"], ["why", "25b1600519c0"], ["referrers", "ext:v2"], ["buildkit", "ext:v2"],
    ["verify"], ["verify", "--level", "links"], ["verify", "--level", "sizes"], ["gc", "runs"],
    ["sbom", "attest:sbom", "--packages"], ["graph", "--format", "json"],
]  # fmt: skip
OF_LAYERS = [
    ["files", "ext:v2", "--no-cache"],
    ["waste", "--no-cache"],
    ["diff", "base:v1", "ext:v2", "--no-cache"],
    ["verify", "--level", "content"],
]
"""What reads layers, which pass by on standard input."""
_VARY = {"root", "space", "seconds", "started_at", "finished_at", "allocated", "last_verify",
         "owner", "refusal", "reclaimable", "oldest", "newest", "written", "changed", "pushed",
         "set_at", "mtime", "created_at", "taken_at", "disk"}  # fmt: skip
"""What depends on times, on the disk, or on there being a registry."""
IMAGES = {
    "base:v1": "my-busybox:latest",
    "ext:v2": "my-busybox-extended:latest",
    "attest:sbom": "my-busybox-extended-attest:sbom",
}


def answer(root: str, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    """Return the exit code and the document of a command."""
    code = run(["-r", root, *arguments, "--json"])
    return code, _plain(json.loads(capsys.readouterr().out))


def _plain(document: Any) -> Any:
    if isinstance(document, dict):
        return {key: _plain(value) for key, value in document.items() if key not in _VARY}
    return [_plain(one) for one in document] if isinstance(document, list) else document


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layout of three images, as skopeo writes it."""
    folder = tmp_path_factory.mktemp("written")
    with serving(TREES / "tutorial") as (_, url):
        host = url.removeprefix("http://")
        for name, stored in IMAGES.items():
            copy(f"docker://{host}/{stored}", f"oci:{folder}/out:{name}", "--all")
    return folder / "out"


@needs_reference
def test_every_command_answers_as_of_the_same_images_in_a_registry(
    layout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ReferenceRegistry(tmp_path) as registry:
        for name in IMAGES:
            copy(f"oci:{layout}:{name}", registry.image(name), "--all")
    for arguments in (*COMMANDS, *OF_LAYERS):
        wanted = answer(str(tmp_path), arguments, capsys)
        assert answer(str(layout), arguments, capsys) == wanted, arguments


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data)


@needs_programs("skopeo")
@pytest.mark.parametrize(
    ("name", "pack"),
    [("out.tar", bytes), ("out.tar.gz", _gzip), ("out.tar.zst", zstd), ("-", bytes)],
)
def test_every_form_of_a_layout_answers_alike(
    layout: Path,
    name: str,
    pack: Callable[[bytes], bytes],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = packed(layout)
    root = name if name == "-" else str(tmp_path / name)
    (tmp_path / name).write_bytes(pack(data))
    for arguments in (*COMMANDS, *(OF_LAYERS[:3] if name != "-" else [])):
        with standard_input(data if name == "-" else b""):
            found = answer(root, arguments, capsys)
        assert found == answer(str(layout), arguments, capsys), arguments


@needs_programs("skopeo")
def test_a_layout_in_a_bucket_answers_alike(
    layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with bucket_of(layout, "some/out/") as bucket:
        root = f"s3://{NAME}/some/out"
        for arguments in (*COMMANDS, *OF_LAYERS[:3]):
            assert answer(root, arguments, capsys) == answer(str(layout), arguments, capsys)
        before = dict(bucket.objects)
        for arguments in (["gc", "plan"], ["rm", "ext:v2"], ["--allow-empty", "gc", "plan"]):
            assert run(["-r", root, *arguments]) == Exit.REFUSED.value
            assert "regfs import copies its images" in capsys.readouterr().err
        assert bucket.objects == before
    with bucket_of() as bucket:
        bucket.objects["oci-layout"] = Stored(b"{}", 0.0)
        assert run(["-r", f"s3://{NAME}", "ls"]) == Exit.NOT_FOUND.value
        assert "not a registry" in capsys.readouterr().err


@needs_programs("skopeo")
@pytest.mark.parametrize("form", ["folder", "tar"])
def test_images_are_pulled_from_a_layout_that_is_served(
    layout: Path, form: str, tmp_path: Path
) -> None:
    root = layout
    if form == "tar":
        root = tmp_path / "out.tar"
        root.write_bytes(packed(layout))
    with serving(root) as (_, url):
        for name in IMAGES:
            pull_all(f"docker://{url.removeprefix('http://')}/{name}", tmp_path / name[:3])


@needs_programs("skopeo", "umoci", "buildah", "podman")
def test_layouts_of_each_program(
    layout: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    copy(f"oci:{layout}:ext:v2", "oci-archive:skopeo.tar:host.example/team/app:v1", "--all")
    copy(f"oci:{layout}:base:v1", "oci:umoci:v1")
    program("umoci", "tag", "--image", "umoci:v1", "v2")
    with containers():
        program("podman", "pull", "-q", f"oci:{layout}:base:v1")
        one = program("podman", "images", "-q").stdout.split()[0]
        program("podman", "tag", one, "localhost/mine:v3")
        for form, place in (("oci-archive", "podman.tar"), ("oci-dir", "podman")):
            program("podman", "save", "-q", "--format", form, "-o", place, "localhost/mine:v3")
        program("podman", "save", "-q", "--format", "docker-archive", "-o", "old.tar", one)
        program("buildah", "push", "-q", one, "oci:buildah:quay.io/x/y")
    expected = {
        "skopeo.tar": ["team/app:v1"],
        "umoci": ["umoci:v1", "umoci:v2"],
        "podman.tar": ["mine:v3"],
        "podman": ["mine:v3"],
        "buildah": ["x/y:latest"],
    }
    for root, names in expected.items():
        _, usage = answer(root, ["du", "--by", "tag"], capsys)
        assert sorted(row["name"] for row in usage["rows"]) == names, root
        assert run(["-r", root, "verify", "--level", "sizes"]) == Exit.CLEAN.value
        capsys.readouterr()
    assert run(["-r", "old.tar", "ls"]) == Exit.NOT_FOUND.value
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("skopeo copy docker-archive:FILE oci-archive:NEW, and give that")


def test_the_log_of_a_layout_says_that_there_is_no_history(
    layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["-r", str(layout), "log", "ext"]) == 0
    assert "has no history" in capsys.readouterr().err


def test_a_layout_that_may_not_be_read_is_a_storage_failure() -> None:
    with public_folder() as shared:
        make_oci_layout(shared / "out", {"app:v1": image(["a"])})
        (shared / "out/index.json").chmod(0)
        ran = run_as_nobody("-r", str(shared / "out"), "ls")
        assert (ran.code, ran.out) == (Exit.STORAGE.value, "")
        assert ran.err.startswith(f"regfs: {shared}/out: index.json: permission denied")


def test_where_an_image_lies_is_said_as_it_lies_in_the_layout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = image(["a"])
    make_oci_layout(tmp_path / "out", {"app:v1": made})
    _, shown = answer(str(tmp_path / "out"), ["show", "app:v1", "--paths"], capsys)
    paths = {one["path"] for one in shown["paths"]}
    blobs = [made.digest, *(blob.digest for blob in made.blobs)]
    assert paths == {"index.json", *(f"blobs/{one.replace(':', '/')}" for one in blobs)}
    assert all((tmp_path / "out" / path).is_file() for path in paths)
