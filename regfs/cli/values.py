"""Values that a shell completes for arguments: references, runs and commands.

Trees are hostile: only names and tags that keep to their grammar are offered, so that nothing in
them can be more to a shell than a word. Nothing is listed as a whole: completing a repository
lists one folder, completing a tag those of one repository.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem

from regfs.cli.common import Group
from regfs.errors import NotARegistry, RegfsError
from regfs.names import name_problem, tag_problem

if TYPE_CHECKING:
    from regfs.tree.registry import Registry

_MOST: Final = 500
"""Values that are offered, and folders that are looked into."""
_DIGITS: Final = re.compile(r"(?:(sha256|sha384|sha512):)?([0-9a-f]{2,})")

Finder = Callable[[click.Context, str], Iterable[str]]


class Completed(click.ParamType[str]):
    """A text whose values are found in the tree."""

    def __init__(self, name: str, find: Finder) -> None:
        self.name = name
        self._find = find

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text as it is."""
        return str(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return values that begin with `incomplete`; none if the tree cannot be read."""
        try:
            found = list(islice(self._find(ctx, incomplete), _MOST))
        except RegfsError:
            return []
        return [CompletionItem(value) for value in found if value.startswith(incomplete)]


def _registry(ctx: click.Context) -> Registry:
    """Return the tree that the command line so far, or a setting, names."""
    from regfs import facade
    from regfs.cli.session import Session
    from regfs.cli.settings import load_settings

    session, settings = Session(), load_settings()
    given: click.Context | None = ctx
    while given is not None and session.root is None:
        session.root, given = given.params.get("root"), given.parent
    if session.root is None and (setting := settings.find((), "root")) is not None:
        session.root = str(setting.value) if setting.source == setting.key else None
    root, _ = session.root_and_source(settings)
    if root == "-" or "://" in root:
        raise NotARegistry(f"{root}: is not read for completion")
    return facade.open(os.path.expanduser(root)).registry  # the shell has not expanded it yet


def references(ctx: click.Context, text: str) -> Iterator[str]:
    """Yield references that begin so."""
    registry = _registry(ctx)
    name, at, _ = text.rpartition("@")
    if at:
        yield from (f"{name}@{digest}" for digest in registry.revisions(name))
        return
    name, colon, _ = text.rpartition(":")
    if colon and registry.exists(name):
        yield from _tags(registry, name)
        return
    found = list(_names(registry, text))
    yield from found
    if len(found) == 1 and not found[0].endswith("/"):
        yield from _tags(registry, found[0])
    if not found:
        yield from _digests(registry, text)


def _names(registry: Registry, text: str) -> Iterator[str]:
    """Yield repositories one component longer than what is given, and `team/` for more."""
    base = text.rpartition("/")[0]
    for folder in registry.folders(base):
        name = f"{base}/{folder}" if base else folder
        if not name.startswith(text) or name_problem(name) is not None:
            continue
        if registry.exists(name):
            yield name
        if registry.folders(name):
            yield f"{name}/"


def _tags(registry: Registry, name: str) -> Iterator[str]:
    return (f"{name}:{tag}" for tag in registry.tags(name) if tag_problem(tag) is None)


def _digests(registry: Registry, text: str) -> Iterator[str]:
    found = _DIGITS.fullmatch(text)
    if found is not None:
        algorithm = found[1] or "sha256"
        for digest in registry.digests_from(algorithm, found[2]):
            yield digest if found[1] else digest.encoded


def repositories(ctx: click.Context, text: str) -> Iterator[str]:
    """Yield repositories that begin so."""
    return _names(_registry(ctx), text)


def runs(ctx: click.Context, text: str) -> Iterator[str]:
    """Yield runs that begin so, the latest first."""
    from regfs import layout
    from regfs.runs.journal import LATEST
    from regfs.runs.paths import RUNS
    from regfs.stores import ignore

    listed = _registry(ctx).store.list(RUNS, ignore)
    names = sorted((layout.name_of(entry.path) for entry in listed), reverse=True)
    if names:
        yield LATEST
    yield from (name for name in names if tag_problem(name) is None)


def commands(ctx: click.Context, text: str) -> Iterator[str]:
    """Yield commands, in the group that the words before name."""
    group = ctx.find_root().command
    for word in ctx.params.get("words") or ():
        below = group.get_command(ctx, word) if isinstance(group, Group) else None
        group = below or group
    if isinstance(group, Group):
        yield from group.list_commands(ctx)


_KINDS: Final[dict[str, Finder]] = {
    "COMMAND": commands,
    "RUN": runs,
    "REF": references,
    "NAME[:TAG]": references,
    "NAME:TAG": references,
    "NAME": repositories,
}
"""What usage calls an argument -> what completes it."""


def complete_arguments(command: click.Command) -> None:
    """Let arguments of a command, or of those in a group, be completed by their metavar."""
    if isinstance(command, click.Group):
        for below in command.commands.values():
            complete_arguments(below)
    for argument in command.params:
        if isinstance(argument, click.Argument) and argument.type is click.STRING:
            words = re.sub(r"\.\.\.|^\[|\]$", "", argument.metavar or "")
            kinds = (_KINDS.get(word.strip(" []")) for word in words.split("|"))
            find = next((one for one in (_KINDS.get(words), *kinds) if one is not None), None)
            if find is not None:
                argument.type = Completed(words, find)
