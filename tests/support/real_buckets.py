"""Buckets on real object stores, filled with the files of a folder.

@pytest.mark.parametrize("kind", kinds("rgw", "seaweedfs"))
def test_it(kind, object_store):
    with bucket_on(object_store(kind), TREES / "whole", "pfx") as root:  # s3://.../pfx
        run(["-r", root, "ls"])
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import pytest
import requests
from requests_aws4auth import AWS4Auth

from tests.support.environment import environment, reached_at
from tests.support.object_stores import installed
from tests.support.reference import IN_CI
from tests.support.s3.server import KEY, SECRET

SCHEMES = {"rgw": "s3", "seaweedfs": "s3", "azurite": "az", "gcs": "gs"}
_ACCOUNT = "devstoreaccount1"
AZURE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
"""The account of Azurite, as its documentation says."""
_numbers = itertools.count()


class Server(NamedTuple):
    """A running object store."""

    kind: str
    url: str


def kinds(*names: str) -> list[Any]:
    """Return the kinds of servers as parameters of a test, skipped where they are missing."""
    return [
        pytest.param(
            name,
            marks=[
                pytest.mark.skipif(
                    not installed(name) and not IN_CI, reason=f"not installed: {name}"
                ),
                pytest.mark.reference,
            ],
        )
        for name in names
    ]


@contextmanager
def bucket_on(server: Server, folder: Path | None = None, prefix: str = "") -> Iterator[str]:
    """Make a bucket of the files of a folder; yield the root.

    The environment says how it is reached while the block runs.
    """
    name = f"b{os.getpid()}-{next(_numbers)}"
    scheme = SCHEMES[server.kind]
    with _environment(scheme, server.url):
        {"s3": _make_s3, "az": _make_azure, "gs": _make_gcs}[scheme](server.url, name)
        if folder is not None:
            fill(server, name, folder, prefix)
        yield f"{scheme}://{name}/{prefix}".rstrip("/")


def fill(server: Server, name: str, folder: Path, prefix: str = "") -> None:
    """Put the files of a folder into a bucket, each by one request."""
    before = f"{prefix}/" if prefix else ""
    paths = {before + one.relative_to(folder).as_posix(): one for one in folder.rglob("*")}
    put = _putter(server, name)
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(
            lambda row: put(row[0], row[1].read_bytes()),
            [row for row in paths.items() if row[1].is_file()],
        ):
            pass


def object_store_of(root: str) -> Any:
    """Return the bucket of a root as obstore opens it by the environment."""
    from obstore.store import AzureStore, GCSStore, S3Store

    scheme, _, rest = root.partition("://")
    made: Any = {"s3": S3Store, "az": AzureStore, "gs": GCSStore}[scheme]
    return made(rest.split("/")[0], client_options={"allow_http": True})


def times(root: str) -> dict[str, float]:
    """Return when each object of a bucket was written, as a listing tells."""
    import obstore

    pages = obstore.list(object_store_of(root))
    return {one["path"]: one["last_modified"].timestamp() for page in pages for one in page}


def signer() -> AWS4Auth:
    """Return what signs a request of `requests` to S3."""
    return AWS4Auth(KEY, SECRET, "us-east-1", "s3")


def _putter(server: Server, name: str) -> Any:
    if server.kind == "gcs":  # it has no PUT of the XML interface, which obstore makes

        def post(key: str, data: bytes) -> None:
            url = f"{server.url}/upload/storage/v1/b/{name}/o?uploadType=media&name="
            requests.post(url + quote(key, safe=""), data=data, timeout=60).raise_for_status()

        return post
    import obstore

    store = object_store_of(f"{SCHEMES[server.kind]}://{name}")
    return lambda key, data: obstore.put(store, key, data, use_multipart=False)


def _environment(scheme: str, url: str) -> Any:
    if scheme == "s3":
        return reached_at(url)
    if scheme == "az":
        return environment(
            AZURE_STORAGE_ACCOUNT_NAME=_ACCOUNT,
            AZURE_STORAGE_ACCOUNT_KEY=AZURE_KEY,
            AZURE_STORAGE_ENDPOINT=url,
        )
    account = {"gcs_base_url": url, "disable_oauth": True}
    account |= dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
    return environment(GOOGLE_SERVICE_ACCOUNT_KEY=json.dumps(account))


def _make_s3(url: str, name: str) -> None:
    requests.put(f"{url}/{name}", auth=signer(), timeout=60).raise_for_status()


def _make_gcs(url: str, name: str) -> None:
    made = requests.post(f"{url}/storage/v1/b?project=p", json={"name": name}, timeout=60)
    made.raise_for_status()


def _make_azure(url: str, name: str) -> None:
    """Make a container; its request is signed with the key of the account."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    path = f"{urlsplit(url).path}/{name}"
    lines = [f"{key}:{text}" for key, text in sorted(headers.items())]
    text = "\n".join(["PUT", *[""] * 11, *lines, f"/{_ACCOUNT}{path}", "restype:container"])
    signature = hmac.new(base64.b64decode(AZURE_KEY), text.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {_ACCOUNT}:{base64.b64encode(signature).decode()}"
    made = requests.put(f"{url}/{name}?restype=container", headers=headers, timeout=60)
    made.raise_for_status()
