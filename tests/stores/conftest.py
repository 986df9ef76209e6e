"""What tests of stores can ask for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regfs.stores import WritableStore, open_store
from tests.support.stores import SECRET


def local_factory(folder: Path) -> WritableStore:
    root = folder / "registry"
    root.mkdir()
    return open_store(str(root), empty=True)


FACTORIES: list[Any] = [pytest.param(local_factory, id="local")]
"""One for each back end: makes an empty, writable store; the contract runs on all of them."""


@pytest.fixture(params=FACTORIES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> WritableStore:
    factory: Callable[[Path], WritableStore] = request.param
    return factory(tmp_path)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "data").write_bytes(SECRET)
    return folder
