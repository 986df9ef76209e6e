"""Who sees the page, `/metrics` and the path on the disk: what rules say of whom."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import bcrypt
import pytest
import requests

from regfs.server.auth import CHALLENGE, Gate
from regfs.server.htpasswd import PasswordFile
from regfs.server.rules import load_access
from regfs.server.ui.page_maker import PATHS
from tests.support.builder import TreeBuilder
from tests.support.server import hosted

ALICE = ("alice", "sesame")
BOB = ("bob", "sesame")
Serve = Callable[[str], AbstractContextManager[str]]


@pytest.fixture
def serve(tree: TreeBuilder, tmp_path: Path) -> Serve:
    """Returns what serves two repositories by rules."""
    tree.push("public/app", "v1")
    tree.push("team/app", "v1")
    users = tmp_path / "users"
    hashed = bcrypt.hashpw(b"sesame", bcrypt.gensalt(4))
    users.write_bytes(b"alice:" + hashed + b"\nbob:" + hashed + b"\n")

    def serve(rules: str) -> AbstractContextManager[str]:
        access = load_access(rules.encode(), "access.toml") if rules else None
        return hosted(tree.root, gate=Gate(PasswordFile(str(users)), access))

    return serve


def rule(user: str, pattern: str) -> str:
    return f'[[rules]]\nusers = ["{user}"]\nrepositories = ["{pattern}"]\nactions = ["read"]\n'


def ask(url: str, path: str, who: tuple[str, str] | None = None) -> requests.Response:
    while True:
        answer = requests.get(
            url + path, auth=who, timeout=60, allow_redirects=False, cookies={PATHS: "1"}
        )
        if answer.status_code != 202:
            return answer


def test_anonymous_users_see_public_repositories(serve: Serve) -> None:
    with serve(rule("anonymous", "public/*") + rule("alice", "**")) as url:
        home = ask(url, "/")
        assert home.status_code == 200
        assert "public/app" in home.text
        assert "team/app" not in home.text
        assert ask(url, "/r/public/app/_tags/v1").status_code == 200
        assert ask(url, "/r/team/app").status_code == 404
        assert ask(url, "/usage").status_code == 403
        assert 'href="/login"' in home.text
        known = ask(url, "/", ALICE)
        assert "team/app" in known.text
        assert 'href="/login"' not in known.text


def test_login_asks_for_a_password(serve: Serve) -> None:
    with serve(rule("anonymous", "public/*") + rule("alice", "**")) as url:
        asked = ask(url, "/login")
        assert asked.status_code == 401
        assert asked.headers["WWW-Authenticate"] == CHALLENGE
        assert asked.headers["Content-Type"].startswith("text/html")
        come = ask(url, "/login", ALICE)
        assert (come.status_code, come.headers["Location"]) == (303, "/")


@pytest.mark.parametrize("rules", ["", rule("alice", "**")])
def test_every_page_asks_for_a_password_if_nothing_is_public(serve: Serve, rules: str) -> None:
    with serve(rules) as url:
        for path in ("/", "/usage", "/r/public/app", "/nope", "/login", "/metrics"):
            assert ask(url, path).status_code == 401, path
        assert ask(url, "/static/style.css").status_code == 200


@pytest.mark.parametrize(
    ("rules", "who", "status"),
    [
        ("", ALICE, 200),
        ("", None, 401),
        (rule("alice", "**"), ALICE, 200),
        (rule("alice", "**"), BOB, 403),
        (rule("alice", "**"), None, 401),
        (rule("bob", "public/*"), BOB, 403),
        (rule("anonymous", "public/*"), None, 401),
        (rule("anonymous", "**"), None, 200),
        (rule("*", "**"), BOB, 200),
    ],
)
def test_metrics_are_for_those_who_may_read_everything(
    serve: Serve, rules: str, who: tuple[str, str] | None, status: int
) -> None:
    with serve(rules) as url:
        for path in ("/metrics", "/%6detrics", "/metrics?x=1"):
            assert ask(url, path, who).status_code == status, path


@pytest.mark.parametrize(
    ("rules", "who", "told"),
    [
        ("", ALICE, True),
        (rule("alice", "**"), ALICE, True),
        (rule("alice", "public/*"), ALICE, False),
        (rule("anonymous", "**"), None, False),
        (rule("anonymous", "**"), BOB, True),
    ],
)
def test_the_path_on_the_disk_is_for_those_who_may_read_everything(
    serve: Serve, tree: TreeBuilder, rules: str, who: tuple[str, str] | None, told: bool
) -> None:
    with serve(rules) as url:
        assert (str(tree.root) in ask(url, "/", who).text) is told
        for path in ("/nope", "/r/no/such", "/b/none", "/usage?by=none"):
            page = ask(url, path, who)
            if page.status_code != 200:
                assert str(tree.root) not in page.text, path


def test_without_passwords_everybody_sees_everything(tree: TreeBuilder) -> None:
    tree.push("public/app", "v1")
    with hosted(tree.root) as url:
        assert str(tree.root) in ask(url, "/").text
        assert 'href="/login"' not in ask(url, "/").text
        assert ask(url, "/login").status_code == 303
        assert ask(url, "/metrics").status_code == 200
