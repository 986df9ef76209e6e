"""One page that needs nothing else: a treemap of where the bytes are, and the images as a forest.

    picture = Picture(facts, areas(...), family(...), ...)
    page(picture)       HTML with d3 (ISC licence), styles and compressed columns inside

It loads nothing and sends nothing: its policy allows only the scripts whose hashes it names. Text
from a tree is escaped in the HTML, and compressed in the data. What the scripts draw stands in a
table as well, and the largest rows of it are there without scripts.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any, Final

from regfs.errors import printable
from regfs.graph import Graph
from regfs.manifests import Role
from regfs.render.tables import plural, short
from regfs.reports.family import FamilyMember
from regfs.reports.treemap import Area, AreaKind
from regfs.reports.users import Users
from regfs.units import human_size, rfc3339

LEAVES: Final = 120_000
"""Blobs that are drawn one by one, the largest; the others of an area are one rectangle."""
_ROWS: Final = 100
"""Rows of each table without scripts."""
_LONGEST: Final = 300
"""Characters of a name: a platform can have a million."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What is shown."""

    graph: Graph
    users: Users
    top: Area
    family: Sequence[FamilyMember]
    made: dict[int, str]
    """Row of a layer -> the instruction that made it, as far as it is known."""
    unread: int
    """How many things could not be read."""


def page(picture: Picture) -> Iterator[str]:
    """Yield the page."""
    css, script, library = _static("page.css"), _static("page.js"), _static("d3.min.js")
    inventory, top = picture.graph.inventory, picture.top
    root = html.escape(_cut(inventory.url))
    lack = plural(picture.unread, "thing")
    yield Template(_static("page.html")).substitute(
        policy="default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"script-src {_hash(library)} {_hash(script)}; style-src {_hash(css)}",
        title=root,
        css=css,
        facts=f"{plural(len(inventory.repositories), 'repository', 'repositories')}, "
        f"{plural(top.blobs, 'blob')}, {human_size(top.bytes)}; as of "
        f"{rfc3339(inventory.taken_at)}; made by regfs",
        incomplete=f'<p class="warn">Incomplete: {lack} could not be read.</p>'
        * bool(picture.unread),
        caption=f"What is in everything: {plural(len(top.areas), 'row')}, {human_size(top.bytes)}",
        rows="".join(_row(area, top.bytes) for area in top.areas[:_ROWS]),
        images=_images(picture.family),
        data=base64.b64encode(
            gzip.compress(json.dumps(_columns(picture)).encode(), 6, mtime=0)
        ).decode(),
        library=library,
        script=script,
    )


@cache
def _static(name: str) -> str:
    return files("regfs.render.pictures").joinpath("static", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _row(area: Area, whole: int) -> str:
    name = html.escape(_cut(area.name)) or "shared by repositories"
    share = f"{100 * area.bytes / whole:.1f}%" if whole else ""
    cells = f'<td class="n">{human_size(area.bytes)}</td><td class="n">{share}</td><td></td>'
    return f'<tr><td>{name}</td>{cells}<td class="n">{area.blobs:,}</td></tr>\n'


def _images(family: Sequence[FamilyMember]) -> str:
    """Return the forest as a list, for who has no scripts."""
    shown = [
        f"<li>{html.escape(_cut(one.names[0]))}: + {plural(one.own_layers, 'layer')}, "
        f"{human_size(one.own_bytes)}{_base(one, family)}</li>\n"
        for one in family[: 10 * _ROWS]
        if one.names
    ][:_ROWS]
    return f"<noscript><ul>\n{''.join(shown)}</ul></noscript>"


def _base(member: FamilyMember, family: Sequence[FamilyMember]) -> str:
    if member.base < 0:
        return ""
    base = family[member.base]
    name = base.names[0] if base.names else f"{plural(base.layers, 'layer')} that others begin with"
    return f", built on {html.escape(_cut(name))}"


def _cut(text: str) -> str:
    """Return a name printable, and without its middle if it is too long."""
    half = _LONGEST // 2 - 2
    return printable(text if len(text) <= _LONGEST else f"{text[:half]}...{text[-half:]}")


# -- the data ------------------------------------------------------------------------------


def _columns(picture: Picture) -> dict[str, Any]:
    """Return everything as columns: names of fields once, not in each of 100,000 rows."""
    packer = _Packer(picture)
    packer.pack(picture.top)
    family = picture.family
    return {
        "binary": human_size(1 << 20).endswith("iB"),
        "areas": packer.areas,
        "blobs": {**packer.blobs, "digest": "".join(packer.digests), "role": "".join(packer.roles)},
        "made": list(packer.made),
        "members": {
            "names": [list(map(_cut, one.names)) for one in family],
            "base": [one.base for one in family],
            "layers": [one.layers for one in family],
            "size": [one.size for one in family],
            "ownLayers": [one.own_layers for one in family],
            "ownBytes": [one.own_bytes for one in family],
            "baseName": [_cut(one.base_name) for one in family],
            "squashed": [int(one.squashed) for one in family],
        },
    }


class _Packer:
    """Makes columns of areas, from the outside in, and of their blobs."""

    def __init__(self, picture: Picture) -> None:
        self.areas: dict[str, list[Any]] = {
            key: [] for key in ("kind", "name", "users", "areas", "leaves", "rest", "restBytes")
        }
        self.blobs: dict[str, list[int]] = {key: [] for key in ("size", "users", "homes", "made")}
        self.digests: list[str] = []
        self.roles: list[str] = []
        self.made: dict[str, int] = {}
        self._picture = picture
        self._kinds = list(AreaKind)
        self._letters = _roles_of(picture.graph)
        self._least = self._smallest()

    def _smallest(self) -> int:
        """Return the bytes from which on blobs are drawn one by one."""
        blobs = self._picture.graph.inventory.blobs
        if self._picture.top.blobs <= LEAVES:
            return 0
        return sorted(blobs.sizes, reverse=True)[LEAVES]

    def pack(self, area: Area) -> None:
        """Add an area with all that is in it."""
        sizes = self._picture.graph.inventory.blobs.sizes
        shown = [row for row in area.rows if sizes[row] >= self._least][:LEAVES]
        rest = area.rows[len(shown) :]
        values = (
            self._kinds.index(area.kind),
            _cut(area.name),
            area.users,
            len(area.areas),
            len(shown),
            len(rest),
            sum(map(sizes.__getitem__, rest)),
        )
        for column, value in zip(self.areas.values(), values, strict=True):
            column.append(value)
        for one in area.areas:
            self.pack(one)
        for row in shown:
            self._add_blob(row)

    def _add_blob(self, row: int) -> None:
        blobs, users = self._picture.graph.inventory.blobs, self._picture.users
        number, made = blobs.numbers[row], self._picture.made.get(row)
        self.digests.append(short(blobs.digest(row)))
        self.roles.append(self._letters.get(number, "b"))
        known = -1 if made is None else self.made.setdefault(printable(made), len(self.made))
        counts = users.tags.count(number), users.repositories.count(number)
        for column, value in zip(
            self.blobs.values(), (blobs.sizes[row], *counts, known), strict=True
        ):
            column.append(value)


def _roles_of(graph: Graph) -> dict[int, str]:
    """Return the role of each blob that a manifest names, by number: `m`, `c` or `l`."""
    found: dict[int, str] = {}
    for manifest in graph.manifests:
        for role, letter in ((Role.LAYER, "l"), (Role.CONFIG, "c")):
            for number in graph.manifests.numbers_as(role, manifest):
                found.setdefault(number, letter)
    found.update((graph.inventory.known.add(manifest), "m") for manifest in graph.manifests)
    return found
