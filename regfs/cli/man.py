"""`regfs man`: the manual, as man pages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from regfs.cli.help import context_of
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command
from regfs.errors import StoreError


@regfs_command(
    name="man",
    document=False,
    examples=["regfs man", "regfs man gc plan", "regfs man --output /usr/local/share/man/man1"],
    pages=True,
)
@click.argument("words", metavar="[COMMAND]...", nargs=-1)
@click.option("-o", "--output", metavar="FOLDER", help="Write all pages there instead.")
def command(session: Session, words: tuple[str, ...], *, output: str | None) -> Exit:
    """Show the man page of COMMAND, or of regfs.

    Where standard output is no terminal, the page is printed as man reads it.
    """
    from regfs.cli.manual import name_of, page, pages

    top = click.get_current_context().find_root()
    if output is not None:
        if words:
            raise click.UsageError("--output writes all pages: it takes no COMMAND")
        _write(dict(pages(top)), Path(output))
        return Exit.CLEAN
    ctx = context_of(top, words)
    if sys.stdout.isatty() and (man := shutil.which("man")):
        with tempfile.TemporaryDirectory(prefix="regfs-") as folder:
            file = Path(folder, f"{name_of(ctx)}.1")
            file.write_text(page(ctx), encoding="utf-8")
            subprocess.run([man, str(file)], check=False)
    elif sys.stdout.isatty():
        session.emit(None, lambda out: out.print(ctx.get_help(), markup=False, soft_wrap=True))
    else:
        click.echo(page(ctx), nl=False)
    return Exit.CLEAN


def _write(texts: dict[str, str], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{error.filename or folder}: {os.strerror(error.errno or 0)}") from None
