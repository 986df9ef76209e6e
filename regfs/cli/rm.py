"""`regfs rm`: removing tags, manifests and repositories."""

from __future__ import annotations

from dataclasses import replace

import click

from regfs.cli.edits import DOCUMENT, EXITS, edit_options, finish
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

DOCUMENTS = {"": DOCUMENT}


@regfs_command(
    name="rm",
    examples=[
        "regfs rm app:v1 -n",
        "regfs rm app:v1 app:v2",
        "regfs rm app@sha256:25b1600",
        "regfs rm 'app:pr-*'",
        "regfs rm team --recursive --gc",
    ],
    exits=EXITS,
)
@click.argument("references", metavar="REF...", nargs=-1, required=True)
@edit_options
@click.option("--recursive", is_flag=True, help="Also remove the repositories below NAME.")
@click.option("--gc", "collect", is_flag=True, help="Collect at once, as regfs gc run does.")
def command(
    session: Session,
    references: tuple[str, ...],
    *,
    dry_run: bool,
    offline: bool,
    recursive: bool,
    collect: bool,
) -> Exit:
    """Remove images: NAME:TAG, NAME@DIGEST, or all of repository NAME.

    NAME:TAG removes the tag, and the image unless another tag or an index of the
    repository still needs it; signatures and the like go with their image. NAME@DIGEST
    removes a manifest and every tag that points to it. Only links are moved into
    quarantine: the next regfs gc run collects the content, and regfs gc restore undoes it.
    """
    from regfs.cli.gc_carry_out import after_run
    from regfs.gc.policy import Policy

    tree = session.tree
    done = tree.edit.rm(*references, recursive=recursive, offline=offline, dry_run=dry_run)
    if collect and not dry_run:
        made = tree.plan(Policy(min_age=0.0) if offline else Policy())
        done = replace(done, collected=tree.apply(made))
        after = after_run(session, made, made.policy.min_age)
        return finish(session, done, dry_run=dry_run, after=after)
    return finish(session, done, dry_run=dry_run)
