"""Write fixtures/trees anew: needs docker-registry 2.8 and skopeo.

    python -m tests.make_fixtures                  the small trees
    python -m tests.make_fixtures --tutorial ROOT  the tutorial tree too

ROOT is a registry root that holds the images BuildKit pushed; fixtures/trees/README.md
says which, and how they were built. Digests of images stay what they were.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.builder import (
    Blob,
    Content,
    TreeBuilder,
    artifact,
    buildkit,
    image,
    index,
    layer,
)
from tests.support.reference import ReferenceRegistry, copy, make_oci_layout

TREES = Path(__file__).parent.parent / "fixtures/trees"

BASE = layer({"etc/": None, "etc/hello": b"hello from the base\n"})
EXTENDED = image([BASE, layer({"usr/": None, "usr/more": b"more\n"})])
OTHER = image([BASE, layer({"usr/": None, "usr/other": b"other\n"})])

ARM = image([BASE, layer({"usr/": None, "usr/arm": b"arm\n"})], platform="linux/arm64")
PLATFORMS = index(EXTENDED, ARM)
SIGNATURE = artifact(["signature"], subject=EXTENDED)

DAMAGED = {
    "damaged-layer-missing": "blob-missing",
    "damaged-layer-flipped": "blob-flipped",
    "damaged-manifest-empty": "manifest-empty",
    "damaged-manifest-missing": "manifest-missing",
    "damaged-link-empty": "link-empty",
    "damaged-layer-link-missing": "layer-link-missing",
    "damaged-tag-without-current": "tag-without-current",
}
"""Fixture -> what happened to it, in the words of tests.support.damage."""

TUTORIAL = [
    "my-busybox:latest",
    "my-busybox-extended:latest",
    "my-busybox-extended-classic:latest",
    "my-busybox-extended-plain:default",
    "my-busybox-extended-attest:sbom",
    "my-busybox-extended-cached:inline",
]


@contextmanager
def fresh(name: str) -> Iterator[tuple[Path, ReferenceRegistry]]:
    """Serve an empty registry, and put what it then holds in place of the fixture."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with ReferenceRegistry(root) as registry:
            yield root, registry
        shutil.rmtree(TREES / name, ignore_errors=True)
        shutil.copytree(root, TREES / name)


def push_by_skopeo(registry: ReferenceRegistry, images: dict[str, Content]) -> None:
    """Push each image as its reference, through an OCI layout."""
    with tempfile.TemporaryDirectory() as folder:
        layout = Path(folder, "layout")
        make_oci_layout(layout, {str(number): one for number, one in enumerate(images.values())})
        for number, reference in enumerate(images):
            target = registry.image(reference)
            copy(f"oci:{layout}:{number}", target, "--all", "--preserve-digests")


def make_damaged() -> None:
    """Two repositories that share a base, one image of them damaged: `app:v1`."""
    for name, kind in DAMAGED.items():
        with fresh(name) as (_, registry):
            images = {"app:v1": EXTENDED, "app:whole": image([BASE]), "team/other:v1": OTHER}
            push_by_skopeo(registry, images)
        second = EXTENDED.blobs[2].digest if kind.startswith(("blob", "layer")) else None
        TreeBuilder(TREES / name).break_(kind, "app", "v1", second)


def make_whole() -> None:
    """A little of everything a registry keeps: test_taxonomy breaks it in every way."""
    with fresh("whole") as (_, registry), tempfile.TemporaryDirectory() as folder:
        images = {"app:v1": EXTENDED, "app:multi": PLATFORMS, "team/other:v1": OTHER}
        push_by_skopeo(registry, images)
        registry.push("app", None, SIGNATURE)
        layout = Path(folder, "layout")
        make_oci_layout(layout, {"v1": image([BASE])})
        copy(f"oci:{layout}:v1", registry.image("old:v1"), "--format", "v2s1")
        registry.send(registry.begin_upload("app"), b"the first part of a layer\n" * 4)


def make_digest_only() -> None:
    """Images that have no tag: an index with its attestation, and a plain image."""
    with fresh("digest-only") as (_, registry):
        built = buildkit(EXTENDED)
        images = {f"app@{built.digest}": built, f"app@{OTHER.digest}": OTHER}
        push_by_skopeo(registry, images)


def stored(root: Path, name: str, tag: str) -> Content:
    """Return an index of layers from a tree, to push it where skopeo cannot."""
    tree = TreeBuilder(root)
    data = tree.blob_path(tree.current(name, tag)).read_bytes()
    document = json.loads(data)
    entries = [tree.blob_path(entry["digest"]) for entry in document["manifests"]]
    return Content(data, document["mediaType"], tuple(Blob(path.read_bytes()) for path in entries))


def make_tutorial(source: Path) -> None:
    """The story of README's tutorial, with the garbage such a story leaves."""
    name = "my-busybox-extended"
    rebuilt = TreeBuilder(source).tag_folder(name, "rebuilt") / "index/sha256"
    current = TreeBuilder(source).current(name, "rebuilt")
    [replaced] = {f"sha256:{path.name}" for path in rebuilt.iterdir()} - {current}
    with fresh("tutorial") as (_, registry), ReferenceRegistry(source) as origin:
        pushes = [(reference, reference) for reference in TUTORIAL]
        pushes += [(f"{name}@{digest}", f"{name}:rebuilt") for digest in (replaced, current)]
        for pulled, pushed in pushes:
            images = origin.image(pulled), registry.image(pushed)
            copy(*images, "--all", "--preserve-digests")
        cached = "my-busybox-extended-cached"
        registry.push(cached, "buildcache-index", stored(source, cached, "buildcache-index"))
        registry.add_blob(
            "my-busybox-extended-plain", Blob(layer({"never": b"used by any manifest\n" * 20}))
        )
        registry.send(registry.begin_upload(name), b"the first part of a layer\n" * 40)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write fixtures/trees anew.")
    parser.add_argument("--tutorial", type=Path, metavar="ROOT")
    arguments = parser.parse_args()
    make_damaged()
    make_whole()
    make_digest_only()
    if arguments.tutorial:
        make_tutorial(arguments.tutorial)
