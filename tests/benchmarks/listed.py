"""Lists and scans a bucket of ten million keys that is nowhere.

    python -m tests.benchmarks.listed [--keys 1000000] [--repositories 1000] [--scan whole]

Pages of 1000 keys come as from sixteen listings at once, with the ETags that S3 would tell. For
ten blobs there are ten layer links, two revisions, six tags and seven entries of their indexes: 35
keys. Blobs were put in parts, so their ETags are no MD5. By default the scan is the lean one that
a plan makes, which asks about files later; of a whole one all columns are filled in.

Printed as JSON: what was found, and after each step the seconds of processor time it took and the
peak memory of the process so far, in bytes. The exit code is 1 when not all was found.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice, zip_longest

from regfs.stores.bucket.listing.source import BucketSource
from regfs.stores.bucket.listing.uploads import UploadsUnderWay
from regfs.stores.bucket.place import of_url
from regfs.stores.bucket.requests.client import Client, Object
from regfs.stores.flat.rows import Rows
from regfs.stores.flat.store import FlatStore
from regfs.tree.scan import scan
from tests.benchmarks.steps import Steps

V2 = "docker/registry/v2"
TEN = 35
"""Keys for ten blobs."""
PAGE = 1000
AT_ONCE = 16
"""Listings at once."""
WRITTEN_AT = 1.7e9


@dataclass(frozen=True, slots=True)
class Shape:
    """How much there is."""

    keys: int
    repositories: int

    @property
    def tens(self) -> int:
        """Groups of ten blobs in each repository."""
        return self.keys // (TEN * self.repositories)

    @property
    def blobs(self) -> int:
        """Blobs of all repositories."""
        return 10 * self.tens * self.repositories

    def listings(self) -> Iterator[Iterator[Object]]:
        """Yield what each listing tells: of a folder of blobs, of a repository."""
        yield from map(self.blobs_in, range(256))
        yield from map(self.repository, range(self.repositories))

    def blobs_in(self, first: int) -> Iterator[Object]:
        """Yield the blobs whose digests begin with a byte."""
        for encoded in sorted(map(encoded_of, range(first, self.blobs, 256))):
            key = f"{V2}/blobs/sha256/{encoded[:2]}/{encoded}/data"
            yield Object(key, 4096, WRITTEN_AT, f'"{encoded[:32]}-1"')

    def repository(self, number: int) -> Iterator[Object]:
        """Yield the links of a repository."""
        top = f"{V2}/repositories/team-{number // 100:03}/app-{number:05}"
        first = 10 * self.tens * number
        images = range(first, first + 10 * self.tens, 5)
        for encoded in sorted(map(encoded_of, range(first, first + 10 * self.tens))):
            yield link(f"{top}/_layers/sha256/{encoded}", encoded)
        for encoded in sorted(map(encoded_of, images)):
            yield link(f"{top}/_manifests/revisions/sha256/{encoded}", encoded)
        for tag in range(6 * self.tens):
            name = f"{top}/_manifests/tags/v{tag:06}"
            now = encoded_of(images[tag % len(images)])
            before = [encoded_of(images[(tag + 1) % len(images)])] if not tag % 6 else []
            yield link(f"{name}/current", now)
            for encoded in sorted({now, *before}):
                yield link(f"{name}/index/sha256/{encoded}", encoded)


def encoded_of(number: int) -> str:
    """Return the hexadecimal digits of a digest, which begin with the lowest byte of its number."""
    rest = hashlib.blake2b(number.to_bytes(8, "big"), digest_size=31).hexdigest()
    return f"{number % 256:02x}{rest}"


def link(folder: str, encoded: str) -> Object:
    """Return the link in a folder, to a digest."""
    etag = hashlib.md5(f"sha256:{encoded}".encode(), usedforsecurity=False).hexdigest()
    return Object(f"{folder}/link", 71, WRITTEN_AT, f'"{etag}"')


def pages_of(listing: Iterator[Object]) -> Iterator[list[Object]]:
    """Yield what a listing tells, as answers hold it."""
    while page := list(islice(listing, PAGE)):
        yield page


class MadeUp(BucketSource):
    """The source of a bucket that is nowhere."""

    def __init__(self, shape: Shape) -> None:
        """Nothing is asked of anybody."""
        bucket = of_url("s3://nowhere")
        super().__init__(Client(bucket), UploadsUnderWay(bucket))
        self._shape = shape

    def rows(self) -> Rows:
        """Take what every listing tells, some at a time."""
        listings = self._shape.listings()
        while some := list(islice(listings, AT_ONCE)):
            for page in chain.from_iterable(zip_longest(*map(pages_of, some))):
                self._add(page or [])
        return self._finish(anchored=True)


def main(arguments: list[str] | None = None) -> int:
    """List and scan; print what it took."""
    parser = argparse.ArgumentParser(prog="listed", description="List a bucket that is nowhere.")
    parser.add_argument("--keys", type=int, default=10_000_000)
    parser.add_argument("--repositories", type=int, default=1000)
    parser.add_argument("--scan", choices=("lean", "whole", "none"), default="lean")
    options = parser.parse_args(arguments)
    shape = Shape(options.keys, options.repositories)
    if not shape.tens:
        parser.error(f"--keys has to be at least {TEN} times --repositories")
    gc.set_threshold(1_000_000)  # as the command line does
    steps = Steps(time.process_time)
    steps.note("imports")
    for listing in shape.listings():
        for _ in pages_of(listing):
            pass
    steps.note("keys made up")
    store = FlatStore(MadeUp(shape))
    steps.note("keys made up and listed")
    found: dict[str, int] = {}
    if options.scan != "none":
        lean = options.scan == "lean"
        inventory = scan(store, lean=lean, history=not lean)
        steps.note("scan")
        repositories = inventory.repositories.values()
        found = {
            "blobs": len(inventory.blobs),
            "layers": sum(len(one.layers) for one in repositories),
            "revisions": sum(len(one.revisions) for one in repositories),
            "tags": sum(len(one.tags) for one in repositories),
        }
    print(json.dumps({"keys": options.keys, **found, "steps": steps.rows}, indent=2))
    return 0 if found.get("blobs", shape.blobs) == shape.blobs else 1


if __name__ == "__main__":
    sys.exit(main())
