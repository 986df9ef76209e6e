"""What every command shares: the root, the output, the progress, and the common options."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from functools import cached_property, update_wrapper
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from regfs.cli.common import Command, Group, common_options, settings_of, shown_settings
from regfs.cli.surroundings import default_root, open_cache
from regfs.errors import Unknown
from regfs.progress import SILENT, Progress
from regfs.units import ago, rfc3339, use_units

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from regfs.cli.settings import OptionSettings
    from regfs.content.cluster import Cluster
    from regfs.facade import Tree
    from regfs.graph import Graph
    from regfs.stores import WritableStore
    from regfs.tree.inventory import Inventory
    from regfs.tree.registry import Registry, Target

PIPED_WIDTH: Final = 4096
"""Columns where no terminal sets a width: nothing that a script reads is folded or cut."""


class Exit(Enum):
    """The exit codes."""

    CLEAN = 0
    FINDINGS = 1
    USAGE = 2
    REFUSED = 3
    NOT_FOUND = 4
    STORAGE = 5
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        """What the code says, in words."""
        return _MEANINGS[self]


_MEANINGS: Final = {
    Exit.CLEAN: "clean",
    Exit.FINDINGS: "findings of severity error, or not everything could be read",
    Exit.USAGE: "usage",
    Exit.REFUSED: "refused (stale plan, lock held, doubt that needs a decision)",
    Exit.NOT_FOUND: "not a registry tree, or no such reference",
    Exit.STORAGE: "storage failure",
    Exit.INTERRUPTED: "interrupted",
}


_SPELLED: Final = "the command line"
"""What gives a root that is an option."""


class Session:
    """One run of one command."""

    def __init__(self) -> None:
        self.root: str | None = None
        self.root_source = _SPELLED
        """What gave the root, if one is given."""
        self.allow_empty = False
        """Whether an empty folder is a fresh registry."""
        self.copies = False
        """Whether all of an archive that passes once is to be kept, for a copy."""
        self.hashes = False
        """Whether blobs are to be hashed: an archive that passes once passes before that."""
        self.json = False
        self.quiet = False
        self.verbose = 0
        self.color: bool | None = None
        """Whether to use colours; None: on a terminal."""
        self.pager: str | None = None
        self.cache: str | None = None
        """The folder of the cache; empty for none, None for the usual one."""
        self.cache_size: int | None = None
        self.max_requests_per_second: float | None = None
        self.pages = False
        """Whether answers may go through the pager."""
        self._elsewhere: Mapping[str, int] = {}
        """Kind -> requests that workers have made."""

    def configure(
        self,
        *,
        root: str | None,
        allow_empty: bool,
        as_json: bool = False,
        quiet: bool,
        verbose: int,
        color: bool | None,
        units: str | None,
        pager: str | None,
        no_pager: bool,
        cache: str | None,
        cache_size: int | None,
        no_cache: bool,
        max_requests_per_second: float | None,
        **rest: Any,
    ) -> dict[str, Any]:
        """Take the options that all commands have, in addition to earlier ones; return the rest."""
        if root is not None:
            self.root, self.root_source = root, _SPELLED
        self.allow_empty |= allow_empty
        self.json |= as_json
        self.quiet |= quiet
        self.verbose += verbose
        self.color = self.color if color is None else color
        self.pager = "" if no_pager else self.pager if pager is None else pager
        self.cache = "" if no_cache else self.cache if cache is None else cache
        self.cache_size = self.cache_size if cache_size is None else cache_size
        if max_requests_per_second is not None:
            self.max_requests_per_second = max_requests_per_second
        if units is not None:
            use_units(binary=units == "binary")
        return rest

    @property
    def root_is_spelled(self) -> bool:
        """Whether the command line gives the root."""
        return self.root is not None and self.root_source == _SPELLED

    def root_and_source(self, settings: OptionSettings | None = None) -> tuple[str, str]:
        """Return the root, and what says that it is this one."""
        if self.root is not None:
            return self.root, self.root_source
        return default_root(settings or settings_of(click.get_current_context()))

    @cached_property
    def tree(self) -> Tree:
        """The tree at the root.

        Raises:
            NotARegistry: there is no tree, or nothing in it, which `allow_empty` allows.
            DocumentInvalid: the root is a configuration, and not valid.
        """
        from regfs import facade

        tree = facade.open(
            self.root_and_source()[0],
            empty=self.allow_empty,
            content=self.hashes,
            whole=self.copies,
            requests_per_second=self.max_requests_per_second,
            progress=self._bar,
        )
        tree.requests_per_second = self.max_requests_per_second
        tree.cache = open_cache(self.cache, self.cache_size, tree.store.url)
        if tree.store.taken_at is not None:
            self.note(f"regfs: {_age_of(tree.store.taken_at)}")
        return tree

    @property
    def store(self) -> WritableStore:
        """The store at the root."""
        return self.tree.store

    @contextmanager
    def connected(self, address: str | None) -> Iterator[Cluster | None]:
        """Let workers elsewhere read for the block, if there is an address of a scheduler.

        Raises:
            Doubt, Refused, StoreError: as `regfs.content.cluster.connected`.
        """
        if address is None:
            yield None
            return
        from regfs.content.cluster import connected

        with connected(address, self.store) as cluster:
            self.tree.fetch, self._elsewhere = cluster.fetch, cluster.requests
            yield cluster

    @property
    def registry(self) -> Registry:
        """Point reads of the tree."""
        return self.tree.registry

    @property
    def view(self) -> Registry:
        """The same reads of the moment of the listing."""
        return self.tree.view

    @property
    def inventory(self) -> Inventory:
        """The tree, listed once."""
        return self.tree.inventory

    @property
    def graph(self) -> Graph:
        """What points to what."""
        return self.tree.graph

    @cached_property
    def out(self) -> Console:
        """Where results go."""
        from rich.console import Console

        class Results(Console):
            def print(self, *objects: Any, **options: Any) -> None:
                # A name that is wider than the terminal passes its edge: it is never cut.
                super().print(*objects, **{"crop": False, **options})

            def on_broken_pipe(self) -> None:
                raise BrokenPipeError  # rich would exit with 1

        results = Results(highlight=False, soft_wrap=False, **self._colors())
        if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
            results.width = PIPED_WIDTH
        return results

    @cached_property
    def err(self) -> Console:
        """Where everything else goes."""
        from rich.console import Console

        return Console(stderr=True, highlight=False, **self._colors())

    def _colors(self) -> dict[str, Any]:
        if self.color is None:
            return {}
        if self.color:
            return {"color_system": "standard", "force_terminal": True, "no_color": False}
        return {"color_system": None}

    @cached_property
    def _bar(self) -> Progress:
        shown = sys.stderr is not None and sys.stderr.isatty()  # None: it was closed
        if self.quiet or not shown:
            return SILENT
        from regfs.cli.bar import RichProgress

        return RichProgress(self.err)

    def use_progress(self, progress: Progress) -> None:
        """Let what reads the tree report to `progress`; before the tree is opened."""
        self._bar = progress

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Show progress on standard error while the block runs, if that is a terminal."""
        try:
            yield self._bar
        finally:
            self.end_progress()

    def end_progress(self) -> None:
        """Remove the progress bar, if there is one."""
        if "_bar" in vars(self):
            self._bar.finish()

    def emit(
        self, report: Any, people: Callable[[Console], None], outcome: Exit | None = None
    ) -> None:
        """Print a report: as JSON with --json, else with `people`.

        What a command did or checked has an `outcome`: with --quiet a clean one is not printed.
        """
        self.end_progress()
        if self.json:
            from regfs.render.tables import json_pieces

            for piece in json_pieces(report, **self._requests()):
                click.echo(piece, nl=False)
            click.echo()
        elif not (self.quiet and outcome is Exit.CLEAN):
            self._print(people)

    def show(self, people: Callable[[Console], None]) -> None:
        """Print an answer that is only for people: a report for programs takes `emit`."""
        self.end_progress()
        self._print(people)

    def _print(self, people: Callable[[Console], None]) -> None:
        """Print for people, in a pager if that is wanted and the answer is long."""
        if not self.pages or self.pager == "" or not _on_terminal():
            people(self.out)
            return
        from regfs.cli.pager import pager_command, print_paged

        try:
            command = pager_command(self.pager)
        except ValueError as error:
            raise click.UsageError(f"--pager {self.pager}: {error}") from None
        if not command:
            people(self.out)
        elif not print_paged(self.out, people, command):
            self.note(f"regfs: the pager {command[0]} cannot be run; --no-pager does without")

    def is_repository(self, name: str) -> bool:
        """Return whether the tree has a repository of that name; the name may be any text."""
        from regfs.errors import LayoutInvalid

        try:
            return self.registry.exists(name)
        except LayoutInvalid:
            return False

    def find(self, references: Iterable[str]) -> list[Target]:
        """Return what references and patterns mean, in order, each once.

        Raises:
            ReferenceInvalid, Unknown: as `Registry.find_all`.
        """
        found = (target for text in references for target in self.view.find_all(text))
        return list(dict.fromkeys(found))

    def complain(self, message: str) -> None:
        """Print what is wrong on standard error, even with --quiet."""
        from regfs.render.tables import printable

        click.echo(f"regfs: {printable(message)}", err=True)

    def complain_of(self, problems: Iterable[str]) -> None:
        """Print what is wrong with an answer, unless `report_unread` says it of the same path."""
        told = {finding.path for finding in self.tree.unread}
        for problem in problems:
            if problem.partition(": ")[0] not in told:
                self.complain(problem)

    def _requests(self) -> dict[str, Mapping[str, int]]:
        """Return what the command has asked of a bucket so far, for its document."""
        made = self.tree.store.requests if "tree" in vars(self) else {}
        if made or self._elsewhere:
            return {"requests": dict(Counter(made) + Counter(self._elsewhere))}
        return {}

    def note_requests(self) -> None:
        """Say what was asked of a bucket, with --verbose."""
        made = self._requests().get("requests") if self.verbose else None
        if made:
            words = ", ".join(f"{count:,} {kind}" for kind, count in sorted(made.items()))
            self.note(f"requests: {words}")

    def report_unread(self) -> bool:
        """Report what an answer lacks because it could not be read; return whether there is any."""
        unread = self.tree.unread if "tree" in vars(self) else []
        if unread:
            from regfs.render.tables import incomplete
            from regfs.reports.causes import Causes

            for cause in Causes(unread):
                self.complain(incomplete(cause))
        return bool(unread)

    def note(self, message: str) -> None:
        """Print a remark on standard error, unless --quiet is given."""
        if not self.quiet:
            from regfs.render.tables import printable

            click.echo(printable(message), err=True)


def _age_of(taken_at: float) -> str:
    """Return how old a listing is that somebody else has made."""
    age = ago(max(time.time() - taken_at, 0))
    return f"as of {rfc3339(taken_at)} ({age}): a report of S3 Inventory, not the bucket of now"


def _on_terminal() -> bool:
    """Return whether a person can read here, and press keys."""
    streams = (sys.stdin, sys.stdout)
    interactive = all(stream is not None and stream.isatty() for stream in streams)
    return interactive and os.environ.get("TERM", "dumb") != "dumb"


def drop_output() -> None:
    """Discard what is buffered for standard output: its reader has left (`| head`)."""
    with suppress(OSError):  # it is not a file, as in tests
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


_USUAL: Final = (Exit.CLEAN, Exit.USAGE, Exit.NOT_FOUND, Exit.STORAGE, Exit.INTERRUPTED)
"""Exit codes of every command."""


def _epilog(examples: Sequence[str], exits: Iterable[Exit]) -> str:
    exits = sorted(set(exits), key=lambda code: code.value)
    lines = ["\b", "Examples:", *(f"  {example}" for example in examples), "", "\b", "Exit codes:"]
    lines.extend(f"  {code.value:<3} {code.meaning}" for code in exits)
    return "\n".join(lines)


Function = Callable[..., Any]


def command(
    *,
    examples: Sequence[str],
    exits: Sequence[Exit] = (),
    name: str | None = None,
    answers: bool = False,
    pages: bool = False,
    document: bool = True,
) -> Callable[[Function], click.Command]:
    """Make a function a command with the options, examples and exit codes all commands have.

    The function gets the Session first, and returns an Exit, or None for CLEAN. What could not
    be read for one that `answers` turns CLEAN into FINDINGS: an incomplete answer is never
    silent. Answers, and what `pages`, use the pager. Without a `document` there is no --json.
    """
    epilog = _epilog(examples, [*_USUAL, *exits, *([Exit.FINDINGS] if answers else [])])

    def decorate(function: Function) -> click.Command:
        @click.pass_obj
        def wrapper(session: Session, /, **options: Any) -> int:
            rest = session.configure(**options)
            session.pages = answers or pages
            _before(session, document=document)
            try:
                result = function(session, **rest) or Exit.CLEAN
            except BrokenPipeError:  # handled here: click would take it for a failure
                drop_output()
                return Exit.CLEAN.value
            except Unknown:  # it may be what could not be read
                session.report_unread()
                raise
            finally:
                session.end_progress()
                session.note_requests()
            if answers and session.report_unread() and result is Exit.CLEAN:
                result = Exit.FINDINGS
            return int(result.value)

        update_wrapper(wrapper, function)  # its options and help are the command's
        made = click.command(name=name or function.__name__, cls=Command, epilog=epilog)(wrapper)
        made.params.extend(common_options(brief=True, document=document))
        return made

    return decorate


def _before(session: Session, *, document: bool) -> None:
    """Print settings that must be seen, and refuse --json before a command that has none."""
    ctx = click.get_current_context()
    typed = _is_typed(ctx, "quiet")
    for line in shown_settings(ctx):
        if not typed:
            session.complain(line)
    if not document and _is_typed(ctx, "as_json"):
        raise click.UsageError(f"{ctx.command_path} prints no JSON document", ctx)


def _is_typed(ctx: click.Context | None, option: str) -> bool:
    """Return whether a flag of all commands stands somewhere on the command line."""
    while ctx is not None:
        if ctx.get_parameter_source(option) is ParameterSource.COMMANDLINE:
            return True
        ctx = ctx.parent
    return False


def group(*, name: str, help: str) -> click.Group:
    """Return a group of commands, which takes the options all commands have."""

    @click.pass_obj
    def callback(session: Session, /, **options: Any) -> None:
        session.configure(**options)

    return Group(name=name, help=help, callback=callback, params=common_options(brief=True))
