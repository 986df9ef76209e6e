"""What is in the page of `regfs graph --format html`: areas, families, and the file itself."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

import regfs
from regfs.reports.family import family
from regfs.reports.treemap import Area, AreaKind, areas
from regfs.reports.users import users_of
from tests.support.builder import TreeBuilder, image, index
from tests.support.registries import Recipe, build, new_tree, recipes

TUTORIAL = Path(__file__).parents[2] / "fixtures/trees/tutorial"
HOSTILE = '"><img src=x onerror=alert(1)></script><script>alert(2)<\x1b[31m'.replace("/", "")


def export(root: Path, *references: str) -> str:
    return b"".join(regfs.open(str(root)).export("html", *references)).decode()


def data_of(html: str) -> Any:
    found = re.search(r'id="data">([^<]*)<', html)
    assert found
    return json.loads(gzip.decompress(base64.b64decode(found[1])))


# -- areas and families ------------------------------------------------------------------


def every(area: Area) -> Iterator[Area]:
    yield area
    for one in area.areas:
        yield from every(one)


@given(recipe=recipes())
def test_every_blob_is_in_exactly_one_area_by_who_needs_it(recipe: Recipe) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        opened = regfs.open(str(tree.root), empty=True)
        graph, blobs = opened.graph, opened.inventory.blobs
        users = users_of(graph)
        top = areas(graph, users)
        rows = Counter(row for area in every(top) for row in area.rows)
        assert rows == Counter(range(len(blobs)))
        assert (top.bytes, top.blobs) == (sum(blobs.sizes), len(blobs))
        for area in every(top):
            inside = sum(one.bytes for one in area.areas) + sum(blobs.sizes[r] for r in area.rows)
            assert area.bytes == inside
        # The reports count in another way.
        only = {row.name: row.unique for row in opened.usage(by="repository").rows}
        homes = {one.name: one.bytes for one in top.areas if one.kind is AreaKind.REPOSITORY}
        assert homes == {name: unique for name, unique in only.items() if name in homes}
        assert all(not unique for name, unique in only.items() if name not in homes)


def test_images_hang_from_what_they_begin_with(tree: TreeBuilder) -> None:
    tree.push("base", "v1", image(["a"]))
    tree.push("app", "v1", image(["a", "b"]))
    tree.push("app", "v2", image(["a", "b"], annotations={"built": "anew"}))
    for name in ("one", "two"):
        tree.push(name, "v1", image(["x", "y", name]))
    opened = regfs.open(str(tree.root))
    found = family(opened.graph, opened.registry.skim)
    shown = [(one.names, found[one.base].names if one.base >= 0 else None) for one in found]
    assert sorted(shown, key=str) == sorted(
        [
            (("base:v1",), None),
            (("app:v1", "app:v2"), ("base:v1",)),
            ((), None),
            (("one:v1",), ()),
            (("two:v1",), ()),
        ],
        key=str,
    )
    (beginning,) = [one for one in found if not one.names]
    assert (beginning.layers, beginning.own_layers) == (2, 2)
    assert [one.own_layers for one in found if one.names in (("one:v1",), ("two:v1",))] == [1, 1]


@given(recipe=recipes())
def test_what_a_family_adds_makes_up_what_each_image_has(recipe: Recipe) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        opened = regfs.open(str(tree.root), empty=True)
        found = family(opened.graph, opened.registry.skim)
        names = [name for one in found for name in one.names]
        assert sorted(names) == sorted(one.image for one in opened.bases().images)
        for number, one in enumerate(found):
            assert one.base < number
            below = found[one.base] if one.base >= 0 and not one.squashed else None
            assert one.layers == one.own_layers + (below.layers if below else 0)
            assert one.size == one.own_bytes + (below.size if below else 0)
            if not one.names:
                assert sum(other.base == number for other in found) > 1


# -- the file ----------------------------------------------------------------------------


def test_the_page_holds_all_blobs_and_nothing_from_elsewhere() -> None:
    html = export(TUTORIAL)
    data = data_of(html)
    blobs = regfs.open(str(TUTORIAL)).inventory.blobs
    digests = re.findall(".{12}", data["blobs"]["digest"])
    assert dict(zip(digests, data["blobs"]["size"], strict=True)) == {
        digest.short: size for digest, size, *_ in blobs.files(range(len(blobs)))
    }
    assert "COPY" in "".join(data["made"])
    # Besides the library and its licence, no address is named, and nothing is loaded.
    own = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    assert not re.search(r"https?:|src=|href=|@import|url\(", own)
    assert "D3" in html or "d3js.org" in html


def test_references_show_what_they_need_and_who_shares_it(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["base", "one"]))
    tree.push("web", "v1", image(["base", "two"]))
    tree.push("lib", "v1", image(["three"]))
    data = data_of(export(tree.root, "app"))
    assert sorted(set(data["areas"]["name"])) == ["", "app", "app, web", "v1"]
    assert data["members"]["names"] == [["app:v1"]]
    assert sorted(data["blobs"]["users"]) == [1, 1, 1, 2]


def test_small_blobs_of_a_large_registry_are_put_together(
    monkeypatch: pytest.MonkeyPatch, tree: TreeBuilder
) -> None:
    from regfs.render.pictures import page

    tree.push("app", "v1", image([f"layer {'x' * number}" for number in range(50)]))
    monkeypatch.setattr(page, "LEAVES", 20)
    data = data_of(export(tree.root))
    stored = regfs.open(str(tree.root)).inventory.blobs.sizes
    assert sum(data["areas"]["leaves"]) in range(20, 24)
    assert sum(data["areas"]["leaves"]) + sum(data["areas"]["rest"]) == len(stored) == 52
    assert sum(data["blobs"]["size"]) + sum(data["areas"]["restBytes"]) == sum(stored)


def test_hostile_text_is_escaped_where_there_are_no_scripts(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["base"]))
    folder = tree.root / "docker/registry/v2/repositories"
    shutil.copytree(folder / "app", folder / HOSTILE)
    html = export(tree.root)
    assert "onerror=" in html
    assert "<img" not in html
    assert html.count("<script") == 3
    assert "\x1b" not in html


def test_long_texts_are_cut(tree: TreeBuilder) -> None:
    history = {"history": [{"created_by": "RUN " + "x" * 100_000}]}
    tree.push("app", "v1", image(["base"], history))
    tree.push("app", "v2", index(image(["a"], platform="linux/" + "z" * 100_000), image(["b"])))
    data = data_of(export(tree.root))
    assert max(len(text) for text in data["made"]) == 300
    names = [name for names in data["members"]["names"] for name in names]
    assert max(map(len, names)) < 300
    assert any(name.startswith("app:v2 (linux/zzz") and name.endswith("zz)") for name in names)


def test_what_could_not_be_read_is_said_on_the_page(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["base"]))
    assert "could not be read" not in export(tree.root)
    tree.break_("manifest-empty", "app", "v1")
    assert "Incomplete: 1 thing could not be read." in export(tree.root)
