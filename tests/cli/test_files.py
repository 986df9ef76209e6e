"""`regfs files`: what it lists, writes and finds, what it keeps, and what it says of bad layers."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from regfs.cli.app import run
from tests.support.builder import TreeBuilder, artifact, image, index
from tests.support.images import Blob
from tests.support.packings import PACKINGS
from tests.support.tars import entry, folder, hardlink, symlink, tar_of

BASE = tar_of(
    [
        folder("etc"),
        entry("etc/hosts", b"127.0.0.1\n"),
        entry("etc/secret", b"hunter2"),
        folder("usr"),
        folder("usr/lib"),
        entry("usr/lib/libssl.so.1.1", b"old" * 1000),
        symlink("usr/lib/libssl.so", "libssl.so.1.1"),
        hardlink("usr/lib/same", "usr/lib/libssl.so.1.1"),
    ]
)
TOP = tar_of([entry("etc/.wh.secret"), entry("usr/lib/libssl.so.3", b"new" * 900, mode=0o755)])


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the cache, and what is kept there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home/regfs/layers"


class Command:
    """`regfs files` on one tree."""

    def __init__(self, tree: TreeBuilder, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
        self.tree = tree
        self._captured = capsysbinary

    def __call__(self, *words: str, code: int = 0) -> bytes:
        got = run(["-r", str(self.tree.root), "files", *words])
        out, err = self._captured.readouterr()
        self.err = err.decode()
        assert "Traceback" not in self.err and "internal error" not in self.err
        assert got == code, self.err
        return out

    def lines(self, *words: str, code: int = 0) -> list[str]:
        return self(*words, code=code).decode().splitlines()

    def document(self, *words: str, code: int = 0) -> dict[str, Any]:
        return dict(json.loads(self("--json", *words, code=code)))


@pytest.fixture
def files(tree: TreeBuilder, capsysbinary: pytest.CaptureFixture[bytes]) -> Command:
    tree.push("app", "v1", image([gzip.compress(BASE), gzip.compress(TOP)]))
    tree.push("app", "v0", image([gzip.compress(BASE)]))
    return Command(tree, capsysbinary)


def test_a_folder_is_listed_as_a_container_sees_it(files: Command) -> None:
    assert files.lines("app:v1") == ["etc/", "usr/"]
    assert files.lines("app:v1", "/etc") == ["etc/hosts"]
    assert files.lines("app:v0", "etc/") == ["etc/hosts", "etc/secret"]
    assert files.lines("app:v1", "etc/hosts") == ["etc/hosts"]
    assert files.lines("app:v1", "usr/lib/libssl.so") == ["usr/lib/libssl.so"]


def test_all_of_it_is_listed_and_some_levels(files: Command) -> None:
    assert len(files.lines("app:v1", "-R")) == 8
    assert files.lines("app:v1", "--depth", "2") == ["etc/", "etc/hosts", "usr/", "usr/lib/"]


def test_one_layer_is_listed_as_it_is_stored(files: Command) -> None:
    stored = ["etc/.wh.secret", "usr/lib/libssl.so.3"]
    digest = hashlib.sha256(gzip.compress(TOP)).hexdigest()
    for layer in ("2", "-1", digest[:12], f"sha256:{digest}"):
        if layer not in (digest[:12], f"sha256:{digest}"):
            assert files.lines("app:v1", "--layer", layer) == stored
    assert files.lines("app:v1", "--layer", "1", "etc") == ["etc/", "etc/hosts", "etc/secret"]
    files("app:v1", "--layer", "3", code=2)
    assert "it has 2" in files.err
    files("app:v1", "nowhere", "--layer", "1", code=2)


def test_details_and_trees(files: Command) -> None:
    (line,) = [line for line in files.lines("app:v1", "usr/lib", "-l") if "libssl.so.3" in line]
    assert line.split()[:4] == ["-rwxr-xr-x", "0:0", "2.7", "kB"]
    assert files.lines("app:v1", "usr", "--tree") == [
        "/usr",
        "└── lib/",
        "    ├── libssl.so -> libssl.so.1.1",
        "    ├── libssl.so.1.1",
        "    ├── libssl.so.3",
        "    └── same link to usr/lib/libssl.so.1.1",
    ]


def test_the_document_has_everything(files: Command) -> None:
    rows = files.document("app:v1", "usr/lib/libssl.so.3")["entries"]
    assert [(row["mode"], row["size"], row["layer"], row["kind"]) for row in rows] == [
        (0o755, 2700, 2, "file")
    ]


def test_a_file_is_written_as_it_is(files: Command) -> None:
    for path in ("usr/lib/libssl.so.1.1", "/usr/lib/libssl.so", "usr/../usr/lib/same"):
        assert files("app:v1", path, "--cat") == b"old" * 1000
    assert files("app:v0", "etc/secret", "--cat") == b"hunter2"
    assert files("app:v1", "etc/secret", "--cat", "--layer", "1") == b"hunter2"


@pytest.mark.parametrize(
    ("path", "reason"),
    [("etc/secret", "no such file"), ("etc", "is a folder"), ("etc/hosts/x", "no such file")],
)
def test_what_cannot_be_written_is_told(files: Command, path: str, reason: str) -> None:
    files("app:v1", path, "--cat", code=2)
    assert reason in files.err


def test_the_tar_is_streamed(files: Command) -> None:
    with tarfile.open(fileobj=io.BytesIO(files("app:v1", "--tar"))) as archive:
        names = {one.name: one for one in archive}
        same = names["usr/lib/same"]
        assert same.islnk()
        stream = archive.extractfile(same)
        assert stream is not None
        assert stream.read() == b"old" * 1000
    assert "etc/secret" not in names
    assert len(names) == 8


# -- finding ----------------------------------------------------------------------------------


def found(document: dict[str, Any]) -> dict[str, list[str]]:
    return {row["path"]: row["images"] for row in document["files"]}


def test_files_are_found_in_all_images_that_show_them(files: Command) -> None:
    assert found(files.document("--find", "libssl.so.[13]*")) == {
        "usr/lib/libssl.so.1.1": ["app:v0", "app:v1"],
        "usr/lib/libssl.so.3": ["app:v1"],
    }
    assert found(files.document("--find", "secret")) == {"etc/secret": ["app:v0"]}
    assert found(files.document("--find", "*etc/s*")) == {"etc/secret": ["app:v0"]}
    assert found(files.document("--find", ".wh.*")) == {}
    assert found(files.document("app:v1", "--find", "secret")) == {}
    assert found(files.document("app:*", "--find", "/etc/hosts")) == {
        "etc/hosts": ["app:v0", "app:v1"]
    }
    assert "etc/hosts" in files("--find", "hosts").decode()
    assert files.lines("--find", "nowhere") == ["No such file in 2 layers of 2 images."]


def test_files_are_found_by_content(files: Command, cached: Path) -> None:
    digest = hashlib.sha256(b"old" * 1000).hexdigest()
    for _ in range(2):  # from the layers, and from the cache
        assert set(found(files.document("--sha256", digest))) == {"usr/lib/libssl.so.1.1"}
    assert found(files.document("--sha256", f"sha256:{digest}", "--find", "hosts")) == {}
    assert found(files.document("--sha256", hashlib.sha256(b"hunter2").hexdigest())) == {
        "etc/secret": ["app:v0"]
    }
    assert len(list(cached.glob("sums-*"))) == 2
    files("--sha256", "zz", code=2)


def test_whoever_hides_a_file_hides_it_from_a_search(tree: TreeBuilder, files: Command) -> None:
    hiding = {
        "whiteout": [entry(".wh.usr")],
        "opaque": [folder("usr"), entry("usr/.wh..wh..opq")],
        "file": [entry("usr", b"")],
        "link": [symlink("usr", "nowhere")],
        "through": [symlink("u", "usr/lib"), entry("u/.wh.libssl.so.1.1")],
    }
    for tag, layer in hiding.items():
        tree.push("hidden", tag, image([gzip.compress(BASE), tar_of(layer)]))
    tree.push("hidden", "back", image([gzip.compress(BASE), tar_of(hiding["file"]), BASE]))
    assert found(files.document("hidden", "--find", "libssl.so.1.1")) == {
        "usr/lib/libssl.so.1.1": ["hidden:back"]
    }


# -- the cache --------------------------------------------------------------------------------


def test_what_was_read_once_is_kept(files: Command, cached: Path) -> None:
    first = files("app:v1", "-R")
    kept = {path.name.partition("-")[0] for path in cached.iterdir()}
    assert kept == {"paths", "entries"}
    for path in files.tree.v2.glob("blobs/sha256/*/*/data"):
        if path.read_bytes()[:2] == b"\x1f\x8b":
            path.write_bytes(b"not read again")
    assert files("app:v1", "-R") == first
    files("app:v1", "-R", "--no-cache", code=1)


def test_a_layer_that_is_gone_is_not_shown_from_the_cache(files: Command, cached: Path) -> None:
    files("app:v1", "-R")
    digest = f"sha256:{hashlib.sha256(gzip.compress(TOP)).hexdigest()}"
    files.tree.blob_path(digest)
    for path in files.tree.v2.glob(f"blobs/sha256/*/{digest[7:]}/data"):
        path.unlink()
    assert "etc/secret" in files.lines("app:v1", "-R", code=1)
    assert digest[7:] in files.err


def test_a_damaged_cache_is_made_again(files: Command, cached: Path) -> None:
    first = files("app:v1", "-R")
    for path in cached.iterdir():
        path.write_bytes(path.read_bytes()[:-3] + b"xyz")
    assert files("app:v1", "-R") == first


def test_nothing_is_kept_in_the_tree(files: Command) -> None:
    before = sorted(files.tree.root.rglob("*"))
    files("app:v1", "--cache", str(files.tree.root / "cache"))
    assert sorted(files.tree.root.rglob("*")) == before


# -- bad input --------------------------------------------------------------------------------


class Damaged(Blob):
    """A layer that cannot be unpacked for its diffID."""

    def diff_id(self) -> str:
        return f"sha256:{'0' * 64}"


def test_bad_layers_are_one_line_each(tree: TreeBuilder, files: Command) -> None:
    bad = {
        "cut": gzip.compress(BASE)[:-20],
        "garbage": gzip.compress(BASE) + b"garbage",
        "noise": b"no tar at all" * 100,
        "bzip2": b"BZh91AY&SY" + bytes(100),
        "half": BASE[:700],
    }
    for tag, data in bad.items():
        tree.push("bad", tag, image([Damaged(data), gzip.compress(TOP)]))
        lines = files.lines(f"bad:{tag}", "-R", code=1)
        assert "usr/lib/libssl.so.3" in lines, tag
        assert len(files.err.splitlines()) == 1, files.err
        assert "Build the image again" in files.err


def test_what_is_kept_elsewhere_or_encrypted_is_told(tree: TreeBuilder, files: Command) -> None:
    kinds = {
        "foreign": Blob(b"?", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
                        stored=False),
        "encrypted": Blob(b"secret", "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"),
        "other": Blob(b"{}", "application/vnd.in-toto+json"),
    }  # fmt: skip
    for tag, blob in kinds.items():
        tree.push("closed", tag, image([gzip.compress(TOP), blob]))
        assert files.lines(f"closed:{tag}", "usr/lib", code=1) == ["usr/lib/libssl.so.3"]
        assert len(files.err.splitlines()) == 1, files.err


def test_what_has_no_files_is_refused(tree: TreeBuilder, files: Command) -> None:
    tree.push("sbom", "v1", artifact([Blob(b"{}", "application/spdx+json")]))
    files("sbom:v1", code=2)
    assert "has no files" in files.err
    tree.push("empty", "v1", index())
    files("empty:v1", code=2)


def test_the_platform_of_an_index_is_chosen(tree: TreeBuilder, files: Command) -> None:
    parts = [image([name], platform=f"linux/{name}") for name in ("s390x", "riscv64")]
    tree.push("multi", "v1", index(*parts))
    files("multi:v1", code=2)
    assert "linux/s390x, linux/riscv64" in files.err
    assert files.lines("multi:v1", "--platform", "linux/riscv64") == ["riscv64"]
    files("multi:v1", "--platform", "linux/mips", code=4)
    tree.push("single", "v1", index(parts[0]))
    assert files.lines("single:v1") == ["s390x"]


HOSTILE = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (900 << 20, 900 << 20))
from regfs.cli.app import run
sys.exit(run(sys.argv[1:]))
"""


def bomb(name: str) -> bytes:
    """Return a layer that means harm."""
    if name == "entries":
        block = tar_of([entry("f")])[:512]
        return gzip.compress(block * 100_000, 1)
    if name == "names":
        return gzip.compress(tar_of([entry(f"{n}/" + "x" * 65_000) for n in range(500)]), 1)
    if name == "deep":
        return gzip.compress(tar_of([entry("a/" * 2000 + f"{n}") for n in range(300)]), 1)
    if name == "folders":
        many = [entry(f"{n}/" + "/".join("abcdefgh" * 20)) for n in range(1500)]
        return gzip.compress(tar_of(many), 1)
    if name == "links":
        return gzip.compress(tar_of([symlink(f"l{n}", f"l{n + 1}/" * 100) for n in range(3000)]), 1)
    if name == "zeros":
        return gzip.compress(tar_of([entry("z", bytes(400 << 20))]), 1)
    assert name == "devices"
    kinds = (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
    return tar_of([entry(f"dev/{n}", type=kinds[n % 3], devmajor=n) for n in range(9)])


@pytest.mark.parametrize(
    "name", ["entries", "names", "deep", "folders", "links", "zeros", "devices"]
)
def test_hostile_layers_cost_little_memory(name: str, tree: TreeBuilder) -> None:
    tree.push("app", "v1", image([bomb(name)]))
    command = [sys.executable, "-c", HOSTILE, "-r", str(tree.root), "files", "app:v1", "-R"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 1


def test_names_that_act_on_a_terminal_are_escaped(tree: TreeBuilder, files: Command) -> None:
    tree.push("app", "bad", image([tar_of([entry("\x1b[2J\nx"), entry("caf\udce9")])]))
    assert files.lines("app:bad") == ["\\x1b[2J\\nx", "caf\\xe9"]
    assert files.document("app:bad")["entries"][1]["path"] == "caf\udce9"


@pytest.mark.parametrize("way", PACKINGS)
def test_every_way_of_packing_is_listed_and_read(
    way: str, tree: TreeBuilder, files: Command, cached: Path
) -> None:
    data = tar_of([entry("big", bytes(17 << 20)), entry("deep", b"deep down")])
    tree.push("app", "packed", image([Blob(PACKINGS[way](data))]))
    for _ in range(2):
        assert files("app:packed", "deep", "--cat") == b"deep down"
    assert len(list(cached.glob("points-*"))) == way.startswith("gzip")
