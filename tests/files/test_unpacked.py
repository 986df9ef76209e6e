"""Merged layers against what real tools unpack: umoci, buildah, and GNU tar of our own tar."""

from __future__ import annotations

import hashlib
import json
import os
import random
import stat
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

import regfs
from regfs.content.entries import EntryKind
from regfs.files.image import ImageFiles
from tests.support.buildah import Builder
from tests.support.builder import TreeBuilder, image
from tests.support.images import OCI_MANIFEST, Blob, Content, dumps
from tests.support.reference import needs_programs, run
from tests.support.tars import Entry, entry, folder, hardlink, symlink, tar_of

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="owners are those of the image for root only")

Described = dict[str, tuple[Any, ...]]


def on_disk(root: Path) -> tuple[Described, set[frozenset[str]]]:
    """Return everything below a folder, and which files are one."""
    found: Described = {}
    same: defaultdict[int, set[str]] = defaultdict(set)
    for above, folders, files in os.walk(root):
        for name in [*folders, *files]:
            full = os.path.join(above, name)
            path, info = os.path.relpath(full, root), os.lstat(full)
            owner = (info.st_uid, info.st_gid)
            if stat.S_ISLNK(info.st_mode):
                found[path] = ("symlink", 0, owner, os.readlink(full))
            elif stat.S_ISDIR(info.st_mode):
                found[path] = ("folder", stat.S_IMODE(info.st_mode), owner)
            else:
                data = Path(full).read_bytes()
                digest = hashlib.sha256(data).hexdigest()
                time = int(info.st_mtime)
                found[path] = ("file", stat.S_IMODE(info.st_mode), owner, len(data), time, digest)
                same[info.st_ino].add(path)
    return found, {frozenset(paths) for paths in same.values() if len(paths) > 1}


def in_image(made: ImageFiles) -> tuple[Described, set[frozenset[str]]]:
    """Return the same of an image."""
    found: Described = {}
    same: defaultdict[tuple[int, int], set[str]] = defaultdict(set)
    for placed in made.merged:
        source = made.merged.content(placed)
        one = source.entry
        owner = (one.uid, one.gid)
        if one.kind is EntryKind.SYMLINK:
            found[placed.path] = ("symlink", 0, owner, one.target)
        elif one.kind is EntryKind.FOLDER:
            found[placed.path] = ("folder", one.mode, owner)
        else:
            with made.open(placed.path) as stream:
                digest = hashlib.sha256(stream.read()).hexdigest()
            found[placed.path] = ("file", one.mode, owner, one.size, int(one.mtime), digest)
            same[source.layer, one.position].add(placed.path)
    return found, {frozenset(paths) for paths in same.values() if len(paths) > 1}


def write_layout(content: Content, folder: Path) -> None:
    """Write an image as an OCI layout with the tag v1."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)
    for data in [content.data, *(blob.data for blob in content.blobs)]:
        (blobs / hashlib.sha256(data).hexdigest()).write_bytes(data)
    named = {"annotations": {"org.opencontainers.image.ref.name": "v1"}}
    index = {"schemaVersion": 2, "manifests": [{**content.descriptor(), **named}]}
    (folder / "index.json").write_bytes(dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def read_layout(folder: Path) -> Content:
    """Return the one image of an OCI layout."""

    def blob(digest: str) -> bytes:
        return (folder / "blobs/sha256" / digest.partition(":")[2]).read_bytes()

    (entry,) = json.loads((folder / "index.json").read_text())["manifests"]
    data = blob(entry["digest"])
    document = json.loads(data)
    parts = [document["config"], *document["layers"]]
    return Content(data, OCI_MANIFEST, tuple(Blob(blob(part["digest"])) for part in parts))


def opened(tree: TreeBuilder, content: Content) -> ImageFiles:
    tree.push("app", "v1", content)
    return regfs.open(str(tree.root)).files("app:v1")


BASE: list[Entry] = [
    folder("etc", mtime=5),
    entry("etc/passwd", b"root", mode=0o600, uid=7, gid=8, mtime=1000),
    entry("etc/shadow", b"secret"),
    folder("usr"),
    folder("usr/lib", mode=0o2755),
    symlink("lib", "usr/lib"),
    symlink("lib64", "/lib"),
    symlink("up", "../../../etc"),
    entry("usr/lib/libc", b"c" * 100_000, mtime=2000),
    hardlink("usr/lib/libc.so", "usr/lib/libc"),
    hardlink("libc", "lib/libc"),
    folder("var"),
    folder("var/cache", mode=0o1777),
    entry("var/cache/one", b"1"),
    folder("var/cache/sub"),
    entry("var/cache/sub/two", b"2"),
    folder("opt"),
    entry("opt/file", b"was a file"),
    folder("srv"),
    entry("srv/in", b"x"),
]
MIDDLE: list[Entry] = [
    folder("etc", mode=0o700),
    entry("etc/.wh.shadow"),
    entry("lib/libm", b"m"),
    entry("lib64/libz", b"z"),
    entry("up/issue", b"hello"),
    folder("var"),
    folder("var/cache"),
    entry("var/cache/.wh..wh..opq"),
    entry("var/cache/new", b"new"),
    entry("opt/.wh.file"),
    folder("opt/file"),
    entry("opt/file/inside", b"now a folder"),
    entry("srv", b"now a file"),
    hardlink("etc/libc", "usr/lib/libc"),
]
TOP: list[Entry] = [
    entry("usr/lib/libc", b"replaced"),
    entry(".wh.srv"),
    entry("deep/er/and/deeper", b"no folder has an entry"),
    entry("caf\udce9", b"latin 1"),
    entry("etc/passwd", b"again", uid=1, gid=1),
]


@needs_root
@needs_programs("umoci")
def test_umoci_unpacks_what_is_shown(tree: TreeBuilder, tmp_path: Path) -> None:
    content = image([tar_of(layer) for layer in (BASE, MIDDLE, TOP)])
    tars = "application/vnd.oci.image.layer.v1.tar"
    content = _with_type(content, tars)
    write_layout(content, tmp_path / "layout")
    run("umoci", "raw", "unpack", "--image", f"{tmp_path}/layout:v1", tmp_path / "rootfs")
    shown, links = in_image(opened(tree, content))
    assert on_disk(tmp_path / "rootfs") == (shown, links)
    assert frozenset({"libc", "usr/lib/libc.so", "etc/libc"}) in links


def _with_type(content: Content, media_type: str) -> Content:
    document = content.document
    for layer in document["layers"]:
        layer["mediaType"] = media_type
    return Content(dumps(document), content.media_type, content.blobs)


@needs_root
@needs_programs("umoci")
@pytest.mark.parametrize("seed", range(4))
def test_umoci_unpacks_random_layers_as_shown(seed: int, tree: TreeBuilder, tmp_path: Path) -> None:
    stack = _random_stack(random.Random(seed))
    content = _with_type(
        image([tar_of(layer) for layer in stack]), "application/vnd.oci.image.layer.v1.tar"
    )
    write_layout(content, tmp_path / "layout")
    run("umoci", "raw", "unpack", "--image", f"{tmp_path}/layout:v1", tmp_path / "rootfs")
    assert on_disk(tmp_path / "rootfs") == in_image(opened(tree, content))


def _random_stack(chance: random.Random) -> list[list[Entry]]:
    """Return layers as builders write them: folders before what they hold, each path once."""
    names, stack = ["a", "b", "c", "d"], list[list[Entry]]()
    for _ in range(4):
        layer: dict[str, Entry] = {}
        files: list[str] = []
        for _ in range(12):
            above, parts = "", chance.choices(names, k=chance.randint(1, 3))
            for part in parts[:-1]:
                above = f"{above}{part}"
                if above in files:
                    break
                layer.setdefault(above, folder(above, mode=chance.choice([0o755, 0o700])))
                above += "/"
            else:
                path = above + parts[-1]
                if path in layer:
                    continue
                kind = chance.choice(["file", "file", "whiteout", "link", "symlink"])
                if kind == "whiteout" and stack:
                    layer[f"{above}.wh.{parts[-1]}"] = entry(f"{above}.wh.{parts[-1]}")
                elif kind == "link" and files:
                    layer[path] = hardlink(path, chance.choice(files))
                    files.append(path)
                elif kind == "symlink":
                    layer[path] = symlink(path, "nowhere")
                    files.append(path)
                else:
                    layer[path] = entry(path, chance.randbytes(chance.randint(0, 900)))
                    files.append(path)
        stack.append(list(layer.values()))
    return stack


@needs_root
@needs_programs("buildah")
def test_what_buildah_commits_is_what_it_mounts(tree: TreeBuilder, tmp_path: Path) -> None:
    buildah = Builder(tmp_path / "storage")
    base = "scratch"
    for number in range(3):
        container = buildah("from", "--pull-never", base)
        mounted = Path(buildah("mount", container))
        _change(mounted, number)
        if number == 2:
            wanted = on_disk(mounted)
            buildah("commit", "-q", container, f"oci:{tmp_path}/layout:v1")
        else:
            buildah("commit", "-q", container, f"localhost/step{number}")
        base = f"localhost/step{number}"
    made = opened(tree, read_layout(tmp_path / "layout"))
    assert len(made.layers) == 3
    assert in_image(made) == wanted


def _change(root: Path, number: int) -> None:
    """Change a root file system as the steps of a build would."""
    if number == 0:
        (root / "etc/conf.d").mkdir(parents=True)
        (root / "etc/conf.d/a").write_text("a" * 5000)
        (root / "etc/conf.d/b").write_text("b")
        os.link(root / "etc/conf.d/a", root / "etc/a")
        os.symlink("etc/conf.d", root / "conf")
        (root / "cache").mkdir()
        for name in range(20):
            (root / f"cache/{name}").write_text("x" * name)
        os.chown(root / "etc/conf.d/b", 12, 34)
        (root / "place").write_text("file")
    elif number == 1:
        (root / "etc/conf.d/b").unlink()
        for path in (root / "cache").iterdir():
            path.unlink()
        (root / "cache").rmdir()
        (root / "place").unlink()
        (root / "place").mkdir()
        (root / "place/in").write_text("in")
        (root / "etc/conf.d/a").chmod(0o4711)
    else:
        (root / "cache").mkdir()
        (root / "cache/again").write_text("again")
        (root / "place/in").unlink()
        (root / "place").rmdir()
        os.symlink("etc/a", root / "place")


@needs_root
def test_the_tar_of_an_image_unpacks_to_what_is_shown(tree: TreeBuilder, tmp_path: Path) -> None:
    made = opened(tree, image([tar_of(layer) for layer in (BASE, MIDDLE, TOP)]))
    command = [sys.executable, "-m", "regfs", "-r", str(tree.root), "files", "app:v1", "--tar"]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    (tmp_path / "out").mkdir()
    subprocess.run(
        ["tar", "-x", "-p", "--numeric-owner", "-C", tmp_path / "out"], input=data, check=True
    )
    assert on_disk(tmp_path / "out") == in_image(made)
