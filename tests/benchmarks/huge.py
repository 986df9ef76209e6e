"""Plans a collection of ten million blobs that are on no disk, or says what they use.

    python -m tests.benchmarks.huge plan|du [--blobs 10000000] [--repositories 10000] [--tags 120]

What a listing and the reading of all manifests would have left in memory is made up: of ten blobs
two are images, two their configs, five their layers, and one is garbage. An image names its
config, two or three layers of its own, and two of a few hundred that all share: 5.5 edges. Every
second piece of garbage has a layer link. As in the lean listing of both commands, files of blobs
and layer links have no columns: the plan asks about those that go, and for du the columns of all
blobs are filled in.

Printed as JSON: what there is, and after each step the seconds it took and the peak memory of
the process so far, in bytes. The exit code is 1 when not all garbage is found, or more than that.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TYPE_CHECKING

from regfs.digest import Digest
from regfs.graph import Graph
from regfs.graph.manifests import Images
from regfs.tree.inventory import Inventory, RepositoryInventory, TagInfo
from tests.benchmarks.steps import Steps

if TYPE_CHECKING:
    from regfs.manifests import Manifest

MEDIA_TYPE = "application/vnd.oci.image.manifest.v1+json"
WRITTEN_AT = 1.7e9
LENGTH = 4096
"""Bytes of each file."""
SHARED = 200
"""Layers of which every image has two."""
AT_ONCE = 100_000
"""Digests that are made at once."""

Row = tuple[Digest, int, float, int]


@dataclass(frozen=True, slots=True)
class Shape:
    """How much there is; the numbers of blobs by what they are."""

    blobs: int
    repositories: int
    tags: int
    """In each repository, of images of its own."""

    @property
    def tens(self) -> int:
        """Groups of ten blobs in each repository."""
        return self.blobs // (10 * self.repositories)

    def images(self, repository: int) -> list[int]:
        """Return the numbers of the images of a repository."""
        return [10 * ten + place for ten in self._tens_of(repository) for place in (0, 1)]

    def garbage(self, repository: int) -> array[int]:
        """Return the numbers of the garbage that a repository links."""
        return array("I", [10 * ten + 4 for ten in self._tens_of(repository) if ten % 2])

    def leaves(self, image: int) -> list[int]:
        """Return the numbers of the config and the layers of an image."""
        ten, place = divmod(image, 10)
        own = (5, 6) if place == 0 else (7, 8, 9)
        shared = (10 * (ten % SHARED % self.tens) + 5, 10 * ((ten + 1) % SHARED % self.tens) + 6)
        return [image + 2, *(10 * ten + layer for layer in own), *shared]

    def _tens_of(self, repository: int) -> range:
        return range(repository * self.tens, (repository + 1) * self.tens)


def files(digests: list[Digest]) -> Iterator[Row]:
    """Answer for every file that a plan asks about."""
    return ((digest, LENGTH, WRITTEN_AT, LENGTH) for digest in digests)


def make_inventory(shape: Shape) -> Inventory:
    """Make up what listing the tree would find."""
    inventory = Inventory("file:///nowhere", WRITTEN_AT)
    inventory.blobs.ask = files
    source = random.Random(1)
    for start in range(0, shape.blobs, AT_ONCE):
        count = min(AT_ONCE, shape.blobs - start)
        inventory.blobs.extend(inventory.known.add_rows(source.randbytes(32 * count)))
    for number in range(shape.repositories):
        name = f"team-{number // 100:03}/app-{number:05}"
        inventory.repositories[name] = make_repository(inventory, name, shape, number)
    return inventory


def make_repository(
    inventory: Inventory, name: str, shape: Shape, number: int
) -> RepositoryInventory:
    """Make up what listing one repository would find."""
    found = RepositoryInventory(name, inventory.known, has_history=False, has_tags_folder=True)
    found.parts = frozenset(("_layers", "_manifests", "_uploads"))
    images = shape.images(number)
    count = len(images)
    columns = (repeat(71, count), repeat(WRITTEN_AT, count), repeat(LENGTH, count))
    found.revisions.extend(array("I", images), *columns)
    found.layers.ask = files
    linked = {*chain.from_iterable(map(shape.leaves, images)), *shape.garbage(number)}
    found.layers.extend(array("I", sorted(linked)))
    for image in images[: shape.tags]:
        tag = TagInfo(inventory.known[image], WRITTEN_AT, 71, None, ())
        found.tags[f"v{image}"] = tag
    return found


def make_graph(inventory: Inventory, shape: Shape) -> Graph:
    """Make up what reading all manifests would find."""
    graph = Graph(inventory)
    for number in range(shape.repositories):
        images = shape.images(number)
        count = len(images)
        leaves = list(map(shape.leaves, images))
        numbers = array("I", chain.from_iterable(leaves))
        lengths = array("q", repeat(LENGTH, len(numbers)))
        types, sizes = [MEDIA_TYPE] * count, [LENGTH] * count
        counts = list(map(len, leaves))
        graph.manifests.add_images(
            Images(images, types, [None] * count, sizes, counts, numbers, lengths)
        )
    return graph


def planned(graph: Graph) -> int:
    """Plan as `gc plan --offline` does; return how many blobs would go."""
    from regfs.gc.plan import plan
    from regfs.gc.policy import Policy

    return plan(graph, Policy(min_age=0.0), WRITTEN_AT + 1e6).totals.blobs


def measured(graph: Graph) -> int:
    """Make the report of du; return how many blobs nothing needs."""
    from regfs.reports.disk import disk_of
    from regfs.reports.usage import usage
    from regfs.tree.measure import Measured

    blobs = graph.inventory.blobs
    count = len(blobs)
    columns = repeat(LENGTH, count), repeat(WRITTEN_AT, count), repeat(LENGTH, count)
    blobs.fill(blobs.numbers, *columns)
    used = usage(graph, unread, disk=disk_of(graph, Measured()))
    return used.disk.unreferenced.files if used.disk else 0


def unread(digest: Digest) -> Manifest:
    """Refuse to read a manifest: none is anywhere, and rows by repository ask for none."""
    raise LookupError(digest)


WAYS = {"plan": planned, "du": measured}


def main(arguments: list[str] | None = None) -> int:
    """Make the inventory and the graph up and ask what was said; print what it took."""
    parser = argparse.ArgumentParser(prog="huge", description="Plan or measure a tree on no disk.")
    parser.add_argument("what", choices=WAYS)
    parser.add_argument("--blobs", type=int, default=10_000_000)
    parser.add_argument("--repositories", type=int, default=10_000)
    parser.add_argument("--tags", type=int, default=120, help="of each repository [120]")
    options = parser.parse_args(arguments)
    shape = Shape(options.blobs, options.repositories, options.tags)
    if not shape.tens or shape.blobs % (20 * shape.repositories):
        parser.error("--blobs has to be a multiple of 20 times --repositories")
    gc.set_threshold(1_000_000)  # as the command line does
    steps = Steps(time.perf_counter)
    steps.note("imports")
    inventory = make_inventory(shape)
    steps.note("inventory")
    graph = make_graph(inventory, shape)
    steps.note("graph")
    garbage = WAYS[options.what](graph)
    steps.note(options.what)
    found = {
        "blobs": len(inventory.blobs),
        "manifests": len(graph.manifests),
        "edges": sum(map(graph.manifests.leaf_count, graph.manifests)),
        "tags": sum(len(one.tags) for one in inventory.repositories.values()),
        "garbage": garbage,
    }
    print(json.dumps({**found, "steps": steps.rows}, indent=2))
    return 0 if garbage == shape.blobs // 10 else 1


if __name__ == "__main__":
    sys.exit(main())
