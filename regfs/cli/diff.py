"""`regfs diff`: what differs between two images, layers, or two moments of one tag."""

from __future__ import annotations

import click

from regfs.cli.options import platform_option, top_option
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

DOCUMENTS = {"": "regfs.reports.diff:DiffReport"}


@regfs_command(
    name="diff",
    examples=[
        "regfs diff app:v1 app:v2",
        "regfs diff app:latest@-1 app:latest",
        "regfs diff --name-only app:v1 app:v2",
    ],
    answers=True,
)
@click.argument("before", metavar="REF")
@click.argument("after", metavar="REF")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if they differ, as git does.")
@click.option("--name-only", is_flag=True, help="Print only the paths of files that differ.")
@click.option("--no-files", is_flag=True, help="Do not look into layers.")
@click.option("--times", is_flag=True, help="Compare the times of files too.")
@platform_option
@top_option("Files and packages to show.", default=20)
def command(
    session: Session,
    before: str,
    after: str,
    *,
    exit_code: bool,
    name_only: bool,
    no_files: bool,
    times: bool,
    platform: str | None,
    top: int,
) -> Exit:
    """Show what differs between two images: layers, config, packages and files.

    NAME:TAG@-1 is what a tag pointed to before. Two indexes are compared platform by
    platform. Layers that both have are not compared. Of two layers, give the digests.
    """
    from regfs.render.diff import show_difference, show_names

    if name_only and no_files:
        raise click.UsageError("--name-only and --no-files leave nothing to print")
    report = session.tree.diff(before, after, platform=platform, files=not no_files, times=times)
    if name_only:
        session.emit(report, lambda out: show_names(report, out))
    else:
        session.emit(
            report, lambda out: show_difference(report, out, top=top, verbose=session.verbose)
        )
    session.complain_of(report.problems)
    return Exit.FINDINGS if report.problems or (exit_code and not report.same) else Exit.CLEAN
