"""`regfs schema`: the JSON Schema of what a command prints with --json.

A command that prints documents has their types, or functions that return a schema, in
`DOCUMENTS` of its module:

    DOCUMENTS = {"": "regfs.reports.usage:Usage", "rm": "regfs.reports.removal:Removal"}

The key is what follows the name of the command, in words: `du`, `du rm`, `gc plan`.
"""

from __future__ import annotations

import importlib
from inspect import isfunction
from typing import Any, TypeAlias

import click

from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command
from regfs.errors import Unknown

DOCUMENTS = {"": "regfs.cli.schema:Names"}
Names: TypeAlias = list[str]


@regfs_command(
    name="schema",
    examples=["regfs schema", "regfs schema gc plan", "regfs schema verify > verify.schema.json"],
)
@click.argument("words", metavar="[COMMAND]...", nargs=-1)
def command(session: Session, words: tuple[str, ...]) -> Exit:
    """Print the JSON Schema of what COMMAND prints with --json; without one, list all."""
    from regfs.render.tables import to_json

    if words:
        click.echo(to_json(schema_of(" ".join(words))))
    else:
        session.emit(documents(), lambda _: click.echo("\n".join(documents())))
    return Exit.CLEAN


def documents() -> list[str]:
    """Return the name of every document, in words."""
    return sorted(_documents())


def schema_of(name: str) -> dict[str, Any]:
    """Return the JSON Schema of a document, named in words or with dashes between them.

    Raises:
        Unknown: there is no such command, or it prints no document.
    """
    from pydantic import TypeAdapter

    from regfs.findings import WrittenFinding

    known = {text.replace(" ", "-"): place for text, place in _documents().items()}
    place = known.get(name.replace(" ", "-"))
    if place is None:
        raise Unknown(f"no JSON document is called {name!r}; `regfs schema` lists all")
    module, _, kind = place.partition(":")
    described = getattr(importlib.import_module(module), kind)
    if isfunction(described):
        return dict(described())
    schema = TypeAdapter(described).json_schema()
    if "Finding" in (types := schema.get("$defs", {})):
        written = TypeAdapter(WrittenFinding).json_schema()
        types |= written.pop("$defs") | {"Finding": written}
    if "properties" in schema:
        # Only the answer of a bucket has it.
        counts = {"type": "object", "additionalProperties": {"type": "integer"}}
        schema["properties"]["requests"] = counts
    return schema


def _documents() -> dict[str, str]:
    """Return the place of the type of every document."""
    from regfs.cli.app import COMMANDS

    found: dict[str, str] = {}
    for name in COMMANDS:
        module = importlib.import_module(f"regfs.cli.{name}")
        parts: dict[str, str] = getattr(module, "DOCUMENTS", {})
        found.update({f"{name} {part}".strip(): place for part, place in parts.items()})
    return found
