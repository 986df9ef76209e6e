"""What removing a tag would free: the report of `regfs du --rm`, with links."""

from __future__ import annotations

from dataclasses import dataclass

from regfs.names import name_problem, tag_problem
from regfs.reports.removal import Keeper, Removal
from regfs.server.ui import addresses
from regfs.server.ui.snapshot import TagRemoval
from regfs.server.ui.views.parts import Hyperlink, Look


@dataclass(frozen=True, slots=True)
class KeeperRow:
    """An image that keeps some of it."""

    keeper: Keeper
    link: Hyperlink


@dataclass(frozen=True, slots=True)
class RemovalView:
    """The view."""

    name: str
    tag: str
    repository_href: str
    href: str
    report: Removal
    keepers: tuple[KeeperRow, ...]
    commands: tuple[str, ...]
    """They remove the tag and free the space; none where its name cannot be given."""


def removing(look: Look, of: TagRemoval) -> RemovalView:
    """Return what removing a tag would free; only for those who may see everything."""
    report = look.snapshot.removal(of)
    name, tag = of
    nameable = name_problem(name) is None and tag_problem(tag) is None
    return RemovalView(
        name=name,
        tag=tag,
        repository_href=addresses.of_repository(name),
        href=addresses.of_tag(name, tag),
        report=report,
        keepers=tuple(KeeperRow(one, _link(one)) for one in report.keepers),
        commands=(f"regfs rm {name}:{tag}", "regfs gc run -m") if nameable else (),
    )


def _link(one: Keeper) -> Hyperlink:
    if one.tag is None:
        return Hyperlink(one.name, addresses.of_repository(one.repository))
    return Hyperlink(one.name, addresses.of_tag(one.repository, one.tag))
