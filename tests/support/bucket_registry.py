"""docker-registry over a bucket of S3, and what such a bucket holds."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import requests

from tests.support.images import dumps
from tests.support.processes import RegistryProcess
from tests.support.real_buckets import Server, object_store_of, signer
from tests.support.reference import REGISTRY
from tests.support.s3.server import KEY, SECRET

VERSIONED = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"


class Held(NamedTuple):
    """One object."""

    size: int
    digest: str


class BucketRegistry(RegistryProcess):
    """A docker-registry that serves a tree in a bucket on the loopback while the block runs."""

    program = REGISTRY

    def __init__(self, server: Server, root: str) -> None:
        super().__init__(Path())
        self._server = server
        self._bucket, _, self._prefix = root.removeprefix("s3://").partition("/")

    def command(self, port: int) -> list[str | Path]:
        """Return what serves the tree at a port of 127.0.0.1."""
        driver = {
            "accesskey": KEY, "secretkey": SECRET, "region": "us-east-1",
            "regionendpoint": self._server.url, "bucket": self._bucket,
            "rootdirectory": f"/{self._prefix}", "secure": False, "v4auth": True,
        }  # fmt: skip
        config = {
            "version": "0.1",
            "log": {"level": "info", "accesslog": {"disabled": True}},
            "storage": {
                "s3": driver,
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
                "redirect": {"disable": True},
            },
            "http": {"addr": f"127.0.0.1:{port}", "secret": "of the tests"},
        }
        file = self.folder / "config.yml"
        file.write_bytes(dumps(config))  # JSON is YAML
        return [REGISTRY, "serve", file]


def keep_versions(server: Server, root: str) -> None:
    """Turn on versioning in the bucket of a root."""
    name = root.removeprefix("s3://").partition("/")[0]
    url = f"{server.url}/{name}?versioning="
    requests.put(url, data=VERSIONED, auth=signer(), timeout=60).raise_for_status()


def held(root: str, under: str = "docker/") -> dict[str, Held]:
    """Return size and digest of every object of the registry in a bucket, by its path."""
    import obstore

    store = object_store_of(root)
    prefix = root.partition("://")[2].partition("/")[2] + "/"
    pages = obstore.list(store, prefix + under)
    keys = [one["path"] for page in pages for one in page]

    def hashed(key: str) -> Held:
        data = bytes(obstore.get(store, key).bytes())
        return Held(len(data), hashlib.sha256(data).hexdigest())

    with ThreadPoolExecutor(8) as pool:
        found = pool.map(hashed, keys)
        return {key.removeprefix(prefix): one for key, one in zip(keys, found, strict=True)}
