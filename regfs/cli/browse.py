"""`regfs browse`: the full-screen explorer."""

from __future__ import annotations

import os
import sys

import click

from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command
from regfs.cli.spelled import spelled
from regfs.errors import Doubt


@regfs_command(
    name="browse",
    examples=[
        "regfs browse",
        "regfs -r /srv/registry browse",
        "regfs browse | xargs regfs rm -n   (mark with d, quit with q)",
    ],
    exits=[Exit.REFUSED],
    answers=True,
    document=False,
)
def command(session: Session) -> Exit:
    """Explore the tree on the full screen: repositories, tags, layers, sizes, who needs what.

    Keys are as in ncdu and dive; ? lists them. Nothing is changed: what d has marked is
    printed at the end, one reference a line, for regfs rm. Needs regfs[browse].
    """
    streams = (sys.stdin, sys.stderr)
    if any(one is None or not one.isatty() for one in streams) or os.environ.get("TERM") == "dumb":
        raise click.UsageError("browse needs a terminal; regfs du and regfs show print the like")
    try:
        import textual  # noqa: F401
    except ModuleNotFoundError as error:
        raise Doubt(f"{error.name} is missing: pip install 'regfs[browse]'") from None
    from regfs.browse.app import Explorer
    from regfs.browse.driver import TerminalDriver
    from regfs.browse.worker import Activity

    if session.color is False:
        os.environ["NO_COLOR"] = "1"
    elif session.color:
        os.environ.pop("NO_COLOR", None)
    doing = Activity()
    session.use_progress(doing)
    tree = session.tree
    # What tags pointed to before, and when layers were linked, is not shown.
    tree.history = tree.link_times = False
    explorer = Explorer(tree, doing, TerminalDriver)
    end = explorer.run()
    if explorer.failure is not None:
        raise explorer.failure
    if end is None or end.interrupted:
        raise KeyboardInterrupt
    for reference in end.marked:
        click.echo(reference)
    if end.marked:
        session.note(
            f"To see what removing them frees: {spelled(session, 'rm', '-n', *end.marked)}"
        )
    return Exit.CLEAN
