"""Manifests of every kind, sound, doubtful and malformed: no digest is ever overlooked."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from regfs import manifests
from regfs.digest import Digest
from regfs.errors import DescriptorInvalid, ManifestInvalid, ManifestTooLarge
from regfs.manifests import Kind, Role, UnknownManifest, parse

FIXTURES = Path(__file__).parents[2] / "fixtures" / "manifests"
D = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32
SOUND: dict[str, tuple[str, Kind, str | None, dict[str, int]]] = {
    "oci-image": ("ImageManifest", Kind.IMAGE, None, {"config": 1, "layer": 2}),
    "oci-image-annotated": ("ImageManifest", Kind.IMAGE, None, {"config": 1, "layer": 2}),
    "oci-image-estargz": ("ImageManifest", Kind.IMAGE, None, {"config": 1, "layer": 2}),
    "oci-image-zstd": ("ImageManifest", Kind.IMAGE, None, {"config": 1, "layer": 2}),
    "oci-image-without-media-type": (
        *("ImageManifest", Kind.IMAGE, None),
        {"config": 1, "layer": 1},
    ),
    "oci-image-artifact": (
        *("ImageManifest", Kind.IMAGE, "application/vnd.cncf.helm.config.v1+json"),
        {"config": 1, "layer": 1},
    ),
    "oci-image-null-lists": (
        *("ImageManifest", Kind.IMAGE, "application/vnd.example.config"),
        {"config": 1},
    ),
    "oci-attestation": (
        *("ImageManifest", Kind.IMAGE, "application/vnd.docker.attestation.manifest.v1+json"),
        {"config": 1, "layer": 1, "subject": 1},
    ),
    "oci-attestation-old": ("ImageManifest", Kind.IMAGE, None, {"config": 1, "layer": 1}),
    "oci-buildkit-cache": (
        *("ImageManifest", Kind.IMAGE, manifests.BUILDKIT_CACHE),
        {"config": 1, "layer": 5},
    ),
    "oci-index-attested": ("ImageIndex", Kind.INDEX, None, {"manifest": 2}),
    "oci-index-platforms-attested": ("ImageIndex", Kind.INDEX, None, {"manifest": 4}),
    "oci-index-referrers": ("ImageIndex", Kind.INDEX, None, {"manifest": 2}),
    "oci-index-without-media-type": ("ImageIndex", Kind.INDEX, None, {"manifest": 2}),
    "oci-index-of-layers": ("ImageIndex", Kind.INDEX, None, {"blob": 6}),
    "oci-artifact": (
        *("ArtifactManifest", Kind.ARTIFACT, "application/vnd.example.sbom.v1"),
        {"blob": 1, "subject": 1},
    ),
    "oras-artifact": (
        *("ArtifactManifest", Kind.ARTIFACT, "signature/example"),
        {"blob": 1, "subject": 1},
    ),
    "docker-image": ("DockerManifest", Kind.IMAGE, None, {"config": 1, "layer": 2}),
    "docker-image-foreign-layer": ("DockerManifest", Kind.IMAGE, None, {"config": 1, "layer": 2}),
    "docker-list": ("DockerManifestList", Kind.INDEX, None, {"manifest": 2}),
    "docker-list-of-layers": ("DockerManifestList", Kind.INDEX, None, {"blob": 6}),
    "docker-schema1": ("DockerManifestV1", Kind.SCHEMA1, None, {"layer": 2}),
    "docker-schema1-signed": ("DockerManifestV1", Kind.SCHEMA1, None, {"layer": 2}),
}
DOUBTFUL: dict[str, tuple[int, str]] = {
    "unknown-media-type": (2, "unknown media type 'application/vnd.example.bundle.v1+json'"),
    "unknown-media-type-no-text": (3, "unknown media type 2"),
    "unknown-no-media-type": (1, "no media type"),
    "unknown-empty-object": (0, "no media type"),
    "unknown-image-config": (2, "no media type"),
    "unknown-image-and-index": (4, "has keys of more than one kind: image, index"),
    "unknown-index-with-layers": (1, "but keys of kind image"),
    "unknown-key-in-capitals": (4, "the key 'Layers' is a known key in different case"),
    "unknown-descriptor-key-in-capitals": (4, "the key 'Digest' is a known key in different case"),
    "unknown-key-twice": (4, "a key comes more than once"),
    "unknown-schema-version": (3, "unknown schemaVersion 3"),
    "unknown-digest-algorithm": (2, "layers[1].digest: unsupported digest algorithm: 'blake3:"),
    "unknown-escaped-digest": (1, "unknown media type"),
}
MALFORMED: dict[str, str] = {
    "malformed-empty": "not JSON: EOF",
    "malformed-truncated": "not JSON: EOF",
    "malformed-trailing": "not JSON: trailing characters",
    "malformed-byte-order-mark": "not JSON: expected value at line 1 column 1",
    "malformed-gzip": "not JSON: expected value at line 1 column 1",
    "malformed-zeros": "not JSON: expected value at line 1 column 1",
    "malformed-nan": "not JSON: expected value",
    "malformed-not-utf8": "not JSON: invalid unicode code point",
    "malformed-array": "JSON, but not an object",
    "malformed-null": "JSON, but not an object",
    "malformed-size-negative": "config.size: is negative",
    "malformed-size-fraction": "config.size: is not a whole number",
    "malformed-size-text": "config.size: is not a whole number",
    "malformed-size-true": "config.size: is not a whole number",
    "malformed-size-null": "config.size: is not a whole number",
    "malformed-size-huge": "config.size: is more than 2^63 - 1",
    "malformed-size-missing": "config.size: is missing",
    "malformed-digest-missing": "layers[1].digest: is missing",
    "malformed-digest-short": "layers[1].digest: not a digest: 'sha256:abcd'",
    "malformed-digest-capitals": "layers[1].digest: not a digest: 'sha256:2D",
    "malformed-digest-path": "layers[1].digest: not a digest: 'sha256:../../etc'",
    "malformed-digest-newline": "layers[1].digest: not a digest",
    "malformed-digest-number": "layers[1].digest: is not a string",
    "malformed-config-missing": "config: is missing",
    "malformed-config-list": "config: is not an object",
    "malformed-layers-object": "layers: is not a list",
    "malformed-layer-null": "layers[2]: is not an object",
    "malformed-subject-text": "subject: is not an object",
    "malformed-annotation-number": "annotations.count: is not a string",
    "malformed-list-of-text": "manifests: is not a list",
    "malformed-schema1-layer": "fsLayers[0].blobSum: not a digest: ''",
}


def read(name: str) -> bytes:
    return (FIXTURES / f"{name}.json").read_bytes()


def dumps(document: object) -> bytes:
    return json.dumps(document).encode()


def descriptor(digest: str = D, **more: object) -> dict[str, object]:
    return {"mediaType": "application/vnd.example", "digest": digest, "size": 3, **more}


def image(**more: object) -> dict[str, object]:
    return {
        "schemaVersion": 2,
        "mediaType": manifests.OCI_MANIFEST,
        "config": descriptor(),
        "layers": [],
        **more,
    }


# The fixtures
def test_every_fixture_is_tried() -> None:
    assert {path.stem for path in FIXTURES.iterdir()} == {*SOUND, *DOUBTFUL, *MALFORMED}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_manifest_says_what_it_is(name: str) -> None:
    model, kind, artifact_type, roles = SOUND[name]
    manifest = parse(read(name))
    assert type(manifest).__name__ == model
    assert manifest.kind is kind
    assert manifest.artifact_type == artifact_type
    assert Counter(reference.role.value for reference in manifest.references()) == roles
    assert manifest.media_type in manifests.MANIFEST_TYPES
    assert all(type(reference.digest) is Digest for reference in manifest.references())


@pytest.mark.parametrize("name", DOUBTFUL)
def test_a_doubtful_manifest_keeps_every_digest(name: str) -> None:
    count, problem = DOUBTFUL[name]
    manifest = parse(read(name))
    assert isinstance(manifest, UnknownManifest)
    assert manifest.kind is Kind.UNKNOWN
    assert problem in manifest.problem
    references = manifest.references()
    assert len(references) == count
    assert {reference.role for reference in references} <= {Role.MANIFEST}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_manifest_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        parse(read(name))
    message = str(caught.value)
    assert message.startswith(MALFORMED[name])
    assert "\n" not in message


@pytest.mark.parametrize("name", MALFORMED)
def test_what_names_no_content_is_told_apart_from_what_is_no_manifest(name: str) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        parse(read(name))
    place = MALFORMED[name].partition(":")[0]
    of_descriptor = re.fullmatch(r"(config|subject|\w+\[\d+\])(\.\w+)?", place) is not None
    assert isinstance(caught.value, DescriptorInvalid) is of_descriptor


# What references say
def test_an_image_names_its_config_and_layers_in_order() -> None:
    first, *layers = parse(read("oci-image-zstd")).references()
    assert first.role is Role.CONFIG
    assert first.media_type == manifests.OCI_CONFIG
    assert [layer.media_type.rpartition("+")[2] for layer in layers] == ["gzip", "zstd"]
    assert layers[0].size == 1084080
    assert not any(layer.foreign for layer in layers)


def test_layers_that_may_be_elsewhere_are_marked() -> None:
    references = parse(read("docker-image-foreign-layer")).references()
    assert [reference.foreign for reference in references] == [False, True, False]
    with_urls = parse(dumps(image(layers=[descriptor(urls=["https://example.com"])])))
    assert with_urls.references()[1].foreign
    kind = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    not_distributable = parse(dumps(image(layers=[descriptor(mediaType=kind)])))
    assert not_distributable.references()[1].foreign


def test_an_index_names_the_platform_of_each_entry() -> None:
    references = parse(read("oci-index-platforms-attested")).references()
    assert [reference.platform for reference in references] == [
        *("linux/amd64", "linux/arm64"),
        *("unknown/unknown", "unknown/unknown"),
    ]
    arm = {"os": "linux", "architecture": "arm", "variant": "v7"}
    entries = [descriptor(platform=arm), descriptor(platform={}), descriptor(platform=None)]
    index = parse(dumps({"schemaVersion": 2, "manifests": entries}))
    assert [reference.platform for reference in index.references()] == ["linux/arm/v7", "", ""]


def test_an_attestation_names_what_it_is_about() -> None:
    index = parse(read("oci-index-attested"))
    assert isinstance(index, manifests.ImageIndex)
    plain, about = index.manifests
    assert not manifests.is_attestation(plain)
    assert manifests.attested(plain) is None
    assert manifests.is_attestation(about)
    assert manifests.attested(about) == plain.digest
    attestation = parse(read("oci-attestation"))
    assert attestation.subject is not None
    assert attestation.subject.digest == plain.digest


def test_build_caches_are_known_in_every_shape() -> None:
    caches = {"oci-buildkit-cache", "oci-index-of-layers", "docker-list-of-layers"}
    found = {name for name in [*SOUND, *DOUBTFUL] if manifests.is_buildkit_cache(parse(read(name)))}
    assert found == caches


def test_entries_of_an_index_are_manifests_unless_they_surely_are_not() -> None:
    kinds = ["", "application/vnd.example", manifests.OCI_MANIFEST, manifests.OCI_INDEX]
    entries = [descriptor(mediaType=kind) for kind in kinds]
    entries.append({"digest": D, "size": 3})
    index = parse(dumps({"schemaVersion": 2, "manifests": entries}))
    assert {reference.role for reference in index.references()} == {Role.MANIFEST}


def test_schema_1_names_each_blob_once_the_base_first() -> None:
    manifest = parse(read("docker-schema1"))
    assert isinstance(manifest, manifests.DockerManifestV1)
    blobs = [layer.blob_sum for layer in manifest.fs_layers]
    assert blobs[0] == blobs[1] != blobs[2]
    references = manifest.references()
    assert [reference.digest for reference in references] == [blobs[2], blobs[0]]
    assert {reference.size for reference in references} == {-1}


def test_signed_schema_1_is_told_from_unsigned() -> None:
    assert parse(read("docker-schema1")).media_type == manifests.DOCKER_V1
    assert parse(read("docker-schema1-signed")).media_type == manifests.DOCKER_V1_SIGNED


def test_the_signed_payload_is_the_manifest_without_its_signatures() -> None:
    assert manifests.signed_payload(read("docker-schema1-signed")) == read("docker-schema1")


@pytest.mark.parametrize(
    "data",
    [
        read("docker-schema1"),
        read("oci-image"),
        b"",
        b"[]",
        b"{",
        b"\xff",
        b'{"signatures": []}',
        b'{"signatures": [{"protected": 3}]}',
        b'{"signatures": [{"protected": "e30"}]}',
        b'{"signatures": [{"protected": "W10"}]}',
        b'{"signatures": [{"protected": "eyJmb3JtYXRMZW5ndGgiOi0xLCJmb3JtYXRUYWlsIjoiIn0"}]}',
        b"[" * 100_000,
    ],
)
def test_what_is_not_signed_has_no_signed_payload(data: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        manifests.signed_payload(data)


# Doubt
def test_a_media_type_from_outside_helps_where_none_is_inside() -> None:
    document = dumps({"schemaVersion": 2, "config": descriptor(), "layers": []})
    assert parse(document).media_type == manifests.OCI_MANIFEST
    docker = parse(document, media_type=manifests.DOCKER_MANIFEST.upper() + "; charset=utf-8")
    assert isinstance(docker, manifests.DockerManifest)
    assert docker.media_type == manifests.DOCKER_MANIFEST
    assert parse(document, media_type="application/octet-stream").kind is Kind.UNKNOWN


def test_two_media_types_that_disagree_are_in_doubt() -> None:
    for outside in (manifests.OCI_INDEX, manifests.DOCKER_MANIFEST):
        doubt = parse(read("oci-image"), media_type=outside)
        assert isinstance(doubt, UnknownManifest)
        assert len(doubt.digests) == 3
    assert parse(read("oci-image"), media_type="text/plain").kind is Kind.IMAGE


@pytest.mark.parametrize("version", [1, 3, "2", 2.0, True, [2]])
def test_another_version_is_in_doubt(version: object) -> None:
    manifest = parse(dumps(image(schemaVersion=version)))
    assert [reference.digest for reference in manifest.references()] == [D]
    assert manifest.kind is Kind.UNKNOWN


def test_a_media_type_that_is_empty_or_null_is_none() -> None:
    for nothing in ("", None):
        manifest = parse(dumps(image(mediaType=nothing)))
        assert manifest.kind is Kind.IMAGE
        assert manifest.media_type == manifests.OCI_MANIFEST


def test_an_unknown_algorithm_beside_a_worse_defect_is_malformed() -> None:
    config = descriptor("blake3:" + "ab" * 32)
    with pytest.raises(ManifestInvalid, match=r"config\.digest: unsupported .*\(and 1 more\)"):
        parse(dumps(image(config=config, layers=[descriptor("nothing")])))


def test_the_name_of_a_field_cannot_break_the_line() -> None:
    with pytest.raises(ManifestInvalid) as caught:
        parse(dumps(image(annotations={"a\nb" * 1000: 3})))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_null_in_other_letters_is_in_doubt() -> None:
    manifest = parse(dumps(image(layers=[descriptor(OTHER)], Layers=None)))
    assert manifest.kind is Kind.UNKNOWN
    assert len(manifest.references()) == 2


@pytest.mark.parametrize("key", ["Digest", "dige\u017ft", "dige\\u017ft", "d\\u0069gest"])
def test_a_hidden_first_value_of_a_key_is_in_doubt(key: str) -> None:
    hidden = json.dumps([descriptor(OTHER)]).replace('"digest"', f'"{key}"')
    twice = json.dumps(image()).replace('"layers"', f'"layers": {hidden}, "layers"')
    manifest = parse(twice.encode())
    assert referred(manifest) == {D, OTHER}


def test_a_key_that_comes_twice_far_from_any_descriptor_is_no_doubt() -> None:
    twice = dumps(image()).replace(b'"layers"', b'"x": {"a": 1, "a": 2}, "layers"')
    assert parse(twice).kind is Kind.IMAGE


def test_a_digest_in_what_nobody_reads_is_no_doubt() -> None:
    extra = image(**{"x-more": {"digest": OTHER}, "annotations": {"digest": OTHER}})
    manifest = parse(dumps(extra))
    assert [reference.digest for reference in manifest.references()] == [D]


def test_too_large_a_manifest_is_not_looked_at() -> None:
    with pytest.raises(ManifestTooLarge, match="more than the limit of 4194304"):
        parse(b" " * (manifests.LIMIT + 1))
    data = read("oci-image")
    assert parse(data, limit=len(data)).kind is Kind.IMAGE
    with pytest.raises(ManifestTooLarge):
        parse(data, limit=len(data) - 1)


@pytest.mark.parametrize("unit", [b"[", b'{"a":', b'{"manifests":[', b'{"config":'])
def test_deep_documents_are_refused(unit: bytes) -> None:
    with pytest.raises(ManifestInvalid, match="recursion limit"):
        parse(unit * 100_000)


def test_a_list_is_given_up_at_its_first_defect() -> None:
    with pytest.raises(ManifestInvalid) as caught:
        parse(dumps(image(layers=[0] * 1_000_000)))
    assert str(caught.value) == "layers[0]: is not an object"


def referred(manifest: manifests.Manifest) -> set[str]:
    return {str(reference.digest) for reference in manifest.references()}


def test_regfs_itself_does_not_import_pydantic() -> None:
    code = "import sys, regfs; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
