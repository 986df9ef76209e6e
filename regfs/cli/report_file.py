"""Files that a command writes beside its output, for other programs: whole, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import click

from regfs.errors import StoreError

_LONGEST: Final = 1 << 20
"""Bytes of what a file held before that are looked at."""


class ReportFile(click.ParamType[str]):
    """Where a report goes: a file outside of any registry tree, or `-`."""

    name = "FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the path."""
        path = str(value)
        if path != "-" and "/docker/registry/v2/" in os.path.realpath(path):
            self.fail(f"{path!r} lies in a registry tree, where nothing is written", param, ctx)
        return path


def write_report(file: str, make: Callable[[str], Iterable[str]]) -> None:
    """Write what `make` yields when given what the file holds now (nothing, for `-`).

    Raises:
        StoreError: it cannot be written; what was there stays as it was.
    """
    if file == "-":
        for piece in make(""):
            click.echo(piece.encode(), nl=False)
        return
    # The file that a link leads to is replaced, not the link.
    path = Path(os.path.realpath(file))
    try:
        if path.exists() and not path.is_file():  # a pipe or a device
            with path.open("w", encoding="utf-8") as stream:
                stream.writelines(make(""))
        else:
            _replace(path, make(_read(path)))
    except OSError as error:
        raise StoreError(f"{file}: {os.strerror(error.errno or 0)}") from None


def _read(path: Path) -> str:
    with suppress(OSError), path.open(encoding="utf-8", errors="replace") as stream:
        return stream.read(_LONGEST)
    return ""


def _replace(path: Path, pieces: Iterable[str]) -> None:
    import secrets
    import shutil

    # Beside it, for only there a rename is atomic; readers know it by its other ending.
    beside = path.with_name(f"{path.name[:200]}.{secrets.token_hex(4)}.tmp")
    try:
        with beside.open("x", encoding="utf-8") as stream:
            stream.writelines(pieces)
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(FileNotFoundError):
            shutil.copymode(path, beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
