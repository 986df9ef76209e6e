"""What is in an SBOM: SPDX 2 and 3, CycloneDX and syft, in JSON.

    read_sbom(pieces, each) -> Sbom("SPDX", "SPDX-2.3", packages=143, ...)
        `each` gets every SbomPackage as it is met

The document is parsed as a stream: memory does not grow with it. A package that a document
nests in another one (CycloneDX) is a package of its own. Files are only counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from regfs.errors import AttestationInvalid

_DEEPEST: Final = 100
"""Levels of brackets; SBOMs have a dozen."""
_QUIET: Final = 1 << 20
"""Bytes without the beginning of a string: only a string or a number that is longer."""
_LONGEST: Final = 1000
"""Characters that are kept of a name or version."""


@dataclass(frozen=True, slots=True)
class SbomPackage:
    """One package of an SBOM."""

    name: str
    version: str
    kind: str
    """Such as `deb`, `apk`, `npm`, by its package URL; empty where it has none."""
    licence: str
    purl: str


@dataclass(frozen=True, slots=True)
class Sbom:
    """What an SBOM says of itself."""

    form: str
    """`SPDX`, `CycloneDX` or `syft`; empty if the keys of none were found."""
    version: str
    """Of the format, as the document writes it."""
    name: str
    """What it is about, as the document calls it."""
    created: str
    tools: tuple[str, ...]
    packages: int
    files: int
    kinds: dict[str, int]
    """Kind of packages -> how many."""


Path = tuple[str, ...]
_Fields = Mapping[Path, str]

_PACKAGES: Final[frozenset[Path]] = frozenset(
    {("packages", "*"), ("artifacts", "*"), ("@graph", "*")}
)
_NESTED: Final = ("components", "*")
_OF_PACKAGE: Final[_Fields] = {
    ("name",): "name",
    ("version",): "version",
    ("versionInfo",): "version",
    ("software_packageVersion",): "version",
    ("type",): "type",
    ("@type",): "type",
    ("SPDXID",): "id",
    ("primaryPackagePurpose",): "purpose",
    ("purl",): "purl",
    ("software_packageUrl",): "purl",
    ("externalRefs", "*", "referenceLocator"): "locator",
    ("licenseConcluded",): "licence",
    ("licenseDeclared",): "licence",
    ("licenses", "*"): "licence",
    ("licenses", "*", "value"): "licence",
    ("licenses", "*", "expression"): "licence",
    ("licenses", "*", "license", "id"): "licence",
    ("licenses", "*", "license", "name"): "licence",
    ("created",): "created",
    ("specVersion",): "spec",
}
_OF_DOCUMENT: Final[_Fields] = {
    ("spdxVersion",): "version",
    ("specVersion",): "version",
    ("schema", "version"): "version",
    ("name",): "name",
    ("metadata", "component", "name"): "name",
    ("source", "name"): "name",
    ("creationInfo", "created"): "created",
    ("metadata", "timestamp"): "created",
    ("creationInfo", "creators", "*"): "tool",
    ("metadata", "tools", "*", "name"): "tool",
    ("metadata", "tools", "components", "*", "name"): "tool",
    ("descriptor", "name"): "tool",
}
_FORMS: Final = {
    "spdxVersion": "SPDX",
    "@graph": "SPDX",
    "bomFormat": "CycloneDX",
    "artifacts": "syft",
}
_UNSAID: Final = frozenset({"NOASSERTION", "NONE", ""})
_PLACES: Final = frozenset({"operating-system", "OPERATING-SYSTEM", "OPERATING_SYSTEM"})
"""What describes where packages are, and is none."""
_TOOLS: Final = 10
_KINDS: Final = 20
"""Tools and kinds that are kept."""


def read_sbom(pieces: Iterator[bytes], each: Callable[[SbomPackage], object] = id) -> Sbom:
    """Read an SBOM to its end; call `each` with every package.

    Raises:
        AttestationInvalid: it is not JSON, or is one that nobody writes: too deep, or with a
            string or number of more than a megabyte.
    """
    import ijson  # only for who reads an SBOM

    reader, quiet = _SbomReader(each), _Quiet()
    events = ijson.sendable_list()
    parser = ijson.basic_parse_coro(events, use_float=True)
    try:
        for piece in filter(None, pieces):
            quiet.check(piece)
            parser.send(piece)
            for event, value in events:
                reader.take(event, value)
            del events[:]
        parser.close()
    except (ijson.JSONError, ValueError, ArithmeticError) as error:
        words = str(error).removeprefix("b'").split("\n")[0].split("\\n")[0].strip()
        raise AttestationInvalid(f"is not JSON that regfs can read: {words}") from None
    for event, value in events:
        reader.take(event, value)
    return reader.found()


class _Quiet:
    """Watches that no string or number of a document is long, before a parser holds it whole."""

    def __init__(self) -> None:
        self._bytes = 0
        self._last = b""

    def check(self, piece: bytes) -> None:
        """Look at the next piece.

        Raises:
            AttestationInvalid: no string has begun for too long.
        """
        # In a string each quotation mark stands behind a backslash; one that does not begins or
        # ends a string.
        joined = self._last + piece
        at = joined.rfind(b'"')
        while at > 0 and joined[at - 1 : at] == b"\\":
            at = joined.rfind(b'"', 0, at)
        self._bytes = self._bytes + len(piece) if at < 0 else len(joined) - at
        self._last = piece[-1:]
        if self._bytes > _QUIET:
            raise AttestationInvalid(f"has a string or number of more than {_QUIET} bytes")


class _SbomReader:
    """Takes the events of a parser and keeps what an SBOM says."""

    def __init__(self, each: Callable[[SbomPackage], object]) -> None:
        self._each = each
        self._path: list[str] = []
        self._open: list[tuple[int, dict[str, str]]] = []
        """The packages that are being read, nested ones last: their depth and fields."""
        self._form = ""
        self._fields: dict[str, str] = {}
        self._tools: list[str] = []
        self._kinds: Counter[str] = Counter()
        self._packages = self._files = 0

    def take(self, event: str, value: Any) -> None:
        """Take one event."""
        path = self._path
        if event == "map_key":
            path[-1] = value
            if len(path) == 1 and not self._form:
                self._form = _FORMS.get(value, "")
        elif event in ("start_map", "start_array"):
            if event == "start_map":
                self._begin()
            if len(path) >= _DEEPEST:
                raise AttestationInvalid(f"is nested more than {_DEEPEST} levels deep")
            path.append("" if event == "start_map" else "*")
        elif event in ("end_map", "end_array"):
            path.pop()
            if event == "end_map" and self._open and self._open[-1][0] == len(path):
                self._end(self._open.pop()[1])
        elif event == "string":
            self._text(value[:_LONGEST])

    def _begin(self) -> None:
        """Begin a package if one is here; count a file."""
        place = tuple(self._path)
        if place in _PACKAGES or (place[-2:] == _NESTED and place[0] == "components"):
            self._open.append((len(place), {}))
        elif place == ("files", "*"):
            self._files += 1

    def _text(self, text: str) -> None:
        if self._open:
            depth, fields = self._open[-1]
            name = _OF_PACKAGE.get(tuple(self._path[depth:]), "")
        else:
            fields, name = self._fields, _OF_DOCUMENT.get(tuple(self._path), "")
        if name == "tool":
            self._tools.append(text) if len(self._tools) < _TOOLS else None
        elif name == "locator":
            fields.setdefault("purl", text) if text.startswith("pkg:") else None
        elif name and text not in _UNSAID:
            fields.setdefault(name, text)

    def _end(self, fields: dict[str, str]) -> None:
        """Take a package that was read to its end, or what stands in the place of one."""
        kind = fields.get("type", "")
        if self._path[:1] == ["@graph"] and kind != "software_Package":
            self._of_graph(kind, fields)
            return
        if kind == "file":
            self._files += 1
            return
        is_place = kind in _PLACES or fields.get("purpose") in _PLACES
        if is_place or fields.get("id", "").startswith("SPDXRef-DocumentRoot-"):
            return
        self._packages += 1
        purl = fields.get("purl", "")
        family = purl.removeprefix("pkg:").partition("/")[0] if purl else ""
        self._kinds[family or "other"] += 1
        name, version = fields.get("name", ""), fields.get("version", "")
        self._each(SbomPackage(name, version, family, fields.get("licence", ""), purl))

    def _of_graph(self, kind: str, fields: dict[str, str]) -> None:
        """Take an element of SPDX 3 that is no package."""
        if kind == "software_File":
            self._files += 1
        elif kind == "CreationInfo":
            self._fields |= {"created": fields.get("created", "")}
            self._fields.setdefault("version", f"SPDX-{fields.get('spec', '3')}")
        elif kind == "SpdxDocument":
            self._fields.setdefault("name", fields.get("name", ""))
        elif kind == "Tool" and len(self._tools) < _TOOLS:
            self._tools.append(fields.get("name", ""))

    def found(self) -> Sbom:
        """Return what was found."""
        said = self._fields.get
        return Sbom(
            form=self._form,
            version=said("version", ""),
            name=said("name", ""),
            created=said("created", ""),
            tools=tuple(one.removeprefix("Tool: ") for one in self._tools),
            packages=self._packages,
            files=self._files,
            kinds=dict(self._kinds.most_common(_KINDS)),
        )
