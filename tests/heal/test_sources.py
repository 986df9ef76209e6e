"""Sources in folders and archives: what they have, and that a hostile one does no harm."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from regfs.digest import Digest
from regfs.errors import Invalid, NotARegistry, SourceError, SourceLacks, StoreError
from regfs.heal.opening import open_source
from regfs.heal.report import HealState
from regfs.heal.source import BlobRequest
from regfs.stores import Store
from tests.support.backups import ARM, ONE, heal_from, stocked
from tests.support.builder import Blob, TreeBuilder, dumps, image
from tests.support.reference import copy, make_oci_layout, needs_programs

LAYER = ONE.blobs[1]
WANTED = BlobRequest(Digest(LAYER.digest))


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    return stocked(tree)


@pytest.fixture
def oci(tmp_path: Path) -> Path:
    make_oci_layout(tmp_path / "layout", {"v1": ONE, "arm": ARM})
    return tmp_path / "layout"


def ruined(shop: TreeBuilder) -> dict[str, str]:
    """Take all content of an image away; return what the files were."""
    good = shop.files()
    for digest in (ONE.digest, *(blob.digest for blob in ONE.blobs)):
        shop.delete_blob(digest)
    return good


def read(place: str | Path, wanted: BlobRequest = WANTED) -> bytes:
    with closing(open_source(str(place))) as source, source.open(wanted) as stream:
        return stream.read()


def packed(path: Path, members: Iterable[tuple[str, bytes | str]]) -> Path:
    """Write a tar; a text for content is a symbolic link."""
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


LAYOUT = ("oci-layout", b"{}")
BLOB = f"blobs/sha256/{LAYER.digest[7:]}"


# -- every kind, as the real programs write it ---------------------------------


@pytest.mark.parametrize("place", ["{}", "oci:{}", "oci:{}:v1"])
def test_an_oci_layout_heals(shop: TreeBuilder, oci: Path, place: str) -> None:
    good = ruined(shop)
    assert heal_from(shop, place.format(oci)).broken == 0
    assert shop.files() == good


def test_a_tree_named_by_any_of_its_folders_heals(shop: TreeBuilder, tmp_path: Path) -> None:
    other = stocked(TreeBuilder(tmp_path / "other"))
    good = ruined(shop)
    assert heal_from(shop, other.v2).broken == 0
    assert shop.files() == good


class _BadSector:
    """A store on a disk that cannot read one blob to its end."""

    def __init__(self, store: Store, digest: str) -> None:
        self._store, self._bad = store, digest[7:]

    def snapshot(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def open(self, path: str) -> BinaryIO:
        stream = self._store.open(path)
        return cast(BinaryIO, _Torn(stream)) if self._bad in path else stream


class _Torn(io.RawIOBase):
    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream, self._reads = stream, 0

    def read(self, size: int = -1, /) -> bytes:
        self._reads += 1
        if self._reads > 1:
            raise StoreError("data: input/output error: the disk or the network failed")
        return self._stream.read(10)

    def close(self) -> None:
        self._stream.close()
        super().close()


@pytest.mark.parametrize("torn", [LAYER.digest, ONE.digest])
@pytest.mark.parametrize("kind", ["tree", "layout"])
def test_one_bad_sector_in_a_source_blocks_nothing_else(
    shop: TreeBuilder, tmp_path: Path, torn: str, kind: str
) -> None:
    if kind == "tree":
        place = str(stocked(TreeBuilder(tmp_path / "other")).root)
    else:
        make_oci_layout(tmp_path / "layout", {"v1": ONE, "arm": ARM})
        place = str(tmp_path / "layout")
    good = ruined(shop)
    with closing(open_source(place)) as source:
        source._store = _BadSector(source._store, torn)  # type: ignore[attr-defined]
        healed = heal_from(shop, source)
    (failed,) = [one for one in healed.outcomes if one.state is not HealState.HEALED]
    assert (failed.digest, failed.state) == (Digest(torn), HealState.FAILED)
    assert failed.message.startswith(f"{source.url}: ")
    assert "input/output error" in failed.message
    assert (healed.broken, healed.stopped) == (1, None)
    assert heal_from(shop, place).broken == 0
    assert shop.files() == good


@needs_programs("skopeo")
@pytest.mark.parametrize("packing", ["tar", "gz", "zst"])
@pytest.mark.parametrize("prefix", ["", "oci-archive:"])
def test_an_oci_archive_of_skopeo_heals(
    shop: TreeBuilder, oci: Path, tmp_path: Path, packing: str, prefix: str
) -> None:
    archive = tmp_path / "image.tar"
    copy(f"oci:{oci}:v1", f"oci-archive:{archive}:v1", "--preserve-digests")
    if packing == "gz":
        archive.write_bytes(gzip.compress(archive.read_bytes()))
    elif packing == "zst":
        zstd = pytest.importorskip("backports.zstd")
        archive.write_bytes(zstd.compress(archive.read_bytes()))
    good = ruined(shop)
    assert heal_from(shop, f"{prefix}{archive}").broken == 0
    assert shop.files() == good


@needs_programs("skopeo")
@pytest.mark.parametrize("prefix", ["", "docker-archive:"])
def test_a_docker_archive_heals_what_is_plain_and_says_so_of_the_rest(
    tree: TreeBuilder, tmp_path: Path, prefix: str
) -> None:
    plain = Blob(gzip.decompress(LAYER.data))
    mixed = image([plain, "packed"])
    tree.push("app", "v1", mixed)
    make_oci_layout(tmp_path / "layout", {"v1": mixed})
    archive = tmp_path / "image.tar"
    copy(f"oci:{tmp_path / 'layout'}:v1", f"docker-archive:{archive}:app:v1")
    for blob in mixed.blobs:
        tree.delete_blob(blob.digest)
    healed = heal_from(tree, f"{prefix}{archive}")
    found = {one.digest: (one.state.value, one.message) for one in healed.outcomes}
    assert found[Digest(plain.digest)] == ("healed", "")
    state, message = found[Digest(mixed.blobs[2].digest)]
    assert state == "lacking"
    assert "uncompressed layers" in message
    assert "\n" not in message
    # Whether the config comes through depends on the program: it may write another one.
    assert tree.blob_path(plain.digest).read_bytes() == plain.data


def test_docker_save_of_old_names_layers_by_id_and_links_them(tmp_path: Path) -> None:
    plain = gzip.decompress(LAYER.data)
    config = dumps({"rootfs": {"diff_ids": [LAYER.diff_id(), LAYER.diff_id()]}})
    name = Blob(config).digest[7:] + ".json"
    layers = ["aa/layer.tar", "bb/layer.tar"]
    archive = packed(
        tmp_path / "saved.tar",
        [
            ("aa/layer.tar", plain),
            ("bb/layer.tar", "../aa/layer.tar"),
            (name, config),
            ("manifest.json", dumps([{"Config": name, "Layers": layers}])),
        ],
    )
    assert read(archive, BlobRequest(Digest(LAYER.diff_id()))) == plain
    assert read(archive, BlobRequest(Digest(Blob(config).digest))) == config
    with pytest.raises(SourceLacks, match="uncompressed layers"):
        read(archive)


# -- what is no source ---------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "oci:", "oci-archive:", "docker-archive:"])
def test_what_is_not_there_is_told_in_one_line(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(NotARegistry) as caught:
        open_source(f"{prefix}{tmp_path}/nothing")
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_registry_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(NotARegistry):
        open_source(str(tmp_path))
    with pytest.raises(NotARegistry):
        open_source(f"oci:{tmp_path}")


@pytest.mark.parametrize("text", ["docker://", "http://:80", "https://host:port", "docker:///x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        open_source(text)


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(SourceError, match="not a regular file"):
        open_source(f"oci-archive:{tmp_path / 'fifo'}")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no tar at all" * 100,
        b"\x1f\x8b broken gzip",
        b"\x28\xb5\x2f\xfd broken zstd",
        gzip.compress(b"x" * 10_000, mtime=0)[:-20],
    ],
    ids=["empty", "text", "gzip", "zstd", "cut"],
)
def test_what_is_no_archive_is_told_in_one_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises((SourceError, NotARegistry)) as caught:
        open_source(str(tmp_path / "a.tar"))
    assert "\n" not in str(caught.value)


# -- hostile ones --------------------------------------------------------------


def test_a_cut_off_archive_gives_what_is_whole_or_nothing(
    shop: TreeBuilder, oci: Path, tmp_path: Path
) -> None:
    files = [(str(p.relative_to(oci)), p.read_bytes()) for p in oci.rglob("*") if p.is_file()]
    whole = packed(tmp_path / "whole.tar", sorted(files, reverse=True)).read_bytes()
    good = ruined(shop)
    for length in range(512, len(whole), 1111):
        (tmp_path / "cut.tar").write_bytes(whole[:length])
        try:
            heal_from(shop, tmp_path / "cut.tar")
        except (SourceError, NotARegistry):
            continue
        assert all(good.get(path) == digest for path, digest in shop.files().items())


@pytest.mark.parametrize("name", ["/etc/passwd", "../../escape", "a/../../escape", "./" + BLOB])
def test_names_in_an_archive_lead_nowhere(tmp_path: Path, name: str) -> None:
    before = set(tmp_path.parent.iterdir())
    archive = packed(tmp_path / "a.tar", [LAYOUT, (name, b"evil"), (BLOB, LAYER.data)])
    assert read(archive) == LAYER.data
    assert set(tmp_path.parent.iterdir()) == before


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../../etc/passwd", BLOB.split("/")[-1]])
def test_a_link_in_an_archive_is_no_content(tmp_path: Path, target: str) -> None:
    archive = packed(tmp_path / "a.tar", [LAYOUT, (BLOB, target)])
    with pytest.raises(SourceLacks):
        read(archive)


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    manifest = dumps([{"Config": "a", "Layers": ["a", "b"]}])
    archive = packed(tmp_path / "a.tar", [("a", "b"), ("b", "a"), ("manifest.json", manifest)])
    with pytest.raises(SourceLacks):
        read(archive)


def test_of_two_members_with_one_name_the_last_counts_and_is_verified(
    shop: TreeBuilder, tmp_path: Path
) -> None:
    good = shop.files()
    shop.delete_blob(LAYER.digest)
    bad = packed(tmp_path / "bad.tar", [LAYOUT, (BLOB, LAYER.data), (BLOB, b"evil")])
    assert heal_from(shop, bad).broken == 1
    assert not shop.blob_path(LAYER.digest).exists()
    fine = packed(tmp_path / "fine.tar", [LAYOUT, (BLOB, b"evil"), (BLOB, LAYER.data)])
    assert heal_from(shop, fine).broken == 0
    assert shop.files() == good


def test_a_header_that_claims_to_be_huge_is_not_read(tmp_path: Path) -> None:
    huge = tarfile.TarInfo("x")
    huge.type, huge.size = tarfile.XHDTYPE, 4 << 30
    path = tmp_path / "a.tar"
    path.write_bytes(huge.tobuf())
    os.truncate(path, 5 << 30)  # a hole: it takes no room
    with pytest.raises(SourceError, match="too long"):
        open_source(str(path))


@pytest.mark.parametrize(
    "manifest",
    [
        b"[" * 100_000,
        b'[{"Config": 7, "Layers": 7}]',
        b'{"Config": []}',
        b'[[], null, {"Config": "c", "Layers": ["c"]}]',
    ],
    ids=["deep", "numbers", "object", "mixed"],
)
def test_a_manifest_of_an_archive_may_hold_anything(tmp_path: Path, manifest: bytes) -> None:
    config = b'{"rootfs": {"diff_ids": [7, null, "sha256:x"]}}'
    archive = packed(tmp_path / "a.tar", [("manifest.json", manifest), ("c", config)])
    with pytest.raises(SourceLacks):
        read(archive)


@pytest.mark.parametrize("kind", ["fifo", "folder", "outside"])
def test_what_is_no_file_in_a_layout_is_not_opened(oci: Path, kind: str) -> None:
    path = oci / BLOB
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/etc/passwd")
    with pytest.raises(SourceError):
        read(oci)
    with closing(open_source(str(oci))) as source, pytest.raises(SourceError):
        source.size(WANTED)


def test_a_tree_is_no_source_for_itself_when_it_lacks_the_thing(shop: TreeBuilder) -> None:
    shop.delete_blob(LAYER.digest)
    before = shop.files()
    healed = heal_from(shop, shop.root)
    assert healed.broken == 1
    assert shop.files() == before
