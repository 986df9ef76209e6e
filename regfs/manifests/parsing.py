"""From the bytes of a manifest to its model, or to the reason why they have none."""

from __future__ import annotations

import base64
import json
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from regfs.digest import Digest, digests_in
from regfs.errors import (
    AlgorithmUnsupported,
    DescriptorInvalid,
    DigestInvalid,
    ManifestInvalid,
    ManifestTooLarge,
)
from regfs.manifests.media_types import (
    DOCKER_V1,
    DOCKER_V1_SIGNED,
    LIMIT,
    OCI_INDEX,
    OCI_MANIFEST,
    Kind,
)
from regfs.manifests.models import (
    MODELS,
    Descriptor,
    DockerManifestV1,
    Document,
    FsLayer,
    Known,
    Manifest,
    UnknownManifest,
)

_Model = TypeVar("_Model", bound=Document)

# Top-level keys of each kind. With keys of two kinds, clients can disagree on what it is.
_SHAPES: Final = {
    "config": Kind.IMAGE,
    "layers": Kind.IMAGE,
    "manifests": Kind.INDEX,
    "blobs": Kind.ARTIFACT,
    "fsLayers": Kind.SCHEMA1,
}


_WORDS: Final = {
    "missing": "is missing",
    "model_type": "is not an object",
    "dict_type": "is not an object",
    "tuple_type": "is not a list",
    "string_type": "is not a string",
    "int_type": "is not a whole number",
    "greater_than_equal": "is negative",
    "less_than_equal": "is more than 2^63 - 1",
}
"""Errors of pydantic, in the words of JSON."""


def _keys(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(field.alias or name for name, field in model.model_fields.items())


_TOP: Final = frozenset[str]().union(*map(_keys, MODELS.values()))
_TOP_FOLDED: Final = frozenset(key.casefold() for key in _TOP)
_PART_FOLDED: Final = frozenset(key.casefold() for key in _keys(Descriptor) | _keys(FsLayer))


class _Doubtful(Exception):
    """Clients could read the document in different ways, or regfs cannot read it; says why."""


def parse(data: bytes, *, media_type: str = "", limit: int = LIMIT) -> Manifest:
    """Return the manifest in `data`.

    `media_type` is that of a header or a descriptor; `limit` is in bytes.

    Raises:
        ManifestTooLarge: longer than `limit`; not parsed.
        ManifestInvalid: not a JSON object, or against the rules of its kind.
    """
    raw = json_object(data, limit)
    try:
        declared = _declared(raw, media_type.partition(";")[0].strip().lower())
        if raw.get("mediaType") != declared:
            raw["mediaType"] = declared
        manifest = _validated(MODELS[declared], raw)
        _refuse_doubt(manifest, data)
    except _Doubtful as doubt:
        written = raw.get("mediaType") or media_type
        return UnknownManifest(
            media_type=written if isinstance(written, str) else "",
            problem=str(doubt),
            digests=_every_digest(data),
        )
    return manifest


def json_object(data: bytes, limit: int) -> dict[str, Any]:
    """Return the JSON object in `data`, without known keys that are null."""
    if len(data) > limit:
        raise ManifestTooLarge(f"{len(data)} bytes are more than the limit of {limit}")
    try:
        raw = from_json(data, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        raise ManifestInvalid(f"not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise ManifestInvalid("JSON, but not an object")
    if None in raw.values():
        return {key: value for key, value in raw.items() if value is not None or key not in _TOP}
    return raw


def _declared(raw: dict[str, Any], outside: str) -> str:
    """Return the media type that all clients agree on."""
    if not raw.keys() <= _TOP:
        for key in raw.keys() - _TOP:
            if key.casefold() in _TOP_FOLDED:
                raise _Doubtful(f"the key {_shown(key)} is a known key in different case")
    shapes = {kind for key, kind in _SHAPES.items() if key in raw}
    if len(shapes) > 1:
        raise _Doubtful(f"has keys of more than one kind: {', '.join(sorted(shapes))}")
    declared = raw.get("mediaType") or outside or _by_shape(raw)
    if not isinstance(declared, str) or declared not in MODELS:
        raise _Doubtful(f"unknown media type {_shown(declared)}" if declared else "no media type")
    model = MODELS[declared]
    if MODELS.get(outside, model) is not model:
        raise _Doubtful(f"media type {declared} inside, {outside} outside")
    if shapes - {model.kind}:
        raise _Doubtful(f"media type {declared}, but keys of kind {shapes.pop()}")
    expected = 1 if model is DockerManifestV1 else 2
    version = raw.get("schemaVersion", expected)
    if type(version) is not int or version != expected:
        raise _Doubtful(f"unknown schemaVersion {_shown(version)}")
    return declared


def type_of(data: bytes) -> str:
    """Return the media type that a manifest states or its keys imply; empty if neither.

    Raises:
        ManifestInvalid: not a JSON object, or too large for a manifest.
    """
    raw = json_object(data, LIMIT)
    written = raw.get("mediaType")
    return written if isinstance(written, str) and written else _by_shape(raw)


def _by_shape(raw: dict[str, Any]) -> str:
    """Return the media type of a document that states none, as the reference registry does."""
    if "config" in raw and "layers" in raw:
        return OCI_MANIFEST
    if "manifests" in raw:
        return OCI_INDEX
    if "fsLayers" in raw:
        return DOCKER_V1_SIGNED if "signatures" in raw else DOCKER_V1
    return ""


def _validated(model: type[_Model], raw: dict[str, Any]) -> _Model:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        if unsupported := _unsupported(error):
            raise _Doubtful(unsupported) from None
        kind = DescriptorInvalid if _is_of_descriptor(error) else ManifestInvalid
        raise kind(summarise(error)) from None


def _is_of_descriptor(error: ValidationError) -> bool:
    """Return whether the first error is in a descriptor."""
    place = error.errors(include_url=False, include_context=False)[0]["loc"]
    return place[0] in ("config", "subject") or (place[0] in _SHAPES and len(place) > 1)


def _refuse_doubt(manifest: Known, data: bytes) -> None:
    """Raise _Doubtful if a client could read other descriptors in `data`."""
    parts = manifest.parts()
    for part in parts:
        # Go, in which most clients are written, reads "Digest" as "digest".
        for key in part.__pydantic_extra__ or ():
            if key.casefold() in _PART_FOLDED:
                raise _Doubtful(f"the key {_shown(key)} is a known key in different case")
    # If a key comes twice, JSON parsers disagree on which one counts. The search for that is
    # slow, and not needed if every descriptor in the text has been read.
    count = data.lower().count(manifest.counted)
    if count != len(parts) or b"\\u" in data or not data.isascii():
        _refuse_duplicates(data)


def _refuse_duplicates(data: bytes) -> None:
    def check(pairs: list[tuple[str, Any]]) -> None:
        if len({key for key, _ in pairs}) < len(pairs):
            raise _Doubtful("a key comes more than once")

    json.loads(data, object_pairs_hook=check, parse_int=str)


def _every_digest(data: bytes) -> tuple[Digest, ...]:
    """Return every digest in `data`, a JSON document, even those written with escapes."""
    found = digests_in(data)
    if b"\\" in data:
        everything = json.loads(data, object_pairs_hook=list, parse_int=str)
        found += digests_in(json.dumps(everything, ensure_ascii=False).encode())
    return tuple(dict.fromkeys(found))


def _unsupported(error: ValidationError) -> str | None:
    """Return which algorithm is unsupported, if nothing else is wrong."""
    found = None
    for detail in error.errors(include_url=False, include_context=False):
        problem = _digest_problem(detail["type"], detail["input"])
        if not isinstance(problem, AlgorithmUnsupported):
            return None
        found = found or f"{_place(detail['loc'])}: {problem}"
    return found


def _digest_problem(kind: str, value: object) -> DigestInvalid | None:
    if kind == "string_pattern_mismatch" and isinstance(value, str):
        try:
            Digest.parse(value)
        except DigestInvalid as problem:
            return problem
    return None


def summarise(error: ValidationError) -> str:
    """Return the error in one line: the first field, the reason, and how many more."""
    details = error.errors(include_url=False, include_context=False)
    first = details[0]
    reason = _digest_problem(first["type"], first["input"]) or _WORDS.get(
        first["type"], first["msg"]
    )
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return f"{_place(first['loc'])}: {reason}{more}"


def _place(location: tuple[int | str, ...]) -> str:
    """Return a location in a document as text: `layers[2].size`."""
    text = ""
    for step in location:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if step.isidentifier() else _shown(step))
    return text


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 160 else text[:160] + "..."


def signed_payload(data: bytes) -> bytes:
    """Return the part of a signed schema 1 manifest that its digest is computed from.

    Raises:
        ManifestInvalid: it is not signed, or not in the form of libtrust.
    """
    try:
        protected = json.loads(_base64url(json.loads(data)["signatures"][0]["protected"]))
        length, tail = protected["formatLength"], _base64url(protected["formatTail"])
        if type(length) is not int or not 0 <= length <= len(data):
            raise ValueError(f"formatLength {_shown(length)}")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise ManifestInvalid(f"not a signed schema 1 manifest: {_shown(error)}") from None
    return data[:length] + tail


def _base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
