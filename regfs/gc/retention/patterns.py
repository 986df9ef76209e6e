"""Regular expressions of a policy: as in zot, and with a time limit.

zot looks for a pattern anywhere in a tag (Go's `regexp.MatchString`); `^` and `$` bind it to the
ends. Go's engine is linear in the text and Python's is not: anybody who may push could choose a
tag that holds up a run for years. So each search has a time limit, and a pattern that exceeds it
too often is given up. A tag that a pattern could not be tried on is kept and reported.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Final

import regex

LIMIT: Final = 0.25
"""Seconds that one search may take."""
CHANCES: Final = 10
"""Searches of one pattern that may exceed the limit before it is given up."""

_SHOWN: Final = 60
"""Characters of a text in a message."""
_FLAGS_LATER: Final = regex.compile(r"(?<!^)(?<!\\)\(\?[a-zA-Z]*-?[a-zA-Z]+\)")


@lru_cache(maxsize=4096)
def expression(pattern: str) -> regex.Pattern[str]:
    """Return a regular expression, ready for use.

    Raises:
        ValueError: it is not valid, or means something else in Go.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            compiled = regex.compile(pattern, regex.ASCII)
    except (regex.error, Warning, OverflowError, RecursionError) as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    if _FLAGS_LATER.search(pattern):
        # Go applies flags from there on, `regex` to the whole pattern.
        raise ValueError("is not a regular expression: flags must be at its beginning")
    return compiled


class Patterns:
    """The patterns of one run, and which of them were too slow."""

    def __init__(self, limit: float = LIMIT) -> None:
        self.slow: dict[str, str] = {}
        """Pattern that exceeded the limit -> the beginning of the first text it did so with."""
        self._limit = limit
        self._missed: dict[str, int] = {}

    def search(self, pattern: str, text: str) -> bool | None:
        """Return whether `pattern` is found in `text`; None if that takes too long."""
        missed = self._missed.get(pattern, 0)
        if missed >= CHANCES:
            return None
        try:
            return expression(pattern).search(text, timeout=self._limit) is not None
        except TimeoutError:
            self._missed[pattern] = missed + 1
            shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
            self.slow.setdefault(pattern, shown)
            return None
