"""Two images side by side on the page: what differs, who may see it, what cannot be compared."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from urllib.parse import quote

import pytest
from aiohttp import web

from regfs.server.routes import Verb
from tests.support.builder import TreeBuilder, image, index, layer
from tests.support.images import OCI_CONFIG, OCI_LAYER, Blob, Content, blob_of, raw
from tests.support.pages import asked, visible
from tests.support.server import hosted

BASE = layer({"etc/hosts": b"one", "old": b"o" * 2000, "same": b"s"})
TOP = layer({"etc/hosts": b"changed", ".wh.old": b"", "new": b"n" * 30})
SECRET = layer({"zebra-file": b"zebra-content"})
ENV = {"config": {"Env": ["STAGE=<b>test</b>"], "ExposedPorts": {"80/tcp": {}}}}


def path(one: str, other: str) -> str:
    return f"/compare?a={quote(one)}&b={quote(other)}"


@pytest.fixture
def two(tree: TreeBuilder) -> TreeBuilder:
    tree.push("app", "v1", image([BASE]))
    tree.push("app", "v2", image([BASE, TOP], ENV))
    return tree


@pytest.fixture
def url(two: TreeBuilder) -> Iterator[str]:
    with hosted(two.root) as url:
        yield url


def test_layers_config_and_files_that_differ_are_shown(url: str) -> None:
    page = asked(url, path("app:v1", "app:v2"))
    text = visible(page)
    assert "1 layer shared" in text
    assert re.search(r"/etc/hosts changed 3 B 7 B content", text)
    assert re.search(r"/old removed 2.00 kB", text)
    assert re.search(r"/new added 30 B", text)
    assert "/same" not in text
    assert "environment STAGE &lt;b&gt;test&lt;/b&gt;" in text
    assert "port 80/tcp set" in text
    assert "/_files/" in page.text


def test_an_image_and_its_history_lead_to_comparisons(two: TreeBuilder) -> None:
    old = two.current("app", "v1")
    new = two.push("app", "v1", image([BASE, TOP]))
    with hosted(two.root) as url:
        page = asked(url, "/r/app/_tags/v1")
        assert '<input type="hidden" name="a" value="app:v1">' in page.text
        link = unescape(re.findall(r'href="(/compare[^"]+)"', page.text)[0])
        assert link == f"/compare?a=app%40{quote(old, safe='')}&b=app%40{quote(new, safe='')}"
        assert "1 layer shared" in visible(asked(url, link))


def test_the_same_is_the_same_and_nothing_asked_shows_the_form(url: str) -> None:
    assert "They are the same." in visible(asked(url, path("app:v1", "app:v1")))
    assert "Give two images" in visible(asked(url, "/compare"))
    assert asked(url, path("app", "app:v1")).status == 404, "app:latest is not there"


@pytest.mark.parametrize("other", ["none:v1", "app:none", "app@sha256:ab", "", "%00", "<b>", "@"])
def test_what_is_not_there_is_not_found(url: str, other: str) -> None:
    answer = asked(url, path("app:v1", other))
    assert answer.status == (200 if not other else 404)
    assert "<b>" not in answer.text


def test_indexes_are_compared_platform_by_platform(tree: TreeBuilder) -> None:
    arm = image([BASE], platform="linux/arm64")
    tree.push("app", "one", index(image([BASE]), arm))
    tree.push("app", "two", index(image([BASE, TOP]), arm))
    with hosted(tree.root) as url:
        text = visible(asked(url, path("app:one", "app:two")))
    assert "The same image for linux/arm64" in text
    assert "/new added" in text


def naming(*digests: str) -> Content:
    """Return an image that names blobs as its layers, as if they had been pushed with it."""
    config = Blob(b"{}", OCI_CONFIG)
    named = [{"mediaType": OCI_LAYER, "digest": digest, "size": 1} for digest in digests]
    document = {"schemaVersion": 2, "config": config.descriptor(OCI_CONFIG), "layers": named}
    return raw(document, blobs=[config])


def only_public(request: web.Request, verb: Verb, name: str) -> bool:
    return verb is Verb.READ and name == "public"


def test_content_of_other_repositories_is_not_compared(tree: TreeBuilder) -> None:
    hidden = image([SECRET])
    tree.push("zebra", "v1", hidden)
    tree.push("public", "v1", image([BASE]))
    tree.push("public", "naming", naming(blob_of(SECRET).digest))
    tree.push("public", "listing", index(image([BASE])))
    with hosted(tree.root, may=only_public) as url:
        assert asked(url, path("public:v1", "public:listing")).status == 200
        for other in ("public:naming", "zebra:v1", f"public@{hidden.digest}"):
            for one, two in (("public:v1", other), (other, "public:v1")):
                answer = asked(url, path(one, two))
                assert answer.status == 404, other
                assert "zebra-" not in answer.text
    with hosted(tree.root) as url:
        assert "/zebra-file" in visible(asked(url, path("public:v1", "public:naming")))
