"""The images of a tree, by the names that findings use.

A manifest that no tag leads to and no index of its repository lists is an image too, named
by its digest; only a graph knows these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from regfs.digest import Digest
from regfs.graph import EdgeKind, Graph
from regfs.tree.inventory import Inventory, RepositoryInventory
from regfs.tree.registry import Target
from regfs.verify.affected import Affected


class PullableImage(NamedTuple):
    """An image that can be pulled."""

    repository: str
    tag: str | None
    digest: Digest | None = None
    """The manifest, if no tag leads to it."""

    @property
    def reference(self) -> str:
        """The tag, or `@` and the digest."""
        return f"@{self.digest}" if self.tag is None else self.tag

    def __str__(self) -> str:
        return (
            f"{self.repository}@{self.digest}"
            if self.tag is None
            else f"{self.repository}:{self.tag}"
        )


def images_of(
    targets: Sequence[Target], inventory: Inventory, graph: Graph | None
) -> Iterator[PullableImage]:
    """Yield the images that `targets` name or contain; without targets all of them."""
    affected = Affected(inventory, graph)
    names = {target.name for target in targets if target.tag is None and target.digest is None}
    exact = {str(target) for target in targets if target.tag is not None}
    for target in targets:
        if target.tag is None and target.digest is not None:
            exact |= affected.above(target.digest, target.name)
    for content in inventory.repositories.values():
        for image in _images(content, graph):
            if not targets or content.name in names or str(image) in exact:
                yield image


def _images(content: RepositoryInventory, graph: Graph | None) -> Iterator[PullableImage]:
    name = content.name
    for tag in content.tags:
        yield PullableImage(name, tag)
    if graph is None:
        return
    tagged = {info.current for info in content.tags.values()}
    served = {
        one: None for digest in content.revisions for one in graph.revision_targets(name, digest)
    }
    for digest in served:
        before = graph.predecessors(digest).items()
        listed = any(kind is EdgeKind.CHILD and one in content.revisions for one, kind in before)
        if digest not in tagged and not listed:
            yield PullableImage(name, None, digest)
