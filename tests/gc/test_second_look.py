"""What `apply` sees when it looks again: between the plan, the fresh look and each move."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from regfs.errors import PathMissing, StoreError
from regfs.gc.plan import Plan, plan
from regfs.gc.policy import Policy
from regfs.gc.scanning import scan_for_plan
from regfs.gc.sweep import Applied, apply
from regfs.graph import build_graph
from regfs.runs import runs
from regfs.runs.totals import ActionKind
from regfs.stores import PathState, WritableStore, open_store
from regfs.tree.registry import Registry
from tests.support.builder import TreeBuilder, artifact, image
from tests.support.litter import with_litter
from tests.support.registries import going, going_in, plan_of, registry_of

OLD = image(["old"])
LAYER = OLD.blobs[1].digest


class Meddling:
    """A store in which something happens when it is first asked to do a thing."""

    def __init__(self, store: WritableStore, at: str, meddle: Callable[[], object]) -> None:
        self._store = store
        self._at = at
        self._meddle: Callable[[], object] | None = meddle

    def snapshot(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        if name == self._at and self._meddle is not None:
            meddle, self._meddle = self._meddle, None
            meddle()
        return getattr(self._store, name)


def carry_out(
    tree: TreeBuilder, planned: Plan, at: str = "", meddle: Callable[[], object] = print
) -> Applied:
    store = open_store(str(tree.root))
    return apply(planned, Registry(Meddling(store, at, meddle)))


def reasons(applied: Applied) -> dict[str, str]:
    return {skip.path: skip.reason for skip in applied.skipped}


def plan_of_leftovers(tree: TreeBuilder, **knobs: Any) -> Plan:
    registry, policy = registry_of(tree), Policy(leftovers=True, **knobs)
    inventory = scan_for_plan(registry.store, policy)
    return plan(build_graph(inventory, registry), policy, time.time())


@pytest.fixture
def pruned(tree: TreeBuilder) -> TreeBuilder:
    """A tree with one image to go, and one to stay."""
    tree.push("app", "v1", OLD)
    tree.push("app", "v1", image(["new"]))
    return tree


@pytest.fixture(params=["alone", "together", "ahead"])
def batch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone in its batch nothing is saved by what is found out about another in it.

    A second process has looked at the next batch before this one is moved.
    """
    monkeypatch.setattr("regfs.gc.looks.BATCH", 512 if request.param == "together" else 1)
    if request.param == "ahead":
        monkeypatch.setattr("regfs.gc.looks.MANY", 0)
        monkeypatch.setattr("regfs.parallel.can_fork", lambda: True)


# -- what is planned no more, or not yet -------------------------------------------


@pytest.mark.usefixtures("batch")
def test_what_may_go_by_now_and_was_not_planned_keeps_its_links_too(tree: TreeBuilder) -> None:
    """A link that nothing needed leads to a layer of what was pushed, and untagged, since."""
    tree.push("app", "v1", image(["new"]))
    for blob in OLD.blobs:
        tree.add_blob("app", blob)
    planned = plan_of(tree, delete_untagged=True, min_age=0)
    assert going(planned, "layer-link") == {blob.digest for blob in OLD.blobs}
    tree.blob(OLD.data)
    tree.revision("app", OLD.digest)
    applied = carry_out(tree, planned)
    assert applied.done.layer_links == applied.done.blobs == 0
    assert all(tree.layer_path("app", blob.digest).exists() for blob in OLD.blobs)


@pytest.mark.usefixtures("batch")
def test_a_referrer_that_was_written_again_keeps_its_subject(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["new"]))
    about = artifact(["sbom"], subject=OLD)
    tree.push("app", None, OLD)
    tree.push("app", None, about)
    planned = plan_of(tree, delete_untagged=True, min_age=0)
    assert going(planned, "revision") == {OLD.digest, about.digest}
    tree.set_age(tree.revision_path("app", about.digest), 10)
    carry_out(tree, planned)
    assert tree.revision_path("app", OLD.digest).exists()
    assert tree.blob_path(LAYER).exists()


@pytest.mark.usefixtures("batch")
@pytest.mark.parametrize("linked", [True, False])
def test_what_a_limit_leaves_keeps_the_blobs_it_names(pruned: TreeBuilder, linked: bool) -> None:
    if not linked:
        for blob in OLD.blobs:
            shutil.rmtree(pruned.layer_path("app", blob.digest).parent)
    planned = plan_of(pruned, delete_untagged=True)
    kept = replace(
        planned,
        actions=[one for one in planned.actions if (one.kind, one.digest) != ("blob", OLD.digest)],
    )
    applied = carry_out(pruned, kept)
    assert all(pruned.blob_path(blob.digest).exists() for blob in OLD.blobs)
    assert not pruned.revision_path("app", OLD.digest).exists()
    assert applied.done.blobs == 0


@pytest.mark.usefixtures("batch")
def test_a_run_goes_by_what_links_hold_however_they_were_looked_at(tree: TreeBuilder) -> None:
    planned = plan_of(with_litter(tree), delete_untagged=True)
    links = [one.path for one in planned.actions if one.kind is ActionKind.LAYER_LINK]
    path = links[0]
    link = tree.root / path
    seen = link.stat()
    link.write_bytes(b"x" * seen.st_size)
    os.utime(link, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    applied = carry_out(tree, planned)
    assert reasons(applied)[path].startswith("its content is no digest")
    assert (applied.done.uploads, applied.done.manifests) == (1, 1)
    assert applied.done.layer_links == len(links) - 1
    assert applied.done.blobs == planned.totals.blobs - 1


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc")
def test_what_changes_after_another_process_has_looked_at_it_stays(
    pruned: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    fork = os.fork

    def noted() -> int:
        started.append(fork())
        return started[-1]

    monkeypatch.setattr(os, "fork", noted)
    monkeypatch.setattr("regfs.gc.looks.BATCH", 1)
    monkeypatch.setattr("regfs.gc.looks.MANY", 0)
    monkeypatch.setattr("regfs.parallel.can_fork", lambda: True)
    planned = plan_of(pruned, delete_untagged=True, min_age=0)
    layer = pruned.blob_path(LAYER)

    def push_again() -> None:
        while ") Z " not in Path(f"/proc/{started[-1]}/stat").read_text():
            time.sleep(0.01)  # it ends when it has looked at everything
        pruned.set_age(layer, 10)

    applied = carry_out(pruned, planned, "move_many", push_again)
    assert layer.exists()
    assert reasons(applied)[pruned.relative(layer)] == "it has changed while this run was under way"


def test_items_that_an_interrupted_run_has_moved_are_not_reported_as_gone(
    pruned: TreeBuilder,
) -> None:
    planned = plan_of(pruned, delete_untagged=True)

    class Failing(Meddling):
        def move_many(self, moves: Iterable[tuple[str, str]]) -> Iterator[StoreError | None]:
            yield from self._store.move_many([next(iter(moves))])
            raise StoreError("the disk has gone")

    store = Failing(open_store(str(pruned.root)), "", print)
    with pytest.raises(StoreError, match="has gone"):
        apply(planned, Registry(store))
    applied = carry_out(pruned, planned)
    assert applied.skipped == []
    assert plan_of(pruned, delete_untagged=True).actions == []


# -- what changes just before it is moved ---------------------------------------------


@pytest.mark.usefixtures("batch")
@pytest.mark.parametrize("moment", ["append", "move_many"])
def test_an_item_that_is_gone_meanwhile_is_reported(pruned: TreeBuilder, moment: str) -> None:
    planned = plan_of(pruned, delete_untagged=True)
    folder = pruned.blob_path(LAYER).parent
    applied = carry_out(pruned, planned, moment, lambda: shutil.rmtree(folder))
    path = pruned.relative(pruned.blob_path(LAYER))
    assert reasons(applied)[path] == "it is gone"
    assert applied.done.blobs == len(OLD.blobs)


def test_a_check_that_fails_ends_the_run(pruned: TreeBuilder) -> None:
    planned = plan_of(pruned, delete_untagged=True)
    before = pruned.files()

    class Unseeing(Meddling):
        def examine(
            self, paths: Iterable[str | PathState], *, limit: int = 0
        ) -> Iterator[PathState | StoreError]:
            for path in paths:
                yield StoreError(f"{path}: input/output error")

    store = Unseeing(open_store(str(pruned.root)), "", print)
    with pytest.raises(StoreError, match="input/output error"):
        apply(planned, Registry(store))
    assert pruned.files() == before


def as_a_symlink(path: Path) -> None:
    """Put a symlink of the same size and time at the place of a file."""
    seen = path.stat()
    path.unlink()
    path.symlink_to("x" * seen.st_size)
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns), follow_symlinks=False)


@pytest.mark.usefixtures("batch")
@pytest.mark.parametrize("moment", ["append", "move_many"])
def test_an_item_that_is_not_a_file_any_more_stays(pruned: TreeBuilder, moment: str) -> None:
    planned = plan_of(pruned, delete_untagged=True)
    data = pruned.blob_path(LAYER)
    applied = carry_out(pruned, planned, moment, lambda: as_a_symlink(data))
    assert data.is_symlink()
    assert pruned.relative(data) in reasons(applied)


@pytest.fixture
def upload(tree: TreeBuilder) -> Path:
    tree.push("app", "v1", image(["new"]))
    with tree.at_age(10**7):
        return tree.upload_path("app", tree.upload("app", 3))


@pytest.mark.parametrize("moment", ["append", "move_many"])
def test_an_upload_that_is_not_a_folder_any_more_stays(
    tree: TreeBuilder, upload: Path, moment: str
) -> None:
    planned = plan_of(tree)
    assert planned.totals.uploads == 1

    def replace_it() -> None:
        upload.rename(tree.root / "elsewhere")
        upload.write_bytes(b"uuu")

    applied = carry_out(tree, planned, moment, replace_it)
    assert upload.is_file()
    assert reasons(applied)[tree.relative(upload)] == "it is no folder any more"


def test_an_upload_that_holds_a_symlink_by_now_stays(tree: TreeBuilder, upload: Path) -> None:
    planned = plan_of(tree)
    seen = upload.stat()

    def put_it_in() -> None:
        (upload / "strange").symlink_to("/nowhere")
        os.utime(upload, ns=(seen.st_atime_ns, seen.st_mtime_ns))

    applied = carry_out(tree, planned, "append", put_it_in)
    assert (upload / "strange").is_symlink()
    assert "neither" in reasons(applied)[tree.relative(upload)]


def test_a_failed_move_does_not_count_as_done(pruned: TreeBuilder) -> None:
    planned = plan_of(pruned, delete_untagged=True)

    class Gone(Meddling):
        def move_many(self, moves: Iterable[tuple[str, str]]) -> Iterator[StoreError | None]:
            for source, target in moves:
                if source.endswith(LAYER.removeprefix("sha256:")) and "/blobs/" in source:
                    yield PathMissing(f"{source}: it is gone")
                else:
                    yield from self._store.move_many([(source, target)])

    store = Gone(open_store(str(pruned.root)), "", print)
    applied = apply(planned, Registry(store))
    path = pruned.relative(pruned.blob_path(LAYER))
    assert reasons(applied) == {path: "it is gone"}
    assert applied.done.blobs == planned.totals.blobs - 1


# -- folders -----------------------------------------------------------------------------


def test_only_folders_that_are_not_empty_any_more_stay(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["new"]))
    folders = [tree.folder(tree.layer_path("app", f"sha256:{n * 64}").parent) for n in "123"]
    planned = plan_of_leftovers(tree)
    assert planned.totals.directories == 3
    middle = folders[1] / "link"
    applied = carry_out(tree, planned, "append", middle.touch)
    assert [folder.exists() for folder in folders] == [False, True, False]
    assert reasons(applied) == {tree.relative(folders[1]): "it is not empty"}
    assert applied.done.directories == 2


def test_the_folder_of_all_repositories_stays_when_the_last_one_goes(tree: TreeBuilder) -> None:
    tree.blob(b"something")
    tree.folder(tree.repository_path("team/app") / "_layers")
    applied = carry_out(tree, plan_of(tree, empty_repositories=True))
    assert applied.done.repositories == 1
    assert (tree.v2 / "repositories").is_dir()
    assert not (tree.v2 / "repositories/team").exists()


def test_an_empty_repository_goes_after_the_folders_in_it(tree: TreeBuilder) -> None:
    tree.push("lib", "v1", image(["new"]))
    for name in ("a", "a/b"):
        tree.folder(tree.layer_path(name, LAYER).parent)
        tree.folder(tree.tag_folder(name, "gone") / "index")
    planned = plan_of_leftovers(tree, empty_repositories=True)
    applied = carry_out(tree, planned)
    assert (applied.skipped, applied.done) == ([], planned.totals)
    assert not tree.repository_path("a").exists()


@pytest.mark.parametrize("min_age", [0.0, 3600.0])
def test_folders_that_a_registry_may_be_about_to_use_stay(
    pruned: TreeBuilder, min_age: float
) -> None:
    carry_out(pruned, plan_of(pruned, delete_untagged=True, min_age=min_age))
    assert not pruned.revision_path("app", OLD.digest).exists()
    # Beside a registry, which makes a folder and then writes into it, none is taken away.
    above = pruned.blob_path(LAYER).parent.parent
    assert above.exists() == (min_age > 0)
    app = pruned.repository_path("app")
    shutil.rmtree(pruned.root / ".regfs")
    pruned.untag("app", "v1")
    carry_out(pruned, plan_of(pruned, delete_untagged=True, min_age=0, allow_tagless=("app",)))
    assert going_in(plan_of(pruned), "revision") == set()
    for part in ("_layers/sha256", "_manifests/revisions/sha256", "_manifests/tags"):
        assert (app / part).is_dir()
    assert [run.state for run in runs(open_store(str(pruned.root)))] == ["applied"]


@pytest.mark.parametrize("strange", ["_custom", "README", "_layers/sha256/pipe"])
def test_an_empty_repository_with_a_foreign_file_stays(tree: TreeBuilder, strange: str) -> None:
    tree.push("lib", "v1", image(["new"]))
    tree.folder(tree.repository_path("app") / "_layers/sha256")
    planned = plan_of(tree, empty_repositories=True)
    assert planned.totals.repositories == 1
    path = tree.repository_path("app") / strange

    def put_it_there() -> None:
        if strange == "_custom":
            path.mkdir()
        elif strange == "README":
            path.symlink_to("/nowhere")
        else:
            os.mkfifo(path)

    applied = carry_out(tree, planned, "append", put_it_there)
    assert os.path.lexists(path)
    assert (tree.repository_path("app") / "_layers/sha256").is_dir()
    assert list(reasons(applied).values()) == ["it is not empty"]
