"""The page over HTTP: what it shows, under which addresses, and what it finds."""

from __future__ import annotations

import os
import re
from html import unescape
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

import regfs
from regfs.server.ui import pages
from tests.support.builder import TreeBuilder, artifact, attestation, image, index
from tests.support.pages import PAGES, ask, visible
from tests.support.server import hosted

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures/trees"


# -- what is shown --------------------------------------------------------------------


def test_the_first_page_lists_every_repository_with_its_folder(url: str) -> None:
    page = ask(url)
    assert page.status == 200
    assert 'href="/r/team/app"' in page.text
    assert "repositories/library/base" in visible(page)
    assert "tags in 2 repositories" in visible(page)


@pytest.mark.parametrize("path", PAGES)
def test_every_page_can_be_asked_for_and_only_looked_at(url: str, path: str) -> None:
    assert ask(url, path).status == 200
    head = ask(url, path, "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert ask(url, path, "DELETE").status == 405


def test_a_repository_shows_tags_untagged_manifests_and_uploads(
    url: str, registry: TreeBuilder
) -> None:
    text = visible(ask(url, "/r/team/app"))
    assert " _manifests/tags/v1/current/link" in text
    assert " _uploads/" in text
    untagged = text.partition("Untagged")[2].partition("Uploads")[0]
    forgotten = image(["forgotten"], platform="linux/arm64").digest.partition(":")[2][:12]
    assert forgotten in untagged
    tagged = registry.current("team/app", "v1").partition(":")[2][:12]
    assert tagged not in untagged


def test_an_image_shows_its_layers_who_shares_them_and_where_they_lie(
    url: str, registry: TreeBuilder
) -> None:
    page = ask(url, "/r/team/app/_tags/v1")
    text = visible(page)
    assert "docker pull" in text
    assert f"{url.removeprefix('http://')}/team/app:v1" in text
    assert "step 0" in text
    assert "step 1" in text
    assert "library/base:12" in text
    assert "team blue" in text
    assert "a/signature" in text
    digest = registry.current("team/app", "v1")
    assert f"holds {digest}" in text
    assert f"blobs/sha256/{digest[7:9]}/{digest[7:]}/data" in text


def test_a_step_that_shares_a_layer_points_to_the_next(tree: TreeBuilder) -> None:
    history = [{"created_by": "COPY a /a", "empty_layer": True}, {"created_by": 'CMD ["sh"]'}]
    tree.push("app", "v1", image(["layer"], {"history": history}))
    with hosted(tree.root) as url:
        text = visible(ask(url, "/r/app/_tags/v1"))
    assert "COPY a /a in the next layer" in re.sub(r"\s+", " ", text)


def test_an_index_shows_the_image_that_was_chosen(url: str) -> None:
    first = ask(url, "/r/team/app/_tags/multi")
    assert "linux/arm64" in visible(first)
    other = image(["arm"], platform="linux/arm64").digest
    chosen = ask(url, f"/r/team/app/_tags/multi?of={other}")
    assert re.search(rf'href="[^"]*of={quote(other, safe="")}" aria-current="true"', chosen.text)


def test_a_manifest_of_an_index_has_a_page_of_its_own(url: str) -> None:
    digest = image(["arm"], platform="linux/arm64").digest
    page = ask(url, f"/r/team/app/_manifests/{digest}")
    assert page.status == 200
    assert f"docker pull {url.removeprefix('http://')}/team/app@{digest}" in visible(page)


@pytest.mark.parametrize("path", ["/r/team/app?q=v1", "/r/team/app?q=none", "/?q=app"])
def test_the_filter_can_be_cleared(url: str, path: str) -> None:
    page = ask(url, path)
    plain = path.partition("?")[0]
    assert f'<form class="filter" action="{plain}"' in page.text
    assert re.search(rf'<a href="{plain}">Show all \d', page.text)


def test_a_blob_tells_what_keeps_it(url: str, registry: TreeBuilder) -> None:
    digest = registry.document(registry.current("library/base", "12"))["layers"][0]["digest"]
    page = ask(url, f"/b/{digest}")
    assert 'href="/r/library/base/_tags/12"' in page.text
    assert 'href="/r/team/app/_tags/v1"' in page.text
    assert page.text.count('<th scope="row">') == 2, "one row for each repository"
    assert "3 tags in 2 repositories" in visible(page)


def test_reuse_usage_and_garbage_show_the_reports_of_the_command_line(url: str) -> None:
    assert "2 of 3 layers are used by more than one image" in visible(ask(url, "/reuse"))
    assert "needed by 2 repositories: library/base, team/app" in ask(url, "/usage").text
    assert "There is nothing to delete." in visible(ask(url, "/gc"))
    assert "no tag reaches this manifest" in visible(ask(url, "/gc?untagged=1"))
    assert "regfs gc plan -m -o plan.json" in visible(ask(url, "/gc?untagged=1"))


@pytest.mark.parametrize("by", ["repository", "namespace", "tag", "layer", "media-type", "none"])
def test_usage_has_every_kind_of_row(url: str, by: str) -> None:
    page = ask(url, f"/usage?by={by}")
    assert page.status == 200
    assert page.text.count("<rect") >= 4


def test_search_knows_names_tags_and_the_beginnings_of_digests(
    url: str, registry: TreeBuilder
) -> None:
    assert 'href="/r/team/app"' in ask(url, "/search?q=TEAM").text
    assert 'href="/r/team/app/_tags/v1"' in ask(url, "/search?q=team/app:v").text
    digest = registry.current("team/app", "v1")
    found = ask(url, f"/search?q={digest[7:14]}")
    assert f'href="/b/{digest}"' in found.text
    assert "Exactly this" in visible(found)
    assert "Nothing matches" in visible(ask(url, "/search?q=nothing-like-it"))


def shown_tags(url: str, path: str) -> list[str]:
    return re.findall(r'<th scope="row"><a href="[^"]*/_tags/([^"]+)"', ask(url, path).text)


def test_tags_are_sorted_by_name_version_size_and_time(tree: TreeBuilder) -> None:
    for size, tag in enumerate(("v10", "v9", "latest", "v9.1"), 1):
        tree.push("app", tag, image([os.urandom(size * 100)]))
    with hosted(tree.root) as url:
        assert shown_tags(url, "/r/app?sort=name") == ["latest", "v10", "v9", "v9.1"]
        assert shown_tags(url, "/r/app?sort=-name") == ["v9.1", "v9", "v10", "latest"]
        assert shown_tags(url, "/r/app?sort=version") == ["v10", "v9.1", "v9", "latest"]
        assert shown_tags(url, "/r/app?sort=size") == ["v9.1", "latest", "v9", "v10"]
        assert shown_tags(url, "/r/app?sort=-size&q=v") == ["v10", "v9", "v9.1"]
        page = ask(url, "/r/app?sort=version&q=v").text
    assert 'aria-sort="descending"' in page
    assert 'href="/r/app?q=v&amp;sort=-version"' in page


def test_a_tag_says_what_it_pointed_to_and_how_to_set_it_back(tree: TreeBuilder) -> None:
    old = tree.push("app", "v1", image(["base", "old"]))
    tree.push("app", "v1", image(["base", "new", "more"]))
    with hosted(tree.root) as url:
        text = visible(ask(url, "/r/app/_tags/v1"))
    history = text.partition("History of the tag")[2]
    assert re.search(r"now .*regfs rollback app:v1 " + old[7:19], history)
    assert re.search(r"\+2 layers \([^)]+\), -1 layer", history)


def test_a_manifest_that_is_gone_cannot_be_set_back_to(tree: TreeBuilder) -> None:
    old = tree.push("app", "v1", image(["base", "old"]))
    tree.push("app", "v1", image(["base", "new"]))
    tree.delete_revision("app", old)
    with hosted(tree.root) as url:
        text = visible(ask(url, "/r/app/_tags/v1"))
    assert " gone " in text
    assert "regfs rollback" not in text


def test_removing_a_tag_frees_on_the_page_what_it_frees_on_the_command_line(
    url: str, registry: TreeBuilder
) -> None:
    tag = ask(url, "/r/team/app/_tags/v1").text
    assert 'href="/r/team/app/_removal/v1"' in tag
    page = ask(url, "/r/team/app/_removal/v1")
    report = regfs.open(str(registry.root)).removal("team/app:v1")
    assert f'title="{report.holds.bytes:,} bytes"' in page.text
    assert f"in {report.freed.blobs} blob" in visible(page)
    assert 'href="/r/team/app/_tags/multi"' in page.text
    assert "regfs rm team/app:v1" in visible(page)
    assert ask(url, "/r/team/app/_removal/none").status == 404


def test_bases_are_a_tree_in_which_each_list_of_layers_stands_once(tree: TreeBuilder) -> None:
    tree.push("base", "1", image(["a"]))
    tree.push("app", "v1", image(["a", "b"]))
    tree.push("app", "same", image(["a", "b"]))
    tree.push("top", "x", image(["a", "b", "c"]))
    with hosted(tree.root) as url:
        page = ask(url, "/bases")
        found = ask(url, "/bases?q=SAME")
    rows = re.findall(r'class="depth-(\d)">.*?<a href="([^"]+)"', page.text)
    assert rows == [("0", "/r/base/_tags/1"), ("1", "/r/app/_tags/v1"), ("2", "/r/top/_tags/x")]
    assert "same layers: app:same" in visible(page)
    assert "app:v1" in visible(found)
    assert "top:x" not in visible(found)


def test_pulling_is_offered_for_what_runs(tree: TreeBuilder) -> None:
    app = image(["app"])
    tree.push("app", "v1", index(app, attestation(app)))
    signature = tree.push("app", "signature", artifact([b"s"], artifact_type="a/signature"))
    tree.push("broken", "v1", image(["broken"]))
    tree.break_("blob-missing", "broken", "v1")
    with hosted(tree.root) as url:
        assert "docker pull" in visible(ask(url, "/r/app/_tags/v1"))
        for path in ("/r/app/_tags/signature", f"/r/app/_manifests/{signature}",
                     "/r/broken/_tags/v1"):  # fmt: skip
            assert "docker pull" not in visible(ask(url, path)), path


def test_images_without_tags_are_said_to_be_kept_by_a_collection(tree: TreeBuilder) -> None:
    tree.push("by-digest", None, image(["a"]))
    tree.push("tagged", "v1", image(["a"]))
    with hosted(tree.root) as url:
        text = visible(ask(url, "/r/by-digest"))
        assert "pull these images by digest. So a collection keeps all of them" in text
        assert "regfs gc plan -m --allow-tagless by-digest" in text
        assert "--allow-tagless" not in visible(ask(url, "/r/tagged"))
        assert "There is nothing to delete" in visible(ask(url, "/gc?untagged=1"))


def test_an_empty_registry_says_how_to_push(tmp_path: Path) -> None:
    (tmp_path / "docker/registry/v2").mkdir(parents=True)
    with hosted(tmp_path, writable=True) as url:
        assert f"docker push {url.removeprefix('http://')}/NAME:TAG" in visible(ask(url))
        assert f"regfs -r {tmp_path} verify" in visible(ask(url, "/findings"))
    with hosted(tmp_path) as url:
        assert f"regfs -r {tmp_path} serve --writable" in visible(ask(url))


def test_paths_on_the_disk_are_shown_in_browsers_that_ask_for_them(url: str) -> None:
    browser = requests.Session()
    assert "with-paths" not in browser.get(url, timeout=60).text
    for show in ("1", ""):
        form = {"show": show, "back": "/r/team/app"}
        answer = browser.post(f"{url}/paths", form, timeout=60, allow_redirects=False)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/r/team/app")
        page = browser.get(url + "/r/team/app", timeout=60).text
        assert ('<body class="with-paths">' in page) is bool(show)
    away = browser.post(f"{url}/paths", {"back": "//evil.example"}, timeout=60,
                        allow_redirects=False)  # fmt: skip
    assert away.headers["Location"] == "/"


@pytest.mark.parametrize("sort", ["name", "-name", "tags", "unique", "apparent", "pushed", "?"])
def test_repositories_can_be_sorted(url: str, sort: str) -> None:
    page = ask(url, f"/?sort={quote(sort)}")
    names = re.findall(r'<th scope="row"><a href="/r/([^"]+)"', page.text)
    assert sorted(names) == ["library/base", "team/app"]
    if sort.endswith("name"):
        assert names == sorted(names, reverse=sort.startswith("-"))


def test_the_raw_manifest_is_the_very_bytes(url: str, registry: TreeBuilder) -> None:
    digest = registry.current("team/app", "v1")
    raw = ask(url, f"/r/team/app/_raw/{digest}")
    assert raw.body == registry.blob_path(digest).read_bytes()
    assert raw.headers["Content-Type"].startswith("text/plain")
    config = registry.document(digest)["config"]["digest"]
    assert ask(url, f"/r/team/app/_raw/{config}").status == 200
    layer_digest = registry.document(digest)["layers"][0]["digest"]
    assert ask(url, f"/r/team/app/_raw/{layer_digest}").status == 404


# -- real and damaged trees -------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(p.name for p in FIXTURES.iterdir() if p.is_dir()))
def test_every_page_of_every_fixture_can_be_shown(name: str) -> None:
    with hosted(FIXTURES / name) as url:
        pending: list[str] = [*PAGES]
        seen: set[str] = set()
        while pending:
            path = unescape(pending.pop())
            if path in seen:
                continue
            seen.add(path)
            page = ask(url, path)
            assert page.status in (200, 404), path
            if page.status == 404:
                assert re.search("points to nothing|not there|not in this repository", page.text), (
                    path
                )
            if page.headers["Content-Type"].startswith("text/html"):
                pending += re.findall(r'href="(/(?!static)[^"#]*)"', page.text)
        assert len(seen) > 15


def test_the_first_page_reports_missing_blobs(registry: TreeBuilder) -> None:
    registry.break_("blob-missing", "team/app", "v1")
    with hosted(registry.root) as url:
        assert "1 error" in visible(ask(url))
        findings = visible(ask(url, "/findings?severity=error"))
        assert "blob-missing" in findings
        assert "team/app:v1" in findings
        assert "not here" in visible(ask(url, "/r/team/app/_tags/v1"))


def test_findings_of_verify_have_their_time(registry: TreeBuilder) -> None:
    from regfs.cli.app import run

    registry.break_("blob-flipped", "team/app", "v1")
    with hosted(registry.root) as url:
        assert "never been verified" in visible(ask(url, "/findings"))
    assert run(["-r", str(registry.root), "verify", "-q"]) == 1
    with hosted(registry.root) as url:
        findings = visible(ask(url, "/findings"))
        assert "blob-corrupt" in findings
        assert "Content verified 100%" in findings


def test_an_unreadable_manifest_has_a_page_that_says_so(registry: TreeBuilder) -> None:
    digest = registry.current("team/app", "v1")
    registry.blob_path(digest).write_bytes(b"{}")
    with hosted(registry.root) as url:
        page = ask(url, "/r/team/app/_tags/v1")
        assert page.status == 200
        assert "does not match its digest" in visible(page)


# -- addresses, errors, freshness ------------------------------------------------------------


def test_the_api_is_unchanged_by_the_page(registry: TreeBuilder) -> None:
    registry.push("v2", "latest")
    with hosted(registry.root) as url:
        assert ask(url, "/v2/").body == b"{}"
        assert ask(url, "/v2/r/team/app").headers["Content-Type"].startswith("application/json")
        assert ask(url, "/r/v2").status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/r/no/such",
        "/r/team/app/_tags/none",
        "/r/team/app/_manifests/none",
        "/r/team/app/_manifests/sha256:" + "0" * 64,
        "/r/team/app/_raw/sha256:" + "0" * 64,
        "/r/team/app/_other/x",
        "/r/../../etc/passwd",
        "/r/%2e%2e/%2e%2e/etc",
        "/r/team%00app",
        "/b/none",
        "/b/sha256:" + "0" * 64,
        "/static/none",
        "/static/..%2fpages.py",
    ],
)
def test_a_missing_page_is_a_page(url: str, path: str) -> None:
    answer = ask(url, path)
    assert answer.status == 404
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("number", ["0", "-1", "999999", "x", "9" * 50, "٣"])
def test_any_number_of_a_page_is_a_page(url: str, number: str) -> None:
    assert ask(url, f"/?page={quote(number)}").status == 200


def test_a_bug_shows_no_traceback(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("inner workings")

    monkeypatch.setattr(pages, "search", broken)
    answer = ask(url, "/search?q=x")
    assert answer.status == 500
    assert "inner workings" not in answer.text
    assert "inner workings" in caplog.text


def test_static_files_are_cached(url: str) -> None:
    (address,) = re.findall(r'href="(/static/style[^"]+)"', ask(url).text)
    style = ask(url, address)
    assert "immutable" in style.headers["Cache-Control"]
    again = ask(url, address, If_None_Match=style.headers["ETag"])
    assert (again.status, again.body) == (304, b"")


def test_an_attestation_has_a_link(tree: TreeBuilder) -> None:
    built = image(["x"])
    tree.push("app", "v1", index(built, attestation(built)))
    with hosted(tree.root) as url:
        page = ask(url, "/r/app/_tags/v1")
        assert "attestation" in visible(page)
        (address,) = re.findall(r'href="(/r/app/_manifests/[^"]+)"[^>]*>attestation', page.text)
        assert "in-toto" in ask(url, address).text


# -- findings: one cause, and caches ---------------------------------------------------------


def test_findings_of_one_cause_are_one_row(registry: TreeBuilder) -> None:
    digest = registry.current("team/app", "v1")
    for tag in "abcdef":
        registry.tag("team/app", tag, digest)
        registry.tag_path("team/app", tag).unlink()
    with hosted(registry.root) as url:
        grouped, each = (ask(url, f"/findings{query}") for query in ("", "?each=1"))
    assert grouped.text.count("<code>tag-without-current</code>") == 1
    assert "Also: team/app:b, team/app:c, 3 more" in visible(grouped)
    assert "5 findings with the same cause" in visible(grouped)
    assert each.text.count("<code>tag-without-current</code>") == 6
    assert "with the same cause" not in visible(each)


def test_findings_of_a_cache_say_what_helps_there(registry: TreeBuilder) -> None:
    registry.break_("blob-missing", "team/app", "v1")
    registry.write(registry.root / "scheduler-state.json", "{}")
    with hosted(registry.root) as url:
        assert "fetched again on the next pull" in visible(ask(url, "/findings?severity=error"))
