"""A registry as a source: where a blob is looked for."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from regfs.digest import Digest
from regfs.errors import SourceLacks
from regfs.heal.remote import open_registry
from regfs.heal.source import BlobRequest
from tests.support.backups import ONE
from tests.support.web import LAYER, PATH, WANTED, Answer, Server, access, read


def test_a_blob_is_asked_for_in_the_repository_that_uses_it(server: Server) -> None:
    server.gives(PATH, LAYER.data)
    assert read(server) == LAYER.data
    assert [path for _, path, _ in server.requests] == ["/v2/", PATH]


def test_a_manifest_is_asked_for_with_every_type(server: Server) -> None:
    path = f"/v2/app/manifests/{ONE.digest}"
    server.gives(path, ONE.data)
    wanted = BlobRequest(Digest(ONE.digest), manifest=True, repositories=("app",))
    assert read(server, wanted) == ONE.data
    (headers,) = server.asked(path)
    for word in ("oci.image.index", "oci.image.manifest", "manifest.list", "manifest.v2"):
        assert word in headers["Accept"]


def test_a_name_that_a_person_gives_goes_first(server: Server) -> None:
    server.gives(f"/v2/mirror/app/blobs/{LAYER.digest}", LAYER.data)
    assert read(server, repositories=("mirror/app",)) == LAYER.data
    assert server.asked(PATH) == []


def test_the_catalog_is_the_last_resort_page_by_page(server: Server) -> None:
    def catalog(handler: Any) -> Answer:
        last = parse_qs(urlsplit(handler.path).query).get("last", [""])[0]
        page = {"": ["a"], "a": ["b"], "b": ["c/d"]}.get(last, [])
        link = f'<http://evil.invalid/v2/_catalog?last={page[-1]}&n=1>; rel="next"' if page else ""
        return 200, {"Link": link}, json.dumps({"repositories": page}).encode()

    server.routes["/v2/_catalog"] = catalog
    server.gives(f"/v2/c/d/blobs/{LAYER.digest}", LAYER.data)
    assert read(server) == LAYER.data
    assert len(server.asked("/v2/_catalog")) == 4


def test_a_catalog_without_end_ends(server: Server) -> None:
    numbers = iter(range(10**9))

    def catalog(_: Any) -> Answer:
        names = [f"r{next(numbers)}" for _ in range(5000)]
        link = f'</v2/_catalog?last={names[-1]}>; rel="next"'
        return 200, {"Link": link}, json.dumps({"repositories": names}).encode()

    server.routes["/v2/_catalog"] = catalog
    with closing(open_registry(server.url, access())) as source:
        assert len(source._listed()) == 10_000


def test_what_is_nowhere_is_lacking(server: Server) -> None:
    with pytest.raises(SourceLacks, match="looked in 1 repositories"):
        read(server)


def test_a_prefix_is_kept(server: Server) -> None:
    server.gives("/hub/v2/", b"{}")
    server.gives(f"/hub{PATH}", LAYER.data)
    with closing(open_registry(f"{server.url}/hub/", access())) as source:
        assert source.size(WANTED) == len(LAYER.data)
