"""Commands that change a tree in a bucket: what each did is taken back, to the last object."""

from __future__ import annotations

import pytest

from regfs.cli.app import run
from tests.support.bucket_runs import KINDS, ROOT, BucketTree, litter_bucket
from tests.support.buckets import SECRET

EDITS = [
    ["untag", "app:v1"],
    ["tag", "app:v1", "other"],
    ["rollback", "app:v1"],
    ["mv", "app", "renamed"],
    ["cp", "app:v1", "copy:v1"],
    ["rm", "app:v1"],
    ["rm", "app", "--recursive", "--offline"],
]


@pytest.mark.parametrize("kind", ["versions", "copies"])
@pytest.mark.parametrize("edit", EDITS, ids=" ".join)
def test_an_edit_is_taken_back(
    kind: str, edit: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with litter_bucket(**KINDS[kind]) as tree:
        assert run(["-r", ROOT, *edit]) == 0
        assert tree.state() != tree.before
        gone = "--recursive" in edit  # then there is no repository left, which is an error
        assert run(["-r", ROOT, "verify"]) == gone
        assert run(["-r", ROOT, "gc", "restore", "latest"]) == 0
        assert tree.state() == tree.before
        _says_no_secret(tree, capsys)


@pytest.mark.parametrize("kind", ["versions", "copies"])
def test_what_is_corrupt_goes_aside_and_comes_from_a_copy(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with litter_bucket(**KINDS[kind]) as tree:
        whole = dict(tree.bucket.objects)
        needed = run(["-r", ROOT, "show", "app:v1"]) == 0
        blobs = [key for key, one in whole.items() if "/blobs/" in key and b"layers" in one.data]
        assert needed and blobs
        for key in blobs:
            bad = whole[key].data[:-1] + b" "
            tree.bucket.objects[key] = whole[key]._replace(data=bad)
        assert run(["-r", ROOT, "verify", "--quarantine"]) == 1
        assert tree.own()
        assert not any(key in tree.bucket.objects for key in blobs)
        assert run(["-r", ROOT, "gc", "restore", "latest"]) == 0
        assert all(key in tree.bucket.objects for key in blobs)
        _says_no_secret(tree, capsys)


def _says_no_secret(tree: BucketTree, capsys: pytest.CaptureFixture[str]) -> None:
    captured = capsys.readouterr()
    assert SECRET not in captured.out + captured.err
    assert not any(SECRET.encode() in one.data for one in tree.bucket.objects.values())
