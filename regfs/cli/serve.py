"""`regfs serve`: the same tree over HTTP."""

from __future__ import annotations

import logging
import signal
import sys
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from regfs.cli.options import Duration, Size
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command
from regfs.cli.surroundings import open_cache
from regfs.errors import Doubt, Refused, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from regfs.cli.serve_files import ServeFiles
    from regfs.server.address import Address
    from regfs.server.settings import Settings

TURN = 0.0005
"""Seconds for which a thread keeps the interpreter while another waits. A pull waits this long at
each system call while a page is made; with Python's 5 ms it would take ten times as long."""
OPEN_FILES = 65_536
"""Open files that the server asks for: one for each client, and one for what it is sent."""
_SHORTEST_EXPIRY = 3600.0


def _file(name: str, *, metavar: str = "FILE", help: str) -> Callable[[Any], Any]:
    return click.option(name, metavar=metavar, type=click.Path(dir_okay=False), help=help)


@regfs_command(
    name="serve",
    document=False,
    examples=[
        "regfs serve",
        "regfs -r /srv/registry serve --writable --listen 127.0.0.1:5001",
        "regfs serve --listen :443 --tls-cert crt --tls-key key --htpasswd users",
    ],
    exits=[Exit.REFUSED],
)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default="127.0.0.1:5000",
    show_default=True,
    help="Where to listen; port 0 picks a free one. Also :PORT (every interface) and unix:/PATH.",
)
@click.option("--writable", is_flag=True, help="Accept pushes; without it the server is read-only.")
@click.option("--delete", is_flag=True, help="Let clients delete; needs --writable.")
@click.option(
    "--redirect",
    is_flag=True,
    help="Send clients to the bucket for the bytes of blobs, by signed URLs.",
)
@_file("--htpasswd", help="Users and passwords, as `htpasswd -B` writes them.")
@_file("--access", help="Who may do what to which repositories: TOML or JSON; needs --htpasswd.")
@_file("--tls-cert", help="Certificate chain (PEM).")
@_file("--tls-key", help="Private key of the certificate (PEM).")
@click.option(
    "--insecure",
    is_flag=True,
    help="Serve other machines without passwords, or accept passwords without TLS.",
)
@click.option(
    "--host-name",
    "host_names",
    metavar="NAME",
    multiple=True,
    help="A name of this server. On loopback without passwords, requests for any other name "
    "but localhost are refused; behind a proxy, pages may be served under it. Repeatable.",
)
@click.option(
    "--cors-origin",
    "cors_origins",
    metavar="ORIGIN",
    multiple=True,
    help="A site, such as https://ui.example.com, whose pages may use the API; "
    "with * any page may read. Repeatable.",
)
@click.option("--max-blob-size", metavar="SIZE", type=Size(), help="Refuse larger blobs.")
@click.option(
    "--keep-free",
    metavar="SIZE",
    type=Size(),
    default="0",
    show_default=True,
    help="Refuse uploads that would leave less free on the disk.",
)
@click.option(
    "--expire-uploads",
    type=Duration(),
    default="7d",
    show_default=True,
    help="Delete uploads that have been idle for this long; 0: never.",
)
@click.option(
    "--grace",
    type=Duration(),
    default="10s",
    show_default=True,
    help="How long running requests may take after the server is told to stop.",
)
@click.option(
    "--log-format",
    type=click.Choice(["combined", "json", "story", "none"]),
    default="combined",
    show_default=True,
    help="Format of the access log on standard error; story: what each request means, in words.",
)
def command(session: Session, **options: Any) -> Exit:
    """Serve the tree as a registry, read-only unless --writable.

    SIGTERM lets running requests and uploads finish. SIGHUP rereads passwords, rules and
    certificates; if a file is invalid, its previous content stays in force.
    """
    _check(options)
    try:
        import regfs.server.app  # noqa: F401
    except ModuleNotFoundError as error:
        raise Doubt(f"{error.name} is missing; install regfs[serve]") from None
    from regfs.cli.serve_files import ServeFiles
    from regfs.cli.serve_log import log_to_standard_error
    from regfs.runs.lock import refuse_if_locked, serving_alone
    from regfs.server.address import parse

    try:
        address = parse(options["listen"])
    except ValueError as error:
        raise click.UsageError(f"--listen {options['listen']}: {error}") from None
    _refuse_insecure(address, options)
    log_to_standard_error(as_json=options["log_format"] == "json")
    # The first push makes the tree; serving an empty folder read-only is a mistake.
    session.allow_empty = session.allow_empty or options["writable"]
    files = ServeFiles(options, session.note)
    if options["redirect"]:
        _require_urls(session)
    refuse_if_locked(session.store)
    with serving_alone(session.store) if options["writable"] else nullcontext():
        heard = _serve(session, address, options, files)
    return Exit.INTERRUPTED if heard is signal.SIGINT else Exit.CLEAN


def _check(options: dict[str, Any]) -> None:
    if options["delete"] and not options["writable"]:
        raise click.UsageError("--delete needs --writable")
    if 0 < options["expire_uploads"] < _SHORTEST_EXPIRY:
        raise click.UsageError("--expire-uploads must be at least an hour: clients pause that long")
    if options["access"] and not options["htpasswd"]:
        raise click.UsageError("--access needs --htpasswd: its rules are about users")
    if bool(options["tls_cert"]) != bool(options["tls_key"]):
        raise click.UsageError("--tls-cert and --tls-key go together")


def _require_urls(session: Session) -> None:
    """Check that files of the tree have URLs, before any client asks for one."""
    from regfs import layout

    try:
        session.store.signed_url(layout.PREFIX, 1)
    except (Refused, StoreError) as error:
        raise Refused(f"--redirect: {error}") from None


def _refuse_insecure(address: Address, options: dict[str, Any]) -> None:
    from regfs.server.address import is_local

    try:
        local = is_local(address)
    except OSError as error:
        raise click.UsageError(f"--listen {address}: {error.strerror or error}") from None
    if local or options["insecure"]:
        return
    if not options["htpasswd"]:
        raise Refused(
            f"{address} can be reached from elsewhere, and nobody would need a password: "
            "give --htpasswd FILE, listen on 127.0.0.1, or give --insecure"
        )
    if not options["tls_cert"]:
        raise Refused(
            f"{address} can be reached from elsewhere, and passwords would travel in the clear: "
            "give --tls-cert and --tls-key, listen on 127.0.0.1 behind a proxy that does TLS, "
            "or give --insecure"
        )


def _serve(
    session: Session,
    address: Address,
    options: dict[str, Any],
    files: ServeFiles,
) -> signal.Signals | None:
    import asyncio

    from regfs.cli.serve_log import access_log
    from regfs.server.address import sockets_at
    from regfs.server.app import make_app
    from regfs.server.running import run
    from regfs.tree.registry import Registry

    cache = open_cache(session.cache, session.cache_size, session.store.url)
    settings = replace(_settings(options, address), cache=cache)
    # Not the session's registry, which remembers every finding.
    registry = Registry(session.store)
    app = make_app(registry, settings, gate=files.gate)
    _allow_many_files()
    sys.setswitchinterval(TURN)
    try:
        sockets = sockets_at(address)
    except OSError as error:
        raise StoreError(f"cannot listen on {address}: {error.strerror or error}") from None
    mode = "read-only"
    if settings.writable:
        mode = "writable, with deletion" if settings.delete else "writable"

    def ready(url: str) -> None:
        message = f"{url} serves {session.store.url}, {mode}"
        if options["log_format"] != "json":
            session.note(message)
        elif not session.quiet:
            logging.getLogger("regfs.serve").info(message)

    observe = access_log(options["log_format"], registry)
    tls = None if files.tls is None else files.tls.context
    reload = files.reload
    return asyncio.run(run(app, sockets, ready=ready, tls=tls, observe=observe, reload=reload))


def _settings(options: dict[str, Any], address: Address) -> Settings:
    from regfs.server.address import is_local
    from regfs.server.settings import Limits, Settings

    # A page in a browser on this machine must not get in just for running on it.
    open_here = not options["htpasswd"] and not address.path and is_local(address)
    return Settings(
        host_names=_host_names([*options["host_names"], address.host]),
        only_named=open_here,
        writable=options["writable"],
        delete=options["delete"],
        redirect=options["redirect"],
        max_blob=options["max_blob_size"],
        cors_origins=_origins(options["cors_origins"]),
        keep_free=options["keep_free"],
        expire_uploads=options["expire_uploads"] or None,
        limits=Limits(grace_seconds=options["grace"]),
    )


def _host_names(given: Iterable[str]) -> frozenset[str]:
    from regfs.server.origins import host_of

    found = set()
    for text in filter(None, given):
        host = host_of(text) or host_of(f"[{text}]")
        if host is None:
            raise click.UsageError(f"--host-name {text}: give a name, such as registry.example.com")
        found.add(host[0])
    return frozenset(found)


def _origins(given: tuple[str, ...]) -> frozenset[str]:
    from regfs.server.cors import origin_in

    found = set()
    for text in given:
        origin = origin_in(text)
        if origin is None:
            raise click.UsageError(
                f"--cors-origin {text}: give scheme and host, such as https://ui.example.com, or *"
            )
        found.add(origin)
    return frozenset(found)


def _allow_many_files() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
