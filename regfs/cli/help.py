"""`regfs help`: the help of a command, as `--help` prints it."""

from __future__ import annotations

import click

from regfs.cli.common import Group
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command


@regfs_command(
    name="help",
    document=False,
    examples=["regfs help", "regfs help du", "regfs help gc plan"],
    pages=True,
)
@click.argument("words", metavar="[COMMAND]...", nargs=-1)
def command(session: Session, words: tuple[str, ...]) -> Exit:
    """Print the help of COMMAND, or of regfs."""
    text = context_of(click.get_current_context().find_root(), words).get_help()
    session.emit(None, lambda out: out.print(text, markup=False, soft_wrap=True))
    return Exit.CLEAN


def context_of(top: click.Context, words: tuple[str, ...]) -> click.Context:
    """Return a context of the command that words name.

    Raises:
        click.UsageError: there is no such command.
    """
    ctx = top
    for word in words:
        if not isinstance(ctx.command, Group):
            raise click.UsageError(f"{ctx.command_path} has no commands", ctx)
        _, found, _ = ctx.command.resolve_command(ctx, [word])
        ctx = click.Context(found or ctx.command, parent=ctx, info_name=word)
    return ctx
