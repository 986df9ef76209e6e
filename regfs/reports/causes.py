"""Findings grouped by cause: what to do about it, then how many there are.

    `blobs` may not be read      it, every blob below it, and whatever else is denied to this user
    `blobs` is not mounted       it, and every link and tag that leads nowhere for want of it
    a deletion was cut short     the tags of a repository that lead to the same lost manifest
    somebody uses the folder     what lies in one folder and is not part of the layout

JSON has each finding; people are not helped by the fortieth. What a person has to look at
one by one (a corrupt blob, a damaged link) is never grouped.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from regfs import layout
from regfs.findings import RULES, Code, Finding
from regfs.tree.inventory import INCOMPLETE

NAMED: Final = 3
"""Places that are named for one cause."""

_DENIED: Final = ("permission denied", "operation not permitted")
_UNREADABLE: Final = frozenset({Code.PATH_UNREADABLE, Code.BLOB_UNREADABLE})
_UNKNOWN: Final = INCOMPLETE | {
    Code.BLOB_UNREADABLE,
    Code.BLOB_CORRUPT,
    Code.LAYER_UNREADABLE,
    Code.MANIFEST_UNREADABLE,
    Code.MANIFEST_TOO_LARGE,
    Code.DESCRIPTOR_INVALID,
    Code.LAYER_UNREADABLE,
    Code.UPLOAD_UNKNOWN,
}
_OF_ONE_MANIFEST: Final = frozenset({Code.TAG_DANGLING})
_OF_ONE_REPOSITORY: Final = frozenset({Code.TAG_WITHOUT_CURRENT, Code.TAG_INVALID})
_OF_ONE_FOLDER: Final = frozenset({Code.FOREIGN_PATH})
_NO_BLOBS: Final = "no blobs"
_EVERYWHERE: Final = frozenset({Code.JUNK, Code.UPLOAD_UNKNOWN})
_FOR_WANT_OF_BLOBS: Final = frozenset(
    {Code.BLOB_MISSING, Code.LINK_DANGLING, Code.TAG_DANGLING, Code.INDEX_CHILD_MISSING}
)


@dataclass(slots=True)
class Cause:
    """One cause and its findings."""

    first: Finding
    """The first finding."""
    count: int = 1
    others: list[str] = field(default_factory=list)
    """Some other places."""

    @property
    def remedy(self) -> str:
        """What to do about it."""
        denied = is_denied(self.first)
        return RULES[Code.PATH_UNREADABLE].remedy if denied else self.first.remedy

    @property
    def where(self) -> str:
        """The first few places, and how many more there are."""
        named = [_place(self.first), *self.others]
        more = self.count - len(named)
        return ", ".join(named) + (f" and {more} more" if more else "")


def lacking(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings of what is there and missing from an answer, one for each path.

    A listing and a read may both meet the same trouble: the first to say so counts.
    """
    found = [finding for finding in findings if finding.code in _UNKNOWN]
    once = {finding.path: finding for finding in reversed(found)}
    return list(once.values())[::-1]


class Causes:
    """Groups findings as they come."""

    def __init__(self, findings: Iterable[Finding] = ()) -> None:
        self._found: dict[Hashable, Cause] = {}
        for finding in findings:
            self.add(finding)

    def add(self, finding: Finding) -> bool:
        """Add a finding; return whether it is the first of its cause."""
        key = _key(finding)
        if finding.code in _FOR_WANT_OF_BLOBS and _NO_BLOBS in self._found:
            key = _NO_BLOBS
        known = self._found.get(key)
        if known is None:
            self._found[key] = Cause(finding)
            return True
        known.count += 1
        # Consequences do not help to find the cause, nor does a second unreadable folder.
        alike = finding.code is known.first.code and not is_denied(finding)
        if alike and len(known.others) < NAMED - 1:
            known.others.append(_place(finding))
        return False

    def __iter__(self) -> Iterator[Cause]:
        """Yield every cause, in the order of their first findings."""
        return iter(self._found.values())


def is_denied(finding: Finding) -> bool:
    """Return whether this user may not read something that is there."""
    return finding.code in _UNREADABLE and (finding.actual or "").endswith(_DENIED)


def _key(finding: Finding) -> Hashable:
    """Return the key that findings of one cause share."""
    code = finding.code
    if is_denied(finding):
        return "denied"
    if code in _OF_ONE_MANIFEST:
        return code, finding.repository, finding.digest
    if code in _OF_ONE_REPOSITORY:
        return code, finding.repository
    if code in _OF_ONE_FOLDER:
        return code, layout.parent_of(finding.path)
    if code is Code.BLOBS_MISSING:
        return _NO_BLOBS
    if code in _EVERYWHERE:
        return code
    return code, finding.path, finding.digest, finding.tag, finding.expected


def _place(finding: Finding) -> str:
    """Return the place of a finding in short."""
    if finding.tag is not None:
        return f"{finding.repository}:{finding.tag}"
    return finding.path
