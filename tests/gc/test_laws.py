"""Laws of plans with policies, over random registries: nothing needed goes, and nothing else stays.

What must stay is told by `Oracle`, and by what lies on the disk before and after.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from regfs.gc.plan import Plan, load, plan
from regfs.gc.policy import Policy
from regfs.gc.retention import RetentionPolicy
from regfs.gc.scanning import scan_for_plan
from regfs.gc.sweep import Applied, apply
from regfs.graph import build_graph
from regfs.render.tables import to_json
from regfs.runs import purge as purge_run
from regfs.runs import restore
from regfs.stores import open_store, writable
from tests.support.builder import TreeBuilder
from tests.support.registries import (
    TAGS,
    Oracle,
    Recipe,
    build,
    going_in,
    new_tree,
    recipes,
    registry_of,
)

NAMES = ["a", "a/b", "m", "z"]


@st.composite
def retentions(draw: st.DrawFn) -> RetentionPolicy:
    """Draw policies of one or two blocks."""
    rules = st.one_of(
        st.fixed_dictionaries({"mostRecentlyPushedCount": st.integers(1, 3)}),
        st.just({"pushedWithin": "1d"}),
        st.just({"createdWithin": "1d"}),
        st.just({"labels": {"keep": "yes"}}),
    )
    patterns = st.lists(st.sampled_from([*TAGS, "v.*"]), min_size=1, max_size=2)
    entry = st.builds(lambda rule, some: {**rule, "patterns": some}, rules, patterns)
    block = st.fixed_dictionaries(
        {
            "repositories": st.lists(st.sampled_from(["**", "*", "a/**", "m"]), min_size=1),
            "keepTags": st.lists(entry, max_size=2),
            "allowEmpty": st.booleans(),
            "deleteUntagged": st.booleans(),
            "deleteReferrers": st.booleans(),
        },
        optional={"keepUntagged": rules, "immutable": st.just(["latest"])},
    )
    blocks = draw(st.lists(block, min_size=1, max_size=2))
    return RetentionPolicy.model_validate({"policies": blocks})


POLICIES = st.builds(
    Policy,
    allow_no_manifests=st.just(True),  # all images of an example may be deleted
    delete_untagged=st.booleans(),
    min_age=st.just(0.0),
    uploads_older_than=st.just(0.0),
    keep_referrers_of_dangling=st.booleans(),
    keep_referrers_of_subject=st.booleans(),
    tag_history=st.none() | st.integers(0, 2),
    leftovers=st.just(True),
    empty_repositories=st.booleans(),
    retention=st.none() | retentions(),
    roots=st.none() | st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(TAGS)), max_size=2)
    .map(lambda pairs: tuple(f"{name}:{tag}" for name, tag in pairs)),
    ignore_missing_roots=st.just(True),
)  # fmt: skip


def planned(tree: TreeBuilder, policy: Policy, now: float | None = None) -> Plan:
    registry = registry_of(tree)
    inventory = scan_for_plan(registry.store, policy)
    graph = build_graph(inventory, registry)
    now = time.time() if now is None else now
    return plan(graph, policy, now, registry.manifest_bytes)


def carried_out(tree: TreeBuilder, made: Plan) -> Applied:
    applied = apply(made, registry_of(tree))
    if made.actions:
        purge_run(writable(registry_of(tree).store), applied.run)
    return applied


def with_links(tree: TreeBuilder, before: Oracle, name: str, digest: str) -> set[str]:
    """Return the paths of all that a manifest needs in its repository, as far as it was there."""
    manifests = before.closure([digest])
    found = {tree.revision_path(name, one) for one in manifests}
    for blob in {part for one in manifests for part in _parts(before, one)}:
        found |= {tree.layer_path(name, blob), tree.blob_path(blob)}
    found |= {tree.blob_path(one) for one in manifests}
    return {tree.relative(path) for path in found if path.exists()}


def _parts(oracle: Oracle, digest: str) -> set[str]:
    document = oracle.documents.get(digest, {})
    listed = [document.get("config"), *document.get("layers", []), *document.get("manifests", [])]
    return {part["digest"] for part in listed if part is not None}


def promised(tree: TreeBuilder, policy: Policy) -> dict[tuple[str, str], set[str]]:
    """Return each tag, with the files of its image."""
    before = Oracle(tree)
    return {
        (name, tag): with_links(tree, before, name, tree.current(name, tag))
        for name in before.names
        for tag in tree.tags(name)
    }


def must_stay(policy: Policy, name: str, tag: str) -> bool:
    """Return whether a policy cannot drop a tag, by the little that needs no thought."""
    block = None if policy.retention is None else policy.retention.block_for(name)
    said = policy.roots is not None and f"{name}:{tag}" in policy.roots
    return block is None or not block[1].keep_tags or tag in block[1].immutable or said


@given(recipes(), POLICIES, st.none() | st.integers(0, 2000))
def test_no_tag_that_stays_loses_a_byte(
    recipe: Recipe, policy: Policy, max_freed: int | None
) -> None:
    policy = replace(policy, max_freed=max_freed)
    with new_tree() as tree:
        build(tree, recipe)
        files, images = tree.files(), promised(tree, policy)
        made = planned(tree, policy)
        applied = carried_out(tree, made)
        after = tree.files()
        assert after.items() <= files.items()
        dropped = {(one.repository, one.path.rpartition("/")[2]) for one in made.actions
                   if one.kind == "tag"}  # fmt: skip
        assert not {pair for pair in dropped if must_stay(policy, str(pair[0]), pair[1])}
        for (name, tag), wanted in images.items():
            if (name, tag) in dropped:
                assert tag not in tree.tags(name)
            else:
                assert tree.relative(tree.tag_path(name, tag)) in after
                assert wanted <= after.keys()
        assert applied.skipped == []


@given(recipes(), POLICIES, st.booleans())
def test_a_run_does_what_its_plan_says_and_leaves_nothing(
    recipe: Recipe, policy: Policy, litter: bool
) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        if litter:
            tree.write(tree.v2 / f"blobs/sha256/00/{'0' * 64}/.data.x.regfs-tmp", b"half")
            tree.folder(tree.v2 / f"repositories/a/_layers/sha256/{'1' * 64}")
            tree.folder(tree.tag_folder("z", "gone") / "index/sha256")
        before = tree.size_on_disk()
        made = planned(tree, policy)
        applied = carried_out(tree, made)
        assert (applied.skipped, applied.done) == ([], made.totals)
        assert before - tree.size_on_disk() == made.totals.bytes
        again = planned(tree, policy)
        assert again.actions == []


@given(recipes(), POLICIES, st.integers(0, 2000))
def test_a_limit_takes_a_part_of_what_would_go(recipe: Recipe, policy: Policy, limit: int) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        now = time.time()
        every = planned(tree, policy, now)
        some = planned(tree, replace(policy, max_freed=limit), now)
    assert {one for one in some.actions} <= {one for one in every.actions}
    left = [one for one in every.actions if one not in some.actions]
    blobs = [one for one in left if one.kind == "blob"]
    assert some.kept.get("max_freed", 0) == len(blobs)
    taken = sum(one.size for one in some.actions if one.kind == "blob")
    assert not left or taken >= limit


@given(recipes(), POLICIES, st.permutations(NAMES))
def test_names_of_repositories_do_not_matter(
    recipe: Recipe, policy: Policy, names: list[str]
) -> None:
    rename = dict(zip(NAMES, names, strict=True))
    retention = policy.retention
    if retention is not None:
        # By name a block may be about one and not the other.
        blocks = [one.model_copy(update={"repositories": ("**",)}) for one in retention.policies]
        retention = retention.model_copy(update={"policies": tuple(blocks)})
    policy = replace(policy, retention=retention, roots=None, empty_repositories=False)
    with new_tree() as tree, new_tree() as other:
        here = planned(build(tree, recipe), policy)
        there = planned(build(other, recipe, rename), policy)
    for kind in ("tag", "revision", "layer-link", "tag-index"):
        renamed = {(rename[name], digest) for name, digest in going_in(here, kind)}
        assert renamed == going_in(there, kind)
    assert going_in(here, "blob") == going_in(there, "blob")


@given(recipes(), POLICIES)
def test_a_plan_is_the_same_twice_and_once_written(recipe: Recipe, policy: Policy) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        now = time.time()
        first, second = (planned(tree, policy, now) for _ in range(2))
    assert (first.actions, first.kept, first.decisions) == (
        second.actions, second.kept, second.decisions
    )  # fmt: skip
    read = load(to_json(first).encode())
    assert (read.policy, read.actions, read.totals) == (policy, first.actions, first.totals)


@given(recipes(), POLICIES)
def test_what_a_policy_took_can_be_brought_back(recipe: Recipe, policy: Policy) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        before = tree.files()
        applied = apply(planned(tree, policy), registry_of(tree))
        restored = restore(open_store(str(tree.root)), applied.run)
        assert tree.files() == before
        assert (restored.bytes, restored.skipped) == (applied.done.bytes, [])


def test_the_oracle_of_promises_sees_what_is_lost() -> None:
    with new_tree() as tree:
        step: list[tuple[Any, ...]] = [("push", 0, "v1", 0)]
        build(tree, Recipe([("image", ["base"], False)], step))
        wanted = promised(tree, Policy())["a", "v1"]
        assert len(wanted) == 6
        assert wanted < tree.files().keys()
