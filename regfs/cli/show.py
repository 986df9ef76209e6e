"""`regfs show`: one image in full."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

if TYPE_CHECKING:
    from regfs.digest import Digest
    from regfs.tree.references import Target

_PEEK: Final = 4096
"""Bytes that show what a blob is."""
DOCUMENTS = {
    "": "regfs.reports.image:Shown",
    "raw": "regfs.cli.show:raw_schema",
    "part": "regfs.reports.blob:ShownPart",
}


@regfs_command(
    name="show",
    examples=["regfs show app:v1", "regfs show app@sha256:25b1600", "regfs show --paths app:v1"],
    answers=True,
)
@click.argument("reference", metavar="REF")
@click.option("--raw", is_flag=True, help="Print the bytes of the manifest as they are stored.")
@click.option("--paths", is_flag=True, help="Print where each part of it lies on the disk.")
def command(session: Session, reference: str, *, raw: bool, paths: bool) -> Exit:
    """Show an image: manifest, config, layers and what made each, sharing, referrers.

    NAME alone means NAME:latest. Of a layer or another blob, show what it is and who needs it.
    """
    from regfs.errors import BlobUnknown
    from regfs.render.image import show_image
    from regfs.reports.image import read_manifest, show
    from regfs.reports.whereabouts import image_paths

    target, digest = session.registry.find_content(reference)
    try:
        # A config is JSON, as manifests are: only what points to it tells them apart.
        if target.tag is None and _show_part(session, target, digest, raw=raw):
            return Exit.CLEAN
        read_manifest(session.registry, digest)
    except BlobUnknown as error:
        session.complain(str(error))
        return Exit.FINDINGS
    if raw:
        sys.stdout.buffer.write(session.registry.manifest_bytes(digest))
        return Exit.CLEAN
    report = show(session.graph, session.view, target, digest)
    if paths:
        found = image_paths(session.graph, session.view.store, target, digest)
        report = replace(report, paths=tuple(found))
    session.emit(report, lambda console: show_image(report, console))
    session.complain_of(report.problems)
    return Exit.FINDINGS if report.problems else Exit.CLEAN


def _show_part(session: Session, target: Target, digest: Digest, *, raw: bool) -> bool:
    """Show what a blob is that is no manifest; return whether it is such a one.

    Raises:
        ReferenceInvalid: it is, and its bytes are asked for as a manifest.
    """
    from regfs.errors import ReferenceInvalid
    from regfs.render.image import show_part
    from regfs.reports.blob import content_of, is_part, part

    registry = session.registry
    with registry.open_blob(digest, 0, _PEEK) as file:
        content = content_of(file.read(_PEEK))
    if raw:
        if content == "JSON":
            return False
        raise ReferenceInvalid(
            f"{digest.short} is no manifest ({content}); its bytes: regfs cat {digest.short}"
        )
    graph = session.graph
    if not is_part(graph, digest) or (content == "JSON" and not graph.manifests_naming(digest)):
        return False  # a manifest, maybe one that nothing refers to
    size = registry.blob(digest).size
    report = part(graph, registry.manifest, target, digest, content, size)
    session.emit(report, lambda console: show_part(report, console))
    return True


def raw_schema() -> dict[str, Any]:
    """Return the JSON Schema of manifests as they are stored.

    One of a kind that regfs knows may leave out its media type.
    """
    from pydantic import TypeAdapter

    from regfs.manifests.models import MODELS, Known

    schema: dict[str, Any] = TypeAdapter(Known).json_schema()
    for model in schema["$defs"].values():
        model["required"] = [key for key in model.get("required", ()) if key != "mediaType"]
    known = {"mediaType": {"enum": list(MODELS)}}
    other = {"type": "object", "required": ["mediaType"], "not": {"properties": known}}
    schema["anyOf"].append(other)
    return schema
