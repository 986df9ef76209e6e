"""Uploads as a scan sees them: their files, and when they began."""

from __future__ import annotations

import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from regfs.findings import Code
from tests.support.builder import TreeBuilder
from tests.support.scanned import found, scanned
from tests.support.strategies import upload_ids

STARTED = "2026-11-23T13:44:54Z"
SECONDS = 1795441494.0
V7 = "019abcde-f012-7abc-8def-0123456789ab"


def test_an_upload_is_counted_with_all_its_files(tree: TreeBuilder) -> None:
    upload = tree.upload("app", 1000, started_at=STARTED, hash_state=True)
    info = scanned(tree).repositories["app"].uploads[upload]
    folder = tree.relative(tree.upload_path("app", upload))
    assert info.size == tree.size_on_disk(folder) == 1000 + 20 + 108
    assert info.allocated == tree.allocated(folder)
    assert info.files == 3
    assert info.started_at == SECONDS
    assert info.has_data
    assert time.time() - info.mtime == pytest.approx(172_800, abs=600)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (STARTED, SECONDS),
        (STARTED + "\n", SECONDS),
        ("", None),
        ("yesterday", None),
        ("\ufffd\0", None),
        ("2026-11-23T13:44:54Z and much more than any time needs", None),
        ("9" * 5000, None),
        ("0001-01-01T00:00:00Z", -62135596800.0),
        (None, None),
    ],
)
def test_when_an_upload_began(tree: TreeBuilder, content: str | None, expected: Any) -> None:
    path = tree.upload_path("app", tree.upload("app", 1)) / "startedat"
    if content is None:
        path.unlink()
    else:
        tree.write(path, content)
    (info,) = scanned(tree).repositories["app"].uploads.values()
    assert info.started_at == expected


def test_an_offset_in_startedat_counts(tree: TreeBuilder) -> None:
    tree.upload("app", 1, started_at="2026-11-23T15:44:54+02:00")
    (info,) = scanned(tree).repositories["app"].uploads.values()
    assert info.started_at == SECONDS


def test_a_time_ordered_id_tells_when_startedat_does_not(tree: TreeBuilder) -> None:
    tree.upload("app", 1, started_at="", upload=V7)
    (info,) = scanned(tree).repositories["app"].uploads.values()
    assert info.started_at == int(V7.replace("-", "")[:12], 16) / 1000


def test_an_upload_can_lack_its_data_or_everything(tree: TreeBuilder) -> None:
    upload = tree.upload("app", 1)
    (tree.upload_path("app", upload) / "data").unlink()
    empty = str(uuid.UUID(int=5, version=4))
    tree.folder(tree.upload_path("app", empty))
    uploads = scanned(tree).repositories["app"].uploads
    assert not uploads[upload].has_data
    assert (uploads[empty].files, uploads[empty].size) == (0, 0)
    assert uploads[empty].mtime == tree.upload_path("app", empty).stat().st_mtime


@given(upload_ids())
def test_any_name_can_be_that_of_an_upload(upload: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tree = TreeBuilder(Path(folder))
        tree.upload("app", 7, upload=upload, started_at=STARTED)
        uploads = scanned(tree).repositories["app"].uploads
        assert {name: info.started_at for name, info in uploads.items()} == {upload: SECONDS}


def test_a_repository_with_only_uploads_keeps_a_stray_file_apart(tree: TreeBuilder) -> None:
    stray = tree.write(tree.repository_path("app") / "_uploads/README", "x")
    upload = tree.upload("app", 1)
    inventory = scanned(tree)
    assert list(inventory.repositories["app"].uploads) == [upload]
    assert found(inventory) == {(Code.FOREIGN_PATH, tree.relative(stray))}
