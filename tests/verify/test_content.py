"""Level content: layers are unpacked, and images are what their configs say."""

from __future__ import annotations

import gzip
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.findings import Code, Severity
from regfs.verify import Level
from tests.support.builder import (
    CACHE_CONFIG,
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_SCHEMA1,
    IN_TOTO,
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_LAYER,
    Blob,
    TreeBuilder,
    artifact,
    buildkit,
    cache_index,
    digest_of,
    dumps,
    image,
    index,
    raw,
    schema1,
    tar,
)
from tests.support.packings import PACKINGS, zstd
from tests.support.reference import ReferenceRegistry, copy, needs_programs, run
from tests.support.unpacking import FILES, OCI_TAR, fitting, packed, verify
from tests.support.verification import check, codes, grave, only, stocked, touched

# -- what is whole ---------------------------------------------------------------------


@pytest.mark.parametrize("way", PACKINGS)
def test_layers_packed_in_any_way_are_whole(tree: TreeBuilder, way: str) -> None:
    tree.push("app", "v1", fitting((packed(way), FILES)))
    result = verify(tree)
    assert result.findings == ()
    assert result.level is Level.CONTENT


@st.composite
def tars(draw: st.DrawFn) -> bytes:
    names = st.text("abc/ü", min_size=1, max_size=150)
    return tar(draw(st.dictionaries(names, st.binary(max_size=3000), max_size=6)))


@given(st.lists(st.tuples(tars(), st.sampled_from(sorted(PACKINGS))), min_size=1, max_size=4))
def test_any_tar_in_any_packing_is_whole(
    tmp_path_factory: pytest.TempPathFactory, layers: list[tuple[bytes, str]]
) -> None:
    tree = TreeBuilder(tmp_path_factory.mktemp("tree"))
    tree.push("app", "v1", fitting(*((packed(way, data), data) for data, way in layers)))
    assert verify(tree).findings == ()


def test_what_holds_no_tar_is_only_hashed(tree: TreeBuilder) -> None:
    tree.push("attested", "v1", buildkit(image(["app"])))
    tree.push("artifact", "v1", artifact([Blob(b"sbom", "text/spdx")]))
    tree.push("cache", "index", cache_index())
    chart = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
    helm = image(
        [Blob(b"a chart", chart)], b"{}", config_type="application/vnd.cncf.helm.config.v1+json"
    )
    tree.push("chart", "v1", helm)
    tree.push("cache", "image", image([Blob(b"cached", IN_TOTO)], b"{}", config_type=CACHE_CONFIG))
    wasm = Blob(b"\0asm", "application/vnd.wasm.content.layer.v1+wasm")
    tree.push("wasm", "v1", image([wasm], {"rootfs": {"diff_ids": []}}))
    assert codes(verify(tree)) == []


MODEL = dumps({"rootfs": {"type": "rootfs", "diff_ids": []}})
ORAS: list[dict[str, Any]] = [
    {"config_type": "application/vnd.unknown.config.v1+json"},
    {"config_type": "application/vnd.docker.ai.model.config.v0.1+json", "config": MODEL},
    {"config_type": OCI_EMPTY, "artifact_type": "application/vnd.example"},
    {"config_type": OCI_CONFIG},
    {"config_type": DOCKER_CONFIG, "docker": True},
]


@pytest.mark.parametrize("about", ORAS)
def test_only_what_the_config_of_an_image_names_is_unpacked(
    tree: TreeBuilder, about: dict[str, Any]
) -> None:
    title = {"annotations": {"org.opencontainers.image.title": "note.txt"}}
    note = Blob(b"a plain file that oras calls a layer", OCI_TAR, title)
    tree.push("oras", "v1", image([note], **{"config": b"{}", **about}))
    assert codes(verify(tree)) == []
    # The same file in an image is a layer that cannot be unpacked, and harms the image.
    tree.push("app", "v1", image([note]))
    result = verify(tree)
    assert codes(result) == ["layer-unreadable"]


def test_encrypted_and_foreign_layers_are_no_errors(tree: TreeBuilder) -> None:
    secret = Blob(os.urandom(2000), f"{OCI_LAYER}+encrypted")
    foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    absent = Blob(gzip.compress(FILES), foreign, {"urls": ["https://example.com/x"]}, stored=False)
    tree.push("app", "v1", fitting((secret, b"plain"), (absent, FILES), (packed("gzip"), FILES)))
    assert codes(verify(tree)) == []


def test_a_layer_named_by_another_algorithm_is_compared_too(tree: TreeBuilder) -> None:
    named = Blob(gzip.compress(FILES), OCI_LAYER, algorithm="sha512")
    tree.push("right", "v1", fitting((named, FILES)))
    assert codes(verify(tree)) == []
    tree.push("wrong", "v1", fitting((named, b"another")))
    assert touched(verify(tree)) == {"wrong:v1"}


# -- what is not -----------------------------------------------------------------------


def flipped(data: bytes, place: int) -> bytes:
    changed = bytearray(data)
    changed[place % len(data)] ^= 1
    return bytes(changed)


@given(st.sampled_from(sorted(PACKINGS)), st.integers(0, 499))
def test_one_bit_in_a_file_is_a_diffid_mismatch_of_the_images_that_see_it(
    tmp_path_factory: pytest.TempPathFactory, way: str, place: int
) -> None:
    tree = stocked(TreeBuilder(tmp_path_factory.mktemp("tree")))
    hello = FILES.index(b"hello" * 100)
    other = flipped(FILES, hello + place)
    layer = packed(way, other)
    tree.push("app", "wrong", fitting((layer, FILES)))
    tree.push("app", "index", index(fitting((layer, FILES), author="x"), image(["arm"])))
    tree.push("app", "right", fitting((layer, other)))
    result = verify(tree)
    assert codes(result) == ["diffid-mismatch"] * 2
    assert touched(result) == {"app:wrong", "app:index"}
    for row in grave(result):
        assert row.finding.path == tree.relative(tree.blob_path(layer.digest))
        assert (row.finding.expected, row.finding.actual) == (digest_of(FILES), digest_of(other))


def test_only_the_images_that_are_asked_for_are_compared(tree: TreeBuilder) -> None:
    tree.push("app", "right", fitting((packed("gzip"), FILES)))
    tree.push("app", "wrong", fitting((packed("gzip"), b"another")))
    assert codes(verify(tree, "app:right")) == []
    assert codes(verify(tree, "app:wrong")) == ["diffid-mismatch"]


def test_images_that_share_a_config_are_told_apart(tree: TreeBuilder) -> None:
    tree.push("app", "gzip", fitting((packed("gzip"), FILES)))
    tree.push("app", "zstd", fitting((packed("zstd", tar({"x": b""})), FILES)))
    assert touched(verify(tree)) == {"app:zstd"}


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "gzip cut off": lambda data: gzip.compress(data)[:-9],
    "gzip with garbage behind": lambda data: gzip.compress(data) + b"garbage",
    "zstd cut off": lambda data: zstd(data)[:-9],
    "no tar": lambda data: gzip.compress(b"text" * 1000),
    "tar cut off": lambda data: gzip.compress(data[:700]),
    "header changed": lambda data: gzip.compress(flipped(data, 3)),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_a_layer_that_cannot_be_unpacked_spoils_every_image(tree: TreeBuilder, damage: str) -> None:
    data = BROKEN[damage](FILES)
    layer = Blob(data, OCI_TAR + ("+zstd" if "zstd" in damage else "+gzip"))
    tree.push("app", "whole", image([packed("gzip")]))
    for tag in ("one", "two"):
        config = {"author": tag, "rootfs": {"diff_ids": [digest_of(FILES)] * 2}}
        tree.push("app", tag, image([packed("gzip"), layer], dumps(config)))
    result = verify(tree)
    assert codes(result) == ["layer-unreadable"]
    row = only(result, Code.LAYER_UNREADABLE)
    assert row.images == ("app:one", "app:two")
    assert row.finding.path == tree.relative(tree.blob_path(layer.digest))
    assert row.finding.actual


def test_of_a_corrupt_layer_nothing_else_is_said(tree: TreeBuilder) -> None:
    tree.push("app", "v1", fitting((packed("gzip"), FILES)))
    tree.break_("blob-truncated", "app", "v1")
    assert codes(verify(tree)) == ["blob-corrupt"]


def test_a_media_type_that_says_otherwise_is_a_warning(tree: TreeBuilder) -> None:
    layer = Blob(zstd(FILES), DOCKER_LAYER)
    tree.push("app", "v1", fitting((layer, FILES)))
    result = verify(tree)
    assert codes(result) == ["layer-type-mismatch"]
    finding = only(result, Code.LAYER_TYPE_MISMATCH).finding
    assert (finding.expected, finding.actual) == ("gzip", "zstd")
    assert finding.severity is Severity.WARNING


EMPTY = {"created_by": "x", "empty_layer": True}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"rootfs": {"diff_ids": []}}, [("layer-count-mismatch", "error")]),
        ({"rootfs": {"diff_ids": [digest_of(FILES)] * 2}}, [("layer-count-mismatch", "error")]),
        ({"history": [EMPTY]}, [("layer-count-mismatch", "warning")]),
        ({"history": [{}, EMPTY]}, []),
        ({"history": []}, []),
        ({"history": None}, []),
    ],
)  # fmt: skip
def test_a_config_counts_the_layers_of_its_image(
    tree: TreeBuilder, config: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    whole = json.loads(fitting((packed("gzip"), FILES)).blobs[0].data)
    digest = tree.push("app", "v1", image([packed("gzip")], dumps({**whole, **config})))
    rows = grave(verify(tree))
    assert [(row.finding.code, row.finding.severity) for row in rows] == expected
    assert {row.finding.path for row in rows} <= {tree.relative(tree.blob_path(digest))}


@pytest.mark.parametrize(
    "config", [b"no JSON", b"[]", b'{"rootfs": 7}', b"{" * 100_000, b" " * (5 << 20)]
)
def test_a_config_that_is_none_is_told(tree: TreeBuilder, config: bytes) -> None:
    tree.push("app", "v1", image([packed("gzip")], config))
    result = verify(tree)
    assert codes(result) == ["config-unreadable"]
    assert only(result, Code.CONFIG_UNREADABLE).finding.digest == digest_of(config)
    assert touched(result) == {"app:v1"}


def test_schema1_has_layers_and_a_signature(tree: TreeBuilder) -> None:
    signed = schema1("old", "v1", [packed("gzip")])
    tree.push("old", "v1", signed)
    assert codes(verify(tree)) == []
    garbled = {**signed.document, "signatures": [{"protected": "no base64"}]}
    digest = tree.push("old", "v2", raw(garbled, DOCKER_SCHEMA1, [packed("gzip")]))
    result = verify(tree)
    assert codes(result) == ["signature-missing"]
    assert only(result, Code.SIGNATURE_MISSING).finding.digest == digest
    assert touched(result) == {"old:v2"}


def test_registries_since_2_5_store_schema1_without_its_signature(tree: TreeBuilder) -> None:
    signed = schema1("old", "v1", [packed("gzip")])
    document = {key: value for key, value in signed.document.items() if key != "signatures"}
    digest = tree.push("old", "v1", raw(document, DOCKER_SCHEMA1, [packed("gzip")]))
    row = only(verify(tree), Code.SIGNATURE_MISSING)
    assert (row.finding.digest, row.finding.severity) == (digest, Severity.INFO)


def test_layers_of_schema1_are_unpacked(tree: TreeBuilder) -> None:
    tree.push("old", "v1", schema1("old", "v1", [Blob(gzip.compress(b"no tar" * 200))]))
    assert codes(verify(tree)) == ["layer-unreadable"]


def test_other_levels_unpack_nothing(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image([Blob(b"no tar" * 200)]))
    assert codes(check(tree, level=Level.DIGESTS)) == []
    assert codes(verify(tree)) == ["layer-unreadable"]


# -- written by others -----------------------------------------------------------------


def layout_of_umoci(folder: Path) -> str:
    run("umoci", "init", "--layout", folder)
    run("umoci", "new", "--image", f"{folder}:v1")
    for number in range(3):
        source = folder.parent / f"file{number}"
        source.write_bytes(random.Random(number).randbytes(200_000) + bytes(300_000))
        run("umoci", "insert", "--rootless", "--image", f"{folder}:v1", source, f"/in/{number}")
    return f"oci:{folder}:v1"


@needs_programs("docker-registry", "skopeo", "umoci")
@pytest.mark.parametrize(
    ("options", "packing"),
    [
        ((), "gzip"),
        (("--dest-compress-format", "zstd"), "zstd"),
        (("--dest-decompress",), ""),
        (("--format", "v2s2"), "gzip"),
    ],
)
def test_images_of_real_tools_are_whole(
    tmp_path: Path, options: tuple[str, ...], packing: str
) -> None:
    source = layout_of_umoci(tmp_path / "layout")
    tree = TreeBuilder(tmp_path / "tree")
    with ReferenceRegistry(tree.root) as registry:
        copy(source, registry.image("app:v1"), *options)
    layers = tree.document(tree.current("app", "v1"))["layers"]
    assert all(packing in layer["mediaType"] for layer in layers)
    assert codes(verify(tree)) == []
    damaged = tree.blob_path(layers[1]["digest"])
    damaged.write_bytes(flipped(damaged.read_bytes(), 5000))
    assert codes(verify(tree)) == ["blob-corrupt"]
