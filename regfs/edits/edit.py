"""What an edit changes, and the report of what it did. Pure data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from regfs import layout
from regfs.digest import Digest
from regfs.gc.actions import Action
from regfs.gc.sweep import Applied
from regfs.runs import Returned, RunKind, Skipped
from regfs.runs.totals import ActionKind
from regfs.tree.registry import Target


class NewLink(NamedTuple):
    """A link to create, or to replace."""

    kind: ActionKind
    path: str
    digest: Digest
    repository: str
    mtime: float | None = None
    """Seconds since the epoch; None for the time at which it is written."""


@dataclass(frozen=True, slots=True)
class Retained:
    """Something that is kept although it was named, or belongs to what was named."""

    what: str
    """A reference, or a path."""
    reason: str


@dataclass(frozen=True, slots=True)
class Renamed:
    """A repository, and its new name."""

    name: str
    new: str


@dataclass(slots=True)
class Edit:
    """What is to be changed."""

    kind: RunKind
    goes: list[Action] = field(default_factory=list)
    """References before what they refer to."""
    links: list[NewLink] = field(default_factory=list)
    """What is referred to before its references."""
    keeps: list[Retained] = field(default_factory=list)
    renamed: list[Renamed] = field(default_factory=list)
    emptied: list[str] = field(default_factory=list)
    """Repositories whose folders are removed if they are empty by then."""

    @property
    def repositories(self) -> set[str]:
        """The repositories that lose something."""
        return {one.repository for one in self.goes if one.repository is not None}

    def targets(self) -> list[Target]:
        """Return the tags and manifests that are removed, each as a reference."""
        found = [Target(name, None, None) for name in self.emptied]
        for one in self.goes:
            digest = None if one.digest is None else Digest(one.digest)
            if one.repository in self.emptied:
                continue
            if one.kind is ActionKind.TAG:
                found.append(Target(one.repository, layout.name_of(one.path), digest))
            elif one.kind is ActionKind.REVISION:
                found.append(Target(one.repository, None, digest))
        return found


@dataclass(frozen=True, slots=True)
class Created:
    """A link that is created."""

    kind: ActionKind
    path: str
    digest: str
    repository: str


@dataclass(frozen=True, slots=True)
class Frees:
    """What a collection frees."""

    blobs: int
    bytes: int
    is_certain: bool = True
    """Whether a collection frees anything: it does not while a part of the tree cannot be read,
    or if no repository is left."""


@dataclass(frozen=True, slots=True)
class Transferred:
    """Content that another tree lacked."""

    blobs: int
    bytes: int
    shared: int
    """Blobs of these that take no space, as clones or hard links; 0 in a dry run."""


@dataclass(frozen=True, slots=True)
class Edited:
    """What an edit did; without a run, what it would do."""

    run: str | None
    """None of a dry run, and if there was nothing to do."""
    root: str
    kind: RunKind
    removed: list[Action]
    """What was moved into quarantine."""
    created: list[Created]
    kept: list[Retained]
    renamed: list[Renamed]
    frees: Frees | None = None
    """What the next `gc run` frees because of this; the edit itself frees nothing. None where
    that is no question, or is not known since something was written meanwhile."""
    skipped: list[Skipped] = field(default_factory=list)
    """What has changed since the edit was decided, and is kept."""
    returned: list[Returned] = field(default_factory=list)
    """What came back into use meanwhile, and is back in place."""
    transferred: Transferred | None = None
    """What was copied into another tree, of which `root` and `run` are then."""
    collected: Applied | None = None
    """What the collection did that followed at once, if one was asked for."""
