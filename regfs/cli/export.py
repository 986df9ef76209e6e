"""`regfs export`: a copy of a tree, or of a few images, for a backup or another place."""

from __future__ import annotations

from typing import Final

import click

from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

DOCUMENTS = {"": "regfs.exchange.report:ExportReport"}
FORMATS: Final = ("tree", "oci")


@regfs_command(
    name="export",
    examples=[
        "regfs export --to /backup/registry",
        "regfs export app:v1 'team/*' --to images.tar --format oci",
        "regfs export --to s3://backup/registry",
        "regfs export --to monday.tar --list monday.txt",
        "regfs export --to tuesday.tar --since monday.txt",
        "regfs export --to - | ssh host 'cat > registry.tar'",
    ],
    exits=(Exit.FINDINGS, Exit.REFUSED),
)
@click.argument("references", metavar="[REF]...", nargs=-1)
@click.option(
    "--to",
    metavar="DEST",
    required=True,
    help="A folder, a .tar, - for a tar on standard output, s3://BUCKET/PREFIX or az://.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default=FORMATS[0],
    show_default=True,
    help="tree: as a registry keeps it. oci: an OCI image layout, which skopeo and others read.",
)
@click.option(
    "--since",
    metavar="FORMER",
    multiple=True,
    help="Leave out blobs that a former export has: a root, or its --list. Repeatable.",
)
@click.option(
    "--list", "list_file", metavar="FILE", help="Write which blobs this export stands for."
)
@click.option("--replace", is_flag=True, help="Move tags that are there already, elsewhere.")
def command(
    session: Session,
    references: tuple[str, ...],
    *,
    to: str,
    form: str,
    since: tuple[str, ...],
    list_file: str | None,
    replace: bool,
) -> Exit:
    """Copy the images of the tree to another place: all, or REF... with what they need.

    Each byte is hashed as it passes; what is damaged is told and not written. An export to a
    folder or bucket that was broken off goes on where it stopped, and one to the same place
    again brings what is new. An archive begins anew. Nothing is removed there.

    What --since leaves out, regfs import needs the former export for (--with).
    """
    from regfs.exchange.media import STANDARD_OUTPUT
    from regfs.findings import Severity
    from regfs.render.exchange import show_exported

    if to == STANDARD_OUTPUT and session.json:
        raise click.UsageError("--json prints to standard output, where the archive goes")
    session.copies = True
    done = session.tree.export_to(
        to,
        *references,
        format=form,
        since=since,
        list_file=list_file,
        replace=replace,
    )
    bad = [one for one in done.findings if one.severity is Severity.ERROR]
    outcome = Exit.FINDINGS if bad else Exit.CLEAN
    if to == STANDARD_OUTPUT:
        session.end_progress()
        if not session.quiet or bad:
            show_exported(session.err, done, verbose=session.verbose)
    else:
        session.emit(done, lambda out: show_exported(out, done, verbose=session.verbose), outcome)
    return outcome
