"""A registry as a source that asks for a password: who is told it, and who is not."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from regfs.errors import Invalid, SourceError
from regfs.heal.remote import open_registry
from regfs.heal.source import Credentials
from tests.support.web import BASIC, LAYER, PATH, WANTED, Answer, Server, access, guarded, read

ME = Credentials("me", "secret-word")


def test_basic_credentials_are_given_when_they_are_asked_for(server: Server) -> None:
    guarded(server, 'Basic realm="x"', BASIC)
    assert read(server, credentials=ME) == LAYER.data
    assert "Authorization" not in server.asked("/v2/")[0]


def test_without_credentials_the_refusal_is_told(server: Server) -> None:
    guarded(server, 'Basic realm="x"', BASIC)
    with pytest.raises(SourceError, match="requires credentials"):
        read(server)


def test_wrong_credentials_are_told_and_not_printed(server: Server) -> None:
    guarded(server, 'Basic realm="x"', BASIC)
    with pytest.raises(SourceError, match="refused the credentials") as caught:
        read(server, credentials=Credentials("me", "hush-hush"))
    assert "hush" not in str(caught.value)
    assert "hush" not in repr(access(credentials=Credentials("me", "hush-hush")))


@pytest.mark.parametrize("field", ["token", "access_token"])
def test_a_token_is_fetched_for_the_scope_and_kept(
    server: Server, other: Server, field: str
) -> None:
    scope = "repository:app:pull"
    challenge = f'Bearer realm="{other.url}/token",service="reg",scope="{scope}"'
    guarded(server, challenge, "Bearer abc.def")
    other.gives("/token", json.dumps({field: "abc.def"}).encode())
    with closing(open_registry(server.url, access(credentials=ME))) as source:
        for _ in range(3):
            assert source.open(WANTED).read() == LAYER.data
    (_, path, headers) = other.requests[0]
    assert parse_qs(urlsplit(path).query) == {"scope": [scope], "service": ["reg"]}
    assert headers["Authorization"] == BASIC
    assert len(other.requests) == 1


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"token": 7}', b'{"token": "a\\nb"}'])
def test_what_is_no_token_is_told(server: Server, other: Server, body: bytes) -> None:
    guarded(server, f'Bearer realm="{other.url}/token"', "Bearer x")
    other.gives("/token", body)
    with pytest.raises(SourceError, match="sent no token"):
        read(server)


def test_a_token_server_that_is_not_safe_is_not_asked(server: Server) -> None:
    guarded(server, 'Bearer realm="file:///etc/passwd"', "Bearer x")
    with pytest.raises(SourceError, match="not safe"):
        read(server, credentials=ME)


def test_the_file_of_docker_login_is_understood(server: Server, tmp_path: Path) -> None:
    guarded(server, 'Basic realm="x"', BASIC)
    auth = {f"127.0.0.1:{server.port}": {"auth": BASIC.partition(" ")[2]}}
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"auths": auth}))
    assert read(server, authfile=str(file)) == LAYER.data


@pytest.mark.parametrize("text", ["{}", '{"auths": []}', '{"auths": {"127.0.0.1": 7}}'])
def test_a_file_without_our_registry_gives_no_credentials(
    server: Server, tmp_path: Path, text: str
) -> None:
    server.gives(PATH, LAYER.data)
    (tmp_path / "config.json").write_text(text)
    assert read(server, authfile=str(tmp_path / "config.json")) == LAYER.data


def test_a_file_that_is_none_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("no JSON")
    with pytest.raises(Invalid):
        read(server, authfile=str(tmp_path / "config.json"))


def test_credentials_in_an_address_are_used_and_never_shown(server: Server) -> None:
    guarded(server, 'Basic realm="x"', BASIC)
    url = server.url.replace("http://", "http://me:secret-word@")
    with closing(open_registry(url, access())) as source:
        assert source.open(WANTED).read() == LAYER.data
        assert source.url == server.url


def test_a_redirect_to_another_host_is_followed_without_credentials(
    server: Server, other: Server
) -> None:
    def answer(handler: Any) -> Answer:
        if handler.headers.get("Authorization") != BASIC:
            return 401, {"WWW-Authenticate": "Basic"}, b""
        return 307, {"Location": f"{other.url}/storage?signature=hidden"}, b""

    server.routes[PATH] = answer
    other.gives("/storage", LAYER.data)
    assert read(server, credentials=ME) == LAYER.data
    assert "Authorization" not in other.asked("/storage")[0]


def test_a_redirect_on_the_same_host_keeps_them(server: Server) -> None:
    guarded(server, "Basic", BASIC)
    server.routes["/moved"] = server.routes[PATH]
    guard = server.routes[PATH]

    def answer(handler: Any) -> Answer | None:
        found = guard(handler)
        return found if found is None or found[0] == 401 else (302, {"Location": "/moved"}, b"")

    server.routes[PATH] = answer
    assert read(server, credentials=ME) == LAYER.data


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_a_redirect_to_what_is_no_web_is_refused(server: Server, location: str) -> None:
    server.gives(PATH, b"", 302, Location=location)
    with pytest.raises(SourceError, match="not safe"):
        read(server)


def test_a_redirect_in_a_circle_ends(server: Server) -> None:
    server.gives(PATH, b"", 302, Location=PATH)
    with pytest.raises(SourceError, match="too many redirects"):
        read(server)


def test_a_message_holds_no_signature(server: Server, other: Server) -> None:
    server.gives(PATH, b"", 307, Location=f"{other.url}/gone?signature=hidden")
    other.gives("/gone", b"", 503)
    with pytest.raises(SourceError, match="503") as caught:
        read(server)
    assert "hidden" not in str(caught.value)
