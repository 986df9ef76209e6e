"""What stands around documents about an image, and what is in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.content.provenance import Material, read_provenance
from regfs.content.sbom import SbomPackage, read_sbom
from regfs.content.statements import Pieces, look_into
from regfs.errors import AttestationInvalid
from tests.support.images import Document, dumps
from tests.support.sboms import (
    BUILDKIT02,
    BUILDKIT1,
    CYCLONE,
    CYCLONEDX,
    GITHUB1,
    SLSA02,
    SLSA1,
    SPDX,
    SPDX2,
    SPDX3,
    SYFT,
    bundle,
    envelope,
    statement,
)

IMAGE = "sha256:" + "1" * 64


def opened(data: bytes, size: int = 1000) -> Pieces:
    def pieces() -> Iterator[bytes]:
        yield from (data[start : start + size] for start in range(0, len(data), size))

    return pieces


def body(data: bytes) -> Any:
    return json.loads(b"".join(look_into(opened(data)).body()))


@pytest.mark.parametrize(
    ("wrap", "wrappings"),
    [
        (lambda data: data, ("statement",)),
        (envelope, ("envelope", "statement")),
        (bundle, ("bundle", "envelope", "statement")),
    ],
)
def test_the_body_is_found_in_every_wrapping(wrap: Any, wrappings: tuple[str, ...]) -> None:
    data = wrap(statement(IMAGE, SPDX2))
    found = look_into(opened(data, 7))
    assert found.wrappings == wrappings
    assert (found.predicate_type, found.form) == (SPDX, "SPDX")
    assert [(one.name, one.digests) for one in found.subjects] == [("pkg:docker/app@v1", (IMAGE,))]
    assert json.loads(b"".join(found.body())) == SPDX2


@pytest.mark.parametrize(
    ("document", "form"),
    [
        (SPDX2, "SPDX"),
        (SPDX3, "SPDX"),
        (CYCLONE, "CycloneDX"),
        (SYFT, "syft"),
        ({"anything": 1}, ""),
    ],
)
def test_a_bare_document_is_its_own_body(document: Document, form: str) -> None:
    found = look_into(opened(dumps(document)))
    assert (found.wrappings, found.form, found.subjects) == ((), form, ())
    assert json.loads(b"".join(found.body())) == document


def test_a_document_that_is_no_json_is_its_own_body() -> None:
    text = b"SPDXVersion: SPDX-2.3\nDataLicense: CC0-1.0\n"
    assert look_into(opened(text)).form == "SPDX"
    xml = b'<?xml version="1.0"?><bom xmlns="http://cyclonedx.org/schema/bom/1.4"/>'
    assert look_into(opened(xml)).form == "CycloneDX"
    assert b"".join(look_into(opened(text)).body()) == text
    assert look_into(opened(b"")).form == ""


def test_a_body_of_text_is_decoded() -> None:
    found = look_into(opened(statement(IMAGE, 'SPDXVersion: SPDX-2.3\n"é"\n')))
    assert b"".join(found.body()).decode() == 'SPDXVersion: SPDX-2.3\n"é"\n'


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"predicateType":"x","predicate":{},"subject":[1 2]}', "cannot be read"),
        (b'{"predicateType":7,"predicate":{}}', "not a string"),
        (envelope(b"no JSON")[:-30], "ends too early"),
        (b'{"payloadType":"x","payload":"!!!!","signatures":[]}', "not base64"),
        (b'{"payloadType":"x","payload":{},"signatures":[]}', "not a string"),
        (b'{"predicateType":"x","subject":[' + b"[" * 100_000 + b'],"predicate":{}}', "ends too"),
        (
            b'{"predicateType":"x","subject":' + b"[" * 9999 + b"]" * 9999 + b',"predicate":{}}',
            "cannot be read",
        ),
        (b'{"predicateType":"x","subject":"' + b"s" * 2_000_000 + b'","predicate":{}}', "larger"),
    ],
)
def test_broken_wrappings_are_told(data: bytes, words: str) -> None:
    with pytest.raises(AttestationInvalid, match=words):
        look_into(opened(data, 4096))


def test_a_body_that_stands_there_twice_is_refused_after_the_first() -> None:
    data = b'{"predicateType":"x","subject":[],"predicate":{"a":1},"predicate":{"b":2}}'
    pieces = look_into(opened(data)).body()
    assert next(pieces) == b'{"a":1}'
    with pytest.raises(AttestationInvalid, match="2 keys called predicate"):
        list(pieces)


def test_an_envelope_in_an_envelope_is_not_followed_for_ever() -> None:
    data = envelope(envelope(statement(IMAGE, {})))
    assert look_into(opened(data)).wrappings == ("envelope",)


@given(st.binary(max_size=80), st.integers(0, 400), st.integers(0, 400))
def test_no_bytes_raise_anything_else(noise: bytes, start: int, end: int) -> None:
    data = bundle(statement(IMAGE, SPDX2))
    for broken in (noise, data[:start] + noise + data[end:]):
        try:
            found = look_into(opened(broken))
            read_sbom(found.body())
            read_provenance(found.body(), SLSA1)
        except AttestationInvalid as error:
            assert "\n" not in str(error)


# -- SBOMs ---------------------------------------------------------------------------------------


def packages(document: Document) -> tuple[Any, list[SbomPackage]]:
    found: list[SbomPackage] = []
    return read_sbom(opened(dumps(document), 11)(), found.append), found


def test_spdx_2_is_read() -> None:
    sbom, found = packages(SPDX2)
    assert (sbom.form, sbom.version, sbom.name) == ("SPDX", "SPDX-2.3", "app")
    assert (sbom.created, sbom.tools) == ("2024-01-01T00:00:00Z", ("syft-v1.0.0",))
    assert (sbom.packages, sbom.files, sbom.kinds) == (3, 2, {"deb": 1, "npm": 1, "other": 1})
    libc = SbomPackage("libc6", "2.36-9", "deb", "LGPL-2.1", "pkg:deb/debian/libc6@2.36-9")
    assert found[0] == libc
    assert [one.name for one in found] == ["libc6", "left-pad", "plain"]


def test_spdx_3_is_read() -> None:
    sbom, found = packages(SPDX3)
    assert (sbom.form, sbom.version, sbom.name) == ("SPDX", "SPDX-3.0.1", "app")
    assert (sbom.packages, sbom.files, sbom.tools) == (1, 1, ("syft",))
    assert found == [SbomPackage("musl", "1.2.5", "apk", "", "pkg:apk/alpine/musl@1.2.5")]


def test_cyclonedx_is_read_with_nested_components() -> None:
    sbom, found = packages(CYCLONE)
    assert (sbom.form, sbom.version, sbom.name) == ("CycloneDX", "1.6", "app")
    assert (sbom.packages, sbom.files, sbom.tools) == (2, 1, ("trivy",))
    assert {(one.name, one.version, one.licence) for one in found} == {
        ("outer", "1", "MIT"),
        ("inner", "", ""),
    }


def test_syft_is_read() -> None:
    sbom, found = packages(SYFT)
    assert (sbom.form, sbom.version, sbom.name, sbom.tools) == ("syft", "16.0.0", "app", ("syft",))
    assert found == [SbomPackage("busybox", "1.36", "apk", "GPL-2.0-only", "pkg:apk/busybox@1.36")]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"packages":' + b"[" * 5000 + b"]" * 5000 + b"}", "more than 100 levels"),
        (b'{"name":"' + b"x" * 3_000_000 + b'"}', "string or number of more than"),
        (b'{"name":"' + b'\\"' * 1_500_000 + b'"}', "string or number of more than"),
        (b'{"n":' + b"1" * 3_000_000 + b"}", "string or number of more than"),
        (b'{"n":' + b"1" * 5_000 + b"}", "is not JSON that regfs can read"),
        (b'{"n":1e999999}', "is not JSON that regfs can read"),
        (b'{"packages":[{}', "is not JSON that regfs can read"),
        (b'{"a":"\xff"}', "is not JSON that regfs can read"),
        (b"no JSON", "is not JSON that regfs can read"),
        (b"", "is not JSON that regfs can read"),
    ],
)
def test_hostile_sboms_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(AttestationInvalid, match=words) as caught:
        read_sbom(opened(data, 1 << 16)())
    assert "\n" not in str(caught.value)


# -- provenance ----------------------------------------------------------------------------------


def test_provenance_of_slsa_1_is_read() -> None:
    made = read_provenance(iter([dumps(BUILDKIT1)]), SLSA1)
    assert (made.slsa, made.mode, made.complete) == ("1", "max", True)
    assert made.builder == "https://github.com/acme/app/actions/runs/1"
    assert (made.source, made.commit) == ("https://github.com/acme/app", "c" * 40)
    assert (made.entry_point, made.target) == ("build/Dockerfile", "final")
    assert made.arguments == {"VERSION": "1.2"}
    assert made.secrets == ("token", "default")
    assert made.materials[0] == Material(
        "pkg:docker/alpine@3.20?platform=linux%2Farm64", ("sha256:" + "b" * 64,)
    )
    assert (made.platform, made.frontend) == ("linux/arm64", "dockerfile.v0")
    assert (made.started, made.invocation) == ("2024-01-01T00:00:00Z", "inv")
    assert made.dockerfile == "FROM alpine\n"


def test_provenance_of_slsa_02_is_read() -> None:
    made = read_provenance(iter([dumps(BUILDKIT02)]), SLSA02)
    assert (made.slsa, made.mode, made.complete) == ("0.2", "min", False)
    assert made.builder == "https://example.org/builder"
    assert (made.source, made.commit) == ("https://github.com/acme/app.git", "a" * 40)
    assert (made.entry_point, made.arguments) == ("Dockerfile", {"VERSION": "1.2"})
    assert (made.started, made.finished) == ("2024-01-01T00:00:00Z", "2024-01-01T00:01:00Z")
    assert (made.invocation, made.platform) == ("inv", "linux/amd64")


def test_provenance_of_another_builder_is_read() -> None:
    made = read_provenance(iter([dumps(GITHUB1)]), SLSA1)
    assert (made.mode, made.complete) == ("", None)
    assert (made.source, made.commit) == ("https://github.com/acme/app", "d" * 40)
    assert made.entry_point == ".github/workflows/build.yml"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@st.composite
def twisted(draw: st.DrawFn) -> Document:
    """Return a provenance with anything somewhere in the place of what belongs there."""
    document: Document = json.loads(json.dumps(draw(st.sampled_from([BUILDKIT1, BUILDKIT02]))))
    place: Any = document
    while isinstance(place, dict | list) and place:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw(st.sampled_from(keys))
        if draw(st.booleans()) or not isinstance(place[key], dict | list):
            place[key] = draw(JSON)
            break
        place = place[key]
    return document


@given(twisted())
def test_no_place_of_provenance_is_trusted_to_hold_what_it_should(document: Document) -> None:
    made = read_provenance(iter([dumps(document)]), SLSA1 if "runDetails" in document else SLSA02)
    assert all(isinstance(text, str) for text in (made.builder, made.source, made.commit))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"[]", "not an object"),
        (b"{", "is not JSON"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "is not JSON"),
        (b" " * (9 << 20), "larger than 8388608 bytes"),
    ],
)
def test_what_is_no_provenance_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(AttestationInvalid, match=words):
        read_provenance(iter([data]), SLSA1)


def test_cyclonedx_in_a_statement_is_known_by_its_type() -> None:
    assert look_into(opened(statement(IMAGE, CYCLONE, f"{CYCLONEDX}/v1.4"))).form == "CycloneDX"
    assert body(statement(IMAGE, CYCLONE, CYCLONEDX)) == CYCLONE


# -- what tools wrote ------------------------------------------------------------------------------

WRITTEN = Path(__file__).parents[2] / "fixtures/statements"


def written(name: str) -> Pieces:
    return opened((WRITTEN / name).read_bytes(), 100)


@pytest.mark.parametrize(
    ("name", "slsa", "mode"),
    [("buildkit-slsa-0.2.json", "0.2", "min"), ("buildkit-slsa-1-max.json", "1", "max")],
)
def test_provenance_that_buildkit_wrote(name: str, slsa: str, mode: str) -> None:
    found = look_into(written(name))
    made = read_provenance(found.body(), found.predicate_type)
    assert (found.form, made.slsa, made.mode, made.complete) == ("provenance", slsa, mode, False)
    assert (made.platform, made.builder) == ("linux/amd64", "")
    assert made.frontend.startswith("dockerfile.v0 1.26.0")
    assert [one.uri for one in made.materials] == [
        "pkg:docker/localhost%3A5000/my-busybox@latest?platform=linux%2Famd64"
    ]
    dockerfile = "FROM localhost:5000/my-busybox:latest\nCOPY epoch.sh /epoch.sh\n"
    assert made.dockerfile == (dockerfile if mode == "max" else "")


@pytest.mark.parametrize(
    ("name", "form", "key"),
    [
        ("cyclonedx-py.json", "CycloneDX", "components"),
        ("sbom4python-spdx-2.3.json", "SPDX", "packages"),
    ],
)
def test_sboms_that_tools_wrote(name: str, form: str, key: str) -> None:
    whole = json.loads((WRITTEN / name).read_bytes())
    found: list[SbomPackage] = []
    assert read_sbom(look_into(written(name)).body(), found.append).form == form
    assert [one.name for one in found] == [one["name"] for one in whole[key]]
    assert all(one.kind == "pypi" and one.version for one in found)
