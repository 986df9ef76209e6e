"""The ledger of `regfs verify`: which file it is, its lock, and `--merge`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from regfs.cli.session import Exit, Session
from regfs.errors import LockHeld, Refused
from regfs.findings import Severity

if TYPE_CHECKING:
    from regfs.digest import Digest
    from regfs.stores import FileId, Store
    from regfs.verify import LedgerFile, Level, ReportedFinding, Selection
    from regfs.verify.ledger import Ledger


@contextmanager
def open_ledger(
    session: Session,
    file: str | None,
    level: Level,
    selection: Selection,
    *,
    unused: bool,
) -> Iterator[LedgerFile | None]:
    """Open and lock the ledger for the block: `file`, or the one of the tree; None if `unused`.

    Options that contradict each other are refused here, before the tree is listed.
    """
    from regfs.stores import Capability
    from regfs.verify import Level

    reads = level.covers(Level.DIGESTS)
    if file is not None and (unused or not reads):
        other = "--no-ledger" if unused else f"--level {level.value}, which reads no content"
        raise click.UsageError(f"--ledger cannot be combined with {other}")
    has = session.store.capabilities
    if file is not None and not has & (Capability.FOLDERS | Capability.IDENTITIES):
        raise Refused(f"{session.store.url}: a ledger is about the files of a folder or bucket")
    # Beside a tree that is no folder there is none by itself.
    unused |= file is None and Capability.FOLDERS not in has
    selection.check(level, ledger=reads and not unused)
    if unused or not reads:
        yield None
        return
    with ExitStack() as stack:
        try:
            ledger = stack.enter_context(_ledger_of(session, file))
        except LockHeld as error:
            raise LockHeld(f"{error}; --no-ledger verifies without recording") from error
        yield ledger


def report_trouble(session: Session, ledger: LedgerFile | None, file: str | None) -> bool:
    """Report what was not recorded; return whether that is a failure: `file` was asked for."""
    if ledger is None or ledger.trouble is None:
        return False
    if file is None:
        session.note(f"regfs: not everything is recorded in the ledger: {ledger.trouble}")
        return False
    session.complain(f"not everything is recorded in the ledger: {ledger.trouble}")
    return True


def merge_ledgers(
    session: Session,
    files: Sequence[str],
    file: str | None,
    level: Level,
    on_finding: Callable[[ReportedFinding], None] | None,
    *,
    show: bool,
) -> Exit:
    """Merge the ledgers of shards, and check all but what blobs hold, which the result says."""
    from regfs.render.verify import coverage_document, show_coverage
    from regfs.stores import Capability, locate
    from regfs.verify import Portion, VerifyOptions, verify
    from regfs.verify.coverage import cover, pick_from
    from regfs.verify.files import identify_blobs
    from regfs.verify.ledger import merge

    if file is None and Capability.FOLDERS not in session.store.capabilities:
        raise Refused(f"{session.store.url}: --merge needs --ledger FILE here: for the result")
    places = [(one, *locate(one, session.store)) for one in files]
    with _ledger_of(session, file) as target:
        target.load(pick_from(session.inventory))
        file_of = identify_blobs(session.view.store, session.inventory.blobs).find
        parts = [_shard(session, *place, file_of) for place in places]
        target.replace(merge([target.ledger, *parts]))
        graph = session.graph if level.covers(level.SIZES) else None
        found = cover(session.inventory, target.ledger, file_of, lambda: graph, level=level)
        asked = VerifyOptions(level=level, portion=Portion.REST, ledger=target)
        result = verify(session.view, session.inventory, graph, asked, on_finding=on_finding)
        found = replace(found, findings=result.findings, more=result.more)
    if result.interrupted:
        session.note("regfs: interrupted; this is what was found so far")
    if show:
        document = coverage_document(found) if session.json else None
        session.emit(document, lambda out: show_coverage(out, found))
    if report_trouble(session, target, file):
        return Exit.STORAGE
    if result.interrupted:
        return Exit.INTERRUPTED
    return Exit.FINDINGS if found.severity is Severity.ERROR else Exit.CLEAN


def _shard(
    session: Session,
    name: str,
    store: Store,
    path: str,
    file_of: Callable[[Digest], FileId | None],
) -> Ledger:
    """Return the results in the ledger of a shard that are about this tree.

    Raises:
        Refused: it has results, and none is about a file of this tree.
    """
    from regfs.verify.coverage import of_this_tree, pick_from
    from regfs.verify.ledger_file import read_ledger

    count = 0
    known = pick_from(session.inventory)

    def pick(text: str) -> Digest | None:
        nonlocal count
        count += 1
        return known(text)

    found = of_this_tree(read_ledger(store, path, pick), session.inventory, file_of)
    if count and not len(found):
        raise Refused(
            f"{name}: a ledger of another tree, or of a copy of this one: none of its {count} "
            "results is about a file of this tree; nothing was merged"
        )
    return found


def _ledger_of(session: Session, file: str | None) -> LedgerFile:
    """Return the ledger in `file`, or the one of the tree."""
    from regfs.runs.lock import owner
    from regfs.stores import locate
    from regfs.verify import LedgerFile

    if file is None:
        return LedgerFile(session.store, owner=owner())
    return LedgerFile(*locate(file, session.store), owner=owner(), required=True)
