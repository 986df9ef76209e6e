"""Patterns of repository names, as zot writes them: `infra/**`, `prod/*`, `**/app`.

Matching takes time linear in the name, and in the pattern. What stands between two stars is
looked for once, at the first place where it fits: a later one leaves less room for what comes
after it, so going back would find nothing more. Atomic groups say so.
"""

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
    head, *others = _split(list(map(_component, parts)), "**")
    pieces = ["".join(head)]
    pieces += [rf"(?>(?:/[^/]++)*?{''.join(some)})" for some in others[:-1] if some]
    if others:
        pieces.append(rf"(?:/[^/]++)*{''.join(others[-1])}")
    return re.compile("".join(pieces), re.DOTALL)


def _component(part: str) -> str:
    """Return a component as an expression, up to its end; `**` as it is."""
    if part == "**":
        return part
    head, *others = map(re.escape, part.split("*"))
    if not others:
        return rf"/{head}(?=/|\Z)"
    *middle, tail = others
    pieces = "".join(f"(?>[^/]*?{some})" for some in middle if some)
    return rf"/(?=[^/]){head}{pieces}[^/]*{tail}(?=/|\Z)"


def _split(parts: list[str], mark: str) -> list[list[str]]:
    """Return what stands before, between and after the marks."""
    found: list[list[str]] = [[]]
    for part in parts:
        if part == mark:
            found.append([])
        else:
            found[-1].append(part)
    return found
