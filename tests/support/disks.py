"""Real disks for tests: mounted by root, small, filled to the last byte, and always unmounted.

    @needs_mounts
    def test_it(tmp_path):
        with small_disk("ext4", tmp_path) as disk:
            ..
            filled = fill(disk)
            ..                      nobody can write a byte here
            filled.give_back(4096)

Where mounting is not permitted these tests are skipped; in CI that fails the run, as with the
reference programs.
"""

from __future__ import annotations

import gc
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

_Test = TypeVar("_Test", bound=Callable[..., object] | type)

KINDS = ("tmpfs", "ext4")
SIZE = 12 << 20
_BLOCK = 4096
_CHUNKS = (1 << 20, 4096, 1024, 1)


def needs_mounts(test: _Test) -> _Test:
    """Mark a test or class as one that mounts disks."""
    skip = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
    marked: _Test = pytest.mark.reference(skip(test))
    return marked


def mount(*arguments: str | Path) -> None:
    """Mount, or skip the test where that is not allowed."""
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")


@contextmanager
def mounted(folder: Path, *arguments: str | Path) -> Iterator[Path]:
    """Mount something at a folder while the block runs."""
    folder.mkdir(parents=True, exist_ok=True)
    mount(*arguments, folder)
    try:
        yield folder
    finally:
        # What an error on its way has held open is let go of, or by the kernel when it is.
        gc.collect()
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def small_disk(kind: str, folder: Path, *options: str, size: int = SIZE) -> Iterator[Path]:
    """Mount an empty disk while the block runs; root has no reserve on it."""
    disk = folder / "disk"
    if kind == "tmpfs":
        with mounted(disk, "-t", "tmpfs", "-o", f"size={size}", "none"):
            yield disk
        return
    picture = folder / "disk.img"
    picture.touch()
    os.truncate(picture, size)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", *options, picture], check=True)
    with mounted(disk, "-o", "loop", picture):
        yield disk


class Filled:
    """A file that has taken everything that was free."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def give_back(self, size: int) -> None:
        """Make so many bytes free again: whole blocks, and hardly more."""
        size = -(-size // _BLOCK) * _BLOCK
        os.truncate(self.path, (self.path.stat().st_size - size) // _BLOCK * _BLOCK)
        os.sync()

    def empty(self) -> None:
        """Make everything free again."""
        os.truncate(self.path, 0)
        os.sync()


def fill(disk: Path) -> Filled:
    """Fill a disk until not one more byte can be written to it."""
    path = disk / "filled"
    with path.open("ab", buffering=0) as file:
        # The kernel may give space back when it writes what it has only set aside for.
        for chunk in (*_CHUNKS, *_CHUNKS, *_CHUNKS):
            try:
                while free(disk):
                    file.write(b"\xa5" * chunk)
            except OSError:
                # What is written later than asked for may turn out not to have fitted.
                os.fsync(file.fileno())
    assert free(disk) == 0
    return Filled(path)


def free(disk: Path) -> int:
    """Return how many bytes of a disk are free."""
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize
