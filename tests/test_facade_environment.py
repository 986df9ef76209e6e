"""regfs.open finds the keys of a bucket where the command line finds them, for every verb."""

from __future__ import annotations

from pathlib import Path

import pytest

import regfs
from tests.support.buckets import KEY, SECRET, bucket_of
from tests.support.builder import TreeBuilder, image

ONE = image(["one"])


def test_a_program_needs_no_variables_to_read_and_change_a_bucket(
    tree: TreeBuilder, tmp_path: Path
) -> None:
    tree.push("app", "v1", ONE)
    with bucket_of(tree.root, "reg/"):
        opened = regfs.open("s3://bucket/reg")
        assert opened.edit.untag("app:v1").run is not None
        assert opened.restore("latest").skipped == []
        assert opened.store.unlisted().uploads == 0
        opened.export_to("s3://bucket/copy")
        fresh = TreeBuilder(tmp_path / "fresh")
        assert regfs.open(str(fresh.root)).import_from("s3://bucket/copy").edit.created


def test_variables_stand_for_the_environment_in_what_a_tree_opens(
    tree: TreeBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.push("app", "v1", ONE)
    with bucket_of():
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        keys = tmp_path / "keys"
        keys.write_text(f"[mine]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n")
        given = {"HOME": str(tmp_path), "AWS_PROFILE": "mine"}
        given["AWS_SHARED_CREDENTIALS_FILE"] = str(keys)
        regfs.open(str(tree.root), variables=given).export_to("s3://bucket/copy")
        copy = regfs.open("s3://bucket/copy", variables=given)
        assert list(copy.inventory.repositories) == ["app"]
