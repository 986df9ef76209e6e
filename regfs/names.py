"""The grammar of repository names and tags, and tags that are named after a manifest.

    team/app          a repository: components of lower-case letters and digits
    v1.0              a tag
    sha256-<hex>      a fallback tag: it lists the referrers of that manifest (OCI 1.1)
    sha256-<hex>.sig  what cosign attaches to that manifest: `.sig`, `.att`, `.sbom`

Nothing here knows where a repository or a tag lies (`regfs.layout` does).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, NamedTuple

from regfs.digest import ALGORITHMS, Digest
from regfs.errors import NameInvalid, TagInvalid, quoted

NAME_LENGTH: Final = 255
"""Longest repository name; a first component that can be a host is counted separately."""
TAG_LENGTH: Final = 128

_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
# A port or an IPv6 address is a host too, but no storage driver takes a path with a colon.
_HOST = re.compile(r"[A-Za-z0-9]+(?:-+[A-Za-z0-9]+)*(?:\.[A-Za-z0-9]+(?:-+[A-Za-z0-9]+)*)*")
_TAG_TEXT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_NUMBER = re.compile("([0-9]+)")
_CUT: Final = 64
"""Most digits of a digest in a fallback tag (OCI 1.1, referrers tag schema)."""
_ENDINGS: Final = {"sig": "signature", "att": "attestation", "sbom": "SBOM"}
"""Ending of a cosign tag -> what it holds."""
_SUBJECT_TAG = re.compile(
    rf"({'|'.join(ALGORITHMS)})-([0-9a-f]{{{_CUT},}})(?:\.({'|'.join(_ENDINGS)}))?"
)


def name_problem(name: str) -> str | None:
    """Return why no client can request a repository of that name; None if one can."""
    host, slash, rest = name.partition("/")
    if not (slash and _HOST.fullmatch(host)):
        rest = name
    if not name:
        return "is empty"
    if max(len(host), len(rest)) > NAME_LENGTH:
        return f"is longer than {NAME_LENGTH} characters"
    for component in rest.split("/"):
        if not component:
            return "has an empty component"
        if not _COMPONENT.fullmatch(component):
            return (
                f"has the component {quoted(component)}, which is not lower-case letters and "
                "digits joined by one of . _ __ or dashes"
            )
    return None


def could_be_component(text: str, *, first: bool) -> bool:
    """Return whether a folder of that name can lead to a repository; the first can be a host."""
    return bool(_COMPONENT.fullmatch(text) or (first and _HOST.fullmatch(text)))


def check_name(name: str) -> None:
    """Raise NameInvalid if `name` breaks the grammar of repository names."""
    if problem := name_problem(name):
        raise NameInvalid(f"repository name {quoted(name)} {problem}")


def tag_problem(tag: str) -> str | None:
    """Return why no client can request a tag of that name; None if one can."""
    if not tag:
        return "is empty"
    if len(tag) > TAG_LENGTH:
        return f"is longer than {TAG_LENGTH} characters"
    if not _TAG_TEXT.fullmatch(tag):
        return "is not letters, digits, _ . and -, the first neither . nor -"
    return None


def check_tag(tag: str) -> None:
    """Raise TagInvalid if `tag` breaks the grammar of tags."""
    if problem := tag_problem(tag):
        raise TagInvalid(f"tag {quoted(tag)} {problem}")


def natural(text: str) -> tuple[list[str | int], str]:
    """Return the sort key by which numbers in names count: `v2` before `v10`."""
    # Parts alternate, so that a number is only compared with a number.
    parts = _NUMBER.split(text)
    key: list[str | int] = [int(one) if odd % 2 else one for odd, one in enumerate(parts)]
    return key, text


class SubjectTag(NamedTuple):
    """A tag that is named after a manifest, its subject."""

    algorithm: str
    digits: str
    """All digits of the digest of that manifest, or the first 64."""
    ending: str
    """`sig`, `att` or `sbom` of a cosign tag; empty for a fallback tag."""

    @property
    def is_fallback(self) -> bool:
        """Whether its name is that of a list of referrers; else it is a name of cosign."""
        return not self.ending

    @property
    def holds(self) -> str:
        """What it should hold: `signature`, `attestation`, `SBOM` or `referrers`."""
        return _ENDINGS.get(self.ending, "referrers")

    @property
    def subject(self) -> str:
        """The digest of its subject, as far as the tag contains it."""
        return f"{self.algorithm}:{self.digits}"

    def names(self, digest: str | None) -> bool:
        """Return whether its subject is the manifest of that digest."""
        return digest is not None and digest.startswith(self.subject)

    def among(self, digests: Collection[Digest]) -> list[Digest]:
        """Return those of some digests that can be its subject."""
        if len(self.digits) == ALGORITHMS[self.algorithm]:
            whole = Digest(self.subject)
            return [whole] if whole in digests else []
        return [digest for digest in digests if self.names(digest)]


def subject_tag(tag: str) -> SubjectTag | None:
    """Return the subject in a tag's name; None if the tag is not named after a manifest.

    `<algorithm>-<hex>` lists the referrers of a manifest where a registry has no API for this
    (OCI 1.1, the hex cut to 64 digits), and `<algorithm>-<hex>.sig` and the like is what cosign
    attaches to an image. Tools that mirror by digest name a manifest after itself in the first
    way: only what such a tag points to shows whether it is a list.
    """
    found = _SUBJECT_TAG.fullmatch(tag)
    if found is None:
        return None
    algorithm, digits, ending = found[1], found[2], found[3] or ""
    whole = len(digits) == ALGORITHMS[algorithm]
    if len(digits) != _CUT and not (ending and whole):
        return None
    return SubjectTag(algorithm, digits, ending)


def fallback_tag(subject: Digest) -> str:
    """Return the tag that lists the referrers of `subject` (OCI 1.1 referrers tag schema)."""
    return f"{subject.algorithm}-{subject.encoded[:_CUT]}"


def cosign_tags(subject: Digest) -> list[str]:
    """Return the tags under which cosign attaches things to a manifest."""
    start = f"{subject.algorithm}-{subject.encoded}"
    return [f"{start}.{ending}" for ending in _ENDINGS]


def plainest(name: str) -> tuple[int, str]:
    """Return the key that sorts `app:latest` before `app-variant:20240101`."""
    return len(name), name
