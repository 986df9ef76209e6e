"""`regfs cat`: the bytes of a blob or manifest, verified."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

if TYPE_CHECKING:
    from regfs.digest import Digest
    from regfs.tree.registry import Registry, Target


@regfs_command(
    name="cat",
    document=False,
    examples=["regfs cat app:v1 | jq .", "regfs cat 25b1600519c0 | tar tz"],
    answers=True,
    exits=[Exit.REFUSED],
)
@click.argument("reference", metavar="REF|DIGEST")
def command(session: Session, reference: str) -> Exit:
    """Write the bytes of a manifest (NAME:TAG) or of any blob (DIGEST) to standard output.

    The bytes are checked against their digest while they are written; if they do not match,
    the exit code is 1. Anything no larger than a manifest is checked before it is written.
    What is not text is not written to a terminal.
    """
    from regfs.manifests import LIMIT

    digest = _stored(session, *session.registry.find_content(reference))
    registry, out = session.registry, sys.stdout.buffer
    if sys.stdout.isatty():
        _refuse_binary(registry, digest, reference)
    if registry.blob(digest).size <= LIMIT:
        out.write(registry.manifest_bytes(digest))
    else:
        for piece in registry.stream(digest):
            out.write(piece)
    out.flush()
    return Exit.CLEAN


def _refuse_binary(registry: Registry, digest: Digest, reference: str) -> None:
    """Raise Refused if a terminal would act on bytes of a blob, or cannot show them."""
    from regfs.errors import Refused, printable
    from regfs.reports.blob import TextCheck, content_of
    from regfs.units import human_size

    begin, check = b"", TextCheck()
    for piece in registry.stream(digest):
        begin = begin or piece[:512]
        if check.is_broken_by(piece):
            break
    else:
        return
    content = content_of(begin)
    kind = f"a layer ({content})" if content in ("gzip", "zstd", "tar") else "no text"
    raise Refused(
        f"{printable(reference)} is {kind}, {human_size(registry.blob(digest).size)}, and is not "
        f"written to a terminal: give > FILE or | tar tv, or see regfs show {digest.short}"
    )


def _stored(session: Session, target: Target, digest: Digest) -> Digest:
    """Return the digest that the blob is stored under: a link may name it by another algorithm."""
    from regfs.digest import CANONICAL
    from regfs.errors import ManifestUnknown

    if target.name is None or digest.algorithm == CANONICAL:
        return digest
    try:
        return session.registry.revision(target.name, digest)
    except ManifestUnknown:
        return digest
