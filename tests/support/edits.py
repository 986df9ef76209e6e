"""Edits of a tree, and what must be true of it: which images a registry would serve whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from regfs import facade
from regfs.edits.editor import Editor
from regfs.stores import WritableStore, open_store
from tests.support.builder import Content, TreeBuilder


def opened(tree: TreeBuilder, store: WritableStore | None = None) -> facade.Tree:
    """Return the tree as a program has it, listed anew."""
    return facade.Tree(store or open_store(str(tree.root)))


def editor(tree: TreeBuilder, store: WritableStore | None = None) -> Editor:
    """Return what edits the tree, as it is now."""
    return opened(tree, store).edit


def is_served(tree: TreeBuilder, name: str, content: Content) -> bool:
    """Return whether a repository has a manifest with all that was pushed for it."""
    links = [(tree.revision_path(name, content.digest), content.digest)]
    links += [(tree.layer_path(name, blob.digest), blob.digest) for blob in content.blobs]
    whole = all(
        link.exists() and link.read_text() == digest and tree.blob_path(digest).exists()
        for link, digest in links
    )
    return whole and all(is_served(tree, name, child) for child in content.children)


def assert_pullable(tree: TreeBuilder, name: str, tag: str, content: Content) -> None:
    """Be sure that a tag points to an image, and that all of it is there."""
    assert tree.tag_path(name, tag).exists(), (name, tag)
    assert tree.current(name, tag) == content.digest
    assert is_served(tree, name, content), (name, tag)


def pruned(tree: TreeBuilder) -> set[str]:
    """Return the blobs that a plain collection would take now."""
    from regfs.gc.policy import Policy

    plan = opened(tree).plan(Policy(min_age=0.0))
    assert not plan.doubtful
    return {str(one.digest) for one in plan.actions if one.kind.value == "blob"}


class MeddledStore:
    """A store in which something happens just before a method is first called."""

    def __init__(self, store: WritableStore, method: str, meddle: Callable[[], object]) -> None:
        self._store = store
        self._method = method
        self._meddle: Callable[[], object] | None = meddle

    def snapshot(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        if name == self._method and self._meddle is not None:
            meddle, self._meddle = self._meddle, None
            meddle()
        return getattr(self._store, name)
