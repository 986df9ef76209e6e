"""`regfs bases`: which image is built on which."""

from __future__ import annotations

from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

DOCUMENTS = {"": "regfs.reports.lineage:Bases"}


@regfs_command(name="bases", examples=["regfs bases", "regfs bases --json"], answers=True)
def command(session: Session) -> Exit:
    """Show which image is built on which, by annotations and by layers."""
    from regfs.render.reports import show_bases

    # What tags were and when layers were linked costs as much as all else, and is not asked.
    session.tree.history = session.tree.link_times = False
    report = session.tree.bases()
    session.emit(report, lambda console: show_bases(report, console))
    return Exit.CLEAN
