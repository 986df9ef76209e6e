"""`regfs verify`: check the tree, tell what is wrong while it is found, and sum it up."""

from __future__ import annotations

import os
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import click

from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command
from regfs.findings import RULES, Severity

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from regfs.findings import Code
    from regfs.verify import Result, Row

SHOWN: Final = 10
"""Images that are named with one finding on a terminal."""
TOLD: Final = 1000
"""Findings of one code that are told on a terminal; of the rest only the number."""
LISTED: Final = 20
"""Images that are named in the summary, unless all are asked for."""


LEVELS: Final = ("links", "sizes", "digests")
"""As `regfs.verify.Level`, whose module is only loaded when it is needed."""

DOCUMENTS: Final = {"": "regfs.verify.report:VerifyDocument"}


@regfs_command(
    name="verify",
    exits=[Exit.FINDINGS],
    examples=[
        "regfs verify",
        "regfs verify --level links",
        "regfs verify team/app:v1 other/app --json",
        "regfs verify --ndjson | jq -r 'select(.severity == \"error\").path'",
    ],
)
@click.argument("references", metavar="[REF]...", nargs=-1)
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    default=LEVELS[-1],
    show_default=True,
    help="links: the listing and the links. sizes: also the manifests, and whether all they need "
    "is there. digests: also the content of every blob.",
)
@click.option("--jobs", metavar="N", type=click.IntRange(1), help="Threads; one a processor.")
@click.option("--ndjson", is_flag=True, help="One JSON document a line for each finding, at once.")
def command(
    session: Session, references: tuple[str, ...], level: str, jobs: int | None, ndjson: bool
) -> Exit:
    """Check that the tree, or what REF reaches in it, is whole; changes nothing.

    REF is NAME, NAME:TAG, NAME@DIGEST or DIGEST. Findings tell which images are
    not whole because of them. Normal leftovers are only counted, unless -v is given.
    """
    from regfs.verify import Level, verify

    # What tags pointed to before is only asked of where images are looked at.
    session.history = Level(level).covers(Level.SIZES)
    targets = [session.registry.find(reference) for reference in references]
    inventory = session.inventory
    graph = session.graph if Level(level).covers(Level.SIZES) else None
    with session.progress() as progress:
        result = verify(
            session.registry,
            inventory,
            graph,
            level=Level(level),
            targets=targets,
            jobs=jobs or os.cpu_count() or 1,
            progress=progress,
            on_finding=_teller(session, ndjson),
        )
    if not ndjson:
        session.emit(result_document(result), lambda console: _sum_up(console, session, result))
    return _exit(session, result)


def _exit(session: Session, result: Result) -> Exit:
    if result.interrupted:
        session.note("regfs: interrupted; this is what was found so far")
        return Exit.INTERRUPTED
    return Exit.FINDINGS if result.severity is Severity.ERROR else Exit.CLEAN


def result_document(result: Result) -> dict[str, Any]:
    """Return a result as the JSON document of the command."""
    from regfs.render import document

    return {
        "root": result.root,
        "level": result.level.value,
        "checked": document(result.checked),
        "findings": [row_document(row) for row in result.findings],
        "more": [
            {"code": code, "severity": severity, "count": count}
            for (severity, code), count in sorted(result.more.items())
        ],
        "interrupted": result.interrupted,
    }


def row_document(row: Row) -> dict[str, Any]:
    """Return a finding with the images it touches."""
    from regfs.render import finding_document

    return {
        **finding_document(row.finding),
        "images": list(row.images),
        "affected": row.affected,
    }


def _teller(session: Session, ndjson: bool) -> Callable[[Row], None] | None:
    """Return what tells of a finding at once."""
    from regfs.render import print_finding, printable, to_json_line

    if ndjson:
        return lambda row: click.echo(to_json_line(row_document(row)))
    if session.json:
        return None
    # On one terminal the findings go above the bar, which only its own console can do.
    shared = sys.stdout.isatty() and sys.stderr.isatty() and not session.quiet
    console = session.err if shared else session.out

    told: Counter[Code] = Counter()

    def tell(row: Row) -> None:
        code = row.finding.code
        if row.finding.severity is Severity.INFO and not session.verbose:
            return
        told[code] += 1
        if told[code] > TOLD:
            if told[code] == TOLD + 1:
                session.note(f"regfs: more than {TOLD} of {code}; from here on they are counted")
            return
        print_finding(console, row.finding)
        if row.affected:
            more = row.affected - SHOWN
            text = ", ".join(row.images[:SHOWN]) + (f" and {more} more" if more > 0 else "")
            console.print(f"        affects {printable(text)}", soft_wrap=True, markup=False)

    return tell


def _sum_up(console: Console, session: Session, result: Result) -> None:
    from regfs.render import human_size, table

    done = result.checked
    console.print(
        f"level {result.level.value}: {done.blobs} blobs ({human_size(done.bytes)} hashed), "
        f"{done.links} links, {done.manifests} manifests",
        soft_wrap=True,
    )
    counts = Counter((row.finding.severity, row.finding.code) for row in result.findings)
    counts.update(result.more)
    if not counts:
        console.print("nothing is wrong")
        return
    order = list(Severity)
    console.print(
        table(
            "Findings",
            ["severity", "code", ">count", "what"],
            [
                (severity.value, code.value, count, RULES[code].message)
                for (severity, code), count in sorted(
                    counts.items(), key=lambda item: (order.index(item[0][0]), item[0][1])
                )
            ],
        )
    )
    _list_images(console, session, result)
    if not session.verbose and any(severity is Severity.INFO for severity, _ in counts):
        session.note("regfs: findings of severity info are counted only; -v lists them")


def _list_images(console: Console, session: Session, result: Result) -> None:
    from regfs.render import table

    errors: Counter[str] = Counter()
    warnings: Counter[str] = Counter()
    for row in result.findings:
        tally = errors if row.finding.severity is Severity.ERROR else warnings
        tally.update(row.images)
    images = sorted(errors.keys() | warnings.keys(), key=lambda name: (-errors[name], name))
    if not images:
        return
    shown = images if session.verbose else images[:LISTED]
    rows = [(name, errors[name], warnings[name]) for name in shown]
    console.print(table("Images affected", ["image", ">errors", ">warnings"], rows))
    if len(images) > len(shown):
        session.note(f"regfs: and {len(images) - len(shown)} more images; -v lists them")
