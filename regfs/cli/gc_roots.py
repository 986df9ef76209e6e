"""`--roots` of `regfs gc`: reading the list, and which of its lines are meant."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from regfs.cli.options import Decorator, option_group
from regfs.cli.session import Session
from regfs.errors import DocumentInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from regfs.gc.roots import Roots


def roots_options(help: str) -> Decorator:
    """Return what adds the options of a list of roots to a command."""
    return option_group(
        click.option(
            "--roots",
            metavar="FILE|-",
            type=click.Path(dir_okay=False, allow_dash=True),
            help=help,
        ),
        click.option(
            "--roots-host",
            "roots_hosts",
            metavar="HOST",
            multiple=True,
            help="Of --roots pass by lines of hosts other than this registry, which is called "
            "HOST[:PORT][/PREFIX]; repeatable. Lines without a host are always meant.",
        ),
        click.option(
            "--ignore-missing-roots",
            is_flag=True,
            help="Go on although lines of --roots are not found on this disk.",
        ),
    )


def read_roots(
    session: Session,
    file: str | None,
    hosts: tuple[str, ...],
    *,
    ignore_missing: bool,
    exists: Callable[[str], bool],
) -> Roots | None:
    """Return what a list of roots says, and say how many of its lines were passed by."""
    if file is None:
        if hosts or ignore_missing:
            option = "--roots-host" if hosts else "--ignore-missing-roots"
            raise click.UsageError(f"{option} is about the lines of --roots FILE; give both")
        return None
    from regfs.gc.roots import parse_roots

    roots = parse_roots(read_file(file), file, exists, hosts)
    if roots.elsewhere:
        session.note(f"regfs: {file}: lines of other hosts, passed by: {roots.elsewhere}")
    return roots


def read_file(file: str) -> bytes:
    """Return what a file holds that was named on the command line; `-` is standard input.

    Raises:
        DocumentInvalid: it cannot be read.
    """
    try:
        with click.open_file(file, "rb") as stream:
            return bytes(stream.read())
    except OSError as error:
        raise DocumentInvalid(f"{file}: {os.strerror(error.errno or 0)}") from None
