"""What a collection would delete: the plan of `regfs gc plan`, read-only."""

from __future__ import annotations

from dataclasses import dataclass

from regfs import layout
from regfs.digest import Digest
from regfs.gc.actions import Action
from regfs.gc.plan import Plan
from regfs.render.gc import in_words, kept_in_words
from regfs.runs.totals import ActionKind
from regfs.server.ui import addresses
from regfs.server.ui.views.parts import Hyperlink, Look, PagedRows, below, page_of


@dataclass(frozen=True, slots=True)
class ActionRow:
    """One thing that would be deleted."""

    action: Action
    path: str
    which: Hyperlink


@dataclass(frozen=True, slots=True)
class Collecting:
    """The view."""

    plan: Plan
    untagged: bool
    """Whether manifests that no tag reaches are deleted too."""
    eligible: str
    kept: tuple[str, ...]
    page: PagedRows[ActionRow]
    command: str
    run_command: str


def collecting(look: Look, untagged: bool, number: int) -> Collecting:
    """Return what would be deleted; only for those who may see everything."""
    plan = look.snapshot.plan_untagged if untagged else look.snapshot.plan
    actions = sorted(plan.actions, key=lambda action: (-action.size, action.path))

    def address(page: int) -> str:
        return addresses.with_query(
            "/gc", untagged="1" if untagged else "", page=page if page > 1 else ""
        )

    page = page_of(actions, number, address)
    flags = " -m" if untagged else ""
    return Collecting(
        plan=plan,
        untagged=untagged,
        eligible=in_words(plan.totals, plan.allocated),
        kept=tuple(words for _, words in kept_in_words(plan)),
        page=page.replaced(ActionRow(one, below(one.path), _which(one)) for one in page.rows),
        command=f"regfs gc plan{flags} -o plan.json",
        run_command="regfs gc apply plan.json",
    )


def _which(action: Action) -> Hyperlink:
    name, digest = action.repository, action.digest
    if action.kind is ActionKind.TAG and name is not None:
        tag = layout.name_of(action.path)
        return Hyperlink(tag, addresses.of_tag(name, tag))
    if digest is None:
        return Hyperlink(layout.name_of(action.path), "")
    short = Digest(digest).short
    if action.kind is ActionKind.REVISION and name is not None:
        return Hyperlink(short, addresses.of_manifest(name, digest))
    return Hyperlink(short, addresses.of_blob(digest))
