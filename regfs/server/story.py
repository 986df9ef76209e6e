"""The log as a story: what each request means for the registry, for people who watch it.

    skopeo looks for layer 25b1600519c0 in my-busybox: not there
    skopeo pushes my-busybox: layer 25b1600519c0, 1.08 MB, new
    skopeo pushes my-busybox: config 95745a419ab8, 405 B, new
    skopeo pushes my-busybox:latest: image 48a4d1d3ce45, config 95745a419ab8, 1 layer
    curl lists the tags of my-busybox

Requests that only lead to these (the start of an upload, its pieces, `/v2/`) are left out; what
fails is told with its status. To say what a blob is, its first bytes are read from the tree.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final
from urllib.parse import parse_qs

from regfs.digest import Digest
from regfs.errors import RegfsError, printable
from regfs.manifests.models import DockerManifest, DockerManifestList, ImageIndex, ImageManifest
from regfs.server.access_log import Exchange, without_userinfo
from regfs.tree.registry import Registry
from regfs.units import human_size

REMEMBERED: Final = 10_000
"""Digests that were looked for and are not there yet; the oldest are forgotten."""
_PEEK: Final = 65_536
_PACKED: Final = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
"""How gzip and zstd begin."""


class Story:
    """Tells requests of one server."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._looked_for: OrderedDict[str, bool] = OrderedDict()
        """Digest that a repository lacks -> whether the tree has it nevertheless."""
        self._last = ""

    def line(self, exchange: Exchange) -> str:
        """Return a line about a request and its answer; empty if it is no part of the story."""
        words = self._failed(exchange) if exchange.status >= 400 else self._done(exchange)
        if not words or (words.startswith("looks for ") and words == self._last):
            return ""  # clients look for the same blob twice, before a mount and before a push
        self._last = words
        return printable(f"{_who(exchange)} {words}")

    def _failed(self, exchange: Exchange) -> str:
        if exchange.status == 401 and not exchange.user:
            return ""  # every client asks once without its password
        if exchange.method == "HEAD" and exchange.status == 404 and exchange.repository:
            if exchange.action != "blob":
                return f"looks for {_name(exchange)}: not there"
            stored = self._remember(exchange.reference)
            where = "not there, but in another repository" if stored else "not there"
            return f"looks for {self._blob(exchange.reference)} in {exchange.repository}: {where}"
        return f"gets {exchange.status} for {exchange.method} {_path(exchange)}"

    def _remember(self, digest: str) -> bool:
        stored = self._size(digest) is not None
        self._looked_for[digest] = stored
        if len(self._looked_for) > REMEMBERED:
            self._looked_for.popitem(last=False)
        return stored

    def _done(self, exchange: Exchange) -> str:
        name = exchange.repository
        reads = exchange.method == "GET"
        match exchange.action:
            case "upload" | "uploads":
                return self._uploaded(exchange) if exchange.status == 201 else ""
            case "manifest" if exchange.method == "PUT":
                return f"pushes {_name(exchange)}: {self._manifest(exchange)}"
            case "manifest" if reads:
                return f"pulls {_name(exchange)}: {self._manifest(exchange)}"
            case "blob" if reads:
                part = "a part of " if exchange.status == 206 else ""
                return f"pulls {name}: {part}{self._sized(exchange.reference)}"
            case "blob" if exchange.method == "HEAD":
                return f"looks for {self._blob(exchange.reference)} in {name}: there"
            case "manifest" | "blob" if exchange.method == "DELETE":
                return f"deletes {_name(exchange)}: its bytes stay until a garbage collection"
            case "catalog" if reads:
                return "lists the repositories"
            case "tags" if reads:
                return f"lists the tags of {name}"
            case "referrers" if reads:
                return f"lists what refers to {_short(exchange.reference)} in {name}"
            case "page" if reads:
                return f"looks at the page {_path(exchange)}"
        return ""

    def _uploaded(self, exchange: Exchange) -> str:
        asked = parse_qs(exchange.target.partition("?")[2])
        if mounted := asked.get("mount", [""])[0]:
            source = asked.get("from", ["the tree"])[0]
            what = self._sized(mounted)
            return f"pushes {exchange.repository}: {what}, linked from {source}, nothing sent"
        digest = asked.get("digest", [""])[0]
        stored = self._looked_for.pop(digest, None)
        news = {None: "", True: ", sent again: it is stored once", False: ", new"}[stored]
        return f"pushes {exchange.repository}: {self._sized(digest)}{news}"

    def _manifest(self, exchange: Exchange) -> str:
        try:
            digest = (
                Digest.parse(exchange.reference)
                if ":" in exchange.reference
                else self._registry.tag(exchange.repository, exchange.reference)
            )
            found = self._registry.manifest(digest)
        except RegfsError:
            return "a manifest that is gone already"
        if isinstance(found, (ImageManifest, DockerManifest)):
            layers = len(found.layers)
            config = f"config {_short(found.config.digest)}"
            return f"image {digest.short}, {config}, {layers} layer{'s' * (layers != 1)}"
        if isinstance(found, (ImageIndex, DockerManifestList)):
            return f"index {digest.short} of {len(found.manifests)}"
        return f"manifest {digest.short}"

    def _sized(self, digest: str) -> str:
        size = self._size(digest)
        return self._blob(digest) + ("" if size is None else f", {human_size(size)}")

    def _size(self, digest: str) -> int | None:
        try:
            return self._registry.blob(Digest.parse(digest)).size
        except RegfsError:
            return None

    def _blob(self, digest: str) -> str:
        """Return what a blob is, as far as its first bytes show, with its short digest."""
        try:
            with self._registry.open_blob(Digest.parse(digest), 0, _PEEK) as file:
                begin = file.read(_PEEK)
        except (RegfsError, OSError):
            begin = b""
        kind = "blob"
        if begin.startswith(_PACKED) or begin[257:262] == b"ustar":
            kind = "layer"
        elif begin.startswith(b"{") and b'"rootfs"' in begin:
            kind = "config"
        return f"{kind} {_short(digest)}"


def _who(exchange: Exchange) -> str:
    """Return the program that asks, and its user."""
    program = exchange.user_agent.partition("/")[0].strip()[:40] or "somebody"
    program = "a browser" if program == "Mozilla" else program
    return f"{program} ({exchange.user})" if exchange.user else program


def _name(exchange: Exchange) -> str:
    if ":" not in exchange.reference:
        return f"{exchange.repository}:{exchange.reference}"
    return f"{exchange.repository}@{_short(exchange.reference)}"


def _path(exchange: Exchange) -> str:
    return without_userinfo(exchange.target).partition("?")[0][:200]


def _short(digest: str) -> str:
    return digest.partition(":")[2][:12] or digest[:40]
