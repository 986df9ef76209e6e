"""What is told of one image, and of a repository, without a look at the others."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from regfs.digest import Digest
from regfs.errors import BlobUnknown, ContentMismatch, ManifestInvalid
from regfs.reports import listing
from regfs.reports.image import read_manifest
from regfs.reports.instructions import instruction
from regfs.reports.paths import Reasons, reasons
from regfs.tree.scan import scan
from tests.support.builder import (
    CACHE_CONFIG,
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
)
from tests.support.registries import registry_of, scan_and_build, shown

HISTORY: list[dict[str, Any]] = [
    {"created_by": "/bin/sh -c #(nop) ADD file:abc in / "},
    {"created_by": '/bin/sh -c #(nop)  CMD ["sh"]', "empty_layer": True},
    {"created_by": "RUN /bin/sh -c make # buildkit"},
]


def test_each_layer_has_its_instruction(tree: TreeBuilder) -> None:
    base, made = blob_of("base"), blob_of("made")
    tree.push("app", "v1", image([base, made], {"history": HISTORY}))
    (one,) = shown(tree, "app:v1").images
    assert [(step.instruction, step.digest, step.empty) for step in one.steps] == [
        ("ADD file:abc in /", base.digest, False),
        ('CMD ["sh"]', None, True),
        ("RUN make", made.digest, False),
    ]
    assert one.steps[0].created_by == HISTORY[0]["created_by"]


def test_layers_without_a_history_are_all_there(tree: TreeBuilder) -> None:
    layers = [blob_of("a"), blob_of("b")]
    tree.push("app", "v1", image(layers, {"history": []}))
    tree.push("app", "v2", image(layers, {"history": [{"created_by": "one"}]}))
    for tag in ("v1", "v2"):
        (one,) = shown(tree, f"app:{tag}").images
        assert [step.digest for step in one.steps] == [layer.digest for layer in layers]


def test_a_history_longer_than_the_layers_is_shown_in_full(tree: TreeBuilder) -> None:
    history = [{"created_by": name} for name in "abc"]
    tree.push("app", "v1", image(["layer"], {"history": history}))
    (one,) = shown(tree, "app:v1").images
    assert [step.instruction for step in one.steps] == ["a", "b", "c"]
    assert [step.digest is None for step in one.steps] == [False, True, True]


def test_sharing_counts_other_images(tree: TreeBuilder) -> None:
    base = blob_of("base")
    tree.push("app", "v1", image([base, "own"]))
    tree.push("app", "v2", image([base, "two"]))
    tree.push("other", "v1", image([base]))
    (one,) = shown(tree, "app:v1").images
    assert [step.images for step in one.steps] == [2, 0]
    assert one.shared == len(base.data)


def test_the_config_is_shown(tree: TreeBuilder) -> None:
    start = {
        "Env": ["A=1"],
        "Cmd": ["run"],
        "Entrypoint": ["/entry"],
        "Labels": {"who": "me"},
        "ExposedPorts": {"80/tcp": {}},
        "User": "nobody",
    }
    tree.push("app", "v1", image(["layer"], {"config": start, "created": "2024-01-01T00:00:00Z"}))
    (one,) = shown(tree, "app:v1").images
    assert one.config is not None
    assert one.config.environment == ("A=1",)
    assert one.config.command == ("run",)
    assert one.config.entrypoint == ("/entry",)
    assert one.config.labels == {"who": "me"}
    assert one.config.ports == ("80/tcp",)
    assert one.config.user == "nobody"
    assert one.config.created == "2024-01-01T00:00:00Z"
    assert one.platform == "linux/amd64"


def test_an_index_shows_its_entries_and_images(tree: TreeBuilder) -> None:
    first, second = image(["one"]), image(["two"], platform="linux/arm64")
    absent = image(["three"], platform="linux/s390x")
    content = index(first, second, attestation(first), sparse=[absent])
    tree.push("app", "v1", content)
    report = shown(tree, "app:v1")
    assert [(one.kind, one.platform) for one in report.entries] == [
        ("image", "linux/amd64"),
        ("image", "linux/arm64"),
        ("attestation", "unknown/unknown"),
        ("missing", "linux/s390x"),
    ]
    assert report.entries[2].about == first.digest
    assert [one.digest for one in report.images] == [first.digest, second.digest]
    assert report.problems == ()


def test_referrers_and_other_tags_are_listed(tree: TreeBuilder) -> None:
    subject = image(["layer"], annotations={"a": "b"})
    tree.push("app", "v1", subject)
    tree.push("app", "stable", subject)
    sbom = tree.push("app", "sbom", artifact(["sbom"], subject=subject))
    report = shown(tree, "app:v1")
    assert report.tags == ("app:stable", "app:v1")
    assert report.annotations == {"a": "b"}
    assert [(one.digest, one.tags) for one in report.referrers] == [(sbom, ("app:sbom",))]
    assert report.referrers[0].artifact_type == "application/spdx+json"
    about = shown(tree, "app:sbom")
    assert (about.kind, about.subject) == ("artifact", subject.digest)


def test_build_caches_are_recognised(tree: TreeBuilder) -> None:
    tree.push("cache", "index", cache_index(["layer"]))
    tree.push("cache", "image", image(["layer"], b"{}", config_type=CACHE_CONFIG))
    tree.push("app", "inline", image(["layer"], {"moby.buildkit.cache.v0": "x"}))
    assert shown(tree, "cache:index").kind == shown(tree, "cache:image").kind == "build-cache"
    assert [one.kind for one in shown(tree, "cache:index").entries] == ["layer", "config"]
    (inline,) = shown(tree, "app:inline").images
    assert inline.config is not None
    assert inline.config.inline_cache
    assert not inline.build_cache


def test_schema1_shows_its_layers_with_the_base_first(tree: TreeBuilder) -> None:
    layers = [blob_of("one"), blob_of("two")]
    tree.push("old", "v1", schema1("old", "v1", layers))
    report = shown(tree, "old:v1")
    assert report.kind == "schema1"
    assert [step.digest for step in report.images[0].steps] == [one.digest for one in layers]
    assert report.images[0].steps[0].size == len(layers[0].data)


def test_an_empty_layer_is_marked(tree: TreeBuilder) -> None:
    empty = Blob(bytes(1024), "application/vnd.oci.image.layer.v1.tar")
    tree.push("app", "v1", image([empty, "full"]))
    (one,) = shown(tree, "app:v1").images
    assert [step.empty for step in one.steps] == [True, False]


@pytest.mark.parametrize("kind", ["blob-missing", "blob-flipped"])
def test_a_damaged_config_still_shows_the_layers(tree: TreeBuilder, kind: str) -> None:
    content = image(["layer"])
    tree.push("app", "v1", content)
    path = tree.break_(kind, "app", "v1", content.blobs[0].digest)
    report = shown(tree, "app:v1")
    assert len(report.images[0].steps) == 1
    assert [problem for problem in report.problems if problem.startswith(path)] != []


def test_a_missing_layer_is_a_problem(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["layer"]))
    path = tree.break_("blob-missing", "app", "v1")
    report = shown(tree, "app:v1")
    assert report.problems == (f"{path}: layer is not there",)
    assert not report.images[0].steps[0].present


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("manifest-missing", BlobUnknown),
        ("manifest-empty", ContentMismatch),
        ("manifest-flipped", ContentMismatch),
        ("manifest-bogus-digest", ManifestInvalid),
        ("manifest-too-large", ManifestInvalid),
        ("manifest-deep", ManifestInvalid),
    ],
)
def test_an_error_of_a_damaged_manifest_names_its_path(
    tree: TreeBuilder, kind: str, error: type[Exception]
) -> None:
    tree.push("app", "v1")
    path = tree.break_(kind, "app", "v1")
    with pytest.raises(error) as caught:
        read_manifest(registry_of(tree), Digest(tree.current("app", "v1")))
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("created_by", "wanted"),
    [
        ('/bin/sh -c #(nop)  CMD ["sh"]', 'CMD ["sh"]'),
        ("/bin/sh -c apt-get update", "RUN apt-get update"),
        ("|1 A=b /bin/sh -c make", "RUN make"),
        ("RUN /bin/sh -c make # buildkit", "RUN make"),
        ("RUN |2 A=b C=d /bin/sh -c make # buildkit", "RUN make"),
        ("COPY a b # buildkit", "COPY a b"),
        ("umoci repack", "umoci repack"),
        ("", ""),
    ],
)
def test_instructions_read_as_in_a_dockerfile(created_by: str, wanted: str) -> None:
    assert instruction(created_by) == wanted


# -- why ----------------------------------------------------------------------


def reasoned(tree: TreeBuilder, reference: str, limit: int = 20) -> Reasons:
    registry = registry_of(tree)
    _, graph = scan_and_build(tree, lean=False)
    target = registry.find(reference)
    assert target.digest is not None
    return reasons(graph, target, target.digest, limit)


def test_paths_by_tag_come_first(tree: TreeBuilder) -> None:
    layer = blob_of("layer")
    digest = tree.push("app", "v1", image([layer]))
    report = reasoned(tree, layer.digest)
    assert [[(one.kind, one.edge) for one in path] for path in report.paths] == [
        [("repository", None), ("tag", "tag"), ("manifest", "current"), ("blob", "layer")],
        [("repository", None), ("revision", "revision"), ("manifest", "content"),
         ("blob", "layer")],
    ]  # fmt: skip
    assert report.paths[0][1].name == "app:v1"
    assert report.paths[0][2].name == digest
    assert report.layer_links == ("app",)
    assert not report.more


def test_paths_are_limited(tree: TreeBuilder) -> None:
    layer = blob_of("layer")
    for number in range(30):
        tree.push("app", f"v{number}", image([layer], {"author": str(number)}))
    report = reasoned(tree, layer.digest, limit=3)
    assert len(report.paths) == 3
    assert report.more
    assert all(path[1].kind == "tag" for path in report.paths)


def test_an_unreferenced_blob_has_no_path(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    digest = tree.add_blob("app", "unused")
    report = reasoned(tree, digest)
    assert (report.paths, report.doubtful, report.layer_links) == ((), False, ("app",))


def test_a_blob_a_damaged_image_may_need_is_doubtful(tree: TreeBuilder) -> None:
    layer = blob_of("layer")
    tree.push("app", "v1", image([layer]))
    tree.break_("manifest-missing", "app", "v1")
    assert reasoned(tree, layer.digest).doubtful


# -- ls -----------------------------------------------------------------------


def test_repositories_with_their_numbers(tree: TreeBuilder) -> None:
    tree.push("app", "v1", index(image(["a"]), image(["b"])))
    tree.upload("app", 5)
    tree.folder(tree.repository_path("empty") / "_layers")
    registry = registry_of(tree)
    plain = listing.repositories(registry)
    assert [one.name for one in plain.repositories] == ["app", "empty"]
    assert plain.repositories[0].tags is None
    app, empty = listing.repositories(registry, details=True).repositories
    assert (app.tags, app.revisions, app.uploads) == (1, 3, 1)
    assert app.changed is not None
    assert (empty.tags, empty.changed) == (0, None)
    assert [one.name for one in listing.repositories(registry, empty=True).repositories] == [
        "empty"
    ]


def test_tags_with_their_sizes(tree: TreeBuilder) -> None:
    content = index(image(["a"]), image(["a", "b"], platform="linux/arm64"))
    tree.push("app", "v1", content)
    tree.push("app", "broken", image(["c"]))
    tree.break_("manifest-empty", "app", "broken")
    broken, whole = listing.tags(registry_of(tree), "app", details=True).tags
    blobs = {blob.digest: len(blob.data) for child in content.children for blob in child.blobs}
    manifests = sum(len(one.data) for one in (content, *content.children))
    assert whole.size == manifests + sum(blobs.values())
    assert whole.platforms == ("linux/amd64", "linux/arm64")
    assert (broken.kind, broken.size) == (None, None)
    assert broken.problem is not None


def test_the_platform_of_a_plain_image_is_that_of_its_config(tree: TreeBuilder) -> None:
    tree.push("app", "arm", image(["a"], platform="linux/arm64"))
    tree.push("app", "old", schema1("app", "old", ["a"]))
    tree.push("app", "sbom", artifact(["sbom"]))
    lost = image(["b"])
    tree.push("app", "lost", lost)
    tree.delete_blob(Digest(lost.blobs[0].digest))
    found = listing.tags(registry_of(tree), "app", details=True).tags
    platforms = {one.name: one.platforms for one in found}
    assert platforms == {"arm": ("linux/arm64",), "lost": (), "old": ("amd64",), "sbom": ()}


def test_untagged_is_what_no_tag_reaches(tree: TreeBuilder) -> None:
    tree.push("app", "v1", buildkit(image(["new"])))
    old = tree.push("app", None, image(["old"]))
    subject = Digest(tree.current("app", "v1"))
    about = tree.push("app", None, artifact(["sbom"], subject=subject))
    found = listing.untagged(registry_of(tree), "app", details=True).tags
    assert {one.digest: one.subject for one in found} == {old: None, about: subject}


def test_entries_of_an_image_and_of_an_index(tree: TreeBuilder) -> None:
    built = image(["layer"])
    content = buildkit(built)
    tree.push("app", "v1", content)
    registry = registry_of(tree)
    top = listing.entries(registry, "app:v1", Digest(content.digest))
    assert [(one.role, one.present) for one in top.entries] == [
        ("manifest", True),
        ("attestation", True),
    ]
    tree.delete_blob(built.blobs[1].digest)
    below = listing.entries(registry, "x", Digest(built.digest))
    assert [(one.role, one.present) for one in below.entries] == [
        ("config", True),
        ("layer", False),
    ]


@pytest.mark.parametrize(
    ("text", "began"),
    [
        ("2024-05-06T07:08:09Z", "2024-05-06T07:08:09+00:00"),
        ("2024-05-06T09:08:09+02:00", "2024-05-06T07:08:09+00:00"),
        ("2024-05-06T07:08:09", "2024-05-06T07:08:09+00:00"),
        ("2024-05-06T07:08:09.5Z\n", "2024-05-06T07:08:09.500000+00:00"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+00:00"),
        ("2024-05-06T07:08:09.123456789Z", "2024-05-06T07:08:09.123456+00:00"),
        ("garbage", None),
    ],
)
def test_uploads_and_scan_agree_on_the_start_time(
    tree: TreeBuilder, text: str, began: str | None
) -> None:
    tree.push("app", "v1")
    upload = tree.upload("app", 1, started_at=text, upload="not-a-uuid")
    (listed,) = listing.uploads(registry_of(tree), iter(["app"])).uploads
    assert (listed.started_at and listed.started_at.isoformat()) == began
    scanned = scan(registry_of(tree).store).repositories["app"].uploads[upload].started_at
    assert scanned == (None if began is None else datetime.fromisoformat(began).timestamp())


def test_uploads_with_their_times(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    known = tree.upload("app", 7, started_at="2024-05-06T07:08:09Z")
    tree.upload("app", 1, started_at="", upload="not-a-uuid")
    first, second = listing.uploads(registry_of(tree), iter(["app"])).uploads
    assert (first.id, first.size) == (known, 7 + 20)
    assert first.started_at is not None
    assert first.started_at.isoformat() == "2024-05-06T07:08:09+00:00"
    assert second.started_at is None
