"""Who has built an image, what was squashed, and what BuildKit does otherwise."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import regfs
from regfs.cli.app import run
from regfs.reports.builder import BuilderFacts
from regfs.reports.buildkit import BuildKitReport, Difference, buildkit_report
from tests.support.builder import (
    CACHE_CONFIG,
    Blob,
    TreeBuilder,
    attestation,
    blob_of,
    cache_index,
    image,
    index,
    layer,
)
from tests.support.images import OCI_LAYER, Content, Document, dumps
from tests.support.registries import registry_of, scan_and_build, shown

TUTORIAL = Path(__file__).parents[2] / "fixtures/trees/tutorial"
BASE = blob_of("base")
FROM_BASE: Document = {"created_by": "umoci repack", "created": "2024-01-01T00:00:00Z"}
EMPTY = gzip.compress(bytes(1024), mtime=0)


def kit(instruction: str, created: str = "2024-05-01T00:00:00.123Z", **more: Any) -> Document:
    """Return a step as BuildKit writes it into the history."""
    made = {"created": created, "created_by": f"{instruction} # buildkit"}
    return {**made, "comment": "buildkit.dockerfile.v0", **more}


def nop(instruction: str, **more: Any) -> Document:
    """Return a step as the classic builder and buildah write it."""
    return {"created_by": f"/bin/sh -c #(nop) {instruction} ", **more}


def made(
    layers: Sequence[Blob | str | bytes], *history: Document, docker: bool = False, **config: Any
) -> Content:
    return image(layers, {"history": list(history), **config}, docker=docker)


def built_of(tree: TreeBuilder, content: Content) -> BuilderFacts:
    tree.push("app", "v1", content)
    (one,) = shown(tree, "app:v1").images
    assert one.built is not None
    return one.built


def report(tree: TreeBuilder, reference: str) -> BuildKitReport:
    _, graph = scan_and_build(tree)
    target, digest = registry_of(tree).find_content(reference)
    return buildkit_report(graph, registry_of(tree), target, digest)


BUILDAH: Mapping[str, Any] = {"config": {"Labels": {"io.buildah.version": "1.28.2"}}}


@pytest.mark.parametrize(
    ("step", "config", "builder"),
    [
        (kit("COPY a /a"), {}, ("BuildKit", "")),
        (kit("COPY a /a"), BUILDAH, ("BuildKit", "")),  # the label is the base's
        (nop("COPY file:1 in /a"), BUILDAH, ("buildah", "1.28.2")),
        (
            nop("COPY file:1 in /a"),
            {"docker_version": "19.03"},
            ("Docker's classic builder", "19.03"),
        ),
        ({"created_by": "COPY a /a", "author": "kaniko"}, {}, ("kaniko", "")),
        ({"created_by": "umoci repack"}, {}, ("", "")),
    ],
)
def test_the_last_step_tells_the_builder(
    tree: TreeBuilder, step: Document, config: dict[str, Any], builder: tuple[str, str]
) -> None:
    found = built_of(tree, made([BASE, "own"], FROM_BASE, step, **config))
    assert (found.builder, found.version) == builder
    assert found.squash == "no"


@pytest.mark.parametrize(
    ("layers", "history", "squash"),
    [
        (["all"], [nop("COPY file:1 in /a", comment="FROM docker.io/base:v1")], "probably"),
        (["all"], [nop("COPY file:1 in /a", comment="FROM scratch")], "no"),
        (["all"], [nop("COPY file:1 in /a")], "no"),
        ([BASE, "own"], [FROM_BASE, nop("COPY file:1 in /a", comment="FROM base:v1")], "no"),
        (["all"], [{"comment": f"merge sha256:{'1' * 64} to sha256:{'2' * 64}"}], "yes"),
        (["all"], [{"comment": "Imported from -"}], "yes"),
        (["all"], [], "unknown"),
    ],
)
def test_squashed_layers_are_told_as_surely_as_they_are_known(
    tree: TreeBuilder, layers: list[Any], history: list[Document], squash: str
) -> None:
    assert built_of(tree, made(layers, *history, **BUILDAH)).squash == squash


def test_a_base_that_an_annotation_names_and_no_layer_is_shared_with(tree: TreeBuilder) -> None:
    base = made([BASE], FROM_BASE)
    tree.push("base", "v1", base)
    notes = {"org.opencontainers.image.base.digest": base.digest}
    history = [FROM_BASE, nop("COPY file:1 in /a")]
    squashed = image(["all", "own"], {"history": history, **BUILDAH}, annotations=notes)
    tree.push("app", "v1", squashed)
    (found,) = report(tree, "app:v1").images
    assert (found.squash, found.base_layers) == ("yes", 0)
    assert found.squash_evidence == "it shares no layer with its base base:v1"


def test_folded_and_empty_layers_are_counted(tree: TreeBuilder) -> None:
    steps = [
        FROM_BASE,
        nop("COPY file:1 in /a", empty_layer=True),
        nop("COPY file:2 in /b", empty_layer=True),
        nop('CMD ["sh"]'),
    ]
    assert built_of(tree, made([BASE, "own"], *steps, **BUILDAH)).folded == 1
    again = made([BASE, "a", EMPTY], FROM_BASE, kit("COPY a /a"), kit("COPY a /a"))
    empty = built_of(tree, again)
    assert (empty.folded, empty.empty_layers) == (0, 1)


SET = "2020-09-13T12:26:40Z"


@pytest.mark.parametrize(
    ("times", "created", "time"),
    [
        ([SET, SET], SET, SET),
        ([SET, "2020-09-13T12:26:41Z"], SET, None),
        ([SET, SET], "2024-01-01T00:00:00Z", None),
        (["2020-09-13T12:26:40.5Z"], "2020-09-13T12:26:40.5Z", None),
        ([None], None, None),
    ],
)
def test_times_that_were_set(
    tree: TreeBuilder, times: list[str], created: str | None, time: str | None
) -> None:
    steps = [kit(f"COPY {number} /", one) for number, one in enumerate(times)]
    own = [f"layer {number}" for number in range(len(times))]
    config: dict[str, Any] = {"created": created} if created else {}
    assert built_of(tree, made([BASE, *own], FROM_BASE, *steps, **config)).time == time


def test_layers_whose_times_were_rewritten_and_how_layers_are_packed(tree: TreeBuilder) -> None:
    def annotated(name: str, media_type: str = OCI_LAYER, **notes: str) -> Blob:
        return Blob(blob_of(name).data, media_type, {"annotations": notes})

    layers = [
        BASE,
        annotated("a", **{"buildkit/rewritten-timestamp": "1600000000"}),
        annotated("b", **{"containerd.io/snapshot/stargz/toc.digest": "sha256:" + "0" * 64}),
        annotated("c", OCI_LAYER.replace("gzip", "zstd")),
        annotated("d", OCI_LAYER.removesuffix("+gzip")),
    ]
    steps = [FROM_BASE, *(kit(f"COPY {name} /", SET) for name in "abcd")]
    found = built_of(tree, made(layers, *steps, created=SET))
    assert (found.rewritten, found.time) == (1, SET)
    assert list(found.packings.values()) == ["eStargz", "zstd", "tar"]


def test_a_build_cache_is_described(tree: TreeBuilder) -> None:
    records = {"layers": [], "records": [{"digest": "sha256:1"}, {"digest": "sha256:2"}]}
    config = Blob(dumps(records), CACHE_CONFIG)
    tree.push("app", "v1", made([BASE, "own"], FROM_BASE, kit("COPY a /a")))
    tree.push("cache", "max", index(BASE, blob_of("stage"), config))
    tree.push("cache", "min", image([BASE, "own"], dumps(records), config_type=CACHE_CONFIG))
    whole, least = shown(tree, "cache:max").cache, shown(tree, "cache:min").cache
    assert whole is not None
    assert least is not None
    assert (whole.form, whole.layers, whole.records, whole.only_here) == ("index", 2, 2, 1)
    assert (whole.mode, least.mode, least.form, least.only_here) == ("max", "min", "image", 0)
    assert shown(tree, "app:v1").cache is None
    assert report(tree, "cache:max").differences == ()


@pytest.mark.parametrize("config", [b"no JSON", b"[" * 100_000, b'{"records": 7}', b"[]"])
def test_a_build_cache_with_a_broken_config(tree: TreeBuilder, config: bytes) -> None:
    tree.push("cache", "v1", index(BASE, Blob(config, CACHE_CONFIG)))
    found = shown(tree, "cache:v1")
    assert found.cache is not None
    assert found.cache.records <= 0
    assert bool(found.problems) == (found.cache.records < 0)
    tree.delete_blob(Blob(config).digest)
    assert "no such blob" in " ".join(shown(tree, "cache:v1").problems)


def test_the_same_instruction_by_another_builder(tree: TreeBuilder) -> None:
    ours, theirs = layer({"a": b"x"}), layer({"./a": b"x"})
    other = layer({"b": b"other"})
    built = made([BASE, ours, other], FROM_BASE, kit("COPY a /a"), kit("COPY b /b"))
    tree.push("app", "kit", built)
    classic = [FROM_BASE, nop("COPY file:1 in /a"), nop("COPY file:2 in /b")]
    tree.push("app", "classic", made([BASE, theirs, layer({"b": b"b"})], *classic, **BUILDAH))
    twins = {one.instruction: one for one in report(tree, "app:kit").twins}
    assert set(twins) == {"COPY a /a", "COPY b /b"}
    first = twins["COPY a /a"]
    assert (first.digest, first.other_digest) == (Blob(ours).digest, Blob(theirs).digest)
    assert (first.other_image, first.other_builder) == ("app:classic", "buildah")
    assert (first.same_files, twins["COPY b /b"].same_files) == (True, False)
    tree.delete_blob(Blob(theirs).digest)
    (left,) = (one for one in report(tree, "app:kit").twins if one.instruction == "COPY a /a")
    assert left.same_files is None


def test_layers_on_another_base_are_no_twins(tree: TreeBuilder) -> None:
    tree.push("app", "kit", made([BASE, "own"], FROM_BASE, kit("COPY a /a")))
    step = nop("COPY file:1 in /a")
    tree.push("app", "classic", made(["another", "layer"], FROM_BASE, step, **BUILDAH))
    assert report(tree, "app:kit").twins == ()


def test_what_rebuilds_leave_is_counted_in_the_repository(tree: TreeBuilder) -> None:
    content = made([BASE, "own"], FROM_BASE, kit("COPY a /a"))
    base = made([BASE], FROM_BASE)
    tree.push("base", "v1", base)
    for number in range(3):
        said = dumps({"_type": "t", "predicateType": "p", "subject": [], "predicate": number})
        tree.push("app", "v1", index(content, attestation(content, said)))
    tree.push("mirror", "v1", index(content))
    found = report(tree, "app:v1")
    assert (found.other_indexes, found.untagged_indexes) == (2, 2)
    assert found.differences[:3] == (Difference.INDEX, Difference.ATTESTATION, Difference.REBUILD)
    (layers,) = found.images
    assert (layers.base, layers.base_layers, layers.own_layers) == ("base:v1", 1, 1)
    assert report(tree, "mirror:v1").differences == (Difference.INDEX, Difference.TYPES)


def test_the_shipped_tree_answers_the_question() -> None:
    tree = regfs.open(str(TUTORIAL))
    kit_image = tree.buildkit("my-busybox-extended:latest")
    classic = tree.buildkit("my-busybox-extended-classic:latest")
    for found in (kit_image, classic):
        (layers,) = found.images
        assert (layers.squash, layers.base_layers, layers.own_layers) == ("no", 1, 1)
        assert layers.base == "my-busybox:latest"
    assert kit_image.images[0].built.builder == "BuildKit"
    assert classic.images[0].built.builder == "buildah"
    assert [one.value for one in kit_image.differences] == [
        *("index", "attestation", "rebuild", "layer", "media-types")
    ]
    assert classic.differences == ()
    assert [one.same_files for one in kit_image.twins] == [True]


@pytest.mark.parametrize("width", ["40", "80", "200"])
def test_prose_fits_the_terminal(
    width: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    for name in ("extended:latest", "extended-classic:latest", "extended-cached:buildcache-index"):
        assert run(["-r", str(TUTORIAL), "buildkit", f"my-busybox-{name}"]) == 0
        out = capsys.readouterr().out
        assert max(map(len, out.splitlines())) <= max(min(int(width), 90), 47)


def test_what_is_no_image_has_no_layers_to_speak_of(
    tree: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.push(
        "app", "v1", image([b"x"], b"{}", config_type="application/vnd.cncf.helm.config.v1+json")
    )
    tree.push("app", "cache", cache_index())
    assert run(["-r", str(tree.root), "buildkit", "app:v1"]) == 0
    assert "app:v1 is no image that a container can run." in capsys.readouterr().out
    assert run(["-r", str(tree.root), "buildkit", "app:cache"]) == 0
    assert "app:cache is a build cache of BuildKit" in capsys.readouterr().out


def test_diff_names_the_builders_and_times_that_were_set(tree: TreeBuilder) -> None:
    tree.push("app", "old", made([BASE, "a"], FROM_BASE, nop("COPY file:1 in /a"), **BUILDAH))
    step = kit("COPY a /a", SET)
    tree.push("app", "new", made([BASE, "b"], FROM_BASE, step, created=SET))
    (found,) = regfs.open(str(tree.root)).diff("app:old", "app:new").images
    values = {one.field: (one.before, one.after) for one in found.fields}
    assert values["builder"] == ("buildah 1.28.2", "BuildKit")
    assert values["set_times"] == (None, SET)
