"""A registry of many kinds of images, and the address of its page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.builder import TreeBuilder
from tests.support.pages import fill
from tests.support.server import hosted


@pytest.fixture
def registry(tree: TreeBuilder) -> TreeBuilder:
    return fill(tree)


@pytest.fixture
def url(registry: TreeBuilder) -> Iterator[str]:
    with hosted(registry.root) as url:
        yield url
