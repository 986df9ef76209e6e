"""`regfs schema`: the JSON Schema of what a command prints with --json."""

from __future__ import annotations

import importlib
from typing import Any

import click

from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command
from regfs.errors import Unknown


@regfs_command(
    name="schema",
    examples=["regfs schema du", "regfs schema verify > verify.schema.json"],
)
@click.argument("name", metavar="COMMAND")
def command(session: Session, name: str) -> Exit:
    """Print the JSON Schema of what COMMAND prints with --json."""
    from regfs.render.tables import to_json

    click.echo(to_json(schema_of(name)))
    return Exit.CLEAN


def schema_of(name: str) -> dict[str, Any]:
    """Return the JSON Schema of a command's document.

    Raises:
        Unknown: there is no such command, or it prints no document.
    """
    from pydantic import TypeAdapter

    from regfs.cli.app import COMMANDS

    module_name, _, part = name.replace(" ", "-").partition("-")
    if module_name not in COMMANDS:
        raise Unknown(f"no such command: {name}")
    module = importlib.import_module(f"regfs.cli.{module_name}")
    documents: dict[str, str] = getattr(module, "DOCUMENTS", {})
    if part not in documents:
        known = ", ".join(f"{module_name}-{key}" if key else module_name for key in documents)
        raise Unknown(f"{name} prints no JSON document; known here: {known or 'none'}")
    place, _, kind = documents[part].partition(":")
    return TypeAdapter(getattr(importlib.import_module(place), kind)).json_schema()
