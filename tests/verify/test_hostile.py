"""Trees made to fool, hang or exhaust verify: it ends, says what it met, and stays small."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from regfs.manifests import LIMIT
from regfs.reports.causes import NAMED
from regfs.verify import Level
from regfs.verify.report import ROWS_LIMIT
from tests.support.builder import (
    OCI_INDEX,
    OCI_MANIFEST,
    TreeBuilder,
    digest_of,
    dumps,
    image,
    index,
    layer,
)
from tests.support.hostile import verify_apart
from tests.support.verification import BASE, V1, stocked

MB = 1 << 20
DEEPEST = list(Level)[-1].value
LEVELS = [level.value for level in Level]
SECRET = b"what lies outside of the tree"

Expected = set[tuple[str, str]]


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    return stocked(tree)


# -- things that are not what they should be ----------------------------------


class Zoo:
    """A tree with one of each horror; `expected` is what any level has to say of them."""

    def __init__(self, tree: TreeBuilder, outside: Path) -> None:
        self.tree = tree
        self.outside = outside
        self.expected: Expected = set()
        self._count = 0
        outside.mkdir()
        (outside / "data").write_bytes(SECRET)
        (outside / "link").write_bytes(SECRET)

    def expect(self, code: str, path: Path) -> None:
        self.expected.add((code, self.tree.relative(path)))

    def blob(self) -> Path:
        """Return the data of a new blob that an image uses."""
        self._count += 1
        content = f"layer {self._count}".encode()
        self.tree.push("zoo", f"t{self._count}", image([content.decode()]))
        return self._emptied(self.tree.blob_path(self._layer()))

    def link(self) -> Path:
        self._count += 1
        self.tree.push("zoo", f"t{self._count}", image([f"layer {self._count}"]))
        return self._emptied(self.tree.layer_path("zoo", self._layer()))

    def _layer(self) -> str:
        current = self.tree.current("zoo", f"t{self._count}")
        return str(self.tree.document(current)["layers"][0]["digest"])

    def _emptied(self, path: Path) -> Path:
        path.unlink()
        return path

    def specials(self) -> None:
        """FIFOs, sockets and devices as data, as link and as folder."""
        for place in (self.blob(), self.link()):
            os.mkfifo(place)
            self.expect("special-file", place)
        for folder in ("blobs/sha256/zz", "repositories/zoo/_layers/sha512", "repositories/fifo"):
            os.mkfifo(self.tree.v2 / folder)
            self.expect("special-file", self.tree.v2 / folder)
        for place in (self.blob(), self.link()):
            with bound_socket(place):
                self.expect("special-file", place)
        if os.geteuid() == 0:
            for place in (self.blob(), self.link()):
                with suppress(PermissionError):  # some containers keep even root from it
                    os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # never ends
                    self.expect("special-file", place)

    def symlinks(self) -> None:
        """Links that loop, lead out, or lead to another thing inside."""
        for place in (self.blob(), self.link()):
            for code, target in (
                ("symlink-outside", self.outside / place.name),
                ("symlink-outside", Path("/etc/passwd")),
                ("symlink-outside", Path("/dev/zero")),
                ("symlink-outside", Path("/")),
                ("symlink-loop", Path(place.name)),
                ("symlink-loop", Path("nowhere")),
            ):
                self._link(code, self.blob() if place.name == "data" else self.link(), target)
            inside = self.tree.blob_path(V1.digest)
            self._link("symlink-inside", place, inside)
        for name, code, target in (
            ("out", "symlink-outside", self.outside),
            ("root", "symlink-outside", Path("/")),
            ("up", "symlink-loop", Path("../zoo")),
            ("round", "symlink-loop", Path("round")),
            ("twice", "symlink-inside", Path("../app")),
        ):
            self._link(code, self.tree.repository_path("zoo") / name, target)

    def _link(self, code: str, place: Path, target: Path) -> None:
        place.symlink_to(target)
        self.expect(code, place)

    def misfits(self) -> None:
        """A folder where a file belongs, a file where a folder belongs, a link without end."""
        for place in (self.blob(), self.link()):
            place.mkdir()
            self.expect("path-unreadable", place)
        self.expect("foreign-path", self.tree.write(self.tree.v2 / "blobs/sha256/yy", b"x"))
        sparse = self.link()
        with open(sparse, "wb") as stream:
            stream.truncate(1 << 40 if sparse_files(sparse) else 0)
        self.expect("link-empty", sparse)

    def names(self) -> None:
        """Names that are no text, break lines, colour a terminal, or are very long."""
        for name in (b"\xff\xfe", b"caf\xe9"):
            for place in ("repositories", "blobs/sha256", "repositories/zoo/_uploads2"):
                path = self.tree.write(self.tree.v2 / place / os.fsdecode(name) / "x", b"x").parent
                if place != "repositories/zoo/_uploads2":
                    self.expect("name-not-utf8", path)
        for text in ("new\nline", "\x1b[31mred", "X" * 255, "é" * 127):
            stray = self.tree.blob_path(V1.digest).with_name(text)
            self.expect("foreign-path", self.tree.write(stray, b"x"))
            folder = self.tree.folder(self.tree.repository_path(text) / "_layers")
            self.expect("repository-invalid-name", folder.parent)


def sparse_files(beside: Path) -> bool:
    with tempfile.TemporaryFile(dir=beside.parent) as stream:
        try:
            stream.truncate(1 << 40)
        except OSError:
            return False
        return True


@contextmanager
def bound_socket(place: Path) -> Iterator[None]:
    """Leave a socket at a place whose path is too long to bind one at."""
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(place.parent, os.O_RDONLY)
        try:
            server.bind(f"/proc/self/fd/{here}/{place.name}")
        finally:
            os.close(here)
        yield


@pytest.fixture
def zoo(shop: TreeBuilder, tmp_path: Path) -> Zoo:
    zoo = Zoo(shop, tmp_path / "outside")
    zoo.symlinks()
    zoo.misfits()
    zoo.names()
    zoo.specials()
    return zoo


def listed(root: Path) -> dict[str, tuple[int, ...]]:
    """Return what lies below a folder, without opening or following anything."""
    found: dict[str, tuple[int, ...]] = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            found[path] = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ino)
    return found


@pytest.mark.parametrize("level", LEVELS)
def test_every_horror_at_once_is_told_and_nothing_is_touched(zoo: Zoo, level: str) -> None:
    before = listed(zoo.tree.root)
    run = verify_apart(zoo.tree, "--json", "--level", level, "--no-ledger")
    assert zoo.expected - run.findings() == set()
    assert run.code == 1
    assert SECRET not in run.stdout
    assert b"root:" not in run.stdout
    assert listed(zoo.tree.root) == before
    assert run.peak < 300 * MB


def test_names_do_not_reach_a_terminal_as_they_are(zoo: Zoo) -> None:
    run = verify_apart(zoo.tree, "-v", "--level", "links")
    assert b"\x1b[31mred" not in run.stdout
    assert b"new\nline" not in run.stdout
    run.stdout.decode("utf-8")
    lines = verify_apart(zoo.tree, "--ndjson", "--level", "links").stdout.decode().splitlines()
    assert {"code", "path"} <= json.loads(lines[0]).keys()
    assert zoo.expected <= {(one["code"], one["path"]) for one in map(json.loads, lines)}


# -- what nobody may read -----------------------------------------------------


@pytest.fixture
def public() -> Iterator[TreeBuilder]:
    """A stocked tree that anybody can get to, unlike pytest's own folders."""
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        yield stocked(TreeBuilder(folder / "registry"))
    finally:
        for path, _, _ in os.walk(folder):
            os.chmod(path, 0o700)
        shutil.rmtree(folder)


Hide = Callable[[TreeBuilder], Path]
HIDDEN: dict[str, Hide] = {
    "blob": lambda tree: tree.blob_path(digest_of(BASE)),
    "blob folder": lambda tree: tree.blob_path(digest_of(BASE)).parent,
    "blob prefix": lambda tree: tree.blob_path(digest_of(BASE)).parent.parent,
    "blobs": lambda tree: tree.v2 / "blobs",
    "manifest": lambda tree: tree.blob_path(V1.digest),
    "revision link": lambda tree: tree.revision_path("app", V1.digest),
    "layer link": lambda tree: tree.layer_path("app", digest_of(BASE)),
    "layer link folder": lambda tree: tree.layer_path("app", digest_of(BASE)).parent,
    "tag": lambda tree: tree.tag_path("app", "v1"),
    "tag folder": lambda tree: tree.tag_folder("app", "v1"),
    "repository": lambda tree: tree.repository_path("app"),
    "repositories": lambda tree: tree.v2 / "repositories",
}


@pytest.mark.parametrize("level", [Level.LINKS.value, DEEPEST])
@pytest.mark.parametrize("kind", HIDDEN)
def test_what_nobody_may_read_is_named_and_nothing_else_called_damaged(
    public: TreeBuilder, kind: str, level: str
) -> None:
    hidden = HIDDEN[kind](public)
    hidden.chmod(0)
    run = verify_apart(public, "--json", "--level", level, unprivileged=True)
    lost = {"blob-missing", "blob-corrupt", "link-dangling", "tag-dangling", "directory-empty"}
    assert not lost & {code for code, _ in run.findings()}
    if level == Level.LINKS.value and kind in ("blob", "manifest"):
        assert run.findings() == set()  # nobody opens them there
        return
    path = public.relative(hidden)
    unread = {"path-unreadable", "blob-unreadable", "manifest-unreadable"}
    assert any(code in unread and at.startswith(path) for code, at in run.findings())
    assert run.code == 1


def test_a_folder_of_fsck_that_only_root_may_read_is_no_error(public: TreeBuilder) -> None:
    for place in ("blobs", "repositories"):
        public.folder(public.v2 / place / "lost+found").chmod(0)
    run = verify_apart(public, "--json", unprivileged=True)
    assert {code for code, _ in run.findings()} == {"lost-and-found"}
    assert run.code == 0


# -- too much of everything ---------------------------------------------------


def retag(tree: TreeBuilder, data: bytes) -> str:
    digest = tree.blob(data)
    tree.revision("app", digest)
    tree.tag("app", "huge", digest)
    return digest


@pytest.mark.parametrize("level", ["sizes", DEEPEST])
def test_a_sparse_manifest_of_200_megabytes_is_not_read_into_memory(
    shop: TreeBuilder, level: str
) -> None:
    data = shop.blob_path(V1.digest)
    os.truncate(data, 200 * MB)
    run = verify_apart(shop, "--json", "--level", level)
    assert ("manifest-too-large", shop.relative(data)) in run.findings()
    assert run.peak < 200 * MB


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"manifests":[', b'{"config":'])
def test_json_as_deep_as_fits_is_no_manifest(shop: TreeBuilder, opening: bytes) -> None:
    digest = retag(shop, opening * ((LIMIT - 1) // len(opening)))
    run = verify_apart(shop, "--json")
    assert run.findings() == {("manifest-unreadable", shop.relative(shop.blob_path(digest)))}
    assert run.peak < 600 * MB


def child(digest: str, size: int, kind: str = OCI_MANIFEST) -> dict[str, object]:
    return {"mediaType": kind, "digest": digest, "size": size}


def index_of(*children: dict[str, object]) -> bytes:
    return dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(children)})


def test_a_chain_of_indexes_is_followed_to_its_end(tree: TreeBuilder) -> None:
    layer_bytes = layer({"bottom": b"x"})
    bottom = image([layer_bytes])
    digest = tree.push("app", None, bottom)
    size, kind = len(bottom.data), OCI_MANIFEST
    for _ in range(10_000):
        document = index_of(child(digest, size, kind))
        digest, size, kind = tree.blob(document), len(document), OCI_INDEX
        tree.revision("app", digest)
    tree.tag("app", "top", digest)
    assert verify_apart(tree, "--json", "--level", DEEPEST).findings() == set()
    missing = tree.blob_path(digest_of(layer_bytes))
    missing.unlink()
    (row,) = (
        one
        for one in verify_apart(tree, "--json", "--level", "sizes").document["findings"]
        if one["code"] == "blob-missing"
    )
    assert (row["path"], row["images"]) == (tree.relative(missing), ["app:top"])


def test_an_index_of_100_000_children_is_too_large(shop: TreeBuilder) -> None:
    children = [child(digest_of(str(number).encode()), 2) for number in range(100_000)]
    digest = retag(shop, index_of(*children))
    run = verify_apart(shop, "--json")
    assert ("manifest-too-large", shop.relative(shop.blob_path(digest))) in run.findings()
    assert run.peak < 300 * MB


def test_an_index_just_below_the_limit_is_told_in_bounds(shop: TreeBuilder) -> None:
    width = (LIMIT - 100) // (len(dumps(child(digest_of(b""), 2))) + 1)
    children = [child(digest_of(str(number).encode()), 2) for number in range(width)]
    document = index_of(*children)
    assert 0 <= LIMIT - len(document) < MB
    retag(shop, document)
    run = verify_apart(shop, "--json", "--level", DEEPEST)
    missing = [one for one in run.document["findings"] if one["code"] == "index-child-missing"]
    assert len(missing) == ROWS_LIMIT
    assert run.document["more"] == [
        {"code": "index-child-missing", "severity": "error", "count": width - ROWS_LIMIT}
    ]
    assert run.peak < 600 * MB


@pytest.fixture
def littered(shop: TreeBuilder) -> TreeBuilder:
    folder = os.open(shop.blob_path(V1.digest).parent, os.O_RDONLY)
    for number in range(100_000):
        os.close(os.open(f"stray {number}", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    return shop


def test_100_000_strays_are_counted_and_some_are_told(littered: TreeBuilder) -> None:
    run = verify_apart(littered, "--json", "--level", "links")
    assert len(run.document["findings"]) == ROWS_LIMIT
    more = 100_000 - ROWS_LIMIT
    assert run.document["more"] == [{"code": "foreign-path", "severity": "warning", "count": more}]
    assert run.peak < 300 * MB

    # They lie in one folder: that is one cause, which is told at once and summed up at the end.
    people = verify_apart(littered, "--level", "links")
    assert people.stdout.count(b"stray ") == 1 + NAMED
    assert b"100000 of one cause" in people.stdout
    assert people.stdout.count(b"\n") < 50

    people = verify_apart(littered, "--level", "links", "-v")
    assert people.stdout.count(b"stray ") == 1000
    assert b"100000" in people.stdout
    assert "more than 1000 of foreign-path" in people.stderr
    assert people.stdout.count(b"\n") < 3100

    lines = verify_apart(littered, "--ndjson", "--level", "links")
    assert lines.stdout.count(b"\n") == 100_000
    assert lines.peak < 300 * MB


# -- trees that do not keep still ---------------------------------------------


def churn(tree: TreeBuilder, stop: threading.Event) -> None:
    """Let things vanish, grow, and turn into other things, until told to stop."""
    turn = 0
    layers = [layer({str(number): b"x"}) for number in range(51)]
    while not stop.is_set():
        turn += 1
        number = turn % 50
        with suppress(OSError):
            data = tree.blob_path(digest_of(layers[number]))
            other = digest_of(layers[number + 1])
            link = tree.layer_path("app", other)
            shutil.rmtree(link.parent, ignore_errors=True)
            link.parent.write_bytes(b"a file now")
            with open(data, "ab") as stream:
                stream.write(b"more")
            os.unlink(link.parent)
            os.symlink("/etc", link.parent)
            os.unlink(link.parent)
            tree.layer_link("app", other)
            shutil.rmtree(tree.tag_folder("app", f"t{number}"), ignore_errors=True)
            shutil.rmtree(data.parent)
            tree.push("app", f"t{number}", image([layers[number]]))


@pytest.mark.parametrize("level", LEVELS)
def test_a_tree_that_changes_all_the_time(tree: TreeBuilder, level: str) -> None:
    for number in range(50):
        tree.push("app", f"t{number}", image([layer({str(number): b"x"})]))
    tree.push("other", "v1", index(image([BASE])))
    stop = threading.Event()
    thread = threading.Thread(target=churn, args=(tree, stop))
    thread.start()
    try:
        runs = [verify_apart(tree, "--json", "--level", level) for _ in range(3)]
    finally:
        stop.set()
        thread.join()
    for run in runs:
        assert not [path for _, path in run.findings() if "/other/" in path]
