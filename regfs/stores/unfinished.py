"""Names of files that are being written, and what they were to become.

    data  ->  .data.5f3c91a0b2e4.regfs-tmp  ->  data

A killed writer leaves one beside its place. Nothing but regfs gives such a name.
"""

from __future__ import annotations

import os
import secrets
from typing import Final

UNFINISHED: Final = ".regfs-tmp"
"""Ending of the hidden file that `create` may leave beside its target after a crash."""
_STEM: Final = 200
"""Bytes of the name that are kept: file systems allow 255."""


def unfinished_name(name: str) -> str:
    """Return a new name for a file in the same folder that will become `name`."""
    stem = os.fsdecode(os.fsencode(name)[:_STEM])
    return f".{stem}.{secrets.token_hex(6)}{UNFINISHED}"


def finished_name(name: str) -> str | None:
    """Return what a file was to be called, or how that begins; None if its name is no such name.

    >>> finished_name(".data.5f3c91a0b2e4.regfs-tmp")
    'data'
    """
    rest = name
    while rest.endswith(UNFINISHED):  # a clone has the ending twice, for a moment
        rest = rest.removesuffix(UNFINISHED)
    stem, dot, mark = rest.removeprefix(".").rpartition(".")
    return stem if rest != name and rest.startswith(".") and stem and dot and mark else None
