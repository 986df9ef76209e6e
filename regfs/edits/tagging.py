"""Setting tags: to a manifest of the repository, to one that lost its repository, or back.

    tag         NAME:TAG or NAME@DIGEST gets another tag in its repository
                DIGEST, a manifest that no repository has, gets its links again, and a tag
    rollback    a tag goes back to what it pointed to before

The links are those of a push, in its order: layers, manifests (what is listed before its index),
the history of the tag, the tag itself. What they name is checked before: a tag is never set to an
image that is not whole.

A manifest that some repository has is not tagged in another one: that would give away what only
`cp`, which names both, may give. Of two that set one tag at the same moment the later one wins,
as with two pushes; the history of the tag has both.
"""

from __future__ import annotations

from collections.abc import Iterator

from regfs import layout
from regfs.digest import Digest
from regfs.edits.edit import Edit, NewLink, Retained
from regfs.errors import Doubt, ManifestUnknown, ReferenceInvalid, Refused
from regfs.names import check_name, check_tag
from regfs.reports.image_parts import ImageParts, image_parts
from regfs.runs import RunKind
from regfs.runs.totals import ActionKind
from regfs.stores import stat_or_none
from regfs.tree.references import SHORTEST
from regfs.tree.registry import Registry, Target


def tagging(registry: Registry, source: Target, new: str, *, force: bool = False) -> Edit:
    """Return the edit that sets a tag; `new` is TAG or NAME:TAG.

    `force` moves a tag that points elsewhere.

    Raises:
        ReferenceInvalid: `source` names no manifest, or `new` is in another repository.
        NameInvalid, TagInvalid: `new` is no legal name.
        ManifestUnknown: the manifest is not there.
        Refused: the tag points elsewhere; the manifest belongs to another repository.
        Doubt: the image is not whole.
    """
    name, tag = split_tag(new, source.name)
    if source.digest is None:
        raise ReferenceInvalid(f"{source}: name a tag or a digest of it")
    if source.name not in (None, name):
        raise ReferenceInvalid(
            f"{source} is not in {name}; to copy it there: regfs cp {source} {name}:{tag}"
        )
    edit = Edit(RunKind.TAG)
    if source.name is None and not registry.holds(name, source.digest):
        owner = next(_owners(registry, source.digest), None)
        if owner is not None:
            raise Refused(
                f"{source.digest} belongs to {owner}; to copy it: regfs cp "
                f"{owner}@{source.digest} {name}:{tag}"
            )
        parts = require_whole(registry, None, source.digest)
        edit.links += content_links(registry, name, parts)
    else:
        require_whole(registry, name, source.digest)
    set_tag(registry, edit, name, tag, source.digest, force=force)
    return edit


def rolling_back(registry: Registry, target: Target, to: str) -> Edit:
    """Return the edit that sets a tag back; `to` is a digest of its history, or -1, -2, ...

    Raises:
        ReferenceInvalid: `target` is no tag, or `to` means nothing.
        ManifestUnknown: the tag never pointed to that, or not to so many.
        Doubt: that image is not whole any more.
        StoreError: the history cannot be read.
    """
    name, tag = target.name, target.tag
    if name is None or tag is None:
        raise ReferenceInvalid(f"{target}: rollback takes NAME:TAG")
    edit = Edit(RunKind.ROLLBACK)
    digest = _former(registry, target, to)
    require_whole(registry, name, digest)
    set_tag(registry, edit, name, tag, digest, force=True)
    return edit


def split_tag(text: str, name: str | None) -> tuple[str, str]:
    """Return repository and tag of TAG, in `name`, or of NAME:TAG.

    Raises:
        ReferenceInvalid: there is no repository to it.
        NameInvalid, TagInvalid: one is not legal.
    """
    before, colon, tag = text.rpartition(":")
    if not colon and name is None:
        raise ReferenceInvalid(f"{text}: give the repository too: NAME:TAG")
    found = before if colon else str(name)
    if colon and before != name:
        check_name(found)
    check_tag(tag)
    return found, tag


def require_whole(registry: Registry, name: str | None, digest: Digest) -> ImageParts:
    """Return the parts of an image.

    Raises:
        ManifestUnknown: it is not there.
        Doubt: it cannot be served.
    """
    parts = image_parts(registry, name, digest)
    if parts.state == "gone":
        raise ManifestUnknown(str(parts.problem))
    if not parts.is_servable:
        where = digest if name is None else f"{name}@{digest}"
        raise Doubt(f"{where} is not whole: {parts.problem}; regfs heal may bring that back")
    return parts


def content_links(registry: Registry, name: str, parts: ImageParts) -> Iterator[NewLink]:
    """Yield the links of layers and manifests that a repository lacks."""
    for blob, stored in parts.blobs.items():
        layer = layout.LayerLink(name, blob)
        if registry.linked(layer) is None:
            yield NewLink(ActionKind.LAYER_LINK, layout.path_of(layer), stored, name)
    for manifest, stored in parts.manifests.items():
        revision = layout.RevisionLink(name, manifest)
        if registry.linked(revision) is None:
            yield NewLink(ActionKind.REVISION, layout.path_of(revision), stored, name)


def tag_links(name: str, tag: str, digest: Digest) -> list[NewLink]:
    """Return the links that set a tag, in the order of a push."""
    index = layout.path_of(layout.TagIndex(name, tag, digest))
    current = layout.path_of(layout.TagCurrent(name, tag))
    return [
        NewLink(ActionKind.TAG_INDEX, index, digest, name),
        NewLink(ActionKind.TAG, current, digest, name),
    ]


def set_tag(
    registry: Registry, edit: Edit, name: str, tag: str, digest: Digest, *, force: bool
) -> None:
    """Add to an edit the links that set a tag, unless it points there already.

    Raises:
        Refused: it points elsewhere, and there is no `force`.
    """
    if stat_or_none(registry.store, layout.tag_folder(name, tag)) is not None:
        link = registry.link(layout.path_of(layout.TagCurrent(name, tag)))
        if link.digest == digest and link.problem is None:
            edit.keeps.append(Retained(f"{name}:{tag}", "it points there already"))
            return
        if not force:
            raise Refused(
                f"{name}:{tag} points to {link.digest or 'nothing that can be read'}; give --force "
                "to move it"
            )
    edit.links += tag_links(name, tag, digest)


def _owners(registry: Registry, digest: Digest) -> Iterator[str]:
    return (name for name in registry.repositories() if registry.holds(name, digest))


# -- the history of a tag ----------------------------------------------------------------


def _former(registry: Registry, target: Target, to: str) -> Digest:
    """Return what a tag pointed to before, by number or by digest."""
    if to.startswith("-"):
        return registry.earlier(target, to)
    algorithm, _, start = to.rpartition(":")
    found = [
        digest
        for digest, _ in registry.history(str(target.name), str(target.tag))
        if len(start) >= SHORTEST
        and digest.encoded.startswith(start)
        and algorithm in ("", digest.algorithm)
    ]
    if len(found) != 1:
        what = "several digests" if found else "no digest"
        raise ManifestUnknown(
            f"{to} begins {what} of the history of {target} (regfs log {target}); another manifest "
            f"is set by regfs tag --force"
        )
    return found[0]
