"""What the commands share that edit a tree by name."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from regfs.cli.options import option_group
from regfs.cli.session import Exit, Session
from regfs.cli.spelled import spelled

if TYPE_CHECKING:
    from rich.console import Console

    from regfs.cli.gc_output import AfterRun
    from regfs.edits.edit import Edited

EXITS: Final = (Exit.FINDINGS, Exit.REFUSED)
DOCUMENT: Final = "regfs.edits.edit:Edited"

edit_options = option_group(
    click.option("-n", "--dry-run", is_flag=True, help="Only show what would be done."),
    click.option("--offline", is_flag=True, help="Nobody else writes to the tree."),
)


def finish(session: Session, done: Edited, *, dry_run: bool, after: AfterRun | None = None) -> Exit:
    """Print what an edit did, and return the exit code; `after` is about what was collected."""
    from regfs.cli.gc_output import has_moved, show_applied
    from regfs.render.edits import show_edited

    collected = done.collected
    outcome = Exit.FINDINGS if done.skipped or (collected and collected.doubtful) else Exit.CLEAN

    def people(out: Console) -> None:
        undo = spelled(session, "gc", "restore", done.run or "")
        if done.transferred is not None:  # it is a run of the other tree
            undo = shlex.join(["regfs", "-r", done.root, "gc", "restore", done.run or ""])
        collect = spelled(session, "gc", "run")
        then = after
        if done.run is not None and collected is not None and then and has_moved(collected):
            # One line for both runs, the later one first: it has what the links of the other need.
            then, undo = replace(then, undo=f"{then.undo} && {undo}"), ""
        show_edited(out, done, dry_run=dry_run, verbose=session.verbose, undo=undo, collect=collect)
        if collected is not None and then is not None:
            show_applied(out, collected, then, verbose=session.verbose)

    session.emit(done, people, None if dry_run else outcome)
    return outcome
