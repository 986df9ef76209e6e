"""What a directory store says of its space, and takes of it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from regfs.errors import PathDenied, StoreError, StoreFull
from regfs.stores.local import space
from regfs.stores.local.store import LocalStore
from tests.support.stores import failing_with


def test_what_is_claimed_has_its_space_and_can_be_made_longer_and_shorter(
    local: LocalStore, root: Path
) -> None:
    place = root / "state/deep/reserve"
    for size in (100_000, 300_000, 10_000):
        local.claim("state/deep/reserve", size)
        status = place.stat()
        assert status.st_size == size
        assert size <= status.st_blocks * 512 < size + 70_000


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_what_cannot_be_claimed_leaves_nothing_behind(
    local: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", failing_with(number))
    (root / "state").mkdir()
    with pytest.raises(StoreFull, match="state/deep/reserve"):
        local.claim("state/deep/reserve", 100)
    assert list((root / "state").iterdir()) == []


def test_a_disk_of_which_nothing_is_claimed_is_asked_what_is_free(
    local: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", failing_with(errno.EOPNOTSUPP))
    local.claim("reserve", 100)
    assert (root / "reserve").stat().st_size == 100
    with pytest.raises(StoreFull):
        local.claim("reserve", 1 << 60)


def test_a_disk_that_fails_is_not_a_full_one(
    local: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", failing_with(errno.EIO))
    with pytest.raises(StoreError) as raised:
        local.claim("reserve", 100)
    assert not isinstance(raised.value, StoreFull)


def test_room_is_what_the_system_says(
    local: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = os.statvfs(root)
    room = local.room()
    assert room.bytes == pytest.approx(status.f_bavail * status.f_frsize, rel=0.5)
    assert room.folder in (0, status.f_frsize)
    monkeypatch.setattr(os, "statvfs", lambda path: _without_files(status))
    assert local.room().files == -1


def _without_files(status: os.statvfs_result) -> os.statvfs_result:
    values = list(status)
    values[5:8] = [0, 0, 0]  # btrfs has no number of files that it can hold
    return os.statvfs_result(values)


def test_a_mount_whose_name_has_a_space_is_known(
    local: LocalStore, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = root / "docker/registry/v2/blobs/a b\\c"
    folder.mkdir(parents=True)
    table = tmp_path / "mountinfo"
    shown = str(folder).replace("\\", "\\134").replace(" ", "\\040")
    table.write_text(
        f"22 1 0:21 / / rw - ext4 /dev/a rw\n30 22 0:26 / {shown} rw - tmpfs none rw\n"
    )
    monkeypatch.setattr(space, "_MOUNTS", str(table))
    assert local.apart(".regfs", []) == ["docker/registry/v2/blobs/a b\\c"]


def test_what_is_not_there_yet_is_asked_of_what_it_would_be_made_in(
    local: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.require_writable([".regfs/runs/x"])
    monkeypatch.setattr(os, "access", lambda path, *mode, **options: path != str(root))
    with pytest.raises(PathDenied, match="/: permission denied"):
        local.require_writable([".regfs/runs/x"])
    assert list(root.iterdir()) == [root / "docker"]
