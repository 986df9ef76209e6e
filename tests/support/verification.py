"""What the tests of verify share: a stocked registry, and verify run on it.

`check` is also sure that nothing in the tree has changed.

    stocked(tree).break_("blob-flipped", "app", "v1")
    assert codes(check(tree)) == ["blob-corrupt"]
    assert touched(check(tree)) == {"app:v1"}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

from regfs.errors import StoreError
from regfs.findings import Code, Severity
from regfs.stores import Listing, Report, Store, open_store
from regfs.tree.registry import Registry
from regfs.tree.scan import scan
from regfs.verify import ReportedFinding, Result, VerifyOptions, verify
from tests.support.builder import TreeBuilder, image, index, layer

BASE = layer({"base": b"base"})
V1 = image(["only in v1", BASE])
BLOB_GONE = {"blob-missing", "link-dangling"}
EXPECTED: dict[str, tuple[set[str], bool]] = {
    "blob-flipped": ({"blob-corrupt"}, True),
    "blob-truncated": ({"blob-corrupt"}, True),
    "blob-grown": ({"blob-corrupt"}, True),
    "blob-empty": ({"blob-corrupt"}, True),
    "blob-missing": (BLOB_GONE, True),
    "blob-folder-missing": (BLOB_GONE, True),
    "blob-wrong-prefix": (BLOB_GONE | {"blob-misplaced"}, True),
    "fifo-data": ({"special-file", "blob-unreadable"}, True),
    "folder-data": ({"path-unreadable", "blob-unreadable"}, True),
    "link-empty": ({"link-empty"}, True),
    "link-newline": ({"link-invalid"}, True),
    "link-garbage": ({"link-invalid"}, True),
    "link-bare-hex": ({"link-invalid"}, True),
    "link-truncated": ({"link-invalid"}, True),
    "link-other-digest": ({"link-mismatch", "link-dangling"}, True),
    "link-missing": ({"tag-dangling"}, True),
    "layer-link-empty": ({"link-empty"}, True),
    "layer-link-newline": ({"link-invalid"}, True),
    "layer-link-garbage": ({"link-invalid"}, True),
    "layer-link-bare-hex": ({"link-invalid"}, True),
    "layer-link-truncated": ({"link-invalid"}, True),
    "layer-link-other-digest": ({"link-mismatch"}, True),
    "layer-link-missing": ({"layer-link-missing"}, True),
    "tag-current-empty": ({"link-empty"}, True),
    "tag-current-newline": ({"link-invalid"}, True),
    "tag-current-garbage": ({"link-invalid"}, True),
    "tag-current-bare-hex": ({"link-invalid"}, True),
    "tag-current-truncated": ({"link-invalid"}, True),
    "tag-current-other-digest": ({"tag-dangling"}, True),
    "tag-current-missing": ({"tag-without-current"}, True),
    "tag-without-current": ({"tag-without-current"}, True),
    "tag-index-missing": (set(), False),
    "fifo-link": ({"special-file"}, True),
    "manifest-missing": ({"link-dangling", "tag-dangling"}, True),
    "manifest-empty": ({"blob-corrupt"}, True),
    "manifest-flipped": ({"blob-corrupt"}, True),
    "manifest-truncated": ({"blob-corrupt"}, True),
    "manifest-not-json": ({"blob-corrupt"}, True),
    "manifest-other-json": ({"blob-corrupt"}, True),
    "manifest-too-large": ({"manifest-too-large", "blob-corrupt"}, True),
    "manifest-unknown-type": ({"manifest-unknown-type"}, True),
    "manifest-deep": ({"manifest-unreadable"}, True),
    "manifest-wrong-types": ({"manifest-unknown-type"}, True),
    "manifest-bogus-digest": ({"descriptor-invalid"}, True),
    "descriptor-wrong-size": ({"descriptor-size-mismatch"}, True),
    "index-child-missing": ({"index-child-missing"}, True),
    "subject-missing": (set(), False),
    "repository-tagless": ({"repository-tagless"}, False),
    "layer-link-dangling": ({"link-dangling"}, False),
    "layer-link-unused": (set(), False),
    "blob-unreferenced": (set(), False),
    "symlink-outside": ({"symlink-outside", "blob-unreadable"}, True),
    "symlink-loop": ({"symlink-loop"}, False),
    "symlink-dangling": ({"symlink-loop", "blob-unreadable"}, True),
    "temporary-file": (set(), False),
    "foreign-file": ({"foreign-path"}, False),
    "junk-file": (set(), False),
    "junk-folder": (set(), False),
    "rsync-half": (set(), False),
    "foreign-blob": ({"foreign-path"}, False),
    "algorithm-unknown": ({"algorithm-unsupported"}, False),
    "uppercase-digest": ({"foreign-path"}, False),
    "repository-invalid-name": ({"repository-invalid-name"}, False),
    "repository-empty": (set(), False),
    "directory-empty": (set(), False),
    "upload-without-startedat": (set(), False),
    "tag-invalid": ({"tag-invalid"}, False),
    "name-not-utf8": ({"repository-invalid-name", "name-not-utf8", "foreign-path"}, False),
}
"""Damage -> the codes above info it must give, and whether `app:v1` is hurt."""


class Watched:
    """A store that notes what is opened and lets a test interfere; read-only."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.reads: list[str] = []
        self.before: Callable[[str], None] = lambda path: None

    def snapshot(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        changing = {"create", "append", "move", "move_many", "delete", "delete_tree", "lock"}
        assert name not in changing, name
        return getattr(self._store, name)

    def read(self, path: str, limit: int) -> bytes:
        self.reads.append(path)
        self.before(path)
        return self._store.read(path, limit)

    def contents(
        self, folder: str, names: Iterable[str], leaf: str, limit: int, *, seen: bool = False
    ) -> Iterator[bytes | StoreError]:
        for name in names:
            self.reads.append(f"{folder}/{name}/{leaf}")
            try:
                self.before(f"{folder}/{name}/{leaf}")
            except StoreError as error:
                yield error
            else:
                yield from self._store.contents(folder, [name], leaf, limit, seen=seen)

    def tree(
        self, folder: str, report: Report, *, leaf: str = "", limit: int = 0, links: bool = True
    ) -> Iterator[Listing]:
        for listing in self._store.tree(folder, report, links=links):
            content: bytes | StoreError | None = None
            if leaf in listing.files:
                above, _, name = listing.path.rpartition("/")
                (content,) = self.contents(above, [name], leaf, limit)
            yield listing._replace(content=content)

    def open(self, path: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        self.before(path)
        return self._store.open(path, offset, length)


def watched(tree: TreeBuilder) -> Any:
    return Watched(open_store(str(tree.root)))


def check(tree: TreeBuilder, *targets: str, store: Any = None, **options: Any) -> Result:
    """Verify a tree, and be sure that it is the same afterwards."""
    registry = Registry(store or open_store(str(tree.root)))
    before = tree.files(""), tree.folders("")
    meant = tuple(registry.find(target) for target in targets)
    hooks = {name: options.pop(name) for name in ("progress", "on_finding") if name in options}
    asked = VerifyOptions(targets=meant, **options)
    result = verify(registry, scan(registry.store), options=asked, **hooks)
    assert (tree.files(""), tree.folders("")) == before
    return result


def grave(result: Result) -> list[ReportedFinding]:
    return [row for row in result.findings if row.finding.severity is not Severity.INFO]


def codes(result: Result) -> list[str]:
    """Return the codes of everything above info."""
    return sorted(row.finding.code.value for row in grave(result))


def only(result: Result, code: Code) -> ReportedFinding:
    (row,) = (row for row in result.findings if row.finding.code is code)
    return row


def touched(result: Result) -> set[str]:
    return {name for row in grave(result) for name in row.images}


def stocked(tree: TreeBuilder) -> TreeBuilder:
    """Push three images that share a base layer, one of them for two platforms."""
    tree.push("app", "v1", V1)
    tree.push("app", "whole", image([BASE]))
    arm = image(["arm"], platform="linux/arm64")
    tree.push("team/x", "multi", index(image([BASE, "more"]), arm))
    return tree
