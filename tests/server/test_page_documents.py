"""Documents about images on the page: provenance and SBOMs as text, and those that mean harm."""

from __future__ import annotations

import re
from html import unescape

import pytest

from regfs.server.ui import documents
from tests.support.builder import TreeBuilder, artifact, attestation, image, index
from tests.support.images import Blob, Content, dumps
from tests.support.pages import asked, visible
from tests.support.sboms import SPDX, SPDX2, statement
from tests.support.server import hosted

APP = image(["app"])


def built(*statements: bytes, types: tuple[str, ...] = (SPDX,)) -> Content:
    return index(APP, attestation(APP, *statements, types=types))


def links(text: str) -> list[str]:
    return [unescape(link) for link in re.findall(r'href="([^"]*/_documents/[^"]+)"', text)]


def test_an_image_leads_to_its_provenance_and_its_sbom_as_text(tree: TreeBuilder) -> None:
    tree.push("app", "v1", built(statement(APP, SPDX2)))
    with hosted(tree.root) as url:
        (about,) = links(asked(url, "/r/app/_tags/v1").text)
        page = asked(url, about)
        assert "SPDX SBOM" in visible(page)
        assert "1 deb, 1 npm" in visible(page)
        (one, *_) = links(page.text)
        text = visible(asked(url, one))
        assert "libc6 2.36-9 deb LGPL-2.1" in text
        assert "&#34;spdxVersion&#34;: &#34;SPDX-2.3&#34;" in text


def test_an_image_without_documents_says_so(tree: TreeBuilder) -> None:
    digest = tree.push("app", "v1", APP)
    with hosted(tree.root) as url:
        assert links(asked(url, "/r/app/_tags/v1").text) == []
        page = asked(url, f"/r/app/_documents/{digest}")
        assert "There are none" in visible(page)
        assert asked(url, f"/r/app/_documents/{digest}/{digest}").status == 404


@pytest.mark.parametrize("body", [b"", b"no JSON", b"{" * 5000, b"[" * 100_000, b'{"a":\xff}'])
def test_broken_documents_are_said_to_be(tree: TreeBuilder, body: bytes) -> None:
    tree.push("app", "v1", built(body))
    with hosted(tree.root) as url:
        (about,) = links(asked(url, "/r/app/_tags/v1").text)
        page = asked(url, about)
        assert page.status == 200
        assert "note warning" in page.text
        for link in links(page.text):
            assert asked(url, link).status == 200


def test_a_statement_about_something_else_is_told_from_one_about_the_image(
    tree: TreeBuilder,
) -> None:
    other = "sha256:" + "ab" * 32
    tree.push("app", "v1", built(statement(other, SPDX2)))
    with hosted(tree.root) as url:
        (about,) = links(asked(url, "/r/app/_tags/v1").text)
        assert f"the statement is about {other}" in visible(asked(url, about))


def test_hostile_words_in_documents_are_text(tree: TreeBuilder) -> None:
    evil = "<script>alert(1)</script>\u202e"
    sbom = {**SPDX2, "name": evil, "packages": [{"name": evil, "versionInfo": evil}]}
    tree.push("app", "v1", built(statement(APP, sbom)))
    with hosted(tree.root) as url:
        (about,) = links(asked(url, "/r/app/_tags/v1").text)
        page = asked(url, about)
        for text in (page.text, asked(url, links(page.text)[0]).text):
            assert "<script>alert" not in text
            assert "\u202e" not in text
            assert "&lt;script&gt;alert(1)" in text


def test_of_very_many_documents_and_packages_the_first_are_shown(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "DOCUMENTS", 2)
    monkeypatch.setattr(documents, "PACKAGES", 250)
    packages = [{"name": f"p{n:03}"} for n in range(300)]
    sbom = dumps({**SPDX2, "packages": packages})
    digest = tree.push("app", "v1", APP)
    for number in range(4):
        blob = Blob(sbom + b" " * number, "application/spdx+json")
        tree.push("app", None, artifact([blob], subject=APP, artifact_type="application/spdx+json"))
    with hosted(tree.root) as url:
        page = asked(url, f"/r/app/_documents/{digest}")
        assert "And 2 more" in visible(page)
        one = links(page.text)[0]
        last = visible(asked(url, f"{one}?page=2"))
        assert "p249" in last
        assert "p250" not in last.partition("Text")[0]
        assert "And 50 more" in last
