"""Copying an image to another repository, and renaming a repository.

    cp    the target gets links to all that the image consists of, and a tag
    mv    the new name gets every link of the old one with its time; then the old ones are removed

Both create links as a push does, what is referred to first. While a repository is renamed there
is no moment at which an image can be pulled by neither name. A push to the old name that was
under way finds its content gone and is refused, or brings back what it needs (`regfs.edits`).
"""

from __future__ import annotations

from collections.abc import Iterator

from regfs import layout
from regfs.digest import CANONICAL, Digest
from regfs.edits.edit import Edit, NewLink, Renamed
from regfs.edits.removing import nested, require_listed, take_all
from regfs.edits.tagging import content_links, require_whole, set_tag, split_tag
from regfs.errors import Doubt, NameUnknown, ReferenceInvalid, Refused
from regfs.graph import Graph
from regfs.names import check_name
from regfs.runs import RunKind
from regfs.runs.totals import ActionKind
from regfs.tree.inventory import RepositoryInventory
from regfs.tree.registry import Registry, Target


def copying(registry: Registry, source: Target, new: str, *, force: bool = False) -> Edit:
    """Return the edit that copies an image; `new` is NAME:TAG.

    Raises:
        ReferenceInvalid: `source` names no image of a repository, or `new` no tag.
        NameInvalid, TagInvalid: `new` is no legal name.
        Refused: the tag points elsewhere, and there is no `force`.
        Doubt: the image is not whole.
    """
    if source.name is None or source.digest is None:
        raise ReferenceInvalid(f"{source}: cp takes NAME:TAG or NAME@DIGEST")
    name, tag = split_tag(new, None)
    edit = Edit(RunKind.CP)
    parts = require_whole(registry, source.name, source.digest)
    edit.links += content_links(registry, name, parts)
    set_tag(registry, edit, name, tag, source.digest, force=force)
    return edit


def moving(
    graph: Graph,
    registry: Registry,
    name: str,
    new: str,
    *,
    recursive: bool = False,
    offline: bool = False,
) -> Edit:
    """Return the edit that renames a repository, and with `recursive` those below it.

    Raises:
        NameInvalid: `new` is no legal name.
        NameUnknown: there is no such repository.
        Refused: `new` exists, or lies below; repositories lie below, and it is not `recursive`.
        Doubt: something cannot be read, and so not be created at its new place.
    """
    check_name(new)
    every = graph.inventory.repositories
    below = [other for other in every if other.startswith(f"{name}/")]
    if name not in every and not (below and recursive):
        raise NameUnknown(f"no such repository: {name}")
    if below and not recursive:
        raise Refused(f"{name}: {nested(below)}; give --recursive to move them too")
    if recursive and f"{new}/".startswith(f"{name}/"):
        raise Refused(f"{new} lies below {name}")
    edit = Edit(RunKind.MV)
    for one in [*([name] if name in every else []), *below]:
        target = f"{new}{one[len(name) :]}"
        check_name(target)
        if registry.exists(target):
            raise Refused(f"{target} exists; remove it first, or choose another name")
        edit.renamed.append(Renamed(one, target))
        edit.links += _links(graph, registry, every[one], target)
        take_all(graph, every[one], edit, offline=offline)
    return edit


def _links(
    graph: Graph, registry: Registry, repository: RepositoryInventory, new: str
) -> Iterator[NewLink]:
    """Yield the links of a repository as they will be under another name."""
    name, layers = repository.name, repository.layers
    require_listed(graph, name, [layout.repository_folder(name)])
    for digest, _, mtime, *_ in layers.files(range(len(layers))):
        stored = _content(registry, layout.LayerLink(name, digest))
        path = layout.path_of(layout.LayerLink(new, digest))
        yield NewLink(ActionKind.LAYER_LINK, path, stored, new, mtime)
    for digest, info in repository.revisions.items():
        stored = _content(registry, layout.RevisionLink(name, digest))
        path = layout.path_of(layout.RevisionLink(new, digest))
        yield NewLink(ActionKind.REVISION, path, stored, new, info.mtime)
    for tag, tagged in repository.tags.items():
        current = layout.TagCurrent(name, tag)
        if tagged.current is None or tagged.problem is not None:
            raise Doubt(f"{layout.path_of(current)}: the tag is damaged; {_REPAIR} {name}:{tag}")
        for entry in tagged.history:
            path = layout.path_of(layout.TagIndex(new, tag, entry.digest))
            yield NewLink(ActionKind.TAG_INDEX, path, entry.digest, new, entry.mtime)
        path = layout.path_of(layout.TagCurrent(new, tag))
        yield NewLink(ActionKind.TAG, path, tagged.current, new, tagged.mtime)


_REPAIR = "repair it (regfs heal --relink), or remove it: regfs untag"


def _content(registry: Registry, key: layout.LayerLink | layout.RevisionLink) -> Digest:
    """Return what a link holds.

    Raises:
        Doubt: it holds what its path does not say.
    """
    path = layout.path_of(key)
    link = registry.link(path)
    is_alias = link.digest is not None and key.digest.algorithm != CANONICAL
    if (
        link.problem is not None
        or link.digest is None
        or not (
            link.digest == key.digest
            or (is_alias and link.digest.algorithm != key.digest.algorithm)
        )
    ):
        raise Doubt(f"{path}: the link is damaged; repair it: regfs heal --relink")
    return link.digest
