"""A password file as `htpasswd -B` writes it: `USER:HASH`, bcrypt only.

Messages never quote a line: it may have a password where the hash should be.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from typing import Final

import bcrypt

from regfs.errors import DocumentInvalid, quoted
from regfs.server.rules import RESERVED

LONGEST_PASSWORD: Final = 72
"""Bytes that bcrypt uses; every program that makes such hashes drops the rest."""
_HASH: Final = re.compile(rb"\$2[aby]\$(0[4-9]|1[0-6])\$[./A-Za-z0-9]{53}")
_FALLBACK_COST: Final = b"10"


def parse(data: bytes, name: str) -> dict[str, bytes]:
    """Return user -> hash; `name` is that of the file, for messages.

    Raises:
        DocumentInvalid: a line is not an entry; the message gives the numbers of all such lines.
    """
    found: dict[str, bytes] = {}
    wrong: dict[int, str] = {}
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith(b"#"):
            continue
        problem = _add(found, *text.partition(b":")[::2])
        if problem:
            wrong[number] = problem
    if wrong:
        first, *others = wrong
        more = f" (lines {', '.join(map(str, others[:20]))} are wrong too)" if others else ""
        raise DocumentInvalid(f"{name}:{first}: {wrong[first]}{more}")
    return found


def _add(found: dict[str, bytes], user: bytes, hashed: bytes) -> str | None:
    """Add an entry; return what is wrong with it, without quoting it."""
    if not _HASH.fullmatch(hashed):
        return "not USER:HASH with a bcrypt hash of cost 4 to 16; make it with `htpasswd -B`"
    try:
        name = user.decode()
    except UnicodeDecodeError:
        return "the user's name is not text in UTF-8"
    if not name or not name.isprintable():
        return "the user's name is empty or has control characters"
    if name in RESERVED:
        return f"the name {quoted(name)} is reserved: it has a meaning in an access file"
    if name in found:
        return "the user already has an entry"
    found[name] = hashed
    return None


class PasswordFile:
    """The users of a password file, which is read again when it changes."""

    def __init__(self, path: str) -> None:
        """Read the file.

        Raises:
            DocumentInvalid: it has an invalid line, or no entry.
            OSError: it cannot be read.
        """
        self.path = path
        self._seen = _state(path)
        self.users: Mapping[str, bytes] = parse(_read(path), path)
        if not self.users:
            raise DocumentInvalid(f"{path}: no users; add one with `htpasswd -B {path} USER`")
        self._nobody = _nobody(self.users)

    def refresh(self) -> bool:
        """Read the file again if it has changed; return whether it did.

        While the file is missing or invalid, the previous users stay.

        Raises:
            DocumentInvalid, OSError: as above; raised once for each change.
        """
        state = _state(self.path)
        if state == self._seen:
            return False
        self._seen = state
        self.users = parse(_read(self.path), self.path)
        self._nobody = _nobody(self.users)
        return True

    def hash_of(self, user: str) -> tuple[bytes, bool]:
        """Return a user's hash and True; for an unknown user a hash of equal cost, and False."""
        found = self.users.get(user)
        return (self._nobody, False) if found is None else (found, True)


def _nobody(users: Mapping[str, bytes]) -> bytes:
    """Return a hash of the most common cost that no password has."""
    costs = Counter(hashed[4:6] for hashed in users.values())
    cost = costs.most_common(1)[0][0] if costs else _FALLBACK_COST
    return b"$2b$" + cost + b"$" + b"." * 53


def _read(path: str) -> bytes:
    with open(path, "rb") as opened:
        return opened.read()


def _state(path: str) -> tuple[int, int, int]:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return 0, 0, 0
    return found.st_ino, found.st_size, found.st_mtime_ns


def matches(password: bytes, hashed: bytes) -> bool:
    """Return whether a password matches a hash; this takes as long as its cost says."""
    return bcrypt.checkpw(password[:LONGEST_PASSWORD], hashed)
