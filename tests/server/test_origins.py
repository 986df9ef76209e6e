"""Which host a request may name, and from which pages something may be changed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from regfs.server.origins import host_of
from tests.support import wire
from tests.support.builder import TreeBuilder
from tests.support.server import hosted


@pytest.fixture
def url(tree: TreeBuilder) -> Iterator[str]:
    tree.push("app", "v1")
    names = frozenset({"registry.example"})
    with hosted(tree.root, only_named=True, host_names=names, writable=True, delete=True) as url:
        yield url


def port(url: str) -> str:
    return url.rpartition(":")[2]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "registry.example"])
@pytest.mark.parametrize("path", ["/", "/v2/", "/v2/app/manifests/v1", "/healthz", "/metrics"])
def test_the_names_of_a_server_are_answered(url: str, host: str, path: str) -> None:
    for name in (host, host.upper(), f"{host}:{port(url)}"):
        answer = requests.get(url + path, headers={"Host": name}, timeout=60)
        assert answer.status_code in (200, 202), name


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:5000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "xregistry.example",
        "192.0.2.7",
        "localhost@evil.example",
        "localhost:5000:6000",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/", "/v2/", "/v2/app/manifests/v1", "/healthz", "/metrics"])
def test_no_other_name_is_answered(url: str, host: str, path: str) -> None:
    """As a name of another site comes that leads to this machine (DNS rebinding)."""
    answer = wire.ask(
        url, f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    )
    assert answer.status == 403
    assert b"--host-name" in answer.raw


def test_a_client_without_a_host_is_no_browser(url: str) -> None:
    answer = wire.ask(url, b"GET /healthz HTTP/1.0\r\n\r\n")
    assert answer.status == 200


def test_a_request_with_two_hosts_is_refused(url: str) -> None:
    head = (
        b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    )
    assert wire.ask(url, head).status in (400, 403)


def test_any_name_is_answered_without_the_loopback_rule(tree: TreeBuilder) -> None:
    with hosted(tree.root) as url:
        named = {"Host": "registry.example"}
        assert requests.get(f"{url}/v2/", headers=named, timeout=60).status_code == 200


CHANGES = (
    ("POST", "/v2/app/blobs/uploads/"),
    ("PUT", "/v2/app/manifests/v1"),
    ("DELETE", "/v2/app/manifests/v1"),
    ("POST", "/refresh"),
)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "https://localhost.evil.example", "null", "http://[", "x"]
)
def test_pages_of_other_hosts_change_nothing(url: str, tree: TreeBuilder, origin: str) -> None:
    before = tree.current("app", "v1")
    for method, path in CHANGES:
        headers = {"Origin": origin}
        answer = requests.request(method, url + path, headers=headers, timeout=60)
        assert answer.status_code == 403, (method, path)
    other_port = {"Origin": "http://127.0.0.1:1"}
    answer = requests.delete(f"{url}/v2/app/manifests/v1", headers=other_port, timeout=60)
    assert answer.status_code == 403
    assert tree.tags("app") == ["v1"]
    assert tree.current("app", "v1") == before
    read = requests.get(f"{url}/v2/app/manifests/v1", headers={"Origin": origin}, timeout=60)
    assert read.status_code == 200


@pytest.mark.parametrize("origin", ["", "SELF", "https://registry.example"])
def test_own_pages_and_programs_may_change_things(url: str, origin: str) -> None:
    headers = {"Origin": origin.replace("SELF", url)} if origin else {}
    answer = requests.delete(f"{url}/v2/app/manifests/v1", headers=headers, timeout=60)
    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Registry.Example", ("registry.example", "")),
        ("registry.example.:443", ("registry.example", "")),
        ("[::1]:5000", ("::1", "5000")),
        ("a:80", ("a", "")),
        ("", None),
        ("a:b", None),
        ("a/b", None),
        ("u@a", None),
        ("::1", None),
    ],
)
def test_hosts(text: str, host: tuple[str, str] | None) -> None:
    assert host_of(text) == host
