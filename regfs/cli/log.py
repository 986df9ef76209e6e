"""`regfs log`: what tags pointed to."""

from __future__ import annotations

from dataclasses import replace

import click

from regfs.cli.options import top_option
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

DOCUMENTS = {"": "regfs.reports.tag_log:TagLog"}


@regfs_command(
    name="log",
    examples=["regfs log app:v1", "regfs log app -n 20", "regfs log app:v1 -v"],
    answers=True,
)
@click.argument("reference", metavar="NAME[:TAG]")
@top_option("Rows to show.")
def command(session: Session, reference: str, *, top: int | None) -> Exit:
    """Show what a tag pointed to and when, newest first, and what changed.

    A registry notes for each digest when the tag was last set to it. regfs rollback
    sets a tag back. -v lists the layers that came and went.
    """
    from regfs.render.tag_log import show_tag_log
    from regfs.stores import Capability

    report = session.tree.log(reference)
    if Capability.OCI_LAYOUT in session.store.capabilities:
        session.note("regfs: an OCI layout has no history: times are those of its index.json")
    report = replace(report, entries=report.entries[:top])
    session.emit(report, lambda out: show_tag_log(report, out, verbose=session.verbose))
    return Exit.CLEAN
