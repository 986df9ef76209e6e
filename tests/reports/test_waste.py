"""Waste: what later layers hide, in each image and over the registry, and what zstd would save."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

import regfs
from regfs.reports.image_waste import WastedPlace
from regfs.reports.waste import Waste
from tests.support.builder import Blob, Content, TreeBuilder, digest_of, image, index
from tests.support.packings import PACKINGS
from tests.support.tars import Entry, entry, folder, tar_of

BASE = [folder("etc"), entry("etc/passwd", b"r" * 100)]
LISTS = [entry(f"var/lib/apt/lists/{n}", bytes([n]) * 1000) for n in range(10)]
CLEAN = [entry(f"var/lib/apt/lists/.wh.{n}") for n in range(10)]


def built(*layers: Sequence[Entry], steps: Sequence[str] = (), **options: Any) -> Content:
    """Return an image; `steps` are the instructions of its layers."""
    config = {"history": [{"created_by": step} for step in steps]}
    return image([tar_of(one) for one in layers], config, **options)


def wasted(tree: TreeBuilder, *references: str, **options: Any) -> Waste:
    return regfs.open(str(tree.root)).waste(*references, **options)


def place(report: Waste, folder: str) -> WastedPlace:
    (found,) = (one for one in report.places if one.folder == folder)
    return found


def test_a_cache_that_many_images_carry_is_stored_once(tree: TreeBuilder) -> None:
    steps = ("ADD rootfs.tar /", "RUN apt-get update", "RUN rm /var/lib/apt/lists/*", "COPY app /")
    for number in range(12):
        own = [entry(f"app{number}", b"a" * 50)]
        tree.push("app", f"v{number}", built(BASE, LISTS, CLEAN, own, steps=steps))
    report = wasted(tree)
    assert (report.images, report.layers) == (12, 15)
    assert (report.stored, report.hidden, report.unseen) == (10_700, 10_000, 10_000)
    assert report.carried == 120_000
    (found,) = report.places
    assert (found.folder, found.bytes, found.files) == ("var/lib/apt/lists", 10_000, 10)
    assert (found.images, found.users, found.layers, found.removed) == (12, 12, 1, 10_000)
    assert (found.made_by, found.hidden_by) == (steps[1], steps[2])
    assert found.used_by[:3] == ("app:v0", "app:v1", "app:v2")
    assert {row.hidden for row in report.rows} == {10_000}
    assert {row.files for row in report.rows} == {()}


def test_what_one_image_hides_another_may_show(tree: TreeBuilder) -> None:
    tree.push("base", "v1", built(BASE, LISTS))
    tree.push("app", "v1", built(BASE, LISTS, CLEAN))
    tree.push("app", "v2", built(BASE, LISTS, CLEAN, [entry("etc/passwd", b"new")]))
    report = wasted(tree)
    assert (report.hidden, report.unseen) == (10_100, 0)
    assert [(row.image, row.hidden) for row in report.rows] == [
        ("app:v2", 10_100),
        ("app:v1", 10_000),
        ("base:v1", 0),
    ]
    lists = place(report, "var/lib/apt/lists")
    assert (lists.images, lists.users, lists.unseen) == (2, 3, 0)
    assert place(report, "etc").used_by == ("app:v2",)
    assert wasted(tree, "app").unseen is None


def test_the_files_of_an_image_that_is_asked_for(tree: TreeBuilder) -> None:
    steps = ("ADD rootfs.tar /", "RUN make", "RUN chown app /app")
    made = [entry("app", b"a" * 500), entry("tmp/o", b"o" * 70)]
    owned = [entry("app", b"a" * 500), entry("tmp/.wh.o")]
    tree.push("app", "v1", built(BASE, made, owned, steps=steps))
    tree.push("other", "v1", built(LISTS, CLEAN))
    report = wasted(tree, "app:v1", top=1)
    (row,) = report.rows
    (file,) = row.files
    assert row.files_omitted == 1
    assert (file.path, file.size, file.position, file.hidden_at) == ("app", 500, 2, 3)
    assert (file.made_by, file.hidden_by, file.removed) == ("RUN make", "RUN chown app /app", False)
    whole = wasted(tree, "app:v1").rows[0].files
    assert [(one.path, one.removed) for one in whole] == [("app", False), ("tmp/o", True)]


def test_layers_of_one_instruction_count_together(tree: TreeBuilder) -> None:
    steps = ("COPY app /", "RUN chown app /app")
    for number in range(3):
        data = bytes([number]) * (100 + number)
        tree.push(
            "app", f"v{number}", built([entry("app", data)], [entry("app", data)], steps=steps)
        )
    (found,) = wasted(tree).places
    assert (found.folder, found.layers, found.bytes, found.images) == ("", 3, 303, 3)


def test_places_are_few_and_hold_everything(tree: TreeBuilder) -> None:
    cache = [entry(f"root/.cache/pip/{n // 10}/{n}/x", b"x" * 10) for n in range(200)]
    large = entry("usr/share/doc/large", b"d" * 1000)
    tree.push("app", "v1", built([*cache, large], [entry("root/.wh..cache"), entry(".wh.usr")]))
    report = wasted(tree)
    found = {one.folder: one.bytes for one in report.places}
    assert found == {"root/.cache/pip": 2000, "usr/share/doc": 1000}


def test_a_layer_twice_in_an_image_is_seen_once(tree: TreeBuilder) -> None:
    tree.push("app", "v1", built(LISTS, LISTS))
    report = wasted(tree)
    assert (report.rows[0].stored, report.rows[0].hidden) == (20_000, 10_000)
    assert report.unseen == 0


def test_each_beginning_is_laid_once(tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    from regfs.files.layer_stack import LayerStack

    pushed = []
    push = LayerStack.push

    def watch(stack: LayerStack, listing: Any) -> Any:
        pushed.append(listing.digest)
        return push(stack, listing)

    monkeypatch.setattr(LayerStack, "push", watch)
    for number in range(9):
        for other in range(3):
            more = [entry(f"more{number}")], [entry(f"last{number}{other}")]
            tree.push(f"app{other}", f"v{number}", built(BASE, LISTS, *more))
    wasted(tree)
    assert len(pushed) == len(set(pushed)) == 2 + 9 + 27


# -- what cannot be read -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("blob", "words"),
    [
        (Blob(b"no tar at all" * 100), "not a number"),
        (Blob(b"gone", stored=False), "no such blob"),
        (
            Blob(b"secret" * 99, "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"),
            "encrypted",
        ),
        (Blob(tar_of(LISTS)[:5000]), "truncated"),
        (
            Blob(
                b"elsewhere",
                "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                {"urls": ["https://example.org/layer"]},
                stored=False,
            ),
            "kept elsewhere",
        ),
    ],
)
def test_an_image_with_an_unreadable_layer_has_no_efficiency(
    tree: TreeBuilder, blob: Blob, words: str
) -> None:
    tree.push("app", "v1", image([tar_of(LISTS), blob, tar_of(CLEAN)]))
    tree.push("app", "v2", image([tar_of(LISTS), tar_of(CLEAN)]))
    opened = regfs.open(str(tree.root))
    report = opened.waste(at_least=1.0)
    rows = {row.image: row for row in report.rows}
    assert (rows["app:v1"].efficiency, rows["app:v1"].unread) == (None, 1)
    assert rows["app:v2"].unread == 0
    assert [one.image for one in report.too_low] == ["app:v2"]
    (finding,) = opened.unread
    assert words in finding.message


def test_no_images_and_images_of_an_index(tree: TreeBuilder) -> None:
    assert wasted(tree).images == 0
    one, two = built(LISTS, CLEAN), built(BASE, platform="linux/arm64")
    tree.push("app", "v1", index(one, two))
    assert [row.image for row in wasted(tree).rows] == [
        "app:v1 (linux/amd64)",
        "app:v1 (linux/arm64)",
    ]


# -- packed otherwise --------------------------------------------------------------------------


def test_contents_under_several_digests(tree: TreeBuilder) -> None:
    data = tar_of(LISTS)
    for name, way in {"one": "gzip", "two": "zstd"}.items():
        blob = Blob(PACKINGS[way](data), f"application/vnd.oci.image.layer.v1.tar+{way}")
        rootfs = {"type": "layers", "diff_ids": [digest_of(data)]}
        tree.push(name, "v1", image([blob], {"rootfs": rootfs}))
    (found,) = wasted(tree).near_duplicates
    assert [copy.images for copy in found.layers] == [1, 1]


def test_what_zstd_would_save_is_measured_if_asked_for(tree: TreeBuilder) -> None:
    packed = PACKINGS["gzip"](tar_of(LISTS))
    tree.push("app", "v1", image([packed, tar_of(BASE)]))
    assert wasted(tree).recompression is None
    found = wasted(tree, sample=10_000).recompression
    assert found is not None
    assert (found.layers, found.others, found.bytes, found.whole) == (1, 1, len(packed), True)
