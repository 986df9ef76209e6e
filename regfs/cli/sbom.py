"""`regfs sbom`: the SBOM of an image."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from regfs.cli.options import platform_option
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

if TYPE_CHECKING:
    from regfs.content.sbom import SbomPackage
    from regfs.content.statements import Wrapped
    from regfs.reports.attestations import AttachedDocument

DOCUMENTS = {
    "": "regfs.reports.attestations:ReadDocument",
    "packages": "regfs.reports.sboms:ListedPackages",
}


@regfs_command(
    name="sbom",
    examples=[
        "regfs sbom app:v1 | jq .",
        "regfs sbom app:v1 --packages",
        "regfs sbom app:v1 --platform linux/arm64 --format spdx > sbom.json",
    ],
    answers=True,
    exits=[Exit.REFUSED],
)
@click.argument("reference", metavar="REF|DIGEST")
@click.option(
    "--format",
    "form",
    metavar="spdx|cyclonedx|syft",
    help="Which one, where there are several.",
)
@platform_option
@click.option("--packages", is_flag=True, help="List the packages instead.")
def command(
    session: Session, reference: str, form: str | None, platform: str | None, *, packages: bool
) -> Exit:
    """Write the SBOM of an image to standard output, as the document it is.

    It is found beside the image in an index (BuildKit), by its subject, or by cosign's tags, and
    taken out of the statement or envelope around it. Signatures are not checked.

    With --json, a summary of it. If the SBOM says that it is about another image, or is damaged,
    the exit code is 1.
    """
    from regfs.reports.attestations import body_of, doubt_about
    from regfs.reports.sboms import chosen_sbom, sbom_documents

    target, digest = session.view.find_content(reference)
    found = sbom_documents(session.graph, session.view, target, digest)
    document = chosen_sbom(found, str(target), form, platform)
    if packages or session.json:
        return _tell(session, document, packages=packages)
    wrapped = body_of(session.view, document)
    _write(session, document, wrapped)
    if problem := doubt_about(document, wrapped):
        session.complain(problem)
        return Exit.FINDINGS
    return Exit.CLEAN


def _write(session: Session, document: AttachedDocument, wrapped: Wrapped) -> None:
    """Write the body; a small one only once it is known to be whole."""
    from regfs.manifests import LIMIT

    pieces: Iterable[bytes] = wrapped.body()
    if document.size <= LIMIT:
        pieces = [b"".join(pieces)]
    if sys.stdout.isatty():
        _refuse_what_is_no_text(wrapped)
    out = sys.stdout.buffer
    for piece in pieces:
        out.write(piece)
    if sys.stdout.isatty():
        out.write(b"\n")
    out.flush()


def _refuse_what_is_no_text(wrapped: Wrapped) -> None:
    """Raise Refused if a terminal would act on the document."""
    from regfs.errors import Refused
    from regfs.reports.blob import TextCheck

    check = TextCheck()
    if any(check.is_broken_by(piece) for piece in wrapped.body()):
        raise Refused("the SBOM has control characters, and is not written to a terminal: > FILE")


def _tell(session: Session, document: AttachedDocument, *, packages: bool) -> Exit:
    """Print what an SBOM says of itself, and its packages if they are asked for."""
    from regfs.render.attestations import show_packages
    from regfs.reports.attestations import read_document
    from regfs.reports.sboms import ListedPackages

    listed: list[SbomPackage] = []
    read = read_document(session.view, document, listed.append if packages else id)
    if packages:
        report = ListedPackages(read, tuple(listed))
        session.emit(report, lambda console: show_packages(report, console))
    else:
        session.emit(read, lambda console: None)
    if read.problem:
        session.complain(read.problem)
        return Exit.FINDINGS
    return Exit.CLEAN
