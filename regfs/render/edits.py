"""Edits for people: what was removed, created and kept, what that frees, and how to undo it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from rich.text import Text

from regfs import layout
from regfs.digest import Digest
from regfs.render.gc import in_words
from regfs.render.tables import plural, printable
from regfs.runs import RunKind
from regfs.runs.totals import ActionKind, sum_up
from regfs.units import human_size

if TYPE_CHECKING:
    from rich.console import Console

    from regfs.edits.edit import Created, Edited
    from regfs.gc.actions import Action

SHOWN: Final = 20
"""Lines of a long list that are shown without -v."""


def show_edited(
    out: Console, done: Edited, *, dry_run: bool, verbose: int, undo: str, collect: str
) -> None:
    """Print what an edit did, or would do; `undo` and `collect` are the commands to do that.

    An empty `undo` is not printed: what follows says how.
    """
    if done.renamed:
        words = _counted(one.kind for one in done.removed)
        did = _WOULD_MOVE if dry_run else _MOVED
        lines = [f"{did}: {one.name} -> {one.new}" for one in done.renamed]
        lines[-1:] = [f"{lines[-1]} ({words})"] if len(lines) == 1 else [lines[-1], words]
    else:
        lines = [f"{_WOULD if dry_run else _DID}: {one}" for one in _removed(done.removed)]
        lines += _created(done.created, dry_run=dry_run)
    _say_all(out, lines, verbose)
    _say_all(out, [f"Kept: {one.what}: {one.reason}" for one in done.kept], verbose)
    _say_all(out, [f"Kept: {one.path}: {one.reason}" for one in done.skipped], verbose)
    if done.returned:
        totals = sum_up((one.kind, one.size) for one in done.returned)
        _say(out, f"In use again, and put back: {in_words(totals)}")
    if not (done.removed or done.created or done.kept or done.skipped):
        _say(out, "Nothing to do.")
    if done.removed and done.collected is None:
        _say_freed(out, done, collect)
    moved = done.transferred
    if moved is not None and moved.blobs:
        did = "Would copy" if dry_run else "Copied"
        shared = f", {moved.shared} of them as clones or hard links" if moved.shared else ""
        size = f"{plural(moved.blobs, 'blob')}, {human_size(moved.bytes)}"
        _say(out, f"{did} into {done.root}: {size}{shared}")
    if done.run is not None and undo:
        _say(out, f"Undo: {undo}")


def _say_freed(out: Console, done: Edited, collect: str) -> None:
    """Print what a collection frees because of an edit, unless that is no question."""
    if done.frees is None:
        return
    if done.kind is RunKind.UNTAG:
        _say(out, f"Frees nothing now; manifests without a tag are deleted with: {collect} -m")
    elif not done.frees.is_certain:
        _say(
            out,
            "Frees nothing: gc deletes no content while a part of the tree cannot be read, or if "
            "no repository is left",
        )
    elif not done.frees.blobs:
        _say(out, "Frees nothing: what it needs, other images need too")
    else:
        size, blobs = human_size(done.frees.bytes), plural(done.frees.blobs, "blob")
        _say(out, f"Frees nothing now; {size} ({blobs}) with: {collect}")


_DID: Final = "Removed"
_WOULD: Final = "Would remove"
_SET: Final = "Set"
_WOULD_SET: Final = "Would set"
_NAMED: Final = frozenset({ActionKind.TAG, ActionKind.REVISION})
"""What has a line of its own when it is removed."""
_CONTENT: Final = frozenset({ActionKind.REVISION, ActionKind.LAYER_LINK})
_LINKED: Final = "Linked"
_WOULD_LINK: Final = "Would link"
_MOVED: Final = "Moved"
_WOULD_MOVE: Final = "Would move"
_NOUNS: Final = {
    ActionKind.TAG: ("tag", "tags"),
    ActionKind.TAG_INDEX: ("entry of a tag's history", "entries of the histories of tags"),
    ActionKind.REVISION: ("manifest", "manifests"),
    ActionKind.LAYER_LINK: ("layer link", "layer links"),
    ActionKind.UPLOAD: ("upload", "uploads"),
}


def _counted(kinds: Iterable[ActionKind]) -> str:
    """Return how many there are of each kind: `1 manifest, 4 layer links`."""
    counts = Counter(kinds)
    return ", ".join(plural(counts[kind], *_NOUNS[kind]) for kind in _NOUNS if counts[kind])


def _created(links: Sequence[Created], *, dry_run: bool) -> list[str]:
    """Return a line for each tag, and one for all that is counted only."""
    lines = []
    for one in links:
        if one.kind is ActionKind.TAG:
            key = layout.key_of(one.path)
            tag = key.tag if isinstance(key, layout.TagCurrent) else ""
            did = _WOULD_SET if dry_run else _SET
            lines.append(f"{did}: {one.repository}:{tag} -> {Digest(one.digest).short}")
    if rest := _counted(one.kind for one in links if one.kind in _CONTENT):
        lines.append(f"{_WOULD_LINK if dry_run else _LINKED}: {rest}")
    return lines


def _removed(actions: Sequence[Action]) -> list[str]:
    """Return a line for each tag and manifest, and one for all that is counted only."""
    lines = []
    for one in actions:
        if one.kind is ActionKind.TAG:
            to = f" -> {Digest(one.digest).short}" if one.digest else ""
            lines.append(f"{one.repository}:{layout.name_of(one.path)}{to}")
        elif one.kind is ActionKind.REVISION and one.digest is not None:
            lines.append(f"{one.repository}@{Digest(one.digest).short}")
    rest = _counted(one.kind for one in actions if one.kind not in _NAMED)
    return [*lines, rest] if rest else lines


def _say_all(out: Console, lines: Sequence[str], verbose: int) -> None:
    shown = lines if verbose else lines[:SHOWN]
    for line in shown:
        _say(out, line)
    if len(shown) < len(lines):
        _say(out, f"... and {len(lines) - len(shown)} more (-v shows all)")


def _say(out: Console, text: str) -> None:
    """Print a line without folding it, so that it can be copied."""
    out.print(Text(printable(text)), soft_wrap=True)
