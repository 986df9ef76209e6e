"""`regfs graph`: a registry as a picture, or as data for other programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import click

from regfs.cli.report_file import ReportFile, write_pieces
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

DOCUMENTS = {
    "": "regfs.reports.network:NetworkDocument",
    "file": "regfs.cli.graph:WrittenPicture",
}
# FORMATS of render/pictures/export.py, which --help does not import.
FORMATS: Final = ("dot", "mermaid", "graphml", "gexf", "json", "sqlite", "html")
_ENDINGS: Final = {"gv": "dot", "mmd": "mermaid", "db": "sqlite"}
"""Endings of files besides the names of formats."""
_NOT_FOR_TERMINALS: Final = frozenset({"sqlite", "html"})


@dataclass(frozen=True, slots=True)
class WrittenPicture:
    """What --json prints when a file is written."""

    file: str
    format: str
    bytes: int


@regfs_command(
    name="graph",
    examples=[
        "regfs graph -o registry.html",
        "regfs graph --format dot app:v1 | dot -Tsvg > app.svg",
        "regfs graph -o registry.sqlite",
        "regfs graph --format gexf --no-blobs -o registry.gexf",
    ],
    answers=True,
    exits=[Exit.REFUSED],
)
@click.argument("references", metavar="[REF]...", nargs=-1)
@click.option("--format", "form", type=click.Choice(FORMATS), help="What to write.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=ReportFile(),
    help="Write there; its ending says the format if --format does not.",
)
@click.option("--no-blobs", is_flag=True, help="Leave out configs and layers.")
def command(
    session: Session,
    references: tuple[str, ...],
    *,
    form: str | None,
    output: str | None,
    no_blobs: bool,
) -> Exit:
    """Write what points to what as a picture, or as data for other programs.

    html is one page with a treemap and the images as a tree; dot and mermaid are drawings of a
    small registry, or of what REF... name; graphml and gexf are for Gephi and networkx, json is
    node-link data, and sqlite a database with findings.
    """
    file = None if output == "-" else output
    form = form or _form_of(session, file)
    if session.json and file is None and form != "json":
        raise click.UsageError(f"--json prints --format json; {form} needs -o FILE")
    if file is None and form in _NOT_FOR_TERMINALS and sys.stdout.isatty():
        raise click.UsageError(f"{form} is not written to a terminal: give -o FILE")
    # What tags were and when layers were linked costs as much as all else, and is not asked.
    session.tree.history = session.tree.link_times = False
    pieces = _CountedPieces(session.tree.export(form, *references, blobs=not no_blobs))
    write_pieces(file or "-", pieces)
    if file is not None:
        _tell(session, WrittenPicture(file, form, pieces.bytes))
    return Exit.CLEAN


def _form_of(session: Session, file: str | None) -> str:
    """Return the format that is meant without --format."""
    if file is None and session.json:
        return "json"
    ending = (file or "").rpartition(".")[2].lower()
    form = _ENDINGS.get(ending, ending)
    if form not in FORMATS:
        raise click.UsageError(f"--format is missing: {', '.join(FORMATS)}")
    return form


class _CountedPieces:
    """Pieces that are counted as they pass."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.bytes = 0
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.bytes += len(piece)
            yield piece


def _tell(session: Session, written: WrittenPicture) -> None:
    from regfs.units import human_size

    if session.json:
        session.emit(written, lambda _: None)
    else:
        session.note(f"{written.file}: {written.format}, {human_size(written.bytes)}")
