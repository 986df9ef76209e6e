"""Opening the tree in a bucket: of S3 and Azure to change it as well, of Google to read it."""

from __future__ import annotations

from regfs.errors import NotARegistry
from regfs.progress import SILENT, Progress
from regfs.stores import LAYOUT_MARK, stat_or_none
from regfs.stores.bucket.changing.writing import ChangingBucket
from regfs.stores.bucket.place import CHANGED, Bucket
from regfs.stores.bucket.store import BucketStore


def open_bucket(
    bucket: Bucket, progress: Progress = SILENT, *, empty: bool = False, layouts: bool = False
) -> BucketStore:
    """Open the tree in a bucket; with `empty`, there need be none yet.

    With `layouts`, an OCI layout will do in its place.

    Raises:
        NotARegistry: there is no tree in it.
        Doubt: what reads buckets is not installed.
        StoreError: it cannot be reached or read.
    """
    kind = ChangingBucket if bucket.scheme in CHANGED else BucketStore
    store = kind(bucket, progress)
    try:
        store.require_tree()
    except NotARegistry:
        if layouts and stat_or_none(store, LAYOUT_MARK) is not None:
            return BucketStore(bucket, progress)  # which changes nothing
        if not empty:
            raise
    return store
