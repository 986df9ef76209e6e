"""What every command shares: the root, the output, the progress, and the common options."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from functools import cached_property, update_wrapper
from typing import TYPE_CHECKING, Any, Final

import click

from regfs.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from regfs.facade import Tree
    from regfs.graph import Graph
    from regfs.stores import WritableStore
    from regfs.tree.inventory import Inventory
    from regfs.tree.registry import Registry, Target

DEFAULT_ROOT: Final = "/var/lib/registry"
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


class Session:
    """One run of one command."""

    def __init__(self, root: str | None = None) -> None:
        self.root = root
        self.allow_empty = False
        """Whether an empty folder is a fresh registry."""
        self.json = False
        self.quiet = False
        self.verbose = 0

    def configure(
        self,
        *,
        root: str | None,
        allow_empty: bool,
        as_json: bool,
        quiet: bool,
        verbose: int,
        **rest: Any,
    ) -> dict[str, Any]:
        """Take the options that all commands have; return the others."""
        self.root, self.allow_empty = root or self.root, allow_empty
        self.json, self.quiet, self.verbose = as_json, quiet, verbose
        return rest

    @cached_property
    def tree(self) -> Tree:
        """The tree at the root.

        Raises:
            NotARegistry: there is no tree, or nothing in it, which `allow_empty` allows.
        """
        from regfs import facade

        root = self.root or _default_root()
        return facade.open(root, empty=self.allow_empty, progress=self._bar)

    @property
    def store(self) -> WritableStore:
        """The store at the root."""
        return self.tree.store

    @property
    def registry(self) -> Registry:
        """Point reads of the tree."""
        return self.tree.registry

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
            def on_broken_pipe(self) -> None:
                raise BrokenPipeError  # rich would exit with 1

        results = Results(highlight=False, soft_wrap=False)
        if not results.is_terminal and "COLUMNS" not in os.environ:
            results.width = PIPED_WIDTH
        return results

    @cached_property
    def err(self) -> Console:
        """Where everything else goes."""
        from rich.console import Console

        return Console(stderr=True, highlight=False)

    @cached_property
    def _bar(self) -> Progress:
        shown = sys.stderr is not None and sys.stderr.isatty()  # None: it was closed
        if self.quiet or not shown:
            return SILENT
        from regfs.cli.bar import RichProgress

        return RichProgress(self.err)

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

            for piece in json_pieces(report):
                click.echo(piece, nl=False)
            click.echo()
        elif not (self.quiet and outcome is Exit.CLEAN):
            people(self.out)

    def is_repository(self, name: str) -> bool:
        """Return whether the tree has a repository of that name; the name may be any text."""
        from regfs.errors import LayoutInvalid

        try:
            return self.registry.exists(name)
        except LayoutInvalid:
            return False

    def find(self, references: Iterable[str]) -> list[Target]:
        """Return what each reference means, in order.

        Raises:
            ReferenceInvalid, Unknown: as `Registry.find`.
        """
        return [self.registry.find(text) for text in references]

    def complain(self, message: str) -> None:
        """Print what is wrong on standard error, even with --quiet."""
        from regfs.render.tables import printable

        click.echo(f"regfs: {printable(message)}", err=True)

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


def drop_output() -> None:
    """Discard what is buffered for standard output: its reader has left (`| head`)."""
    with suppress(OSError):  # it is not a file, as in tests
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _default_root() -> str:
    named = os.environ.get("REGFS_ROOT")
    if named:
        return named
    try:
        here = os.getcwd()
    except OSError:  # it has been removed
        return DEFAULT_ROOT
    above, within, _ = f"{here}/".partition("/docker/registry/v2/")
    if within:
        return above or "/"
    for below in ("docker/registry/v2", "registry/v2", "v2"):
        place = os.path.join(here, below)
        if place.endswith("/docker/registry/v2") and os.path.isdir(place):
            return here
    return DEFAULT_ROOT


def given_root(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return the root that was given; refuse an empty one, an unset variable most likely."""
    if value == "":
        raise click.BadParameter("is empty; leave it out, or give a folder", ctx, param)
    return value


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
) -> Callable[[Function], click.Command]:
    """Make a function a command with the options, examples and exit codes all commands have.

    The function gets the Session first, and returns an Exit, or None for CLEAN. If it
    `answers` a question about the tree, what could not be read for it is reported at the
    end and turns CLEAN into FINDINGS: an incomplete answer is never silent.
    """
    epilog = _epilog(examples, [*_USUAL, *exits, *([Exit.FINDINGS] if answers else [])])

    def decorate(function: Function) -> click.Command:
        @click.pass_obj
        def wrapper(session: Session, /, **options: Any) -> int:
            rest = session.configure(**options)
            try:
                result = function(session, **rest) or Exit.CLEAN
            except BrokenPipeError:  # handled here: click would take it for a failure
                drop_output()
                return Exit.CLEAN.value
            finally:
                session.end_progress()
            if answers and session.report_unread() and result is Exit.CLEAN:
                result = Exit.FINDINGS
            return int(result.value)

        # The function's options and help are the command's.
        update_wrapper(wrapper, function)
        made = click.command(name=name or function.__name__, epilog=epilog)(wrapper)
        made.params.extend(_common_options())
        return made

    return decorate


def _common_options() -> list[click.Parameter]:
    return [
        click.Option(
            ["-r", "--root"],
            metavar="ROOT",
            callback=given_root,
            help="The folder of the registry tree.",
        ),
        click.Option(
            ["--allow-empty"], is_flag=True, help="Accept an empty folder as a fresh registry."
        ),
        click.Option(
            ["--json", "as_json"], is_flag=True, help="One JSON document on standard output."
        ),
        click.Option(["-q", "--quiet"], is_flag=True, help="Print only answers and problems."),
        click.Option(["-v", "--verbose"], count=True, help="Print more; twice for everything."),
    ]
