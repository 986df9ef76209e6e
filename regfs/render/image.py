"""`show` and `why` for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from regfs.render.reports import line, say
from regfs.render.tables import plural, printable, short, table
from regfs.reports.instructions import keyword
from regfs.units import human_size, rfc3339

if TYPE_CHECKING:
    from rich.console import Console

    from regfs.reports.blob import ShownPart
    from regfs.reports.history import BuildStep
    from regfs.reports.image import ListedEntry, Shown, ShownImage, ShownReferrer
    from regfs.reports.paths import NeededBy, PathNode, Reasons
    from regfs.reports.start import Config


def show_image(report: Shown, console: Console) -> None:
    """Print `show`."""
    line(console, report.reference, "bold")
    _pairs(console, _head(report))
    _notes(console, "annotations", report.annotations)
    if report.entries:
        _show_entries(report.entries, console)
    for image in report.images:
        say(console)
        _show_one(image, report, console)
    if report.referrers:
        _show_referrers(report.referrers, console)
    if report.attestations:
        from regfs.render.attestations import show_attestations  # `why` does without

        say(console)
        say(console, "Attestations", "bold")
        show_attestations(report.attestations, console)
    if report.paths:
        say(console)
        say(console, "On disk, below the root", "bold")
    for one in report.paths:
        state = "" if one.state == "there" else f"  ({one.state})"
        line(console, f"  {one.what:<12} {printable(one.path)}{state}")


def _show_entries(entries: tuple[ListedEntry, ...], console: Console) -> None:
    rows = [
        (one.kind, short(one.digest), human_size(one.size), one.platform, _entry_note(one.about))
        for one in entries
    ]
    say(console)
    console.print(table("", ["=Entry", "=Digest", ">Bytes", "Platform", ""], rows))


def _show_referrers(referrers: tuple[ShownReferrer, ...], console: Console) -> None:
    rows = [
        (short(one.digest), human_size(one.size), one.artifact_type or "", ", ".join(one.tags))
        for one in referrers
    ]
    say(console)
    say(console, "Referrers", "bold")
    console.print(table("", ["=Digest", ">Bytes", "What it is", "Tags"], rows))


def show_part(report: ShownPart, console: Console) -> None:
    """Print `show` of a blob that is no manifest."""
    digest = short(report.digest)
    what = f"{report.role or 'blob'} ({report.media_type or report.content})"
    places = plural(report.repositories, "repository", "repositories")
    where = f"{plural(report.tag_count, 'tag')} in {places}"
    more = ", ..." if report.tag_count > len(report.tags) else ""
    line(console, report.reference, "bold")
    pairs = [
        ("digest", report.digest),
        ("kind", f"{what}; not a manifest" if report.role else f"{what}; no manifest names it"),
        ("size", f"{human_size(report.size)}, {report.content}"),
        ("path", report.path),
        ("needed by", f"{where}: {', '.join(report.tags)}{more}" if report.tags else "no tag"),
    ]
    _pairs(console, iter(pairs))
    say(console)
    say(console, f"Who needs it: regfs why {digest}")
    pipe = {"gzip": " | tar tzv", "zstd": " | zstd -d | tar tv", "tar": " | tar tv"}
    say(console, f"Its bytes:    regfs cat {digest}{pipe.get(report.content, '')}")


def _head(report: Shown) -> Iterator[tuple[str, str]]:
    yield "digest", report.digest
    yield "kind", f"{_kind(report)} ({report.media_type or 'not known'})"
    yield "pushed", rfc3339(report.pushed)
    others = [name for name in report.tags if name != report.reference]
    if others:
        yield "also tagged", ", ".join(others[:10]) + (" ..." if len(others) > 10 else "")
    if report.subject:
        yield "about", report.subject
    if report.cache is not None:
        from regfs.render.builder import cache_words

        yield "cache", cache_words(report.cache)


def _kind(report: Shown) -> str:
    kinds = [one.kind for one in report.entries]
    if kinds and set(kinds) <= {"image", "attestation"} and kinds.count("image") == 1:
        beside = plural(len(kinds) - 1, "attestation")
        return f"index of one image and {beside}" if len(kinds) > 1 else "index of one image"
    return _KINDS.get(report.kind, report.kind)


_KINDS = {
    "index": "index of several manifests",
    "schema1": "image in Docker's first format",
    "build-cache": "build cache of BuildKit: no container can run it",
    "unknown": "not known to regfs",
    "signature": "signature, made by cosign",
    "attestation": "attestation, made by cosign",
    "SBOM": "SBOM, attached by cosign",
    "referrers": "list of referrers, under a fallback tag",
}


def _entry_note(about: str | None) -> str:
    return f"about {short(about)}" if about else ""


def _show_one(image: ShownImage, report: Shown, console: Console) -> None:
    if image.digest != report.digest:
        line(console, f"{image.platform or 'image'} {short(image.digest)}", "bold")
        _notes(console, "annotations", image.annotations)
    _pairs(console, _image_pairs(image))
    if image.config is not None:
        _notes(console, "labels", image.config.labels)
    if image.steps:
        say(console)
        rows = list(_step_rows(image.steps))
        heading = "Blob" if image.config is None else "Instruction"
        columns = ["=Layer", ">Bytes", ">Other images", f"~{heading}"]
        console.print(table("", columns, rows))


def _image_pairs(image: ShownImage) -> Iterator[tuple[str, str]]:
    shared = f", {human_size(image.shared)} of it shared with other images" if image.shared else ""
    yield "size", f"{human_size(image.size)}{shared}"
    if image.platform:
        yield "platform", image.platform
    if image.artifact_type and not image.build_cache:
        yield "artifact", image.artifact_type
    if image.config is not None:
        yield from _config_pairs(image.config)
    if image.built is not None:
        from regfs.render.builder import built_pairs

        yield from built_pairs(image.built)


def _config_pairs(config: Config) -> Iterator[tuple[str, str]]:
    for name, value in (
        ("created", config.created),
        ("author", config.author),
        ("user", config.user),
        ("folder", config.working_dir),
        ("entrypoint", " ".join(config.entrypoint)),
        ("command", " ".join(config.command)),
        ("ports", ", ".join(config.ports)),
        ("volumes", ", ".join(config.volumes)),
    ):
        if value:
            yield name, value
    for variable in config.environment:
        yield "env", variable
    if config.inline_cache:
        yield "build cache", "BuildKit's inline cache is in the config"


def _step_rows(steps: Sequence[BuildStep]) -> Iterator[tuple[str, ...]]:
    """Yield the row of each step; steps that share a layer stand below what they are together."""
    together: list[BuildStep] = []
    for step in steps:
        if step.folded_into:
            together.append(step)
            continue
        if not together:
            yield _step_row(step)
            continue
        together.append(step)
        words = "; ".join(keyword(one.instruction) for one in together)
        *figures, _ = _step_row(step)
        yield *figures, f"{words}, {len(together)} steps in 1 layer"
        yield from (("", "", "", f"  {one.instruction}") for one in together)
        together = []


def _step_row(step: BuildStep) -> tuple[str, ...]:
    if step.digest is None:
        return "-", "", "", step.instruction
    size = human_size(step.size) if step.size >= 0 else "?"
    others = f"{step.images:,}" if step.images else "-"
    note = " (empty layer)" if step.empty else ""
    text = f"{step.instruction or step.media_type}{note}"
    if step.elsewhere:
        others = "elsewhere"
    elif not step.present:
        others = "UNREADABLE" if step.present is None else "MISSING"
    return short(step.digest), size, others, text


def _pairs(console: Console, pairs: Iterator[tuple[str, str]]) -> None:
    for name, value in pairs:
        say(console, value, lead=f"  {name:<12} ")


def _notes(console: Console, title: str, notes: Mapping[str, str]) -> None:
    if notes:
        line(console, f"  {title}")
        for key, value in sorted(notes.items()):
            line(console, f"    {key} = {value}")


def show_reasons(report: Reasons, console: Console, limit: int, *, paths: bool = False) -> None:
    """Print `why`: who needs it, up to `limit` lines each; with `paths` every path as well."""
    if report.size is None:
        known = "its place cannot be read" if report.unseen else "it is not stored"
        line(console, f"{report.digest} is referred to, but {known}", "bold yellow")
    else:
        say(console, f"{report.digest} ({human_size(report.size)})", "bold")
    _show_needs(report, console, limit)
    for path in report.paths if paths else ():
        say(console)
        _show_path(path, console)
    if report.doubtful:
        say(
            console,
            "Nothing readable leads to it, but an unreadable image may need it, so gc keeps it. "
            "`regfs verify` shows what is damaged.",
            "yellow",
        )
    elif not report.paths:
        say(console, "Nothing keeps it: no tag and no manifest of any repository leads to it.")
    if report.more and paths:
        say(console, "There are more paths: raise --top.", "dim")
    if report.layer_links:
        links = ", ".join(report.layer_links[:10])
        more = f" and {len(report.layer_links) - 10} more" if len(report.layer_links) > 10 else ""
        say(console)
        say(console, f"Layer links to it: {links}{more}")


def _show_needs(report: Reasons, console: Console, limit: int) -> None:
    tags = [one for one in report.needed_by if one.tag is not None]
    others = [one for one in report.needed_by if one.tag is None]
    if tags:
        say(console, f"needed by {plural(len(tags), 'tag')} in {_places(tags)}", "bold")
        _show_users(tags, console, limit)
    if others:
        and_ = "and " if tags else "needed "
        manifests = plural(len(others), "untagged manifest")
        say(console, f"{and_}by {manifests} in {_places(others)}", "bold")
        _show_users(others, console, limit)


def _places(needs: list[NeededBy]) -> str:
    return plural(len({one.repository for one in needs}), "repository", "repositories")


def _show_users(needs: list[NeededBy], console: Console, limit: int) -> None:
    rows = [
        (
            one.name if one.tag else f"{one.repository}@{short(one.name.rpartition('@')[2])}",
            ", ".join(map(short, one.through)) or "itself",
            "" if one.role in ("current", "content") else one.role,
        )
        for one in needs[:limit]
    ]
    console.print(table("", ["=Image", "Through", "As"], rows))
    if len(needs) > limit:
        say(console, f"and {len(needs) - limit:,} more: raise --top", "dim")


def _show_path(path: tuple[PathNode, ...], console: Console) -> None:
    # A revision and its manifest have the same digest; print it once.
    shown = [step for step in path if step.edge != "content"]
    for depth, step in enumerate(shown):
        edge = f"{step.edge} " if step.edge else ""
        label = short(step.name) if step.kind in ("manifest", "blob", "revision") else step.name
        line(console, f"{'   ' * depth}{edge}{label}")
