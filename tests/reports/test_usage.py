"""Usage: rows that add up, a disk that adds up, and what a removal would truly free."""

from __future__ import annotations

import os
import shutil
from copy import copy
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.errors import ManifestUnknown
from regfs.graph import build_graph
from regfs.reports.disk import Disk, disk_of
from regfs.reports.removal import Removal, removal
from regfs.reports.summary import Owner, summary
from regfs.reports.usage import By, Options, Sort, Usage, UsageRow, usage
from regfs.tree.inventory import Inventory
from regfs.tree.measure import scan_and_measure
from regfs.tree.registry import Target
from tests.support.builder import (
    Blob,
    TreeBuilder,
    artifact,
    blob_of,
    buildkit,
    cache_index,
    image,
    index,
    schema1,
)
from tests.support.damage import DAMAGE
from tests.support.registries import (
    Oracle,
    Recipe,
    build,
    going,
    new_tree,
    plan_of,
    recipes,
    registry_of,
    scan_and_build,
)


def measured(
    tree: TreeBuilder,
    *targets: str,
    by: By = By.REPOSITORY,
    sort: Sort = Sort.STORED,
    top: int | None = None,
) -> Usage:
    registry = registry_of(tree)
    _, graph = scan_and_build(tree, lean=False)
    found = [registry.find(target) for target in targets]
    return usage(graph, registry.manifest, found, Options(by, sort, top))


def rows(report: Usage) -> dict[str, UsageRow]:
    return {row.name: row for row in report.rows}


def disk(tree: TreeBuilder) -> Disk:
    inventory, measured = scan_and_measure(registry_of(tree).store)
    return disk_of(build_graph(inventory, registry_of(tree)), measured)


def size(*digests: str, tree: TreeBuilder) -> int:
    return sum(tree.blob_path(digest).stat().st_size for digest in digests)


PARTS = tuple(field.name for field in fields(Disk) if field.name not in ("total", "unlisted"))


def on_disk(root: Path) -> tuple[int, int, int]:
    """Return bytes and number of all files, and the blocks of everything below the root."""
    files = size = blocks = 0
    for folder, names, found in os.walk(root):
        for name in found:
            state = os.lstat(os.path.join(folder, name))
            files += 1
            size += state.st_size
            blocks += state.st_blocks * 512
        blocks += sum(os.lstat(os.path.join(folder, name)).st_blocks * 512 for name in names)
    return files, size, blocks


def assert_adds_up(found: Disk, root: Path) -> None:
    assert (found.total.files, found.total.bytes, found.total.allocated) == on_disk(root)
    for field in ("files", "bytes", "allocated"):
        assert sum(getattr(getattr(found, part), field) for part in PARTS) == getattr(
            found.total, field
        )


# -- rows ---------------------------------------------------------------------


def test_a_shared_layer_is_stored_once_and_seen_by_each(tree: TreeBuilder) -> None:
    base, top = blob_of("base"), blob_of("top")
    first, second = image([base]), image([base, top])
    tree.push("a", "v1", first)
    tree.push("b", "v1", second)
    found = rows(measured(tree))
    assert found["a"].shared == found["b"].shared == len(base.data)
    assert found["a"].unique == len(first.data) + len(first.blobs[0].data)
    assert found["b"].unique == len(second.data) + len(second.blobs[0].data) + len(top.data)
    total = measured(tree).sum
    assert total.apparent - total.stored == len(base.data)


def test_what_is_untagged_is_a_row_of_its_repository(tree: TreeBuilder) -> None:
    old = tree.push("app", "v1", image(["old"]))
    tree.push("app", "v1", image(["new"]))
    found = rows(measured(tree, by=By.TAG))
    assert set(found) == {"app:v1", "app (untagged)"}
    assert found["app (untagged)"].stored == size(*_files(tree, old), tree=tree)
    assert found["app (untagged)"].tag is None


def _files(tree: TreeBuilder, digest: str) -> list[str]:
    document = tree.document(digest)
    return [digest, document["config"]["digest"], *(one["digest"] for one in document["layers"])]


def test_an_index_counts_its_images_and_attestations(tree: TreeBuilder) -> None:
    tree.push("app", "v1", buildkit(image(["layer"])))
    report = measured(tree, by=By.TAG)
    assert [row.name for row in report.rows] == ["app:v1"]
    assert report.rows[0].stored == sum(
        len(p.read_bytes()) for p in tree.v2.glob("blobs/*/*/*/data")
    )


def test_a_referrer_counts_with_its_subject(tree: TreeBuilder) -> None:
    subject = image(["layer"])
    tree.push("app", "v1", subject)
    sbom = tree.push("app", None, artifact(["sbom"], subject=subject))
    report = measured(tree, by=By.TAG)
    assert [row.name for row in report.rows] == ["app:v1"]
    assert report.rows[0].stored >= size(sbom, *_files(tree, subject.digest), tree=tree)


def test_namespaces_add_up_their_repositories(tree: TreeBuilder) -> None:
    for name in ("team/a", "team/b", "alone"):
        tree.push(name, "v1", image([name]))
    found = rows(measured(tree, by=By.NAMESPACE))
    assert {name: row.uses for name, row in found.items()} == {"team/": 2, "alone": 1}


def test_namespace_of_a_plain_name_is_itself_not_the_folder_of_others(tree: TreeBuilder) -> None:
    tree.push("team", "v1", image(["x"]))
    tree.push("team/a", "v1", image(["y"]))
    assert set(rows(measured(tree, by=By.NAMESPACE))) == {"team", "team/"}


def test_layers_count_how_often_they_are_used(tree: TreeBuilder) -> None:
    base = blob_of("base")
    tree.push("a", "v1", image([base]))
    tree.push("a", "v2", image([base, "more"]))
    row = rows(measured(tree, by=By.LAYER))[base.digest]
    assert (row.uses, row.stored, row.apparent) == (2, len(base.data), 2 * len(base.data))
    assert row.digest == base.digest


def test_media_types_are_told_apart(tree: TreeBuilder) -> None:
    made = image(["layer"])
    tree.push("app", "v1", made)
    found = rows(measured(tree, by=By.MEDIA_TYPE))
    assert found[made.media_type].stored == len(made.data)
    assert sum(row.unique for row in found.values()) == measured(tree).sum.stored


def test_a_missing_layer_is_reported_and_not_counted(tree: TreeBuilder) -> None:
    layer = blob_of("layer")
    tree.push("app", "v1", image([layer]))
    whole = measured(tree).sum.stored
    tree.break_("blob-missing", "app", "v1")
    report = measured(tree)
    assert report.missing == {layer.digest: len(layer.data)}
    assert report.sum.stored == whole - len(layer.data)
    assert (report.rows[0].missing_blobs, report.rows[0].missing_bytes) == (1, len(layer.data))


def test_foreign_layers_and_other_platforms_may_be_absent(tree: TreeBuilder) -> None:
    foreign = Blob(
        b"far away",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        {"urls": ["https://example.com/layer"]},
        stored=False,
    )
    here = image([foreign, "here"])
    tree.push("app", "v1", index(here, sparse=[image(["elsewhere"], platform="linux/s390x")]))
    _, graph = scan_and_build(tree, lean=False)
    assert measured(tree).missing == {}
    assert measured(tree, by=By.LAYER).missing == {}
    assert summary(graph, registry_of(tree).manifest).missing.count == 0


def test_only_what_is_named_is_shown(tree: TreeBuilder) -> None:
    base = blob_of("base")
    tree.push("a", "v1", image([base]))
    tree.push("a", "v2", image([base, "more"]))
    tree.push("b", "v1", image(["other"]))
    report = measured(tree, "a:v1", by=By.TAG)
    assert [row.name for row in report.rows] == ["a:v1"]
    assert report.rows[0].shared == len(base.data)
    assert report.sum.unique == report.rows[0].unique
    assert [row.name for row in measured(tree, base.digest, by=By.TAG).rows] == ["a:v2", "a:v1"]


def test_naming_every_repository_gives_the_same_rows(tree: TreeBuilder) -> None:
    tree.push("a", "v1", image(["x"]))
    tree.push("b", "v1", image(["x", "y"]))
    assert measured(tree, "a", "b").rows == measured(tree).rows


def test_rows_are_sorted_and_cut(tree: TreeBuilder) -> None:
    tree.push("big", "v1", image(["a" * 500]))
    tree.push("small", "v1", image(["b"]))
    tree.push("twice", "v1", image(["b"]))
    assert measured(tree).rows[0].name == "big"
    assert [row.name for row in measured(tree, sort=Sort.NAME).rows] == ["big", "small", "twice"]
    report = measured(tree, top=1)
    assert (len(report.rows), report.omitted) == (1, 2)


def test_schema1_and_build_caches_are_counted(tree: TreeBuilder) -> None:
    tree.push("old", "v1", schema1("old", "v1", ["one", "two"]))
    tree.push("cache", "v1", cache_index(["one"]))
    assert measured(tree).sum.stored == sum(
        path.stat().st_size for path in tree.v2.glob("blobs/*/*/*/data")
    )


def test_a_layer_by_another_algorithm_is_counted_once(tree: TreeBuilder) -> None:
    blob = Blob(b"by sha512", algorithm="sha512")
    tree.push("app", "v1", image([blob]))
    report = measured(tree, by=By.LAYER)
    assert report.missing == {}
    assert [(row.name, row.stored) for row in report.rows] == [
        (blob_of(Blob(blob.data)).digest, len(blob.data))
    ]


@given(recipe=recipes(), by=st.sampled_from(By))
def test_rows_add_up(recipe: Recipe, by: By) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        report = measured(tree, by=by)
        for row in report.rows:
            assert row.unique + row.shared == row.stored
            assert row.apparent >= row.stored
        assert sum(row.unique for row in report.rows) <= report.sum.stored
        needed = Oracle(tree).blobs & tree.blobs()
        assert report.sum.stored == size(*needed, tree=tree)
        if by not in (By.LAYER,):
            assert sum(row.apparent for row in report.rows) == report.sum.apparent


@given(recipe=recipes(), by=st.sampled_from(By))
def test_the_order_of_repositories_and_tags_does_not_matter(recipe: Recipe, by: By) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        inventory, graph = scan_and_build(tree, lean=False)
        read = registry_of(tree).manifest
        turned = build_graph(_reversed(inventory), registry_of(tree))
        assert usage(turned, read, options=Options(by)) == usage(graph, read, options=Options(by))


def _reversed(inventory: Inventory) -> Inventory:
    turned = copy(inventory)
    turned.repositories = {}
    for name, one in reversed(inventory.repositories.items()):
        turned.repositories[name] = copy(one)
        turned.repositories[name].tags = dict(reversed(one.tags.items()))
    return turned


# -- the disk -----------------------------------------------------------------


@given(recipe=recipes())
def test_the_parts_add_up_to_the_disk(recipe: Recipe) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        found = disk(tree)
        assert_adds_up(found, tree.root)
        needed = Oracle(tree).blobs & tree.blobs()
        assert found.images.bytes == size(*needed, tree=tree)
        assert found.unreferenced.bytes == size(*(tree.blobs() - needed), tree=tree)
        assert found.doubtful.files == found.other.files == 0


@pytest.mark.parametrize("kind", sorted(DAMAGE))
def test_the_parts_of_a_damaged_tree_add_up_to_the_disk(tree: TreeBuilder, kind: str) -> None:
    tree.push("app", "v1", image(["base", "top"]))
    tree.push("team/other", "v1", image(["base"]))
    tree.break_(kind, "app", "v1")
    found = disk(tree)
    if kind.startswith("symlink") or kind.startswith("fifo"):
        assert found.total.bytes == sum(
            path.lstat().st_size
            for path in tree.root.rglob("*")
            if path.is_file() and not path.is_symlink()
        )
    else:
        assert_adds_up(found, tree.root)


def test_uploads_and_foreign_files_have_their_parts(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    tree.upload("app", 1000, hash_state=True)
    tree.write(tree.root / ".regfs/journal", b"12345")
    tree.write(tree.repository_path("app") / "notes.txt", b"123")
    found = disk(tree)
    assert found.uploads.bytes == 1000 + 108 + 20
    assert (found.other.files, found.other.bytes) == (1, 3)
    assert (found.own.files, found.own.bytes) == (1, 5)
    assert_adds_up(found, tree.root)


def test_layers_of_a_damaged_image_are_in_doubt_and_not_garbage(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["a layer"]))
    orphan = tree.blob(b"orphan")
    tree.break_("manifest-missing", "app", "v1")
    found = disk(tree)
    _, graph = scan_and_build(tree, lean=False)
    report = summary(graph, registry_of(tree).manifest)
    assert found.doubtful.files == report.doubtful.count == 2
    assert found.unreferenced.bytes == report.unreferenced.bytes == size(orphan, tree=tree)


def test_a_fresh_registry_is_empty(tree: TreeBuilder) -> None:
    found = disk(tree)
    assert found.total.files == 0
    assert measured(tree).rows == ()


# -- removal ------------------------------------------------------------------


def what_if(tree: TreeBuilder, *targets: str) -> Removal:
    registry = registry_of(tree)
    _, graph = scan_and_build(tree, lean=False)
    return removal(graph, [registry.find(target) for target in targets])


def test_removing_a_tag_frees_what_only_it_needs(tree: TreeBuilder) -> None:
    base = blob_of("base")
    gone = image([base, "gone"])
    tree.push("app", "old", gone)
    tree.push("app", "new", image([base, "new"]))
    report = what_if(tree, "app:old")
    assert report.freed.bytes == sum(len(blob.data) for blob in gone.blobs if blob != base) + len(
        gone.data
    )
    assert report.freed_by_default.bytes == 0
    assert [(one.name, one.bytes) for one in report.keepers] == [("app:new", len(base.data))]
    assert report.kept.bytes + report.freed.bytes == report.holds.bytes


def test_removal_does_not_count_existing_garbage(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["first"]))
    tree.push("app", "v1", image(["second"]))
    tree.push("app", "v2", image(["third"]))
    tree.blob(b"orphan")
    report = what_if(tree, "app:v2")
    assert report.freed.blobs == 3


def test_removing_the_last_tag_names_the_tagless_repository(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    assert what_if(tree, "app:v1").tagless == ("app",)
    assert what_if(tree, "app").tagless == ()


def test_removal_from_a_damaged_repository_frees_nothing(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["one"]))
    tree.push("app", "v2", image(["two"]))
    tree.break_("manifest-empty", "app", "v1")
    report = what_if(tree, "app:v2")
    assert report.freed.bytes == report.freed_by_default.bytes == 0
    assert report.frozen == ("app",)


def test_removal_from_an_incomplete_tree_frees_nothing(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["one"]))
    tree.break_("symlink-loop", "app", "v1")
    report = what_if(tree, "app")
    assert report.incomplete
    assert report.freed.bytes == 0


def test_removal_of_a_layer_is_refused(tree: TreeBuilder) -> None:
    layer = blob_of("layer")
    tree.push("app", "v1", image([layer]))
    with pytest.raises(ManifestUnknown):
        what_if(tree, layer.digest)
    with pytest.raises(ManifestUnknown):
        what_if(tree, f"app@{layer.digest}")


@given(recipe=recipes(), which=st.data())
def test_removal_predicts_what_gc_frees(recipe: Recipe, which: st.DataObject) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        target = which.draw(st.sampled_from(_targets(tree)))
        report = what_if(tree, str(target))
        before = _collected(tree), _collected(tree, report.tagless)
        sizes = {digest: size(digest, tree=tree) for digest in tree.blobs()}
        own = _closure(tree, target)
        _delete(tree, target)
        by_default = _collected(tree) - before[0]
        pruned = _collected(tree, report.tagless) - (before[1] - own)
        assert report.freed_by_default.bytes == sum(sizes[digest] for digest in by_default)
        assert report.freed_by_default.blobs == len(by_default)
        assert report.freed.bytes == sum(sizes[digest] for digest in pruned)
        assert report.freed.blobs == len(pruned)


def _targets(tree: TreeBuilder) -> list[Target]:
    inventory, _ = scan_and_build(tree, lean=False)
    found = []
    for name, repository in inventory.repositories.items():
        found.append(Target(name, None, None))
        found.extend(Target(name, tag, info.current) for tag, info in repository.tags.items())
        found.extend(Target(name, None, digest) for digest in repository.revisions)
    return found


def _collected(tree: TreeBuilder, tagless: tuple[str, ...] | None = None) -> set[str]:
    """Return the blobs that gc would take, with untagged pruning when `tagless` is given."""
    prune = tagless is not None
    return going(
        plan_of(tree, min_age=0, delete_untagged=prune, allow_tagless=tagless or ()), "blob"
    )


def _closure(tree: TreeBuilder, target: Target) -> set[str]:
    """Return what the named revisions need: it counts as needed until they are removed."""
    if target.tag is not None:
        return set()
    inventory, graph = scan_and_build(tree, lean=False)
    revisions = inventory.repositories[str(target.name)].revisions
    chosen = [digest for digest in revisions if target.digest in (None, digest)]
    return set(graph.needs(graph.reachable(chosen)))


def _delete(tree: TreeBuilder, target: Target) -> None:
    name = str(target.name)
    if target.tag is not None:
        tree.untag(name, target.tag)
    elif target.digest is not None:
        tree.delete_manifest(name, target.digest)
    else:
        for part in ("_manifests", "_layers", "_uploads"):
            shutil.rmtree(tree.repository_path(name) / part, ignore_errors=True)


# -- summary ------------------------------------------------------------------


def test_summary_counts(tree: TreeBuilder) -> None:
    tree.push("app", "v1", buildkit(image(["one"])))
    tree.push("app", "v1", image(["two"]))
    tree.upload("app", 10)
    orphan = tree.blob(b"orphan")
    _, graph = scan_and_build(tree, lean=False)
    report = summary(graph, registry_of(tree).manifest)
    assert (report.repositories, report.tags, report.revisions, report.untagged) == (1, 1, 4, 3)
    assert (report.unreferenced.count, report.unreferenced.bytes) == (1, size(orphan, tree=tree))
    assert report.needed.bytes + report.unreferenced.bytes == report.blobs.bytes
    assert report.uploads.count == 1
    assert sum(report.manifests.values()) == 4
    assert report.oldest is not None and report.newest is not None
    assert report.oldest <= report.newest


def test_summary_knows_owners(tree: TreeBuilder) -> None:
    def owner() -> Owner:
        _, graph = scan_and_build(tree, lean=False)
        return summary(graph, registry_of(tree).manifest).owner

    tree.push("app", None)
    assert owner() is Owner.TAGLESS
    tree.push("app", "v1")
    assert owner() is Owner.PLAIN
    tree.write(tree.root / "scheduler-state.json", "{}")
    assert owner() is Owner.PROXY_CACHE
    tree.write(tree.root / "docker/registry/lockfiles/database-in-use", "")
    assert owner() is Owner.GITLAB
