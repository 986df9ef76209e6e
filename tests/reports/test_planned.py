"""What a plan takes from each repository: the rows add up to the plan."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from regfs.gc.plan import plan, preview
from regfs.gc.policy import Policy
from regfs.reports.planned import LossPlace, losses
from tests.support.builder import TreeBuilder, image
from tests.support.registries import Recipe, build, new_tree, plan_of, recipes, scan_and_build

NOW = 10.0**10


@given(recipes(), st.booleans())
def test_the_rows_add_up_to_the_totals(recipe: Recipe, untagged: bool) -> None:
    with new_tree() as empty:
        tree = build(empty, recipe)
        made = plan_of(tree, delete_untagged=untagged, min_age=0.0)
    found = losses(made)
    assert sum(one.bytes for one in found) == made.totals.bytes
    assert sum(one.allocated for one in found) == made.allocated
    assert sum(one.manifests for one in found) == made.totals.manifests
    assert len({one.place for one in found}) == len(found)


@given(recipes())
def test_a_preview_frees_what_the_plan_would(recipe: Recipe) -> None:
    """Where nothing is young, histories only add their own links."""
    policy = Policy(delete_untagged=True, min_age=0.0)
    with new_tree() as empty:
        tree = build(empty, recipe)
        _, whole = scan_and_build(tree)
        made = plan(whole, replace(policy, allow_no_manifests=True), NOW)
        _, bare = scan_and_build(tree, history=False)
        seen = preview(bare, replace(policy, allow_no_manifests=True), NOW)
    assert (seen.totals.blobs, seen.totals.manifests) == (made.totals.blobs, made.totals.manifests)


def test_what_two_repositories_lose_together_counts_once(tree: TreeBuilder) -> None:
    for name in ("one", "two"):
        tree.push(name, "v1", image(["shared"]))
        tree.push(name, "v1", image([f"stays in {name}"]))
    alone = tree.blob(b"nobody links this")
    tree.age(30 * 86400)
    found = {one.place: one for one in losses(plan_of(tree, delete_untagged=True, min_age=0.0))}
    assert set(found) == {"one", "two", LossPlace.SEVERAL, LossPlace.NONE}
    assert found[LossPlace.NONE].bytes == len(b"nobody links this"), alone
    assert found[LossPlace.SEVERAL].bytes > found["one"].bytes
    assert (found["one"].manifests, found["one"].tags_left) == (1, 1)
