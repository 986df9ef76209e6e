"""Two images compared without regfs: all layers of both are unpacked, then diff says what differs.

python -m tests.benchmarks.comparing ROOT SCRATCH NAME:TAG NAME:TAG
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path


def unpack(v2: Path, image: str, folder: Path) -> Path:
    """Unpack the layers of an image, which has no whiteouts, into a folder."""

    def blob(digest: str) -> Path:
        encoded = digest.strip().partition(":")[2]
        return v2 / "blobs/sha256" / encoded[:2] / encoded / "data"

    name, _, tag = image.rpartition(":")
    link = v2 / "repositories" / name / "_manifests/tags" / tag / "current/link"
    manifest = json.loads(blob(link.read_text()).read_bytes())
    folder.mkdir()
    for layer in manifest["layers"]:
        subprocess.run(["tar", "-xzf", blob(layer["digest"]), "-C", folder], check=True)
    return folder


def main() -> int:
    """Print what diff says."""
    root, scratch, *images = sys.argv[1:]
    with tempfile.TemporaryDirectory(dir=scratch) as place:
        folders = [
            unpack(Path(root, "docker/registry/v2"), image, Path(place, str(number)))
            for number, image in enumerate(images)
        ]
        subprocess.run(["diff", "-rq", *folders], check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
