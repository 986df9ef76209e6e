"""Skimming is parsing, or nothing."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.errors import ManifestInvalid
from regfs.manifests import is_attestation, parse
from regfs.manifests.image_config import parse_config
from regfs.manifests.skim import Skimmed, diff_ids_of, history_of, skim
from tests.support.builder import artifact, attestation, buildkit, image, index
from tests.support.strategies import manifests

FIXTURES = sorted((Path(__file__).parents[2] / "fixtures/manifests").rglob("*.json"))


def assert_agrees(data: bytes) -> Skimmed | None:
    found = skim(data)
    if found is not None:
        parsed = parse(data)
        assert found.references() == parsed.references()
        assert found.kind is parsed.kind
        assert found.media_type == parsed.media_type
        assert found.artifact_type == parsed.artifact_type
        assert parsed.subject is found.subject
        assert found.noted == list(parsed.noted)
        assert found.annotations == parsed.annotations
        entries = getattr(parsed, "manifests", ())
        assert found.attestations == [one.digest for one in entries if is_attestation(one)]
    return found


@given(manifests())
def test_of_any_manifest_skimming_gives_what_parsing_gives_or_nothing(data: bytes) -> None:
    assert_agrees(data)


@given(st.binary(max_size=200))
def test_of_any_bytes_it_gives_nothing(data: bytes) -> None:
    assert skim(data) is None


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_of_every_document_shipped_it_agrees(path: Path) -> None:
    assert_agrees(path.read_bytes())


def test_the_ordinary_is_skimmed() -> None:
    built = image(["a", "b"])
    ordinary = built, image(["a"], docker=True), index(built), attestation(built), buildkit(built)
    for content in ordinary:
        found = assert_agrees(content.data)
        assert (found is None) == ("subject" in content.document)


def test_what_is_about_another_is_not_skimmed() -> None:
    assert skim(artifact(subject=image()).data) is None


EXAMPLE: dict[str, Any] = image(["one", "two"]).document


@given(
    place=st.sampled_from(
        [(), ("config",), ("layers", 0), ("layers", 1), ("layers",), ("annotations",)]
    ),
    key=st.sampled_from(
        [*EXAMPLE, "Digest", "digest", "size", "urls", "data", "platform", "subject", "x", 0]
    ),
    value=st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-1, 2**64),
        st.floats(allow_nan=False),
        st.sampled_from(["", "sha256:0", "sha512:" + "0" * 128, "sha256:" + "A" * 64, "é"]),
        st.just([]),
        st.just({}),
        st.just({"a": 1}),
    ),
)
def test_of_a_manifest_with_one_thing_changed_it_agrees(
    place: tuple[str | int, ...], key: Any, value: object
) -> None:
    document = json.loads(json.dumps({**EXAMPLE, "annotations": {}}))
    target: Any = document
    for step in place:
        target = target[step]
    if isinstance(target, list):
        target.append(value)
    else:
        target[str(key)] = value
    data = json.dumps(document).encode()
    if skim(data) is not None:
        assert_agrees(data)
        return
    with contextlib.suppress(ManifestInvalid):
        parse(data)


HEX = "ab" * 32
NOTES = st.dictionaries(
    st.sampled_from(["a", "containerd.io/snapshot/nydus-source-digest", "é"]),
    st.sampled_from(
        [
            "",
            "no digest",
            HEX,
            f"sha256:{HEX}",
            f"sha512:{'cd' * 64}",
            f"of sha256:{'0' * 64}, and of {'1' * 64}",
            f'["{HEX}", "{"2" * 64}"]',
            HEX + "0",
            HEX.upper(),
        ]
    ),
    max_size=2,
)


@given(whole=NOTES, config=NOTES, layer=NOTES, entry=NOTES)
def test_of_annotations_it_keeps_the_same_digests(
    whole: dict[str, str], config: dict[str, str], layer: dict[str, str], entry: dict[str, str]
) -> None:
    document = json.loads(json.dumps({**EXAMPLE, "annotations": whole}))
    document["config"]["annotations"] = config
    document["layers"][-1]["annotations"] = layer
    assert_agrees(json.dumps(document).encode())
    listing = index(image(["one"]), image(["two"])).document
    listing["manifests"][0]["annotations"] = entry
    assert_agrees(json.dumps({**listing, "annotations": whole}).encode())


def test_plain_annotations_are_skimmed_with_their_digests() -> None:
    document = json.loads(json.dumps({**EXAMPLE, "annotations": {"a": f"sha256:{'1' * 64}"}}))
    document["layers"][0]["annotations"] = {"b": HEX}
    found = skim(json.dumps(document).encode())
    assert found is not None
    assert found.noted == [f"sha256:{'1' * 64}", f"sha256:{HEX}"]


@pytest.mark.parametrize(
    "change",
    [
        (b'"layers"', b'"layers": [], "layers"'),
        (b'"layers"', b'"layers": [{"Digest": "sha256:x"}], "layers"'),
        (b'"config"', b'"Config"'),
        (b'"digest"', b'"digest": "sha256:x", "digest"'),
        (b'"size"', b'"s\\u0069ze"'),
    ],
)
def test_what_clients_could_read_in_two_ways_is_left_to_the_parser(
    change: tuple[bytes, bytes],
) -> None:
    data = image(["one"]).data
    assert skim(data) is not None
    changed = data.replace(*change, 1)
    assert changed != data
    if skim(changed) is not None:
        assert_agrees(changed)


# -- diff IDs -------------------------------------------------------------------------------

DIFF_ID = f"sha256:{HEX}"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3) | st.just(DIFF_ID),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["diff_ids", "type", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["rootfs", "os", "config", "history"]), VALUES))
def test_of_any_config_the_diff_ids_are_those_of_the_model(document: dict[str, object]) -> None:
    data = json.dumps(document).encode()
    try:
        expected = list(parse_config(data).rootfs.diff_ids)
    except ManifestInvalid:
        rootfs = json.dumps({"rootfs": {"diff_ids": _inner(document)}}).encode()
        with contextlib.suppress(ManifestInvalid):  # the trouble is elsewhere in the config
            assert diff_ids_of(data) == list(parse_config(rootfs).rootfs.diff_ids)
        return
    assert diff_ids_of(data) == expected


def _inner(document: dict[str, object]) -> object:
    rootfs = document.get("rootfs")
    return rootfs.get("diff_ids") if isinstance(rootfs, dict) else None


def test_the_history_is_that_of_the_config() -> None:
    steps = [
        {"created_by": "ADD x", "created": "2024-01-01T00:00:00Z"},
        {"created_by": "CMD y", "empty_layer": True},
        {"empty_layer": None, "created_by": None},
        {},
    ]
    data = json.dumps({"history": steps}).encode()
    parsed = parse_config(data).history
    assert history_of(data) == [(one.created_by, one.empty_layer) for one in parsed]
    assert history_of(b"{}") == history_of(b'{"history": null}') == []


@pytest.mark.parametrize("history", [b"3", b'"x"', b'{"a": 1}', b"[3]", b"[null]"])
def test_a_history_that_is_no_list_of_steps_is_refused(history: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        history_of(b'{"history": ' + history + b"}")


def test_diff_ids_come_in_order_and_twice() -> None:
    ids = [DIFF_ID, f"sha512:{'cd' * 64}", DIFF_ID]
    assert diff_ids_of(json.dumps({"rootfs": {"diff_ids": ids}}).encode()) == ids


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"3",
        b'{"x": NaN}',
        b"[" * 100_000,
        b'{"rootfs": []}',
        b'{"rootfs": "x"}',
        b'{"rootfs": {"diff_ids": {}}}',
        b'{"rootfs": {"diff_ids": "sha256:"}}',
        b'{"rootfs": {"diff_ids": [3]}}',
        b'{"rootfs": {"diff_ids": ["sha256:0"]}}',
        b'{"rootfs": {"diff_ids": ["md5:0"]}}',
    ],
)
def test_a_config_whose_diff_ids_cannot_be_read_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        parse_config(data)
    with pytest.raises(ManifestInvalid):
        diff_ids_of(data)
