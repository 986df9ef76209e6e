"""`waste` for people: how much is hidden, in which images, where, and by which instruction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from regfs.render.reports import line, percent, say, show_near_duplicates
from regfs.render.tables import plural, short, table
from regfs.units import human_duration, human_size

if TYPE_CHECKING:
    from rich.console import Console

    from regfs.reports.image_waste import ImageWaste, WastedPlace
    from regfs.reports.recompression import Recompression
    from regfs.reports.waste import Waste

_NAMES: Final = 3
"""Images that are named under one place."""
_WIDEST: Final = 120
"""Characters of a line that holds an instruction."""


def show_waste(report: Waste, console: Console) -> None:
    """Print `waste`."""
    if not report.images:
        named = report.unseen is None
        text = "There are no images with layers, so nothing is hidden in them."
        say(console, "None of these is an image with layers." if named else text)
        return
    _show_answer(report, console)
    say(console)
    _show_images(report, console)
    for place in report.places:
        say(console)
        _show_place(place, console, alone=report.images == 1)
    if report.places_omitted:
        say(console)
        say(console, f"and {plural(report.places_omitted, 'more place')}", "dim")
    for row in report.rows:
        _show_files(row, console)
    show_near_duplicates(report.near_duplicates, report.configs_unread, console)
    if report.recompression is not None:
        say(console)
        _show_recompression(report.recompression, console)


def _show_answer(report: Waste, console: Console) -> None:
    held = f"{plural(report.images, 'image')}, {plural(report.layers, 'layer')}"
    if not report.hidden:
        say(console, f"Nothing is hidden: {held}, {human_size(report.stored)} of files.", "bold")
        return
    say(
        console,
        f"{human_size(report.hidden)} of {human_size(report.stored)} in files are overwritten or "
        f"removed by later layers ({percent(report.hidden, report.stored)}): {held}.",
        "bold",
    )
    if report.unseen == report.hidden:
        say(console, "No image shows any of it.")
    elif report.unseen is not None:
        say(console, f"{human_size(report.unseen)} of it no image shows.")
    if report.images > 1:
        say(console, f"All images together carry {human_size(report.carried)} of it.")


def _show_images(report: Waste, console: Console) -> None:
    rows = [
        (
            row.image,
            f"{row.layers:,}",
            human_size(row.stored),
            human_size(row.hidden),
            "unknown" if row.efficiency is None else f"{row.efficiency:.4f}",
        )
        for row in report.rows
    ]
    console.print(table("", ["Image", ">Layers", ">Files", ">Hidden", ">Efficiency"], rows))
    if report.rows_omitted:
        say(console, f"and {plural(report.rows_omitted, 'more image')}", "dim")
    say(
        console,
        "files: bytes of the files in all layers, unpacked; hidden: of files that later layers "
        "overwrite or remove; efficiency: as dive computes it.",
        "dim",
    )


def _show_files(row: ImageWaste, console: Console) -> None:
    if not row.files:
        return
    rows = [
        (
            human_size(file.size),
            file.position,
            f"{'removed' if file.removed else 'overwritten'} by {file.hidden_at}",
            file.path,
        )
        for file in row.files
    ]
    say(console)
    console.print(table(f"Hidden in {row.image}", [">Size", ">Layer", "How", "File"], rows))
    if row.files_omitted:
        say(console, f"and {plural(row.files_omitted, 'more file')}", "dim")
    made = {file.position: file.made_by for file in row.files}
    made |= {file.hidden_at: file.hidden_by for file in row.files}
    for position, instruction in sorted(made.items()):
        if instruction:
            _line(console, f"layer {position}: {instruction}")


def _show_place(place: WastedPlace, console: Console, *, alone: bool) -> None:
    """Print a place; if one image is `alone`, without its name."""
    how = "removed" if place.removed else "overwritten"
    if 0 < place.removed < place.bytes:
        how = "removed or overwritten"
    if not alone:
        how += f" in {plural(place.images, 'image')}"
    layers = f"layer {short(place.layer)}"
    if place.layers > 1:
        layers = f"{plural(place.layers, 'layer')}, the largest {short(place.layer)}"
    size, files = human_size(place.bytes), plural(place.files, "file")
    say(console, f"{size} in {files} of /{place.folder}, {how}: {layers}", "bold")
    if place.made_by:
        _line(console, f"    made by    {place.made_by}")
    if place.hidden_by:
        _line(console, f"    hidden by  {place.hidden_by}")
    if place.files > 1:
        line(console, f"    largest    {place.largest}", "dim")
    if place.unseen is not None and place.unseen < place.bytes:
        seen = human_size(place.bytes - place.unseen)
        line(console, f"    other images show {seen} of it", "dim")
    if alone:
        return
    for name in place.used_by[:_NAMES]:
        line(console, f"    {name}")
    if place.images > _NAMES:
        line(console, f"    and {place.images - _NAMES:,} more", "dim")


def _line(console: Console, text: str) -> None:
    """Print a line with an instruction, cut to the terminal."""
    room = min(console.width, _WIDEST)
    line(console, text if len(text) <= room else f"{text[: room - 1]}…", "dim")


def _show_recompression(found: Recompression, console: Console) -> None:
    layers = f"{plural(found.layers, 'gzip layer')} ({human_size(found.bytes)})"
    if found.others:
        layers += f" beside {plural(found.others, 'other')}"
    if not found.levels:
        say(console, f"{layers}: nothing to compress with zstd.", "bold")
        return
    say(console, f"With zstd instead of gzip, of {layers}:", "bold")
    rows = [
        (
            one.level,
            human_size(one.bytes),
            f"{human_size(one.saved)} ({percent(one.saved, found.bytes)})",
            f"± {human_size(one.error)}" if one.error else "",
            f"{human_size(one.speed)}/s",
            human_duration(one.seconds),
        )
        for one in found.levels
    ]
    columns = [">Level", ">Size", ">Saved", "", ">Speed", ">Processor time"]
    console.print(table("", columns, rows))
    basis = "all of it was compressed"
    if not found.whole:
        basis = (
            f"an estimate by {plural(found.parts, 'part')} of layers, {human_size(found.sampled)} "
            "as stored, evenly spread over the bytes"
        )
    say(console, f"basis: {basis}; speed: of tar, on one processor of this machine.", "dim")
    if found.unread:
        say(console, f"{plural(found.unread, 'layer')} could not be read.", "yellow")
