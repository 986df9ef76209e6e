"""Containers that hold a registry, in a storage of their own; podman runs them where it is root.

No container has a network. `docker` is podman under that name, which the tests may run where
crun cannot set up control groups: it then sees no group but those of version 2.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.reference import run
from tests.support.stores import MEMORY

_STORAGE = """\
[storage]
driver = "vfs"
graphroot = "{folder}/graph"
runroot = "{folder}/run"
"""
_ENGINE = """\
[containers]
cgroups = "disabled"
netns = "none"
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{folder}/tmp"
"""
_UNIFIED = Path("/sys/fs/cgroup/cgroup.controllers")
_DOCKER = """\
#!/bin/sh
exec unshare --mount sh -c '
    umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec podman "$@"
' docker "$@"
"""


@contextmanager
def containers(*, docker: bool = False) -> Iterator[None]:
    """Let `podman`, and with `docker` that command too, know no container but new ones."""
    # It takes no runroot of more than 50 characters: no place for pytest's folders. Each container
    # is a copy of its image, which takes a minute of a busy disk.
    folder = Path(tempfile.mkdtemp(prefix="containers-", dir=MEMORY))
    (folder / "storage.conf").write_text(_STORAGE.format(folder=folder))
    (folder / "containers.conf").write_text(_ENGINE.format(folder=folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERS_STORAGE_CONF", str(folder / "storage.conf"))
        patch.setenv("CONTAINERS_CONF", str(folder / "containers.conf"))
        if docker:
            _install_docker(folder / "bin")
            patch.setenv("PATH", f"{folder}/bin", prepend=":")
        try:
            yield
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _install_docker(folder: Path) -> None:
    folder.mkdir()
    docker = folder / "docker"
    if _UNIFIED.exists() or os.geteuid() != 0:
        docker.symlink_to(str(shutil.which("podman")))
    else:
        docker.write_text(_DOCKER)
        docker.chmod(0o755)


def container(name: str, archive: Path) -> None:
    """Make a container with what is in an archive."""
    run("podman", "import", "-q", archive, f"localhost/{name}")
    run("podman", "create", "--name", name, f"localhost/{name}", "/registry")
