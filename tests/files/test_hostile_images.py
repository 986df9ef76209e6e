"""Hostile images: each command that looks inside ends soon, in bounded memory, and says why.

Every command of a row runs in one process, with a cache, on an image that nobody should trust.
Nothing is raised, nothing is written but the cache, and what could not be read is said.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.builder import (
    OCI_LAYER,
    Blob,
    Content,
    Layer,
    TreeBuilder,
    attestation,
    image,
    index,
)
from tests.support.hostile import Told, commands_apart
from tests.support.tars import Entry, entry, folder, hardlink, symlink, tar_of

COMMANDS = [
    ["files", "app:v1", "-R"],
    ["files", "app:v1", "--layer", "1"],
    ["files", "app:v1", "etc/passwd", "--cat"],
    ["files", "app:v1", "--tar"],
    ["files", "--find", "passwd"],
    ["diff", "app:sound", "app:v1"],
    ["waste"],
    ["waste", "app:v1", "--json", "--recompress", "--sample", "1MB"],
    ["sbom", "app:v1"],
    ["referrers", "app:v1"],
    ["buildkit", "app:v1"],
    ["show", "app:v1"],
    ["graph", "--format", "json"],
]
SOUND = [folder("etc"), entry("etc/passwd", b"root")]
PEAK = 400 << 20
"""Bytes of memory; Python with what all these commands load takes 100 MiB."""
ANSWERS = ("show", "diff")
"""What tells in its answer what is wrong with the image."""
LINES = 12
"""Lines on standard error that are still read by a person."""


def packed(*entries: Entry) -> bytes:
    return gzip.compress(tar_of(entries), 1, mtime=0)


def built(*layers: Layer) -> Content:
    """Return an image of a sound layer and hostile ones."""
    return image([packed(*SOUND), *layers], b"{}" if any(_strange(one) for one in layers) else None)


def _strange(layer: Layer) -> bool:
    """Return whether the builder cannot compute the diffID of a layer."""
    if not isinstance(layer, bytes):
        return True
    try:
        return layer.startswith(b"\x1f\x8b") and len(gzip.decompress(layer)) > 1 << 24
    except (OSError, EOFError, zlib.error):
        return True


def bomb(megabytes: int) -> bytes:
    """Return a layer of a thousandth of the size, with one file of zeros."""
    made = tarfile.TarInfo("zeros")
    made.size = megabytes << 20
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(1 << 20)
    pieces = [packer.compress(made.tobuf(tarfile.GNU_FORMAT))]
    pieces += [packer.compress(zeros) for _ in range(megabytes)]
    return b"".join([*pieces, packer.compress(bytes(1024)), packer.flush()])


def declared(size: int) -> bytes:
    """Return a layer with a file that says to be larger than anything, and is not there."""
    made = tarfile.TarInfo("large")
    made.size = size
    return gzip.compress(made.tobuf(tarfile.PAX_FORMAT) + b"x" * 512, mtime=0)


def holes(size: int) -> bytes:
    """Return a layer with a sparse file that is nearly nothing but holes."""
    made = tarfile.TarInfo("sparse")
    made.type = tarfile.REGTYPE
    made.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "sparse",
        "GNU.sparse.realsize": str(size),
    }
    data = b"1\n0\n1\n".ljust(512, b"\0") + b"x"
    made.size = len(data)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(made, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), mtime=0)


def headers(count: int) -> Iterator[bytes]:
    """Yield the headers of many empty files, faster than tarfile makes them."""
    plain = bytearray(tarfile.TarInfo("d/0000000").tobuf(tarfile.USTAR_FORMAT))
    plain[148:156] = b" " * 8
    rest = sum(plain) - sum(plain[2:9])
    for number in range(count):
        name = b"%07d" % number
        plain[2:9], plain[148:156] = name, b"%06o\0 " % (rest + sum(name))
        yield bytes(plain)


def many(count: int) -> bytes:
    return gzip.compress(b"".join(headers(count)), 1, mtime=0)


def statement(data: bytes) -> Content:
    """Return an image with a statement about it that holds anything."""
    sound = built()
    return index(sound, attestation(sound, data))


def layers_of(count: int) -> Content:
    """Return a manifest that has one layer many times, nearly as large as manifests may be."""
    one = built()
    document = one.document
    document["layers"] *= count
    return Content(json.dumps(document).encode(), one.media_type, one.blobs)


SPDX = b'{"spdxVersion":"SPDX-2.3","name":"x","packages":['
PACKAGE = b'{"name":"p","versionInfo":"1"},'
PREDICATE = (
    b'{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://spdx.dev/Document",'
)
DEVICES = [
    entry("dev/mem", type=tarfile.CHRTYPE, devmajor=1, devminor=1),
    entry("dev/sda", type=tarfile.BLKTYPE, devmajor=8),
    entry("dev/pipe", type=tarfile.FIFOTYPE),
]
OUTSIDE = [
    entry("../../../tmp/hostile", b"x"),
    entry("/tmp/hostile", b"x"),
    symlink("up", "../../../../tmp"),
    entry("up/hostile", b"x"),
    hardlink("shadow", "/../../etc/shadow"),
]
WHITEOUTS = [entry(name) for name in (".wh.", ".wh..", ".wh...", "a/.wh..wh.x", ".wh..wh..opq")]
LOOPS = [
    symlink("a", "b"),
    symlink("b", "a"),
    symlink("s", "."),
    entry("a/x"),
    entry("s/" * 99 + "y"),
]
LONG = [
    entry("n" * 65_536, b"x"),
    entry("/".join("d" * 30_000), b"x"),
    symlink("l", "t" * 65_536),
]
CUT = tar_of([entry("a", b"a" * 9999)])[:5000]

HOSTILE: dict[str, tuple[Callable[[], Content], str]] = {
    "a bomb of entries": (lambda: built(many(20_000)), ""),
    "a bomb of zeros": (lambda: built(bomb(128)), ""),
    "a terabyte that is not there": (lambda: built(declared(1 << 40)), "truncated"),
    "a terabyte of holes": (lambda: built(holes(1 << 40)), ""),
    "names of 64 KiB": (lambda: built(packed(*LONG)), "too long for any file system"),
    "paths that lead out": (lambda: built(packed(*OUTSIDE)), "leads out of the root"),
    "devices": (lambda: built(packed(*DEVICES)), ""),
    "whiteouts of nothing": (lambda: built(packed(*WHITEOUTS)), ""),
    "links in circles": (lambda: built(packed(*LOOPS)), ""),
    "a truncated gzip": (lambda: built(packed(*SOUND, entry("a", b"a" * 9999))[:-20]), "gzip"),
    "a truncated tar": (
        lambda: built(gzip.compress(tar_of([entry("a", b"a" * 9999)])[:5000])),
        "tar is truncated",
    ),
    "trailing bytes": (lambda: built(packed(*SOUND) + b"trailing" * 99), "gzip"),
    "another compression": (lambda: built(Blob(b"\xfd7zXZ\x00" + bytes(99))), "xz"),
    "not a tar": (lambda: built(Blob(b"PK\3\4" * 999)), "not a tar archive"),
    "an encrypted layer": (lambda: built(Blob(b"s" * 99, f"{OCI_LAYER}+encrypted")), "encrypted"),
    "a foreign layer": (
        lambda: built(
            Blob(
                b"elsewhere",
                "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
                {"urls": ["https://example.org/layer"]},
                stored=False,
            )
        ),
        "kept elsewhere",
    ),
    "a missing layer": (lambda: built(Blob(b"gone", stored=False)), "no such blob"),
    "a zstd that wants memory": (
        lambda: built(Blob(b"\x28\xb5\x2f\xfd\x00\xa8" + bytes(99), OCI_LAYER)),
        "zstd",
    ),
    "many layers, all the same": (lambda: layers_of(5_000), ""),
    "a config that is no JSON": (lambda: image([packed(*SOUND)], b"{" * 9999), ""),
    "a config of the wrong shape": (
        lambda: image([packed(*SOUND)], b'{"rootfs":[],"config":7}'),
        "",
    ),
    "a statement that is no JSON": (lambda: statement(b"\x00not JSON"), ""),
    "a statement in a million brackets": (lambda: statement(b"[" * 1_000_000), ""),
    "a statement of the wrong shape": (lambda: statement(b'{"predicate":[1],"subject":7}'), ""),
    "an SBOM of 8 MB": (
        lambda: statement(PREDICATE + b'"predicate":' + SPDX + PACKAGE * 250_000 + b"{}]}}"),
        "",
    ),
}
"""Name -> what is pushed, and what is said of it when its files are listed."""


@pytest.mark.parametrize("name", HOSTILE)
def test_commands_on_a_hostile_image(name: str, tree: TreeBuilder, tmp_path: Path) -> None:
    make, words = HOSTILE[name]
    tree.push("app", "sound", built(packed(entry("a", b"a"))))
    tree.push("app", "v1", make())
    before, place = tree.files("."), tmp_path / "here"
    place.mkdir()
    runs = commands_apart(tree, place, COMMANDS)
    wrong = [
        (command, *why) for command, told in runs.told.items() for why in faults(command, told)
    ]
    assert wrong == []
    if words:
        assert words in runs.told["files app:v1 -R"].stderr
    assert runs.peak < PEAK
    assert tree.files(".") == before
    assert {path.name for path in place.iterdir()} <= {"cache"}


def faults(command: str, told: Told) -> Iterator[tuple[str, int, str]]:
    """Yield what is wrong with the end of a command."""
    lines = told.stderr.splitlines()
    if told.code not in (0, 1, 2, 3, 4):
        yield "exit code", told.code, told.stderr
    if "internal error" in told.stderr:
        yield "raised", told.code, told.stderr
    if len(lines) > LINES or any(len(line) > 1000 for line in lines):
        yield "talks too much", told.code, told.stderr[:2000]
    if not all(re.match("regfs: ", line) and line.isprintable() for line in lines):
        yield "no line of regfs", told.code, told.stderr[:2000]
    if told.code and not lines and not command.startswith(ANSWERS):
        yield "says nothing", told.code, ""
