"""buildah and podman with a storage of their own: no daemon, no mounts, no containers run."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Self

from tests.support.reference import run

BUSYBOX = "/bin/busybox"


class Builder:
    """buildah."""

    def __init__(self, folder: Path) -> None:
        places = {"root": folder / "root", "runroot": folder / "run"}
        self._options = [f"--{name}={place}" for name, place in places.items()]
        self._options.append("--storage-driver=vfs")

    def __call__(self, *command: str | Path) -> str:
        return run("buildah", *self._options, *command).stdout.strip()

    def extend(self, base: str, files: dict[Path | str, str], name: str) -> None:
        """Commit `base` with files copied into it, as one more layer."""
        container = self("from", "--pull-never", base)
        for source, target in files.items():
            self("copy", container, source, target)
        self("commit", "-q", "--format=docker", container, name)
        self("rm", container)


class Podman:
    """podman, where there may be no systemd and no user session; its files go with the block."""

    def __enter__(self) -> Self:
        # It takes no --runroot of more than 50 characters: no place for pytest's folders.
        self._folder = Path(tempfile.mkdtemp(prefix="podman-"))
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder)

    def __call__(self, *command: str | Path) -> str:
        places = {"root": "root", "runroot": "run", "tmpdir": "tmp"}
        options = [f"--{name}={self._folder / place}" for name, place in places.items()]
        here = ("--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=file")
        return run("podman", *options, *here, *command).stdout.strip()

    def build(self, base: str, files: dict[str, bytes], name: str) -> None:
        """Make an image of `base` with files copied into it."""
        context = self._folder / "context"
        context.mkdir(exist_ok=True)
        lines = [f"FROM {base}"]
        for number, (target, data) in enumerate(files.items()):
            (context / str(number)).write_bytes(data)
            lines.append(f"COPY {number} {target}")
        (context / "Containerfile").write_text("\n".join(lines) + "\n")
        self("build", "--quiet", "--pull-never", "--tag", name, context)
