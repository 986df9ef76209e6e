"""Killed between any two system calls: real processes of gc, each ended before one that matters.

strace counts what a command changes in the tree, call by call. Then the command runs again
and again on copies of the same tree, and the kernel is told to kill it before the N-th of
those calls, so that every state a process can leave on the disk is looked at once:

    what is kept      in place, byte for byte, the moment after the kill
    carrying on       the same command again does all that there was to do
    taking back       a restore gives the whole tree back

Some of the calls are tried, evenly spread; with the thorough
`HYPOTHESIS_PROFILE` every one of them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from regfs.errors import Refused, RunUnknown
from regfs.render.tables import to_json
from regfs.runs import purge, restore, runs
from tests.support.registries import plan_of, store_of
from tests.support.syscalls import (
    TRIED,
    Call,
    Scene,
    applying,
    needs_strace,
    purging,
    purging_at_once,
    restoring,
)


@pytest.fixture
def scene_of() -> Iterator[Callable[[Callable[[Scene], list[str]]], Scene]]:
    """Make a scene; in memory where that can be, for it is copied again and again."""
    memory = Path("/dev/shm")
    place = str(memory) if memory.is_dir() and os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="regfs-syscalls-", dir=place) as folder:
        yield lambda arrange: Scene(Path(folder), arrange)


def killed(scene: Scene) -> Iterator[tuple[Call, Path]]:
    """Kill the command before one call after another; yield each, and a copy of what it left."""
    calls = scene.calls()
    copy = scene.log.with_name("killed")
    tried = min(TRIED.get(settings().max_examples, len(calls)), len(calls))
    step = (len(calls) - 1) / (tried - 1)
    assert tried > 5
    for number in range(tried):
        call = calls[round(number * step)]
        scene.kill_before(call)
        scene.assert_kept(call)
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(scene.tree.root, copy, symlinks=True)
        yield call, copy


@needs_strace
@pytest.mark.parametrize("arrange", [applying, purging_at_once])
def test_apply_can_be_killed_before_any_call(
    scene_of: Callable[..., Scene], arrange: Callable[[Scene], list[str]]
) -> None:
    scene = scene_of(arrange)
    for call, left in killed(scene):
        # Carried on; of a run that had said already that all was done, there is nothing to do.
        state = _state(scene)
        assert scene.again() == (0 if state in (None, "interrupted") else 3), call.line
        assert scene.tree.files() == scene.kept, call.line
        scene.reset(left)
        try:
            restore(store_of(scene.tree), scene.run)
        except RunUnknown:
            assert state is None  # killed before it had a journal, so before it did anything
        except Refused:
            assert state in ("purging", "purged")
            purge(store_of(scene.tree))
            assert scene.tree.files() == scene.kept, call.line
            continue
        assert scene.tree.files() == scene.whole, call.line


def _state(scene: Scene) -> str | None:
    return next((run.state for run in runs(store_of(scene.tree))), None)


@needs_strace
def test_restore_can_be_killed_before_any_call(scene_of: Callable[..., Scene]) -> None:
    scene = scene_of(restoring)
    for call, left in killed(scene):
        restore(store_of(scene.tree), scene.run)
        assert scene.tree.files() == scene.whole, call.line
        # Or somebody collects again instead: that is as if nothing had been restored.
        scene.reset(left)
        again = plan_of(scene.tree, delete_untagged=True, min_age=0.0)
        scene.plan_file.write_text(to_json(again))
        assert scene.again("gc", "apply", str(scene.plan_file)) == 0
        assert scene.tree.files() == scene.kept, call.line


@needs_strace
def test_purge_can_be_killed_before_any_call(scene_of: Callable[..., Scene]) -> None:
    scene = scene_of(purging)
    quarantine = scene.tree.root / ".regfs/runs" / scene.run / "quarantine"
    for call, left in killed(scene):
        state = _state(scene)
        purge(store_of(scene.tree))
        assert (_state(scene), quarantine.exists()) == ("purged", False), call.line
        assert scene.tree.files() == scene.kept, call.line
        # Before it has said so not a byte is gone, and from then on nobody is told otherwise.
        scene.reset(left)
        if state == "applied":
            restore(store_of(scene.tree), scene.run)
            assert scene.tree.files() == scene.whole, call.line
        else:
            with pytest.raises(Refused):
                restore(store_of(scene.tree), scene.run)
            assert scene.tree.files() == scene.kept, call.line
