"""The answers of docker-registry 2.8.2 and of regfs to the same questions over the same tree.

Where they differ on purpose the table says how, so that no difference is by accident.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.support.builder import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    TreeBuilder,
)
from tests.support.exchange import Answer, ask, status
from tests.support.images import Blob, digest_of, image, index
from tests.support.multipart import parts_of
from tests.support.reference import ReferenceRegistry, needs_reference
from tests.support.server import hosted

HEADERS = (
    "Accept-Ranges",
    "Cache-Control",
    "Content-Length",
    "Content-Range",
    "Content-Type",
    "Docker-Content-Digest",
    "Docker-Distribution-API-Version",
    "ETag",
)

OCI, DOCKER, MULTI = image(["a", "b"]), image(["a"], docker=True), index(image(["c"]))
LIST = index(image(["d"], docker=True), docker=True)
LARGE = Blob(bytes(range(256)) * 1024)
LAYER, LONG, OTHER = LARGE.digest, digest_of(LARGE.data, "sha512"), digest_of(b"other")
EVERY = ", ".join((OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST))


class Sites(NamedTuple):
    theirs: str
    ours: str


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    tree = TreeBuilder(tmp_path_factory.mktemp("golden"))
    with ReferenceRegistry(tree.root) as registry, hosted(tree.root) as url:
        for tag, content in (("v1", OCI), ("docker", DOCKER), ("multi", MULTI), ("list", LIST)):
            registry.push("team/app", tag, content)
        registry.add_blob("team/app", LARGE)
        registry.add_blob("team/app", Blob(b""))
        location = registry.send(registry.begin_upload("team/app"), LARGE.data)
        registry._expect(201, "PUT", f"{location}&digest={LONG}")
        registry.push("team", "v1", OCI)
        yield Sites(registry.address, url)


def both(sites: Sites, method: str, path: str, **headers: str) -> tuple[Answer, Answer]:
    theirs = ask(sites.theirs, method, f"/v2/{path}", **headers)
    ours = ask(sites.ours, method, f"/v2/{path}", **headers)
    assert ours["Docker-Distribution-API-Version"] == "registry/2.0"
    return theirs, ours


@needs_reference
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("team/app/manifests/v1", {}),
        (f"team/app/manifests/{OCI.digest}", {}),
        ("team/app/manifests/docker", {}),
        ("team/app/manifests/multi", {}),
        (f"team/app/manifests/{MULTI.digest}", {}),
        ("team/app/manifests/list", {}),
        (f"team/app/manifests/{LIST.digest}", {}),
        (f"team/app/blobs/{LAYER}", {}),
        (f"team/app/blobs/{digest_of(b'')}", {}),
        (f"team/app/blobs/{LAYER}", {"If-Range": f'"{LAYER}"'}),
    ],
)
def test_what_is_there(sites: Sites, method: str, path: str, headers: dict[str, str]) -> None:
    theirs, ours = both(sites, method, path, Accept=EVERY, **headers)
    assert theirs.status == ours.status == 200
    assert theirs.body == ours.body
    for name in HEADERS:
        assert theirs[name] == ours[name], name


@needs_reference
@pytest.mark.parametrize(
    "header",
    ["bytes=0-0", "bytes=5-99", "bytes=100000-", "bytes=-7", f"bytes=0-{len(LARGE.data)}"],
)
def test_parts(sites: Sites, header: str) -> None:
    theirs, ours = both(sites, "GET", f"team/app/blobs/{LAYER}", Range=header)
    assert theirs.status == ours.status == 206
    assert theirs.body == ours.body
    for name in HEADERS:
        assert theirs[name] == ours[name], name


@needs_reference
@pytest.mark.parametrize("header", ["bytes=500-0", "bytes=9999999-", "bytes=x-y"])
def test_no_such_part(sites: Sites, header: str) -> None:
    path = f"/v2/team/app/blobs/{LAYER}"
    # Theirs announces as many bytes as the blob has, and sends 14.
    assert status(sites.theirs, path, Range=header) == 416
    assert status(sites.ours, path, Range=header) == 416


@needs_reference
@pytest.mark.parametrize(
    ("path", "digest"),
    [("manifests/v1", OCI.digest), (f"blobs/{LAYER}", LAYER)],
)
def test_not_modified(sites: Sites, path: str, digest: str) -> None:
    known = f'"{digest}"'
    theirs, ours = both(sites, "GET", f"team/app/{path}", Accept=EVERY, If_None_Match=known)
    assert theirs.status == ours.status == 304
    assert theirs.body == ours.body == b""
    assert ours["ETag"] == known


@needs_reference
@pytest.mark.parametrize(
    ("path", "expected", "code"),
    [
        ("team/app/manifests/none", 404, "MANIFEST_UNKNOWN"),
        (f"team/app/manifests/{OTHER}", 404, "MANIFEST_UNKNOWN"),
        ("nobody/manifests/v1", 404, "MANIFEST_UNKNOWN"),
        (f"team/app/blobs/{OTHER}", 404, "BLOB_UNKNOWN"),
        (f"team/app/blobs/{OCI.digest}", 404, "BLOB_UNKNOWN"),
        (f"team/blobs/{LAYER}", 404, "BLOB_UNKNOWN"),
        ("team/app/blobs/sha256:ab", 400, "DIGEST_INVALID"),
        ("nobody/tags/list", 404, "NAME_UNKNOWN"),
    ],
)
def test_errors(sites: Sites, path: str, expected: int, code: str) -> None:
    theirs, ours = both(sites, "GET", path, Accept=EVERY)
    assert (theirs.status, theirs.code) == (ours.status, ours.code) == (expected, code)
    theirs, ours = both(sites, "HEAD", path, Accept=EVERY)
    assert theirs.status in (expected, 405)  # no HEAD of lists
    assert ours.status == expected


@needs_reference
def test_lists(sites: Sites) -> None:
    for path, key in (("team/app/tags/list", "tags"), ("_catalog", "repositories")):
        theirs, ours = both(sites, "GET", path)
        assert theirs.status == ours.status == 200
        assert sorted(theirs.json()[key]) == sorted(ours.json()[key])
    theirs, ours = both(sites, "GET", "_catalog?n=1")
    assert theirs.json()["repositories"] and ours.json() == {"repositories": ["team"]}
    assert theirs["Link"] and ours["Link"] == '</v2/_catalog?last=team&n=1>; rel="next"'


@needs_reference
def test_differences_on_purpose(sites: Sites) -> None:
    # An OCI manifest without the fitting Accept: theirs looks as if it were not there.
    for accept in ("*/*", DOCKER_MANIFEST):
        theirs, ours = both(sites, "GET", "team/app/manifests/v1", Accept=accept)
        assert (theirs.status, ours.status) == (404, 200)
    # A list for who wants one image: theirs is that image, under another digest than the tag's.
    theirs, ours = both(sites, "GET", "team/app/manifests/list", Accept=DOCKER_MANIFEST)
    assert (theirs["Content-Type"], ours["Content-Type"]) == (DOCKER_MANIFEST, DOCKER_LIST)
    # What was pushed by sha512: theirs is named by the digest it is stored by.
    theirs, ours = both(sites, "GET", f"team/app/blobs/{LONG}")
    assert theirs.body == ours.body == LARGE.data
    assert (theirs["Docker-Content-Digest"], ours["Docker-Content-Digest"]) == (LAYER, LONG)
    # Numbers of pages: 2.8 takes no notice of any.
    theirs, ours = both(sites, "GET", "team/app/tags/list?n=1")
    assert (len(theirs.json()["tags"]), len(ours.json()["tags"])) == (4, 1)
    assert [one.status for one in both(sites, "GET", "_catalog?n=-1")] == [200, 400]
    # No tag can be called that: theirs has no such page.
    theirs, ours = both(sites, "GET", "team/app/manifests/.x")
    assert theirs.status == ours.status == 404 and ours.code == "MANIFEST_UNKNOWN"
    # A HEAD of lists, an API of referrers.
    assert [one.status for one in both(sites, "HEAD", "_catalog")] == [405, 200]
    assert [one.status for one in both(sites, "GET", f"team/referrers/{OTHER}")] == [404, 200]


@needs_reference
def test_several_ranges_are_the_same_parts(sites: Sites) -> None:
    for header in ("bytes=0-1,5-6", "bytes=7-9,0-3,-5", "bytes=0-1,9999999-,65536-200000"):
        theirs, ours = both(sites, "GET", f"team/app/blobs/{LAYER}", Range=header)
        assert parts_of(theirs) == parts_of(ours)
