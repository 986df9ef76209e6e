"""What every check has at hand: the tree, what is asked for, and where findings go."""

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
    """Whether something is there."""

    THERE = "there"
    ABSENT = "absent"
    UNKNOWN = "unknown"
    """Something is in its place, or nobody may look."""


def _is_of_others(folder: str) -> bool:
    """Return whether a folder that cannot be read surely is junk: among tags it may be a tag."""
    return is_junk_folder(folder) and not layout.parent_of(folder).endswith("/_manifests/tags")


@dataclass(slots=True)
class Context:
    """One verification while it runs."""

    registry: Registry
    inventory: Inventory
    scope: Scope
    collector: FindingSink
    progress: Progress
    elsewhere: Elsewhere
    _states: dict[str, FileState] = field(default_factory=dict)

    def add(self, finding: Finding) -> None:
        """Take a finding."""
        if finding.code is Code.PATH_UNREADABLE and layout.is_lost_and_found(finding.path):
            # Only root may look into it, and the registry never does.
            finding = Finding(Code.LOST_AND_FOUND, finding.path, actual=finding.actual)
        elif finding.code is Code.PATH_UNREADABLE and _is_of_others(finding.path):
            finding = Finding(Code.JUNK, finding.path, actual=finding.actual)
        if self.inventory.proxy_cache:
            finding = in_cache(finding)
        self.collector.add(finding)

    def blob(self, digest: Digest) -> FileState:
        """Return whether a blob is there: as listed, else as the tree is now.

        A tree that is written to has blobs that the listing, made earlier, lacks.
        """
        if digest in self.inventory.blobs:
            return FileState.THERE
        return self.file(layout.blob_path(digest))

    def file(self, path: str) -> FileState:
        """Return whether a file is there now."""
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
        """Return whether a blob that is needed is there; say so if it is not."""
        state = self.blob(digest)
        path = layout.blob_path(digest)
        if state is FileState.ABSENT:
            self.add(Finding(Code.BLOB_MISSING, path, digest))
        elif state is FileState.UNKNOWN:
            self.add(Finding(Code.BLOB_UNREADABLE, path, digest))
        return state is FileState.THERE
