"""A network as JSON, a line for each node and edge; what does not apply is left out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields
from datetime import datetime

from regfs.render.tables import to_json_line
from regfs.reports.network import Network, NetworkEdge, NetworkNode
from regfs.units import rfc3339


def node_link(network: Network) -> Iterator[str]:
    """Yield the pieces of a `NetworkDocument`."""
    yield '{\n  "directed": true,\n  "multigraph": false,\n'
    yield f'  "graph": {to_json_line(network.facts)},\n  "nodes": '
    yield from _rows(network.nodes())
    yield ',\n  "edges": '
    yield from _rows(network.edges())
    yield "\n}\n"


def _rows(rows: Iterable[NetworkNode | NetworkEdge]) -> Iterator[str]:
    comma = "[\n"
    for row in rows:
        values = ((field.name, getattr(row, field.name)) for field in fields(row))
        known = {name: _plain(value) for name, value in values if value is not None}
        yield f"{comma}    {json.dumps(known)}"
        comma = ",\n"
    yield "[]" if comma == "[\n" else "\n  ]"


def _plain(value: object) -> object:
    return rfc3339(value) if isinstance(value, datetime) else value
