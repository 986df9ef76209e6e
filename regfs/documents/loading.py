"""Reading a file that people write, TOML or JSON, and saying in one line where it is wrong.

    policy.toml:7: policies[0].keepTags[0].pushedWithin: "30 days" is no duration; say e.g. ...

By the ending of the name, else a document that begins with `{` is JSON.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from regfs.errors import DocumentInvalid
from regfs.positions import Lines, Path, json_lines, toml_lines

M = TypeVar("M", bound=BaseModel)


def load(
    kind: type[M], data: bytes, name: str, unknown_key: Callable[[Path], str] | None = None
) -> M:
    """Read a document as a model; `name` is that of the file, for messages.

    `unknown_key` says what is wrong with a key that the model does not have.

    Raises:
        DocumentInvalid: it is none; the message is `NAME:LINE: KEY: what is wrong`.
    """
    document, lines = _parsed(_decoded(data, name), name)
    for path, line in lines.twice.items():
        raise invalid(name, line, path, "is given twice")
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        details = error.errors(include_url=False)
    # What is missing may only be misspelled, and that is the better thing to say.
    first = min(details, key=lambda one: (one["type"] == "missing", lines.nearest(one["loc"])))
    words = _words(first, unknown_key or (lambda path: "is no key here"))
    raise invalid(name, lines.nearest(first["loc"]), first["loc"], words)


def invalid(name: str, line: int, path: Path, words: str) -> DocumentInvalid:
    """Return the error that says what is wrong at a place of a document."""
    place = f"{_place(path)}: " if path else ""
    return DocumentInvalid(" ".join(f"{name}:{line}: {place}{words}".split()))


def _decoded(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise invalid(name, line, (), "not text in UTF-8") from None


def _parsed(text: str, name: str) -> tuple[Any, Lines]:
    is_json = name.endswith(".json") or (
        text.lstrip().startswith("{") and not name.endswith(".toml")
    )
    try:
        if is_json:
            return json.loads(text), json_lines(text)
        return tomllib.loads(text), toml_lines(text)
    except RecursionError:
        raise invalid(name, 1, (), "nested too deep") from None
    except json.JSONDecodeError as error:
        words = f"not JSON: {error.msg} (column {error.colno})"
        raise invalid(name, error.lineno, (), words) from None
    except ValueError as error:
        # tomllib.TOMLDecodeError tells the place in its words only; so does a number that is
        # longer than Python reads, and that not even there.
        kind = "JSON" if is_json else "TOML"
        found = _TOML_PLACE.search(str(error))
        line = int(found[1]) if found else text.rstrip().count("\n") + 1
        words = _TOML_PLACE.sub(r" (column \2)", str(error)).partition("; use sys.")[0]
        raise invalid(name, line, (), f"not {kind}: {words}") from None


_TOML_PLACE: Final = re.compile(r" \(at line (\d+), column (\d+)\)$")

# -- places ---------------------------------------------------------------------

_BARE: Final = re.compile("[A-Za-z0-9_-]+")


def _place(path: Path) -> str:
    """Return a place as people write it: `policies[0].labels."com.example.keep"`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part if _BARE.fullmatch(part) else shown(part)}"
    return text.removeprefix(".")


def shown(value: Any) -> str:
    """Return a value as it is quoted in a message."""
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
    """Return what is wrong with a value, and what may stand there."""
    kind, value = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        return unknown_key(detail["loc"])
    if kind == "value_error":
        return f"{shown(value)} {detail['ctx']['error']}"
    if kind == "enum":
        return f"must be {detail['ctx']['expected'].replace(chr(39), chr(34))}, not {shown(value)}"
    words = _WORDS.get(kind, detail["msg"])
    return words if kind == "missing" else f"{words}, not {shown(value)}"
