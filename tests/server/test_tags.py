"""`tags/list`, clause by clause of the distribution spec."""

from __future__ import annotations

import pytest

from tests.support.builder import TreeBuilder, image
from tests.support.exchange import ask, get
from tests.support.reference import ReferenceRegistry, needs_reference, run
from tests.support.server import hosted

TAGS = ["1.0", "1.0-rc", "Latest", "_x", "latest", "v1", "v10", "v2"]


def test_all_tags_by_bytes(tree: TreeBuilder) -> None:
    for tag in reversed(TAGS):
        tree.push("team/app", tag)
    with hosted(tree.root) as url:
        answer = get(url, "/v2/team/app/tags/list")
        assert answer.status == 200
        assert answer.json() == {"name": "team/app", "tags": TAGS}
        assert answer["Content-Type"] == "application/json"
        assert answer["Link"] is None
        head = ask(url, "HEAD", "/v2/team/app/tags/list")
        assert (head.status, head["Content-Length"]) == (200, str(len(answer.body)))


@pytest.mark.parametrize("n", range(1, len(TAGS) + 2))
def test_page_by_page(tree: TreeBuilder, n: int) -> None:
    for tag in TAGS:
        tree.push("app", tag)
    with hosted(tree.root) as url:
        found, pages = [], 0
        path = f"/v2/app/tags/list?n={n}"
        while path:
            answer = get(url, path)
            page = answer.json()["tags"]
            assert len(page) == n or not answer.next
            found += page
            pages += 1
            path = answer.next
    assert found == TAGS
    assert pages == -(-len(TAGS) // n), "no page is empty"


def test_last_need_not_be_a_tag(tree: TreeBuilder) -> None:
    for tag in TAGS:
        tree.push("app", tag)
    with hosted(tree.root) as url:
        for last in ("", "0", "1.0-rc", "Z", "v1.5", "zzz", "%2E%2E%2F", "%FF%00"):
            answer = get(url, f"/v2/app/tags/list?last={last}")
            assert answer.status == 200, last
        assert get(url, "/v2/app/tags/list?last=v1.5&n=1").json()["tags"] == ["v10"]
        assert get(url, "/v2/app/tags/list?last=latest").json()["tags"] == ["v1", "v10", "v2"]
        assert get(url, "/v2/app/tags/list?last=zzz").json()["tags"] == []


def test_n_of_zero_gives_no_tags(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    with hosted(tree.root) as url:
        for n in ("0", "000"):
            answer = get(url, f"/v2/app/tags/list?n={n}")
            assert (answer.status, answer.json()["tags"]) == (200, [])
            assert answer["Link"] is None


@pytest.mark.parametrize("n", ["-1", "x", "1.5", "NaN", "1e3", "%D9%A1", "+1", "0x1", "1%00"])
def test_an_invalid_n_is_refused(tree: TreeBuilder, n: str) -> None:
    tree.push("app", "v1")
    with hosted(tree.root) as url:
        for path in ("app/tags/list", "_catalog"):
            answer = get(url, f"/v2/{path}?n={n}")
            assert (answer.status, answer.code) == (400, "UNSUPPORTED")


def test_a_number_larger_than_any(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    with hosted(tree.root) as url:
        for path, key in (("app/tags/list", "tags"), ("_catalog", "repositories")):
            answer = get(url, f"/v2/{path}?n={'9' * 6000}")
            assert (answer.status, len(answer.json()[key])) == (200, 1)


def test_no_tags_and_no_repository(tree: TreeBuilder) -> None:
    tree.push("untagged", None)
    tree.add_blob("layers-only", b"x")
    tree.push("app", "v1")
    tree.untag("app", "v1")
    with hosted(tree.root) as url:
        for name in ("untagged", "layers-only", "app"):
            answer = get(url, f"/v2/{name}/tags/list")
            assert (answer.status, answer.json()) == (200, {"name": name, "tags": []})
        answer = get(url, "/v2/nobody/tags/list")
        assert (answer.status, answer.code) == (404, "NAME_UNKNOWN")


def test_a_tag_set_or_removed_shows_at_once(tree: TreeBuilder) -> None:
    for number in range(100):
        tree.push("app", f"v{number}")
    with hosted(tree.root) as url:
        assert len(get(url, "/v2/app/tags/list").json()["tags"]) == 100
        tree.untag("app", "v5")
        tree.push("app", "w")
        tree.tag_path("app", "v7").unlink()
        tags = get(url, "/v2/app/tags/list").json()["tags"]
        assert len(tags) == 99
        assert {"v5", "v7"}.isdisjoint(tags) and "w" in tags


@needs_reference
def test_skopeo_lists_what_docker_registry_has_tagged(tree: TreeBuilder) -> None:
    with ReferenceRegistry(tree.root) as registry:
        for tag in TAGS:
            registry.push("app", tag, image())
    with hosted(tree.root) as url:
        address = url.partition("//")[2]
        listed = run("skopeo", "list-tags", "--tls-verify=false", f"docker://{address}/app")
    for tag in TAGS:
        assert f'"{tag}"' in listed.stdout
