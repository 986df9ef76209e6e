"""The larger reports for people; each function takes a report and a console.

A report is plain data, which `regfs.render.tables` turns into JSON. Here it becomes
sentences and tables: first the answer in words, then the figures.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from rich.text import Text

from regfs.names import natural, plainest
from regfs.render.gc import on_disk
from regfs.render.tables import plural, printable, short, table
from regfs.units import human_size

if TYPE_CHECKING:
    from rich.console import Console

    from regfs.render.grid import Grid
    from regfs.reports.disk import Disk
    from regfs.reports.lineage import Bases, Lineage
    from regfs.reports.near_duplicates import NearDuplicate
    from regfs.reports.removal import Removal
    from regfs.reports.reuse import Reuse, SharedLayer
    from regfs.reports.usage import Sum, Usage

NAMES: Final = 10
"""Names listed under one layer; the rest are only counted."""
_INSTRUCTION: Final = 120
"""Most characters that are shown of what made a layer."""


def say(
    console: Console, text: str = "", style: str = "", *, lead: str = "", widest: int | None = None
) -> None:
    """Print a sentence, wrapped to the terminal between words, without markup.

    What follows `lead` has a column of its own, or lines of its own if a word is too wide for it.
    Prose of several sentences has lines of at most `widest` columns, in a pipe too.
    """
    width = console.width if widest is None else min(console.width, widest)
    words = _QUANTITY.sub("\N{NO-BREAK SPACE}", printable(text))
    longest = max(map(len, words.split(" ")))
    indent = " " * len(lead)
    if lead and width - len(_LEFT) >= longest > width - len(lead):
        lead, indent = f"{lead.rstrip()}\n{_LEFT}", _LEFT
    lines = textwrap.wrap(
        words,
        max(width - len(indent), 20),
        break_long_words=False,
        break_on_hyphens=False,
    )
    whole = lead + f"\n{indent}".join(lines).replace("\N{NO-BREAK SPACE}", " ")
    console.print(Text(whole, style=style), soft_wrap=True)


_LEFT: Final = "    "
"""What stands before lines of their own."""
_QUANTITY: Final = re.compile(r"(?<=\d) (?=(?:[kMGTPE]?i?B|%)(?:\W|$))")
"""The space between a number and its unit, where no line ends."""


def line(console: Console, text: str, style: str = "") -> None:
    """Print a line that is never wrapped."""
    console.print(Text(printable(text), style=style), soft_wrap=True)


def lines(console: Console, texts: Iterable[str]) -> None:
    """Print many lines that are never wrapped; one by one, each would take rich 40 us."""
    if whole := "\n".join(map(printable, texts)):
        console.print(Text(whole), soft_wrap=True)


def percent(part: int, whole: int) -> str:
    """Return a share as `42%`."""
    return f"{100 * part / whole:.0f}%" if whole else "0%"


# -- du -----------------------------------------------------------------------

_HEADINGS: Final = {
    "repository": ("Repository", ">Tags"),
    "tag": ("Image", ">Tags"),
    "namespace": ("Namespace", ">Tags"),
    "media-type": ("/Media type", ">Uses"),
    "layer": ("=Layer", ">Uses"),
}


def show_usage(report: Usage, console: Console) -> None:
    """Print `du`."""
    name, uses = _HEADINGS[report.by.value]
    sizes = [">Stored", ">Unique", ">Shared", ">Apparent"]
    columns = [name, *([] if report.by.value == "tag" else [uses]), *sizes]
    if report.by.value == "layer":  # a layer is itself: nothing of it is in another row
        columns = [name, uses, ">Stored", ">Apparent"]
    rows = []
    for row in report.rows:
        label = short(row.digest) if row.digest else row.name or "(no namespace)"
        figures = [row.stored, row.unique, row.shared, row.apparent]
        cells: list[object] = [label, f"{row.uses:,}", *map(human_size, figures)]
        if report.by.value == "tag":
            del cells[1]
        if report.by.value == "layer":
            cells = [label, f"{row.uses:,}", human_size(row.stored), human_size(row.apparent)]
        rows.append(cells)
    console.print(table("", columns, rows))
    if report.omitted:
        say(console, f"and {plural(report.omitted, 'more row')}", "dim")
    say(console)
    _show_sum(report, console)
    if report.disk is not None:
        say(console)
        _show_disk(report.disk, console)


def _show_sum(report: Usage, console: Console) -> None:
    total = report.sum
    saved = total.apparent - total.stored
    say(
        console,
        f"{_counted(total)}: {human_size(total.stored)} stored in "
        f"{plural(total.blobs, 'blob')}; {human_size(total.apparent)} without sharing "
        f"({percent(saved, total.apparent)} saved).",
    )
    if report.disk is None:
        say(console, f"Nothing else needs {human_size(total.unique)} of that.")
    if report.by.value != "layer":
        say(
            console,
            "stored: bytes on disk, once; unique: only this row needs them; shared: other rows "
            "need them too; apparent: the size without sharing.",
            "dim",
        )
    if report.missing:
        known = sum(report.missing.values())
        size = f" ({human_size(known)} by their manifests)" if known else ""
        gone = plural(len(report.missing), "blob")
        say(console, f"Missing and not counted: {gone}{size}.", "yellow")


def _counted(total: Sum) -> str:
    tags = plural(total.tags, "tag")
    if not total.untagged:
        return tags
    places = plural(total.untagged, "repository", "repositories")
    return f"{tags}, and untagged manifests in {places}"


_DISK: Final = (
    ("images", "what images need"),
    ("doubtful", "blobs that an unreadable image may need"),
    ("unreferenced", "blobs that nothing needs"),
    ("uploads", "unfinished uploads"),
    ("links", "links of layers, manifests and tags"),
    ("quarantine", "what gc has moved away: `regfs gc purge` frees it"),
    ("own", "regfs's journals, ledger and locks"),
    ("other", "temporary and foreign files"),
    ("folders", "the folders themselves"),
    ("total", "everything"),
)


_SELDOM: Final = ("doubtful", "quarantine", "uploads", "own", "other")
"""Rows that are left out where there is nothing."""


def _show_disk(disk: Disk, console: Console) -> None:
    rows = []
    for name, meaning in _DISK:
        part = getattr(disk, name)
        blocks = "" if part.allocated is None else human_size(part.allocated)
        if part.files or name not in _SELDOM:
            rows.append((name, f"{part.files:,}", human_size(part.bytes), blocks, meaning))
    columns = ["On disk", ">Files", ">Bytes", ">Blocks", ""]
    console.print(table("", columns, rows))
    if disk.unlisted:
        say(console, f"{plural(disk.unlisted, 'path')} could not be listed.", "yellow")


def show_removal(report: Removal, console: Console) -> None:
    """Print `du --rm`."""
    asked = ", ".join(report.asked)
    say(
        console,
        f"{asked}: {human_size(report.holds.bytes)} in {plural(report.holds.blobs, 'blob')}",
    )
    say(
        console,
        f"Removing this frees {on_disk(report.freed.bytes, report.freed.allocated)}, "
        f"{plural(report.freed.blobs, 'blob')}, at the next `regfs gc run -m`.",
        "bold",
    )
    if report.freed != report.freed_by_default:
        say(
            console,
            f"A gc without --delete-untagged frees {human_size(report.freed_by_default.bytes)}: "
            "it keeps every manifest that was ever pushed.",
        )
    _show_keepers(report, console)
    for name in report.tagless:
        say(
            console,
            f"{name} will have no tags: gc prunes it only with --allow-tagless {name}.",
        )
    if report.frozen:
        names = ", ".join(report.frozen)
        say(
            console,
            f"These repositories are damaged, so gc keeps whatever they name: {names}",
            "yellow",
        )
    if report.incomplete:
        say(
            console,
            "gc frees no blob while parts of the tree cannot be read, or if no repository is left.",
            "yellow",
        )


def _show_keepers(report: Removal, console: Console) -> None:
    if not report.keepers:
        return
    say(console)
    say(console, f"The other {human_size(report.kept.bytes)} stay: they are needed by", "bold")
    rows = [(one.name, f"{one.blobs:,}", human_size(one.bytes)) for one in report.keepers]
    console.print(table("", ["Image", ">Blobs", ">Bytes"], rows))
    if report.keepers_omitted:
        say(console, f"and {plural(report.keepers_omitted, 'more image')}", "dim")


# -- reuse --------------------------------------------------------------------


def show_reuse(report: Reuse, console: Console) -> None:
    """Print `reuse`: the answer in words, then who shares what."""
    if not report.layers:
        say(console, "There are no images with layers, so there is nothing to share.")
        return
    shared = report.layers_shared
    verb = "is" if shared == 1 else "are"
    answer = (
        f"Yes: {shared:,} of {plural(report.layers, 'layer')} {verb} used by more than one image."
    )
    if not shared:
        answer = f"No: each of the {plural(report.layers, 'layer')} is used by only one image."
    say(console, answer, "bold")
    if shared:
        say(
            console,
            f"{plural(report.images, 'image')} take {human_size(report.stored)} of layers; "
            f"without sharing it would be {human_size(report.apparent)}: "
            f"{human_size(report.saved)} ({percent(report.saved, report.apparent)}) saved.",
        )
    for layer in report.shared:
        say(console)
        _show_shared(layer, console)
    if report.shared_omitted:
        say(console)
        say(console, f"and {plural(report.shared_omitted, 'more shared layer')}", "dim")
    _show_pairs(report, console)
    show_near_duplicates(report.near_duplicates, report.configs_unread, console)


def _show_shared(layer: SharedLayer, console: Console) -> None:
    stored = "stored once and used" if layer.present else "MISSING and used"
    places = plural(layer.repositories, "repository", "repositories")
    say(
        console,
        f"{short(layer.digest)} ({human_size(layer.size)}) is {stored} by "
        f"{plural(layer.images, 'image')} in {places}, which saves {human_size(layer.saved)}",
        "bold" if layer.present else "bold red",
    )
    if layer.instruction:
        made = layer.instruction
        room = max(min(console.width, _INSTRUCTION) - len("    made by "), _INSTRUCTION // 2)
        line(console, f"    made by {made if len(made) <= room else made[: room - 1] + '…'}", "dim")
    for name in layer.used_by[:NAMES]:
        line(console, f"    {name}")
    if len(layer.used_by) > NAMES:
        line(console, f"    and {len(layer.used_by) - NAMES:,} more", "dim")


def _show_pairs(report: Reuse, console: Console) -> None:
    names = report.compared
    if len(names) < 2 or not any(pair.bytes for pair in report.pairs):
        return
    say(console)
    say(console, "Bytes of layers that two images have in common", "bold")
    for with_names in (True, False):
        matrix = _matrix(report, with_names)
        if matrix.width <= console.width:
            for number, name in () if with_names else enumerate(names, 1):
                line(console, f"{number:>2}  {name}")
            console.print(matrix)
            return
    rows = [(one.first, one.second, human_size(one.bytes)) for one in report.pairs if one.bytes]
    console.print(table("", ["Image", "Image", ">Bytes"], rows))


def _matrix(report: Reuse, with_names: bool) -> Grid:
    names = report.compared
    common = {(pair.first, pair.second): pair.bytes for pair in report.pairs}
    rows = []
    for number, name in enumerate(names, 1):
        cells = [human_size(common[other, name]) for other in names[: number - 1]]
        gaps = [""] * (len(names) - number)
        rows.append((number, *([name] if with_names else []), *cells, *gaps))
    columns = [">#", *(["Image"] if with_names else []), *(f">{n}" for n in range(1, len(names)))]
    return table("", columns, rows)


def show_near_duplicates(
    duplicates: Sequence[NearDuplicate], unread: int, console: Console
) -> None:
    """Print which contents are stored several times; `unread` configs may have more."""
    if duplicates:
        wasted = sum(one.wasted for one in duplicates)
        contents = plural(len(duplicates), "content is", "contents are")
        say(console)
        say(
            console,
            f"{contents} stored more than once, packed differently ({human_size(wasted)} wasted):",
            "bold",
        )
    lines(console, map(_copies, duplicates))
    if unread:
        say(console, f"{plural(unread, 'config')} could not be read.", "yellow")


def _copies(one: NearDuplicate) -> str:
    copies = ", ".join(
        f"{short(copy.digest)} ({human_size(copy.size)}, {plural(copy.images, 'image')})"
        for copy in one.layers
    )
    return f"diffID {short(one.diff_id)}: {copies}"


# -- bases --------------------------------------------------------------------


def show_bases(report: Bases, console: Console) -> None:
    """Print `bases`: each image below the one it is built on."""
    if not report.images:
        say(console, "There are no images with layers.")
        return
    rows = [
        (f"{lead}{printable(one.image)}", own_part(one)) for lead, one in in_tree(report.images)
    ]
    width, room = max(len(label) for label, _ in rows), console.width
    if any(width + 2 + len(own) > room for _, own in rows):
        width = 0  # no room to align what follows
    fitting: list[str] = []
    for label, own in rows:
        if max(width, len(label)) + 2 + len(own) <= room:
            fitting.append(f"{label:<{width}}  {own}")
            continue
        lines(console, [*fitting, label])
        fitting = []
        lead = _BRANCH.match(label)
        say(console, own, lead=f"{lead[0] if lead else ''}".translate(_BELOW) + "      ")
    lines(console, fitting)
    away = [one for one in report.images if one.base_name and not one.bases]
    if away:
        say(console)
        bases = [(one.image, one.base_name, short(one.base_digest or "")) for one in away]
        say(console, "Built on images that have no tag in this registry", "bold")
        console.print(table("", ["Image", "Base", "=Digest"], bases))


_BRANCH: Final = re.compile(r"[ |`-]*")
_BELOW: Final = str.maketrans("`-", "  ")
"""What stands before an image in the tree -> what stands before a line below it."""


def own_part(one: Lineage) -> str:
    """Return what an image has beyond its base, in words."""
    if (first := first_of(one)) != one.image:
        return f"same layers as {printable(first)}"
    if one.squashed:
        own = f"{plural(one.layers, 'layer')}, {human_size(one.size)}"
        return f"squashed: shares no layer with {printable(one.bases[0])}; {own}"
    if one.bases:
        how = ", by annotation" if one.evidence == "annotation" else ""
        return f"+ {plural(one.own_layers, 'layer')}, {human_size(one.own_bytes)}{how}"
    return f"{plural(one.layers, 'layer')}, {human_size(one.size)}"


def first_of(one: Lineage) -> str:
    """Return the name that represents all images with the same layers."""
    return min((one.image, *one.aliases), key=plainest)


def _place(one: Lineage) -> tuple[object, ...]:
    """Return the key that sorts images: those with the same layers together, by version."""
    first = first_of(one)
    return natural(first), one.image != first, natural(one.image)


_Groups = dict[str, list["Lineage"]]


def _groups(images: Sequence[Lineage]) -> _Groups:
    """Return the images built directly on each image; the empty name has those without a base."""
    groups: _Groups = {}
    for one in sorted(images, key=_place):
        groups.setdefault(one.bases[0] if one.bases else "", []).append(one)
    return groups


def in_tree(images: Sequence[Lineage]) -> Iterator[tuple[str, Lineage]]:
    """Yield each image, followed by those built on it, to any depth.

    With each comes the branch that leads to it in a drawing: three characters for each level.
    """
    groups = _groups(images)
    seen: set[str] = set()
    # Images whose annotations form a circle have no root: each circle starts a tree.
    starts = [*groups.get("", []), *images]
    for start in starts:
        pending = [(start, "", "")]
        while pending:
            one, lead, indent = pending.pop()
            if one.image in seen:
                continue
            seen.add(one.image)
            yield lead, one
            below = [child for child in groups.get(one.image, []) if child.image not in seen]
            for child in reversed(below):
                last = child is below[-1]
                branch = f"{indent}{'`- ' if last else '|- '}"
                pending.append((child, branch, f"{indent}{'   ' if last else '|  '}"))
