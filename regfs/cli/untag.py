"""`regfs untag`: removing tags alone."""

from __future__ import annotations

import click

from regfs.cli.edits import DOCUMENT, EXITS, edit_options, finish
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

DOCUMENTS = {"": DOCUMENT}


@regfs_command(
    name="untag",
    examples=["regfs untag app:v1", "regfs untag app:v1 app:v2 -n"],
    exits=EXITS,
)
@click.argument("references", metavar="NAME:TAG...", nargs=-1, required=True)
@edit_options
def command(session: Session, references: tuple[str, ...], *, dry_run: bool, offline: bool) -> Exit:
    """Remove tags; the manifests that they point to stay.

    They can be pulled by digest until regfs gc run -m. regfs rm removes the image too,
    and regfs gc restore undoes either.
    """
    done = session.tree.edit.untag(*references, offline=offline, dry_run=dry_run)
    return finish(session, done, dry_run=dry_run)
