"""Web servers that play a registry."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.web import Server


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()


@pytest.fixture
def other() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()
