"""`regfs tag`: setting a tag."""

from __future__ import annotations

import click

from regfs.cli.edits import DOCUMENT, EXITS, edit_options, finish
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

DOCUMENTS = {"": DOCUMENT}


@regfs_command(
    name="tag",
    examples=[
        "regfs tag app:v1 stable",
        "regfs tag app@sha256:25b1600 app:v0 --force",
        "regfs tag sha256:25b1600 app:saved   (an orphan of regfs ls --orphans)",
    ],
    exits=EXITS,
)
@click.argument("reference", metavar="REF")
@click.argument("new", metavar="TAG|NAME:TAG")
@edit_options
@click.option("-f", "--force", is_flag=True, help="Move a tag that points elsewhere.")
def command(
    session: Session, reference: str, new: str, *, dry_run: bool, offline: bool, force: bool
) -> Exit:
    """Set a tag to the image that REF names, in the same repository.

    DIGEST alone names a manifest that no repository has any more: it gets its links
    again, and the tag. regfs gc restore undoes it.
    """
    done = session.tree.edit.tag(reference, new, force=force, offline=offline, dry_run=dry_run)
    return finish(session, done, dry_run=dry_run)
