"""`regfs ls`: repositories, tags, and the content of an index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

DOCUMENTS = {
    "": "regfs.reports.listing:Repositories",
    "tags": "regfs.reports.listing:Tags",
    "untagged": "regfs.reports.listing:Tags",
    "entries": "regfs.reports.listing:Entries",
    "uploads": "regfs.reports.listing:UploadListing",
}


@regfs_command(
    name="ls",
    examples=[
        "regfs ls",
        "regfs ls -l app",
        "regfs ls app:v1",
        "regfs ls --untagged",
    ],
    answers=True,
)
@click.argument("reference", metavar="[REF]", required=False)
@click.option("-l", "--long", "details", is_flag=True, help="Show sizes, times and platforms.")
@click.option("--untagged", is_flag=True, help="List manifests that no tag reaches.")
@click.option("--uploads", is_flag=True, help="List unfinished uploads.")
@click.option("--empty", is_flag=True, help="List repositories without tags and manifests.")
def command(session: Session, reference: str | None, *, details: bool, **only: bool) -> Exit:
    """List repositories, the tags of NAME, or the content of NAME:TAG."""
    from regfs.render.listing import show_listing

    report = _report(session, reference, details, **only)
    session.emit(report, lambda console: show_listing(report, console, details=details))
    return Exit.CLEAN


def _report(
    session: Session,
    reference: str | None,
    details: bool,
    *,
    untagged: bool,
    uploads: bool,
    empty: bool,
) -> Any:
    from regfs.reports import listing

    if untagged + uploads + empty > 1:
        raise click.UsageError("--untagged, --uploads and --empty cannot be combined")
    registry = session.registry
    target = registry.find(reference) if reference else None
    if target is None and not (untagged or uploads):
        return listing.repositories(registry, details=details, empty=empty)
    if target is not None and (empty or (target.digest is not None and (untagged or uploads))):
        raise click.UsageError("--untagged and --uploads take a repository, --empty takes nothing")
    if target is not None and target.digest is not None:
        return listing.entries(registry, str(target), target.digest)
    names: Iterator[str] = iter([str(target.name)]) if target else registry.repositories()
    if uploads:
        return listing.uploads(registry, names)
    if untagged:
        found = [
            one for name in names for one in listing.untagged(registry, name, details=details).tags
        ]
        return listing.Tags(tuple(found))
    return listing.tags(registry, next(names), details=details)
