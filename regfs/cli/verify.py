"""`regfs verify`: check the tree, tell what is wrong while it is found, and sum it up."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Final

import click

from regfs.cli.options import Duration, Size, Subset
from regfs.cli.report_file import ReportFile, write_report
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command
from regfs.cli.verify_ledger import held_ledger, merge_ledgers, tell_trouble
from regfs.cli.verify_telling import Teller, teller_of
from regfs.errors import StoreError
from regfs.findings import Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from regfs.verify import PullableImage, ReportedFinding, Result

LEVELS: Final = ("links", "sizes", "digests", "content")
"""As `regfs.verify.Level`, whose module is only loaded when it is needed."""

DOCUMENTS: Final = {
    "": "regfs.verify.report:VerifyDocument",
    "merge": "regfs.verify.report:CoverageDocument",
}


@regfs_command(
    name="verify",
    exits=[Exit.FINDINGS, Exit.REFUSED],
    examples=[
        "regfs verify",
        "regfs verify --level links",
        "regfs verify team/app:v1 other/app --json",
        "regfs verify --max-age 30d --max-duration 2h",
        "regfs verify --subset 3/16 --ledger part3",
        "regfs verify --merge part1 part2 part3",
        "regfs verify -q --junit verify.xml",
        "regfs verify -q --metrics /var/lib/node_exporter/regfs.prom",
        "regfs verify --quarantine",
        "regfs verify --ndjson | jq -r 'select(.severity == \"error\").path'",
    ],
)
@click.argument("references", metavar="[REF | FILE]...", nargs=-1)
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    default="digests",
    show_default=True,
    help="links: the listing and the links. sizes: also the manifests, and whether all they need "
    "is there. digests: also the content of every blob. content: layers are unpacked too, and "
    "compared with their configs.",
)
@click.option(
    "--subset",
    metavar="n/t|x%|SIZE",
    type=Subset(),
    help="Read only a part of the blobs: the n-th of t shards, or so much of what is due first.",
)
@click.option(
    "--max-age",
    type=Duration(),
    help="Do not read again what was found intact so lately; what was broken is always read.",
)
@click.option("--max-duration", type=Duration(), help="Begin nothing more when the time is up.")
@click.option("--max-bytes", type=Size(), help="Read no more than that, but at least one blob.")
@click.option(
    "--ledger",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Where results are kept, instead of .regfs/ledger in the tree.",
)
@click.option("--no-ledger", is_flag=True, help="Neither use nor keep results of other runs.")
@click.option(
    "--merge",
    is_flag=True,
    help="Instead of verifying, take in the ledgers FILE... and tell what they found.",
)
@click.option("--jobs", metavar="N", type=click.IntRange(1), help="Threads; one a processor.")
@click.option("--ndjson", is_flag=True, help="One JSON document a line for each finding, at once.")
@click.option(
    "--junit",
    metavar="FILE",
    type=ReportFile(),
    help="Write JUnit XML for a CI server: a test case for each image. - is standard output.",
)
@click.option(
    "--metrics",
    metavar="FILE",
    type=ReportFile(),
    help="Write metrics for node_exporter's textfile collector, which wants a name in .prom.",
)
@click.option(
    "--quarantine",
    is_flag=True,
    help="Move corrupt data aside, so that a push heals it; gc restore brings it back.",
)
def command(
    session: Session,
    references: tuple[str, ...],
    ndjson: bool,
    junit: str | None,
    metrics: str | None,
    quarantine: bool,
    merge: bool,
    **options: Any,
) -> Exit:
    """Check that the tree, or what REF reaches in it, is whole; changes no image.

    REF is NAME, NAME:TAG, NAME@DIGEST or DIGEST. Findings tell which images are
    damaged by them. Normal leftovers are only counted, unless -v is given.
    What came of each blob is kept in a ledger: what was verified longest ago is read first.
    """
    _make_room(session, (junit, metrics), ndjson)
    if merge:
        given = {"junit": junit, "metrics": metrics, "quarantine": quarantine}
        return _merge(session, references, ndjson, options | given)
    teller = teller_of(session, ndjson=ndjson)
    result, images, recorded = _verify(session, references, teller, **options)
    if isinstance(teller, Teller):
        teller.tell_again()
    if not ndjson:
        _tell_result(session, result)
    if quarantine and not result.interrupted:
        _quarantine(session, result)
    code = _exit(session, result)
    written = _write(session, _reports(result, images, junit, metrics))
    return code if written and recorded else Exit.STORAGE


def _verify(
    session: Session,
    references: Sequence[str],
    on_finding: Callable[[ReportedFinding], None] | None,
    *,
    level: str,
    jobs: int | None,
    ledger: str | None,
    no_ledger: bool,
    **limits: Any,
) -> tuple[Result, Iterable[PullableImage], bool]:
    """Verify; return what came of it, the images it was about, and whether it was recorded."""
    from regfs.verify import Level, Selection, VerifyOptions, images_of, verify

    started = time.time()
    depth, selection = Level(level), Selection(**limits)
    # What tags pointed to before is only asked of where images are looked at.
    session.history = depth.covers(Level.SIZES)
    with held_ledger(session, ledger, depth, selection, unused=no_ledger) as held:
        targets = session.find(references)
        inventory = session.inventory
        graph = session.graph if depth.covers(Level.SIZES) else None
        with session.progress() as progress:
            asked = VerifyOptions(
                level=depth,
                targets=tuple(targets),
                jobs=jobs or os.cpu_count() or 1,
                selection=selection,
                ledger=held,
                started=started,
            )
            result = verify(
                session.registry, inventory, graph, asked, progress=progress, on_finding=on_finding
            )
    recorded = not tell_trouble(session, held, ledger)
    return result, images_of(targets, inventory, graph), recorded


def _merge(session: Session, files: Sequence[str], ndjson: bool, options: dict[str, Any]) -> Exit:
    """Take in the ledgers of shards."""
    from regfs.verify import Level

    level, ledger = options.pop("level"), options.pop("ledger")
    if not files:
        raise click.UsageError("--merge needs the ledgers to merge: FILE...")
    if given := [name for name, value in options.items() if value]:
        wrong = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise click.UsageError(f"--merge reads no blob, and makes no sense with {wrong}")
    teller = teller_of(session, ndjson=ndjson)
    return merge_ledgers(session, files, ledger, Level(level), teller, show=not ndjson)


def _make_room(session: Session, files: Iterable[str | None], ndjson: bool) -> None:
    """See to it that a report on standard output is alone there."""
    there = sum(1 for file in files if file == "-")
    if there + session.json + ndjson > 1:
        raise click.UsageError("only one document can go to standard output")
    if there:
        session.out = session.err


def _reports(
    result: Result, images: Iterable[PullableImage], junit: str | None, metrics: str | None
) -> Iterator[tuple[str, Callable[[str], Iterable[str]]]]:
    """Yield the files to write, and what makes each of what it held before."""
    if junit is not None:
        from regfs.render.junit import junit_pieces

        yield junit, lambda _: junit_pieces(result, images)
    if metrics is not None:
        from regfs.render.metrics import metrics_text

        yield metrics, lambda before: [metrics_text(result, before)]


def _write(session: Session, reports: Iterable[tuple[str, Callable[[str], Iterable[str]]]]) -> bool:
    """Write every report that can be written; tell whether all could."""
    whole = True
    for file, make in reports:
        try:
            write_report(file, make)
        except StoreError as error:
            session.complain(str(error))
            whole = False
    return whole


def _quarantine(session: Session, result: Result) -> None:
    """Move aside what is corrupt; told beside the result, which stays what was found."""
    from regfs.heal.quarantine import corrupt
    from regfs.heal.quarantine import quarantine as move_aside
    from regfs.render.heal import show_quarantined

    with session.progress() as progress:
        moved = move_aside(session.registry, corrupt(result), progress=progress)
    if not session.quiet:
        show_quarantined(session.err, moved, is_cache=session.inventory.proxy_cache)


def _exit(session: Session, result: Result) -> Exit:
    if result.interrupted:
        session.note("regfs: interrupted; this is what was found so far")
        return Exit.INTERRUPTED
    return Exit.FINDINGS if result.severity is Severity.ERROR else Exit.CLEAN


def _tell_result(session: Session, result: Result) -> None:
    from regfs.render.verify import result_document, show_result

    session.emit(
        result_document(result) if session.json else None,
        lambda out: show_result(out, result, verbose=session.verbose, note=session.note),
    )
