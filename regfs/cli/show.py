"""`regfs show`: one image in full."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import click

from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

DOCUMENTS = {"": "regfs.reports.image:Shown", "raw": "regfs.cli.show:raw_schema"}


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

    NAME alone means NAME:latest.
    """
    from regfs.errors import BlobUnknown
    from regfs.render.image import show_image
    from regfs.reports.image import read_manifest, show
    from regfs.reports.whereabouts import image_paths

    target, digest = session.registry.find_content(reference)
    try:
        read_manifest(session.registry, digest)
    except BlobUnknown as error:
        session.complain(str(error))
        return Exit.FINDINGS
    if raw:
        sys.stdout.buffer.write(session.registry.manifest_bytes(digest))
        return Exit.CLEAN
    report = show(session.graph, session.registry, target, digest)
    if paths:
        found = image_paths(session.graph, session.store, target, digest)
        report = replace(report, paths=tuple(found))
    session.emit(report, lambda console: show_image(report, console))
    return Exit.FINDINGS if report.problems else Exit.CLEAN


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
