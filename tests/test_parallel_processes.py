"""Two processes at one row of work: the same answers in the same order, whatever befalls one."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from regfs import parallel
from regfs.findings import Finding
from regfs.graph import Graph, build_graph, read
from regfs.parallel import can_fork, map_ahead, map_in_two_processes
from regfs.stores import open_store
from regfs.tree import scan as scan_module
from regfs.tree.inventory import Inventory
from regfs.tree.scan import scan
from tests.support.builder import TreeBuilder, image, index
from tests.support.registries import registry_of

PROJECT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture(autouse=True)
def may_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have threads; what a fork does here takes none of their locks."""
    if not hasattr(os, "fork"):
        pytest.skip("there is no fork here")
    monkeypatch.setattr(parallel, "can_fork", lambda: True)


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The processes that were forked."""
    started: list[int] = []
    fork = os.fork

    def noted() -> int:
        started.append(fork())
        return started[-1]

    monkeypatch.setattr(os, "fork", noted)
    return started


def in_step(work: Callable[[int], Any]) -> Callable[[Iterator[int]], Iterator[Any]]:
    """Do items slowly, one after the other."""

    def run(items: Iterator[int]) -> Iterator[Any]:
        for item in items:
            time.sleep(0.002)
            yield work(item)

    return run


class Meeting:
    """Both processes do some items: this one goes on when the other has begun."""

    def __init__(self) -> None:
        self._begun = mmap.mmap(-1, 1)
        self._here = os.getpid()

    def work(self, work: Callable[[int], Any]) -> Callable[[Iterator[int]], Iterator[Any]]:
        """Return what does items in either process."""

        def run(items: Iterator[int]) -> Iterator[Any]:
            until = time.monotonic() + 60
            for item in items:
                if os.getpid() != self._here:
                    self._begun[0] = 1
                while not self._begun[0] and time.monotonic() < until:
                    time.sleep(0.002)
                yield work(item)

        return run


def who(item: int) -> tuple[int, int]:
    return item, os.getpid()


def test_both_do_a_part_and_the_order_is_kept() -> None:
    answers = list(map_in_two_processes(Meeting().work(who), 60))
    assert [item for item, _ in answers] == list(range(60))
    doers = [process for _, process in answers]
    assert len(set(doers)) == 2
    assert doers[0] == os.getpid() != doers[-1]


def test_an_item_that_both_take_costs_none_of_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process has seen that it is free, and says that it takes it when this one ends."""
    here, ended = os.getpid(), mmap.mmap(-1, 1)
    back: property = vars(parallel._Row)["back"]

    def take(row: parallel._Row, value: int) -> None:
        until = time.monotonic() + 60
        while os.getpid() != here and value == 1 and time.monotonic() < until:
            time.sleep(0.1)
            if ended[0]:
                break
        assert back.fset is not None
        back.fset(row, value)

    def work(items: Iterator[int]) -> Iterator[tuple[int, int]]:
        yield from meeting(items)
        ended[0] = 1

    meeting = Meeting().work(who)
    monkeypatch.setattr(parallel._Row, "back", property(back.fget, take))
    answers = list(map_in_two_processes(work, 3))
    assert [item for item, _ in answers] == [0, 1, 2]
    assert [process == here for _, process in answers] == [True, True, False]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_short_rows(count: int) -> None:
    assert list(map_in_two_processes(lambda items: iter(list(items)), count)) == list(range(count))


def test_the_other_process_may_answer_in_its_own_way() -> None:
    meeting = Meeting()
    there = meeting.work(lambda item: -item)
    answers = list(map_in_two_processes(meeting.work(who), 40, there=there))
    assert [abs(one) if isinstance(one, int) else one[0] for one in answers] == list(range(40))
    assert any(isinstance(one, int) for one in answers)


def test_every_item_is_told_of_once() -> None:
    told: list[int] = []
    answers = map_in_two_processes(in_step(who), 50, advance=lambda items: told.extend(items))
    assert len(list(answers)) == 50
    assert sorted(told) == list(range(50))


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fail() -> None:
    raise ValueError("nothing of this is to be seen")


@pytest.mark.parametrize("end", [_die, _fail])
@pytest.mark.parametrize("after", [0, 5])
def test_what_the_other_process_does_not_tell_is_done_here(
    end: Callable[[], None], after: int, capfd: pytest.CaptureFixture[str]
) -> None:
    here = os.getpid()

    def there(items: Iterator[int]) -> Iterator[tuple[int, int]]:
        for done, item in enumerate(items):
            if done == after:
                end()
            yield item, 0

    answers = list(map_in_two_processes(in_step(who), 30, there=there))
    assert [item for item, _ in answers] == list(range(30))
    # What it has told before it ends counts: the last items, as far as these were sent.
    told = [item for item, process in answers if process != here]
    assert told == list(range(30 - len(told), 30))
    assert len(told) <= after
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("answers", [[object()], [1, 2, 3] * 40, []])
def test_an_answer_that_cannot_be_right_is_none(answers: list[object]) -> None:
    here = os.getpid()

    def there(items: Iterator[int]) -> Iterator[object]:
        next(items)
        return iter(answers)

    assert list(map_in_two_processes(in_step(who), 20, there=there)) == [
        (n, here) for n in range(20)
    ]


def test_a_failure_here_ends_the_other_process_too(forked: list[int]) -> None:
    def here(items: Iterator[int]) -> Iterator[int]:
        for item in items:
            yield item
            raise KeyboardInterrupt

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(map_in_two_processes(here, 100_000, there=in_step(who)))
    (other,) = forked  # another test may have left a process of its own to this worker
    with pytest.raises(ChildProcessError):
        os.waitpid(other, os.WNOHANG)
    assert time.monotonic() - begun < 60


def test_a_failure_here_does_not_wait_for_an_answer_that_nobody_reads() -> None:
    """More than a pipe holds is on its way when this process gives up."""
    script = """
import time
from regfs.parallel import map_in_two_processes

def here(items):
    yield next(items, 0)  # the other process may have taken all
    time.sleep(0.5)
    raise KeyboardInterrupt

def there(items):
    yield from ("x" * 100_000 for item in items)

list(map_in_two_processes(here, 50, there=there))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, timeout=60, check=False
    )
    assert b"KeyboardInterrupt" in done.stderr


def test_a_failure_that_stays_is_raised_here() -> None:
    def work(item: int) -> int:
        if item == 25:
            raise LookupError(item)
        return item

    with pytest.raises(LookupError):
        list(map_in_two_processes(in_step(work), 30))


def test_without_a_fork_all_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [(n, os.getpid()) for n in range(20)]
    assert list(map_in_two_processes(in_step(who), 20, fork=False)) == expected
    monkeypatch.setattr(parallel, "can_fork", lambda: False)
    assert list(map_in_two_processes(in_step(who), 20)) == expected


@pytest.mark.parametrize("threads", [1, 2])
def test_no_fork_beside_other_threads(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regfs.parallel.os.listdir", lambda path: ["1"] * threads)
    monkeypatch.setattr(
        "regfs.parallel.os.sched_getaffinity", lambda process: {0, 1}, raising=False
    )
    monkeypatch.setattr("regfs.parallel.sys.platform", "linux")
    assert can_fork() is (threads == 1)


def test_no_fork_on_one_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regfs.parallel.os.sched_getaffinity", lambda process: {3}, raising=False)
    assert not can_fork()


# -- one ahead -----------------------------------------------------------------------------


def test_items_are_prepared_by_another_process_in_order() -> None:
    answers = list(map_ahead(who, 20))
    assert [item for item, _ in answers] == list(range(20))
    (other,) = {process for _, process in answers}
    assert other != os.getpid()


@pytest.mark.parametrize("count", [0, 1])
def test_a_row_of_one_is_prepared_here(count: int) -> None:
    assert list(map_ahead(who, count)) == [(n, os.getpid()) for n in range(count)]


def test_without_a_fork_everything_is_prepared_here(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [(n, os.getpid()) for n in range(5)]
    assert list(map_ahead(who, 5, fork=False)) == expected
    monkeypatch.setattr(parallel, "can_fork", lambda: False)
    assert list(map_ahead(who, 5)) == expected


@pytest.mark.parametrize("end", [_die, _fail, lambda: object()])
@pytest.mark.parametrize("after", [0, 3])
def test_what_the_other_process_does_not_prepare_is_done_here(
    end: Callable[[], object], after: int, capfd: pytest.CaptureFixture[str]
) -> None:
    def there(item: int) -> object:
        return end() if item == after else (item, 0)

    expected = [(n, 0 if n < after else os.getpid()) for n in range(6)]
    assert list(map_ahead(who, 6, there=there)) == expected
    assert capfd.readouterr() == ("", "")


def test_an_answer_that_was_cut_off_is_not_used(forked: list[int]) -> None:
    """It is longer than a pipe holds, and the other process is killed while it sends."""
    answers = map_ahead(who, 4, there=lambda item: "x" * (10 if item < 2 else 10_000_000))
    assert [str(next(answers)) for _ in range(2)] == ["x" * 10] * 2
    os.kill(forked[0], signal.SIGKILL)
    assert list(answers) == [(2, os.getpid()), (3, os.getpid())]


def test_the_other_process_ends_with_a_parent_that_is_killed() -> None:
    """It would keep the lock of its parent: here it keeps the pipe that this test reads."""
    script = """
import os, signal, time
from regfs import parallel
parallel.can_fork = lambda: True

def there(item):
    while True:
        time.sleep(0.01)

answers = parallel.map_ahead(lambda item: item, 2, there=there)
signal.signal(signal.SIGALRM, lambda *signalled: os.kill(os.getpid(), signal.SIGKILL))
signal.setitimer(signal.ITIMER_REAL, 0.3)
list(answers)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL


def test_who_stops_early_leaves_no_process(forked: list[int]) -> None:
    answers = map_ahead(who, 1000, there=lambda item: "x" * 100_000)
    next(answers)
    answers.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(forked[0], os.WNOHANG)


# -- a tree --------------------------------------------------------------------------------


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second process for the smallest tree."""
    monkeypatch.setattr(scan_module, "MANY", 0)
    monkeypatch.setattr(scan_module, "_SAMPLE", 1)
    monkeypatch.setattr(read, "MANY", 0)


def seen(tree: TreeBuilder, **options: Any) -> tuple[Inventory, Graph]:
    store = open_store(str(tree.root))
    inventory = scan(store, clock=lambda: 0.0, **options)
    return inventory, build_graph(inventory, registry_of(tree))


def told(findings: Iterable[Finding]) -> list[str]:
    return sorted(map(repr, findings))


def columns(inventory: Inventory) -> dict[str, Any]:
    """All that an inventory holds, in the order in which it holds it."""

    def table(of: Any) -> list[Any]:
        numbers = [of.sizes, of.mtimes, of.allocated]
        # As bytes: what nobody asked about is NaN, which equals nothing.
        return [list(of), of.numbers, *(one.tobytes() for one in numbers)]

    return {
        "blobs": table(inventory.blobs),
        "repositories": [
            (
                name,
                list(one.tags.items()),
                table(one.revisions),
                one.links,
                table(one.layers),
                one.uploads,
                (one.parts, one.has_tags_folder, one.has_history),
            )
            for name, one in inventory.repositories.items()
        ],
        "foreign": sorted(inventory.foreign),
        "vacant": sorted(inventory.vacant),
        "findings": told(inventory.findings),
    }


def fill(tree: TreeBuilder) -> None:
    """Several repositories, some of them strange in one way each."""
    for number in range(6):
        name = f"app/{number}"
        one = image([f"{number}", "base"], {"author": f"{number}"})
        tree.push(name, "v1", one)
        tree.push(name, "v1", image([f"{number}", "base"]))
        tree.push(name, "all", index(one, image(["base", f"arm{number}"])))
        tree.upload(name)
    tree.push("none", None, image(["base"]))
    based = {"org.opencontainers.image.base.name": "none"}
    tree.push("based", "v1", image(["base", "own"], annotations=based))
    tree.break_("manifest-flipped", "app/1", "v1")
    tree.break_("manifest-missing", "app/3", "v1")
    (tree.v2 / "repositories/app/4/_manifests/stray").write_text("x")
    link = tree.v2 / "repositories/app/5/_manifests/tags/v1/current/link"
    link.write_text("nothing")


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("history", [False, True])
def test_two_processes_see_what_one_sees(
    tree: TreeBuilder, at_once: None, monkeypatch: pytest.MonkeyPatch, lean: bool, history: bool
) -> None:
    fill(tree)
    forked: list[int] = []
    fork = os.fork

    def counted() -> int:
        forked.append(1)
        return fork()

    monkeypatch.setattr("regfs.parallel.os.fork", counted)
    here, graph = seen(tree, lean=lean, history=history)
    assert len(forked) >= 2
    monkeypatch.setattr(parallel, "can_fork", lambda: False)
    alone, expected = seen(tree, lean=lean, history=history)
    assert columns(here) == columns(alone)
    assert dict(graph.manifests) == dict(expected.manifests)
    assert any(info.names_base for info in graph.manifests.values())
    assert all(list(graph.leaves(one)) == list(expected.leaves(one)) for one in expected.manifests)
    assert graph.successors == expected.successors
    assert told(graph.findings) == told(expected.findings)
    assert {name: told(why) for name, why in graph.frozen.items()} == {
        name: told(why) for name, why in expected.frozen.items()
    }
    assert graph.frozen
