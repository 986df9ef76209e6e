"""Laws of manifests: no digest is lost, and no bytes crash the parser."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from regfs import manifests
from regfs.digest import Digest
from regfs.errors import ManifestInvalid
from regfs.manifests import Kind, parse
from tests.support import strategies


def written_digests(value: Any) -> set[str]:
    """Return what stands under `digest` or `blobSum`, in any letters, except in x- keys."""
    if isinstance(value, list):
        return set().union(*map(written_digests, value))
    if not isinstance(value, dict):
        return set()
    here = {
        found
        for key, found in value.items()
        if key.casefold() in ("digest", "blobsum") and isinstance(found, str)
    }
    inner = [found for key, found in value.items() if not key.startswith("x-")]
    return here.union(*map(written_digests, inner))


def referred(manifest: manifests.Manifest) -> set[str]:
    return {str(reference.digest) for reference in manifest.references()}


@given(st.data(), strategies.manifest_documents())
def test_a_sound_manifest_refers_to_exactly_its_descriptors(
    data: st.DataObject, document: dict[str, Any]
) -> None:
    document.pop("annotations", None)
    manifest = parse(data.draw(strategies.spelled(document)))
    assert manifest.kind is not Kind.UNKNOWN
    assert referred(manifest) == written_digests(document)


@given(st.data(), strategies.manifest_documents())
def test_nothing_is_lost_on_the_way_through_a_model(
    data: st.DataObject, document: dict[str, Any]
) -> None:
    manifest = parse(data.draw(strategies.spelled(document)))
    written = json.loads(manifest.model_dump_json(by_alias=True, exclude_unset=True))
    assert written == {"mediaType": manifest.media_type, **document}


class Pairs(dict[str, Any]):
    """A JSON object in which a key can come twice, and be written so."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__([("not", "empty")])
        self.pairs = pairs

    def items(self) -> Any:
        return self.pairs


DIGEST_KEYS = {
    **dict.fromkeys(["config", "layers", "manifests", "blobs", "subject"], "digest"),
    "fslayers": "blobsum",
}


def pairs_of(document: dict[str, Any]) -> Pairs:
    """Return a manifest with its objects, down to the descriptors, as pairs."""

    def part(value: Any) -> Any:
        if isinstance(value, list):
            return [part(inner) for inner in value]
        return Pairs(list(value.items())) if isinstance(value, dict) else value

    return Pairs([(key, part(value)) for key, value in document.items()])


def parts_of(whole: Pairs) -> list[tuple[str, Pairs]]:
    """Return every descriptor that any client could see, and its key for the digest."""
    return [
        (DIGEST_KEYS[key.casefold()], part)
        for key, value in whole.pairs
        for part in (value if isinstance(value, list) else [value])
        if key.casefold() in DIGEST_KEYS and isinstance(part, Pairs)
    ]


@given(st.data(), strategies.manifest_documents(), strategies.manifest_documents())
def test_a_manifest_that_was_tampered_with_loses_no_digest(
    data: st.DataObject, document: dict[str, Any], other: dict[str, Any]
) -> None:
    """Keys in other letters, keys more than once, keys of other kinds: refused, or all kept."""
    whole, foreign = pairs_of(document), pairs_of(other)
    spellings = st.sampled_from([str.lower, str.upper, str.title, lambda key: key])
    for _ in range(data.draw(st.integers(1, 3))):
        word, part = data.draw(st.sampled_from([("", whole), *parts_of(whole)]))
        pair = (word, str(data.draw(strategies.digests())))
        key, value = pair if word else data.draw(st.sampled_from(foreign.pairs))
        place = data.draw(st.integers(0, len(part.pairs)))
        part.pairs.insert(place, (data.draw(spellings)(key), value))
    could_be_read = {
        digest
        for word, part in parts_of(whole)
        for key, digest in part.pairs
        if key.casefold() == word
    }
    try:
        manifest = parse(json.dumps(whole, ensure_ascii=data.draw(st.booleans())).encode())
    except ManifestInvalid:
        return
    assert referred(manifest) >= could_be_read


@given(st.binary() | strategies.manifests().map(lambda data: data[:-7] + b"}"))
@example(b'{"mediaType": ["x"]}')
@example(b'{"mediaType": {}, "layers": 3}')
@example(b'{"a": ' + b"9" * 4305 + b"}")
@example(b'{"a": "\\u0000", "a": -1e999}')
@example(b'{"\\ud800": "\\udcff"}')
def test_any_bytes_are_a_manifest_or_refused(data: bytes) -> None:
    try:
        manifest = parse(data)
    except ManifestInvalid as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(json.loads(data, parse_int=str), dict)
        assert manifest.references() is not None


@given(strategies.manifests(), st.data())
def test_a_manifest_with_a_flipped_byte_never_crashes(manifest: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(manifest) - 1))
    flipped = bytearray(manifest)
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        references = parse(bytes(flipped)).references()
    except ManifestInvalid as error:
        assert "\n" not in str(error)
    else:
        assert all(Digest.parse(reference.digest) for reference in references)
