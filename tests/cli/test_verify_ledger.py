"""Scope and schedule of `regfs verify`: its options, its ledger, and runs that are killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from regfs.cli.app import run
from regfs.cli.options import Size, Subset
from regfs.cli.schema import schema_of
from regfs.digest import Digest
from regfs.stores import locate, open_store
from regfs.verify import LedgerFile, Level
from regfs.verify.ledger_file import LEDGER, read_ledger
from regfs.verify.report import CoverageDocument
from regfs.verify.schedule import ByteCount, Shard, Share
from tests.support.builder import Blob, TreeBuilder, image
from tests.support.verification import V1, stocked

DIGESTS = Level.DIGESTS
Said = pytest.CaptureFixture[str]


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    return stocked(tree)


def verify(tree: TreeBuilder, *arguments: str) -> int:
    return run(["-r", str(tree.root), "verify", *arguments])


def as_json(tree: TreeBuilder, capsys: Said, *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    verify(tree, "--json", *arguments)
    return dict(json.loads(capsys.readouterr().out))


def lines(text: str) -> set[tuple[str, str, tuple[str, ...]]]:
    """Return what each line of --ndjson says; a last one that was cut off says nothing."""
    found = set()
    for line in text.splitlines(keepends=True):
        if line.endswith("\n"):
            row = json.loads(line)
            found.add((row["code"], row["path"], tuple(row["images"])))
    return found


# -- options ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("500MB", 500 * 10**6),
        ("10G", 10**10),
        ("10 GB", 10**10),
        ("1.5TiB", 3 << 39),
        ("2kib", 2048),
        ("1b", 1),
        ("0.1k", 100),
    ],
)
def test_sizes_are_decimal_unless_they_say_otherwise(text: str, size: int) -> None:
    assert Size().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "G", "-1", "1iB", "1X", "1e9", "1 0", "1GBs", "9" * 40])
def test_an_invalid_size_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a size"):
        Size().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "subset"),
    [
        ("3/16", Shard(3, 16)),
        ("1/1", Shard(1, 1)),
        ("65536/65536", Shard(65536, 65536)),
        ("5%", Share(0.05)),
        ("100%", Share(1.0)),
        ("10G", ByteCount(10**10)),
    ],
)
def test_subsets(text: str, subset: Shard | Share | ByteCount) -> None:
    found = Subset().convert(text, None, None)
    assert (type(found), found) == (type(subset), subset)


@pytest.mark.parametrize(
    "text", ["0/3", "4/3", "1/65537", "a/3", "1/", "0%", "101%", "%", "-5%", "x", "1/2/3"]
)
def test_an_invalid_subset_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Subset().convert(text, None, None)


@given(st.text(max_size=30))
def test_any_text_is_a_subset_or_refused(text: str) -> None:
    try:
        Subset().convert(text, None, None)
    except click.BadParameter:
        return


@pytest.mark.parametrize(
    "arguments",
    [
        ("--level", "links", "--subset", "1/2"),
        ("--level", "sizes", "--max-bytes", "1G"),
        ("--level", "sizes", "--ledger", "x"),
        ("--no-ledger", "--ledger", "x"),
        ("--no-ledger", "--max-age", "1d"),
        ("--merge",),
        ("--merge", "x", "--subset", "1/2"),
        ("--merge", "x", "--no-ledger"),
        ("--merge", "x", "--junit", "x.xml"),
    ],
)
def test_contradictory_ledger_options_write_nothing(
    shop: TreeBuilder, arguments: tuple[str, ...]
) -> None:
    assert verify(shop, *arguments) == 2
    assert not (shop.root / ".regfs").exists()


# -- the ledger of a tree ------------------------------------------------------------


def test_results_are_kept_in_the_tree_and_save_the_next_run(
    shop: TreeBuilder, capsys: Said
) -> None:
    before = shop.files("docker"), shop.folders("docker")
    first = as_json(shop, capsys)["checked"]
    assert (first["blobs"], first["skipped"]) == (len(shop.blobs()), 0)
    second = as_json(shop, capsys, "--max-age", "1d")["checked"]
    assert second["blobs"] + second["skipped"] == len(shop.blobs())
    assert second["blobs"] == second["manifests"]
    assert verify(shop, "--max-age", "1d") == 0
    assert "not read: found intact recently" in capsys.readouterr().out
    assert (shop.files("docker"), shop.folders("docker")) == before


def test_blobs_left_for_the_next_run_are_counted(shop: TreeBuilder, capsys: Said) -> None:
    checked = as_json(shop, capsys, "--max-bytes", "1")["checked"]
    assert checked["blobs"] + checked["remaining"] == len(shop.blobs())
    assert checked["remaining_bytes"] > 0
    assert verify(shop, "--max-duration", "0") == 0
    assert "not read: left for the next run" in capsys.readouterr().out


def test_without_a_ledger_nothing_is_written(shop: TreeBuilder) -> None:
    assert verify(shop, "--no-ledger") == verify(shop, "--level", "links") == 0
    assert not (shop.root / ".regfs").exists()


def test_a_ledger_in_use_is_refused_with_a_way_out(shop: TreeBuilder, capsys: Said) -> None:
    with LedgerFile(open_store(str(shop.root)), owner="the nightly run"):
        assert verify(shop) == 3
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1
        assert "locked by the nightly run" in said.err
        assert "--no-ledger" in said.err
        assert verify(shop, "--no-ledger") == 0


def test_a_file_that_is_not_a_ledger_is_unchanged(
    shop: TreeBuilder, tmp_path: Path, capsys: Said
) -> None:
    (tmp_path / "notes").write_text("dear diary\n")
    assert verify(shop, "--ledger", str(tmp_path / "notes")) == 2
    assert "not a ledger of regfs" in capsys.readouterr().err
    assert verify(shop, "--merge", str(tmp_path / "notes")) == 2
    assert (tmp_path / "notes").read_text() == "dear diary\n"
    assert [path.name for path in tmp_path.iterdir() if "notes" in path.name] == ["notes"]


@pytest.mark.parametrize("file", ["nowhere/part", "registry/docker/registry/v2/part"])
def test_an_impossible_ledger_path_fails_before_verifying(
    shop: TreeBuilder, tmp_path: Path, capsys: Said, file: str
) -> None:
    assert verify(shop, "--ledger", str(tmp_path / file)) == 5
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_verify_without_write_permission_notes_that_nothing_is_recorded(capsys: Said) -> None:
    with TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        tree = stocked(TreeBuilder(Path(folder) / "registry"))
        assert verify(tree, "--no-ledger", "--jobs", "1") == 0  # what it needs is loaded now
        capsys.readouterr()
        os.seteuid(65534)
        try:
            assert verify(tree, "--jobs", "1") == 0
            said = capsys.readouterr()
            assert verify(tree, "--jobs", "1", "--ledger", str(tree.root / "part")) == 5
            refused = capsys.readouterr()
        finally:
            os.seteuid(0)
        assert "no problems found" in said.out
        assert said.err.count("\n") == 1
        assert "permission denied" in said.err
        assert (refused.out, refused.err.count("\n")) == ("", 1)
        assert not (tree.root / ".regfs").exists()


# -- copies --------------------------------------------------------------------------


def copied(shop: TreeBuilder, tmp_path: Path) -> TreeBuilder:
    """Copy a tree with all it tells of its files, as cp -a and rsync -a do."""
    subprocess.run(["cp", "-a", str(shop.root), str(tmp_path / "copy")], check=True)
    return TreeBuilder(tmp_path / "copy")


def gone_bad(tree: TreeBuilder, name: str, tag: str) -> str:
    """Flip a bit that no size and no time tells of."""
    path = tree.blob_path(tree.document(tree.current(name, tag))["layers"][0]["digest"])
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return tree.relative(path)


def test_a_copy_of_a_tree_is_verified_anew(shop: TreeBuilder, tmp_path: Path, capsys: Said) -> None:
    assert verify(shop) == 0
    copy = copied(shop, tmp_path)
    bad = gone_bad(copy, "app", "v1")
    assert verify(copy, "--max-age", "30d") == 1
    assert bad in capsys.readouterr().out
    assert as_json(shop, capsys, "--max-age", "30d")["checked"]["skipped"] > 0


def test_bytes_that_went_bad_where_they_lie_are_read_again(shop: TreeBuilder, capsys: Said) -> None:
    """Whoever writes to a file cannot set the time of its last change."""
    assert verify(shop) == 0
    bad = gone_bad(shop, "app", "v1")
    assert verify(shop, "--max-age", "30d") == 1
    assert bad in capsys.readouterr().out


def test_a_result_of_a_replaced_file_is_not_reported(
    shop: TreeBuilder, tmp_path: Path, capsys: Said
) -> None:
    """The copy was made after a repair; its ledger still says what was wrong."""
    gone_bad(shop, "app", "v1")
    assert verify(shop) == 1
    copy = copied(shop, tmp_path)
    assert as_json(copy, capsys, "--max-duration", "0")["findings"] == []
    assert as_json(shop, capsys, "--max-duration", "0")["findings"] != []


def test_the_ledger_of_another_tree_is_not_merged(
    shop: TreeBuilder, tmp_path: Path, capsys: Said
) -> None:
    part, own = str(tmp_path / "part"), str(tmp_path / "own")
    assert verify(shop, "--ledger", part) == 0
    copy = copied(shop, tmp_path)
    gone_bad(copy, "app", "v1")
    assert verify(copy, "--merge", part) == 3
    assert "of another tree, or of a copy" in capsys.readouterr().err
    assert verify(copy, "--ledger", own, "--subset", "1/2") in (0, 1)
    assert verify(copy, "--merge", own, part) == 3, "one of them is enough"
    assert read_ledger(open_store(str(copy.root)), LEDGER).find(Digest(V1.digest), DIGESTS) is None
    assert verify(shop, "--merge", part) == 0


def test_merge_accepts_other_device_numbers(
    shop: TreeBuilder, tmp_path: Path, capsys: Said
) -> None:
    part = tmp_path / "part"
    assert verify(shop, "--ledger", str(part)) == 0
    device = str(shop.root.stat().st_dev)
    part.write_text(part.read_text().replace(f" {device} ", " 4242 "))
    assert as_json(shop, capsys, "--merge", str(part))["unknown"] == 0
    assert as_json(shop, capsys, "--max-age", "1d")["checked"]["skipped"] > 0


# -- shards on many machines -----------------------------------------------------------


def start(root: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "regfs", "-r", str(root), "verify", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def end(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, errors = process.communicate(timeout=120)
    assert "Traceback" not in errors
    return out, errors


def test_merged_shards_equal_one_run(shop: TreeBuilder, tmp_path: Path, capsys: Said) -> None:
    shop.break_("blob-flipped", "app", "v1")
    shop.break_("blob-truncated", "team/x", "multi")
    parts = [str(tmp_path / f"part{number}") for number in (1, 2, 3)]
    machines = [
        start(shop.root, "--subset", f"{number}/3", "--ledger", part, "--ndjson")
        for number, part in enumerate(parts, 1)
    ]
    found = set().union(*(lines(end(machine)[0]) for machine in machines))
    assert not (shop.root / ".regfs").exists()
    assert verify(shop, "--merge", *parts, "--ndjson") == 1
    merged = lines(capsys.readouterr().out)
    assert verify(shop, "--no-ledger", "--ndjson") == 1
    whole = lines(capsys.readouterr().out)
    assert merged == whole
    # A machine that did not read the short blob can only tell that it is short.
    assert {code for code, *_ in found - whole} <= {"blob-size-mismatch"}
    assert {path for _, path, _ in found} == {path for _, path, _ in whole}
    assert whole <= found
    document = as_json(shop, capsys, "--merge", *parts)
    assert (document["verified"], document["unknown"]) == (len(shop.blobs()), 0)
    # The merged ledger is the tree's: nothing but what is broken is due now.
    checked = as_json(shop, capsys, "--max-age", "1d")["checked"]
    assert checked["blobs"] == checked["manifests"] + 2


def test_a_merge_counts_blobs_never_verified(
    shop: TreeBuilder, tmp_path: Path, capsys: Said
) -> None:
    part = str(tmp_path / "part")
    assert verify(shop, "app:whole", "--ledger", part) == 0
    document = as_json(shop, capsys, "--merge", part)
    assert document["verified"] == 3
    assert document["unknown"] == len(shop.blobs()) - 3
    assert verify(shop, "--merge", part) == 0
    out = capsys.readouterr().out
    assert "never verified, or changed since" in out
    assert "no known problems" in out


def test_a_merge_reads_no_layer_and_ignores_outdated_results(
    shop: TreeBuilder, tmp_path: Path, capsys: Said
) -> None:
    path = shop.root / shop.break_("blob-flipped", "app", "v1")
    part = str(tmp_path / "part")
    assert verify(shop, "--ledger", part) == 1
    assert verify(shop, "--merge", part) == 1
    os.utime(path)
    document = as_json(shop, capsys, "--merge", part)
    assert (document["unknown"], document["findings"]) == (1, [])


def test_the_document_of_a_merge_follows_its_schema(
    shop: TreeBuilder, tmp_path: Path, capsys: Said
) -> None:
    shop.break_("blob-flipped", "app", "v1")
    part = str(tmp_path / "part")
    verify(shop, "--ledger", part)
    document = as_json(shop, capsys, "--merge", part)
    TypeAdapter(CoverageDocument).validate_python(document)
    only_of_buckets = {"requests"}
    assert {*document, *only_of_buckets} == set(schema_of("verify merge")["properties"])
    assert document["oldest"].endswith("Z")
    assert [row["images"] for row in document["findings"]] == [["app:v1"]]


def test_a_missing_shard_is_a_failure(shop: TreeBuilder, tmp_path: Path, capsys: Said) -> None:
    assert verify(shop, "--merge", str(tmp_path / "part")) == 5
    assert "part: no such file" in capsys.readouterr().err


# -- killed -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> TreeBuilder:
    """A tree that takes a while to read, with damage all over it."""
    tree = TreeBuilder(tmp_path_factory.mktemp("big") / "registry")
    for number in range(40):
        content = Blob(Random(number).randbytes(3 << 20))
        tree.push("app", f"v{number}", image([content]))
        if number % 5 == 0:
            tree.break_("blob-flipped", "app", f"v{number}")
    return tree


@pytest.mark.parametrize("seed", range(4))
def test_after_a_kill_the_next_run_completes_and_all_is_found(
    big: TreeBuilder, tmp_path: Path, seed: int
) -> None:
    shutil.copytree(big.root / "docker", tmp_path / "docker")
    whole = end(start(big.root, "--no-ledger", "--ndjson"))[0]
    process = start(tmp_path, "--jobs", "1", "--ndjson")
    ledger = tmp_path / LEDGER
    deadline = time.monotonic() + 60
    # Not before it has begun to read layers; and from there at any time.
    while not ledger.exists() or ledger.stat().st_size < 6000:
        assert time.monotonic() < deadline
        if process.poll() is not None:
            break
        time.sleep(0.002)
    time.sleep(Random(seed).random() * 0.1)
    with suppress(ProcessLookupError):  # it may have ended
        os.killpg(process.pid, signal.SIGKILL)
    out, _ = process.communicate(timeout=60)
    rest, errors = end(start(tmp_path, "--max-age", "1d", "--ndjson"))
    assert errors == ""
    assert lines(out) | lines(rest) == lines(whole)
    kept = read_ledger(*locate(str(ledger), open_store(str(tmp_path))))
    assert {digest for digest, _ in kept} == set(big.blobs())


def test_after_ctrl_c_the_next_run_goes_on(tree: TreeBuilder, capsys: Said) -> None:
    tree.push("app", "v1", image([Blob(b"x" * (256 << 10))]))
    huge = tree.blob_path(tree.blob(b"huge"))
    with huge.open("r+b") as file:
        file.truncate(1 << 40)  # a hole: it takes no room, and many minutes to hash
    process = start(tree.root, "--jobs", "2", "--quiet")
    ledger = tree.root / LEDGER
    deadline = time.monotonic() + 60
    while not ledger.exists() or ledger.read_text().count("sha256:") < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    end(process)
    assert process.returncode == 130
    huge.unlink()
    checked = as_json(tree, capsys, "--max-age", "1d")["checked"]
    assert (checked["blobs"], checked["skipped"]) == (1, 2)
