"""`regfs info`: a registry at a glance."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from regfs.cli.gc_roots import read_file
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command
from regfs.cli.spelled import spelled

if TYPE_CHECKING:
    from regfs.render.overview import Commands

DOCUMENTS = {"": "regfs.reports.overview:Overview"}


@regfs_command(
    name="info", examples=["regfs info", "regfs -r /srv/registry info --json"], answers=True
)
@click.option(
    "--policy",
    "policy_file",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Also say what gc would free by these rules; default: those set for gc run, if any.",
)
@click.option(
    "--prices",
    "prices_file",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Of a bucket: also say what a plan and a verify cost by this price list (see the guide).",
)
def command(session: Session, policy_file: str | None, prices_file: str | None) -> Exit:
    """Show what is there, what can be freed and how, who manages the tree, and its health."""
    from regfs.render.overview import show_overview

    file = policy_file or _configured()
    retention = None
    if file is not None:
        from regfs.gc.policy_file import load_policy

        retention = load_policy(read_file(file), file)
    # What tags pointed to before only a policy asks for; of layer links a few matter.
    session.tree.history = retention is not None
    session.tree.link_times = False
    prices = None
    if prices_file is not None:
        from regfs.documents.prices import load_prices

        prices = load_prices(read_file(prices_file), prices_file)
    report = session.tree.overview(retention, prices)
    commands = _commands(session, file)
    session.emit(report, lambda console: show_overview(report, commands, console))
    return Exit.CLEAN


def _configured() -> str | None:
    """Return the policy that is set for `gc run`."""
    from regfs.cli.common import settings_of

    found = settings_of(click.get_current_context()).find(("gc", "run"), "policy")
    return None if found is None else str(found.value)


def _commands(session: Session, file: str | None) -> Commands:
    from regfs.render.overview import Commands
    from regfs.stores import Capability

    changes = Capability.CHANGE in session.store.capabilities

    def gc(*words: str) -> str:
        # What cannot be changed here can be where it is unpacked, or mounted.
        return spelled(session, "gc", *words) if changes else f"gc {shlex.join(words)}, in a folder"

    return Commands(
        now=gc("run"),
        untagged=gc("run", "-m"),
        uploads=gc("run", "-m", "--uploads-older-than", "1h"),
        by_policy=gc("run", "--policy", file or ""),
        purge=gc("purge"),
    )
