"""What a fallback tag lists, decided in one place for the graph and for the server.

    is_about(named, subject, children, find)  whether its manifest speaks of what the tag names
    listed(subjects, children, find)          which children of the list are about a manifest

`find` returns what is known of a manifest, None where it cannot be read: an unreadable
manifest may be a referrer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from regfs.digest import Digest
from regfs.names import SubjectTag


class About(NamedTuple):
    """What decides whether a manifest is a referrer."""

    subject: Digest | None
    artifact_type: str | None
    """None of what is to be run, and of an index without a type."""


Find = Callable[[Digest], About | None]


def is_about(
    named: SubjectTag, subject: Digest | None, children: Iterable[Digest] | None, find: Find
) -> bool:
    """Return whether a manifest lists referrers, or is itself about what the tag names.

    `children` is None unless the manifest is an index of manifests alone.
    """
    if subject is not None:
        return named.names(subject)
    return children is not None and all(_can_be_referrer(find(child)) for child in children)


def listed(subjects: Collection[Digest], children: Iterable[Digest], find: Find) -> list[Digest]:
    """Return the children that are about a manifest, known by `subjects`, or name no subject."""
    found = []
    for child in children:
        about = find(child)
        if about is None or about.subject is None or about.subject in subjects:
            found.append(child)
    return found


def _can_be_referrer(about: About | None) -> bool:
    return about is None or about.subject is not None or about.artifact_type is not None
