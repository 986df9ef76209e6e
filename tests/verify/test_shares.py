"""Blobs hashed in shares and the rest checked once: all that one process says."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.cli.app import run
from regfs.cli.session import Exit
from regfs.stores.local.store import LocalStore
from tests.support.buckets import NAME, bucket_of
from tests.support.builder import TreeBuilder, image, index
from tests.support.damage import DAMAGE
from tests.support.registries import build, new_tree, recipes
from tests.support.verification import stocked

READ = ("blob-corrupt", "blob-unreadable")
"""Codes of what is wrong with the bytes of a blob."""
KINDS = st.sampled_from(sorted(DAMAGE))


def answer(*arguments: object) -> tuple[int, dict[str, Any]]:
    out, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(errors):
        code = run([*map(str, arguments), "--json"])
    assert "Traceback" not in errors.getvalue()
    return code, json.loads(out.getvalue())


def found(document: dict[str, Any]) -> Counter[str]:
    """Return the findings; of blobs, a ledger does not hold what was read."""
    rows = []
    for row in document["findings"]:
        told = dict.fromkeys(("actual", "expected", "message")) if row["code"] in READ else {}
        rows.append(json.dumps({**row, **told}, sort_keys=True))
    return Counter(rows)


def in_shares(
    root: object, total: int, folder: Path, *options: str, order: Iterable[int] = ()
) -> tuple[int, dict[str, Any]]:
    """Verify in shares, and merge."""
    parts = [folder / f"part{number}" for number in range(1, total + 1)]
    for number in order or range(total):
        subset = ("--subset", f"{number + 1}/{total}", "--ledger", parts[number])
        code, share = answer("-r", root, "verify", *options, *subset)
        assert code in (0, 1)
        assert share["checked"]["manifests"] == share["checked"]["links"] == 0
    return answer("-r", root, "verify", "--merge", *parts, "--ledger", folder / "all")


@given(recipes(), st.lists(KINDS, max_size=3), st.integers(1, 5), st.randoms())
def test_shares_and_a_merge_say_what_one_process_says(
    recipe: Any, kinds: list[str], total: int, rng: Any
) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        for number, kind in enumerate(kinds):
            victim = index(image([f"{number}", "base"]), image([f"{number}", "arm"]))
            tree.push("a", f"victim{number}", victim if number % 2 else image(["base", kind]))
            tree.break_(kind, "a", f"victim{number}")
        order = rng.sample(range(total), total)
        with new_tree() as elsewhere:
            code, whole = answer("-r", tree.root, "verify", "--no-ledger")
            merged = in_shares(tree.root, total, elsewhere.root, "--only-blobs", order=order)
            assert merged[0] == code
            assert found(merged[1]) == found(whole)
            one = answer(
                *("-r", tree.root, "verify", "--ledger", elsewhere.root / "one"),
            )
            again = answer(
                *("-r", tree.root, "verify", "--merge", elsewhere.root / "one"),
                *("--ledger", elsewhere.root / "again"),
            )
            assert one[0] == code
            times = {"oldest": None}
            assert {**merged[1], **times, "findings": []} == {**again[1], **times, "findings": []}
            assert found(again[1]) == found(whole)


@contextmanager
def reads() -> Iterator[Counter[str]]:
    """Count what is read of the blobs of a folder, by digest."""
    seen: Counter[str] = Counter()
    contents = LocalStore.contents

    def counted(self: Any, folder: str, names: Iterable[str], *rest: Any, **more: Any) -> Any:
        names = list(names)
        seen.update(name.rpartition("/")[2] for name in names)
        return contents(self, folder, names, *rest, **more)

    with patch.object(LocalStore, "contents", counted):
        yield seen


def test_each_share_reads_its_blobs_alone(tree: TreeBuilder, tmp_path: Path) -> None:
    stocked(tree)
    whole = {digest.partition(":")[2] for digest in tree.blobs()}
    with reads() as seen:
        for number in (1, 2, 3):
            subset = ("--subset", f"{number}/3", "--ledger", tmp_path / f"part{number}")
            answer("-r", tree.root, "verify", "--only-blobs", "--jobs", 1, *subset)
    assert seen == Counter(whole)


def test_shares_of_a_bucket_get_each_object_once(tree: TreeBuilder, tmp_path: Path) -> None:
    stocked(tree)
    tree.break_("blob-flipped", "app", "v1")
    with bucket_of(tree.root) as bucket:
        blobs = sum(key.endswith("/data") for key in bucket.objects)
        gets: list[int] = []
        for number in (1, 2, 3, 4):
            part = tmp_path / f"part{number}"
            subset = ("--only-blobs", "--subset", f"{number}/4", "--ledger", part)
            _, share = answer("-r", f"s3://{NAME}", "verify", *subset)
            gets.append(share["requests"].get("get", 0))
        # A damaged one is looked at again, twice.
        assert blobs <= sum(gets) <= blobs + 2
        parts = [tmp_path / f"part{number}" for number in (1, 2, 3, 4)]
        merging = ("verify", "--merge", *parts, "--ledger", tmp_path / "all")
        code, merged = answer("-r", f"s3://{NAME}", *merging)
        _, sizes = answer("-r", f"s3://{NAME}", "verify", "--level", "sizes")
        # And the manifest that names the damaged one.
        assert merged["requests"]["get"] <= sizes["requests"]["get"] + 1
        assert (code, merged["unknown"]) == (Exit.FINDINGS.value, 0)
        assert [row["images"] for row in merged["findings"] if row["code"] == "blob-corrupt"]


def test_what_is_missing_is_said_by_the_merge(tree: TreeBuilder, tmp_path: Path) -> None:
    """No ledger has a line of it: neither do shares of which each sees all images."""
    stocked(tree)
    tree.break_("blob-missing", "app", "v1")
    code, merged = in_shares(tree.root, 2, tmp_path, "--only-blobs")
    assert code == Exit.FINDINGS.value
    (row,) = [row for row in merged["findings"] if row["severity"] == "error"]
    assert (row["code"], row["images"]) == ("blob-missing", ["app:v1"])


def test_a_share_that_failed_leaves_its_blobs_unknown(tree: TreeBuilder, tmp_path: Path) -> None:
    stocked(tree)
    in_shares(tree.root, 3, tmp_path, "--only-blobs")
    some = [tmp_path / "part1", tmp_path / "part3"]
    _, merged = answer("-r", tree.root, "verify", "--merge", *some, "--ledger", tmp_path / "some")
    assert merged["unknown"] > 0
    assert merged["verified"] + merged["unknown"] == len(tree.blobs())


@pytest.mark.parametrize(
    "options",
    [
        ("--no-ledger",),
        ("--level", "content"),
        ("--level", "sizes"),
        ("app",),
        ("--quarantine",),
        ("--junit", "x.xml"),
    ],
)
def test_what_blobs_alone_cannot_say_is_refused(
    tree: TreeBuilder, tmp_path: Path, options: tuple[str, ...]
) -> None:
    stocked(tree)
    subset = ("--only-blobs", "--subset", "1/2")
    with redirect_stderr(io.StringIO()) as said:
        assert run(["-r", str(tree.root), "verify", *subset, *options]) == Exit.USAGE.value
    assert "--only-blobs" in said.getvalue()
    assert not (tree.root / ".regfs").exists()
