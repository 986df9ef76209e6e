"""What the records of a journal come to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from regfs.runs.records import Change, Head, Item, Note, Record, RunKind, Stage
from regfs.runs.totals import Totals

_STATES = frozenset({"applied", "restored", "purging", "purged"})


@dataclass(slots=True)
class Account:
    """What a run was to do and has done, as far as its journal says."""

    kind: RunKind = RunKind.GC
    """A run that does not say is a collection."""
    waits: list[float] = field(default_factory=list)
    """Seconds from its last move until it may be purged, each time it was begun."""
    items: list[Item] = field(default_factory=list)
    """All that lines name, in their order."""
    moved: dict[str, Item] = field(default_factory=dict)
    """By path what was to be moved, and was neither left in place, put back nor deleted."""
    created: dict[str, Item] = field(default_factory=dict)
    """By path what was to be created, unless that was given up."""
    gone: dict[str, Item] = field(default_factory=dict)
    """By path what a partial purge deleted."""
    begun: set[str] = field(default_factory=set)
    """Beside which paths a file may have been begun."""
    made: set[str] = field(default_factory=set)
    """Paths at which something was surely created."""
    state: str = "interrupted"
    restored: bool = False
    applied_at: float | None = None
    """Seconds since the epoch."""
    moved_totals: Totals | None = None
    """What an interrupted run had moved, when it was taken back or purged."""
    _before: dict[str, Item] = field(default_factory=dict)
    """By path the earlier item of two that were meant to be moved."""
    _stays: set[str] = field(default_factory=set)
    """Paths that the next purge does not delete."""
    _heads: int = 0

    @classmethod
    def of(cls, records: Iterable[Record]) -> Account:
        """Go through records in order: a run that was continued may say the same twice."""
        account = cls()
        for record in records:
            match record:
                case Item():
                    account._add_item(record)
                case Note():
                    account._add_note(record)
                case Stage():
                    account._add_stage(record)
                case Head():
                    account._add_head(record)
        return account

    def _add_head(self, head: Head) -> None:
        if not self._heads:
            self.kind = head.kind
        self._heads += 1
        if head.wait is not None:
            self.waits.append(head.wait)

    def _add_item(self, item: Item) -> None:
        self.items.append(item)
        if item.change is Change.MOVE:
            if item.path in self.moved:
                self._before[item.path] = self.moved[item.path]
            self.moved[item.path] = item
        elif item.change is Change.CREATE:
            self.created[item.path] = item

    def _add_note(self, note: Note) -> None:
        word, path = note.word, note.path
        if word == "made" and note.mtime is not None and path in self.created:
            self.created[path] = self.created[path]._replace(mtime=note.mtime)
        if word == "left":
            self.created.pop(path, None)
            self.moved.pop(path, None)
            if path in self._before:
                self.moved[path] = self._before.pop(path)
        elif word == "returned":
            self.moved.pop(path, None)
        else:
            {"begin": self.begun, "made": self.made, "stays": self._stays}[word].add(path)

    def _add_stage(self, stage: Stage) -> None:
        if stage.partly:
            deleted = self.moved.keys() - self._stays
            self.gone.update({path: self.moved.pop(path) for path in deleted})
            self._stays.clear()
            return
        if stage.word in _STATES:
            self.state = stage.word
        self.restored |= stage.word == "restored"
        self.moved_totals = stage.lying or self.moved_totals
        if stage.word == "applied" and stage.at is not None:
            self.applied_at = max(self.applied_at or 0.0, stage.at)
        if self.state == "purged" and self.restored:
            self.state = "restored"
