"""`regfs why`: what keeps a blob or a manifest."""

from __future__ import annotations

import click

from regfs.cli.options import top_option
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

DOCUMENTS = {"": "regfs.reports.paths:Reasons"}


@regfs_command(
    name="why", examples=["regfs why 25b1600519c0", "regfs why app:v1 --top 100"], answers=True
)
@click.argument("reference", metavar="REF|DIGEST")
@top_option("Images to list; with -v also paths.", default=20)
def command(session: Session, reference: str, *, top: int) -> Exit:
    """Show which tags and untagged manifests need a blob or manifest, or that nothing does.

    With -v also every path from a repository to it.
    """
    from regfs.render.image import show_reasons

    report = session.tree.why(reference, limit=top)
    paths = session.verbose > 0
    session.emit(report, lambda console: show_reasons(report, console, top, paths=paths))
    return Exit.CLEAN
