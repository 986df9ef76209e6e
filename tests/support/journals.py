"""Journals of runs, written and changed by hand: whole, as they would have been written.

write_journal(tree, run, {"move": ..}, ..)              a journal with these lines
write_journal(tree, run, .., checked=False)             .. as versions before the check wrote
rewrite_journal(tree, run, lambda lines: ..)            the same run, with other lines
damage_journal(tree, run, lambda lines: ..)             .. of raw bytes, as they come
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

from regfs.runs.lines import Line, Lines, empty, read
from tests.support.builder import TreeBuilder


def journal_file(tree: TreeBuilder, run: str) -> Path:
    return tree.root / ".regfs/runs" / run / "journal.jsonl"


def only_run(tree: TreeBuilder) -> str:
    (folder,) = (tree.root / ".regfs/runs").iterdir()
    return folder.name


def read_lines(tree: TreeBuilder, run: str) -> list[Line]:
    found = read(run, journal_file(tree, run).read_bytes())
    assert found.damage is None
    return found.lines


def write_journal(
    tree: TreeBuilder, run: str, *lines: Mapping[str, object], checked: bool = True
) -> Path:
    """Write the journal of a run; its head is added if it has none. Return the run's folder."""
    head = [] if lines and "run" in lines[0] else [{"run": run}]
    path = journal_file(tree, run)
    path.parent.mkdir(parents=True, exist_ok=True)
    if checked:
        file = BytesIO()
        Lines(file, empty(run)).write_all([*head, *lines])
        path.write_bytes(file.getvalue())
    else:
        path.write_text("".join(json.dumps(line) + "\n" for line in [*head, *lines]))
    return path.parent


def rewrite_journal(
    tree: TreeBuilder, run: str, change: Callable[[list[Line]], list[Line]]
) -> None:
    write_journal(tree, run, *change(read_lines(tree, run)))


def damage_journal(
    tree: TreeBuilder, run: str, change: Callable[[list[bytes]], list[bytes]]
) -> None:
    """Change the raw lines of a journal, each with its newline."""
    path = journal_file(tree, run)
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
