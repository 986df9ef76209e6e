"""Young things stay, by whatever says that they are young."""

from __future__ import annotations

import time
from typing import Any

import pytest

from regfs.gc.plan import Plan
from tests.support.builder import Blob, TreeBuilder, blob_of, image, index
from tests.support.registries import going, going_in, paths, plan_of

HOUR = 3600.0


def untagged(tree: TreeBuilder, **policy: Any) -> Plan:
    return plan_of(tree, delete_untagged=True, **policy)


def test_young_things_stay_and_are_counted(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["app"]))
    with tree.at_age(60):
        tree.blob(b"young")
        tree.add_blob("app", "young too")
        tree.upload("app", 3)
    planned = plan_of(tree, uploads_older_than=0)
    assert planned.actions == []
    assert planned.kept == {"young": 4}


def test_a_young_link_keeps_an_old_blob(tree: TreeBuilder) -> None:
    digest = tree.blob(blob_of("mounted").data)
    with tree.at_age(60):
        tree.add_blob("app", "mounted")
    assert plan_of(tree).actions == []
    assert going(plan_of(tree, min_age=30), "blob") == {digest}


def test_a_young_alias_link_keeps_an_old_blob(tree: TreeBuilder) -> None:
    blob = Blob(blob_of("long").data, algorithm="sha512")
    stored = tree.add_blob("app", blob)
    tree.set_age(tree.layer_path("app", blob.digest), 60)
    assert going_in(plan_of(tree), "layer-link") == {("app", stored)}
    assert going(plan_of(tree), "blob") == set()


def test_a_young_revision_is_a_root_although_no_tag_names_it(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["app"]))
    content = index(image(["amd"]))
    tree.push("app", None, content)
    tree.set_age(tree.revision_path("app", content.digest), 60)
    assert untagged(tree).actions == []


def test_what_lost_its_tag_a_minute_ago_stays(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["old"]))
    with tree.at_age(60):
        tree.push("app", "v1", image(["new"]))
    assert untagged(tree).actions == []
    later = untagged(tree, now=time.time() + HOUR)
    assert going(later, "revision") == {image(["old"]).digest}


@pytest.mark.parametrize("min_age", [0.0, HOUR])
def test_what_comes_from_the_future_is_young(tree: TreeBuilder, min_age: float) -> None:
    tree.push("app", "v1", image(["app"]))
    with tree.at_age(-HOUR):
        tree.blob(b"tomorrow")
        tree.add_blob("app", "tomorrow too")
        tree.upload("app", 3)
        tree.push("app", None, image(["untagged tomorrow"]))
    planned = untagged(tree, min_age=min_age, uploads_older_than=0)
    assert planned.actions == []
    assert planned.kept == {"future": 4}


def test_an_upload_is_as_young_as_its_youngest_file(tree: TreeBuilder) -> None:
    upload = tree.upload("app", 100)
    assert plan_of(tree, uploads_older_than=HOUR).totals.uploads == 1
    assert plan_of(tree).kept == {"young": 1}
    tree.set_age(tree.upload_path("app", upload) / "data", 60)
    assert plan_of(tree, uploads_older_than=HOUR).kept == {"young": 1}


def test_an_upload_that_says_it_began_just_now_is_young(tree: TreeBuilder) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    tree.upload("app", 100, started_at=now)
    assert plan_of(tree, uploads_older_than=HOUR).kept == {"young": 1}


@pytest.mark.parametrize("started_at", ["", "garbage", "2026-13-45T99:99:99Z"])
def test_an_upload_that_does_not_say_when_it_began_goes_by_its_files(
    tree: TreeBuilder, started_at: str
) -> None:
    upload = tree.upload("app", 100, started_at=started_at)
    planned = plan_of(tree, uploads_older_than=HOUR)
    assert paths(planned) == {tree.relative(tree.upload_path("app", upload))}
