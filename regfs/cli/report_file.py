"""Files that a command writes for other programs, each atomically."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import click

from regfs.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

_LONGEST: Final = 1 << 20
"""Bytes of a previous report that are read."""


class ReportFile(click.ParamType[str]):
    """Where a report goes: a file outside of any registry tree, or `-`."""

    name = "FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the path."""
        path = str(value)
        if path != "-" and "/docker/registry/v2/" in os.path.realpath(path):
            self.fail(f"{path!r} is inside a registry tree, where no report is written", param, ctx)
        return path


metrics_option = click.option(
    "--metrics",
    metavar="FILE",
    type=ReportFile(),
    help="Write metrics for node_exporter's textfile collector, which reads *.prom files.",
)


def write_report(file: str, make: Callable[[str], Iterable[str]]) -> None:
    """Write what `make` yields, given the previous content of the file (none for `-`).

    Raises:
        StoreError: it cannot be written; the previous content is unchanged.
    """
    previous = "" if file == "-" else _read(file)
    write_pieces(file, map(str.encode, make(previous)))


def write_pieces(file: str, pieces: Iterable[bytes]) -> None:
    """Write bytes to a file, which has all of them or its previous content; `-` is the output.

    Raises:
        StoreError: it cannot be written.
    """
    if file == "-":
        for piece in pieces:
            click.echo(piece, nl=False)
        return
    from pathlib import Path  # with all that it loads, not needed by most commands

    # Replace the file that a link leads to, not the link.
    path = Path(os.path.realpath(file))
    try:
        if path.exists() and not path.is_file():  # a pipe or a device
            with path.open("wb") as stream:
                stream.writelines(pieces)
        else:
            _replace(path, pieces)
    except OSError as error:
        raise StoreError(f"{file}: {os.strerror(error.errno or 0)}") from None


def _read(file: str) -> str:
    """Return what is in a file; nothing of what is none, as a pipe that has no writer."""
    if os.path.isfile(file):
        with suppress(OSError), open(file, encoding="utf-8", errors="replace") as stream:
            return stream.read(_LONGEST)
    return ""


def _replace(path: Path, pieces: Iterable[bytes]) -> None:
    import secrets
    import shutil

    # In the same folder, where a rename is atomic; readers skip it by its suffix.
    beside = path.with_name(f"{path.name[:200]}.{secrets.token_hex(4)}.tmp")
    try:
        with beside.open("xb") as stream:
            stream.writelines(pieces)
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(FileNotFoundError):
            shutil.copymode(path, beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
