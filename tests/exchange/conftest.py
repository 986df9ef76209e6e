"""What tests of copies can ask for."""

from __future__ import annotations

import pytest

from tests.support.builder import TreeBuilder, image
from tests.support.copies import MULTI, ONE, SIGNED, TWO


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    tree.push("app", "multi", MULTI)
    with tree.at_age(300_000):
        tree.push("app", "v2", ONE)
    tree.push("app", "v2", TWO)
    tree.push("app", None, SIGNED)
    tree.push("team/other", "v1", image(["base", "other"]))
    tree.blob(b"garbage")
    return tree
