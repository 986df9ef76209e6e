"""What every check needs: the tree, the scope, and where findings go."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from regfs import layout
from regfs.digest import Digest
from regfs.errors import PathMissing, StoreError
from regfs.findings import Code, Finding
from regfs.progress import Progress
from regfs.stores import FileKind
from regfs.tree.inventory import Inventory
from regfs.tree.junk import is_junk_folder
from regfs.tree.registry import Registry
from regfs.verify.cache import in_cache
from regfs.verify.elsewhere import Elsewhere
from regfs.verify.report import FindingSink
from regfs.verify.scope import Scope


class FileState(Enum):
    """Whether a file exists."""

    THERE = "there"
    ABSENT = "absent"
    UNKNOWN = "unknown"
    """Something else is in its place, or it cannot be looked at."""


def _is_of_others(folder: str) -> bool:
    """Return whether an unreadable folder is surely junk; among tags it may be a tag."""
    return is_junk_folder(folder) and not layout.parent_of(folder).endswith("/_manifests/tags")


@dataclass(slots=True)
class Context:
    """The state of one verification."""

    registry: Registry
    inventory: Inventory
    scope: Scope
    collector: FindingSink
    progress: Progress
    elsewhere: Elsewhere
    _states: dict[str, FileState] = field(default_factory=dict)

    def add(self, finding: Finding) -> None:
        """Report a finding."""
        if finding.code is Code.PATH_UNREADABLE and layout.is_lost_and_found(finding.path):
            # Only root may look into it, and the registry never does.
            finding = Finding(Code.LOST_AND_FOUND, finding.path, actual=finding.actual)
        elif finding.code is Code.PATH_UNREADABLE and _is_of_others(finding.path):
            finding = Finding(Code.JUNK, finding.path, actual=finding.actual)
        if self.inventory.proxy_cache:
            finding = in_cache(finding)
        self.collector.add(finding)

    def blob(self, digest: Digest) -> FileState:
        """Return whether a blob exists, by the listing or else by the tree as it is now.

        A tree in use gets blobs that are not in the earlier listing.
        """
        if digest in self.inventory.blobs:
            return FileState.THERE
        return self.file(layout.blob_path(digest))

    def file(self, path: str) -> FileState:
        """Return whether a file exists now."""
        state = self._states.get(path)
        if state is None:
            state = self._states[path] = self._look(path)
        return state

    def _look(self, path: str) -> FileState:
        try:
            kind = self.registry.store.stat(path).kind
        except PathMissing:
            return FileState.ABSENT
        except StoreError:
            return FileState.UNKNOWN
        return FileState.THERE if kind is FileKind.FILE else FileState.UNKNOWN

    def need_blob(self, digest: Digest) -> bool:
        """Return whether a needed blob exists; report it if not."""
        state = self.blob(digest)
        path = layout.blob_path(digest)
        if state is FileState.ABSENT:
            self.add(Finding(Code.BLOB_MISSING, path, digest))
        elif state is FileState.UNKNOWN:
            self.add(Finding(Code.BLOB_UNREADABLE, path, digest))
        return state is FileState.THERE
