"""How package managers order versions: keys that compare as dpkg, apk and rpm compare. Pure text.

    dpkg    [epoch:]upstream[-revision]              1.0~rc1 < 1.0 < 1.0+b1 < 1:0.9
    apk     digits[letter]{_suffix}[~hash][-rN]      1.2_rc1 < 1.2 < 1.2_git1 < 1.2_p1 < 1.2a
    rpm     [epoch:]version[-release]                1.0~rc1 < 1.0 < 1.0^git1 < 1.0.1

Each key is a tuple of tuples that begin with a rank; what ends is a rank of its own, because
some things sort before an end (`~`) and others after it. Any text has a key: versions come from
images. Numbers are compared by length and digits, however long they are.

Why no library: the kept one for all three (univers) refuses versions that Alpine ships
(`1.2.4_git20230717`) and colons that dpkg takes.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

Key: TypeAlias = tuple[object, ...]


def _number(digits: str) -> tuple[int, str]:
    """Return what orders numbers as their values, without the limit of int()."""
    stripped = digits.lstrip("0")
    return len(stripped), stripped


# -- dpkg: deb-version(7) ---------------------------------------------------------------

_DPKG_PARTS: Final = re.compile(r"([^0-9]*)([0-9]*)")
_DPKG_END: Final = (((0, 0),), (0, ""))


def dpkg_key(version: str) -> Key:
    """Return what orders versions of Debian packages."""
    epoch, colon, rest = version.strip().partition(":")
    if not colon:
        epoch, rest = "", version.strip()
    upstream, dash, revision = rest.rpartition("-")
    if not dash:
        upstream, revision = rest, ""
    return _number(epoch), _dpkg_part(upstream), _dpkg_part(revision)


def _dpkg_part(text: str) -> Key:
    parts = (
        ((*map(_dpkg_order, words), (0, 0)), _number(digits))
        for words, digits in _DPKG_PARTS.findall(text)
    )
    return (*parts, _DPKG_END)


def _dpkg_order(character: str) -> tuple[int, int]:
    """Return a rank: `~` before the end of a part (0), letters after it, all else after these."""
    if character == "~":
        return -1, 0
    return (1 if character.isascii() and character.isalpha() else 2), ord(character)


# -- apk: as apk-tools 3 ------------------------------------------------------------------

_APK: Final = re.compile(
    r"(?P<digits>[0-9]+)|\.(?P<more>[0-9]+)|(?P<letter>[a-z])"
    r"|_(?P<suffix>alpha|beta|pre|rc|cvs|svn|git|hg|p)(?P<count>[0-9]*)"
    r"|~(?P<hash>[0-9a-f]+)|-r(?P<revision>[0-9]+)"
)
_APK_BEFORE: Final = ("alpha", "beta", "pre", "rc")
"""Suffixes of what comes before a release, in order."""
_APK_AFTER: Final = ("cvs", "svn", "git", "hg", "p")
_BROKEN, _BEFORE, _END, _REVISION, _HASH, _COUNT, _AFTER, _LETTER, _DIGITS = range(-1, 8)
"""Ranks of what may come next in a version, lowest first."""


def apk_key(version: str) -> Key:
    """Return what orders versions of Alpine packages; one that is no such goes by its text."""
    key: list[Key] = []
    position = 0
    while found := _APK.match(version, position):
        key += _apk_parts(found, first=position == 0)
        position = found.end()
    if position < len(version):
        key.append((_BROKEN, version[position:]))
    return (*key, (_END,))


def _apk_parts(found: re.Match[str], *, first: bool) -> list[Key]:
    value = str(found[found.lastgroup or 0])
    if found["suffix"]:
        suffix = found["suffix"]
        before = suffix in _APK_BEFORE
        order = _APK_BEFORE if before else _APK_AFTER
        part: Key = (_BEFORE if before else _AFTER, order.index(suffix))
        return [part, (_COUNT, *_number(found["count"]))] if found["count"] else [part]
    if found["letter"]:
        return [(_LETTER, value)]
    if found["hash"]:
        return [(_HASH, value)]
    if found["revision"]:
        return [(_REVISION, *_number(value))]
    # Of digits behind a point those with a zero in front are compared as text: 1.05 < 1.1.
    if value.startswith("0") and not first:
        return [(_DIGITS, 0, value)]
    return [(_DIGITS, *_number(value))]


# -- rpm: rpm-version(7) ------------------------------------------------------------------

_RPM_PARTS: Final = re.compile(r"[0-9]+|[a-zA-Z]+|[~^]")
_TILDE, _RPM_END, _CARET, _LETTERS, _RPM_DIGITS = range(-1, 4)


def rpm_key(version: str) -> Key:
    """Return what orders versions of RPM packages."""
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "", version
    upstream, dash, release = rest.rpartition("-")
    if not dash:
        upstream, release = rest, ""
    return _number(epoch), _rpm_part(upstream), _rpm_part(release)


def _rpm_part(text: str) -> Key:
    return (*map(_rpm_order, _RPM_PARTS.findall(text)), (_RPM_END,))


def _rpm_order(part: str) -> Key:
    if part in "~^":
        return (_TILDE if part == "~" else _CARET,)
    return (_RPM_DIGITS, *_number(part)) if part.isdigit() else (_LETTERS, part)
