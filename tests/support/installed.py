"""regfs as an image and as a single file, built as README says, from packages of the network.

Building takes minutes and needs Debian's and PyPI's packages, so only CI does it:
`REGFS_CI=1 pytest tests/installed`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import pytest

from tests.support.buildah import BUSYBOX
from tests.support.examples import PROJECT
from tests.support.reference import IN_CI, needs_programs

IMAGE: Final = "regfs/regfs"
_BASE: Final = "localhost/python"
_PACKAGES: Final = "base-files,dash,coreutils,findutils,python3-venv"
"""What is in the base: as little as builds an environment of Python. It has no /etc/passwd."""
_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CERTIFICATES: Final = "/etc/ssl/certs"
_TIMEOUT: Final = 1200
"""Seconds that building may take on a busy machine; it takes a minute on a quiet one."""

_Test = TypeVar("_Test", bound=Callable[..., object])


def needs_building(*programs: str) -> Callable[[_Test], _Test]:
    """Mark a test as one that builds regfs with these programs, as root."""
    skip = pytest.mark.skipif(
        not IN_CI, reason="takes minutes and packages of the network; REGFS_CI=1 runs it"
    )
    root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: chroot, mounts")
    return lambda test: needs_programs(*programs)(root(skip(test)))


def build_image(folder: Path) -> None:
    """Build IMAGE from the Dockerfile and a small Debian with Python, into podman's storage."""
    base = folder / "base.tar"
    _do("mmdebstrap", "--quiet", "--variant=extract", f"--include={_PACKAGES}", "trixie", base)
    _do("podman", "import", "--quiet", f"--change=ENV={_PATH}", base, _BASE)
    base.unlink()
    _do(
        "buildah", "build", "--quiet", "--isolation=chroot", "--network=host", "--pull-never",
        f"--build-arg=BASE={_BASE}", f"--volume={_CERTIFICATES}:{_CERTIFICATES}:ro",
        f"--tag={IMAGE}", PROJECT,
    )  # fmt: skip


def build_file(target: Path) -> None:
    """Build the single file."""
    _do(PROJECT / "binary/build", target)


def busybox_root(folder: Path) -> Path:
    """Make the root of a machine with busybox alone: no Python, no C library to link to."""
    for name in ("bin", "tmp", "usr/local/bin"):
        (folder / name).mkdir(parents=True)
    (folder / "tmp").chmod(0o1777)
    (folder / "bin/busybox").write_bytes(Path(BUSYBOX).read_bytes())
    (folder / "bin/busybox").chmod(0o755)
    for name in ("cat", "env", "sh", "sleep", "wget"):
        (folder / "bin" / name).symlink_to("busybox")
    return folder


def _do(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    if done.returncode != 0:
        pytest.fail(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stderr}")
