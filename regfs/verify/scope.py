"""What to check: the whole tree, or what some repositories, tags and digests reach."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from regfs import layout
from regfs.digest import Digest
from regfs.findings import Finding
from regfs.graph import Graph
from regfs.tree.inventory import Inventory, RepositoryInventory
from regfs.tree.registry import Target
from regfs.verify.affected import key_at


@dataclass(slots=True)
class Scope:
    """A part of a tree; with `everything`, the other fields do not count."""

    everything: bool = True
    repositories: set[str] = field(default_factory=set)
    """Names of repositories to check entirely (without those nested in them)."""
    tags: set[tuple[str, str]] = field(default_factory=set)
    links: dict[str, set[Digest]] = field(default_factory=dict)
    """Repository -> manifests and blobs whose links to check."""
    blobs: set[Digest] = field(default_factory=set)

    def folders(self) -> list[str]:
        """Return the folders to walk."""
        if self.everything:
            return [layout.PREFIX]
        return [
            f"{layout.repository_folder(name)}/{part}"
            for name in sorted(self.repositories | self.links.keys())
            for part in ("_layers", "_manifests", "_uploads")
        ]

    def has_repository(self, name: str) -> bool:
        """Return whether anything in a repository is in scope."""
        return self.everything or name in self.repositories or name in self.links

    def has_blob(self, digest: Digest) -> bool:
        """Return whether a blob is in scope."""
        return self.everything or digest in self.blobs

    def has_key(self, key: layout.Key) -> bool:
        """Return whether a file of the layout is in scope."""
        if self.everything:
            return True
        match key:
            case layout.BlobData(digest):
                return digest in self.blobs
            case layout.LayerLink(name, digest) | layout.RevisionLink(name, digest):
                return name in self.repositories or digest in self.links.get(name, ())
            case layout.TagCurrent(name, tag) | layout.TagIndex(name, tag, _):
                return name in self.repositories or (name, tag) in self.tags
            case layout.Foreign(path):
                return self._has_path(path)
        return key.name in self.repositories

    def has_finding(self, finding: Finding) -> bool:
        """Return whether a finding is about something in scope."""
        if self.everything:
            return True
        if finding.repository is not None and not self.has_repository(finding.repository):
            return False
        return self.has_key(key_at(finding.path))

    def _has_path(self, path: str) -> bool:
        name, _, rest = path.removeprefix(layout.REPOSITORIES + "/").partition("/_")
        if name in self.repositories:
            return True
        tag = rest.removeprefix("manifests/tags/").partition("/")[0]
        return rest.startswith("manifests/tags/") and (name, tag) in self.tags


def scope_of(targets: Sequence[Target], inventory: Inventory, graph: Graph | None) -> Scope:
    """Return the scope of `targets`; without targets, everything."""
    if not targets:
        return Scope()
    scope = Scope(everything=False)
    for target in targets:
        content = inventory.repositories.get(target.name or "")
        starts: Iterable[Digest] = () if target.digest is None else (target.digest,)
        if content is not None and target.tag is None and target.digest is None:
            scope.repositories.add(content.name)
            starts = _roots(content)
            scope.blobs.update(content.layers)
        elif content is not None and target.tag is not None:
            scope.tags.add((content.name, target.tag))
        reached = set(starts)
        if graph is not None:
            reached = graph.needs(graph.reachable(reached))
        scope.blobs |= reached
        if content is not None:
            scope.links.setdefault(content.name, set()).update(reached)
    return scope


def _roots(content: RepositoryInventory) -> set[Digest]:
    tagged = {info.current for info in content.tags.values() if info.current is not None}
    return tagged | set(content.revisions)
