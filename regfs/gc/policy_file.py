"""Reads a policy file, and suggests what an unknown key may mean."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from pydantic.alias_generators import to_camel

from regfs.documents.loading import Path, load
from regfs.gc.retention.policy import Block, KeepTags, RetentionPolicy, Rules, Semver, Table


def load_policy(data: bytes, name: str) -> RetentionPolicy:
    """Read a policy, TOML or JSON; `name` is that of the file, for messages.

    Raises:
        DocumentInvalid: it is not valid; the message is `NAME: KEY: what is wrong`.
    """
    return load(RetentionPolicy, data, name, _unknown_key)


_PULLS: Final = "pulls are not recorded on the disk; use pushedWithin or createdWithin instead"
_REFUSED: Final = {
    "mostRecentlyPulledCount": _PULLS,
    "pulledWithin": _PULLS,
    "dryRun": "not needed: a plan deletes nothing until it is applied",
    "delay": "use --min-age instead: it applies to everything that is collected",
}
"""Keys of zot that have no meaning here."""

_TABLES: Final[dict[str, type[Table]]] = {
    "the top": RetentionPolicy,
    "policies": Block,
    "policies.keepUntagged": Rules,
    "policies.keepTags": KeepTags,
    "policies.keepTags.semver": Semver,
}


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
    return f"unknown key{hint} (known: {', '.join(known)})"


def _keys(table: type[Table]) -> list[str]:
    return [to_camel(name) for name in table.model_fields]
