"""Tables for people and JSON for machines.

All text from a tree passes `printable` before it reaches a terminal: names may hold
control characters, escape sequences or bytes that are not UTF-8.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from itertools import chain
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from regfs.digest import Digest
from regfs.errors import printable as printable
from regfs.findings import RULES, Finding, Severity
from regfs.units import rfc3339

if TYPE_CHECKING:
    from rich.console import Console

    from regfs.render.grid import Grid
    from regfs.reports.causes import Cause


def plural(count: int, one: str, many: str = "") -> str:
    """Return a number with its noun: `1 image`, `2 images`, `2 repositories`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def short(digest: str) -> str:
    """Return the first twelve hexadecimal digits of a digest, for a table."""
    return digest.partition(":")[2][:12] or digest


def document(value: Any) -> Any:
    """Return a report as plain JSON values: dataclasses and named tuples become objects."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, Finding):
        value = value.written()  # a Mapping
    if hasattr(value, "model_dump"):  # a pydantic model
        return value.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    if names := _fields(type(value)):
        pairs = [(name, getattr(value, name)) for name in names]
        return {name: item if type(item) in _PLAIN else document(item) for name, item in pairs}
    if isinstance(value, Mapping):
        return {str(key): document(item) for key, item in value.items()}
    if isinstance(value, Iterable):
        return [document(item) for item in value]
    raise TypeError(f"no JSON for {type(value).__name__}")


_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
"""Types that are plain JSON values."""

_FIELDS: dict[Any, tuple[str, ...]] = {}
"""Type -> its fields, cached: asking dataclasses costs more than writing the row."""


def _fields(kind: Any) -> tuple[str, ...]:
    """Return the fields of a dataclass or named tuple; empty for any other type."""
    if kind not in _FIELDS:
        plain = is_dataclass(kind)
        names = (f.name for f in fields(kind)) if plain else getattr(kind, "_fields", ())
        _FIELDS[kind] = tuple(names)
    return _FIELDS[kind]


def to_json(value: Any) -> str:
    """Return a report as JSON text, a line for each key and for each row of a list.

    The text is ASCII, so that names that are not UTF-8 survive a round trip.
    """
    return "".join(json_pieces(value))


def to_json_line(value: Any) -> str:
    """Return one row as JSON text on one line."""
    return _flat_line(value) or json.dumps(document(value))


def _flat_line(value: Any) -> str:
    """Return a row of plain values as JSON text, five times as fast; empty for any other row."""
    names = () if isinstance(value, Finding) else _fields(type(value))
    parts = []
    for name in names:
        item = getattr(value, name)
        write = _WRITERS.get(type(item))
        if write is None:
            if not isinstance(item, str):
                return ""
            write = _text  # a digest or an enumeration value
        parts.append(f'"{name}": {write(item)}')
    return f"{{{', '.join(parts)}}}" if parts else ""


def _real(value: float) -> str:
    return repr(value) if isfinite(value) else json.dumps(value)


_text: Final = json.encoder.encode_basestring_ascii
_WRITERS: Final[dict[type, Callable[[Any], str]]] = {
    str: _text,
    int: repr,
    float: _real,
    bool: {False: "false", True: "true"}.__getitem__,
    type(None): lambda _: "null",
}
"""Type -> function that writes a value of it as JSON."""


def json_pieces(value: Any, **more: Any) -> Iterator[str]:
    """Yield the pieces of `to_json`, one row at a time: there can be a million.

    An object has `more` at its end.
    """
    names = _fields(type(value))
    if isinstance(value, Mapping) or (names and not isinstance(value, Finding)):
        pairs = value.items() if isinstance(value, Mapping) else _values(value, names)
        comma = "{\n"
        for key, item in chain(pairs, more.items()):
            yield f"{comma}  {json.dumps(str(key))}: "
            yield from _rows(item, "  ")
            comma = ",\n"
        yield "{}" if comma == "{\n" else "\n}"
    else:
        yield from _rows(value, "")


def _values(value: Any, names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    return ((name, getattr(value, name)) for name in names)


def _rows(value: Any, indent: str) -> Iterator[str]:
    """Yield a list with a row on each line, and anything else on one."""
    if not isinstance(value, (list, tuple)) or hasattr(value, "_fields"):
        yield to_json_line(value)
        return
    comma = "[\n"
    for row in value:
        yield f"{comma}{indent}  {to_json_line(row)}"
        comma = ",\n"
    yield "[]" if comma == "[\n" else f"\n{indent}]"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Grid:
    """Return a table that folds long texts.

    The first character of a column name sets its style: `>` aligns to the right, `=` never
    folds (digests, times), `~` cuts at the edge of the terminal, `/` folds media types.
    """
    from regfs.render.grid import Grid

    marked = [
        (name[:1], name[1:]) if name[:1] in (">", "=", "~", "/") else ("", name) for name in columns
    ]
    return Grid(printable(title), marked, ([_cell(cell) for cell in row] for row in rows))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return rfc3339(value).replace("T", " ")
    if isinstance(value, Digest):
        return value.short
    return printable(value)


_STYLES: Final = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.INFO: "dim"}


def print_finding(console: Console, finding: Finding) -> None:
    """Print a finding: severity, code and path on one line, message and remedy below."""
    from rich.text import Text

    line = Text()
    line.append(f"{finding.severity.value:<8}", style=_STYLES[finding.severity])
    line.append(f"{finding.code.value}  ")
    line.append(printable(finding.path), style="bold")
    console.print(line, soft_wrap=True)
    console.print(Text(f"        {printable(finding.message)}"), soft_wrap=True)
    console.print(Text(f"        {finding.remedy}", style="dim"), soft_wrap=True)


def incomplete(cause: Cause) -> str:
    """Return a line about what an answer lacks: what to do, where and why."""
    first = cause.first
    words = first.actual or first.message
    return f"incomplete. {cause.remedy.rstrip('.')}: {cause.where}: {words}"


def print_cause(console: Console, cause: Cause) -> None:
    """Print the cause of several findings: what to do, how many there are and where."""
    from rich.text import Text

    first = cause.first
    line = Text()
    line.append(f"{first.severity.value:<8}", style=_STYLES[first.severity])
    line.append(f"{first.code.value}  ")
    line.append(cause.remedy, style="bold")
    console.print(line, soft_wrap=True)
    where = printable(f"{cause.count} of one cause: {cause.where}")
    console.print(Text(f"        {where}"), soft_wrap=True)
    console.print(Text(f"        {RULES[first.code].message}", style="dim"), soft_wrap=True)
