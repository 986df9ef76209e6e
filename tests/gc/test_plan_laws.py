"""Laws of plans over random registries."""

from __future__ import annotations

import json
import time

from hypothesis import given
from hypothesis import strategies as st

from regfs.gc.plan import total
from tests.support.builder import digest_of, raw
from tests.support.images import Document
from tests.support.registries import (
    Oracle,
    Recipe,
    build,
    collect,
    going,
    going_in,
    new_tree,
    paths,
    plan_of,
    recipes,
    scan_and_build,
)

POLICIES = st.fixed_dictionaries({"delete_untagged": st.booleans()})


@given(recipes(), st.booleans())
def test_a_plan_holds_exactly_what_the_oracle_does_not_keep(recipe: Recipe, prune: bool) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        planned = plan_of(tree, delete_untagged=prune)
        oracle = Oracle(tree, untagged=prune)
        inventory, _ = scan_and_build(tree)
        assert not inventory.repositories or not planned.doubtful
        links = {(n, str(d)) for n, r in inventory.repositories.items() for d in r.layers}
        kept = {(name, digest) for name in oracle.names for digest in oracle.layers[name]}
        assert going_in(planned, "layer-link") == links - kept
        assert not inventory.repositories or going(planned, "blob") == oracle.present - oracle.blobs
        revisions = {(name, d) for name in oracle.names for d in oracle.revisions(name)}
        live = {(name, digest) for name in oracle.names for digest in oracle.live[name]}
        assert going_in(planned, "revision") == (revisions - live if prune else set())


@given(recipes(), POLICIES)
def test_after_a_run_there_is_nothing_left_to_collect(recipe: Recipe, policy: Document) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        before = tree.size_on_disk()
        planned = plan_of(tree, **policy, uploads_older_than=0)
        applied = collect(tree, **policy, uploads_older_than=0)
        assert applied.skipped == []
        assert before - tree.size_on_disk() == planned.totals.bytes
        assert plan_of(tree, **policy, uploads_older_than=0).actions == []


@given(recipes(), POLICIES, st.permutations(["a", "a/b", "m", "z"]))
def test_names_do_not_matter(recipe: Recipe, policy: Document, names: list[str]) -> None:
    rename = dict(zip(["a", "a/b", "m", "z"], names, strict=True))
    with new_tree() as tree, new_tree() as other:
        here = plan_of(build(tree, recipe), **policy)
        there = plan_of(build(other, recipe, rename), **policy)
    assert going(here, "blob") == going(there, "blob")
    for kind in ("revision", "layer-link", "tag-index"):
        renamed = {(rename[name], digest) for name, digest in going_in(here, kind)}
        assert renamed == going_in(there, kind)


@given(recipes(), POLICIES, st.lists(st.integers(0, 100), min_size=2, max_size=2), st.data())
def test_waiting_longer_never_collects_more(
    recipe: Recipe, policy: Document, ages: list[int], data: st.DataObject
) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        for path in sorted(tree.root.rglob("*")):
            if path.is_file():
                tree.set_age(path, data.draw(st.integers(0, 100), label=path.name) + 0.5)
        now = time.time()
        less, more = (paths(plan_of(tree, **policy, min_age=age, now=now)) for age in sorted(ages))
        assert more <= less


@given(recipes(), POLICIES)
def test_a_lean_listing_plans_the_same(recipe: Recipe, policy: Document) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        now = time.time()
        first, second = (plan_of(tree, **policy, lean=lean, now=now) for lean in (True, False))
    assert (first.actions, first.kept) == (second.actions, second.kept)


@given(recipes())
def test_histories_do_not_matter_while_revisions_are_roots(recipe: Recipe) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        now = time.time()
        first, second = (plan_of(tree, history=history, now=now) for history in (True, False))
    assert (first.actions, first.kept) == (second.actions, second.kept)


@given(recipes(), POLICIES)
def test_planning_twice_says_the_same(recipe: Recipe, policy: Document) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        now = time.time()
        first, second = (plan_of(tree, **policy, now=now + later) for later in (0.0, 0.001))
    assert first.actions == second.actions
    assert (first.totals, first.kept) == (second.totals, second.kept)
    assert first.totals == total(first.actions)
    assert first.id != second.id


@given(
    st.recursive(st.just(digest_of(b"x")), lambda t: st.lists(t) | st.dictionaries(st.text(), t))
)
def test_a_digest_anywhere_in_an_unknown_manifest_is_kept(document: object) -> None:
    with new_tree() as tree:
        tree.blob(b"x")
        tree.push("app", "v1", raw(json.dumps({"mediaType": "x/y", "it": document}).encode()))
        named = digest_of(b"x") in json.dumps(document)
        assert going(plan_of(tree), "blob") == (set() if named else {digest_of(b"x")})
