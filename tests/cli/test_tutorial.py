"""The tutorial from end to end: run a registry, push, extend, push, and look at the disk.

Everything is real: buildah builds, docker-registry stores, skopeo pulls, and regfs
tells from the files what they have made of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.buildah import BUSYBOX, Builder
from tests.support.reference import ReferenceRegistry, needs_programs, pull_all


def regfs(root: Path, *arguments: str) -> Any:
    command = [sys.executable, "-m", "regfs", "-r", str(root), *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def layers(root: Path, image: str) -> dict[str, int]:
    """Return the layers of an image, the base first, with their sizes."""
    (shown,) = regfs(root, "show", image)["images"]
    return {step["digest"]: step["size"] for step in shown["steps"] if not step["empty"]}


@needs_programs("docker-registry", "skopeo", "buildah", "busybox")
def test_the_tutorial(tmp_path: Path, registry_server: Callable[[Path], ReferenceRegistry]) -> None:
    root = tmp_path / "registry"
    root.mkdir()
    build = Builder(tmp_path / "storage")
    script = tmp_path / "epoch.sh"
    script.write_text("#!/bin/busybox sh\ndate +%s\n")
    build.extend("scratch", {BUSYBOX: BUSYBOX}, "my-busybox")
    build.extend("my-busybox", {script: "/epoch.sh"}, "my-busybox-extended")

    registry = registry_server(root)
    for name in ("my-busybox", "my-busybox-extended"):
        build("push", "-q", "--tls-verify=false", name, registry.image(f"{name}:latest"))

    # "Are layers re-used?"
    base = layers(root, "my-busybox:latest")
    extended = layers(root, "my-busybox-extended:latest")
    assert list(extended)[: len(base)] == list(base)
    assert len(extended) == len(base) + 1
    reuse = regfs(root, "reuse")
    assert reuse["saved"] == sum(base.values())

    # "Is it intact?", and what does it cost?
    assert regfs(root, "verify")["findings"] == []
    files = [path for path in root.rglob("*") if path.is_file()]
    assert regfs(root, "du")["disk"]["total"]["bytes"] == sum(p.stat().st_size for p in files)

    # The base is untagged and collected; what stands on it can still be pulled, by the registry.
    digest = regfs(root, "show", "my-busybox:latest")["digest"]
    registry.delete("my-busybox", "manifests", digest)
    regfs(root, "gc", "run", "--offline", "--yes", "--purge")
    pull_all(registry.image("my-busybox-extended:latest"), tmp_path / "pulled")
    # What is left to tell of are the empty folders that the registry and gc leave behind.
    assert {finding["code"] for finding in regfs(root, "verify")["findings"]} <= {
        "directory-empty",
        "repository-empty",
    }
    assert regfs(root, "gc", "plan", "--offline")["actions"] == []
