"""What a document about an image says it is, however it is wrapped: in-toto, DSSE, Sigstore.

    {"payloadType": ..., "payload": "<base64>"}     an envelope (DSSE), as `cosign attest` writes
      {"_type": "https://in-toto.io/Statement/v1",  a statement, as BuildKit writes it bare
       "predicateType": ..., "subject": [...],
       "predicate": {...}}                          the body: provenance, an SBOM

    look_into(open) -> Wrapped(predicate_type, subjects, ...);  .body() -> the bytes of the body

A document without a wrapping is its own body. Everything is streamed, and nothing is believed:
signatures are not checked, and whether a subject is the image at hand is for the caller to see.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from regfs.content.members import from_base64, limited, members, unquoted
from regfs.errors import AttestationInvalid

Pieces = Callable[[], Iterator[bytes]]
"""Opens a document anew and yields its bytes."""

_SMALL: Final = 1 << 20
"""Bytes of the longest list of subjects, and of what else is kept."""
_TEXT: Final = 4 << 20
"""Bytes of the longest body that is a string of JSON: it is decoded as a whole."""
_KEPT: Final = frozenset({"predicateType", "subject", "spdxVersion", "bomFormat"})
_FORMS: Final = {
    "spdxVersion": "SPDX",
    "@graph": "SPDX",
    "SPDXID": "SPDX",
    "bomFormat": "CycloneDX",
    "artifacts": "syft",
}
"""Key of a document -> what it is."""
_PREDICATES: Final = {
    "https://spdx.dev/Document": "SPDX",
    "https://cyclonedx.org/": "CycloneDX",
    "https://syft.dev/": "syft",
    "https://slsa.dev/provenance/": "provenance",
}
"""How the type of a predicate begins -> what its body is."""


def form_of(predicate_type: str) -> str:
    """Return `SPDX`, `CycloneDX`, `syft` or `provenance` by the type of a predicate, else ''."""
    found = (name for start, name in _PREDICATES.items() if predicate_type.startswith(start))
    return next(found, "")


@dataclass(frozen=True, slots=True)
class Subject:
    """What a statement says it is about."""

    name: str
    digests: tuple[str, ...]
    """Such as `sha256:...`."""


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A document, and what stands around its body."""

    wrappings: tuple[str, ...]
    """From the outside: `bundle`, `envelope`, `statement`; empty for a bare document."""
    predicate_type: str
    """Empty without a statement."""
    subjects: tuple[Subject, ...]
    form: str
    """`SPDX`, `CycloneDX`, `syft`, `provenance`, or empty where neither type nor keys tell."""
    body: Pieces
    """Yields the bytes of the body.

    It raises AttestationInvalid when that is not there, or twice: after what it has yielded.
    """


def look_into(pieces: Pieces) -> Wrapped:
    """Return what a document is; of one that is no JSON object, by its first bytes.

    Raises:
        AttestationInvalid: its JSON, or its base64, is broken.
    """
    wrappings: list[str] = []
    while True:
        begin = next(filter(None, pieces()), b"")
        if not begin.lstrip().startswith(b"{"):
            return Wrapped(tuple(wrappings), "", (), text_form(begin), pieces)
        keys = _outline(pieces())
        if "dsseEnvelope" in keys and "bundle" not in wrappings:
            wrappings.append("bundle")
            pieces = _MemberValue(pieces, "dsseEnvelope")
        elif {"payload", "payloadType"} <= keys.keys() and "envelope" not in wrappings:
            wrappings.append("envelope")
            pieces = _Payload(pieces)
        elif "predicateType" in keys and "predicate" in keys:
            return _statement(wrappings, keys, pieces)
        else:
            form = next((_FORMS[key] for key in _FORMS if key in keys), "")
            return Wrapped(tuple(wrappings), "", (), form, pieces)


def _statement(wrappings: list[str], keys: dict[str, Any], pieces: Pieces) -> Wrapped:
    predicate = keys["predicateType"]
    if not isinstance(predicate, str):
        raise AttestationInvalid("the type of its predicate is not a string")
    return Wrapped(
        (*wrappings, "statement"),
        predicate,
        tuple(_subjects(keys.get("subject"))),
        form_of(predicate),
        _Text(_MemberValue(pieces, "predicate")),
    )


def _outline(pieces: Iterator[bytes]) -> dict[str, Any]:
    """Return the keys of an object with the small values that are kept, up to what tells enough."""
    found: dict[str, Any] = {}
    for key, value in members(pieces):
        if key in _KEPT:
            text = limited(value, _SMALL, f"its {key}")
            try:
                found[key] = json.loads(text)
            except (ValueError, RecursionError):
                raise AttestationInvalid(f"is not JSON: its {key} cannot be read") from None
        else:
            found[key] = None
        enough = ({"payload", "payloadType"}, {"predicateType", "subject", "predicate"})
        if key in _FORMS or any(one <= found.keys() for one in enough):
            break
    return found


def _subjects(value: Any) -> Iterator[Subject]:
    for one in value if isinstance(value, list) else ():
        digests = one.get("digest") if isinstance(one, dict) else None
        if isinstance(digests, dict):
            name = one.get("name")
            pairs = tuple(f"{kind}:{text}" for kind, text in digests.items())
            yield Subject(name if isinstance(name, str) else "", pairs)


def text_form(begin: bytes) -> str:
    """Return `SPDX` or `CycloneDX` of one that is not in JSON, by how it begins; else empty."""
    start = begin.lstrip()[:200]
    if start.startswith(b"SPDXVersion:"):
        return "SPDX"
    return "CycloneDX" if start.startswith(b"<") and b"cyclonedx" in begin[:2000] else ""


@dataclass(frozen=True, slots=True)
class _MemberValue:
    """Opens the value of a key."""

    outer: Pieces
    key: str

    def __call__(self) -> Iterator[bytes]:
        count = 0
        for key, value in members(self.outer()):
            if key == self.key:
                count += 1
                if count == 1:
                    yield from value
        if count != 1:
            raise AttestationInvalid(f"has {count or 'no'} keys called {self.key}, not one")


@dataclass(frozen=True, slots=True)
class _Payload:
    """Opens what the payload of an envelope holds."""

    outer: Pieces

    def __call__(self) -> Iterator[bytes]:
        return from_base64(unquoted(_MemberValue(self.outer, "payload")()))


@dataclass(frozen=True, slots=True)
class _Text:
    """Opens a body; one that is a string (SPDX as tags and values) is decoded."""

    outer: Pieces

    def __call__(self) -> Iterator[bytes]:
        pieces = self.outer()
        first = next(pieces, b"")
        if not first.startswith(b'"'):
            yield from chain([first], pieces)
            return
        text = limited(chain([first], pieces), _TEXT, "its predicate")
        try:
            yield str(json.loads(text)).encode("utf-8", "surrogatepass")
        except ValueError:
            raise AttestationInvalid("is not JSON: its predicate cannot be read") from None
