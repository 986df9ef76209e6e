"""Collecting in the S3 of this process: small trees, their state, and crashes at every change.

with litter_bucket(versioned=True) as one:
    run = one.apply()
    assert one.state() == one.before
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from regfs.gc.collect import purge, settle
from regfs.gc.plan import Plan, plan
from regfs.gc.policy import Policy
from regfs.gc.restoring import restore
from regfs.gc.sweep import Applied, apply
from regfs.graph import build_graph
from regfs.runs import Purged, Restored
from regfs.stores import WritableStore, open_store
from regfs.stores.bucket.place import of_url
from regfs.tree.registry import Registry
from regfs.tree.scan import scan
from tests.support.buckets import NAME, bucket_of
from tests.support.builder import TreeBuilder, image
from tests.support.s3.bucket import FakeBucket, Stored, etag_of

PREFIX = "pfx/"
ROOT = f"s3://{NAME}/pfx"
UNTAGGED = Policy(delete_untagged=True, min_age=0)
KINDS = {
    "versions": {"versioned": True},
    "versions, no If-None-Match": {"versioned": True, "absent": False},
    "copies": {"versioned": False},
    "copies, no If-Match": {"versioned": False, "conditional": False},
}
"""Kinds of buckets, as arguments of `litter_bucket`."""
MINUTES = 600.0
"""Seconds after which no lease of a process that was killed lasts any more."""


@dataclass
class BucketTree:
    """A tree in a bucket."""

    bucket: FakeBucket
    before: dict[str, str] = field(default_factory=dict)
    ready: WritableStore | None = None
    """A store that has looked at the bucket already, to be used once more."""

    def state(self) -> dict[str, str]:
        """Return the ETag, of the content, of every object of the registry by its path."""
        start = f"{PREFIX}docker/"
        return {
            key: etag_of(Stored(one.data, 0.0))
            for key, one in self.bucket.objects.items()
            if key.startswith(start)
        }

    def own(self) -> list[str]:
        """Return the keys in quarantine."""
        return sorted(key for key in self.bucket.objects if "/quarantine/" in key)

    def hidden(self) -> int:
        """Return how many versions lie below a marker."""
        return sum(
            not one.marker
            for key, older in self.bucket.older.items()
            for one in older
            if key.startswith(f"{PREFIX}docker/")
        )

    def store(self) -> WritableStore:
        """Open it, as another process does."""
        if self.ready is not None:
            return self.ready
        return open_store(of_url(ROOT, os.environ))

    def plan(self, policy: Policy = UNTAGGED) -> Plan:
        """Plan a collection."""
        registry = Registry(self.store())
        inventory = scan(registry.store)
        return plan(build_graph(inventory, registry), policy, time.time())

    def apply(self, planned: Plan | None = None) -> Applied:
        """Apply a plan, and settle."""
        registry = Registry(self.store())
        done = apply(planned or self.plan(), registry)
        settle(registry)
        return done

    def restore(self, run: str) -> Restored:
        """Restore a run."""
        return restore(self.store(), run)

    def purge(self) -> Purged:
        """Purge all runs."""
        return purge(Registry(self.store()), offline=True)

    def saved(self) -> tuple[dict[str, Stored], dict[str, list[Stored]]]:
        """Return what the bucket holds."""
        older = {key: list(some) for key, some in self.bucket.older.items()}
        return dict(self.bucket.objects), older

    def load(self, saved: tuple[dict[str, Stored], dict[str, list[Stored]]]) -> None:
        """Let the bucket hold what it held."""
        self.bucket.objects, older = dict(saved[0]), saved[1]
        self.bucket.older = {key: list(some) for key, some in older.items()}

    def prepare(self) -> None:
        """Find out now what can be done in the bucket, and not when something is done."""
        self.ready = self.store()
        self.ready.require_writable(["docker"])

    def revive(self) -> None:
        """Answer again, when the leases of whoever was killed have ended."""
        self.ready = None
        self.bucket.stop_after(None)
        self.bucket.clock += MINUTES


@lru_cache(maxsize=1)
def _litter() -> dict[str, Stored]:
    """Return the objects of a tree with one of every thing that a collection deletes."""
    with TemporaryDirectory() as folder:
        tree = TreeBuilder(Path(folder) / "registry")
        tree.push("app", "v1", image(["one"]))
        tree.push("app", "v1", image(["two"]))
        tree.blob(b"linked by nothing")
        tree.upload("app", 100, started_at="2020-01-01T00:00:00Z")
        tree.age(30 * 86400)
        return {
            f"{PREFIX}{path.relative_to(tree.root).as_posix()}": Stored(
                path.read_bytes(), float(int(path.stat().st_mtime))
            )
            for path in sorted(tree.root.rglob("*"))
            if path.is_file()
        }


@contextmanager
def litter_bucket(
    *, versioned: bool, conditional: bool = True, absent: bool = True
) -> Iterator[BucketTree]:
    """Serve a small tree with one of every thing that a collection deletes."""
    with bucket_of() as bucket:
        bucket.objects |= _litter()
        bucket.conditional_delete, bucket.conditional_put = conditional, absent
        if versioned:
            bucket.versioning = "Enabled"
        found = BucketTree(bucket)
        found.before = found.state()
        yield found
