"""`regfs bases`: which image is built on which."""

from __future__ import annotations

import click

from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

DOCUMENTS = {"": "regfs.reports.lineage:Bases"}


@regfs_command(
    name="bases",
    examples=["regfs bases", "regfs bases my-busybox:latest", "regfs bases --json"],
    answers=True,
)
@click.argument("references", metavar="[REF]...", nargs=-1)
def command(session: Session, references: tuple[str, ...]) -> Exit:
    """Show which image is built on which, by annotations and by layers.

    With REF..., these images, what they are built on, and what is built on them.
    """
    from regfs.render.reports import show_bases

    # What tags were and when layers were linked costs as much as all else, and is not asked.
    session.tree.history = session.tree.link_times = False
    report = session.tree.bases(*references)
    session.emit(report, lambda console: show_bases(report, console))
    return Exit.CLEAN
