"""Passwords and rules over HTTP: who is let in, and what each may do."""

from __future__ import annotations

import base64
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import requests
from requests.auth import HTTPBasicAuth

from regfs.server import auth, htpasswd
from regfs.server.access_log import Exchange, as_json, combined
from regfs.server.auth import CHALLENGE, Gate
from regfs.server.htpasswd import PasswordFile
from regfs.server.rules import load_access
from regfs.server.settings import Limits
from tests.support import wire
from tests.support.builder import TreeBuilder
from tests.support.images import image
from tests.support.server import hosted

ACCESS = b"""
[[rules]]
users = ["anonymous"]
repositories = ["public/*"]
actions = ["read"]

[[rules]]
users = ["alice", "bob"]
repositories = ["team/*"]
actions = ["read"]

[[rules]]
users = ["alice"]
repositories = ["team/*"]
actions = ["write", "delete"]
"""
PASSWORDS = {"alice": b"open sesame", "bob": b"b\xc3\xb6b"}
ALICE = HTTPBasicAuth("alice", "open sesame")
BOB = HTTPBasicAuth("bob", "böb".encode().decode("latin-1"))
DIGEST = "sha256:" + "0" * 64


def write(file: Path, passwords: dict[str, bytes]) -> None:
    lines = (
        user.encode() + b":" + bcrypt.hashpw(password, bcrypt.gensalt(4))
        for user, password in passwords.items()
    )
    fresh = file.with_suffix(".new")
    fresh.write_bytes(b"\n".join(lines) + b"\n")
    os.replace(fresh, file)


@pytest.fixture
def users(tmp_path: Path) -> Path:
    file = tmp_path / "users"
    write(file, PASSWORDS)
    return file


@pytest.fixture
def heard() -> list[Exchange]:
    """What the log of requests is told."""
    return []


@pytest.fixture
def url(tree: TreeBuilder, users: Path, heard: list[Exchange]) -> Iterator[str]:
    """A server where every user may do everything."""
    gate = Gate(PasswordFile(str(users)))
    with hosted(tree.root, gate=gate, observe=heard.append, writable=True, delete=True) as url:
        yield url


@pytest.fixture
def ruled(tree: TreeBuilder, users: Path) -> Iterator[str]:
    """A server where users may do what ACCESS says."""
    gate = Gate(PasswordFile(str(users)), load_access(ACCESS, "access.toml"))
    with hosted(tree.root, gate=gate, writable=True, delete=True) as url:
        yield url


def code(response: requests.Response) -> str:
    return str(response.json()["errors"][0]["code"])


def authorization(user: bytes, password: bytes) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(user + b":" + password).decode()}


# -- who -----------------------------------------------------------------------------


def test_without_a_password_the_server_asks_for_one(url: str) -> None:
    response = requests.get(f"{url}/v2/", timeout=60)
    assert response.status_code == 401
    assert code(response) == "UNAUTHORIZED"
    assert response.headers["WWW-Authenticate"] == CHALLENGE
    assert response.headers["Docker-Distribution-API-Version"] == "registry/2.0"


def test_the_right_password_is_let_in(url: str) -> None:
    assert requests.get(f"{url}/v2/", auth=("alice", "open sesame"), timeout=60).ok
    assert requests.get(f"{url}/v2/", auth=BOB, timeout=60).ok


@pytest.mark.parametrize(
    ("user", "password"),
    [
        (b"alice", b"open"),
        (b"alice", b""),
        (b"alice", b"open sesame\0"),
        (b"alice", b"x" * 200),
        (b"eve", b"open sesame"),
        (b"", b"open sesame"),
        (b"\xff", b"open sesame"),
        (b"Alice", b"open sesame"),
        (b"*", b"open sesame"),
    ],
)
def test_a_wrong_password_is_refused(url: str, user: bytes, password: bytes) -> None:
    response = requests.get(f"{url}/v2/", headers=authorization(user, password), timeout=60)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == CHALLENGE
    assert response.json()["errors"][0]["message"] == "no such user and password"


@pytest.mark.parametrize(
    "headers",
    [
        [b"Authorization: Bearer YWxpY2U6b3BlbiBzZXNhbWU="],
        [b"Authorization: Basic"],
        [b"Authorization: Basic !!!"],
        [b"Authorization: Basic YWxpY2U="],
        [b"Authorization: Basic \xff\xfe"],
        [b"Authorization: "],
        [b"Authorization: Basic YWxpY2U6b3BlbiBzZXNhbWU="] * 2,
    ],
)
def test_other_authentication_is_refused(url: str, headers: list[bytes]) -> None:
    answer = wire.get(url, b"/v2/", *headers)
    assert answer.status == 401 or answer.status == 400
    assert b"YWxp" not in answer.raw


@pytest.mark.parametrize("path", ["/", "/metrics", "/nothing", "/v2/_catalog", "/v2/nothing"])
def test_everything_else_needs_a_password_too(url: str, path: str) -> None:
    assert requests.get(url + path, timeout=60).status_code in (401, 404)
    assert requests.get(f"{url}/metrics", timeout=60).status_code == 401


def test_health_needs_no_password(url: str) -> None:
    response = requests.get(f"{url}/healthz", timeout=60)
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_anonymous_requests_change_nothing(url: str, method: str) -> None:
    for path in (f"/v2/team/app/blobs/{DIGEST}", "/v2/team/app/blobs/uploads/"):
        assert requests.request(method, url + path, timeout=60).status_code == 401


def test_a_body_is_not_asked_for_before_the_password(tree: TreeBuilder, users: Path) -> None:
    head = (
        b"POST /v2/team/app/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n"
        b"Expect: 100-continue\r\n\r\n"
    )
    limits = Limits(linger_seconds=0.1)
    gate = Gate(PasswordFile(str(users)))
    with hosted(tree.root, gate=gate, limits=limits, writable=True) as url:
        answer = wire.ask(url, head)
    assert answer.statuses == [401]
    assert "Connection: close" in answer.head


# -- when the file changes ---------------------------------------------------------------


@pytest.fixture
def looking_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "LOOK_EVERY", 0.0)


@pytest.mark.usefixtures("looking_always")
def test_a_changed_password_counts_at_once(url: str, users: Path) -> None:
    assert requests.get(f"{url}/v2/", auth=("alice", "open sesame"), timeout=60).ok
    write(users, {"alice": b"new"})
    old = requests.get(f"{url}/v2/", auth=("alice", "open sesame"), timeout=60)
    assert old.status_code == 401
    assert requests.get(f"{url}/v2/", auth=("alice", "new"), timeout=60).ok


@pytest.mark.usefixtures("looking_always")
def test_a_removed_user_is_refused_at_once(url: str, users: Path) -> None:
    assert requests.get(f"{url}/v2/", auth=BOB, timeout=60).ok
    write(users, {"alice": b"open sesame"})
    gone = requests.get(f"{url}/v2/", auth=BOB, timeout=60)
    assert gone.status_code == 401


@pytest.mark.usefixtures("looking_always")
def test_an_invalid_file_keeps_the_previous_users(
    url: str, users: Path, caplog: pytest.LogCaptureFixture
) -> None:
    users.write_bytes(b"alice:hunter2\n")
    with caplog.at_level(logging.WARNING):
        assert requests.get(f"{url}/v2/", auth=("alice", "open sesame"), timeout=60).ok
    assert ":1: " in caplog.text
    assert "hunter2" not in caplog.text


# -- what a password costs ---------------------------------------------------------------


def test_a_right_password_is_computed_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[bytes] = []
    matches = htpasswd.matches

    def counted(password: bytes, hashed: bytes) -> bool:
        computed.append(password)
        return matches(password, hashed)

    monkeypatch.setattr(auth, "matches", counted)
    for _ in range(5):
        assert requests.get(f"{url}/v2/", auth=("alice", "open sesame"), timeout=60).ok
    assert computed == [b"open sesame"]
    for user in ("alice", "eve"):
        for _ in range(2):
            requests.get(f"{url}/v2/", auth=(user, "wrong"), timeout=60)
    assert computed.count(b"wrong") == 4  # as often for somebody unknown


def test_a_remembered_password_expires(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[bytes] = []
    matches = htpasswd.matches

    def counted(password: bytes, hashed: bytes) -> bool:
        computed.append(password)
        return matches(password, hashed)

    monkeypatch.setattr(auth, "matches", counted)
    monkeypatch.setattr(auth, "REMEMBERED", 1)
    for user in ("alice", "bob", "alice"):
        requests.get(
            f"{url}/v2/", headers=authorization(user.encode(), PASSWORDS[user]), timeout=60
        )
    assert len(computed) == 3
    monkeypatch.setattr(auth, "REMEMBERED_FOR", -1.0)
    for _ in range(2):
        requests.get(f"{url}/v2/", headers=authorization(b"bob", PASSWORDS["bob"]), timeout=60)
    assert len(computed) == 5


def test_too_many_passwords_at_once_are_refused_for_now(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    begun = threading.Semaphore(0)

    def slow(password: bytes, hashed: bytes) -> bool:
        begun.release()
        return go.wait(wire.LOCK_TIMEOUT) and False

    assert requests.get(f"{url}/v2/", auth=("alice", "open sesame"), timeout=60).ok
    monkeypatch.setattr(auth, "matches", slow)
    monkeypatch.setattr(auth, "WAITING", 1)
    waiting = threading.Thread(
        target=requests.get, args=(f"{url}/v2/",), kwargs={"auth": ("eve", "1"), "timeout": 30}
    )
    waiting.start()
    try:
        assert begun.acquire(timeout=wire.LOCK_TIMEOUT)
        refused = requests.get(f"{url}/v2/", auth=("eve", "2"), timeout=60)
        assert (refused.status_code, code(refused)) == (429, "TOOMANYREQUESTS")
        assert refused.headers["Retry-After"]
        # Who was let in before does not wait for them.
        assert requests.get(f"{url}/v2/", auth=("alice", "open sesame"), timeout=60).ok
    finally:
        go.set()
        waiting.join()


# -- what is told ------------------------------------------------------------------------


def test_passwords_are_never_logged(
    url: str, heard: list[Exchange], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "regfs"), caplog.at_level(logging.DEBUG, "aiohttp"):
        secret = base64.b64encode(b"alice:hunter2-hunter2").decode()
        answers = [
            wire.get(url, b"/v2/", b"Authorization: Basic " + secret.encode()),
            wire.get(url, b"/v2/", b"Authorization: Basic " + secret.encode() * 2000),
            wire.get(url, b"/v2/", b"Authorization : Basic " + secret.encode()),
            wire.get(url, b"/v2/", b"Authorization: hunter2\x00" + secret.encode()),
            wire.get(url, b"http://alice:hunter2@x/v2/"),
            wire.get(url, b"/v2/" + b"x" * 9000 + b"hunter2"),
            wire.ask(url, b"hunter2 " + secret.encode() + b"\r\n\r\n"),
            wire.ask(url, secret.encode() * 1000),
        ]
    wire.until(lambda: len(heard) >= len(answers))
    everything = [answer.raw.decode("latin-1") for answer in answers]
    everything += [line(one) for one in heard for line in (combined, as_json)]
    everything.append(caplog.text)
    for text in everything:
        assert "hunter2" not in text
        assert secret[:12] not in text
    assert all(answer.status in (0, 400, 401, 414, 431) for answer in answers)


def test_the_log_names_only_users_with_the_right_password(url: str, heard: list[Exchange]) -> None:
    requests.get(f"{url}/v2/", auth=("alice", "open sesame"), timeout=60)
    requests.get(f"{url}/v2/", auth=("my-password", "x"), timeout=60)
    requests.get(f"{url}/v2/", timeout=60)
    wire.until(lambda: len(heard) == 3)  # a line is written after its answer
    assert [one.user for one in heard] == ["alice", "", ""]
    assert [one.status for one in heard] == [200, 401, 401]


# -- rules -------------------------------------------------------------------------------


def allowed(response: requests.Response) -> Any:
    """Return True when a request was let through, whatever came of it; else the code."""
    if response.status_code in (401, 403):
        return code(response)
    return True


@pytest.mark.parametrize(
    ("who", "method", "path", "result"),
    [
        (None, "GET", "/v2/", "UNAUTHORIZED"),
        (None, "GET", "/v2/public/app/tags/list", True),
        (None, "GET", f"/v2/public/app/blobs/{DIGEST}", True),
        (None, "HEAD", f"/v2/public/app/blobs/{DIGEST}", True),
        (None, "GET", f"/v2/public/app/referrers/{DIGEST}", True),
        (None, "GET", "/v2/_catalog", True),
        (None, "POST", "/v2/public/app/blobs/uploads/", "UNAUTHORIZED"),
        (None, "GET", "/v2/team/app/tags/list", "UNAUTHORIZED"),
        (BOB, "GET", "/v2/public/app/tags/list", True),
        (BOB, "GET", "/v2/team/app/manifests/v1", True),
        (BOB, "GET", "/v2/other/app/manifests/v1", "DENIED"),
        (BOB, "GET", "/v2/team/app/deep/manifests/v1", "DENIED"),
        (BOB, "PUT", "/v2/team/app/manifests/v1", "DENIED"),
        (BOB, "POST", "/v2/team/app/blobs/uploads/", "DENIED"),
        (BOB, "GET", "/v2/team/app/blobs/uploads/abc", "DENIED"),
        (BOB, "DELETE", "/v2/team/app/blobs/uploads/abc", "DENIED"),
        (BOB, "DELETE", "/v2/team/app/manifests/v1", "DENIED"),
        (ALICE, "PUT", "/v2/team/app/manifests/v1", True),
        (ALICE, "DELETE", "/v2/team/app/manifests/v1", True),
        (ALICE, "DELETE", "/v2/public/app/manifests/v1", "DENIED"),
    ],
)
def test_rules_decide_what_each_user_may_do(
    ruled: str, who: HTTPBasicAuth | None, method: str, path: str, result: Any
) -> None:
    response = requests.request(method, ruled + path, auth=who, timeout=60)
    if method == "HEAD":
        assert response.status_code not in (401, 403)
    else:
        assert allowed(response) == result


def test_empty_credentials_count_as_anonymous(ruled: str) -> None:
    """As skopeo and podman send them when they have none."""
    headers = authorization(b"", b"")
    path = "/v2/public/app/tags/list"
    assert allowed(requests.get(ruled + path, headers=headers, timeout=60)) is True
    assert requests.get(f"{ruled}/v2/", headers=headers, timeout=60).status_code == 401


def test_a_wrong_password_is_refused_even_if_none_is_needed(ruled: str) -> None:
    response = requests.get(f"{ruled}/v2/public/app/tags/list", auth=("bob", "x"), timeout=60)
    assert response.status_code == 401


def test_a_forbidden_repository_looks_absent(ruled: str, tree: TreeBuilder) -> None:
    tree.push("other/app", "v1")
    there, absent = (
        requests.get(f"{ruled}/v2/other/{name}/tags/list", auth=BOB, timeout=60)
        for name in ("app", "nothing")
    )
    assert there.status_code == absent.status_code == 403
    assert there.content == absent.content


def test_the_catalog_lists_only_readable_repositories(ruled: str, tree: TreeBuilder) -> None:
    for name in ("other/app", "public/app", "team/app", "team/app/deep"):
        tree.push(name, "v1")

    def listed(who: HTTPBasicAuth | None, **query: int) -> list[str]:
        answer = requests.get(f"{ruled}/v2/_catalog", params=query, auth=who, timeout=60)
        return list(answer.json()["repositories"])

    assert listed(None) == ["public/app"]
    assert listed(BOB) == ["public/app", "team/app"]
    assert listed(None, n=1) == ["public/app"]


def test_the_catalog_needs_a_password_if_nothing_is_public(url: str) -> None:
    assert requests.get(f"{url}/v2/_catalog", timeout=60).status_code == 401


def layer_of(tree: TreeBuilder, name: str) -> str:
    document: Any = tree.document(tree.current(name, "v1"))
    return str(document["layers"][0]["digest"])


@pytest.mark.parametrize("source", ["from=other/app", "from=team/secret/deep", ""])
def test_a_blob_of_an_unreadable_repository_is_not_mounted(
    ruled: str, tree: TreeBuilder, source: str
) -> None:
    tree.push("other/app", "v1")
    tree.push("team/secret/deep", "v1")
    layer = layer_of(tree, "other/app")
    path = f"/v2/team/app/blobs/uploads/?mount={layer}&{source}"
    answer = requests.post(ruled + path, auth=ALICE, timeout=60)
    assert answer.status_code == 202  # an upload, as if there were no such blob
    gained = requests.get(f"{ruled}/v2/team/app/blobs/{layer}", auth=ALICE, timeout=60)
    assert gained.status_code == 404


def test_a_blob_of_a_readable_repository_is_mounted(ruled: str, tree: TreeBuilder) -> None:
    tree.push("public/app", "v1")
    layer = layer_of(tree, "public/app")
    path = f"/v2/team/app/blobs/uploads/?mount={layer}&from=public/app"
    assert requests.post(ruled + path, auth=ALICE, timeout=60).status_code == 201


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pages_of_other_sites_change_nothing(url: str, tree: TreeBuilder, site: str) -> None:
    tree.push("app", "v1")
    headers = {"Sec-Fetch-Site": site}
    for method, path in (
        ("POST", "/v2/app/blobs/uploads/"),
        ("DELETE", "/v2/app/manifests/v1"),
        ("POST", "/refresh"),
    ):
        answer = requests.request(method, url + path, headers=headers, auth=ALICE, timeout=60)
        assert answer.status_code == 403
        assert not path.startswith("/v2") or code(answer) == "DENIED"
    assert tree.tags("app") == ["v1"]
    read = requests.get(f"{url}/v2/app/manifests/v1", headers=headers, auth=ALICE, timeout=60)
    assert read.status_code == 200


PAGES = [
    "/",
    "/usage",
    "/usage?by=repository",
    "/reuse",
    "/findings",
    "/gc",
    "/gc?untagged=1",
    "/search?q=classified",
    "/search?q=",
    "/?q=classified",
    "/r/team/app",
    "/r/other/classified",
    "/r/other/classified/tags/xyzzy",
    "/r/other/classified/raw/DIGEST",
    "/b/DIGEST",
    "/r/team/app/manifests/DIGEST",
    "/r/team/app/raw/DIGEST",
    "/search?q=DIGEST",
]


def test_pages_omit_unreadable_repositories(ruled: str, tree: TreeBuilder) -> None:
    tree.push("team/app", "v1")
    hidden = tree.push("other/classified", "xyzzy", image(["only there"]))
    for page in PAGES:
        path = page.replace("DIGEST", hidden)

        def shown(path: str = path) -> requests.Response:
            return requests.get(ruled + path, auth=BOB, timeout=60)

        wire.until(lambda shown=shown: shown().status_code != 202)  # type: ignore[misc]
        answer = shown()
        assert answer.status_code < 500, path
        for text in ("classified", "xyzzy", hidden):
            assert text in path or text not in answer.text, path


def test_pages_need_a_password(url: str) -> None:
    for page in PAGES:
        assert requests.get(url + page, timeout=60).status_code == 401
