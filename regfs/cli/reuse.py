"""`regfs reuse`: which images share which layers."""

from __future__ import annotations

import click

from regfs.cli.options import top_option
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

DOCUMENTS = {"": "regfs.reports.reuse:Reuse"}


@regfs_command(
    name="reuse",
    examples=["regfs reuse", "regfs reuse my-busybox-extended:latest", "regfs reuse --json"],
    answers=True,
)
@click.argument("references", metavar="[REF]...", nargs=-1)
@top_option("Layers to show (default: 20).")
def command(session: Session, references: tuple[str, ...], *, top: int | None) -> Exit:
    """Show which layers images share, and how much that saves.

    With REF..., only the layers of these images.
    """
    from regfs.render.reports import show_reuse

    # What tags were and when layers were linked costs as much as all else, and is not asked.
    session.tree.history = session.tree.link_times = False
    report = session.tree.reuse(*references, top=top if session.json else top or 20)
    session.emit(report, lambda console: show_reuse(report, console))
    return Exit.CLEAN
