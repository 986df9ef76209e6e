"""What holds a run back: roots from outside, the length of histories, a limit, a changed tree."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.findings import Code, Finding, Severity
from regfs.gc.plan import Plan
from regfs.gc.sweep import Applied, apply
from regfs.progress import Silent
from regfs.runs import purge
from regfs.stores import writable
from regfs.verify import Level, VerifyOptions, verify
from tests.support.builder import Blob, TreeBuilder, artifact, blob_of, digest_of, image, index
from tests.support.registries import (
    Recipe,
    build,
    fewer,
    files_of,
    going,
    going_in,
    new_tree,
    paths,
    plan_of,
    recipes,
    registry_of,
    scan_and_build,
)
from tests.support.retention import judged, keep, tags_of


def untagged(tree: TreeBuilder, **policy: Any) -> Plan:
    return judged(tree, None, delete_untagged=True, **policy)  # type: ignore[arg-type]


def carried_out(tree: TreeBuilder, made: Plan) -> Applied:
    return apply(made, registry_of(tree))


# -- roots ------------------------------------------------------------------------------


@pytest.fixture
def two(tree: TreeBuilder) -> TreeBuilder:
    """Make a repository with a tag, and an untagged manifest."""
    tree.push("app", "v1", image(["tagged"]))
    tree.push("app", None, USED)
    return tree


USED = image(["used"])


@pytest.mark.parametrize("what", ["manifest", "manifest here", "config", "layer"])
def test_what_a_root_names_stays_with_its_image(two: TreeBuilder, what: str) -> None:
    assert going(untagged(two), "revision") == {USED.digest}
    config, layer = (blob.digest for blob in USED.blobs)
    root = {
        "manifest": f"@{USED.digest}",
        "manifest here": f"app@{USED.digest}",
        "config": f"@{config}",
        "layer": f"@{layer}",
    }[what]
    planned = untagged(two, roots=(root,))
    assert (planned.actions, planned.findings) == ([], [])


def test_what_a_root_names_is_no_help_to_others(two: TreeBuilder) -> None:
    other = two.push("app", None, image(["not used"]))
    assert going(untagged(two, roots=(f"@{USED.digest}",)), "revision") == {other}


@pytest.mark.parametrize("root", ["app:old", "app:old?", "@{digest}", "app@{digest}", "@{config}"])
def test_a_policy_drops_no_tag_of_what_a_root_names(tree: TreeBuilder, root: str) -> None:
    tree.push("app", "keep", image(["new"]))
    tree.push("app", "old", USED)
    said = root.format(digest=USED.digest, config=USED.blobs[0].digest)
    assert tags_of(judged(tree, keep("keep"))) == {"app:old"}
    planned = judged(tree, keep("keep"), roots=(said,))
    assert planned.actions == []
    assert {one.reason for one in planned.decisions} >= {"in use by the list of roots (--roots)"}


def test_a_tagless_repository_is_pruned_to_what_roots_name_in_it(tree: TreeBuilder) -> None:
    tree.push("app", None, USED)
    unused = tree.push("app", None, image(["unused"]))
    assert untagged(tree).actions == []
    assert untagged(tree, roots=("other:v1",)).actions == []
    for root in (f"app@{USED.digest}", f"@{USED.digest}", f"@{USED.blobs[0].digest}"):
        assert going(untagged(tree, roots=(root,)), "revision") == {unused}


@pytest.mark.parametrize("what", ["manifest", "config"])
def test_a_root_of_one_repository_vouches_for_no_other(tree: TreeBuilder, what: str) -> None:
    tree.push("app", None, USED)
    tree.push("moved", None, USED)
    tree.push("moved", None, image(["only digests here"]))
    digest = USED.digest if what == "manifest" else USED.blobs[0].digest
    assert untagged(tree, roots=(f"app@{digest}",)).actions == []


def test_a_manifest_that_nothing_links_is_kept_with_all_it_names(tree: TreeBuilder) -> None:
    child = image(["child"])
    both = index(child)
    tree.push("app", None, both)
    tree.push("app", "v1", image(["tagged"]))
    shutil.rmtree(tree.repository_path("app") / "_layers")
    for digest in (both.digest, child.digest):
        tree.delete_revision("app", digest)
    blobs = {both.digest, child.digest, *(blob.digest for blob in child.blobs)}
    assert going(untagged(tree), "blob") == blobs
    planned = untagged(tree, roots=(f"@{both.digest}",))
    assert going(planned, "blob") == set()
    assert planned.kept["outside"] == len(blobs)


def test_a_blob_that_a_root_names_keeps_its_link(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["tagged"]))
    digest = tree.add_blob("app", "by digest only")
    assert going(untagged(tree), "layer-link") == {digest}
    planned = untagged(tree, roots=(f"app@{digest}",))
    assert planned.actions == []


def test_an_image_is_known_by_its_config_in_another_algorithm(tree: TreeBuilder) -> None:
    config = Blob(USED.blobs[0].data, algorithm="sha512")
    document = {
        "schemaVersion": 2,
        "mediaType": USED.media_type,
        "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
        "layers": [],
    }
    from tests.support.builder import raw

    made = raw(document, blobs=[config])
    tree.push("app", None, made)
    tree.push("app", "v1", image(["tagged"]))
    assert going(untagged(tree), "revision") == {made.digest}
    planned = untagged(tree, roots=(f"@{config.digest}",))
    assert (planned.actions, planned.findings) == ([], [])


def test_a_root_whose_config_is_missing_keeps_its_image(two: TreeBuilder) -> None:
    config = USED.blobs[0].digest
    two.delete_blob(config)
    planned = untagged(two, roots=(f"@{config}",))
    assert planned.actions == []
    assert [one.code for one in planned.findings] == [Code.ROOT_MISSING]


def test_a_root_that_is_not_there_is_told_and_ends_in_doubt(two: TreeBuilder) -> None:
    assert not untagged(two).doubtful
    planned = untagged(two, roots=("gone:v1", f"@{USED.digest}"))
    assert [one.code for one in planned.findings] == [Code.ROOT_MISSING]
    assert planned.doubtful
    assert untagged(two, roots=("gone:v1?", f"@{USED.digest}")).findings == []


# -- history ------------------------------------------------------------------------------


def history(tree: TreeBuilder, planned: Plan) -> list[str]:
    """Return what goes of the history of app:v1, by the names of its images."""
    return sorted(NAMES[digest] for digest in going(planned, "tag-index"))


NAMES = {image([str(number)]).digest: str(number) for number in range(4)}


@pytest.fixture
def moved(tree: TreeBuilder) -> TreeBuilder:
    """Make a tag that has been set four times, an hour apart."""
    for number in range(4):
        tree.push("app", "v1", image([str(number)]))
        path = tree.tag_index_path("app", "v1", image([str(number)]).digest)
        tree.set_age(path, 172_800 - number * 3600)
    return tree


@pytest.mark.parametrize(
    ("length", "gone"),
    [(None, []), (0, ["0", "1", "2"]), (1, ["0", "1"]), (2, ["0"]), (3, []), (9, [])],
)
def test_the_last_so_many_stay_in_a_history(
    moved: TreeBuilder, length: int | None, gone: list[str]
) -> None:
    planned = plan_of(moved, tag_history=length)
    assert history(moved, planned) == gone
    assert going(planned, "blob") == set()
    assert {one.kind for one in planned.actions} <= {"tag-index"}


def test_what_a_tag_is_now_stays_in_its_history_however_old(moved: TreeBuilder) -> None:
    moved.tag_path("app", "v1").write_text(image(["0"]).digest)
    moved.set_age(moved.tag_path("app", "v1"), 172_800)
    assert history(moved, plan_of(moved, tag_history=0)) == ["1", "2", "3"]
    assert history(moved, plan_of(moved, tag_history=1)) == ["1", "2"]


@pytest.mark.parametrize("content", [None, "", "nothing", " {digest}\n"])
def test_a_tag_that_does_not_tell_well_what_it_is_loses_no_history(
    moved: TreeBuilder, content: str | None
) -> None:
    link = moved.tag_path("app", "v1")
    if content is None:
        link.unlink()
    else:
        link.write_text(content.format(digest=image(["3"]).digest))
    moved.age(172_800)
    assert history(moved, plan_of(moved, tag_history=0)) == []


def test_a_young_history_stays(moved: TreeBuilder) -> None:
    planned = plan_of(moved, tag_history=0, min_age=172_800 - 1800)
    assert history(moved, planned) == ["0"]


def test_history_of_what_goes_goes_with_it(moved: TreeBuilder) -> None:
    planned = plan_of(moved, delete_untagged=True, tag_history=3)
    assert history(moved, planned) == ["0", "1", "2"]


# -- a limit --------------------------------------------------------------------------------


def test_the_largest_blobs_go_until_enough_is_freed(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["app"]))
    sizes = {tree.blob(b"x" * size): size for size in (10, 300, 20, 100)}
    for limit, freed in ((0, []), (1, [300]), (300, [300]), (301, [300, 100]), (999, [*sizes])):
        planned = plan_of(tree, max_freed=limit)
        wanted = freed if limit < 999 else [10, 20, 100, 300]
        assert sorted(sizes[one] for one in going(planned, "blob")) == sorted(wanted)
        assert planned.kept.get("max_freed", 0) == 4 - len(wanted)


def test_with_a_blob_goes_what_names_it(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["app"]))
    layer = os.urandom(5000)
    old = image([layer])
    about = artifact(["sbom"], subject=old)
    tree.push("app", None, index(old))
    tree.push("app", None, about)
    planned = untagged(tree, max_freed=1)
    assert going(planned, "blob") == {
        digest_of(layer), old.digest, index(old).digest, about.digest
    }  # fmt: skip
    applied = carried_out(tree, planned)
    assert applied.skipped == []
    assert applied.done == planned.totals


def test_what_is_named_in_another_algorithm_goes_after_what_names_it(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["app"]))
    long = Blob(os.urandom(5000), algorithm="sha512")
    old = image([long])
    tree.push("app", None, old)
    planned = untagged(tree, max_freed=1)
    assert going(planned, "blob") == {digest_of(long.data), old.digest}
    assert carried_out(tree, planned).skipped == []


def test_what_frees_nothing_stays_when_a_limit_is_met(tree: TreeBuilder) -> None:
    """Of two old images one is enough: the tags, links and manifest of the other stay."""
    large, small = image([os.urandom(5000)]), image(["small"])
    tree.push("app", "keep", image(["new"]))
    tree.push("app", "large", large)
    tree.push("app", "small", small)
    tree.push("app", "twice", image(["elsewhere"]))
    tree.push("other", "keep", image(["elsewhere"]))
    tree.add_blob("app", "unused")
    wanted = files_of(tree, "app", "small")
    planned = judged(tree, keep("keep"), max_freed=5000)
    assert {one.path.rpartition("/")[2] for one in planned.actions if one.kind == "tag"} == {
        "large"
    }
    assert going(planned, "revision") == {large.digest}
    assert going(planned, "layer-link") == {large.blobs[1].digest}
    assert going(planned, "blob") == {large.digest, large.blobs[1].digest}
    applied = carried_out(tree, planned)
    assert (applied.skipped, applied.done) == ([], planned.totals)
    assert wanted <= tree.files().keys()
    assert tree.tags("app") == ["keep", "small", "twice"]


def test_a_limit_that_is_not_met_limits_nothing(tree: TreeBuilder) -> None:
    tree.push("app", "keep", image(["new"]))
    tree.push("app", "twice", image(["elsewhere"]))
    tree.push("other", "keep", image(["elsewhere"]))
    without = judged(tree, keep("keep"))
    assert judged(tree, keep("keep"), max_freed=10**6).actions == without.actions != []


def test_a_limit_takes_a_signature_along_with_its_image(tree: TreeBuilder) -> None:
    old = image([os.urandom(5000)])
    tree.push("app", "keep", image(["new"]))
    tree.push("app", "old", old)
    beside = f"{old.digest.replace(':', '-')}.sig"
    signature = image(["signature"])
    tree.push("app", beside, signature)
    planned = judged(tree, keep("keep"), max_freed=1)
    assert {one.path.rpartition("/")[2] for one in planned.actions if one.kind == "tag"} == {
        "old",
        beside,
    }
    assert going(planned, "revision") == {old.digest, signature.digest}
    assert carried_out(tree, planned).skipped == []


def test_a_young_manifest_of_a_layer_that_goes_loses_its_link_too(tree: TreeBuilder) -> None:
    """Its blob is young and stays; a link to it would promise an image that is not whole."""
    old = image([os.urandom(5000)])
    tree.push("app", "keep", image(["new"]))
    tree.push("app", None, old)
    tree.set_age(tree.blob_path(old.digest), 60)
    planned = untagged(tree, max_freed=1)
    assert going(planned, "blob") == {old.blobs[1].digest}
    assert going(planned, "revision") == {old.digest}


def errors(tree: TreeBuilder) -> set[Finding]:
    """Return what a verification without content finds broken."""
    inventory, graph = scan_and_build(tree, lean=False)
    found = verify(registry_of(tree), inventory, graph, VerifyOptions(level=Level.SIZES))
    return {row.finding for row in found.findings if row.finding.severity is Severity.ERROR}


@fewer(3, 20)
@given(recipes(), st.integers(1, 4000))
def test_with_any_limit_what_stays_is_whole(recipe: Recipe, limit: int) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        whole = plan_of(tree, delete_untagged=True)
        planned = plan_of(tree, delete_untagged=True, max_freed=limit)
        assert paths(planned) <= paths(whole)
        before = errors(tree)
        applied = carried_out(tree, planned)
        assert (applied.skipped, applied.done) == ([], planned.totals)
        assert errors(tree) <= before


def test_what_a_limit_left_goes_with_the_next_run(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["app"]))
    tree.push("app", None, image(["one", "two"]))
    runs = 0
    while (planned := untagged(tree, max_freed=1)).actions:
        assert carried_out(tree, planned).skipped == []
        runs += 1
    assert runs > 1
    assert tree.blobs() == {image(["app"]).digest, *(b.digest for b in image(["app"]).blobs)}


# -- the tree has changed since the plan -------------------------------------------------------


@pytest.fixture
def old(tree: TreeBuilder) -> TreeBuilder:
    tree.push("app", "keep", image(["new"]))
    tree.push("app", "old", image(["old"]))
    return tree


def test_a_tag_that_moved_since_the_plan_stays_with_what_it_is_now(old: TreeBuilder) -> None:
    old.push("app", None, image(["untagged"]))
    made = judged(old, keep("keep", deleteUntagged=True))
    assert len(going(made, "revision")) == 2
    old.tag("app", "old", image(["untagged"]).digest)
    wanted = files_of(old, "app", "old")
    applied = carried_out(old, made)
    assert applied.done.tags == 0
    assert wanted <= old.files().keys()
    assert old.current("app", "old") == image(["untagged"]).digest


def test_a_tag_that_was_pushed_again_to_the_same_digest_stays(old: TreeBuilder) -> None:
    made = judged(old, keep("keep"))
    before = old.files()
    old.set_age(old.tag_path("app", "old"), 90_000)
    applied = carried_out(old, made)
    assert "it has changed since the plan" in {one.reason for one in applied.skipped}
    assert old.files() == before


def test_a_tag_that_is_gone_is_told(old: TreeBuilder) -> None:
    made = judged(old, keep("keep"))
    old.untag("app", "old")
    applied = carried_out(old, made)
    assert applied.done.tags == 0
    assert "it is gone, or in use again" in {one.reason for one in applied.skipped}


def test_a_tag_folder_with_more_than_links_stays(old: TreeBuilder) -> None:
    old.write(old.tag_folder("app", "old") / "note", b"somebody put it here")
    before = old.files()
    carried_out(old, judged(old, keep("keep")))
    assert old.files() == before


def test_a_policy_that_keeps_it_by_now_keeps_it(old: TreeBuilder) -> None:
    made = judged(old, keep("keep"))
    old.push("other", "keep", image(["old"]))
    carried_out(old, made)
    assert old.blob_path(image(["old"]).digest).exists()
    assert old.blob_path(blob_of("old").digest).exists()


def test_nothing_goes_that_the_plan_has_not_named(old: TreeBuilder) -> None:
    made = judged(old, keep("keep"))
    later = old.push("app", "later", image(["old", "later"]))
    carried_out(old, made)
    assert old.tags("app") == ["keep", "later"]
    assert old.blob_path(later).exists()
    assert ("app", blob_of("old").digest) not in going_in(judged(old, keep("keep|later")), "blob")
    assert old.blob_path(blob_of("old").digest).exists()


def test_a_blob_that_nobody_agreed_to_lose_keeps_what_it_names(tree: TreeBuilder) -> None:
    content = image(["old"])
    tree.push("app", "v1", image(["app"]))
    tree.push("app", None, content)
    tree.set_age(tree.blob_path(content.digest), 60)
    made = untagged(tree)
    layer = blob_of("old").digest
    assert layer in going(made, "blob")
    assert content.digest not in going(made, "blob")
    apply(made, registry_of(tree), clock=lambda: time.time() + 86_400)
    assert tree.blob_path(content.digest).exists()
    assert tree.blob_path(layer).exists()


class _Meanwhile(Silent):
    """Lets something happen when a run has looked, and before it moves the first thing."""

    def __init__(self, happens: Callable[[], object]) -> None:
        self.happens = happens

    def start(self, task: str, total: int | None = None, unit: str = "items") -> None:
        if task.startswith("Moving"):
            self.happens()


def test_a_tag_that_is_set_under_way_keeps_what_it_is_now(old: TreeBuilder) -> None:
    now = old.push("app", None, image(["now"]))
    made = judged(old, keep("keep", deleteUntagged=True))
    assert now in going(made, "blob")
    progress = _Meanwhile(lambda: old.tag_path("app", "old").write_text(now))
    applied = apply(made, registry_of(old), progress=progress)
    assert applied.done.tags == 0
    needed = {now, *(blob.digest for blob in image(["now"]).blobs)}
    assert needed <= old.blobs()
    assert old.revision_path("app", now).exists()


def test_a_purge_leaves_nothing_in_quarantine(old: TreeBuilder) -> None:
    applied = apply(judged(old, keep("keep")), registry_of(old))
    assert purge(writable(registry_of(old).store), applied.run).files > 0
    assert {path.rpartition("/")[2] for path in old.files(".regfs")} <= {
        "journal.jsonl",
        "lock",
        "lock.next",
    }
