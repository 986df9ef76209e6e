"""regfs beside docker-registry 2.8.2 over very many registries, by an oracle that is neither.

Starting the reference takes longer than collecting, so each example is a batch of random
registries side by side in one tree. They have their own repositories and share no blob but
the empty config of artefacts: what is garbage in one is garbage, whatever the others are.
The profile tells how many: some hundreds in CI, some thousands with `thorough`.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from regfs.gc.collect import collect as run_gc
from tests.support import reference
from tests.support.builder import TreeBuilder, image
from tests.support.images import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, digest_of
from tests.support.reference import ReferenceRegistry, needs_reference
from tests.support.registries import (
    Oracle,
    Recipe,
    build,
    fewer,
    going,
    going_in,
    new_tree,
    plan_of,
    recipes,
    registry_of,
)

BATCH = 20
"""Registries in one tree."""

ACCEPT = {"Accept": ", ".join([OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST])}


def batches(size: int = BATCH, **options: Any) -> st.SearchStrategy[list[Recipe]]:
    return st.lists(recipes(**options), min_size=size, max_size=size)


def build_all(tree: TreeBuilder, batch: list[Recipe], *, tagged: bool = False) -> TreeBuilder:
    """Make all registries of a batch; `tagged` gives each repository a tag that stays.

    Under `-m` version 2.8 stops at the first repository that has none.
    """
    for number, recipe in enumerate(batch):
        names = {name: f"r{number}/{name}" for name in recipe.repositories}
        build(tree, recipe, names, space=f"{number} ")
        for name in names.values() if tagged else ():
            tree.push(name, "kept", image([f"{number} base"], {"author": name}))
    return tree


@needs_reference
@fewer(20, least=3)
@given(batches())
def test_with_every_revision_a_root_exactly_the_same_blobs_go(batch: list[Recipe]) -> None:
    with new_tree() as tree:
        build_all(tree, batch)
        theirs, ours = reference.collect(tree.root), plan_of(tree)
        assert theirs.returncode == 0, theirs.output
        needed = Oracle(tree).blobs
        assert going(ours, "blob") == tree.blobs() - needed
        # Where they are right, nothing is left behind; wrong they are of children that were
        # deleted by digest while an index lists them, and of subjects of what stays.
        assert theirs.blobs - needed <= going(ours, "blob")
        assert going(ours, "blob") <= theirs.blobs


@needs_reference
@fewer(20, least=3)
@given(batches())
def test_of_untagged_images_at_least_as_many_go_and_none_that_is_needed(
    batch: list[Recipe],
) -> None:
    with new_tree() as tree:
        build_all(tree, batch, tagged=True)
        theirs = reference.collect(tree.root, delete_untagged=True)
        ours = plan_of(tree, delete_untagged=True)
        assert theirs.returncode == 0, theirs.output
        oracle = Oracle(tree, untagged=True)
        live = {(name, digest) for name in oracle.names for digest in oracle.live[name]}
        blobs, links = going(ours, "blob"), going_in(ours, "revision")
        assert blobs == tree.blobs() - oracle.blobs
        assert links.isdisjoint(live)
        assert theirs.blobs - oracle.blobs <= blobs
        assert theirs.manifests - live <= links
        assert blobs <= theirs.blobs


@needs_reference
@fewer(20, least=3)
@given(batches(kinds=("image",), steps=("push", "untag", "blob", "orphan", "upload")))
def test_of_plain_images_exactly_the_same_go(batch: list[Recipe]) -> None:
    """Of a manifest that is tagged in another repository, 2.8 keeps the link here too."""
    with new_tree() as tree:
        alone = [Recipe(one.contents, one.steps, ["a"] * 4) for one in batch]
        build_all(tree, alone, tagged=True)
        theirs = reference.collect(tree.root, delete_untagged=True)
        ours = plan_of(tree, delete_untagged=True)
        assert theirs.returncode == 0, theirs.output
        assert going(ours, "blob") == theirs.blobs
        assert going_in(ours, "revision") == theirs.manifests


@needs_reference
@fewer(40, least=2)
@given(batches(6), st.booleans())
def test_whatever_could_be_pulled_and_is_to_stay_can_be_pulled(
    batch: list[Recipe], untagged: bool
) -> None:
    with new_tree() as tree:
        build_all(tree, batch)
        oracle = Oracle(tree, untagged=untagged)
        wanted = [
            *((name, tag) for name in oracle.names for tag in tree.tags(name)),
            *(
                (name, digest)
                for name in oracle.names
                for digest in oracle.live[name] & oracle.revisions(name)
            ),
        ]
        with ReferenceRegistry(tree.root) as registry:
            before = {each for each in wanted if can_pull(registry, *each)}
            made = plan_of(tree, delete_untagged=untagged, min_age=0, leftovers=True)
            run_gc(made, registry_of(tree), wait=0, purge=True)
            assert plan_of(tree, delete_untagged=untagged, min_age=0).actions == []
            # It has no cache of descriptors: what it serves is what lies on the disk.
            assert {each for each in before if not can_pull(registry, *each)} == set()


def can_pull(registry: ReferenceRegistry, name: str, what: str) -> bool:
    """Return whether a manifest can be had with all that belongs to it, byte for byte."""
    answer = registry.request("GET", f"/v2/{name}/manifests/{what}", headers=ACCEPT)
    if answer.status != 200:
        return False
    document = json.loads(answer.body)
    if not all(can_pull(registry, name, one["digest"]) for one in document.get("manifests", [])):
        return False
    for part in [document.get("config"), *document.get("layers", [])]:
        if part is not None:
            blob = registry.request("GET", f"/v2/{name}/blobs/{part['digest']}")
            if (blob.status, digest_of(blob.body)) != (200, part["digest"]):
                return False
    return True
