"""regfs beside docker-registry 2.8.2: equal where that is right, and never a blob more elsewhere.

Where the reference is wrong (indexes and referrers under `--delete-untagged`,
children deleted by digest) regfs keeps more, each by a rule of its own that
tests/gc/test_plan.py states.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regfs.cli.app import run
from tests.support import reference
from tests.support.builder import TreeBuilder, artifact, blob_of, buildkit, image, index
from tests.support.images import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Content,
    digest_of,
)
from tests.support.reference import ReferenceRegistry, needs_reference, pull_all
from tests.support.registries import (
    Oracle,
    Recipe,
    build,
    files_of,
    going,
    going_in,
    make_contents,
    new_tree,
    plan_of,
    recipes,
)

pytestmark = pytest.mark.reference

HEALTHY = ("push", "untag", "blob", "orphan", "fallback", "upload")
"""Nothing is deleted by digest: version 2.8 then loses the layers of an index's child."""

WHOLE_KINDS = ("image", "index", "artifact")
"""What can be pulled with all that belongs to it: no index of layers, no missing child."""

_FEW = settings(max_examples=15)
"""Examples that start a registry take a while."""

ACCEPT = {"Accept": ", ".join([OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST])}


# -- random registries --------------------------------------------------------


@needs_reference
@given(recipes(steps=HEALTHY))
def test_the_same_blobs_go_when_every_revision_is_kept(recipe: Recipe) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        expected = reference.collect(tree.root)
        assert expected.returncode == 0, expected.output
        assert going(plan_of(tree), "blob") == expected.blobs


@needs_reference
@given(recipes(kinds=("image",), steps=("push", "untag", "blob", "orphan", "upload")))
def test_the_same_images_go_when_they_have_no_tag(recipe: Recipe) -> None:
    with new_tree() as tree:
        # In one repository: of a manifest that is tagged elsewhere, 2.8 keeps the link here too.
        build(tree, Recipe(recipe.contents, recipe.steps, ["a"] * 4))
        tree.push("a", "kept", image(["base", "kept"]))
        tree.push("z", "v1", image(["base", "z"]))
        expected = reference.collect(tree.root, delete_untagged=True)
        assert expected.returncode == 0, expected.output
        planned = plan_of(tree, delete_untagged=True)
        assert going(planned, "blob") == expected.blobs
        assert going_in(planned, "revision") == expected.manifests


@needs_reference
@given(recipes(), st.booleans())
def test_no_blob_goes_that_the_reference_would_keep(recipe: Recipe, untagged: bool) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        for name in recipe.repositories:  # without tags, version 2.8 stops
            tree.push(name, "kept", image(["base"], {"author": name}))
        theirs = reference.collect(tree.root, delete_untagged=untagged)
        ours = going(plan_of(tree, delete_untagged=untagged), "blob")
        assert theirs.returncode == 0, theirs.output
        assert ours <= theirs.blobs
        # What they would take beyond that is needed: by an index, a referrer or a subject.
        assert theirs.blobs - ours <= Oracle(tree, untagged=untagged).blobs


@needs_reference
@_FEW
@given(recipes(kinds=WHOLE_KINDS, steps=HEALTHY, sparse=False))
def test_every_tag_can_be_pulled_after_a_run(recipe: Recipe) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        tags = {name: tree.tags(name) for name in recipe.repositories}
        assert (
            run(["gc", "run", "-q", "-m", "--purge", "--wait", "0", "--yes", "-r", str(tree.root)])
            == 0
        )
        left = Oracle(tree)
        with ReferenceRegistry(tree.root) as registry:
            for name in left.names:
                assert tags[name] == tree.tags(name)
                for wanted in [*tags[name], *left.revisions(name)]:
                    pull(registry, name, wanted)
        assert reference.collect(tree.root).blobs == set()


def pull(registry: ReferenceRegistry, name: str, what: str) -> None:
    """Fetch a manifest with all that belongs to it; skopeo cannot do so for nested indexes."""
    answer = registry.request("GET", f"/v2/{name}/manifests/{what}", headers=ACCEPT)
    assert answer.status == 200, f"{name} {what}: {answer.body!r}"
    document = json.loads(answer.body)
    for child in document.get("manifests", []):
        pull(registry, name, child["digest"])
    for part in [document.get("config"), *document.get("layers", [])]:
        if part is not None:
            blob = registry.request("GET", f"/v2/{name}/blobs/{part['digest']}")
            assert (blob.status, digest_of(blob.body)) == (200, part["digest"])


@needs_reference
@_FEW
@given(recipes(kinds=WHOLE_KINDS, steps=("push",), sparse=False))
def test_what_a_registry_wrote_is_read_as_what_the_builder_wrote(recipe: Recipe) -> None:
    contents = make_contents(recipe)
    with new_tree() as theirs, new_tree() as ours:
        with ReferenceRegistry(theirs.root) as registry:
            for _, repository, tag, which in recipe.steps:
                content = contents[which % len(contents)]
                registry.push(recipe.repositories[repository], tag, content)
        build(ours, recipe)
        for untagged in (False, True):
            planned = plan_of(theirs, delete_untagged=untagged, min_age=0)
            expected = plan_of(ours, delete_untagged=untagged, min_age=0)
            assert planned.fingerprint == expected.fingerprint
            assert planned.totals == expected.totals
            assert [a.path for a in planned.actions] == [a.path for a in expected.actions]


# -- one registry with a history ----------------------------------------------

OLD, NEW = image(["base", "old"]), image(["base", "new"])
MULTI = index(image(["base", "amd"]), image(["base", "arm"], platform="linux/arm64"))
BUILT = buildkit(image(["base", "built"]))
SBOM = artifact(["sbom"], subject=NEW)


@pytest.fixture
def lived_in(tmp_path: Path) -> TreeBuilder:
    """A tree that docker-registry and skopeo have written, with garbage of every kind."""
    tree = TreeBuilder(tmp_path / "registry")
    reference.make_oci_layout(tmp_path / "layout", {"v1": image(["skopeo"])})
    with ReferenceRegistry(tree.root) as registry:
        registry.push("app", "v1", OLD)
        registry.push("app", "v1", NEW)
        registry.push("app", None, SBOM)
        registry.push("app/multi", "v1", MULTI)
        registry.push("app/multi", "nested", index(index(MULTI)))
        registry.push("app/multi", "built", BUILT)
        registry.push("lib", "gone", image(["base", "gone"]))
        registry.push("lib", "kept", image(["base", "kept"], docker=True))
        registry.delete("lib", "manifests", image(["base", "gone"]).digest)
        registry.mount("lib", "mounted", blob_of("base").digest)
        registry.send(registry.begin_upload("lib"), b"half")
        copied = registry.image("by-skopeo:v1")
        reference.copy(f"oci:{tmp_path / 'layout'}:v1", copied)
    return tree


KEPT = ["app:v1", "app/multi:nested", "app/multi:v1", "app/multi:built", "lib:kept", "by-skopeo:v1"]


@needs_reference
def test_a_tree_just_written_is_left_alone(lived_in: TreeBuilder) -> None:
    assert plan_of(lived_in, delete_untagged=True).actions == []


@needs_reference
def test_a_lived_in_tree_loses_what_the_reference_would_take(lived_in: TreeBuilder) -> None:
    expected = reference.collect(lived_in.root)
    gone = image(["base", "gone"])
    assert expected.blobs == {gone.digest, *(blob.digest for blob in gone.blobs)} - {
        blob_of("base").digest
    }
    assert going(plan_of(lived_in, min_age=0), "blob") == expected.blobs


@needs_reference
def test_what_stays_of_a_lived_in_tree_can_be_pulled(
    lived_in: TreeBuilder,
    registry_server: Callable[[Path], ReferenceRegistry],
    tmp_path: Path,
) -> None:
    wanted = set().union(*(files_of(lived_in, *name.split(":")) for name in KEPT))
    before = lived_in.files()
    command = ["gc", "run", "-q", "--offline", "-m", "--purge", "--yes", "-r", str(lived_in.root)]
    assert run(command) == 0
    after = lived_in.files()
    assert {path: after.get(path) for path in wanted} == {path: before[path] for path in wanted}
    assert OLD.digest not in lived_in.blobs()
    registry = registry_server(lived_in.root)
    for name in KEPT:
        pull(registry, *name.split(":"))
    # skopeo does not copy indexes of indexes.
    for number, name in enumerate([*(set(KEPT) - {"app/multi:nested"}), f"app@{SBOM.digest}"]):
        pull_all(registry.image(name), tmp_path / str(number))
    assert reference.collect(lived_in.root).blobs == set()
    assert plan_of(lived_in, delete_untagged=True, min_age=0).actions == []


@needs_reference
def test_the_registry_can_be_pushed_to_after_a_run(
    lived_in: TreeBuilder,
    registry_server: Callable[[Path], ReferenceRegistry],
    tmp_path: Path,
) -> None:
    """Folders that a run left empty or took away are no trouble, and old images come back."""
    assert run(["gc", "run", "-q", "--offline", "-m", "--yes", "-r", str(lived_in.root)]) == 0
    registry = registry_server(lived_in.root)
    registry.push("app", "old", OLD)
    registry.push("lib", "gone", image(["base", "gone"]))
    for number, name in enumerate(["app:old", "lib:gone"]):
        pull_all(registry.image(name), tmp_path / str(number))


@needs_reference
def test_a_quarantine_is_no_trouble_to_the_reference(lived_in: TreeBuilder) -> None:
    before = reference.collect(lived_in.root)
    assert run(["gc", "run", "-q", "--offline", "-m", "--yes", "-r", str(lived_in.root)]) == 0
    after = reference.collect(lived_in.root)
    assert (before.returncode, after.returncode) == (0, 0)
    assert after.blobs == set()


@needs_reference
@pytest.mark.parametrize(
    "lost_by_them",
    [index(image(["x"])), index(index(image(["x"]))), index(image(["x"]), docker=True)],
    ids=["index", "nested", "docker"],
)
def test_what_the_reference_loses_under_m_is_kept(tree: TreeBuilder, lost_by_them: Content) -> None:
    tree.push("app", "v1", lost_by_them)
    assert reference.collect(tree.root, delete_untagged=True).blobs
    assert plan_of(tree, delete_untagged=True).actions == []
