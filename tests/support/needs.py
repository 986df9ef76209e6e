"""Which images need a blob, by a plain look at the JSON on the disk."""

from __future__ import annotations

from typing import Any

from tests.support.builder import (
    TreeBuilder,
)


def images_of(tree: TreeBuilder, digest: str) -> set[str]:
    """Return the images that need a blob: a plain look at the JSON on the disk."""

    def needs(manifest: str) -> bool:
        if manifest == digest:
            return True
        if manifest not in tree.blobs():
            return False
        document = tree.document(manifest)
        parts = [document.get("config"), *document.get("layers", [])]
        if any(part is not None and part["digest"] == digest for part in parts):
            return True
        return any(needs(child["digest"]) for child in document.get("manifests", []) if _is(child))

    def _is(child: dict[str, Any]) -> bool:
        if child["digest"] == digest:
            return True
        return "manifest" in child["mediaType"] or "index" in child["mediaType"]

    found = set()
    for folder in (tree.v2 / "repositories").rglob("_manifests"):
        name = folder.parent.relative_to(tree.v2 / "repositories").as_posix()
        tags = {tag: tree.current(name, tag) for tag in tree.tags(name)}
        found |= {f"{name}:{tag}" for tag, current in tags.items() if needs(current)}
        revisions = {f"sha256:{path.parent.name}" for path in folder.glob("revisions/*/*/link")}
        listed = {
            child["digest"]
            for revision in revisions
            for child in tree.document(revision).get("manifests", [])
        }
        tops = revisions - set(tags.values()) - listed
        found |= {f"{name}@{revision}" for revision in tops if needs(revision)}
    return found
