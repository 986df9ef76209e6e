"""`regfs heal`: put back what is missing or corrupt, and links that can be proven."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import click

from regfs.cli.options import Duration, Size
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command
from regfs.errors import DocumentInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from regfs.graph import Graph
    from regfs.heal.report import Healed, HealPlan, Relinked, RelinkPlan
    from regfs.heal.source import Access, Credentials
    from regfs.inventory import Inventory
    from regfs.verify import Result

LEVELS: Final = ("sizes", "digests")

DOCUMENTS: Final = {"": "regfs.heal.report:HealDocument"}


def _source_options(function: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.option(
            "--from",
            "source",
            metavar="SOURCE",
            help="A tree, an OCI layout (folder), an archive of skopeo or docker save, or a "
            "registry: docker://host[:port][/name], https://host[/prefix].",
        ),
        click.option("--creds", metavar="USER:PASSWORD", help="Others can see it."),
        click.option("--creds-file", metavar="FILE", help="Its first line is USER:PASSWORD."),
        click.option("--authfile", metavar="FILE", help="As docker login writes it."),
        click.option(
            "--tls-verify/--insecure",
            default=True,
            help="--insecure: any certificate, and docker:// without TLS.",
        ),
        click.option("--ca", metavar="FILE", help="Certificates to trust instead of the usual."),
        click.option(
            "--repository",
            "repositories",
            metavar="NAME",
            multiple=True,
            help="Ask for digests in this repository of the registry first; repeatable.",
        ),
        click.option(
            "--timeout",
            type=Duration(),
            default="60s",
            show_default=True,
            help="How long to wait for the next bytes.",
        ),
        click.option(
            "--min-rate",
            type=Size(),
            default="1kB",
            show_default=True,
            help="Leave content that a registry gives more slowly, in a second.",
        ),
        click.option(
            "--max-duration",
            type=Duration(),
            default="1d",
            show_default=True,
            help="Ask a registry for nothing more when the time is up; what came is put in place.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


@regfs_command(
    name="heal",
    exits=[Exit.FINDINGS, Exit.REFUSED],
    examples=[
        "regfs heal --from /srv/backup/registry -n",
        "regfs heal --from docker://mirror.example.com --level sizes",
        "regfs heal --from oci-archive:app.tar",
        "regfs heal --relink -n",
    ],
)
@_source_options
@click.option("--relink", is_flag=True, help="Also write links that reachability proves.")
@click.option("-n", "--dry-run", is_flag=True, help="Only tell what would be done.")
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    default=LEVELS[-1],
    show_default=True,
    help="sizes: find what is missing, empty or of a wrong size. digests: also what is corrupt.",
)
@click.option("--sparse", is_flag=True, help="Also fetch what indexes list and nobody has pushed.")
@click.option("--jobs", metavar="N", type=click.IntRange(1), help="Threads; one a processor.")
def command(
    session: Session, source: str | None, relink: bool, dry_run: bool, level: str, **options: Any
) -> Exit:
    """Put missing and corrupt content back from another place, and links that are lost.

    What is fetched is verified before it is put in place; bad bytes go into quarantine.
    All of it is journaled, and `regfs gc restore RUN` takes it back.
    """
    from regfs.heal.report import HealDocument

    if source is None and not relink:
        raise click.UsageError("say --from SOURCE, --relink, or both")
    made = _heal(session, source, level, dry_run, options) if source is not None else None
    linked = _relink(session, dry_run, options) if relink and not _is_stopped(made) else None
    if session.json:
        parts = {type(part).__name__: part for part in (made, linked)}
        document = [parts.get(n) for n in ("HealPlan", "Healed", "RelinkPlan", "Relinked")]
        session.emit(HealDocument(*document), lambda out: None)  # type: ignore[arg-type]
    return _exit(session, made, linked)


def _heal(
    session: Session, place: str, level: str, dry_run: bool, options: dict[str, Any]
) -> HealPlan | Healed:
    from contextlib import closing

    from regfs import render_heal
    from regfs.heal.needs import plan_heal
    from regfs.heal.opening import open_source
    from regfs.heal.repair import heal

    with closing(open_source(place, _access(place, options))) as source:
        inventory, graph, result = _look(session, level, options["jobs"])
        with session.progress() as bar:
            plan = plan_heal(
                session.registry,
                inventory,
                graph,
                result,
                source,
                sparse=options["sparse"],
                progress=bar,
            )
        if dry_run:
            _show(session, render_heal.show_heal_plan, plan)
            return plan
        with session.progress() as bar:
            healed = heal(plan, session.registry, source, progress=bar)
    _show(session, render_heal.show_healed, healed)
    return healed


def _relink(session: Session, dry_run: bool, options: dict[str, Any]) -> RelinkPlan | Relinked:
    from regfs import render_heal
    from regfs.heal.relink import plan_relink, relink

    plan = plan_relink(session.registry, *_look(session, "links", options["jobs"]))
    if dry_run:
        _show(session, render_heal.show_relink_plan, plan)
        return plan
    with session.progress() as bar:
        done = relink(plan, session.registry, progress=bar)
    _show(session, render_heal.show_relinked, done)
    return done


def _look(session: Session, level: str, jobs: int | None) -> tuple[Inventory, Graph, Result]:
    """Look at the tree as it is now: what was healed a moment ago counts."""
    from regfs.graph import Graph
    from regfs.listing import scan
    from regfs.verify import Level, verify

    with session.progress() as bar:
        inventory = scan(session.store, progress=bar)
        graph = Graph.build(inventory, session.registry, progress=bar)
        jobs = jobs or os.cpu_count() or 1
        found = verify(
            session.registry, inventory, graph, level=Level(level), jobs=jobs, progress=bar
        )
    if found.interrupted:
        raise KeyboardInterrupt  # half of what is wrong is nothing to act upon
    return inventory, graph, found


def _show(session: Session, people: Callable[..., None], report: object) -> None:
    if not session.json:
        people(session.out, report, verbose=session.verbose)


def _is_stopped(made: HealPlan | Healed | None) -> bool:
    return getattr(made, "stopped", None) is not None


def _exit(
    session: Session, made: HealPlan | Healed | None, linked: RelinkPlan | Relinked | None
) -> Exit:
    stopped = getattr(made, "stopped", None)
    if stopped is not None:
        session.complain(f"{stopped}; what was done stands, and the next run does the rest")
        return Exit.INTERRUPTED if stopped == "interrupted" else Exit.STORAGE
    broken = getattr(made, "broken", 0) or getattr(made, "lacking", 0)
    still = linked is not None and bool(linked.ambiguous or linked.skipped)
    return Exit.FINDINGS if broken or still else Exit.CLEAN


# -- how to reach a registry ----------------------------------------------------------


def _access(place: str, options: dict[str, Any]) -> Access:
    from regfs.heal.source import Access

    return Access(
        credentials=_credentials(options["creds"], options["creds_file"]),
        authfile=options["authfile"] or _usual_authfile(),
        verify_tls=options["tls_verify"],
        ca=options["ca"] or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE"),
        repositories=options["repositories"],
        proxies=_proxies(place),
        timeout=options["timeout"],
        min_rate=options["min_rate"],
        max_duration=options["max_duration"],
    )


def _credentials(text: str | None, path: str | None) -> Credentials | None:
    from regfs.heal.source import Credentials

    if path is not None:
        try:
            with open(path, encoding="utf-8") as stream:
                text = stream.readline(4096).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise DocumentInvalid(f"{path}: {getattr(error, 'strerror', 'not text')}") from None
    if text is None:
        return None
    user, colon, password = text.partition(":")
    if not colon or not user:
        raise DocumentInvalid("credentials are USER:PASSWORD")
    return Credentials(user, password)


def _usual_authfile() -> str | None:
    home = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    places = [
        os.environ.get("REGISTRY_AUTH_FILE"),
        f"{runtime}/containers/auth.json" if runtime else None,
        f"{home}/config.json",
    ]
    return next((place for place in places if place and os.path.isfile(place)), None)


def _proxies(place: str) -> dict[str, str]:
    from urllib.parse import urlsplit
    from urllib.request import getproxies, proxy_bypass

    host = urlsplit(place).hostname or ""
    return {} if not host or proxy_bypass(host) else getproxies()
