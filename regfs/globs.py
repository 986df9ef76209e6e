"""Patterns of repository names, as zot writes them: `infra/**`, `prod/*`, `**/app`."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_SPECIAL: Final = frozenset("?[]{}!\\")


@lru_cache(maxsize=4096)
def glob(pattern: str) -> re.Pattern[str]:
    """Return what `pattern` matches, of `/<name>`: `*` within a component, `**` across them.

    As in zot `infra/**` means `infra` too, and `**/app` means `app`.

    Raises:
        ValueError: it could not match the name of any repository, or is written in another
            language of patterns.
    """
    if strange := _SPECIAL & set(pattern):
        raise ValueError(
            f"is no glob of repositories: {min(strange)} has no meaning, only * and **"
        )
    parts = pattern.split("/")
    if "" in parts:
        raise ValueError("is no glob of repositories: it has an empty component")
    if any("**" in part and part != "**" for part in parts):
        raise ValueError("is no glob of repositories: ** must be a component by itself")
    # Every component is written with its slash in front, and so is the name.
    pieces = ["(?:/[^/]+)*" if part == "**" else f"/{_component(part)}" for part in parts]
    return re.compile("".join(pieces), re.DOTALL)


def _component(part: str) -> str:
    return "(?=[^/])" + "[^/]*".join(re.escape(literal) for literal in part.split("*"))
