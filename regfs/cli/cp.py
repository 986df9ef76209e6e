"""`regfs cp`: copying an image to another repository or another tree."""

from __future__ import annotations

import click

from regfs.cli.edits import DOCUMENT, EXITS, edit_options, finish
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

DOCUMENTS = {"": DOCUMENT}


@regfs_command(
    name="cp",
    examples=[
        "regfs cp app:v1 team/app:v1",
        "regfs cp app@sha256:25b1600 app:v0",
        "regfs cp app:v1 --to /srv/backup/registry",
    ],
    exits=EXITS,
)
@click.argument("reference", metavar="REF")
@click.argument("new", metavar="[NAME:TAG]", default="")
@edit_options
@click.option("-f", "--force", is_flag=True, help="Move a tag that points elsewhere.")
@click.option("--to", metavar="ROOT", help="Another tree; NAME:TAG is the same there by default.")
def command(
    session: Session,
    reference: str,
    new: str,
    *,
    dry_run: bool,
    offline: bool,
    force: bool,
    to: str | None,
) -> Exit:
    """Copy an image to NAME:TAG; an index with all its platforms.

    Within a tree content is stored once, so this takes no space. Into another tree it is
    cloned or hard-linked where one file system holds both, else copied and verified.
    Signatures and other referrers are not copied. regfs gc restore undoes it, in the tree
    that was changed.
    """
    from regfs import facade

    if to is None and not new:
        raise click.UsageError("give NAME:TAG, or --to ROOT")
    target = None if to is None else facade.open(to, empty=session.allow_empty).registry
    done = session.tree.edit.cp(
        reference, new, to=target, force=force, offline=offline, dry_run=dry_run
    )
    return finish(session, done, dry_run=dry_run)
