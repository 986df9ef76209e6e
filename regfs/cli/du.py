"""`regfs du`: who uses how many bytes."""

from __future__ import annotations

from typing import Final

import click

from regfs.cli.options import top_option
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

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
@top_option("Rows to show (default for layers: 50).")
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

    if rm:
        if not references:
            raise click.UsageError("--rm needs at least one REF")
        report = session.tree.removal(*references, top=top or 10)
        session.emit(report, lambda console: show_removal(report, console))
        return Exit.CLEAN
    if by == "layer" and top is None and not session.json:
        top = LAYERS
    used = session.tree.usage(*references, by=by, sort=sort, top=top)
    session.emit(used, lambda console: show_usage(used, console))
    return Exit.CLEAN
