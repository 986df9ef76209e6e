"""Copies of a tree: exports, and what is in them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import regfs
from regfs.exchange.report import ExportReport
from tests.support.builder import TreeBuilder, artifact, image, index

LARGE = os.urandom(300_000)
ONE, TWO = image(["base", "one"]), image(["base", "two", LARGE])
ARM = image(["base", "arm"], platform="linux/arm64")
MULTI = index(ONE, ARM)
SIGNED = artifact(["signature"], subject=ONE)


def exported(tree: TreeBuilder, to: Path | str, *references: str, **options: Any) -> ExportReport:
    return regfs.open(str(tree.root)).export_to(str(to), *references, **options)


def links(tree: TreeBuilder) -> dict[str, tuple[str, int]]:
    """Return every link, with what it says and when it was written."""
    return {
        tree.relative(path): (path.read_text(), int(path.stat().st_mtime))
        for path in tree.v2.rglob("link")
    }


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and ".regfs" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
