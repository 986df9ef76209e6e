"""`--roots` of `regfs gc`: reading the list of what is in use elsewhere."""

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
    """Return a decorator that adds `--roots` and its options to a command."""
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
            help="What --roots calls this registry, HOST[:PORT][/PREFIX]: lines of other hosts are "
            "skipped, lines without a host never are. Repeatable.",
        ),
        click.option(
            "--ignore-missing-roots",
            is_flag=True,
            help="Continue even if lines of --roots are not found on this disk.",
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
    """Read a list of roots, and note how many of its lines were skipped."""
    if file is None:
        if hosts or ignore_missing:
            option = "--roots-host" if hosts else "--ignore-missing-roots"
            raise click.UsageError(f"{option} needs --roots FILE")
        return None
    from regfs.gc.roots import parse_roots

    roots = parse_roots(read_file(file), file, exists, hosts)
    if roots.elsewhere:
        session.note(f"regfs: {file}: lines of other hosts, skipped: {roots.elsewhere}")
    return roots


def read_file(file: str) -> bytes:
    """Return the bytes of a file named on the command line; `-` is standard input.

    Raises:
        DocumentInvalid: it cannot be read.
    """
    try:
        with click.open_file(file, "rb") as stream:
            return bytes(stream.read())
    except OSError as error:
        raise DocumentInvalid(f"{file}: {os.strerror(error.errno or 0)}") from None
