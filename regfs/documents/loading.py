"""Loads files that people write, TOML or JSON; errors say in one line where they are wrong.

    policy.toml: policies[0].keepTags[0].pushedWithin: "30 days" is not a duration; use e.g. ...
    policy.toml:7: not TOML: Expected '=' after a key (column 3)

The key says which value is wrong; a document that is not TOML or JSON has no keys, so its parser
gives the line. The suffix of the name decides between the two, else JSON begins with `{`.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from regfs.errors import DocumentInvalid

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

M = TypeVar("M", bound="BaseModel")
Path: TypeAlias = tuple[str | int, ...]
"""The place of a value in a document, such as ("policies", 0, "keepTags")."""


def load(
    kind: type[M], data: bytes, name: str, unknown_key: Callable[[Path], str] | None = None
) -> M:
    """Load a document as a model; `name` is that of the file, for messages.

    `unknown_key` is the message about a key that the model does not have.

    Raises:
        DocumentInvalid: it is not valid; the message is `NAME: KEY: what is wrong`.
    """
    from pydantic import ValidationError  # costs more than all else here; settings do without

    document = parsed(data, name)
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        details = error.errors(include_url=False)
    # A missing key may just be misspelled, which is the more helpful message.
    ranks = {"extra_forbidden": 0, "missing": 2}
    first = min(details, key=lambda detail: ranks.get(detail["type"], 1))
    words = _words(first, unknown_key or (lambda path: "unknown key"))
    place = _place(first["loc"])
    raise _invalid(name, f"{place}: {words}" if place else words)


def _invalid(name: str, words: str, line: int | None = None) -> DocumentInvalid:
    """Return the error about an invalid document, in one line."""
    where = name if line is None else f"{name}:{line}"
    return DocumentInvalid(" ".join(f"{where}: {words}".split()))


def _decoded(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _invalid(name, "not text in UTF-8", line) from None


def parsed(data: bytes, name: str) -> Any:
    """Return a document as plain values; `name` is that of the file.

    Raises:
        DocumentInvalid: it is neither TOML nor JSON.
    """
    text = _decoded(data, name)
    is_json = name.endswith(".json") or (
        text.lstrip().startswith("{") and not name.endswith(".toml")
    )
    try:
        if is_json:
            return json.loads(text, object_pairs_hook=_object)
        return tomllib.loads(text)
    except RecursionError:
        raise _invalid(name, "nested too deep") from None
    except _GivenTwice as error:
        raise _invalid(name, f"{_place((str(error),))}: is given twice") from None
    except json.JSONDecodeError as error:
        words = f"not JSON: {error.msg} (column {error.colno})"
        raise _invalid(name, words, error.lineno) from None
    except ValueError as error:
        # tomllib.TOMLDecodeError tells the place in its words only; a number that is longer
        # than Python reads has none.
        kind = "JSON" if is_json else "TOML"
        found = _TOML_PLACE.search(str(error))
        words = _TOML_PLACE.sub(r" (column \2)", str(error)).partition("; use sys.")[0]
        raise _invalid(name, f"not {kind}: {words}", int(found[1]) if found else None) from None


class _GivenTwice(Exception):
    """An object has a key more than once; the message is the key."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; raise for duplicate keys, of which Python would use the last."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _GivenTwice(key)
        found[key] = value
    return found


_TOML_PLACE: Final = re.compile(r" \(at line (\d+), column (\d+)\)$")

# -- places ---------------------------------------------------------------------

_BARE: Final = re.compile("[A-Za-z0-9_-]+")


def _place(path: Path) -> str:
    """Return a place in writing: `policies[0].labels."com.example.keep"`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part if _BARE.fullmatch(part) else shown(part)}"
    return text.removeprefix(".")


def shown(value: Any) -> str:
    """Return a value in quotes for a message."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


# -- words ------------------------------------------------------------------------

_WORDS: Final = {
    "missing": "is missing",
    "greater_than_equal": "must be at least 1",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "tuple_type": "must be an array",
    "dict_type": "must be a table",
    "model_type": "must be a table",
}


def _words(detail: ErrorDetails, unknown_key: Callable[[Path], str]) -> str:
    """Return what is wrong with a value, and what is allowed."""
    kind, value = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        return unknown_key(detail["loc"])
    if kind == "value_error":
        return f"{shown(value)} {detail['ctx']['error']}"
    if kind == "enum":
        return f"must be {detail['ctx']['expected'].replace(chr(39), chr(34))}, not {shown(value)}"
    words = _WORDS.get(kind, detail["msg"])
    return words if kind == "missing" else f"{words}, not {shown(value)}"
