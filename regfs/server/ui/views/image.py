"""One image, index or artifact in full: the report of `regfs show`, with its places on the disk."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Final, NamedTuple

from regfs import layout
from regfs.digest import Digest
from regfs.errors import ManifestTooLarge, RegfsError
from regfs.names import name_problem, tag_problem
from regfs.reports.history import BuildStep
from regfs.reports.image import Bounds, ListedEntry, Shown, ShownImage, ShownReferrer, show
from regfs.reports.images import Image as ListedImage
from regfs.reports.start import Config
from regfs.server.ui import addresses
from regfs.server.ui.snapshot import LARGEST
from regfs.server.ui.views.parts import (
    LISTED,
    DiskPath,
    Few,
    Hyperlink,
    Look,
    below,
    blob_path,
    image_link,
    level_of,
)
from regfs.server.ui.views.tag_history import HistoryRow, tag_history
from regfs.tree.registry import Target

USERS: Final = 8
"""Other images that are named for a layer; the rest are counted."""
RAW_SHOWN: Final = 65_536
"""Bytes of a manifest that the page shows."""
BAR: Final = 1000
"""Width of the bar of layers, in units."""
NARROWEST: Final = 3
"""Width of the smallest layer, in units, so that it stays visible."""
TAGS: Final = 20
"""Other tags that are named."""
PROBLEMS: Final = 20
"""Problems that are listed."""
_RUNNABLE: Final = frozenset({"image", "index", "schema1"})
NO_PLATFORM: Final = "unknown/unknown"
"""The platform of an attestation."""
_IMAGES: Final = frozenset({"image", "artifact", "schema1"})
"""Kinds of entries that are shown on the page of their index."""

Pairs = Few[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class EntryRow:
    """One entry of an index."""

    entry: ListedEntry
    href: str | None
    """None if it is missing."""
    chosen: bool


@dataclass(frozen=True, slots=True)
class Segment:
    """One layer in the bar."""

    x: int
    width: int
    number: int
    title: str
    level: int
    """By the number of images that have it: see `level_of`."""
    missing: bool


@dataclass(frozen=True, slots=True)
class StepRow:
    """One step of the history, with its layer if it has one."""

    step: BuildStep
    number: int | None
    """Number of the layer, from 1 at the base."""
    href: str
    files_href: str
    """What it does to files; empty if it has none."""
    share: float
    """Per cent of all layers."""
    level: int
    """By the number of images that have its layer: see `level_of`."""
    users: tuple[Hyperlink, ...]
    more: int
    """Number of users that are not named."""
    paths: tuple[DiskPath, ...]


@dataclass(frozen=True, slots=True)
class ImagePart:
    """One image of an index, or the manifest itself."""

    image: ShownImage
    config: Pairs
    environment: Few[str]
    labels: Pairs
    annotations: Pairs
    bar: tuple[Segment, ...]
    steps: Few[StepRow]
    files_href: str
    """Its files; empty if it has none."""
    config_href: str
    config_path: DiskPath | None


class NamedContent(NamedTuple):
    """Something that a manifest names."""

    digest: str
    what: str
    size: int | None
    """By the manifest; None if the graph does not keep it."""


@dataclass(frozen=True, slots=True)
class ReferrerRow:
    """A referrer of the image."""

    referrer: ShownReferrer
    href: str


@dataclass(frozen=True, slots=True)
class ImageView:
    """The view."""

    name: str
    repository_href: str
    tag: str | None
    digest: str
    title: str
    shown: Shown | None
    """None if the manifest cannot be read; `problems` say why."""
    tags: Few[Hyperlink]
    """Other tags that point to it."""
    subject: Hyperlink | None
    annotations: Pairs
    entries: Few[EntryRow]
    part: ImagePart | None
    named: Few[NamedContent] | None
    """What a manifest names that is too large to be parsed."""
    referrers: Few[ReferrerRow]
    history: Few[HistoryRow]
    problems: Few[str]
    raw: str
    raw_href: str
    raw_note: str
    paths: tuple[DiskPath, ...]
    reference: str
    """What a client is asked to pull, without the host; empty where no client can ask for it.

    It is copied into shells: a name that breaks the grammar may hold a command.
    """
    runs: bool
    """Whether a container can be started from it, so that `docker pull` is of use."""
    documents_href: str
    """Where it says what documents say about it; empty if there can be none."""
    removal_href: str
    """Where it says what removing the tag would free; empty without a tag."""


def image(look: Look, name: str, tag: str | None, digest: Digest, of: str = "") -> ImageView:
    """Return the view of the manifest that a repository has under a tag or digest.

    `of` is the entry of an index to show; by default the first image in it.
    """
    target = Target(name, tag, digest)
    shown, problems, named = _shown(look, target, digest, Digest(of or digest))
    chosen = shown.images[0] if shown and shown.images else None
    raw, note = _raw(look, digest)
    return ImageView(
        name=name,
        repository_href=addresses.of_repository(name),
        tag=tag,
        digest=digest,
        title=f"{name}:{tag}" if tag is not None else f"{name}@{digest.algorithm}:{digest.short}",
        shown=shown,
        tags=Few.of(list(_tags(look, digest, (name, tag))), TAGS),
        subject=_subject(look, name, shown),
        annotations=_sorted(shown.annotations if shown else {}),
        entries=_entries(look, name, tag, shown, chosen),
        part=_part(look, target, digest, chosen) if chosen else None,
        named=named,
        referrers=_referrers(name, shown),
        history=Few((), 0) if tag is None else tag_history(look, name, tag),
        # Images of one index share layers, and so their problems.
        problems=Few.of(list(dict.fromkeys(problems)), PROBLEMS),
        raw=raw,
        raw_href=addresses.of_raw(name, digest),
        raw_note=note,
        paths=tuple(_paths(look, name, tag, digest)),
        reference=_reference(name, tag, digest),
        runs=shown is not None and not problems and _runs(shown, chosen),
        documents_href=_documents(name, digest, shown),
        removal_href="" if tag is None or not look.everything else addresses.of_removal(name, tag),
    )


def _shown(
    look: Look, target: Target, digest: Digest, of: Digest
) -> tuple[Shown | None, Sequence[str], Few[NamedContent] | None]:
    """Return what is known of a manifest, what is wrong, and what it names if it is too large."""
    try:
        shown = _show(look, target, digest, of)
    except ManifestTooLarge:
        return None, (), _named_by(look, digest)
    except RegfsError as error:
        return None, (str(error),), None
    return shown, shown.problems, None


def _runs(shown: Shown, chosen: ShownImage | None) -> bool:
    """Return whether what a manifest leads to is an image, and no attestation or build cache."""
    if chosen is None or shown.kind not in _RUNNABLE:
        return False
    return not (chosen.artifact_type or chosen.build_cache or chosen.platform == NO_PLATFORM)


def _documents(name: str, digest: Digest, shown: Shown | None) -> str:
    if shown is None:
        return ""
    attested = any(one.kind == "attestation" for one in shown.entries)
    if attested or shown.referrers or shown.kind not in _RUNNABLE | {"build-cache", "unknown"}:
        return addresses.of_documents(name, digest)
    return ""


def _show(look: Look, target: Target, digest: Digest, only: Digest) -> Shown:
    has = partial(look.has, str(target.name))
    bounds = Bounds(look.images, has, LARGEST, only, attestations=False)
    return show(look.snapshot.graph, look.snapshot.registry, target, digest, bounds)


def _referrers(name: str, shown: Shown | None) -> Few[ReferrerRow]:
    referrers = shown.referrers if shown else ()
    return Few.of([ReferrerRow(one, addresses.of_manifest(name, one.digest)) for one in referrers])


def _reference(name: str, tag: str | None, digest: Digest) -> str:
    if name_problem(name) or (tag is not None and tag_problem(tag)):
        return ""
    return f"{name}@{digest}" if tag is None else f"{name}:{tag}"


def _sorted(notes: dict[str, str]) -> Pairs:
    return Few.of(sorted(notes.items()))


def _named_by(look: Look, digest: Digest) -> Few[NamedContent]:
    """Return what a manifest names according to the graph, without reading it."""
    graph = look.snapshot.graph
    children = graph.children(digest)
    count = len(children) + graph.manifests.leaf_count(digest)
    rows = chain(
        (NamedContent(child, "manifest", None) for child in children),
        (NamedContent(leaf.digest, leaf.role.value, leaf.size) for leaf in graph.leaves(digest)),
    )
    return Few(tuple(islice(rows, LISTED)), max(count - LISTED, 0))


def _tags(look: Look, digest: Digest, this: tuple[str, str | None]) -> Iterator[Hyperlink]:
    for name, repository in look.repositories.items():
        for tag, info in sorted(repository.tags.items()):
            if info.current == digest and (name, tag) != this:
                yield Hyperlink(f"{name}:{tag}", addresses.of_tag(name, tag))


def _subject(look: Look, name: str, shown: Shown | None) -> Hyperlink | None:
    if shown is None or shown.subject is None:
        return None
    is_here = look.has(name, Digest(shown.subject))
    href = addresses.of_manifest(name, shown.subject) if is_here else ""
    return Hyperlink(shown.subject, href)


def _entries(
    look: Look, name: str, tag: str | None, shown: Shown | None, chosen: ShownImage | None
) -> Few[EntryRow]:
    few = Few.of(shown.entries if shown else ())
    here = addresses.of_manifest(name, shown.digest) if shown else ""
    here = here if tag is None else addresses.of_tag(name, tag)
    rows = []
    for entry in few.shown:
        href: str | None = addresses.of_manifest(name, entry.digest)
        if entry.kind in ("missing", "unseen"):
            href = None
        elif entry.kind in _IMAGES:
            href = addresses.with_query(here, of=entry.digest)
        elif entry.digest not in look.snapshot.graph.manifests:
            href = addresses.of_blob(entry.digest)
        rows.append(EntryRow(entry, href, chosen is not None and chosen.digest == entry.digest))
    return Few(tuple(rows), few.omitted)


# -- one image --------------------------------------------------------------------


def _part(look: Look, target: Target, top: Digest, one: ShownImage) -> ImagePart:
    few = Few.of(one.steps)
    layers = {Digest(step.digest) for step in few.shown if step.digest}
    users = _users(look, target, top, layers)
    steps = tuple(_steps(look, str(target.name), one, few.shown, users))
    config = one.config
    return ImagePart(
        image=one,
        config=Few.of(list(_pairs(config)) if config else []),
        environment=Few.of(config.environment if config else ()),
        labels=_sorted(config.labels if config else {}),
        annotations=_sorted(one.annotations if one.digest != top else {}),
        bar=tuple(_bar(steps)),
        steps=Few(steps, few.omitted),
        files_href=_files(str(target.name), one),
        config_href=addresses.of_raw(str(target.name), config.digest) if config else "",
        config_path=DiskPath("config", blob_path(config.digest)) if config else None,
    )


def _users(
    look: Look, target: Target, top: Digest, layers: set[Digest]
) -> dict[Digest, list[ListedImage]]:
    """Return the other images that have each layer; "other" as in the report."""
    aliases = look.snapshot.graph.aliases
    stored = {one for layer in layers for one in (layer, *aliases.get(layer, ()))}
    found: dict[Digest, list[ListedImage]] = {}
    for image in look.images:
        common = stored.intersection(image.layers)
        if not common:
            continue
        this = top in (image.top, image.manifest)
        if this and target.tag is not None:
            this = (image.repository, image.tag) == (target.name, target.tag)
        if not this:
            for layer in common:
                found.setdefault(layer, []).append(image)
    return found


def _steps(
    look: Look,
    name: str,
    one: ShownImage,
    shown: Iterable[BuildStep],
    users: dict[Digest, list[ListedImage]],
) -> Iterator[StepRow]:
    total = sum(max(step.size, 0) for step in one.steps)
    blobs = look.snapshot.inventory.blobs
    number = 0
    for step in shown:
        if step.digest is None:
            yield StepRow(step, None, "", "", 0.0, 0, (), 0, ())
            continue
        number += 1
        digest = Digest(step.digest)
        aliases = look.snapshot.graph.aliases.get(digest, ())
        names = (each for each in (digest, *aliases) if each in blobs)
        stored = next((each for each in names if look.has(name, each)), digest)
        others = users.get(stored, [])
        yield StepRow(
            step=step,
            number=number,
            href=addresses.of_blob(stored) if look.has(name, stored) else "",
            files_href=_files(name, one, number - 1),
            share=100 * max(step.size, 0) / total if total else 0.0,
            level=level_of(step.images + 1),
            users=tuple(image_link(other) for other in others[:USERS]),
            more=max(len(others) - USERS, 0),
            paths=(
                DiskPath("blob", blob_path(stored)),
                DiskPath("link", below(layout.path_of(layout.LayerLink(name, digest))), digest),
            ),
        )


def _files(name: str, one: ShownImage, layer: int | None = None) -> str:
    """Return where the files of an image are shown, or what a layer does to them."""
    if one.build_cache or (one.artifact_type and one.config is None):
        return ""
    return addresses.of_files(name, Digest(one.digest), layer=layer)


def _bar(steps: Iterable[StepRow]) -> Iterator[Segment]:
    """Yield the layers side by side, each as wide as it is large, but never too narrow."""
    rows = [row for row in steps if row.number is not None]
    if not rows:
        return
    free = max(BAR - NARROWEST * len(rows), 0)
    whole = sum(max(row.step.size, 0) for row in rows) or 1
    x = 0.0
    for row in rows:
        width = NARROWEST + free * max(row.step.size, 0) / whole
        left, right = round(x), round(x + width)
        yield Segment(
            x=left,
            width=right - left,
            number=row.number or 0,
            title=row.step.instruction or row.step.media_type,
            level=row.level,
            missing=row.step.present is False and not row.step.elsewhere,
        )
        x += width


def _pairs(config: Config) -> Iterator[tuple[str, str]]:
    for name, value in (
        ("Entrypoint", _argv(config.entrypoint)),
        ("Command", _argv(config.command)),
        ("User", config.user),
        ("Folder", config.working_dir),
        ("Ports", ", ".join(config.ports)),
        ("Volumes", ", ".join(config.volumes)),
        ("Created", config.created or ""),
        ("Author", config.author),
        ("Build cache", "inline, in the config" if config.inline_cache else ""),
    ):
        if value:
            yield name, value


def _argv(words: tuple[str, ...]) -> str:
    """Return a command as the config has it."""
    return json.dumps(words, ensure_ascii=False) if words else ""


# -- where it lies -------------------------------------------------------------------


def _raw(look: Look, digest: Digest) -> tuple[str, str]:
    """Return a manifest as text, and how it was formatted."""
    try:
        data = look.snapshot.registry.manifest_bytes(digest)
    except RegfsError:
        return "", ""
    text = data[:RAW_SHOWN].decode("utf-8", "backslashreplace")
    if len(data) > RAW_SHOWN:
        return text, f"the first {RAW_SHOWN:,} of {len(data):,} bytes"
    if "\n" in text.strip():
        return text, "as it is stored"
    try:
        shown = json.dumps(json.loads(data), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text, "as it is stored"
    return shown, "indented here; it is stored on one line"


def _paths(look: Look, name: str, tag: str | None, digest: Digest) -> Iterator[DiskPath]:
    if tag is not None:
        yield DiskPath("tag", below(layout.path_of(layout.TagCurrent(name, tag))), digest)
    repository = look.snapshot.inventory.repositories[name]
    if digest in repository.revisions:
        path = layout.path_of(layout.RevisionLink(name, digest))
        yield DiskPath("revision", below(path), digest)
    yield DiskPath("manifest", blob_path(digest))
