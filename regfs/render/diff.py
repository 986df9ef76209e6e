"""`diff` for people: only what differs, before and after, in the order of a patch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from regfs.content.entries import EntryKind
from regfs.files.difference import FileFate
from regfs.render.reports import line, lines, say
from regfs.render.tables import plural, short, table
from regfs.reports.diff_layers import LayerFate
from regfs.units import human_size

if TYPE_CHECKING:
    from rich.console import Console

    from regfs.content.packages import PackageChange
    from regfs.files.difference import FileDelta, FileDifference
    from regfs.reports.diff import DiffReport, ImageDifference
    from regfs.reports.diff_config import FieldChange
    from regfs.reports.diff_layers import LayerChange

_SIGNS: Final = {FileFate.ADDED: "+", FileFate.REMOVED: "-", FileFate.CHANGED: "~"}
_LONGEST: Final = 200
_LONGEST_CELL: Final = 60
"""Characters of a value, and of one in a table, that are shown; JSON has all of them."""
_MOST: Final = 200
"""Values of one config that are shown."""


def show_difference(report: DiffReport, console: Console, *, top: int, verbose: int) -> None:
    """Print `diff`; `top` is how many files and packages are listed."""
    for sign, side in (("-", report.before), ("+", report.after)):
        # What is named by its digest has no other name; it is not told twice.
        name, at, _ = side.reference.partition("@")
        name = "" if side.reference == side.digest else f"{name}@" if at else f"{name}  "
        line(console, f"{sign} {name}{short(side.digest)}, {side.kind}", "bold")
    if report.same:
        say(console, "They are the same.")
        return
    _show_fields(report.fields, console)
    for sign, platforms in (("-", report.only_before), ("+", report.only_after)):
        for name in platforms:
            line(console, f"{sign} platform      {name or 'none'}")
    if report.unchanged:
        say(console)
        say(console, f"The same image for {', '.join(filter(None, report.unchanged)) or 'both'}.")
    several = len(report.images) + len(report.unchanged) > 1
    for image in report.images:
        _show_image(image, console, top=top, verbose=verbose, named=several)


def show_names(report: DiffReport, console: Console) -> None:
    """Print the paths of files that differ for any platform, a line each."""
    found = [one.files.changes for one in report.images if one.files is not None]
    paths = dict.fromkeys(change.path for changes in found for change in changes)
    lines(console, (f"/{path}" for path in paths))


def _show_image(
    image: ImageDifference, console: Console, *, top: int, verbose: int, named: bool
) -> None:
    if named:
        say(console)
        line(console, image.platform or "no platform", "bold")
    if image.layers:
        _show_layers(image, console, verbose=verbose)
    _show_fields(image.fields, console, "Config")
    if image.files is not None:
        _show_packages(image.files.packages, console, top)
        _show_files(image.files, console, top)


# -- layers -------------------------------------------------------------------------------


def _show_layers(image: ImageDifference, console: Console, *, verbose: int) -> None:
    say(console)
    sizes = f"{human_size(image.size_before)} -> {human_size(image.size_after)}"
    shared = [one for one in image.layers if one.change is LayerFate.SHARED]
    pairs = ((one.before, one.after) for one in shared if one.before and one.after)
    once = {old.digest: max(old.size, new.size, 0) for old, new in pairs}
    count = f"{plural(len(shared), 'layer')} ({human_size(sum(once.values()))})"
    say(console, f"Layers: {sizes}; {count if shared else 'none'} shared", "bold")
    rows = [
        row
        for one in image.layers
        if verbose or one.change is not LayerFate.SHARED
        for row in _layer_rows(one)
    ]
    if rows:
        console.print(table("", ["=", "=Layer", ">Bytes", "~Instruction"], rows))


def _layer_rows(change: LayerChange) -> Iterator[tuple[str, str, str, str]]:
    old, new = change.before, change.after
    for sign, layer in (("-", old), ("+", new)):
        if layer is None or (layer is old and change.change in (LayerFate.SHARED, LayerFate.MOVED)):
            continue
        text = layer.instruction or layer.media_type
        if change.change is LayerFate.REPACKED:
            text = f"{text} (packed anew)" if sign == "-" else f"{text} (the same content)"
        elif change.change is LayerFate.MOVED:
            sign, text = "~", f"{text} (moved)"
        elif change.change is LayerFate.SHARED:
            sign = "="
        yield sign, short(layer.digest), human_size(layer.size) if layer.size >= 0 else "?", text


# -- manifest and config -------------------------------------------------------------------

_FIELDS: Final = {
    "media_type": "media type",
    "artifact_type": "artifact",
    "os_version": "OS version",
    "working_dir": "folder",
    "environment": "env",
    "stop_signal": "stop signal",
    "on_build": "on build",
    "set_times": "times set",
    "step_created": "step times",
    "step_author": "step authors",
    "step_comment": "step notes",
}
_DIGESTS: Final = frozenset({"attestation", "entry", "config", "subject"})


def _show_fields(fields: Sequence[FieldChange], console: Console, title: str = "") -> None:
    if not fields:
        return
    say(console)
    if title:
        say(console, title, "bold")
    for one in fields[:_MOST]:
        name = _FIELDS.get(one.field, one.field)
        for sign, value in (("-", one.before), ("+", one.after)):
            if value is not None:
                say(console, _shown(one, value), lead=f"{sign} {name:<12} ")

    if len(fields) > _MOST:
        say(console, f"and {len(fields) - _MOST:,} more: --json has all", "dim")


def _shown(change: FieldChange, value: str) -> str:
    if change.field in _DIGESTS:
        value = ", ".join(map(short, value.split(", ")))
    if len(value) > _LONGEST:
        value = f"{value[:_LONGEST]}... ({len(value):,} characters)"
    if not change.key:
        return value
    if change.field in ("port", "volume") and not value:
        return change.key
    if change.field.startswith("step_"):
        return f"{value} ({change.key})"
    return f"{change.key}={value}" if change.field == "environment" else f"{change.key} = {value}"


# -- packages and files --------------------------------------------------------------------


def _show_packages(packages: Sequence[PackageChange], console: Console, top: int) -> None:
    if not packages:
        return
    say(console)
    say(console, f"Packages: {_counts(one.change for one in packages)}", "bold")
    rows = [
        (one.change, *(_cut(text or "") for text in (one.name, one.before, one.after)), one.family)
        for one in packages[:top]
    ]
    console.print(table("", ["=", "Package", "Before", "After", "="], rows))
    _show_rest(len(packages) - top, console)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]}..."


def _counts(changes: Iterable[str]) -> str:
    counts: dict[str, int] = {}
    for one in changes:
        counts[one] = counts.get(one, 0) + 1
    return ", ".join(f"{count:,} {change}" for change, count in sorted(counts.items()))


def _show_files(files: FileDifference, console: Console, top: int) -> None:
    say(console)
    changes = files.changes
    if not changes:
        same = "the same; --times compares their times too"
        say(console, f"Files: {'not all could be read' if files.problems else same}", "bold")
        return
    parts = []
    for fate in FileFate:
        some = [one for one in changes if one.change is fate]
        if some:
            size = sum(one.after - one.before for one in some)
            parts.append(f"{len(some):,} {fate} ({'+' if size > 0 else ''}{human_size(size)})")
    say(console, f"Files: {', '.join(parts)}", "bold")
    largest = sorted(changes, key=lambda one: -max(one.before, one.after))[:top]
    shown = sorted(largest, key=lambda one: one.path.split("/"))
    rows = [
        (_SIGNS[one.change], _size(one.before, one, FileFate.ADDED),
         _size(one.after, one, FileFate.REMOVED), _path(one), ", ".join(one.what))
        for one in shown
    ]  # fmt: skip
    console.print(table("", ["=", ">Before", ">After", "Path", "What"], rows))
    _show_rest(len(changes) - top, console)


def _size(size: int, change: FileDelta, absent: FileFate) -> str:
    return "" if change.change is absent or change.kind is not EntryKind.FILE else human_size(size)


def _path(change: FileDelta) -> str:
    is_folder = change.kind is EntryKind.FOLDER and bool(change.path)
    return f"/{change.path}{'/' if is_folder else ''}"


def _show_rest(count: int, console: Console) -> None:
    if count > 0:
        say(console, f"and {count:,} more: raise --top, or --name-only", "dim")
