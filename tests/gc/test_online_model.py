"""The protocol of `regfs.gc.collect` as a model: in whatever order things happen, none is lost.

Pushers, mounters, re-taggers and deleters send requests whose steps are those of the
registry (`tests.support.docker_registry`); the collector is the real one, on a real disk,
let through one operation at a time, and may be killed at any; the clock is set forward and
back. What the registry has acknowledged must be whole when the last run has settled, and
nothing else left.

The one thing the model grants is what the protocol asks for: a request that was under way
when things were moved has come to its end when the wait is over.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

import regfs.graph.read
import regfs.tree.scan
from tests.support.online_model import (
    Lesser,
    Online,
    assert_finds_a_loss,
    takes_a_while,
    without_the_second_mark,
    without_the_wait,
)
from tests.support.registries import fewer


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """A store that stands still looks like a cold disk, which many threads would ask at once."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (regfs.graph.read, regfs.tree.scan):
            patch.setattr(
                module, "adaptive_map", lambda function, items, is_slow: map(function, items)
            )
        yield


Online.TestCase.settings = settings(fewer(2, least=15), stateful_step_count=40)


TestOnline = Online.TestCase


# -- what the model would say of less -----------------------------------------------------


class Forgetful(Lesser):
    collect = staticmethod(without_the_second_mark)


class Hasty(Lesser):
    collect = staticmethod(without_the_wait)


@takes_a_while
@pytest.mark.parametrize("machine", [Forgetful, Hasty])
def test_the_model_finds_by_itself_what_is_lost_by_less(machine: type[Online]) -> None:
    assert_finds_a_loss(machine)
