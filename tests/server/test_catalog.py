"""`_catalog`: distribution's list of repositories, without the pages it loses."""

from __future__ import annotations

import pytest

from regfs.server.api import catalog
from tests.support.builder import TreeBuilder, image
from tests.support.exchange import get
from tests.support.reference import ReferenceRegistry, needs_reference
from tests.support.server import hosted

NAMES = ["a", "foo", "foo/1x", "foo/z", "foo-bar/a", "foo_bar", "z"]


def every_page(url: str, path: str) -> list[str]:
    found: list[str] = []
    while path:
        answer = get(url, path)
        assert answer.status == 200
        found += answer.json()["repositories"]
        path = answer.next
    return found


@pytest.mark.parametrize("n", range(1, len(NAMES) + 2))
def test_no_page_loses_or_repeats_a_repository(tree: TreeBuilder, n: int) -> None:
    """docker-registry ends the list where `foo/1x` fills a page, and 3.1 drops the connection."""
    for name in NAMES:
        tree.push(name, "v1")
    with hosted(tree.root) as url:
        assert every_page(url, f"/v2/_catalog?n={n}") == NAMES


def test_the_default_page_size(tree: TreeBuilder) -> None:
    names = [f"r{number:03}" for number in range(catalog.USUAL + 5)]
    for name in names:
        tree.folder(tree.repository_path(name) / "_manifests")
    with hosted(tree.root) as url:
        answer = get(url, "/v2/_catalog")
        assert answer.json() == {"repositories": names[: catalog.USUAL]}
        assert every_page(url, answer.next) == names[catalog.USUAL :]


def test_a_page_size_above_the_limit_gets_a_next_link(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "MOST", 2)
    for name in NAMES:
        tree.push(name, "v1")
    with hosted(tree.root) as url:
        answer = get(url, "/v2/_catalog?n=100000")
        assert answer.json() == {"repositories": NAMES[:2]}
        assert every_page(url, "/v2/_catalog?n=100000") == NAMES


def test_an_empty_registry(tree: TreeBuilder) -> None:
    with hosted(tree.root) as url:
        answer = get(url, "/v2/_catalog")
        assert (answer.status, answer.json()) == (200, {"repositories": []})
        tree.push("app", "v1")
        assert get(url, "/v2/_catalog?n=0").json() == {"repositories": []}
        assert get(url, "/v2/_catalog?n=0")["Link"] is None


def test_hostile_names_and_queries(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    for name in ("..%2f", "UP", "a..b", "<script>", "a\nb", "a\x7fb"):
        tree.folder(tree.repository_path(name) / "_manifests")
    with hosted(tree.root) as url:
        for last in ("..%2F..%2Fetc", "%00", "%FF", "a%0Ab", "app%2F..", "x" * 4000):
            assert get(url, f"/v2/_catalog?last={last}").status == 200
        assert every_page(url, "/v2/_catalog?n=1") == ["app"]


@needs_reference
def test_the_catalog_of_a_tree_by_docker_registry(tree: TreeBuilder) -> None:
    with ReferenceRegistry(tree.root) as registry:
        for name in NAMES:
            registry.push(name, "v1", image())
        theirs = get(registry.address, "/v2/_catalog?n=100").json()["repositories"]
    with hosted(tree.root) as url:
        ours = get(url, "/v2/_catalog?n=100").json()["repositories"]
    assert ours == NAMES
    assert sorted(ours) == sorted(theirs)


@needs_reference
@pytest.mark.parametrize("path", ["/v2/", "/v2/_catalog", "/v2/app/tags/list", "/v2/app/tags/none"])
def test_documents_are_written_as_docker_registry_writes_them(tree: TreeBuilder, path: str) -> None:
    tree.push("app", "v1")
    with ReferenceRegistry(tree.root) as registry:
        theirs = get(registry.address, path).body
    with hosted(tree.root) as url:
        ours = get(url, path).body
    assert ours == theirs or b"errors" in ours
    assert ours[-1:] == theirs[-1:]


def test_every_list_ends_with_a_newline(tree: TreeBuilder) -> None:
    digest = tree.push("app", "v1")
    with hosted(tree.root) as url:
        for path in ("_catalog", "app/tags/list", f"app/referrers/{digest}"):
            assert get(url, f"/v2/{path}").body.endswith(b"}\n"), path
        assert get(url, "/healthz").body.endswith(b"}\n")
