"""`regfs heal`: restore missing and corrupt content, and links that can be proven."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from regfs.cli.options import Duration, Size, jobs_option, option_group
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command
from regfs.cli.spelled import spelled
from regfs.errors import DocumentInvalid, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack

    from regfs.graph import Graph
    from regfs.heal.report import Healed, HealPlan, Left, Relinked, RelinkPlan
    from regfs.heal.source import Credentials, RegistryAccess, Source
    from regfs.tree.inventory import Inventory
    from regfs.verify import Result

LEVELS: Final = ("sizes", "digests")

DOCUMENTS: Final = {"": "regfs.heal.report:HealDocument"}


_source_options = option_group(
    click.option(
        "--from",
        "sources",
        metavar="SOURCE",
        multiple=True,
        help="A tree, an OCI layout (folder), an archive of skopeo or docker save, or a "
        "registry: docker://host[:port][/name], https://host[/prefix]. Repeatable: if one fails or "
        "does not have something, the next is asked.",
    ),
    click.option(
        "--creds",
        metavar="USER:PASSWORD",
        help="User and password; other users of this machine can see them.",
    ),
    click.option("--creds-file", metavar="FILE", help="A file whose first line is USER:PASSWORD."),
    click.option("--authfile", metavar="FILE", help="Credentials as docker login writes them."),
    click.option(
        "--tls-verify/--insecure",
        default=True,
        help="--insecure accepts any certificate, and docker:// without TLS.",
    ),
    click.option("--ca", metavar="FILE", help="Certificates to trust instead of the system's."),
    click.option(
        "--repository",
        "repositories",
        metavar="NAME",
        multiple=True,
        help="Look in this repository of the source registry first. Repeatable.",
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
        help="Give up on content that arrives more slowly than this, per second.",
    ),
    click.option(
        "--max-duration",
        type=Duration(),
        default="1d",
        show_default=True,
        help="Fetch nothing more after this time; what has arrived is put in place.",
    ),
)


@regfs_command(
    name="heal",
    exits=[Exit.FINDINGS, Exit.REFUSED],
    examples=[
        "regfs heal --from /srv/backup/registry -n",
        "regfs heal --from docker://mirror.example.com --level sizes",
        "regfs heal --from oci-archive:app.tar",
        "regfs heal --from /srv/backup/registry --from docker://mirror.example.com",
        "regfs heal --relink -n",
    ],
)
@_source_options
@click.option("--relink", is_flag=True, help="Also write lost links that images prove.")
@click.option("-n", "--dry-run", is_flag=True, help="Only show what would be done.")
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    default=LEVELS[-1],
    show_default=True,
    help="sizes: find what is missing, empty or of the wrong size. digests: also what is corrupt.",
)
@click.option(
    "--sparse", is_flag=True, help="Also fetch images that indexes list and that were never pushed."
)
@jobs_option
def command(
    session: Session,
    sources: tuple[str, ...],
    relink: bool,
    dry_run: bool,
    level: str,
    **options: Any,
) -> Exit:
    """Restore missing and corrupt content from another place, and lost links.

    Content is verified before it is put in place; bad bytes go into quarantine. Every
    change is journaled, and `regfs gc restore RUN` undoes it.
    """
    from regfs.heal.report import HealDocument
    from regfs.render import heal as render_heal

    if not sources and not relink:
        raise click.UsageError("give --from SOURCE, --relink, or both")
    work = _HealCommand(session, dry_run, options)
    if sources:
        work.heal(sources, level)
    if relink and not work.is_stopped:
        work.relink()
    remains = work.left()
    if session.json:
        made = (work.plan if dry_run else None, work.healed, work.relink_plan, work.relinked)
        session.emit(HealDocument(*made, remains), lambda out: None)
    elif remains:
        render_heal.show_left(session.out, remains, linked=relink)
    return _exit(session, work, remains or [])


class _HealCommand:
    """One call of the command: what was planned, what was done, and the last verification."""

    def __init__(self, session: Session, dry_run: bool, options: dict[str, Any]) -> None:
        self.plan: HealPlan | None = None
        self.healed: Healed | None = None
        self.relink_plan: RelinkPlan | None = None
        self.relinked: Relinked | None = None
        self._session = session
        self._dry_run = dry_run
        self._options = options
        self._seen: Result | None = None
        """The last verification, unless something was changed since."""

    @property
    def is_stopped(self) -> bool:
        """Whether healing ended early."""
        return self.healed is not None and self.healed.stopped is not None

    def heal(self, places: Sequence[str], level: str) -> None:
        """Put content back from sources."""
        from contextlib import ExitStack

        from regfs.heal.needs import plan_heal
        from regfs.heal.repair import heal
        from regfs.render import heal as render_heal

        session = self._session
        with ExitStack() as stack:
            sources = _opened(session, places, self._options, stack)
            inventory, graph, result = self._verify(level)
            with session.progress() as bar:
                self.plan = plan_heal(
                    session.registry,
                    inventory,
                    graph,
                    result,
                    *sources,
                    sparse=self._options["sparse"],
                    progress=bar,
                )
            if self._dry_run:
                _show(session, render_heal.show_heal_plan, self.plan)
                return
            with session.progress() as bar:
                self.healed = heal(self.plan, session.registry, *sources, progress=bar)
        if self.healed.run is not None:
            self._seen = None
        clean = not self.healed.broken and self.healed.stopped is None
        undo = spelled(session, "gc", "restore", self.healed.run or "")
        _show(session, partial(render_heal.show_healed, undo=undo), self.healed, clean=clean)

    def relink(self) -> None:
        """Write links that can be proven."""
        from regfs.heal.relink import plan_relink, relink
        from regfs.render import heal as render_heal

        session = self._session
        planned = plan_relink(session.registry, *self._verify("sizes"))
        if self._dry_run:
            self.relink_plan = planned
            _show(session, render_heal.show_relink_plan, planned)
            return
        with session.progress() as bar:
            self.relinked = relink(planned, session.registry, progress=bar)
        if self.relinked.run is not None:
            self._seen = None
        clean = not self.relinked.ambiguous and not self.relinked.skipped
        undo = spelled(session, "gc", "restore", self.relinked.run or "")
        _show(session, partial(render_heal.show_relinked, undo=undo), self.relinked, clean=clean)

    def left(self) -> list[Left] | None:
        """Return what is still wrong; None if the run stopped early or is only planned."""
        from regfs.heal.left import left

        to_fetch = self.plan is not None and self.plan.fetch > 0
        to_link = self.relink_plan is not None and bool(self.relink_plan.links)
        if self.is_stopped or (self._dry_run and (to_fetch or to_link)):
            return None
        result = self._seen or self._verify("sizes")[2]
        return left(result, self.plan, self.healed)

    def _verify(self, level: str) -> tuple[Inventory, Graph, Result]:
        found = _verify(self._session, level, self._options["jobs"])
        self._seen = found[2]
        return found


def _verify(session: Session, level: str, jobs: int | None) -> tuple[Inventory, Graph, Result]:
    """Scan and verify the tree as it is now."""
    from regfs.graph import build_graph
    from regfs.reports.causes import is_denied
    from regfs.tree.inventory import INCOMPLETE
    from regfs.tree.scan import scan
    from regfs.verify import Level, VerifyOptions, verify

    session.tree.refresh()
    with session.progress() as bar:
        inventory = scan(session.view.store, progress=bar)
        graph = build_graph(inventory, session.view, progress=bar)
        asked = VerifyOptions(level=Level(level), jobs=jobs)
        found = verify(session.view, inventory, graph, asked, progress=bar)
    if found.interrupted:
        raise KeyboardInterrupt  # a partial result must not be acted upon
    # Damage is what heal repairs; what cannot be read makes its answer incomplete.
    seen = [*inventory.findings, *(row.finding for row in found.findings)]
    session.tree.reported[:] = [one for one in seen if one.code in INCOMPLETE or is_denied(one)]
    return inventory, graph, found


def _show(
    session: Session, people: Callable[..., None], report: object, *, clean: bool = False
) -> None:
    if not session.json and not (clean and session.quiet):
        people(session.out, report, verbose=session.verbose)


def _exit(session: Session, work: _HealCommand, remains: Sequence[Left]) -> Exit:
    stopped = None if work.healed is None else work.healed.stopped
    if stopped is not None:
        session.complain(f"{stopped}; what was done stays, and the next run does the rest")
        return Exit.INTERRUPTED if stopped == "interrupted" else Exit.STORAGE
    made, linked = work.healed or work.plan, work.relinked or work.relink_plan
    broken = getattr(made, "broken", 0) or getattr(made, "lacking", 0)
    still = linked is not None and bool(linked.ambiguous or linked.skipped)
    unseen = session.report_unread()
    return Exit.FINDINGS if broken or still or remains or unseen else Exit.CLEAN


# -- how to reach a source ------------------------------------------------------------


def _opened(
    session: Session, places: Sequence[str], options: dict[str, Any], stack: ExitStack
) -> list[Source]:
    """Open the sources until `stack` closes; without those that fail, if there are others."""
    from regfs.heal.opening import is_registry, open_source

    given = options["creds"] or options["creds_file"]
    if given and sum(map(is_registry, places)) > 1:
        raise click.UsageError("--creds and --creds-file are for one registry; use --authfile")
    sources: list[Source] = []
    failed: list[SourceError] = []
    for place in places:
        try:
            sources.append(open_source(place, _access(place, options)))
        except SourceError as error:
            failed.append(error)
        else:
            stack.callback(sources[-1].close)
    if not sources:
        raise failed[0]
    for trouble in failed:
        session.note(f"regfs: {trouble}; only the other sources are asked")
    return sources


def _access(place: str, options: dict[str, Any]) -> RegistryAccess:
    from regfs.heal.source import RegistryAccess

    return RegistryAccess(
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
        raise DocumentInvalid("credentials must be USER:PASSWORD")
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
