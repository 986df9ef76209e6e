"""Which blobs a manifest names with URLs: clients fetch them from there in any case."""

from __future__ import annotations

from regfs.digest import Digest
from regfs.errors import RegfsError
from regfs.manifests import absent_by_right
from regfs.tree.registry import Registry


class Elsewhere:
    """Foreign blobs of one tree; each manifest is read at most once."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._known: dict[Digest, frozenset[Digest]] = {}

    def has(self, manifest: Digest, blob: Digest) -> bool:
        """Return whether a manifest names a blob that may be stored elsewhere."""
        if manifest not in self._known:
            self._known[manifest] = self._read(manifest)
        return blob in self._known[manifest]

    def _read(self, manifest: Digest) -> frozenset[Digest]:
        try:
            return frozenset(absent_by_right(self._registry.skim(manifest).references()))
        except RegfsError:
            return frozenset()  # it was readable a moment ago; other checks report what happened
