"""How `regfs verify` prints findings while it runs: at once, and once for each cause."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Final

import click

from regfs.findings import Severity
from regfs.reports.causes import Causes

if TYPE_CHECKING:
    from collections.abc import Callable

    from regfs.cli.session import Session
    from regfs.findings import Code
    from regfs.verify import ReportedFinding

PRINTED: Final = 1000
"""Findings of one code that are printed; the rest are only counted."""


def printer_of(session: Session, *, ndjson: bool) -> Callable[[ReportedFinding], None] | None:
    """Return a function that prints a finding; None if findings are printed at the end."""
    from regfs.render.tables import to_json_line
    from regfs.render.verify import row_document

    if ndjson:
        return lambda row: click.echo(to_json_line(row_document(row)))
    return None if session.json else FindingPrinter(session)


class FindingPrinter:
    """Prints findings for people: with -v each of them, else the first of each cause."""

    def __init__(self, session: Session) -> None:
        # On a shared terminal, only the console of the progress bar can print above it.
        shared = sys.stdout.isatty() and sys.stderr.isatty() and not session.quiet
        self._console = session.err if shared else session.out
        self._session = session
        self._printed: Counter[Code] = Counter()
        self._causes = Causes()

    def __call__(self, row: ReportedFinding) -> None:
        """Print a finding."""
        from regfs.render.verify import print_row

        code = row.finding.code
        if row.finding.severity is Severity.INFO and not self._session.verbose:
            return
        if not self._causes.add(row.finding) and not self._session.verbose:
            return
        self._printed[code] += 1
        if self._printed[code] <= PRINTED:
            print_row(self._console, row)
        elif self._printed[code] == PRINTED + 1:
            self._session.note(f"regfs: more than {PRINTED} of {code}; the rest are only counted")

    def print_causes(self) -> None:
        """Print each cause with more than one finding: what to do, and where."""
        from regfs.render.tables import print_cause

        if self._session.verbose:
            return
        again = [cause for cause in self._causes if cause.count > 1]
        for cause in again:
            print_cause(self._console, cause)
        if again:
            self._session.note("regfs: findings of one cause are printed once; -v prints each")
