"""How `regfs verify` tells of findings while it runs: each at once, what has one cause once."""

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

TOLD: Final = 1000
"""Findings of one code that are told on a terminal; of the rest only the number."""


def teller_of(session: Session, *, ndjson: bool) -> Callable[[ReportedFinding], None] | None:
    """Return what tells of a finding at once."""
    from regfs.render.tables import to_json_line
    from regfs.render.verify import row_document

    if ndjson:
        return lambda row: click.echo(to_json_line(row_document(row)))
    return None if session.json else Teller(session)


class Teller:
    """Tells people of findings: asked for more (-v), of each, else of one for each cause."""

    def __init__(self, session: Session) -> None:
        # On one terminal the findings go above the bar, which only its own console can do.
        shared = sys.stdout.isatty() and sys.stderr.isatty() and not session.quiet
        self._console = session.err if shared else session.out
        self._session = session
        self._told: Counter[Code] = Counter()
        self._causes = Causes()

    def __call__(self, row: ReportedFinding) -> None:
        """Tell of one."""
        from regfs.render.verify import print_row

        code = row.finding.code
        if row.finding.severity is Severity.INFO and not self._session.verbose:
            return
        if not self._causes.add(row.finding) and not self._session.verbose:
            return
        self._told[code] += 1
        if self._told[code] <= TOLD:
            print_row(self._console, row)
        elif self._told[code] == TOLD + 1:
            self._session.note(f"regfs: more than {TOLD} of {code}; from here on they are counted")

    def tell_again(self) -> None:
        """Say of each cause that has come up more than once what to do, and where it has."""
        from regfs.render.tables import print_cause

        if self._session.verbose:
            return
        again = [cause for cause in self._causes if cause.count > 1]
        for cause in again:
            print_cause(self._console, cause)
        if again:
            self._session.note("regfs: what has one cause was told once; -v tells of each")
