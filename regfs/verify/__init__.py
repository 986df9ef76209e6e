"""Verification: whether a tree is intact, without writing a byte into it.

    verify(registry, scan(store), options=VerifyOptions(level=Level.DIGESTS, jobs=2)) -> Result
        .checked    blobs, bytes, links and manifests that were checked
        .findings   what is wrong, each with the images it damages
        .images     the damaged images, each with what is wrong with it

    links      the layout, and what every link says                     walk.py
    sizes      + everything that images need exists, in the right size  closure.py
    digests    + every blob is hashed, once                             content.py
    content    + layers are unpacked while they are hashed              unpack.py

levels.py runs one level after the other. Findings are reported at once, each one once and in
an order that depends on the tree alone: what threads find waits for what comes before it.
affected.py finds the images, scope.py limits it to what was asked for.

Of many machines, each hashes a share of the blobs (`Portion.BLOBS`): nothing is said of images, so
manifests are read by that share alone they belong to. One has the merged ledger and does what is
left (`Portion.REST`): it reads links and manifests and says all that one process would have said.
"""

from __future__ import annotations

from collections.abc import Callable

from regfs.errors import Refused
from regfs.graph import Graph, build_graph
from regfs.progress import SILENT, Progress
from regfs.stores import Capability, Store
from regfs.tree.inventory import Inventory
from regfs.tree.registry import Registry
from regfs.verify.affected import Affected
from regfs.verify.context import Context
from regfs.verify.elsewhere import Elsewhere
from regfs.verify.images import PullableImage, images_of
from regfs.verify.ledger_file import LedgerFile
from regfs.verify.levels import Levels
from regfs.verify.options import Portion, VerifyOptions
from regfs.verify.read_pass import open_pass
from regfs.verify.report import Checked, Collector, ImageDamage, Level, ReportedFinding, Result
from regfs.verify.schedule import Selection
from regfs.verify.scope import scope_of

__all__ = [
    "Checked",
    "ImageDamage",
    "LedgerFile",
    "Level",
    "Portion",
    "PullableImage",
    "ReportedFinding",
    "Result",
    "Selection",
    "VerifyOptions",
    "images_of",
    "verify",
]


def verify(
    registry: Registry,
    inventory: Inventory,
    graph: Graph | None = None,
    options: VerifyOptions = VerifyOptions(),  # noqa: B008  # frozen
    *,
    progress: Progress = SILENT,
    on_finding: Callable[[ReportedFinding], None] | None = None,
) -> Result:
    """Check a tree, or the part of it that `options` ask for.

    The graph is built if the level needs one, of manifests as the store has them now. `on_finding`
    is called with each finding at once, in this thread. Ctrl-C ends the verification early; the
    result holds what was found until then.

    Raises:
        Invalid: the selection makes no sense at this level, or without a ledger.
        Refused: the store cannot give layers a second time, as this level needs.
    """
    level = _possible(registry.store, options.level)
    started = options.clock() if options.started is None else options.started
    read_pass = open_pass(registry.store, inventory, options, started)
    if level.covers(Level.SIZES) and graph is None and options.portion is not Portion.BLOBS:
        unkept = Registry(registry.store, registry.report, fetch=registry.fetch)
        graph = build_graph(inventory, unkept, progress=progress)
    scope = scope_of(options.targets, inventory, graph)
    elsewhere = Elsewhere(registry)
    collector = Collector(Affected(inventory, graph, elsewhere), scope.has_finding, on_finding)
    context = Context(registry, inventory, scope, collector, progress, elsewhere)
    levels = Levels(context, collector, graph, options, read_pass)
    interrupted = not levels.check()
    return Result(
        registry.store.url,
        level,
        levels.checked(),
        tuple(collector.rows),
        interrupted,
        collector.images,
        started,
        options.clock(),
        collector.more,
    )


def _possible(store: Store, level: Level) -> Level:
    """Return the level, if the store can give what that needs."""
    if level.covers(Level.CONTENT) and Capability.DIGESTS in store.capabilities:
        raise Refused(
            f"{store.url}: level content reads layers after their manifests, and here bytes pass "
            "once; give a folder or an archive that is not compressed"
        )
    return level
