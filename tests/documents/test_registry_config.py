"""The registry's configuration counts if it names the tree; nothing in its place is waited for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from regfs.documents.registry_config import RegistryConfig, find_config

DEBIAN = """version: 0.1
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: {root}
  delete:
    enabled: true
http:
  addr: :5000
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("place", ["data/config.yml", "config.yml"])
@pytest.mark.parametrize("quote", ["", '"', "'"])
def test_it_is_found_beside_the_tree(root: Path, place: str, quote: str) -> None:
    file = root.parent / place
    file.write_text(DEBIAN.format(root=f"{quote}{root}{quote}"))
    assert find_config(str(root), ()) == RegistryConfig(str(file), True, True)


def test_it_is_found_where_a_distribution_puts_it(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "elsewhere.yml"
    file.write_text(f"storage:\n  filesystem:\n    rootdirectory: {root}  # the disk\n")
    assert find_config(str(root), (str(file),)) == RegistryConfig(str(file), False, None)


def test_that_of_another_tree_does_not_count(root: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text(DEBIAN.format(root="/var/lib/registry"))
    assert find_config(str(root), ()) is None


@pytest.mark.parametrize("what", ["fifo", "folder", "loop", "noise"])
def test_anything_else_in_its_place_is_none(root: Path, what: str) -> None:
    place = root / "config.yml"
    if what == "fifo":
        os.mkfifo(place)
    elif what == "folder":
        place.mkdir()
    elif what == "loop":
        place.symlink_to(place)
    elif what == "noise":
        place.write_bytes(os.urandom(4096))
    assert find_config(str(root), ()) is None
