"""Small words for tests of heal: a backup of a tree, plan and heal, a source of our own."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

from regfs.digest import Digest
from regfs.errors import SourceError, SourceLacks
from regfs.graph import build_graph
from regfs.heal.needs import plan_heal
from regfs.heal.opening import open_source
from regfs.heal.relink import plan_relink, relink
from regfs.heal.repair import heal
from regfs.heal.report import Healed, HealPlan, HealState, Relinked, RelinkPlan
from regfs.heal.source import BlobRequest, Source
from regfs.stores import open_store
from regfs.tree.registry import Registry
from regfs.tree.scan import scan
from regfs.verify import Level, VerifyOptions, verify
from tests.support.builder import TreeBuilder, image, index

ONE = image(["base", "one"])
LAYER = ONE.blobs[1].digest
ARM = image(["arm"], platform="linux/arm64")
MULTI = index(image(["base", "amd"]), ARM)


def stocked(tree: TreeBuilder) -> TreeBuilder:
    """Push an image, and an index of two platforms into another repository."""
    tree.push("app", "v1", ONE)
    tree.push("team/x", "multi", MULTI)
    return tree


def backup(tree: TreeBuilder) -> TreeBuilder:
    """Copy a tree as it is now."""
    target = tree.root.with_name(f"{tree.root.name}-backup")
    shutil.copytree(tree.root, target)
    return TreeBuilder(target)


class Memory:
    """A source that gives what a test says, and remembers what it was asked for."""

    url = "memory"

    def __init__(self, content: dict[str, bytes | Exception | Callable[[], BinaryIO]]) -> None:
        self.content = content
        self.asked: list[BlobRequest] = []

    @classmethod
    def of(cls, tree: TreeBuilder) -> Memory:
        return cls({digest: tree.blob_path(digest).read_bytes() for digest in tree.blobs()})

    def size(self, wanted: BlobRequest) -> int:
        found = self._find(wanted)
        return len(found) if isinstance(found, bytes) else -1

    def open(self, wanted: BlobRequest) -> BinaryIO:
        self.asked.append(wanted)
        found = self._find(wanted)
        return io.BytesIO(found) if isinstance(found, bytes) else found()

    def _find(self, wanted: BlobRequest) -> bytes | Callable[[], BinaryIO]:
        found = self.content.get(wanted.digest)
        if found is None:
            raise SourceLacks("not here")
        if isinstance(found, Exception):
            raise SourceError(str(found))
        return found

    def close(self) -> None:
        pass


class Endless(io.RawIOBase):
    """Bytes without an end."""

    def __init__(self) -> None:
        super().__init__()
        self.given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        self.given += len(buffer)
        buffer[:] = bytes(len(buffer))
        return len(buffer)


def plan_of(
    tree: TreeBuilder, *sources: Source, level: Level = Level.DIGESTS, **options: Any
) -> HealPlan:
    registry = Registry(open_store(str(tree.root)))
    inventory = scan(registry.store)
    graph = build_graph(inventory, registry)
    result = verify(registry, inventory, graph, VerifyOptions(level=level))
    return plan_heal(registry, inventory, graph, result, *sources, **options)


def heal_from(
    tree: TreeBuilder, source: Source | str | Path, store: Any = None, **options: Any
) -> Healed:
    """Plan, and heal; a plan of nothing heals nothing."""
    if isinstance(source, str | Path):
        with closing(open_source(str(source))) as opened:
            return heal_from(tree, opened, store, **options)
    planned = plan_of(tree, source, **options)
    return heal(planned, Registry(store or open_store(str(tree.root))), source)


def relink_plan(tree: TreeBuilder) -> RelinkPlan:
    registry = Registry(open_store(str(tree.root)))
    inventory = scan(registry.store)
    graph = build_graph(inventory, registry)
    return plan_relink(
        registry,
        inventory,
        graph,
        verify(registry, inventory, graph, VerifyOptions(level=Level.LINKS)),
    )


def relink_now(tree: TreeBuilder, store: Any = None) -> Relinked:
    return relink(relink_plan(tree), Registry(store or open_store(str(tree.root))))


def states(healed: Healed) -> dict[Digest, HealState]:
    return {one.digest: one.state for one in healed.outcomes}


def wrong(tree: TreeBuilder) -> list[str]:
    """Return the blobs in place whose bytes are not those of their digest."""
    from tests.support.images import digest_of

    return sorted(
        digest
        for digest in tree.blobs()
        if digest_of(tree.blob_path(digest).read_bytes()) != digest
    )


def broken_shop(root: Path) -> tuple[TreeBuilder, Memory, dict[str, str]]:
    """Return a tree with three damages, a source that has all, and the files as they were."""
    shop = stocked(TreeBuilder(root))
    source, good = Memory.of(shop), shop.files()
    shop.break_("blob-flipped", "app", "v1", LAYER)
    shop.break_("manifest-empty", "team/x", "multi")
    shop.delete_blob(ARM.blobs[1].digest)
    return shop, source, good
