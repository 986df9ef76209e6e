"""Lists a tar as it passes, and hashes every blob in it: as regfs does, and by `tarfile`.

    python -m tests.benchmarks.archives regfs|tarfile TAR

Prints how many blobs were hashed, and the seconds that took without imports.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tarfile
import time
from pathlib import Path

from regfs.content.hashing import algorithm_of
from regfs.stores.archive.opening import streamed_file
from regfs.stores.archive.streamed import StreamOptions


def by_regfs(path: str) -> int:
    """Let the archive pass, as one on a pipe does."""
    source = streamed_file(path, StreamOptions(algorithm_of))
    rows = source.rows()
    found = (source.digest(row, "sha256") for row in range(len(rows.keys)) if not rows.kinds[row])
    return sum(1 for digest in found if digest)


def by_tarfile(path: str) -> int:
    """Read it as a stream, with Python's own means."""
    count = 0
    with tarfile.open(path, mode="r|") as archive:
        for member in archive:
            vars(archive)["members"] = []  # it would keep them all
            if member.isreg() and algorithm_of(member.name.encode()):
                file = archive.extractfile(member)
                assert file is not None
                hasher = hashlib.sha256()
                while piece := file.read(1 << 18):
                    hasher.update(piece)
                count += 1
    return count


def main(side: str, path: str) -> int:
    """Measure one of the two."""
    begun = time.perf_counter()
    count = {"regfs": by_regfs, "tarfile": by_tarfile}[side](path)
    seconds = time.perf_counter() - begun
    print(json.dumps({"seconds": seconds, "blobs": count, "bytes": Path(path).stat().st_size}))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
