"""Verify on what does not belong into a tree, and on trees that a registry wrote."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from regfs.findings import Code, Finding, Severity
from regfs.stores import Listing, Report
from regfs.verify import Level
from tests.make_fixtures import TREES
from tests.support.builder import (
    TreeBuilder,
)
from tests.support.verification import (
    V1,
    check,
    codes,
    grave,
    only,
    stocked,
    touched,
    watched,
)


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    return stocked(tree)


# -- what lies around ---------------------------------------------------------


def test_a_foreign_folder_is_named_once_whatever_is_in_it(shop: TreeBuilder) -> None:
    folder = shop.blob_path(V1.digest).parent / "copy"
    for number in range(20):
        shop.write(folder / f"{number}/data", b"x")
    result = check(shop, level=Level.LINKS)
    assert [row.finding.path for row in grave(result)] == [shop.relative(folder)]


@pytest.mark.parametrize(
    "path",
    [
        "blobs/sha256/{prefix}/{hex}/data.bak",
        "repositories/app/_manifests/tags/v1/current/link~",
        "repositories/app/_manifests/notes",
        "repositories/app/_uploads/1-2/other",
        "repositories/app/_custom/file",
        "stray",
    ],
)
def test_stray_files_are_seen_everywhere(shop: TreeBuilder, path: str) -> None:
    place = path.format(prefix=V1.digest[7:9], hex=V1.digest[7:])
    shop.write(shop.v2 / place, b"x")
    assert codes(check(shop, level=Level.LINKS)) == ["foreign-path"]


def test_a_link_in_an_upload_named_like_a_digest_is_foreign(shop: TreeBuilder) -> None:
    upload = shop.repository_path("app") / "_uploads" / V1.digest
    path = shop.write(upload / "link", V1.digest.encode())
    row = only(check(shop, level=Level.LINKS), Code.FOREIGN_PATH)
    assert row.finding.path == shop.relative(path)


def test_a_file_with_a_name_that_is_no_text_is_foreign_and_told_why(shop: TreeBuilder) -> None:
    shop.write(shop.blob_path(V1.digest).with_name(os.fsdecode(b"\xff")), b"x")
    assert codes(check(shop)) == ["foreign-path", "name-not-utf8"]


def test_a_second_name_for_a_repository_is_no_error(shop: TreeBuilder) -> None:
    shop.repository_path("alias").symlink_to("app")
    assert sorted(codes(check(shop))) == ["symlink-inside", "symlink-loop"]
    assert check(shop).severity is Severity.WARNING


def test_blobs_without_any_repository_look_like_a_disk_that_is_not_mounted(
    shop: TreeBuilder,
) -> None:
    shutil.rmtree(shop.v2 / "repositories")
    assert codes(check(shop, level=Level.LINKS)) == ["repositories-missing"]
    assert codes(check(shop)) == ["repositories-missing"]


def test_a_fresh_registry_is_clean(tree: TreeBuilder) -> None:
    result = check(tree)
    assert (result.findings, result.severity, result.checked.links) == ((), None, 0)


def test_the_state_of_regfs_itself_is_not_looked_at(shop: TreeBuilder) -> None:
    shop.write(shop.root / ".regfs/quarantine/run/data", b"x")
    assert check(shop).findings == ()


def test_folders_nobody_may_read_are_not_called_empty(shop: TreeBuilder) -> None:
    hidden = shop.relative(shop.repository_path("app") / "_layers/sha256")
    store = watched(shop)
    real = store.tree

    def tree(folder: str, report: Report, **options: Any) -> Iterator[Listing]:
        for listing in real(folder, report, **options):
            if listing.path == hidden:
                report(Finding(Code.PATH_UNREADABLE, hidden))
            elif not listing.path.startswith(hidden + "/"):
                yield listing

    store.tree = tree
    result = check(shop, store=store, level=Level.LINKS)
    assert [(row.finding.code, row.finding.path) for row in result.findings] == [
        (Code.PATH_UNREADABLE, hidden)
    ]


# -- trees that a registry wrote ----------------------------------------------

FIXTURES: dict[str, tuple[list[str], set[str]]] = {
    "whole": ([], set()),
    "damaged-layer-link-missing": (["layer-link-missing"], {"app:v1"}),
    "damaged-tag-without-current": (["tag-without-current"], {"app:v1"}),
    "tutorial": ([], set()),
    "digest-only": (["repository-tagless"], set()),
    "damaged-layer-missing": (["blob-missing", "link-dangling"], {"app:v1"}),
    "damaged-layer-flipped": (["blob-corrupt"], {"app:v1"}),
    "damaged-manifest-empty": (["blob-corrupt"], {"app:v1"}),
    "damaged-manifest-missing": (["link-dangling", "tag-dangling"], {"app:v1"}),
    "damaged-link-empty": (["link-empty"], {"app:v1"}),
}


@pytest.mark.parametrize("name", sorted(path.name for path in TREES.iterdir() if path.is_dir()))
def test_trees_of_the_reference_registry(tmp_path: Path, name: str) -> None:
    expected, images = FIXTURES[name]
    shutil.copytree(TREES / name, tmp_path / name)
    result = check(TreeBuilder(tmp_path / name))
    assert codes(result) == expected
    assert touched(result) == images
