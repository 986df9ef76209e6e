"""What each repository loses by a plan. Pure.

A blob counts for the repository that loses a manifest or a layer link that names it. What several
repositories lose has a row of its own, and so has what no repository links to. So the rows add up
to the totals of the plan.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from regfs.gc.actions import Action
from regfs.gc.plan import Plan
from regfs.runs.totals import ActionKind


class LossPlace(Enum):
    """The owner of a row that is not one repository."""

    SEVERAL = "several repositories"
    NONE = "no repository"


@dataclass(slots=True)
class Loss:
    """What one repository loses."""

    place: str | LossPlace
    """The name of a repository, or what else it is."""
    manifests: int = 0
    tags: int = 0
    bytes: int = 0
    allocated: int = 0
    """Bytes of disk blocks, as far as they are known."""
    tags_left: int = 0


def losses(plan: Plan) -> list[Loss]:
    """Return what each repository loses, those that free most first."""
    owners = _owners(plan.actions)
    found: dict[str | LossPlace, Loss] = {}
    for action in plan.actions:
        place = action.repository or owners.get(action.digest or "", LossPlace.NONE)
        loss = found.get(place)
        if loss is None:
            left = 0 if isinstance(place, LossPlace) else plan.tags_left.get(place, 0)
            loss = found[place] = Loss(place, tags_left=left)
        loss.manifests += action.kind is ActionKind.REVISION
        loss.tags += action.kind is ActionKind.TAG
        loss.bytes += action.size
        loss.allocated += action.allocated
    return sorted(found.values(), key=lambda one: (-one.bytes, str(one.place)))


_NAMING: Final = frozenset({ActionKind.LAYER_LINK, ActionKind.REVISION})


def _owners(actions: Iterable[Action]) -> dict[str, str | LossPlace]:
    """Return the place that loses each digest."""
    found: dict[str, str | LossPlace] = {}
    for action in actions:
        if action.kind in _NAMING and action.digest is not None and action.repository is not None:
            before = found.setdefault(action.digest, action.repository)
            if before != action.repository:
                found[action.digest] = LossPlace.SEVERAL
    return found
