"""`regfs referrers`: what is about an image."""

from __future__ import annotations

import click

from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

DOCUMENTS = {"": "regfs.reports.referrers:ReferrerTree"}


@regfs_command(
    name="referrers",
    examples=["regfs referrers app:v1", "regfs referrers app@sha256:25b1600", "regfs sbom app:v1"],
    answers=True,
)
@click.argument("reference", metavar="REF")
def command(session: Session, reference: str) -> Exit:
    """Show what is about an image: signatures, SBOMs, provenance, and what is about those.

    They are found by their subject, by fallback tags, by cosign's tags and beside the image in an
    index. Signatures are named, not checked.
    """
    from regfs.render.attestations import show_referrers
    from regfs.reports.referrers import referrer_tree

    target, digest = session.view.find_content(reference)
    report = referrer_tree(session.graph, session.view, target, digest)
    session.emit(report, lambda console: show_referrers(report, console))
    for problem in report.problems:
        session.complain(problem)
    return Exit.FINDINGS if report.problems else Exit.CLEAN
