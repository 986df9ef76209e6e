"""`regfs verify`: check the tree, print findings as they come, and a summary."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING, Any, Final

import click

from regfs.cli.options import Duration, Size, Subset, cluster_option, jobs_option
from regfs.cli.report_file import ReportFile, metrics_option, write_report
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command
from regfs.cli.spelled import spelled
from regfs.cli.verify_findings import FindingPrinter, printer_of
from regfs.cli.verify_ledger import merge_ledgers, open_ledger, report_trouble
from regfs.errors import StoreError
from regfs.findings import Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from regfs.verify import Level, PullableImage, ReportedFinding, Result

LEVELS: Final = ("links", "sizes", "digests", "content")
"""The values of `regfs.verify.Level`, whose module is loaded only when it is needed."""

DOCUMENTS: Final = {
    "": "regfs.verify.report:VerifyDocument",
    "ndjson": "regfs.verify.report:FindingDocument",
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
        "regfs verify --subset 3/16 --only-blobs --ledger part3",
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
    help="links: check the listing and every link. sizes: also read manifests, and check that "
    "what they need is there. digests: also hash every blob. content: also unpack layers, and "
    "compare them with their configs.",
)
@click.option(
    "--subset",
    metavar="n/t|x%|SIZE",
    type=Subset(),
    help="Read only a part of the blobs: the n-th of t shards, or this much of what is due first.",
)
@click.option(
    "--only-blobs",
    is_flag=True,
    help="Of a share on one of many machines: hash its blobs, and leave links and images to "
    "--merge.",
)
@click.option(
    "--max-age",
    type=Duration(),
    help="Skip blobs that were found intact within this time; broken ones are always read.",
)
@click.option("--max-duration", type=Duration(), help="Read no further blobs after this time.")
@click.option("--max-bytes", type=Size(), help="Read no more than this, but at least one blob.")
@click.option(
    "--ledger",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Where results are kept, instead of .regfs/ledger in the tree.",
)
@click.option("--no-ledger", is_flag=True, help="Neither use nor record results.")
@click.option(
    "--merge",
    is_flag=True,
    help="Hash no blob: merge the ledgers FILE..., report what they found, and check the rest.",
)
@jobs_option
@cluster_option
@click.option("--ndjson", is_flag=True, help="Print each finding at once, as a line of JSON.")
@click.option(
    "--junit",
    metavar="FILE",
    type=ReportFile(),
    help="Write JUnit XML for a CI server: a test case for each image. - is standard output.",
)
@metrics_option
@click.option(
    "--quarantine",
    is_flag=True,
    help="Move corrupt data into quarantine, so that a push heals it; gc restore moves it back.",
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
    """Check that the tree, or what REF reaches in it, is intact; change no image.

    REF is NAME, NAME:TAG, NAME@DIGEST or DIGEST. Findings name the images that they
    damage. Normal leftovers are only counted, unless -v is given. The result for each blob
    is kept in a ledger: blobs verified longest ago are read first.
    """
    _reserve_output(session, (junit, metrics), ndjson)
    if merge:
        given = {"junit": junit, "metrics": metrics, "quarantine": quarantine}
        return _merge(session, references, ndjson, options | given)
    if options["only_blobs"] and (junit or quarantine):
        raise click.UsageError("--only-blobs looks at no image: it takes no --junit, --quarantine")
    printer = printer_of(session, ndjson=ndjson)
    result, images, recorded = _verify(session, references, printer, **options)
    if isinstance(printer, FindingPrinter):
        printer.print_causes()
    if not ndjson:
        _show_result(session, result)
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
    cluster: str | None,
    ledger: str | None,
    no_ledger: bool,
    only_blobs: bool,
    **limits: Any,
) -> tuple[Result, Iterable[PullableImage], bool]:
    """Verify; return the result, the images it covers, and whether it was recorded."""
    from regfs.verify import Level, Portion, Selection, VerifyOptions, images_of, verify

    started = time.time()
    depth, selection = Level(level), Selection(**limits)
    if only_blobs and (references or depth is not Level.DIGESTS or no_ledger):
        raise click.UsageError(
            "--only-blobs fills a ledger at level digests, for --merge, which sees the images: "
            "it takes no REF, no other --level and no --no-ledger"
        )
    if cluster is not None and jobs is not None:
        raise click.UsageError("--jobs are threads here: it cannot be combined with --cluster")
    _open_for(session, depth, elsewhere=cluster is not None)
    with (
        session.connected(cluster) as workers,
        open_ledger(session, ledger, depth, selection, unused=no_ledger) as record,
    ):
        targets = session.find(references)
        inventory = session.inventory
        graph = session.graph if depth.covers(Level.SIZES) and not only_blobs else None
        gc.freeze()  # what was listed stays to the end: the collector need not walk it again
        with session.progress() as progress:
            asked = VerifyOptions(
                level=depth,
                portion=Portion.BLOBS if only_blobs else Portion.ALL,
                targets=tuple(targets),
                jobs=workers.threads if workers else jobs,
                executor=None if workers is None else workers.executor,
                selection=selection,
                ledger=record,
                started=started,
            )
            result = verify(
                session.view, inventory, graph, asked, progress=progress, on_finding=on_finding
            )
    recorded = not report_trouble(session, record, ledger)
    return result, images_of(targets, inventory, graph), recorded


def _open_for(session: Session, depth: Level, *, elsewhere: bool) -> None:
    """Say how the tree is to be opened, for blobs that are hashed here or `elsewhere`."""
    session.hashes = depth.covers(depth.DIGESTS) and not elsewhere
    # Histories of tags matter only where images are looked at.
    session.tree.history = depth.covers(depth.SIZES)
    session.tree.cache = None  # manifests are to be those that are in the store now


def _merge(session: Session, files: Sequence[str], ndjson: bool, options: dict[str, Any]) -> Exit:
    """Merge the ledgers of shards."""
    from regfs.verify import Level

    level, ledger = options.pop("level"), options.pop("ledger")
    if not files:
        raise click.UsageError("--merge needs the ledgers to merge: FILE...")
    if given := [name for name, value in options.items() if value]:
        wrong = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise click.UsageError(f"--merge reads no blobs: it cannot be combined with {wrong}")
    _open_for(session, Level(level), elsewhere=True)
    printer = printer_of(session, ndjson=ndjson)
    return merge_ledgers(session, files, ledger, Level(level), printer, show=not ndjson)


def _reserve_output(session: Session, files: Iterable[str | None], ndjson: bool) -> None:
    """Make sure that at most one document goes to standard output."""
    there = sum(1 for file in files if file == "-")
    if there + session.json + ndjson > 1:
        raise click.UsageError("only one document can go to standard output")
    if there:
        session.out = session.err


def _reports(
    result: Result, images: Iterable[PullableImage], junit: str | None, metrics: str | None
) -> Iterator[tuple[str, Callable[[str], Iterable[str]]]]:
    """Yield the files to write, and for each the function that makes its new content."""
    if junit is not None:
        from regfs.render.junit import junit_pieces

        yield junit, lambda _: junit_pieces(result, images)
    if metrics is not None:
        from regfs.render.metrics import metrics_text

        yield metrics, lambda before: [metrics_text(result, before)]


def _write(session: Session, reports: Iterable[tuple[str, Callable[[str], Iterable[str]]]]) -> bool:
    """Write every report that can be written; return whether all could."""
    whole = True
    for file, make in reports:
        try:
            write_report(file, make)
        except StoreError as error:
            session.complain(str(error))
            whole = False
    return whole


def _quarantine(session: Session, result: Result) -> None:
    """Move corrupt data into quarantine and report that; the result stays as it was found."""
    from regfs.heal.quarantine import corrupt
    from regfs.heal.quarantine import quarantine as move_aside
    from regfs.render.heal import show_quarantined

    with session.progress() as progress:
        moved = move_aside(session.registry, corrupt(result), progress=progress)
    if not session.quiet:
        undo = spelled(session, "gc", "restore", moved.run or "")
        show_quarantined(session.err, moved, is_cache=session.inventory.proxy_cache, undo=undo)


def _exit(session: Session, result: Result) -> Exit:
    if result.interrupted:
        session.note("regfs: interrupted; this is what was found so far")
    return _outcome(result)


def _outcome(result: Result) -> Exit:
    if result.interrupted:
        return Exit.INTERRUPTED
    return Exit.FINDINGS if result.severity is Severity.ERROR else Exit.CLEAN


def _show_result(session: Session, result: Result) -> None:
    from regfs.render.verify import result_document, show_result

    session.emit(
        result_document(result) if session.json else None,
        lambda out: show_result(out, result, verbose=session.verbose, note=session.note),
        _outcome(result),
    )
