"""`regfs mv`: renaming a repository."""

from __future__ import annotations

import click

from regfs.cli.edits import DOCUMENT, EXITS, edit_options, finish
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

DOCUMENTS = {"": DOCUMENT}


@regfs_command(
    name="mv",
    examples=["regfs mv app team/app -n", "regfs mv team group --recursive"],
    exits=EXITS,
)
@click.argument("name", metavar="NAME")
@click.argument("new", metavar="NEW")
@edit_options
@click.option("--recursive", is_flag=True, help="Also move the repositories below NAME.")
def command(
    session: Session, name: str, new: str, *, dry_run: bool, offline: bool, recursive: bool
) -> Exit:
    """Rename a repository, with its tags, their history and its untagged manifests.

    The links of NEW are created first; then those of NAME are moved into quarantine.
    regfs gc restore undoes it.
    """
    edit = session.tree.edit
    done = edit.mv(name, new, recursive=recursive, offline=offline, dry_run=dry_run)
    return finish(session, done, dry_run=dry_run)
