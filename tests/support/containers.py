"""Containers that hold a registry and never run, in a storage of their own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.reference import run

_STORAGE = """\
[storage]
driver = "vfs"
graphroot = "{folder}/graph"
runroot = "{folder}/run"
"""
_ENGINE = """\
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{folder}/tmp"
"""


@contextmanager
def containers(*, docker: bool = False) -> Iterator[None]:
    """Let `podman`, and with `docker` that command too, know no container but new ones."""
    # It takes no runroot of more than 50 characters: no place for pytest's folders.
    folder = Path(tempfile.mkdtemp(prefix="containers-"))
    (folder / "storage.conf").write_text(_STORAGE.format(folder=folder))
    (folder / "containers.conf").write_text(_ENGINE.format(folder=folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERS_STORAGE_CONF", str(folder / "storage.conf"))
        patch.setenv("CONTAINERS_CONF", str(folder / "containers.conf"))
        if docker:
            (folder / "bin").mkdir()
            (folder / "bin/docker").symlink_to(str(shutil.which("podman")))
            patch.setenv("PATH", f"{folder}/bin", prepend=":")
        try:
            yield
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def container(name: str, archive: Path) -> None:
    """Make a container with what is in an archive."""
    run("podman", "import", "-q", archive, f"localhost/{name}")
    run("podman", "create", "--name", name, f"localhost/{name}", "/registry")
