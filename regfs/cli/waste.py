"""`regfs waste`: bytes in layers that no container sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from regfs.cli.options import Size, top_option
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

if TYPE_CHECKING:
    from regfs.reports.waste import Waste

DOCUMENTS = {"": "regfs.reports.waste:Waste"}
ROWS: Final = 20
"""Images, places and files that are printed for people."""
SAMPLE: Final = "32MiB"
_TOLD: Final = 10
"""Images below the limit that are named."""


@regfs_command(
    name="waste",
    examples=[
        "regfs waste",
        "regfs waste app:v1   (which files, and which instruction hides them)",
        "regfs waste app:v1 --fail-under 0.95   (in CI)",
        "regfs waste --recompress",
    ],
    answers=True,
)
@click.argument("references", metavar="[REF]...", nargs=-1)
@top_option("Images, places and files to show (default: 20).")
@click.option(
    "--fail-under",
    metavar="SHARE",
    type=click.FloatRange(0, 1),
    help="Exit with 1 if the efficiency of an image is less, say 0.95.",
)
@click.option(
    "--recompress", is_flag=True, help="Measure what zstd would save over gzip, on a sample."
)
@click.option(
    "--sample",
    metavar="SIZE",
    type=Size(),
    default=SAMPLE,
    show_default=True,
    help="Bytes of layers that --recompress compresses.",
)
def command(
    session: Session,
    references: tuple[str, ...],
    *,
    top: int | None,
    fail_under: float | None,
    recompress: bool,
    sample: int,
) -> Exit:
    """Show bytes in files that later layers overwrite or remove.

    Every layer is read once. Efficiency is what dive computes: 1 if nothing is wasted.
    """
    from regfs.render.waste import show_waste

    session.tree.history = session.tree.link_times = False
    report = session.tree.waste(
        *references,
        top=top if session.json else top or ROWS,
        at_least=fail_under,
        sample=sample if recompress else None,
    )
    session.emit(report, lambda console: show_waste(report, console))
    return _judge(session, report)


def _judge(session: Session, report: Waste) -> Exit:
    """Name the images whose efficiency is too low."""
    for row in report.too_low[:_TOLD]:
        session.complain(f"{row.image}: efficiency {row.efficiency:.4f} is below {report.at_least}")
    if len(report.too_low) > _TOLD:
        session.complain(f"and {len(report.too_low) - _TOLD:,} more images below it")
    return Exit.FINDINGS if report.too_low else Exit.CLEAN
