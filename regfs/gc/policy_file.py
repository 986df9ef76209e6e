"""Reading a policy file, and saying in one line where it is wrong and what may stand there.

    policy.toml:7: policies[0].keepTags[0].pushedWithin: "30 days" is no duration; say e.g. ...

TOML or JSON: by the ending of the name, else a document that begins with `{` is JSON.
"""

from __future__ import annotations

import json
import re
import tomllib
from difflib import get_close_matches
from typing import Any, Final

from pydantic import ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from regfs.errors import DocumentInvalid
from regfs.gc.retention.policy import Block, KeepTags, RetentionPolicy, Rules, Semver, Table
from regfs.positions import Lines, Path, json_lines, toml_lines


def load_policy(data: bytes, name: str) -> RetentionPolicy:
    """Read a policy; `name` is that of the file, for messages.

    Raises:
        DocumentInvalid: it is none; the message is `NAME:LINE: KEY: what is wrong`.
    """
    document, lines = _parsed(_decoded(data, name), name)
    for path, line in lines.twice.items():
        raise _invalid(name, line, path, "is given twice")
    try:
        return RetentionPolicy.model_validate(document)
    except ValidationError as error:
        details = error.errors(include_url=False)
    # What is missing may only be misspelled, and that is the better thing to say.
    first = min(details, key=lambda one: (one["type"] == "missing", lines.nearest(one["loc"])))
    raise _invalid(name, lines.nearest(first["loc"]), first["loc"], _words(first))


def _invalid(name: str, line: int, path: Path, words: str) -> DocumentInvalid:
    place = f"{_place(path)}: " if path else ""
    return DocumentInvalid(" ".join(f"{name}:{line}: {place}{words}".split()))


def _decoded(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _invalid(name, line, (), "not text in UTF-8") from None


def _parsed(text: str, name: str) -> tuple[Any, Lines]:
    is_json = name.endswith(".json") or (
        text.lstrip().startswith("{") and not name.endswith(".toml")
    )
    try:
        if is_json:
            return json.loads(text), json_lines(text)
        return tomllib.loads(text), toml_lines(text)
    except RecursionError:
        raise _invalid(name, 1, (), "nested too deep for a policy") from None
    except json.JSONDecodeError as error:
        words = f"not JSON: {error.msg} (column {error.colno})"
        raise _invalid(name, error.lineno, (), words) from None
    except ValueError as error:
        # tomllib.TOMLDecodeError tells the place in its words only; so does a number that is
        # longer than Python reads, and that not even there.
        kind = "JSON" if is_json else "TOML"
        found = _TOML_PLACE.search(str(error))
        line = int(found[1]) if found else text.rstrip().count("\n") + 1
        words = _TOML_PLACE.sub(r" (column \2)", str(error)).partition("; use sys.")[0]
        raise _invalid(name, line, (), f"not {kind}: {words}") from None


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
            text += f".{part if _BARE.fullmatch(part) else _shown(part)}"
    return text.removeprefix(".")


def _shown(value: Any) -> str:
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
_PULLS: Final = "pulls are not recorded on the disk; go by pushedWithin or createdWithin instead"
_REFUSED: Final = {
    "mostRecentlyPulledCount": _PULLS,
    "pulledWithin": _PULLS,
    "dryRun": "a plan deletes nothing, applying it does; there is no such switch in a policy",
    "delay": "say --min-age instead: it holds for everything that is collected",
}
"""Keys of zot that have no meaning here."""

_TABLES: Final[dict[str, type[Table]]] = {
    "the top": RetentionPolicy,
    "policies": Block,
    "policies.keepUntagged": Rules,
    "policies.keepTags": KeepTags,
    "policies.keepTags.semver": Semver,
}


def _words(detail: ErrorDetails) -> str:
    """Return what is wrong with a value, and what may stand there."""
    kind, value = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        return _unknown_key(detail["loc"])
    if kind == "value_error":
        return f"{_shown(value)} {detail['ctx']['error']}"
    if kind == "enum":
        return f"must be {detail['ctx']['expected'].replace(chr(39), chr(34))}, not {_shown(value)}"
    words = _WORDS.get(kind, detail["msg"])
    return words if kind == "missing" else f"{words}, not {_shown(value)}"


def _unknown_key(location: Path) -> str:
    *above, key = (part for part in location if isinstance(part, str))
    table = _TABLES[".".join(map(to_camel, above)) or "the top"]
    known = _keys(table)
    camel = to_camel(key)
    if camel in _REFUSED:
        return _REFUSED[camel]
    if key in table.model_fields:
        return f"is given twice: {camel} is the same"
    alike = get_close_matches(camel.lower(), [name.lower() for name in known], 1)
    meant = next((name for name in known if name.lower() in alike), None)
    elsewhere = [place for place, other in _TABLES.items() if camel in _keys(other)]
    if meant is not None:
        hint = f"; did you mean {meant}?"
    else:
        hint = f"; it belongs in {' or '.join(elsewhere)}" if elsewhere else ""
    return f"is no key here{hint} (there are {', '.join(known)})"


def _keys(table: type[Table]) -> list[str]:
    return [to_camel(name) for name in table.model_fields]
