"""What a graph needs of a plain manifest or config, without the model: five times as fast.

A graph of 10^6 blobs reads 10^5 manifests and needs only their references. Nearly all of them are
plain: a known media type, known keys, every value of the right type. For those, `skim` returns
what `regfs.manifests.parse` would; for anything else it returns None, and `parse` has to decide.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, NoReturn

from regfs.digest import Digest, digests_noted
from regfs.errors import DigestInvalid, ManifestInvalid
from regfs.manifests.media_types import (
    ATTESTATION,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    IMAGE_CONFIGS,
    OCI_INDEX,
    OCI_MANIFEST,
    REFERENCE_TYPE,
    Kind,
    Reference,
    Role,
    is_blob_type,
)

_LENGTH: Final = len("sha256:") + 64
_IMAGE_KEYS: Final = frozenset({"schemaVersion", "mediaType", "config", "layers", "annotations"})
_INDEX_KEYS: Final = frozenset({"schemaVersion", "mediaType", "manifests", "annotations"})
_PART_KEYS: Final = frozenset({"mediaType", "digest", "size", "annotations", "platform"})
_PLATFORM_KEYS: Final = frozenset({"os", "architecture", "variant"})
_LARGEST: Final = 2**63 - 1
_TEXT: Final = frozenset({str})
_NONE: Final[dict[str, Any]] = {}


class Skimmed(NamedTuple):
    """What a graph needs of a plain manifest, as columns: there are millions of layers."""

    kind: Kind
    media_type: str
    artifact_type: str | None
    digests: list[str]
    """Its references: config and layers of an image, entries of an index. They are plain strings:
    most are only looked up, and creating a million Digest objects takes a while."""
    sizes: list[int]
    media_types: list[str]
    platforms: list[str]
    noted: list[Digest]
    """The digests in its annotations and in those of its descriptors."""
    annotations: dict[str, str]
    attestations: list[str]
    """Those entries of an index that are attestations of others."""

    @property
    def subject(self) -> None:
        """None: a manifest with a subject is not plain."""
        return None

    def references(self) -> tuple[Reference, ...]:
        """Return all its references."""
        digests = map(Digest, self.digests)
        columns = (self.sizes, self.media_types, self.platforms)
        return tuple(map(Reference, self._roles(), digests, *columns))

    def _roles(self) -> list[Role]:
        if self.kind is Kind.IMAGE:
            return [Role.CONFIG, *[Role.LAYER] * (len(self.digests) - 1)]
        return [Role.BLOB if is_blob_type(kind) else Role.MANIFEST for kind in self.media_types]


class _NotPlain(Exception):
    """The manifest is not plain."""


def _no_number(text: str) -> NoReturn:
    raise _NotPlain


_DECODER: Final = json.JSONDecoder(parse_constant=_no_number)
"""By default, it would accept NaN and Infinity."""


def skim(data: bytes) -> Skimmed | None:
    """Return the references of a plain manifest; None for anything else."""
    # With escapes or non-ASCII letters, a key can be written in two ways.
    if b"\\" in data or not data.isascii():
        return None
    text = data.decode("ascii").strip(" \t\r\n")
    try:
        raw, end = _DECODER.raw_decode(text)
        if end != len(text):
            return None
        found = _skim(raw)
    except (ValueError, RecursionError, _NotPlain):
        return None
    # A duplicate key was read only once.
    return found if data.lower().count(b'"digest"') == len(found.digests) else None


def _skim(raw: Any) -> Skimmed:
    if type(raw) is not dict or type(raw.get("schemaVersion")) is not int:
        raise _NotPlain
    media_type = raw.get("mediaType")
    if raw["schemaVersion"] != 2 or not _is_text_map(raw.get("annotations", _NONE)):
        raise _NotPlain
    if media_type in (OCI_MANIFEST, DOCKER_MANIFEST) and raw.keys() <= _IMAGE_KEYS:
        parts = [raw.get("config"), *_parts(raw, "layers")]
        columns = _columns(parts)
        kind = columns[2][0]
        artifact_type = None if kind in IMAGE_CONFIGS else kind or None
        noted, annotations = _noted(raw, parts), raw.get("annotations", _NONE)
        return Skimmed(Kind.IMAGE, media_type, artifact_type, *columns, noted, annotations, [])
    if media_type in (OCI_INDEX, DOCKER_LIST) and raw.keys() <= _INDEX_KEYS:
        parts = _parts(raw, "manifests")
        columns, noted, annotations = (
            _columns(parts),
            _noted(raw, parts),
            raw.get("annotations", _NONE),
        )
        attestations = [part["digest"] for part in parts if _is_attestation(part)]
        return Skimmed(Kind.INDEX, media_type, None, *columns, noted, annotations, attestations)
    raise _NotPlain


def _parts(raw: dict[str, Any], key: str) -> list[Any]:
    return _listed(raw.get(key))


def _listed(value: Any) -> list[Any]:
    if type(value) is not list:
        raise _NotPlain
    return value


def _columns(parts: list[Any]) -> tuple[list[str], list[int], list[str], list[str]]:
    """Return digests, sizes, media types and platforms of descriptors that are all plain.

    It works by columns, so that most documents need no Python code for each descriptor.
    """
    try:
        digests = [part["digest"] for part in parts]
        sizes = [part["size"] for part in parts]
        kinds = [part["mediaType"] for part in parts]
        # Only strings can be joined, and only objects have keys.
        text, words = "".join(digests), "".join(kinds)
    except (KeyError, TypeError):
        raise _NotPlain from None
    if not parts:
        return [], [], [], []
    if set(map(len, digests)) != {_LENGTH} or {one[:7] for one in digests} != {"sha256:"}:
        raise _NotPlain
    # Each begins with sha256:, so only hexadecimal digits may remain.
    if text.encode().translate(None, b"0123456789abcdef") != b"sh:" * len(parts):
        raise _NotPlain
    if set(map(type, sizes)) != {int} or min(sizes) < 0 or max(sizes) > _LARGEST:
        raise _NotPlain
    # Foreign content has these words in its media type.
    if "foreign" in words or "nondistributable" in words:
        raise _NotPlain
    platforms = [""] * len(parts)
    if max(map(len, parts)) > 3:
        platforms = [_more(part) if len(part) > 3 else "" for part in parts]
    return digests, sizes, kinds, platforms


def _more(part: dict[str, Any]) -> str:
    """Check the keys of a descriptor beyond the three required ones; return its platform."""
    if not part.keys() <= _PART_KEYS or not _is_text_map(part.get("annotations", _NONE)):
        raise _NotPlain
    platform = part.get("platform", _NONE)
    if not _is_text_map(platform) or not platform.keys() <= _PLATFORM_KEYS:
        raise _NotPlain
    words = (platform.get("os"), platform.get("architecture"), platform.get("variant"))
    return "/".join(word for word in words if word)


def _is_attestation(part: dict[str, Any]) -> bool:
    return bool(part.get("annotations", _NONE).get(REFERENCE_TYPE) == ATTESTATION)


def _noted(raw: dict[str, Any], parts: list[dict[str, Any]]) -> list[Digest]:
    """Return the digests in annotations; descriptors of three keys have none."""
    texts = list(raw.get("annotations", _NONE).values())
    for part in parts:
        if len(part) > 3:
            texts += part.get("annotations", _NONE).values()
    return digests_noted(texts) if texts else []


def _is_text_map(value: Any) -> bool:
    return type(value) is dict and {*map(type, value.values())} <= _TEXT


def diff_ids_of(data: bytes) -> list[Digest]:
    """Return the diff IDs in an image config, the base first: the digests of unpacked layers.

    They are what `regfs.manifests.image_config.parse_config` finds, whatever else is in the config.

    Raises:
        ManifestInvalid: not a JSON object, or one whose diff IDs are no list of digests.
    """
    with _of_a_config():
        rootfs = _config(data).get("rootfs")
        diff_ids = None if rootfs is None else rootfs.get("diff_ids")
        return [] if diff_ids is None else [Digest.parse(one) for one in _listed(diff_ids)]


def history_of(data: bytes) -> list[tuple[str, bool]]:
    """Return the command of each step in an image config, and whether the step left no layer.

    Raises:
        ManifestInvalid: not a JSON object, or one whose history is no list of steps.
    """
    with _of_a_config():
        steps = _listed(_config(data).get("history") or [])
        return [(str(one.get("created_by") or ""), bool(one.get("empty_layer"))) for one in steps]


def origin_of(data: bytes) -> tuple[str, str]:
    """Return the platform of an image config and when it was created; empty where it does not say.

    Raises:
        ManifestInvalid: not a JSON object.
    """
    with _of_a_config():
        raw = _config(data)
    words = [raw.get(key) for key in ("os", "architecture", "variant", "created")]
    *platform, created = [word if isinstance(word, str) else "" for word in words]
    return "/".join(filter(None, platform)), created


def _config(data: bytes) -> dict[str, Any]:
    raw = json.loads(data.decode(), parse_constant=_no_number, parse_int=str)
    if type(raw) is not dict:
        raise _NotPlain("not an object")
    return raw


@contextmanager
def _of_a_config() -> Iterator[None]:
    try:
        yield
    except (
        ValueError,
        RecursionError,
        AttributeError,
        TypeError,
        _NotPlain,
        DigestInvalid,
    ) as error:
        raise ManifestInvalid(f"not an image config: {error}") from None
