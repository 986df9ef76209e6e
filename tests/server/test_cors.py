"""Pages of other sites: what their browsers are told, and who may use the API from there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from regfs.cli.app import run as command
from regfs.server.auth import Gate
from regfs.server.htpasswd import PasswordFile
from tests.support.builder import TreeBuilder
from tests.support.exchange import Answer, ask
from tests.support.reference import needs_programs, run
from tests.support.served import HASH
from tests.support.server import hosted

UI = "https://ui.example.com"
OTHER = "https://other.example.com"
BEGIN = "/v2/app/blobs/uploads/"


@pytest.fixture
def url(tree: TreeBuilder) -> Iterator[str]:
    tree.push("app", "v1")
    with hosted(tree.root, writable=True, cors_origins=frozenset({UI})) as url:
        yield url


def preflight(url: str, path: str, method: str, origin: str = UI) -> Answer:
    return ask(url, "OPTIONS", path, Origin=origin, Access_Control_Request_Method=method)


def allowed(answer: Answer) -> tuple[str | None, str | None]:
    """Return whose pages may see an answer, and whether with passwords."""
    named = answer["Access-Control-Allow-Origin"]
    return named, answer["Access-Control-Allow-Credentials"]


def test_a_page_of_an_allowed_origin_may_read(url: str) -> None:
    answer = ask(url, "GET", "/v2/app/manifests/v1", Origin=UI)
    assert (answer.status, allowed(answer)) == (200, (UI, "true"))
    shown = answer["Access-Control-Expose-Headers"] or ""
    assert {"Docker-Content-Digest", "Link", "Location"} <= set(shown.split(", "))
    assert "Origin" in (answer["Vary"] or "")


def test_an_allowed_page_sees_errors(url: str) -> None:
    answer = ask(url, "GET", "/v2/app/manifests/none", Origin=UI)
    assert (answer.status, allowed(answer)) == (404, (UI, "true"))


def test_an_allowed_page_may_change_what_its_user_may(url: str) -> None:
    asked = preflight(url, BEGIN, "POST")
    assert (asked.status, allowed(asked)) == (204, (UI, "true"))
    assert "POST" in (asked["Access-Control-Allow-Methods"] or "").split(", ")
    assert "Authorization" in (asked["Access-Control-Allow-Headers"] or "").split(", ")
    headers = {"Origin": UI, "Sec_Fetch_Site": "cross-site", "Content_Length": "0"}
    assert ask(url, "POST", BEGIN, **headers).status == 202


@pytest.mark.parametrize("origin", [OTHER, "null", UI + ".evil.example", "http://ui.example.com"])
def test_other_origins_get_no_headers(url: str, origin: str) -> None:
    answer = ask(url, "GET", "/v2/app/manifests/v1", Origin=origin)
    assert allowed(answer) == (None, None)
    assert "Origin" in (answer["Vary"] or "")  # or a cache would show it to who may
    asked = preflight(url, BEGIN, "POST", origin)
    assert (asked.status, allowed(asked)) == (405, (None, None))
    headers = {"Origin": origin, "Sec_Fetch_Site": "cross-site", "Content_Length": "0"}
    assert ask(url, "POST", BEGIN, **headers).status == 403


def test_only_the_api_is_shared(url: str) -> None:
    for path in ("/", "/metrics", "/healthz"):
        assert allowed(ask(url, "GET", path, Origin=UI)) == (None, None)


def test_without_the_option_there_are_no_headers(tree: TreeBuilder) -> None:
    with hosted(tree.root) as url:
        answer = ask(url, "GET", "/v2/", Origin=UI)
        assert (allowed(answer), answer["Vary"]) == ((None, None), None)
        assert preflight(url, "/v2/", "GET").status == 405


def test_a_star_lets_any_page_read_and_none_change(tree: TreeBuilder) -> None:
    with hosted(tree.root, writable=True, cors_origins=frozenset({"*"})) as url:
        assert allowed(ask(url, "GET", "/v2/", Origin=OTHER)) == ("*", None)
        asked = preflight(url, BEGIN, "POST", OTHER)
        assert asked["Access-Control-Allow-Methods"] == "GET, HEAD"
        headers = {"Origin": OTHER, "Sec_Fetch_Site": "cross-site", "Content_Length": "0"}
        assert ask(url, "POST", BEGIN, **headers).status == 403


def test_a_preflight_needs_no_password(tree: TreeBuilder, tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text(f"alice:{HASH}\n")
    gate = Gate(PasswordFile(str(users)))
    with hosted(tree.root, gate=gate, cors_origins=frozenset({UI})) as url:
        assert preflight(url, "/v2/", "GET").status == 204
        answer = ask(url, "GET", "/v2/", Origin=UI)
        assert (answer.status, allowed(answer)) == (401, (UI, "true"))
        assert preflight(url, "/v2/", "GET", OTHER).status == 401


@pytest.mark.parametrize("text", ["ui.example.com", "https://ui.example.com/", "https://*.x", ""])
def test_an_invalid_origin_is_refused(
    tree: TreeBuilder, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    tree.push("app", "v1")
    assert command(["-r", str(tree.root), "serve", "--cors-origin", text]) == 2
    assert "give scheme and host" in capsys.readouterr().err


@needs_programs("curl")
def test_curl_as_a_browser(url: str) -> None:
    asked = ["-H", f"Origin: {UI}", "-H", "Access-Control-Request-Method: PUT"]
    done: Any = run("curl", "-sS", "-i", "-X", "OPTIONS", *asked, f"{url}/v2/app/manifests/v2")
    assert done.stdout.startswith("HTTP/1.1 204")
    assert f"Access-Control-Allow-Origin: {UI}" in done.stdout
