"""Paths of the API: what is asked for, and what can never reach the tree."""

from __future__ import annotations

from urllib.parse import quote

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from regfs.errors import DigestInvalid, NameInvalid, TagInvalid
from regfs.names import name_problem, tag_problem
from regfs.server.routes import NoSuchPath, Route, RouteKind, Verb, parse, path_in, verb_of
from tests.support.builder import TreeBuilder
from tests.support.server import hosted
from tests.support.strategies import digests, names, tags

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v2", Route(RouteKind.BASE)),
        ("/v2/", Route(RouteKind.BASE)),
        ("/v2/_catalog", Route(RouteKind.CATALOG)),
        ("/v2/app/tags/list", Route(RouteKind.TAGS, "app")),
        ("/v2/tags/list/tags/list", Route(RouteKind.TAGS, "tags/list")),
        ("/v2/a/b/c/manifests/v1", Route(RouteKind.MANIFEST, "a/b/c", "v1")),
        (f"/v2/app/manifests/{DIGEST}", Route(RouteKind.MANIFEST, "app", DIGEST)),
        (f"/v2/app/manifests/{quote(DIGEST)}", Route(RouteKind.MANIFEST, "app", DIGEST)),
        (f"/v2/app/blobs/{DIGEST}", Route(RouteKind.BLOB, "app", DIGEST)),
        ("/v2/app/blobs/uploads/", Route(RouteKind.UPLOADS, "app")),
        ("/v2/app/blobs/uploads", Route(RouteKind.UPLOADS, "app")),
        ("/v2/app/blobs/uploads/x-1", Route(RouteKind.UPLOAD, "app", "x-1")),
        (f"/v2/blobs/uploads/blobs/{DIGEST}", Route(RouteKind.BLOB, "blobs/uploads", DIGEST)),
        (
            "/v2/a/blobs/uploads/manifests/list",
            Route(RouteKind.MANIFEST, "a/blobs/uploads", "list"),
        ),
        (f"/v2/app/referrers/{DIGEST}", Route(RouteKind.REFERRERS, "app", DIGEST)),
    ],
)
def test_paths(path: str, route: Route) -> None:
    assert parse(path) == route


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/v2/App/tags/list", NameInvalid),
        ("/v2//tags/list", NameInvalid),
        ("/v2/tags/list", NameInvalid),
        ("/v2/../../etc/tags/list", NameInvalid),
        ("/v2/%2e%2e/manifests/v1", NameInvalid),
        ("/v2/%252e%252e/manifests/v1", NameInvalid),
        ("/v2/a%2Fb/manifests/v1", NameInvalid),
        ("/v2/a%5cb/manifests/v1", NameInvalid),
        ("/v2/a%00/manifests/v1", NameInvalid),
        ("/v2/a%ff/manifests/v1", NameInvalid),
        ("/v2/a/_manifests/manifests/v1", NameInvalid),
        ("/v2/app/manifests/..", TagInvalid),
        ("/v2/app/manifests/", TagInvalid),
        ("/v2/app/manifests/sha256:ab", DigestInvalid),
        ("/v2/app/blobs/v1", DigestInvalid),
        ("/v2/app/referrers/v1", DigestInvalid),
        ("/v2/app", NoSuchPath),
        ("/v2/app/tags/list/", NoSuchPath),
        ("/v2/_catalog/", NoSuchPath),
    ],
)
def test_an_invalid_path_is_refused(path: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        parse(path)


def test_the_path_of_a_target() -> None:
    assert path_in("/v2/?n=1#x") == "/v2/"
    assert path_in("http://host:5000/v2/_catalog?n=1") == "/v2/_catalog"
    assert path_in("HTTPS://host") == "/"


@given(names(), tags())
def test_every_manifest_can_be_asked_for(name: str, tag: str) -> None:
    assert parse(f"/v2/{name}/manifests/{tag}") == Route(RouteKind.MANIFEST, name, tag)


@given(names(), digests())
def test_every_blob_can_be_asked_for(name: str, digest: str) -> None:
    assert parse(f"/v2/{name}/blobs/{digest}") == Route(RouteKind.BLOB, name, digest)


@given(st.text(alphabet="/.%-_abvAE2f5c0:\\\0\udc80 é"), st.sampled_from(["", "/manifests/v1"]))
def test_no_path_names_what_breaks_the_grammar(middle: str, end: str) -> None:
    try:
        route = parse(f"/v2/{middle}{end}")
    except (NameInvalid, TagInvalid, DigestInvalid, NoSuchPath):
        return
    assert not route.name or name_problem(route.name) is None
    if route.action is RouteKind.MANIFEST and route.by_tag:
        assert tag_problem(route.reference) is None


@pytest.mark.parametrize(
    ("action", "method", "verb"),
    [
        (RouteKind.BLOB, "GET", Verb.READ),
        (RouteKind.MANIFEST, "HEAD", Verb.READ),
        (RouteKind.MANIFEST, "PUT", Verb.WRITE),
        (RouteKind.MANIFEST, "DELETE", Verb.DELETE),
        (RouteKind.UPLOADS, "POST", Verb.WRITE),
        (RouteKind.UPLOAD, "GET", Verb.WRITE),
        (RouteKind.UPLOAD, "DELETE", Verb.WRITE),
    ],
)
def test_what_a_method_does(action: RouteKind, method: str, verb: Verb) -> None:
    assert verb_of(action, method) is verb


def test_base_and_errors_follow_the_specification(tree: TreeBuilder) -> None:
    with hosted(tree.root) as url:
        for path in ("/v2/", "/v2"):
            answer = requests.get(url + path, timeout=60)
            assert answer.status_code == 200
            assert answer.json() == {}
            assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
        answer = requests.get(f"{url}/v2/App/tags/list", timeout=60)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["code"] == "NAME_INVALID"
        assert requests.get(f"{url}/v2/app", timeout=60).status_code == 404
        answer = requests.post(f"{url}/v2/", timeout=60)
        assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")
        assert answer.json()["errors"][0]["code"] == "UNSUPPORTED"
