"""What verify reports in words, and by image."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from regfs.findings import Code, Finding
from regfs.graph import build_graph
from regfs.render.verify import show_result, verdict
from regfs.stores import open_store
from regfs.tree.registry import Registry
from regfs.tree.scan import scan
from regfs.units import human_duration
from regfs.verify import Level, Result, VerifyOptions, images_of, verify
from regfs.verify.report import HARM_LIMIT
from tests.support.builder import TreeBuilder, artifact, digest_of, image, index
from tests.support.damage import DAMAGE
from tests.support.registries import build, new_tree, recipes
from tests.support.results import ERROR, LEFTOVER, WARNING, made
from tests.support.verification import BASE, V1, check, stocked

Said = pytest.CaptureFixture[str]


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    return stocked(tree)


def images_in(tree: TreeBuilder, *targets: str, level: Level = Level.DIGESTS) -> list[str]:
    registry = Registry(open_store(str(tree.root)))
    inventory = scan(registry.store)
    graph = build_graph(inventory, registry) if level.covers(Level.SIZES) else None
    meant = [registry.find(target) for target in targets]
    return [str(one) for one in images_of(meant, inventory, graph)]


# -- in words -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (made(), "no problems found"),
        (made(LEFTOVER), "no errors; 1 leftover of normal use"),
        (made(WARNING, LEFTOVER), "no errors; 1 warning to look at"),
        (made(ERROR, WARNING, images=["a:v1"]), "1 image is damaged"),
        (made(ERROR, images=["a:v1", "a:v2"]), "2 images are damaged"),
        (made(ERROR), "1 error, but no image is known to be damaged"),
        (made(WARNING, images=["a:v1"]), "no errors; 1 warning to look at"),
        (made(ERROR, images=["a:v1"], interrupted=True), "1 image is damaged so far"),
        (made(interrupted=True), "no problems found so far"),
    ],
)
def test_the_verdict_is_one_plain_line(result: Result, words: str) -> None:
    assert verdict(result) == words


def shown(result: Result, *, verbose: int = 0) -> tuple[str, list[str]]:
    console = Console(width=200)
    notes: list[str] = []
    with console.capture() as captured:
        show_result(console, result, verbose=verbose, note=notes.append)
    return captured.get(), notes


def test_the_summary_ends_with_the_time_taken_and_the_rate() -> None:
    assert shown(made())[0].endswith("no problems found\ntook 2 s, 2 MB/s\n")
    assert shown(made(finished=1_000_000.0))[0].endswith("took 0.01 s\n")


def test_each_image_is_listed_with_what_is_worst() -> None:
    other = Finding(Code.BLOB_MISSING, "blobs/b")
    out, _ = shown(made(WARNING, ERROR, other, images=["a:v1"]))
    (row,) = [line.split() for line in out.splitlines() if line.startswith("a:v1")]
    assert row == ["a:v1", "2", "1", "blob-corrupt"]


def test_many_images_are_listed_on_demand() -> None:
    result = made(ERROR, images=[f"a:{number:02}" for number in range(30)])
    short, notes = shown(result)
    assert short.count("blob-corrupt") == 1 + 20
    assert notes == ["regfs: and 10 more images; -v lists them"]
    everything, notes = shown(result, verbose=1)
    assert everything.count("blob-corrupt") == 1 + 30
    assert notes == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0.01 s"),
        (0.421, "0.42 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (3605, "1 h"),
        (7 * 3600 + 120, "7 h 2 min"),
        (2 * 86400 + 5 * 3600 + 59, "2 d 5 h"),
    ],
)
def test_durations_are_told_in_two_units(seconds: float, words: str) -> None:
    assert human_duration(seconds) == words


def test_a_clock_that_is_set_back_takes_no_time() -> None:
    assert made(finished=1.0).seconds == 0


def test_the_time_of_listing_counts_where_the_caller_says_so(shop: TreeBuilder) -> None:
    registry = Registry(open_store(str(shop.root)))
    times = iter([110.0, 150.0])
    result = verify(
        registry,
        scan(registry.store),
        options=VerifyOptions(started=100.0, clock=lambda: next(times)),
    )
    assert (result.started, result.finished) == (100.0, 110.0)
    assert check(shop, clock=iter([1.0, 3.0]).__next__).seconds == 2


# -- by image -----------------------------------------------------------------


def test_findings_of_an_image_are_counted_beyond_those_that_are_kept() -> None:
    warnings = [Finding(Code.FOREIGN_PATH, str(number)) for number in range(HARM_LIMIT)]
    harm = made(*warnings, ERROR, images=["a:v1"]).images["a:v1"]
    assert (harm.errors, harm.warnings, len(harm.rows)) == (1, HARM_LIMIT, HARM_LIMIT)
    assert harm.worst is not None
    assert harm.worst.finding is ERROR


def test_an_image_beyond_those_that_are_named_is_known(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regfs.verify.report.IMAGES_LIMIT", 1)
    pushed = tree.push("app", "t1", image([BASE]))
    tree.tag("app", "t2", pushed)
    tree.break_("blob-flipped", "app", "t1")
    result = check(tree)
    assert result.images.keys() == {"app:t1", "app:t2"}
    assert "2 images are damaged" in shown(result)[0]


def test_the_images_of_a_tree_are_its_tags_and_what_no_tag_reaches(shop: TreeBuilder) -> None:
    subject = image(["untagged"])
    shop.push("app", None, index(subject))
    signature = artifact(["signature"], subject=V1)
    shop.push("app", None, signature)
    untagged = {f"app@{index(subject).digest}", f"app@{signature.digest}"}
    tags = {"app:v1", "app:whole", "team/x:multi"}
    assert set(images_in(shop)) == tags | untagged
    assert set(images_in(shop, level=Level.LINKS)) == tags


def test_images_are_those_that_were_asked_for(shop: TreeBuilder) -> None:
    shop.push("app/nested", "v1", image(["nested"]))
    assert images_in(shop, "app") == ["app:v1", "app:whole"]
    assert images_in(shop, "app:v1", "team/x") == ["app:v1", "team/x:multi"]
    assert images_in(shop, f"app@{V1.digest}") == ["app:v1"]
    assert set(images_in(shop, digest_of(BASE))) == {"app:v1", "app:whole", "team/x:multi"}


@given(recipes(), st.sampled_from(sorted(DAMAGE)))
def test_findings_touch_images_of_the_tree_only(recipe: Any, kind: str) -> None:
    with new_tree() as folder:
        tree = build(folder, recipe)
        tree.push("victim", "v1", V1)
        tree.push("victim", "multi", index(V1, image(["arm"], platform="linux/arm64")))
        tree.break_(kind, "victim", "v1")
        for level in Level:
            result = check(tree, level=level)
            known = images_in(tree, level=level)
            assert len(known) == len(set(known))
            assert result.images.keys() <= set(known)
