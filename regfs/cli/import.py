"""`regfs import`: images of any root, into this tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from regfs.cli.edits import EXITS, edit_options
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command
from regfs.cli.spelled import spelled

if TYPE_CHECKING:
    from rich.console import Console

DOCUMENTS = {"": "regfs.exchange.report:ImportReport"}


@regfs_command(
    name="import",
    examples=[
        "regfs import /backup/registry",
        "regfs import images.tar 'team/*' app:v1 -n",
        "regfs import tuesday.tar --with monday.tar",
        "docker save app:v1 | regfs import -",
        "regfs -r s3://new/registry import /var/lib/registry",
    ],
    exits=EXITS,
)
@click.argument("source", metavar="FROM")
@click.argument("references", metavar="[REF]...", nargs=-1)
@click.option(
    "--with",
    "former",
    metavar="FORMER",
    multiple=True,
    help="The former export that FROM left content out for (--since). Repeatable.",
)
@click.option("--replace", is_flag=True, help="Move tags that point elsewhere here.")
@edit_options
def command(
    session: Session,
    source: str,
    references: tuple[str, ...],
    *,
    former: tuple[str, ...],
    replace: bool,
    dry_run: bool,
    offline: bool,
) -> Exit:
    """Take images of another place into the tree: all, or REF... with what they need.

    FROM is what a root can be: a folder, a tar, an OCI layout (of skopeo, docker save), a
    bucket, a container. Content is hashed as it comes, and nothing is linked unless all of it
    is there. Times and the history of tags are kept. The tree may be in use.

    regfs gc restore takes back the links; gc run then frees what only they needed.
    """
    from regfs.findings import Severity
    from regfs.render.edits import show_edited
    from regfs.render.exchange import show_findings

    done = session.tree.import_from(
        source,
        *references,
        former=former,
        replace=replace,
        offline=offline,
        dry_run=dry_run,
    )
    bad = any(one.severity is Severity.ERROR for one in done.findings)
    outcome = Exit.FINDINGS if bad else Exit.CLEAN

    def people(out: Console) -> None:
        show_findings(out, done.findings, verbose=session.verbose)
        undo = spelled(session, "gc", "restore", done.edit.run or "")
        collect = spelled(session, "gc", "run")
        show_edited(
            out, done.edit, dry_run=dry_run, verbose=session.verbose, undo=undo, collect=collect
        )

    session.emit(done, people, None if dry_run else outcome)
    return outcome
