"""Halves of copies by rsync: which of them go, and that none goes which may be worth something."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regfs.gc.plan import Plan, plan
from regfs.gc.policy import Policy
from regfs.gc.scanning import scan_for_plan
from regfs.gc.sweep import apply
from regfs.graph import build_graph
from regfs.runs import restore
from regfs.stores import open_store
from regfs.tree.leftovers import is_for_one
from tests.support.builder import TreeBuilder, digest_of, image
from tests.support.registries import registry_of

V2 = "docker/registry/v2"
DAY = 86400.0
IMAGE = image(["app"])


def planned(tree: TreeBuilder, later: float = 2 * DAY, **policy: Any) -> Plan:
    """Plan as if it were so many seconds later: what no program can set back must be waited for."""
    registry = registry_of(tree)
    options = Policy(**{"leftovers": True, **policy})
    inventory = scan_for_plan(registry.store, options)
    graph = build_graph(inventory, registry)
    return plan(graph, options, time.time() + later, registry.manifest_bytes)


def halves(made: Plan) -> set[str]:
    return {one.path for one in made.actions if one.kind.value == "temporary"}


@pytest.fixture
def app(tree: TreeBuilder) -> TreeBuilder:
    tree.push("app", "v1", IMAGE)
    return tree


LAYER = IMAGE.document["layers"][0]["digest"]
Place = Callable[[TreeBuilder], Path]
PLACES: dict[str, Place] = {
    "blob": lambda tree: tree.blob_path(LAYER),
    "manifest": lambda tree: tree.blob_path(IMAGE.digest),
    "layer link": lambda tree: tree.layer_path("app", LAYER),
    "revision link": lambda tree: tree.revision_path("app", IMAGE.digest),
    "tag": lambda tree: tree.tag_path("app", "v1"),
}


def beside(file: Path, name: str) -> Path:
    """Return where rsync keeps half of a file."""
    return file.parent / name.format(file.name)


NAMES = [".{}.Xy12Ab", ".~tmp~/{}", ".rsync-partial/{}"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", NAMES)
def test_what_came_right_at_last_leaves_a_half_that_goes(
    app: TreeBuilder, place: str, name: str
) -> None:
    file = PLACES[place](app)
    half = app.write(beside(file, name), b"half")
    made = planned(app)
    assert halves(made) == {app.relative(half)}
    assert {one.kind.value for one in made.actions} == {"temporary"}
    before = app.files()
    applied = apply(made, registry_of(app), clock=lambda: time.time() + 2 * DAY)
    assert (applied.done.temporaries, applied.skipped) == (1, [])
    assert not half.exists()
    assert file.exists()
    restore(open_store(str(app.root)), applied.run)
    assert app.files() == before


def test_its_folder_goes_when_it_is_empty(app: TreeBuilder) -> None:
    folder = app.folder(app.blob_path(LAYER).parent / ".~tmp~")
    made = planned(app)
    assert [one.path for one in made.actions] == [app.relative(folder)]
    app.write(folder / "data", b"half")
    apply(planned(app, min_age=0.0), registry_of(app))
    assert not folder.exists()
    assert app.blob_path(LAYER).exists()
    assert is_for_one(app.relative(folder))
    assert not is_for_one(f"{V2}/repositories/.~tmp~")


# -- what may be worth something --------------------------------------------------------------


@pytest.mark.parametrize("place", ["blob", "manifest", "layer link", "revision link"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrong", [b"", b"short", None])
def test_a_half_stays_where_what_is_in_place_is_wrong(
    app: TreeBuilder, place: str, name: str, wrong: bytes | None
) -> None:
    file = PLACES[place](app)
    good = file.read_bytes()
    app.write(file, bytes(len(good)) if wrong is None else wrong)
    app.write(beside(file, name), good)
    assert halves(planned(app)) == set()
    assert halves(planned(app, min_age=0.0)) == set()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", NAMES)
def test_a_half_stays_when_it_is_all_there_is_of_what_an_image_needs(
    app: TreeBuilder, place: str, name: str
) -> None:
    file = PLACES[place](app)
    half = app.write(beside(file, name), file.read_bytes())
    file.unlink()
    made = planned(app, min_age=0.0)
    assert halves(made) == set()
    registry = registry_of(app)
    if "app" not in build_graph(scan_for_plan(registry.store, Policy()), registry).frozen:
        assert made.kept["copies"] == 1
    # Its bytes put in place heal what is broken.
    half.rename(file)
    assert halves(planned(app, min_age=0.0)) == set()


def test_a_half_of_what_nothing_needs_goes(app: TreeBuilder) -> None:
    digest = digest_of(b"of a push that was never copied")
    half = app.write(app.blob_path(digest).with_name(".data.Xy12Ab"), b"half")
    link = app.write(app.layer_path("app", digest).with_name(".link.Xy12Ab"), b"half")
    assert halves(planned(app)) == {app.relative(half), app.relative(link)}


def test_while_a_repository_is_in_doubt_what_it_names_stays(app: TreeBuilder) -> None:
    app.push("app", "v2", image(["other"]))
    digest = digest_of(b"linked, and not there yet")
    app.write(app.layer_path("app", digest), digest.encode())
    half = app.write(app.blob_path(digest).with_name(".data.Xy12Ab"), b"half")
    app.age(3 * DAY)
    assert app.relative(half) in halves(planned(app))
    app.break_("manifest-not-json", "app", "v2")
    assert halves(planned(app)) == set()


def test_what_lies_in_an_upload_stays_with_it(app: TreeBuilder) -> None:
    upload = app.upload("app", 3)
    app.write(app.upload_path("app", upload) / ".data.Xy12Ab", b"half")
    assert halves(planned(app, later=0.0, min_age=0.0, uploads_older_than=1e9)) == set()


# -- age --------------------------------------------------------------------------------------


def test_the_old_time_that_rsync_gives_a_copy_does_not_make_it_old(app: TreeBuilder) -> None:
    half = app.write(app.blob_path(LAYER).with_name(".data.Xy12Ab"), b"half")
    os.utime(half, (1e9, 1e9))
    made = planned(app, later=0.0)
    assert halves(made) == set()
    assert made.kept["young"] >= 1


@pytest.mark.parametrize(
    ("later", "min_age", "goes"),
    [
        (2 * 3600.0, 3600.0, False),  # --delay-updates: it waits until all others have come
        (DAY - 60, 3600.0, False),
        (DAY + 60, 3600.0, True),
        (DAY + 60, 3 * DAY, False),
        (3 * DAY + 60, 3 * DAY, True),
        (60.0, 0.0, True),  # nobody else writes
    ],
)
def test_a_copy_has_a_day_at_least(
    app: TreeBuilder, later: float, min_age: float, goes: bool
) -> None:
    half = app.write(app.blob_path(LAYER).with_name(".data.Xy12Ab"), b"half")
    os.utime(half, (1e9, 1e9))
    assert (halves(planned(app, later, min_age=min_age)) != set()) is goes


def test_a_half_that_rsync_goes_on_with_after_the_plan_stays(app: TreeBuilder) -> None:
    half = app.write(app.blob_path(LAYER).parent / ".~tmp~/data", b"half")
    made = planned(app)
    assert halves(made)
    with half.open("ab") as stream:
        stream.write(b" and more")
    applied = apply(made, registry_of(app), clock=lambda: time.time() + 2 * DAY)
    assert applied.done.temporaries == 0
    assert half.exists()


def test_a_half_that_is_looked_at_before_its_day_is_over_stays(app: TreeBuilder) -> None:
    half = app.write(app.blob_path(LAYER).with_name(".data.Xy12Ab"), b"half")
    applied = apply(planned(app), registry_of(app))  # planned for later than it is carried out
    assert applied.done.temporaries == 0
    assert half.exists()


# -- rsync itself -----------------------------------------------------------------------------


@pytest.mark.reference
@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_what_rsync_really_leaves_is_known(tmp_path: Path) -> None:
    source = TreeBuilder(tmp_path / "source")
    source.push("app", "v1", image([os.urandom(4_000_000).hex()]))
    target = TreeBuilder(tmp_path / "target")
    copying = subprocess.Popen(
        ["rsync", "-a", "--bwlimit=500", f"{source.root}/", f"{target.root}/"],
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (found := list(target.v2.rglob(".data.*"))) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(copying.pid, signal.SIGKILL)  # the one that writes would tidy up after itself
    copying.wait(60)
    left = [path for path in found if path.exists()]
    assert left
    # Run again, it copies what is missing, and never comes back to what it left.
    subprocess.run(["rsync", "-a", f"{source.root}/", f"{target.root}/"], check=True, timeout=60)
    assert halves(planned(target)) == {target.relative(path) for path in left}
