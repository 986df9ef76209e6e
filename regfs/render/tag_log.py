"""`log` for people: one row for each digest that a tag pointed to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from regfs.render.tables import plural, printable, short, table
from regfs.units import human_size

if TYPE_CHECKING:
    from rich.console import Console

    from regfs.reports.tag_log import LayerSize, LogEntry, TagLog


def show_tag_log(report: TagLog, console: Console, *, verbose: int) -> None:
    """Print what tags pointed to, newest first; with -v each layer that came or went."""
    if not report.entries:
        console.print("No tag, and no history.")
        return
    several = len({one.tag for one in report.entries}) > 1
    rows = [
        (
            one.set_at,
            *([one.tag] if several else []),
            one.digest if verbose else short(one.digest),
            _state(one),
            "" if one.size is None else human_size(one.size),
            _change(one),
        )
        for one in report.entries
    ]
    tag = ["Tag"] if several else []
    columns = ["=Set", *tag, "=Digest", "State", ">Size", "Since the one before"]
    console.print(table("", columns, rows))
    for one in report.entries if verbose else ():
        _show_layers(one, console)


def _state(one: LogEntry) -> str:
    if not one.current:
        return one.state
    return "current" if one.state == "whole" else f"current, {one.state}"


def _change(one: LogEntry) -> str:
    if one.before is None:
        return ""
    parts = [_amount("+", one.added), _amount("-", one.removed)]
    return ", ".join(part for part in parts if part) or "same layers"


def _amount(sign: str, layers: tuple[LayerSize, ...]) -> str:
    if not layers:
        return ""
    size = sum(max(layer.size, 0) for layer in layers)
    return f"{sign}{plural(len(layers), 'layer')} ({human_size(size)})"


def _show_layers(one: LogEntry, console: Console) -> None:
    lines = [f"{sign} {layer.digest}  {human_size(max(layer.size, 0))}"
             for sign, layers in (("+", one.added), ("-", one.removed))
             for layer in layers]  # fmt: skip
    if one.problem is not None:
        lines.insert(0, f"! {one.problem}")
    if lines:
        console.print(Text(f"{one.tag}@{one.digest}"), soft_wrap=True)
        for line in lines:
            console.print(Text(f"  {printable(line)}"), soft_wrap=True)
