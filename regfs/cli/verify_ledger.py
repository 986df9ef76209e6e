"""The ledger of `regfs verify`: which file it is, who may use it now, and `--merge`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

from regfs.cli.session import Exit, Session
from regfs.errors import LockHeld
from regfs.findings import Severity

if TYPE_CHECKING:
    from regfs.verify import LedgerFile, Level, Row, Selection


@contextmanager
def held_ledger(
    session: Session,
    file: str | None,
    level: Level,
    selection: Selection,
    *,
    unused: bool,
) -> Iterator[LedgerFile | None]:
    """Hold the ledger while the block runs: `file`, or else the one of the tree; None if `unused`.

    What makes no sense is refused here, before the tree is listed.
    """
    from regfs.verify import Level

    reads = level.covers(Level.DIGESTS)
    if file is not None and (unused or not reads):
        other = "--no-ledger" if unused else f"--level {level.value}, which reads no content"
        raise click.UsageError(f"--ledger makes no sense with {other}")
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


def tell_trouble(session: Session, ledger: LedgerFile | None, file: str | None) -> bool:
    """Say what was not recorded; return whether that is a failure, for `file` was asked for."""
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
    on_finding: Callable[[Row], None] | None,
    *,
    show: bool,
) -> Exit:
    """Merge the ledgers of shards into one, and tell what it says of the tree; hash no blob."""
    from regfs.render_verify import coverage_document, show_coverage
    from regfs.stores import locate
    from regfs.verify.coverage import cover, pick_from
    from regfs.verify.ledger import merge
    from regfs.verify.ledger_file import read_ledger

    places = [locate(one, session.store) for one in files]
    with _ledger_of(session, file) as target:
        pick = pick_from(session.inventory)
        target.load(pick)
        parts = [read_ledger(store, path, pick) for store, path in places]
        target.replace(merge([target.ledger, *parts]))
        found = cover(
            session.inventory,
            target.ledger,
            lambda: session.graph,
            level=level,
            on_finding=on_finding,
        )
    if show:
        document = coverage_document(found) if session.json else None
        session.emit(document, lambda out: show_coverage(out, found))
    if tell_trouble(session, target, file):
        return Exit.STORAGE
    return Exit.FINDINGS if found.severity is Severity.ERROR else Exit.CLEAN


def _ledger_of(session: Session, file: str | None) -> LedgerFile:
    """Return the ledger that is meant."""
    from regfs.stores import locate
    from regfs.turns import owner
    from regfs.verify import LedgerFile

    if file is None:
        return LedgerFile(session.store, owner=owner())
    return LedgerFile(*locate(file, session.store), owner=owner(), required=True)
