"""Patterns of repository names, as zot writes them: `infra/**`, `prod/*`, `**/app`.

Matching takes time linear in the name and in the pattern. The text between two stars is matched
at the first place where it fits, without backtracking (atomic groups): a later place would leave
less room for the rest, so it could not match more.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_SPECIAL: Final = frozenset("?[]{}!\\")


@lru_cache(maxsize=4096)
def glob(pattern: str) -> re.Pattern[str]:
    """Compile a pattern to be matched with `/<name>`: `*` within a component, `**` across them.

    As in zot, `infra/**` also matches `infra`, and `**/app` matches `app`.

    Raises:
        ValueError: it cannot match the name of any repository, or uses another syntax.
    """
    if strange := _SPECIAL & set(pattern):
        raise ValueError(
            f"is not a glob of repositories: {min(strange)} has no meaning, only * and **"
        )
    parts = pattern.split("/")
    if "" in parts:
        raise ValueError("is not a glob of repositories: it has an empty component")
    if any("**" in part and part != "**" for part in parts):
        raise ValueError("is not a glob of repositories: ** must be a component by itself")
    # Components have their slash in front, and so does the name.
    head, *others = _split(list(map(_component, parts)), "**")
    pieces = ["".join(head)]
    pieces += [rf"(?>(?:/[^/]++)*?{''.join(some)})" for some in others[:-1] if some]
    if others:
        pieces.append(rf"(?:/[^/]++)*{''.join(others[-1])}")
    return re.compile("".join(pieces), re.DOTALL)


def _component(part: str) -> str:
    """Return a component as a regular expression; `**` unchanged."""
    if part == "**":
        return part
    head, *others = map(re.escape, part.split("*"))
    if not others:
        return rf"/{head}(?=/|\Z)"
    *middle, tail = others
    pieces = "".join(f"(?>[^/]*?{some})" for some in middle if some)
    return rf"/(?=[^/]){head}{pieces}[^/]*{tail}(?=/|\Z)"


def _split(parts: list[str], mark: str) -> list[list[str]]:
    """Return the text before, between and after the marks."""
    found: list[list[str]] = [[]]
    for part in parts:
        if part == mark:
            found.append([])
        else:
            found[-1].append(part)
    return found
