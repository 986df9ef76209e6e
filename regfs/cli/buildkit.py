"""`regfs buildkit`: what BuildKit has done to an image."""

from __future__ import annotations

import click

from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

DOCUMENTS = {"": "regfs.reports.buildkit:BuildKitReport"}


@regfs_command(
    name="buildkit",
    examples=["regfs buildkit app:v1", "regfs buildkit app:buildcache", "regfs show app:v1"],
    answers=True,
)
@click.argument("reference", metavar="REF")
def command(session: Session, reference: str) -> Exit:
    """Say whether the layers of an image are squashed, and what BuildKit has changed.

    It compares with what the classic builder makes: the index, attestations, what each rebuild
    leaves behind, layers, times, and the build cache.
    """
    from regfs.render.buildkit import show_buildkit
    from regfs.reports.buildkit import buildkit_report

    target, digest = session.view.find_content(reference)
    report = buildkit_report(session.graph, session.view, target, digest)
    session.emit(report, lambda console: show_buildkit(report, console))
    session.complain_of(report.problems)
    return Exit.FINDINGS if report.problems else Exit.CLEAN
