"""What settling takes out of quarantine and what it leaves there, case by case."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regfs.gc.collect import collect, purge, settle
from regfs.gc.collect import quarantined as bytes_in_quarantine
from regfs.gc.quarantine import quarantined_items
from regfs.gc.retention import RetentionPolicy
from regfs.gc.sweep import Applied
from regfs.runs import Purged, runs
from regfs.runs import purge as purge_run
from regfs.runs import restore as restore_run
from regfs.runs.journal import may_be_purged
from regfs.stores import open_store
from tests.support.builder import TreeBuilder, artifact, image, index
from tests.support.images import digest_of
from tests.support.journals import only_run, rewrite_journal
from tests.support.registries import plan_of, registry_of
from tests.support.stores import Watched

OLD = image(["base", "old"])
LAYER = OLD.blobs[-1].digest


def move(tree: TreeBuilder, **policy: Any) -> Applied:
    """Collect into quarantine, untagged manifests too."""
    return collect(plan_of(tree, **{"delete_untagged": True, **policy}), registry_of(tree))


def back(tree: TreeBuilder) -> set[tuple[str, str | None]]:
    return {(one.kind, one.digest) for one in settle(registry_of(tree))}


def blobs(returned: set[tuple[str, str | None]]) -> set[str | None]:
    return {digest for kind, digest in returned if kind == "blob"}


WHOLE = {OLD.digest, *(blob.digest for blob in OLD.blobs)}


@pytest.fixture
def moved(tree: TreeBuilder) -> TreeBuilder:
    """A registry whose former image lies in quarantine, whole."""
    tree.push("app", "v1", OLD)
    tree.push("app", "v1", image(["new"]))
    assert move(tree).done.manifests == 1
    return tree


def quarantined(tree: TreeBuilder, path: Path) -> Path:
    (run,) = (tree.root / ".regfs/runs").iterdir()
    return run / "quarantine" / tree.relative(path)


def change_lines(tree: TreeBuilder, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    rewrite_journal(tree, only_run(tree), lambda lines: [change(line) for line in lines])


def freeze(tree: TreeBuilder, name: str) -> None:
    """Put a repository in doubt by a revision link that names nothing."""
    tree.write(tree.revision_path(name, tree.current(name, "v1")), b"")


# -- what names a thing in quarantine ---------------------------------------------


def test_a_manifest_named_by_the_content_of_a_revision_link_comes_back(moved: TreeBuilder) -> None:
    other = moved.push("lib", "v1", image(["lib"]))
    moved.write(moved.revision_path("lib", other), OLD.digest)
    assert blobs(back(moved)) == WHOLE


def test_the_history_of_a_tag_without_a_current_is_in_use(moved: TreeBuilder) -> None:
    moved.write(moved.tag_index_path("app", "half", OLD.digest), OLD.digest)
    assert blobs(back(moved)) == WHOLE


def test_the_history_of_a_tag_with_a_current_is_not_in_use(moved: TreeBuilder) -> None:
    moved.write(moved.tag_index_path("app", "v1", OLD.digest), OLD.digest)
    assert back(moved) == set()


def test_a_tagged_referrer_brings_back_its_subject(moved: TreeBuilder) -> None:
    moved.push("app", "signature", artifact(["sig"], subject=OLD))
    assert blobs(back(moved)) == WHOLE


def test_a_list_of_referrers_does_not_bring_back_what_they_are_about(moved: TreeBuilder) -> None:
    moved.fallback("app", OLD.digest, artifact(["sig"], subject=OLD))
    assert back(moved) == set()


def test_a_list_of_referrers_comes_back_for_its_tag(tree: TreeBuilder) -> None:
    signature = artifact(["sig"], subject=image(["nowhere"]))
    listed = index(signature)
    tree.push("app", "v1", image(["new"]))
    tree.push("app", None, listed)
    assert move(tree, keep_referrers_of_dangling=False).done.manifests == 2
    tree.tag("app", image(["nowhere"]).digest.replace(":", "-"), listed.digest)
    # Of a list that is known, by another repository, nothing is in doubt.
    tree.push("lib", "v1", listed)
    returned = back(tree)
    assert ("revision", signature.digest) in returned


def test_a_link_by_another_algorithm_brings_back_its_blob(moved: TreeBuilder) -> None:
    layer = OLD.blobs[-1]
    moved.layer_link("lib", digest_of(layer.data, "sha512"), layer.digest)
    assert back(moved) == {("blob", layer.digest)}


def test_a_layer_folder_without_its_link_brings_back_nothing(moved: TreeBuilder) -> None:
    moved.folder(moved.layer_path("lib", LAYER).parent)
    assert back(moved) == set()


# -- what was written to in quarantine -----------------------------------------------


def test_an_item_with_an_older_mtime_comes_back(moved: TreeBuilder) -> None:
    link = quarantined(moved, moved.layer_path("app", LAYER))
    moved.set_age(link, 10**7)
    assert ("layer-link", LAYER) in back(moved)


def test_an_item_of_another_size_comes_back_whatever_its_mtime(moved: TreeBuilder) -> None:
    link = quarantined(moved, moved.layer_path("app", LAYER))
    seen = link.stat()
    link.write_bytes(link.read_bytes() + b"\n")
    os.utime(link, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert ("layer-link", LAYER) in back(moved)


def test_without_an_mtime_in_the_journal_the_time_of_the_run_counts(moved: TreeBuilder) -> None:
    change_lines(moved, lambda line: {k: v for k, v in line.items() if k != "mtime"})
    assert back(moved) == set()
    moved.set_age(quarantined(moved, moved.layer_path("app", LAYER)), -60)
    assert ("layer-link", LAYER) in back(moved)


def test_a_tag_that_was_written_to_while_it_was_moved_comes_back(tree: TreeBuilder) -> None:
    tree.push("app", "old", OLD)
    tree.push("app", "new", image(["new"]))
    block = {"repositories": ["**"], "keepTags": [{"patterns": ["new"]}]}
    assert move(tree, retention=RetentionPolicy.model_validate({"policies": [block]})).done.tags
    assert back(tree) == set()
    os.utime(quarantined(tree, tree.tag_path("app", "old")))
    assert ("tag", OLD.digest) in back(tree)
    assert tree.current("app", "old") == OLD.digest


def test_an_upload_whose_folder_is_later_does_not_count_as_written(tree: TreeBuilder) -> None:
    with tree.at_age(10**7):
        upload = tree.upload_path("app", tree.upload("app", 3))
    tree.set_age(upload, 9 * 10**6)
    assert move(tree).done.uploads == 1
    assert back(tree) == set()
    os.utime(quarantined(tree, upload) / "data")
    assert {kind for kind, _ in back(tree)} == {"upload"}
    assert (upload / "data").read_bytes() == b"uuu"


# -- doubt -------------------------------------------------------------------------------


def test_where_links_may_lie_unseen_blobs_come_back_and_no_links(moved: TreeBuilder) -> None:
    (moved.v2 / "repositories/team").symlink_to("/nowhere")
    returned = back(moved)
    assert blobs(returned) == WHOLE
    assert {kind for kind, _ in returned} == {"blob"}


def test_in_doubt_the_history_of_tags_comes_back(tree: TreeBuilder) -> None:
    tree.push("app", "v1", OLD)
    tree.push("app", "v1", image(["new"]))
    tree.delete_revision("app", OLD.digest)
    tree.push("lib", "v1", image(["lib"]))
    move(tree, delete_untagged=False)
    assert not tree.blob_path(OLD.digest).exists()
    freeze(tree, "lib")
    assert OLD.digest not in blobs(back(tree))
    freeze(tree, "app")
    assert OLD.digest in blobs(back(tree))


def test_doubt_brings_back_neither_tags_nor_uploads(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["new"]))
    tree.push("app", "old", OLD)
    with tree.at_age(10**7):
        tree.upload("app", 3)
    block = {"repositories": ["**"], "keepTags": [{"patterns": ["v1"]}]}
    done = move(tree, retention=RetentionPolicy.model_validate({"policies": [block]})).done
    assert (done.tags, done.uploads) == (1, 1)
    freeze(tree, "app")
    returned = back(tree)
    assert blobs(returned) == WHOLE
    assert {kind for kind, _ in returned}.isdisjoint({"tag", "upload"})


# -- whose quarantine ------------------------------------------------------------------------


def test_an_item_of_an_unknown_kind_stays_in_quarantine(moved: TreeBuilder) -> None:
    """Its place among the others does not matter."""
    path = "docker/registry/v2/strange"
    line = {"move": path, "path": path, "kind": "strange", "digest": None, "size": 0, "mtime": 0.0}
    rewrite_journal(moved, only_run(moved), lambda lines: [lines[0], line, *lines[1:]])
    left = quarantined(moved, moved.v2 / "strange")
    left.write_bytes(b"")
    os.utime(left)
    moved.tag("app", "again", OLD.digest)
    assert blobs(back(moved)) == WHOLE
    assert left.exists()


def purging(tree: TreeBuilder) -> None:
    """Let a purge have begun, and come to nothing."""
    line = {"purging": "2026-01-01T00:00:00Z"}
    rewrite_journal(tree, only_run(tree), lambda lines: [*lines, line])
    (run,) = runs(open_store(str(tree.root)))
    assert run.state == "purging"


def test_items_that_an_interrupted_purge_left_come_back(moved: TreeBuilder) -> None:
    purging(moved)
    moved.layer_link("app", LAYER)
    assert back(moved) == {("blob", LAYER)}
    assert moved.blob_path(LAYER).read_bytes() == OLD.blobs[-1].data
    assert purge_run(open_store(str(moved.root)), only_run(moved)).runs == [only_run(moved)]


def test_a_folder_that_a_purge_began_to_delete_does_not_come_back_in_part(
    tree: TreeBuilder,
) -> None:
    with tree.at_age(10**7):
        upload = tree.upload_path("app", tree.upload("app", 3))
    assert move(tree).done.uploads == 1
    purging(tree)
    (quarantined(tree, upload) / "startedat").unlink()
    os.utime(quarantined(tree, upload) / "data")
    assert back(tree) == set()
    assert purge_run(open_store(str(tree.root)), only_run(tree)).runs == [only_run(tree)]


def test_settling_leaves_the_quarantine_of_a_heal_alone(moved: TreeBuilder) -> None:
    change_lines(moved, lambda line: {**line, "kind": "heal"} if "run" in line else line)
    moved.tag("app", "again", OLD.digest)
    assert back(moved) == set()


# -- runs that are over -----------------------------------------------------------------


def test_only_journals_of_runs_with_a_quarantine_are_read(moved: TreeBuilder) -> None:
    """A tree keeps the journal of every night."""
    store: Any = Watched(moved.root)
    assert list(quarantined_items(store)) != []
    assert store.opened == [f".regfs/runs/{only_run(moved)}/journal.jsonl"]
    purge_run(open_store(str(moved.root)))
    store.opened.clear()
    assert list(quarantined_items(store)) == []
    assert bytes_in_quarantine(store) == 0
    assert store.opened == []


def test_the_journal_of_a_run_that_is_restored_is_not_read_again(moved: TreeBuilder) -> None:
    run = only_run(moved)
    restore_run(open_store(str(moved.root)), run)
    assert not (moved.root / f".regfs/runs/{run}/quarantine").exists()
    store: Any = Watched(moved.root)
    assert list(quarantined_items(store)) == []
    assert store.opened == []
    assert not may_be_purged(store, run)


def test_of_what_a_restore_leaves_in_quarantine_the_journal_is_read(moved: TreeBuilder) -> None:
    run = only_run(moved)
    layer = next(one.digest for one in quarantined_items(open_store(str(moved.root))) if one.digest)
    restore_run(open_store(str(moved.root)), run, digests=frozenset({layer}))
    store: Any = Watched(moved.root)
    assert list(quarantined_items(store)) != []
    assert may_be_purged(store, run)


def test_of_runs_that_are_purged_a_purge_reads_the_last_lines_only(moved: TreeBuilder) -> None:
    first = only_run(moved)
    journal = moved.root / f".regfs/runs/{first}/journal.jsonl"
    purge(registry_of(moved), offline=True)
    journal.write_bytes(b"damaged\n" + b"".join(journal.read_bytes().splitlines(True)[-2:]))
    assert purge(registry_of(moved), offline=True) == Purged([], 0, 0)
    (journal.parent / "quarantine").mkdir()
    (journal.parent / "quarantine/stray").write_bytes(b"")
    assert [one.path for one in purge(registry_of(moved), offline=True).damaged] == [first]
