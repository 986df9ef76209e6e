"""Where the bytes of a disk are that are neither content nor links."""

from __future__ import annotations

from regfs.gc.collect import collect
from regfs.graph import build_graph
from regfs.progress import SILENT
from regfs.reports.disk import Disk, disk_of
from regfs.tree.measure import measure_all, scan_and_measure
from regfs.tree.scan import scan
from tests.support.builder import TreeBuilder
from tests.support.registries import plan_of, registry_of


def disks(tree: TreeBuilder) -> list[Disk]:
    """Measure a tree in both ways."""
    registry = registry_of(tree)
    inventory, measured = scan_and_measure(registry.store)
    found = [disk_of(build_graph(inventory, registry), measured)]
    inventory = scan(registry.store)
    graph = build_graph(inventory, registry)
    return [*found, disk_of(graph, measure_all(registry.store, inventory, SILENT))]


def test_what_lies_in_quarantine_is_told_from_what_regfs_keeps(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    tree.blob(b"nobody needs this")
    collect(plan_of(tree), registry_of(tree))
    for found in disks(tree):
        assert (found.quarantine.files, found.quarantine.bytes) == (1, 17)
        assert found.own.files == len(
            [one for one in tree.files(".regfs") if "/quarantine/" not in one]
        )
        assert found.other.files == 0


def test_a_name_alone_makes_no_quarantine(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    tree.write(tree.root / ".regfs/quarantine/x", b"1")
    tree.write(tree.root / "runs/x/quarantine/y", b"22")
    for found in disks(tree):
        assert (found.quarantine.bytes, found.own.bytes, found.other.bytes) == (0, 1, 2)
