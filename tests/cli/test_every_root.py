"""Every command that reads answers alike from every kind of root, but for what a disk knows."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from regfs.cli.app import run
from regfs.cli.session import Exit
from regfs.stores.bucket.changing import copies
from tests.make_fixtures import TREES
from tests.support.archives import packed, standard_input, zstd
from tests.support.bucket_registry import Held, held
from tests.support.buckets import NAME, Stored, bucket_of
from tests.support.builder import TreeBuilder, image
from tests.support.containers import container, containers
from tests.support.inventories import DATED, report_of
from tests.support.real_buckets import Server, bucket_on, kinds, times
from tests.support.reference import needs_programs
from tests.support.reference import run as program
from tests.support.served import serving

TREE = ("tutorial", "whole", "damaged-layer-flipped", "damaged-manifest-missing",
        "damaged-manifest-empty", "damaged-link-empty", "digest-only")  # fmt: skip
COMMANDS: dict[str, list[list[str]]] = {
    "": [
        ["ls"],
        ["ls", "-l"],
        ["ls", "--uploads"],
        ["ls", "--untagged"],
        ["info"],
        ["du"],
        ["du", "--by", "tag"],
        ["reuse"],
        ["bases"],
        ["verify"],
        ["verify", "--level", "links"],
        ["verify", "--level", "sizes", "-v"],
        ["gc", "runs"],
        ["graph", "--format", "json"],
    ],
    "tutorial": [
        ["show", "my-busybox-extended"],
        ["log", "my-busybox"],
        ["why", "25b1600519c0"],
        ["ls", "my-busybox-extended-cached"],
        ["du", "--rm", "my-busybox-extended:latest"],
        ["verify", "my-busybox:latest"],
        ["show", "my-busybox", "--raw"],
    ],
    "whole": [["show", "app:v1"], ["log", "app"], ["ls", "app:multi"]],
}
OF_LAYERS = [
    ["files", "my-busybox-extended", "--no-cache"],
    ["waste", "--no-cache"],
    ["referrers", "my-busybox-extended"],
    ["buildkit", "my-busybox-extended"],
    ["diff", "my-busybox", "my-busybox-extended", "--no-cache"],
]
"""What reads layers, which pass by on standard input."""
_VARY = {
    "root",
    "taken_at",
    "space",
    "seconds",
    "started_at",
    "finished_at",
    "allocated",
    "last_verify",
    "listed_at",
    "requests",
    "costs",
}
"""What depends on the clock, on the disk or on the root itself."""


@contextmanager
def _folder(tree: Path, folder: Path) -> Iterator[str]:
    yield str(tree)


@contextmanager
def _config(tree: Path, folder: Path) -> Iterator[str]:
    file = folder / "config.yml"
    file.write_text(f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tree}}}}}\n")
    yield str(file)


def _file(name: str, pack: Callable[[bytes], bytes]) -> Callable[[Path, Path], Any]:
    @contextmanager
    def root(tree: Path, folder: Path) -> Iterator[str]:
        file = folder / name
        file.write_bytes(pack(packed(tree)))
        yield str(file)

    return root


@contextmanager
def _input(tree: Path, folder: Path) -> Iterator[str]:
    yield "-"


@contextmanager
def _container(tree: Path, folder: Path, tool: str) -> Iterator[str]:
    file = folder / "image.tar"
    file.write_bytes(packed(tree, prefix="var/lib/registry/"))
    with containers(docker=tool == "docker"):
        container("registry", file)
        yield f"{tool}://registry"


@contextmanager
def _bucket(tree: Path, folder: Path) -> Iterator[str]:
    with bucket_of(tree, "pfx/"):
        yield f"s3://{NAME}/pfx"


@contextmanager
def _inventory(tree: Path, folder: Path) -> Iterator[str]:
    with bucket_of(tree, "pfx/") as served:
        for key, data in report_of(served.objects, "reports/daily").items():
            served.objects[key] = Stored(data, 0.0)
        yield f"inventory:s3://{NAME}/reports/daily/{DATED}/manifest.json"


ROOTS: dict[str, Callable[[Path, Path], Any]] = {
    "config.yml": _config,
    "tar": _file("t.tar", bytes),
    "tar.gz": _file("t.tar.gz", gzip.compress),
    "tar.zst": _file("t.tar.zst", zstd),
    "stdin": _input,
    "s3": _bucket,
    "inventory": _inventory,
}
CONTAINERS: dict[str, Callable[[Path, Path], Any]] = {
    tool: partial(_container, tool=tool) for tool in ("podman", "docker")
}


def _answer(root: str, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    code = run(["-r", root, *arguments, "--json"])
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("regfs: ")]
    unread = [line for line in lines if not line.startswith("regfs: as of ")]  # of a report
    return code, _plain(json.loads(captured.out)), unread


def _plain(document: Any) -> Any:
    if isinstance(document, dict):
        plain = {key: _plain(value) for key, value in document.items() if key not in _VARY}
        for name in plain.keys() & {"nodes", "edges"}:  # in the order of reading
            plain[name] = sorted(plain[name], key=str)
        return plain
    return [_plain(one) for one in document] if isinstance(document, list) else document


def _copy(name: str, folder: Path) -> Path:
    """Return a copy of a fixture, where everything has another time."""
    tree = folder / "registry"
    shutil.copytree(TREES / name, tree)
    for number, path in enumerate(sorted(tree.rglob("*"))):
        os.utime(path, (1_790_000_000 + number, 1_790_000_000 + number))
    return tree


def _compare(
    name: str,
    kind: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    commands: Sequence[list[str]] = (),
) -> None:
    of_layers = OF_LAYERS if name == "tutorial" and kind != "stdin" else []
    commands = commands or [*COMMANDS[""], *COMMANDS.get(name, []), *of_layers]
    tree = _copy(name, folder)
    data = packed(tree)
    with {**ROOTS, **CONTAINERS}[kind](tree, folder) as root:
        _alike(tree, root, commands, capsys, data if kind == "stdin" else b"")


def _alike(
    tree: Path,
    root: str,
    commands: Sequence[list[str]],
    capsys: pytest.CaptureFixture[str],
    data: bytes = b"",
) -> None:
    for arguments in commands:
        wanted = _answer(str(tree), arguments, capsys)
        shutil.rmtree(tree / ".regfs", ignore_errors=True)  # the ledger
        with standard_input(data):
            assert _answer(root, arguments, capsys) == wanted, arguments


@pytest.mark.parametrize("kind", ROOTS)
@pytest.mark.parametrize("name", TREE)
def test_every_command_answers_alike(
    name: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _compare(name, kind, tmp_path, capsys)


@needs_programs("podman")
@pytest.mark.parametrize("tool", ["podman", "docker"])
def test_every_command_answers_alike_of_a_container(
    tool: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = [["ls", "-l"], ["info"], ["verify"], *COMMANDS["tutorial"][:3]]
    _compare("tutorial", tool, tmp_path, capsys, commands=some)


@pytest.mark.parametrize("name", ["tutorial", "damaged-manifest-missing"])
@pytest.mark.parametrize("kind", kinds("rgw", "seaweedfs", "azurite", "gcs"))
def test_every_command_answers_alike_of_a_server(
    kind: str,
    name: str,
    object_store: Callable[[str], Server],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tree = _copy(name, tmp_path)
    of_layers = OF_LAYERS if name == "tutorial" else []
    with bucket_on(object_store(kind), tree, "pfx") as root:
        for key, mtime in times(root).items():
            os.utime(tree / key.removeprefix("pfx/"), (mtime, mtime))
        _alike(tree, root, [*COMMANDS[""], *COMMANDS.get(name, []), *of_layers], capsys)


EDITS = [
    ["tag", "app:v1", "same"],
    ["tag", "app:v1", "v2", "--force"],
    ["rollback", "app:v2"],
    ["cp", "app:v1", "new/name:v1"],
    ["mv", "new/name", "moved"],
    ["untag", "app:same"],
    ["rm", "moved:v1"],
    ["gc", "run", "--delete-untagged", "--offline", "--yes"],
    ["gc", "restore", "latest"],
    ["rm", "app", "--recursive"],
    ["gc", "purge", "--offline", "--yes"],
    ["gc", "run", "--offline", "--yes", "--purge", "--allow-no-manifests"],
]
"""Each is done after the others, in one tree."""


@pytest.mark.parametrize("kind", kinds("azurite"))
def test_every_command_that_changes_leaves_the_same_on_a_server(
    kind: str,
    object_store: Callable[[str], Server],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(copies, "UNDER_WAY", 0.0)  # nobody else sets a tag here
    tree = TreeBuilder(tmp_path / "tree")
    for tag, layer in (("v1", "one"), ("v2", "two"), ("v2", "three")):
        tree.push("app", tag, image(["base", layer]))
    tree.blob(b"linked by nothing")
    with bucket_on(object_store(kind), tree.root, "pfx") as root:
        for arguments in EDITS:
            both = [run(["-r", place, *arguments]) for place in (str(tree.root), root)]
            assert both == [0, 0], arguments
            assert _content(tree.root) == held(root), arguments
        assert not any(path.endswith("/data") for path in held(root))


def _content(folder: Path) -> dict[str, Held]:
    """Return size and digest of every file of the registry in a folder, by its path."""
    return {
        path.relative_to(folder).as_posix(): Held(
            path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()
        )
        for path in (folder / "docker").rglob("*")
        if path.is_file()
    }


CHANGES = [
    ["rm", "app:v1"],
    ["untag", "app:v1"],
    ["tag", "app:v1", "other"],
    ["mv", "app", "other"],
    ["cp", "app:v1", "other:v1"],
    ["heal", "--relink"],
    ["gc", "plan"],
    ["gc", "run", "--yes"],
    ["gc", "purge"],
    ["serve", "--writable", "--listen", "127.0.0.1:0"],
    ["verify", "--ledger", "ledger"],
]


@pytest.mark.parametrize("arguments", CHANGES, ids=" ".join)
def test_what_would_change_an_archive_is_refused_in_a_line(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.tar").write_bytes(packed(TREES / "whole"))
    before = sorted(tmp_path.iterdir())
    assert run(["-r", "t.tar", *arguments]) == Exit.REFUSED.value
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"regfs: {tmp_path}/t.tar: ")
    assert sorted(tmp_path.iterdir()) == before


@needs_programs("skopeo")
@pytest.mark.parametrize("name", ["t.tar", "t.tar.gz"])
def test_images_are_pulled_from_an_archive(name: str, tmp_path: Path) -> None:
    data = packed(TREES / "tutorial")
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    with serving(tmp_path / name) as (_, url):
        source = f"docker://{url.removeprefix('http://')}/my-busybox-extended:latest"
        program("skopeo", "copy", "--src-tls-verify=false", source, f"dir:{tmp_path}/pulled")
    assert len(list((tmp_path / "pulled").iterdir())) >= 4


def test_layers_that_have_passed_cannot_be_unpacked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.tar.gz").write_bytes(gzip.compress(packed(TREES / "whole")))
    root = str(tmp_path / "t.tar.gz")
    assert run(["-r", root, "verify", "--level", "content"]) == Exit.REFUSED.value
    assert "give a folder or an archive that is not compressed" in capsys.readouterr().err
    (tmp_path / "t.tar").write_bytes(packed(TREES / "whole"))
    assert run(["-r", str(tmp_path / "t.tar"), "verify", "--level", "content"]) == 0


def test_what_is_said_to_free_an_archive_is_no_command_that_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, file = tmp_path / "old", tmp_path / "t.tar"
    shutil.copytree(TREES / "tutorial", old)
    for path in old.rglob("*"):
        os.utime(path, (1e9, 1e9))  # in a fresh clone all is too young to be collected
    file.write_bytes(packed(old))
    assert run(["-r", str(file), "info"]) == 0
    out = capsys.readouterr().out
    assert "gc run -m, in a folder" in out
    assert f"{file} gc" not in out
