"""The records of a journal: what each of its lines says.

    {"run", "at", "root", "kind", "wait"}               Head; without a kind it is of gc
    {"move": source, "path", "kind", "digest", "size"}  Item: this will be moved (or copied) away
                                                        .. "mtime": as when it was looked at
    {"create": path, "kind", "digest", "size", "content", "folder"}   Item: this will be created
                                                        .. "mtime": of a link, as it will be
    {"replace": path, "kind", "digest", "size"}         Item: bad bytes make room for good ones
    {"begin": path}                                     Note: a file may be begun beside this place
    {"made": path} {"left": path}                       it was; nothing was done there, after all
                                                        .. "mtime": as a bucket has it
    {"returned": path}                                  it was in use again, and is back
    {"stays": path}                                     the next purge does not delete this
    {"undoing"}                                         Stage: some of it will be moved back
    {"synced"}                                          no power cut takes back what was moved
    {"applied"} {"restored"} {"purging"} {"purged"}     when
                                                        .. "partly": a purge of what does not stay
                                                        .. "lying": what an interrupted run had
                                                           moved, in all
    {"torn": bytes}                                     so much before it is no line: a crash

Every line is parsed once, here. One that does not say all that it should is damage; a line of
which nothing is known comes from a later version, and is passed over.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import StrEnum
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any, Final, NamedTuple

from regfs import layout
from regfs.digest import Digest
from regfs.errors import AlgorithmUnsupported, DigestInvalid
from regfs.runs.lines import Line
from regfs.runs.paths import quarantine_of
from regfs.runs.totals import ActionKind, Totals
from regfs.units import rfc3339

_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


class RunKind(StrEnum):
    """Why a run changes the tree."""

    GC = "gc"
    HEAL = "heal"
    QUARANTINE = "quarantine"
    RELINK = "relink"
    RM = "rm"
    UNTAG = "untag"
    TAG = "tag"
    ROLLBACK = "rollback"
    MV = "mv"
    CP = "cp"
    IMPORT = "import"

    @property
    def moves_what_is_bad(self) -> bool:
        """Whether it moves damaged things; else what nobody needs, and that may be needed again."""
        return self in (RunKind.HEAL, RunKind.QUARANTINE, RunKind.RELINK)


class Change(StrEnum):
    """What a run does to an item."""

    MOVE = "move"
    """It is moved into quarantine."""
    CREATE = "create"
    """It is put in place; a restore takes it out again."""
    REPLACE = "replace"
    """It makes room for something good that goes back."""

    @property
    def folder(self) -> str:
        """Where such items lie within a quarantine: a prefix of their paths."""
        return _FOLDERS[self]


_FOLDERS: Final = {Change.MOVE: "", Change.CREATE: "undone/", Change.REPLACE: "replaced/"}


class Item(NamedTuple):
    """One thing of the tree that a run changes, and that may lie in its quarantine."""

    run: str
    change: Change
    path: str
    """Its place in the tree: a file; of a tag or an upload its folder."""
    kind: ActionKind | str
    """A str only where a later version has a kind that is not known here."""
    digest: Digest | None
    size: int
    """Bytes, as its line says, or as they are."""
    source: str
    """What is renamed: the path, or the folder made for it."""
    mtime: float | None = None
    """As it was looked at before: another one, later, says that somebody has written to it."""
    content: str = ""
    """Digest of the bytes that are created."""
    folder: bool = False
    """Whether its folder is created with it."""
    named: bool = True
    """Whether a line names it; else it is known by its place in quarantine only."""
    files: tuple[str, ...] = ()
    """Where its files lie in quarantine, when that was looked at."""
    written: bool = False
    """Whether it was written to after its mtime, when that was looked at."""

    @property
    def quarantine_path(self) -> str:
        """Its place in quarantine."""
        return f"{quarantine_of(self.run)}/{self.change.folder}{self.path}"

    @property
    def repository(self) -> str | None:
        """The repository in which it lies or lay."""
        return layout.repository_of(self.path)

    def line(self) -> Line:
        """Return the line that names it."""
        line: Line = {self.change.value: self.source}
        if self.change is Change.MOVE:
            line["path"] = self.path
        line |= {"kind": str(self.kind), "digest": self.digest, "size": self.size}
        if self.mtime is not None:
            line["mtime"] = self.mtime
        if self.change is Change.CREATE:
            line |= {"content": self.content, "folder": self.folder}
        return line

    def text(self) -> str:
        """Return the line that names it as JSON: what json.dumps writes, in a third of the time."""
        if self.change is not Change.MOVE or self.mtime is None:
            return json.dumps(self.line())
        digest = "null" if self.digest is None else f'"{self.digest}"'
        return (
            f'{{"move": {_quoted(self.source)}, "path": {_quoted(self.path)}, '
            f'"kind": {_quoted(self.kind)}, "digest": {digest}, "size": {self.size}, '
            f'"mtime": {self.mtime!r}}}'
        )


class Head(NamedTuple):
    """The beginning of a run, or of its continuation."""

    run: str
    kind: RunKind
    wait: float | None
    """Seconds from its last move until it may be purged."""


class Note(NamedTuple):
    """What was done, or not done, at a path."""

    word: str
    """begin | made | left | returned | stays"""
    path: str
    mtime: float | None = None
    """When it was made, where the storage gives files a time of its own."""


class Stage(NamedTuple):
    """How far a run has come."""

    word: str
    """undoing | synced | applied | restored | purging | purged"""
    at: float | None
    """Seconds since the epoch; None where the line says none."""
    partly: bool
    """Whether some of it stays, as notes have said."""
    lying: Totals | None
    """What an interrupted run had moved."""


Record = Head | Item | Note | Stage

_CHANGES: Final = tuple(Change)
_KINDS: Final[dict[str, ActionKind | str]] = {kind.value: kind for kind in ActionKind}
_NOTES: Final = ("begin", "made", "left", "returned", "stays")
_STAGES: Final = ("undoing", "synced", "applied", "restored", "purging", "purged")


def parse(run: str, line: Line) -> Record | None:
    """Return what a line of a run's journal says; None when nothing is known of it.

    Raises:
        ValueError: it does not say all that such a line should.
    """
    try:
        if "run" in line:
            return _head(line)
        for change in _CHANGES:
            if change in line:
                return _item(run, change, line)
        for word in _NOTES:
            if word in line:
                at = line.get("mtime")
                return Note(word, _text(line, word), None if at is None else float(at))
        for word in _STAGES:
            if word in line:
                return _stage(word, line)
    except (KeyError, TypeError, OverflowError, DigestInvalid, AlgorithmUnsupported) as error:
        raise ValueError(str(error)) from None
    return None


def now() -> str:
    """Return the time of a line."""
    return rfc3339(datetime.now(UTC))


def _head(line: Line) -> Head:
    # What a later version runs for is treated with the care that a collection asks for.
    kinds = [kind for kind in RunKind if kind == line.get("kind")]
    wait = line.get("wait")
    return Head(
        _text(line, "run"), kinds[0] if kinds else RunKind.GC, None if wait is None else float(wait)
    )


def _item(run: str, change: Change, line: Line) -> Item:
    source, digest, mtime = line[change], line["digest"], line.get("mtime")
    kind: Any = line["kind"]
    path = line["path"] if change is Change.MOVE else source
    content = line["content"] if change is Change.CREATE else ""
    for value in (source, kind, path, content):
        if not isinstance(value, str):
            raise ValueError("no text")
    if not isinstance(line["size"], int):
        raise ValueError("size")
    return Item(
        run,
        change,
        path,
        _KINDS.get(kind, kind),
        None if digest is None else Digest.parse(digest),
        line["size"],
        source,
        None if mtime is None else float(mtime),
        content,
        bool(line.get("folder")),
    )


def _stage(word: str, line: Line) -> Stage:
    lying = line.get("lying")
    at = _seconds(line[word])
    if word == "applied" and at is None:
        raise ValueError("a run that ended at no time")
    return Stage(word, at, "partly" in line, None if lying is None else Totals(**lying))


def _text(line: Line, name: str) -> str:
    value: Any = line[name]
    if not isinstance(value, str):
        raise ValueError(name)
    return value


def _seconds(text: object) -> float | None:
    try:
        return datetime.strptime(str(text), _TIME).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
