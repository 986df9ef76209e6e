"""`regfs cp`: copying an image to another repository."""

from __future__ import annotations

import click

from regfs.cli.edits import DOCUMENT, EXITS, edit_options, finish
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

DOCUMENTS = {"": DOCUMENT}


@regfs_command(
    name="cp",
    examples=["regfs cp app:v1 team/app:v1", "regfs cp app@sha256:25b1600 app:v0"],
    exits=EXITS,
)
@click.argument("reference", metavar="REF")
@click.argument("new", metavar="NAME:TAG")
@edit_options
@click.option("-f", "--force", is_flag=True, help="Move a tag that points elsewhere.")
def command(
    session: Session, reference: str, new: str, *, dry_run: bool, offline: bool, force: bool
) -> Exit:
    """Copy an image to NAME:TAG; an index with all its platforms.

    Content is stored once, so this takes no space. Signatures and other referrers are not
    copied. regfs gc restore undoes it.
    """
    done = session.tree.edit.cp(reference, new, force=force, offline=offline, dry_run=dry_run)
    return finish(session, done, dry_run=dry_run)
