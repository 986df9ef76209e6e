"""An OCI image layout (a folder, or a tar of one) as a registry's tree to read.

names      what an image of a layout is called in a registry
index      index.json: which images there are
content    what they need, repository by repository
source     all of it as a store
"""

from __future__ import annotations

from typing import Final

from regfs.digest import Digest

INDEX: Final = "index.json"
BLOBS: Final = "blobs"


def blob_place(digest: Digest) -> str:
    """Return where a blob lies in a layout."""
    return f"{BLOBS}/{digest.algorithm}/{digest.encoded}"
