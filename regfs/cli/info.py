"""`regfs info`: a registry at a glance."""

from __future__ import annotations

from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

DOCUMENTS = {"": "regfs.reports.summary:Summary"}


@regfs_command(
    name="info", examples=["regfs info", "regfs -r /srv/registry info --json"], answers=True
)
def command(session: Session) -> Exit:
    """Show counts, sizes, who manages the tree, its age, and its health at a glance."""
    from regfs.render.reports import show_summary

    report = session.tree.summary()
    session.emit(report, lambda console: show_summary(report, console))
    return Exit.CLEAN
