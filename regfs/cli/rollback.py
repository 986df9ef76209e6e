"""`regfs rollback`: setting a tag back."""

from __future__ import annotations

import click

from regfs.cli.edits import DOCUMENT, EXITS, edit_options, finish
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

DOCUMENTS = {"": DOCUMENT}


@regfs_command(
    name="rollback",
    examples=[
        "regfs rollback app:v1 -n",
        "regfs rollback app:v1 -2",
        "regfs rollback app:v1 sha256:25b1600",
    ],
    exits=EXITS,
)
@click.argument("reference", metavar="NAME:TAG")
@click.argument("to", metavar="[DIGEST|-N]", default="-1")
@edit_options
def command(session: Session, reference: str, to: str, *, dry_run: bool, offline: bool) -> Exit:
    """Set a tag back to what it pointed to before, as regfs log lists it.

    Without DIGEST that is -1, the one before. Only an image that is still whole is
    tagged. Doing it twice returns to the start; regfs gc restore undoes it too.
    """
    done = session.tree.edit.rollback(reference, to, offline=offline, dry_run=dry_run)
    return finish(session, done, dry_run=dry_run)


command.context_settings = {"ignore_unknown_options": True}  # -2 is no option
