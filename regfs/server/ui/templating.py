"""View models -> HTML: everything from a tree comes out as visible text.

Every value that a template prints passes `shown`, which spells out what cannot be seen (control
characters, invalid UTF-8, marks of text direction); then Jinja escapes it.
"""

from __future__ import annotations

import hashlib
import shlex
from datetime import UTC, datetime
from importlib import resources
from typing import Any, Final, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from regfs.render.tables import plural, printable, short
from regfs.server.ui.views.comparing import value_of
from regfs.server.ui.views.parts import LEVELS
from regfs.units import ago, human_size, rfc3339


class Asset(NamedTuple):
    """A static file."""

    body: bytes
    content_type: str
    version: str


_TYPES: Final = {
    "style.css": "text/css",
    "page.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


def assets() -> dict[str, Asset]:
    """Return the static files by name."""
    folder = resources.files("regfs.server.ui") / "static"
    found = {}
    for name, content_type in _TYPES.items():
        body = (folder / name).read_bytes()
        found[name] = Asset(body, content_type, hashlib.sha256(body).hexdigest()[:12])
    return found


def environment(known: dict[str, Asset]) -> Environment:
    """Return the environment of the templates."""
    made = Environment(
        loader=PackageLoader("regfs.server.ui"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(
        size=size,
        when=when,
        moment=moment,
        short=short,
        share=share,
        ticks=ticks,
        lines=lines,
        count=count,
        plural=plural,
        shell=shlex.quote,
        several=several,
        kind_of_type=kind_of_type,
        value_of=value_of,
    )
    made.globals["level_words"] = LEVELS
    made.globals["home"] = {"text": "Repositories", "href": "/"}
    made.globals["static"] = lambda name: f"/static/{name}?v={known[name].version}"
    return made


def shown(value: Any) -> Any:
    """Return a value as a template prints it: in text, every character is visible."""
    if value is None:
        return ""
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value)
    return value


def lines(text: str) -> Markup:
    """Return text that keeps its line ends."""
    return escape("\n".join(printable(line).replace("\\t", "    ") for line in text.split("\n")))


def size(bytes_: int | None, beside: int | None = None) -> Markup:
    """Return a size for people, with the exact number as its title.

    It has three digits, so that those of a column compare; with `beside`, it has the unit of that.
    """
    if bytes_ is None or bytes_ < 0:
        return Markup('<span class="size">?</span>')
    exact = plural(bytes_, "byte")
    shown = human_size(bytes_, bytes_ if beside is None else beside)
    return Markup('<span class="size" title="{}">{}</span>').format(exact, shown)


def when(moment: datetime | None) -> Markup:
    """Return how long ago something was, with the exact time in its title."""
    if moment is None:
        return Markup('<span class="none">never</span>')
    seconds = (datetime.now(UTC) - moment).total_seconds()
    exact = rfc3339(moment)
    shown = ago(seconds) if seconds > -60 else exact[:10]  # a clock was wrong
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(exact, shown)


def moment(time: datetime) -> Markup:
    """Return a time in UTC to the minute, with the seconds in its title."""
    exact = rfc3339(time)
    day, _, hour = exact[:16].partition("T")
    return Markup(
        '<time datetime="{0}" title="{0}"><span>{1}</span> <span>{2}</span></time>'
    ).format(exact, day, hour)


def ticks(text: str) -> Markup:
    """Return text in which `this` becomes code."""
    parts = [
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(printable(text).split("`"))
    ]
    return Markup("").join(parts)


def share(per_cent: float) -> str:
    """Return a share in per cent; if it is not 0, it is shown as more than 0."""
    if 0 < per_cent < 0.1:
        return "<0.1%"
    return f"{per_cent:.1f}%"


_KINDS: Final = {
    "attestation.manifest": "attestation of BuildKit",
    "in-toto": "in-toto statement: provenance or SBOM",
    "spdx": "SPDX SBOM",
    "cyclonedx": "CycloneDX SBOM",
    "syft": "syft SBOM",
    "sigstore.bundle": "Sigstore bundle",
    "simplesigning": "cosign signature",
    "cosign": "cosign signature",
    "notary": "notation signature",
}
"""Part of a media type -> what it is."""


def kind_of_type(media_type: str | None) -> str:
    """Return what a media type stands for, if people have a word for it, else itself."""
    text = media_type or "not said"
    return next((f"{words} ({text})" for part, words in _KINDS.items() if part in text), text)


def several(noun: str) -> str:
    """Return the plural of a noun: `tags`, `repositories`."""
    return f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"


def count(number: int) -> str:
    """Return a number with separated thousands."""
    return f"{number:,}"
