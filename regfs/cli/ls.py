"""`regfs ls`: repositories, tags, and the content of an index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import click

from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

if TYPE_CHECKING:
    from regfs.digest import Digest
    from regfs.reports.listing import Entries, Tags
    from regfs.tree.references import Target

DOCUMENTS = {
    "": "regfs.reports.listing:Repositories",
    "tags": "regfs.reports.listing:Tags",
    "untagged": "regfs.reports.listing:Tags",
    "entries": "regfs.reports.listing:Entries",
    "uploads": "regfs.reports.listing:UploadListing",
    "orphans": "regfs.reports.orphans:Orphans",
}


@regfs_command(
    name="ls",
    examples=[
        "regfs ls",
        "regfs ls -l app",
        "regfs ls app:v1",
        "regfs ls 'team/*'",
        "regfs ls --untagged",
        "regfs ls --orphans   (regfs tag gives one its links again)",
    ],
    answers=True,
)
@click.argument("reference", metavar="[REF]", required=False)
@click.option("-l", "--long", "details", is_flag=True, help="Show sizes, times and platforms.")
@click.option("--untagged", is_flag=True, help="List manifests that no tag reaches.")
@click.option("--uploads", is_flag=True, help="List unfinished uploads.")
@click.option("--empty", is_flag=True, help="List repositories without tags and manifests.")
@click.option("--orphans", is_flag=True, help="List manifests that no repository has any more.")
def command(session: Session, reference: str | None, *, details: bool, **only: bool) -> Exit:
    """List repositories, the tags of NAME, or the content of NAME:TAG.

    A pattern such as 'team/*', team/ or 'app:v1.*' lists the repositories or tags that match.
    """
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
    orphans: bool,
) -> Any:
    from regfs.reports import listing
    from regfs.tree.references import is_pattern

    if untagged + uploads + empty + orphans > 1:
        raise click.UsageError("--untagged, --uploads, --empty, --orphans cannot be combined")
    if orphans:
        if reference is not None:
            raise click.UsageError("--orphans takes no REF: they belong to no repository")
        return session.tree.orphans()
    several = reference is None or is_pattern(reference)
    registry = session.view if several else session.registry
    targets = None if reference is None else registry.find_all(reference)
    tagged = [target for target in targets or () if target.digest is not None]
    if (tagged and (untagged or uploads or empty)) or (empty and not several):
        raise click.UsageError("--untagged and --uploads take a repository, --empty takes none")
    if tagged:
        return _tagged(session, tagged, details) if several else _entries(session, tagged[0])
    names = None if targets is None else [str(target.name) for target in targets]
    if uploads:
        return listing.uploads(registry, registry.repositories() if names is None else names)
    if untagged:
        each = registry.repositories() if names is None else names
        found = (listing.untagged(registry, name, details=details).tags for name in each)
        return listing.Tags(tuple(one for tags in found for one in tags))
    if several or names is None:
        return listing.repositories(registry, names, details=details, empty=empty)
    return listing.tags(registry, names[0], details=details)


def _tagged(session: Session, targets: Sequence[Target], details: bool) -> Tags:
    """Return the tags that match a pattern."""
    from regfs.reports import listing

    only: dict[str, set[str]] = {}
    for target in targets:
        only.setdefault(str(target.name), set()).add(str(target.tag))
    found = (
        listing.tags(session.view, name, tags, details=details).tags for name, tags in only.items()
    )
    return listing.Tags(tuple(one for tags in found for one in tags))


def _entries(session: Session, target: Target) -> Entries:
    from regfs.reports import listing

    return listing.entries(session.registry, str(target), cast("Digest", target.digest))
