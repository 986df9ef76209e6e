"""Reading the manifests of a tree on several machines: each reads a share, one plans.

    machine 1   list -> read manifests whose digest is of share 1/3 -> part1
    machine 2   list -> ..                                    2/3   -> part2
    machine 3   list -> ..                                    3/3   -> part3
    any         list -> take manifests from part1 part2 part3, read the others -> graph -> plan

Shares are those of `verify --subset`. Only what repositories link is read: a registry takes an
index only after all that it lists was pushed, and so linked. What only an index names is read by
the machine that plans, as is all that is in no part.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from regfs.content.manifest_parts import write_part
from regfs.digest import Digest
from regfs.graph.manifest_bytes import ManifestBytes, by_folder
from regfs.parallel import adaptive_map
from regfs.progress import SILENT, Progress
from regfs.tree.inventory import Inventory
from regfs.tree.registry import Registry

_COLD = 1e-3
"""Seconds of waiting for one manifest above which reads are taken for slow."""


@dataclass(frozen=True, slots=True)
class ShareRead:
    """What one machine has read."""

    root: str
    subset: str
    """`n/t`."""
    output: str
    manifests: int
    """Number of manifests in the file."""
    bytes: int
    """Bytes of these manifests."""
    lacking: int
    """Number of manifests of the share that are missing, damaged or too large."""


@dataclass(slots=True)
class _ReadSoFar:
    manifests: int = 0
    bytes: int = 0
    lacking: int = 0


def read_share(
    inventory: Inventory,
    registry: Registry,
    has: Callable[[Digest], bool],
    subset: str,
    output: str,
    progress: Progress = SILENT,
) -> ShareRead:
    """Read the linked manifests whose digest the share `has`, and write them to `output`.

    Raises:
        StoreError: the file cannot be written.
    """
    counts = _ReadSoFar()
    folders = by_folder(inventory.known, _linked(inventory, has))
    progress.start("Reading manifests", sum(map(len, folders)))
    contents = ManifestBytes(registry, inventory)

    def read(members: array[int]) -> list[bytes | None]:
        return list(contents.of(members))

    def every() -> Iterator[tuple[str, Mapping[str, bytes]]]:
        answers = adaptive_map(read, folders, lambda waited, got: waited > _COLD * len(got))
        for members, answer in zip(folders, answers, strict=True):
            digests = [inventory.known[number] for number in members]
            found = {
                digest.encoded: content
                for digest, content in zip(digests, answer, strict=True)
                if content is not None
            }
            counts.manifests += len(found)
            counts.bytes += sum(map(len, found.values()))
            counts.lacking += len(members) - len(found)
            progress.advance(len(members))
            yield f"{digests[0].algorithm}:{digests[0].prefix}", found

    write_part(output, every())
    progress.finish()
    return ShareRead(inventory.url, subset, output, counts.manifests, counts.bytes, counts.lacking)


def _linked(inventory: Inventory, has: Callable[[Digest], bool]) -> Iterable[int]:
    """Return the numbers of the manifests that links name, of this share and listed, each once."""
    blobs, known = inventory.blobs, inventory.known
    numbers: set[int] = set()
    for repository in inventory.repositories.values():
        currents = (tag.current for tag in repository.tags.values())
        tagged = (known.find(one) for one in currents if one is not None)
        for number in chain(repository.revisions.numbers, tagged):
            if number is not None and number not in numbers and has(known[number]):
                numbers.add(number)
    return sorted(number for number in numbers if blobs.row_of(number) is not None)
