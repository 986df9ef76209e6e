"""`regfs du`: who uses how many bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

if TYPE_CHECKING:
    from regfs.reports.usage import Disk

DOCUMENTS = {"": "regfs.reports.usage:Usage", "rm": "regfs.reports.removal:Removal"}
# The values of `By` and `Sort` in reports/usage.py, which --help does not import.
ROWS: Final = ("repository", "tag", "layer", "namespace", "media-type")
LAYERS: Final = 50
"""Layers that are printed for people: there can be a million."""
SORTS: Final = ("stored", "apparent", "unique", "shared", "name")


@regfs_command(
    name="du",
    examples=[
        "regfs du",
        "regfs du --by tag -n 10",
        "regfs du app:v1 app:v2",
        "regfs du --rm app:v1   (what would removing it free?)",
    ],
    answers=True,
)
@click.argument("references", metavar="[REF]...", nargs=-1)
@click.option("--by", type=click.Choice(ROWS), help="What each row is about.")
@click.option(
    "-s",
    "--sort",
    type=click.Choice(SORTS),
    default="stored",
    show_default=True,
    help="Largest first by this size, or by name.",
)
@click.option("-n", "--top", type=click.IntRange(1), help="Rows to show (default for layers: 50).")
@click.option(
    "--rm", is_flag=True, help="What removing REF... would free, and what keeps the rest."
)
def command(
    session: Session,
    references: tuple[str, ...],
    *,
    by: str | None,
    sort: str,
    top: int | None,
    rm: bool,
) -> Exit:
    """Show what images use: stored, unique, shared, and without any sharing.

    Rows are repositories, or tags if REF names tags. --rm removes nothing.
    """
    from regfs.render.reports import show_removal, show_usage
    from regfs.reports.removal import removal
    from regfs.reports.usage import By, Options, Sort, usage

    targets = session.find(references)
    if rm:
        if not targets:
            raise click.UsageError("--rm needs at least one REF")
        report = removal(session.graph, targets, top=top or 10)
        session.emit(report, lambda console: show_removal(report, console))
        return Exit.CLEAN
    default = By.TAG if any(target.digest for target in targets) else By.REPOSITORY
    chosen = By(by) if by else default
    if top is None and chosen is By.LAYER and not session.json:
        top = LAYERS
    options = Options(chosen, Sort(sort), top)
    disk = None if targets else _disk(session)
    used = usage(session.graph, session.registry.manifest, targets, options, disk)
    session.emit(used, lambda console: show_usage(used, console))
    return Exit.CLEAN


def _disk(session: Session) -> Disk:
    from regfs.reports.usage import disk_of

    graph = session.graph
    with session.progress() as progress:
        return disk_of(graph, session.store, progress=progress, report=session.unread.append)
