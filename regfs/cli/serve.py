"""`regfs serve`: the same tree over HTTP."""

from __future__ import annotations

import click

from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command
from regfs.errors import Doubt, StoreError


@regfs_command(
    name="serve",
    examples=["regfs serve", "regfs -r /srv/registry serve --writable --listen 127.0.0.1:5001"],
    exits=[Exit.REFUSED],
)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default="127.0.0.1:5000",
    show_default=True,
    help="Where to listen; port 0 takes any that is free.",
)
@click.option("--writable", is_flag=True, help="Take pushes; without it nothing is changed.")
@click.option("--delete", is_flag=True, help="Let clients delete; needs --writable.")
def command(session: Session, *, listen: str, writable: bool, delete: bool) -> Exit:
    """Serve the tree as a registry, read-only unless --writable."""
    if delete and not writable:
        raise click.UsageError("--delete needs --writable")
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal():
        raise click.UsageError(f"--listen {listen}: say HOST:PORT, e.g. 127.0.0.1:5000")
    _serve(session, host.strip("[]"), int(port), writable=writable, delete=delete)
    return Exit.CLEAN


def _serve(session: Session, host: str, port: int, *, writable: bool, delete: bool) -> None:
    import asyncio

    try:
        from regfs.server.app import make_app
        from regfs.server.running import run
        from regfs.server.settings import Settings
    except ModuleNotFoundError as error:
        raise Doubt(f"{error.name} is missing; install regfs[serve]") from None
    app = make_app(session.registry, Settings(writable=writable, delete=delete))
    mode = "writable" if writable else "read-only"
    try:
        asyncio.run(run(app, host, port, ready=lambda url: session.note(f"{url} serves, {mode}")))
    except OSError as error:
        raise StoreError(f"cannot listen at {host}:{port}: {error.strerror or error}") from None
