"""Reuse and lineage: which images share layers, and which is built on which."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from regfs.digest import Digest
from regfs.manifests import Manifest
from regfs.manifests.skim import Skimmed
from regfs.reports.images import images
from regfs.reports.lineage import Bases, Lineage, bases
from regfs.reports.reuse import PAIRS, Reuse, reuse
from tests.support.builder import (
    Blob,
    TreeBuilder,
    artifact,
    attestation,
    blob_of,
    buildkit,
    cache_index,
    image,
    index,
    schema1,
    tar,
)
from tests.support.registries import Recipe, build, new_tree, recipes, registry_of, scan_and_build


def shared(tree: TreeBuilder, *targets: str, top: int | None = None) -> Reuse:
    registry = registry_of(tree)
    _, graph = scan_and_build(tree, lean=False)
    found = [registry.find(target) for target in targets]
    return reuse(graph, registry.skim, registry.manifest_bytes, found, top=top)


def names(tree: TreeBuilder) -> list[str]:
    _, graph = scan_and_build(tree, lean=False)
    return [image.name for image in images(graph, registry_of(tree).skim)]


def lineage(tree: TreeBuilder) -> dict[str, Lineage]:
    _, graph = scan_and_build(tree, lean=False)
    return {one.image: one for one in bases(graph, registry_of(tree).skim).images}


# -- images -------------------------------------------------------------------


def test_images_are_what_can_be_run(tree: TreeBuilder) -> None:
    built = image(["layer"])
    tree.push("app", "plain", built)
    tree.push("app", "built", buildkit(built))
    tree.push("app", "cache", cache_index(["layer"]))
    tree.push("app", "sbom", artifact(["sbom"]))
    tree.push("app", None, image(["untagged"]))
    tree.push("app", f"{built.digest.replace(':', '-')}.sig", image(["signature"]))
    tree.fallback("app", built.digest, artifact(["listed"], subject=built))
    tree.push("old", "v1", schema1("old", "v1", ["layer"]))
    assert names(tree) == ["app:built", "app:plain", "old:v1"]


def test_platforms_tell_the_images_of_one_tag_apart(tree: TreeBuilder) -> None:
    one, other = image(["one"]), image(["two"], platform="linux/arm64/v8")
    tree.push("app", "v1", index(one, other, attestation(one), attestation(other)))
    assert names(tree) == ["app:v1 (linux/amd64)", "app:v1 (linux/arm64/v8)"]


def test_nested_and_broken_indexes(tree: TreeBuilder) -> None:
    tree.push("app", "v1", index(index(image(["deep"])), sparse=[image(["elsewhere"])]))
    tree.push("app", "v2", index(image(["lost"])))
    tree.break_("manifest-flipped", "app", "v2")
    assert names(tree) == ["app:v1"]


def test_images_of_an_untagged_repository_go_by_digest(tree: TreeBuilder) -> None:
    digest = tree.push("app", None, index(image(["layer"])))
    assert names(tree) == [f"app@{digest[:19]}"]


# -- reuse --------------------------------------------------------------------


def test_a_base_is_stored_once_and_used_by_all(tree: TreeBuilder) -> None:
    base = blob_of("base")
    tree.push("base", "v1", image([base]))
    for number in range(3):
        tree.push(f"app{number}", "v1", image([base, f"top {number}"]))
    report = shared(tree)
    assert len(report.shared) == report.layers_shared == 1
    layer = report.shared[0]
    assert (layer.digest, layer.size, layer.images, layer.repositories) == (
        base.digest,
        len(base.data),
        4,
        4,
    )
    assert layer.saved == report.saved == 3 * len(base.data)
    assert layer.used_by == ("app0:v1", "app1:v1", "app2:v1", "base:v1")
    assert (report.images, report.layers) == (4, 4)


def test_pairs_say_what_two_images_have_in_common(tree: TreeBuilder) -> None:
    base, more = blob_of("base"), blob_of("more")
    tree.push("a", "v1", image([base]))
    tree.push("b", "v1", image([base, more]))
    tree.push("c", "v1", image([base, more, "own"]))
    found = {(one.first, one.second): one.bytes for one in shared(tree).pairs}
    assert found == {
        ("a:v1", "b:v1"): len(base.data),
        ("a:v1", "c:v1"): len(base.data),
        ("b:v1", "c:v1"): len(base.data) + len(more.data),
    }


def test_many_images_are_not_compared_pair_by_pair(tree: TreeBuilder) -> None:
    for number in range(PAIRS + 1):
        tree.push("app", f"v{number}", image(["base", str(number)]))
    assert shared(tree).pairs == ()
    assert len(shared(tree, "app:v1", "app:v2").pairs) == 1


def test_reuse_of_one_image_has_its_layers_and_all_their_users(tree: TreeBuilder) -> None:
    base = blob_of("base")
    tree.push("a", "v1", image([base]))
    tree.push("b", "v1", image([base, "b"]))
    tree.push("c", "v1", image(["b"]))
    report = shared(tree, "a:v1")
    assert [one.digest for one in report.shared] == [base.digest]
    assert report.layers == 1
    assert report.shared[0].used_by == ("a:v1", "b:v1")
    assert report.apparent == 2 * len(base.data)


def test_images_without_common_layers_share_nothing(tree: TreeBuilder) -> None:
    tree.push("a", "v1", image(["a"]))
    tree.push("b", "v1", image(["b"]))
    report = shared(tree)
    assert (report.shared, report.saved, report.layers) == ((), 0, 2)


def test_one_content_packed_twice_is_a_near_duplicate(tree: TreeBuilder) -> None:
    content = tar({"file": b"x" * 5000})
    plain = Blob(content, "application/vnd.oci.image.layer.v1.tar")
    packed = blob_of(_packed(content))
    tree.push("a", "v1", image([plain]))
    tree.push("b", "v1", image([packed, "more"]))
    (found,) = shared(tree).near_duplicates
    assert found.diff_id == plain.digest
    assert [copy.digest for copy in found.layers] == [packed.digest, plain.digest]
    assert found.wasted == len(content)
    assert shared(tree, "b").near_duplicates == (found,)


def _packed(content: bytes) -> bytes:
    import gzip

    return gzip.compress(content, mtime=0)


def test_a_missing_layer_saves_nothing(tree: TreeBuilder) -> None:
    layer = blob_of("layer")
    for tag in ("v1", "v2"):
        tree.push("app", tag, image([layer], {"author": tag}))
    tree.break_("blob-missing", "app", "v1")
    report = shared(tree)
    assert (report.shared[0].present, report.shared[0].size, report.saved) == (False, 0, 0)


def test_an_unreadable_config_is_counted(tree: TreeBuilder) -> None:
    content = image(["layer"])
    tree.push("app", "v1", content)
    tree.break_("blob-flipped", "app", "v1", content.blobs[0].digest)
    assert shared(tree).configs_unread == 1


def test_a_shared_layer_says_which_instruction_made_it(tree: TreeBuilder) -> None:
    base, made, own = blob_of("base"), blob_of("made"), blob_of("own")
    history = [
        {"created_by": "/bin/sh -c #(nop) ADD file:abc in / "},
        {"created_by": "COPY . /app", "empty_layer": True},
        {"created_by": 'CMD ["sh"]'},
    ]
    tree.push("app", "v1", image([base, made], {"history": history}))
    tree.push("app", "v2", image([base, made, own]))
    found = {layer.digest: layer.instruction for layer in shared(tree).shared}
    assert found == {base.digest: "ADD file:abc in /", made.digest: 'COPY . /app; CMD ["sh"]'}


def test_a_history_that_does_not_fit_names_no_instruction(tree: TreeBuilder) -> None:
    for tag in ("v1", "v2"):
        tree.push("app", tag, image(["a", "b"], {"history": [{"created_by": tag}]}))
    assert [layer.instruction for layer in shared(tree).shared] == ["", ""]


def test_top_limits_the_layers(tree: TreeBuilder) -> None:
    for tag in ("v1", "v2"):
        tree.push("app", tag, image(["a", "b", "c"], {"author": tag}))
    report = shared(tree, top=1)
    assert (len(report.shared), report.shared_omitted, report.layers_shared) == (1, 2, 3)


@given(recipe=recipes(kinds=("image", "index", "artifact")))
def test_savings_add_up(recipe: Recipe) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        report = shared(tree)
        assert report.saved == report.apparent - report.stored
        assert report.saved == sum(layer.saved for layer in report.shared)
        for layer in report.shared:
            assert layer.images == len(layer.used_by) > 1


# -- bases --------------------------------------------------------------------


def test_the_longest_prefix_is_the_base(tree: TreeBuilder) -> None:
    tree.push("os", "v1", image(["os"]))
    tree.push("python", "v1", image(["os", "python"]))
    tree.push("app", "v1", image(["os", "python", "app"]))
    found = lineage(tree)
    assert found["os:v1"].bases == ()
    assert found["python:v1"].bases == ("os:v1",)
    assert found["app:v1"].bases == ("python:v1",)
    assert found["app:v1"].evidence == "layers"
    assert (found["app:v1"].own_layers, found["app:v1"].own_bytes) == (1, len(blob_of("app").data))


def test_an_image_without_any_layer_of_its_base_is_squashed(tree: TreeBuilder) -> None:
    base = tree.push("os", "v1", image(["os"]))
    by_digest = {"org.opencontainers.image.base.digest": base}
    by_name = {"org.opencontainers.image.base.name": "os:v1"}
    tree.push("app", "squashed", image(["all"], annotations=by_digest))
    tree.push("app", "extended", image(["os", "app"], annotations=by_digest))
    # The name may mean another image by now.
    tree.push("app", "old", image(["older os", "app"], annotations=by_name))
    found = lineage(tree)
    assert [name for name, one in found.items() if one.squashed] == ["app:squashed"]
    assert found["app:squashed"].bases == found["app:old"].bases == ("os:v1",)


def test_images_stand_in_natural_order(tree: TreeBuilder) -> None:
    for tag in ("v10", "v9", "v2"):
        tree.push("app", tag, image(["os", tag]))
    assert names(tree) == list(lineage(tree)) == ["app:v2", "app:v9", "app:v10"]


def test_bases_of_an_image_are_its_chain(tree: TreeBuilder) -> None:
    tree.push("os", "v1", image(["os"]))
    tree.push("python", "v1", image(["os", "python"]))
    tree.push("app", "v1", image(["os", "python", "app"]))
    tree.push("node", "v1", image(["os", "node"]))
    registry = registry_of(tree)
    _, graph = scan_and_build(tree, lean=False)
    found = bases(graph, registry.skim, [registry.find("python:v1")])
    assert [one.image for one in found.images] == ["app:v1", "os:v1", "python:v1"]


def test_the_same_layers_are_aliases_not_bases(tree: TreeBuilder) -> None:
    tree.push("a", "v1", image(["x"]))
    tree.push("b", "v1", image(["x"], {"author": "another"}))
    tree.push("c", "v1", image(["x", "y"]))
    found = lineage(tree)
    assert found["a:v1"].aliases == ("b:v1",)
    assert found["a:v1"].bases == ()
    assert found["c:v1"].bases == ("a:v1", "b:v1")


def test_the_same_layers_in_another_order_are_not_a_base(tree: TreeBuilder) -> None:
    tree.push("a", "v1", image(["x", "y"]))
    tree.push("b", "v1", image(["y", "x", "z"]))
    assert lineage(tree)["b:v1"].bases == ()


def test_platforms_have_their_own_bases(tree: TreeBuilder) -> None:
    tree.push("os", "v1", index(image(["amd"]), image(["arm"], platform="linux/arm64")))
    tree.push(
        "app", "v1", index(image(["amd", "app"]), image(["arm", "app"], platform="linux/arm64"))
    )
    found = lineage(tree)
    assert found["app:v1 (linux/arm64)"].bases == ("os:v1 (linux/arm64)",)
    assert found["app:v1 (linux/amd64)"].bases == ("os:v1 (linux/amd64)",)


BASE = "org.opencontainers.image.base."


def test_an_annotation_wins_over_layers(tree: TreeBuilder) -> None:
    squashed = tree.push("real", "v1", image(["before squashing"]))
    tree.push("likely", "v1", image(["squashed"]))
    notes = {f"{BASE}digest": squashed, f"{BASE}name": "real:v1"}
    tree.push("app", "v1", image(["squashed", "app"], annotations=notes))
    found = lineage(tree)["app:v1"]
    assert (found.bases, found.evidence) == (("real:v1",), "annotation")
    assert found.own_layers == 2


def test_a_base_can_be_named_with_its_registry(tree: TreeBuilder) -> None:
    tree.push("os", "latest", image(["first"]))
    notes = {f"{BASE}name": "registry.example.com/os"}
    tree.push("app", "v1", image(["other"], annotations=notes))
    assert lineage(tree)["app:v1"].bases == ("os:latest",)


def test_a_base_in_another_registry_is_named(tree: TreeBuilder) -> None:
    notes = {f"{BASE}name": "docker.io/library/alpine:3", f"{BASE}digest": "sha256:" + "0" * 64}
    tree.push("app", "v1", image(["layer"], annotations=notes))
    found = lineage(tree)["app:v1"]
    assert (found.bases, found.base_name) == ((), "docker.io/library/alpine:3")


def test_only_manifests_that_name_a_base_are_read_again(tree: TreeBuilder) -> None:
    tree.push("os", "v1", image(["first"]))
    based = image(["first", "own"], annotations={f"{BASE}name": "os:v1"})
    tree.push("app", "v1", based)
    listing = index(image(["first", "amd"]), image(["first", "arm"], platform="linux/arm64"))
    tree.push("many", "v1", listing)
    registry, (_, graph) = registry_of(tree), scan_and_build(tree, lean=False)
    read = []

    def reading(digest: Digest) -> Manifest | Skimmed:
        read.append(digest)
        return registry.skim(digest)

    assert len(bases(graph, reading).images) == 4
    assert sorted(read) == sorted([based.digest, listing.digest])


def test_images_share_the_objects_of_their_layers(tree: TreeBuilder) -> None:
    """As many objects as uses take six times as much where many images share their layers."""
    tree.push("app", "v1", image(["base", "one"]))
    tree.push("app", "v2", image(["base", "two"]))
    _, graph = scan_and_build(tree, lean=False)
    first, second = images(graph, registry_of(tree).skim)
    assert first.layers[0] is second.layers[0]


def test_base_annotations_in_a_circle_end(tree: TreeBuilder) -> None:
    first = image(["a"], annotations={f"{BASE}name": "b:v1"})
    second = image(["b"], annotations={f"{BASE}name": "a:v1"})
    tree.push("a", "v1", first)
    tree.push("b", "v1", second)
    found = lineage(tree)
    assert (found["a:v1"].bases, found["b:v1"].bases) == (("b:v1",), ("a:v1",))


def test_an_empty_registry_has_no_bases(tree: TreeBuilder) -> None:
    tree.folder(tree.v2 / "repositories")
    _, graph = scan_and_build(tree, lean=False)
    assert bases(graph, registry_of(tree).skim) == Bases(())


@given(stacks=st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), max_size=6))
def test_bases_are_what_comparing_all_pairs_finds(stacks: list[list[str]]) -> None:
    with new_tree() as tree:
        for number, stack in enumerate(stacks):
            tree.push(f"r{number}", "v1", image(stack))
        tree.folder(tree.v2 / "repositories")
        found = lineage(tree)
        for number, stack in enumerate(stacks):
            proper = [one for one in stacks if one == stack[: len(one)] and one != stack]
            longest = max(proper, key=len, default=None)
            wanted = {f"r{other}:v1" for other, one in enumerate(stacks) if one == longest}
            assert set(found[f"r{number}:v1"].bases) == wanted
