"""The page over HTTP: to whom it shows what, and that nothing of a tree can do harm in it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import bcrypt
import pytest
import requests
from aiohttp import web

from regfs.server.auth import Gate
from regfs.server.htpasswd import PasswordFile
from regfs.server.routes import Verb
from regfs.server.rules import load_access
from tests.support.builder import TreeBuilder, image
from tests.support.pages import BASE, PAGES, ask, read_again
from tests.support.server import hosted

# -- nothing of a tree does harm ----------------------------------------------------------


EVIL = '<script>window.pwned = 1</script>"\'><img src=x onerror="window.pwned=1">\u202egpj'


def test_hostile_texts_are_only_shown(tree: TreeBuilder) -> None:
    config = {
        "author": EVIL,
        "config": {"Labels": {EVIL: EVIL}, "Env": [EVIL], "Cmd": [EVIL]},
        "history": [{"created_by": EVIL}],
    }
    tree.push("app", "v1", image(["x"], config, annotations={EVIL: EVIL}))
    with hosted(tree.root) as url:
        page = ask(url, "/r/app/_tags/v1")
        assert "<img src=x" not in page.text
        assert "<script>window" not in page.text
        assert "\u202e" not in page.text
        assert "&lt;script&gt;window.pwned" in page.text
        assert r"\u202egpj" in page.text


NAMES = (
    b"caf\xe9",
    b"<b>bold",
    "right\u202eleft".encode(),
    b"a b%2Fc?d#e&f=1",
    b"n" * 255,
    b"deep/" * 20 + b"end",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_repository_of_any_name_has_a_link(tree: TreeBuilder, name: bytes) -> None:
    digest = tree.push("app", "v1")
    folder = os.path.join(os.fsencode(tree.v2), b"repositories", name)
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    os.rename(os.fsencode(tree.repository_path("app")), folder)
    with hosted(tree.root) as url:
        home = ask(url)
        (address,) = re.findall(r'<th scope="row"><a href="(/r/[^"]+)"', home.text)
        page = ask(url, unescape(address))
        assert page.status == 200
        (tag,) = re.findall(r'<th scope="row"><a href="(/r/[^"]+/_tags/v1)"', page.text)
        shown = ask(url, unescape(tag))
        assert shown.status == 200
        assert digest in shown.text


def test_commands_to_copy_are_safe_in_a_shell(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    os.rename(tree.repository_path("app"), tree.repository_path("app; reboot #"))
    tree.push("app", "v1")
    os.rename(tree.tag_folder("app", "v1"), tree.tag_folder("app", "$(reboot)"))
    with hosted(tree.root) as url:
        for path in ("/r/app%3B%20reboot%20%23/_tags/v1", "/r/app/_tags/$(reboot)"):
            page = ask(url, path)
            assert page.status == 200
            assert "docker pull" not in page.text
            assert "No client can request it" in page.text
        tree.push("app", "v1")
        read_again(url, "/")
        named = {"Host": "x;reboot"}
        page_of_it = requests.get(f"{url}/r/app/_tags/v1", headers=named, timeout=60)
        assert "docker pull HOST/app:v1" in page_of_it.text


def test_the_policy_of_pages_forbids_loading_and_running(url: str) -> None:
    for path in (*PAGES, "/r/team/app", "/r/team/app/_tags/multi", "/nothing", "/r/nothing"):
        page = ask(url, path)
        policy = page.headers.get("Content-Security-Policy", "")
        assert "default-src 'none'" in policy, path
        assert "unsafe" not in policy
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", page.text), path
        assert set(re.findall(r'(?:src|href)="(\w+:)?//', page.text)) == set()


# -- who may see what ----------------------------------------------------------------------


def no_secrets(request: web.Request, verb: Verb, name: str) -> bool:
    return verb is Verb.READ and not name.startswith("secret")


@pytest.fixture
def guarded(registry: TreeBuilder) -> Iterator[str]:
    registry.push("secret/plans", "v9", image([BASE, "plan"]))
    with hosted(registry.root, may=no_secrets) as url:
        yield url


def test_unreadable_repositories_are_on_no_page(guarded: str, registry: TreeBuilder) -> None:
    plan = registry.document(registry.current("secret/plans", "v9"))["layers"][1]["digest"]
    manifest = registry.current("secret/plans", "v9")
    for path in (
        "/",
        "/?q=secret",
        "/reuse",
        "/search?q=secret",
        "/search?q=v9",
        f"/search?q={plan[7:]}",
        f"/search?q={manifest}",
        "/r/team/app/_tags/v1",
        f"/b/{registry.document(registry.current('library/base', '12'))['layers'][0]['digest']}",
    ):
        page = ask(guarded, path)
        assert page.status == 200, path
        text = re.sub(r'value="(/[a-z]*\?q=)?secret"|<b>secret</b>', "", page.text)
        assert "secret" not in text, path
        assert f"/b/{plan}" not in text
    for path in (
        "/r/secret/plans",
        "/r/secret/plans/_tags/v9",
        f"/r/secret/plans/_raw/{manifest}",
        f"/r/team/app/_raw/{manifest}",
        f"/r/team/app/_manifests/{manifest}",
        f"/b/{plan}",
    ):
        assert ask(guarded, path).status == 404, path


def test_pages_are_for_those_who_have_a_password(registry: TreeBuilder, tmp_path: Path) -> None:
    registry.push("secret/plans", "v9", image([BASE, "plan"]))
    users = tmp_path / "users"
    users.write_bytes(b"alice:" + bcrypt.hashpw(b"sesame", bcrypt.gensalt(4)) + b"\n")
    rule = b'[[rules]]\nusers = ["alice"]\nrepositories = ["team/*"]\nactions = ["read"]\n'
    gate = Gate(PasswordFile(str(users)), load_access(rule, "access.toml"))
    with hosted(registry.root, gate=gate) as url:
        assert ask(url).status == 401
        assert ask(url)["WWW-Authenticate"]
        home = requests.get(url, auth=("alice", "sesame"), timeout=60).text
        assert "team/app" in home
        assert "secret" not in home
        assert requests.get(f"{url}/gc", auth=("alice", "sesame"), timeout=60).status_code == 403


def test_an_unreadable_repository_looks_absent(guarded: str) -> None:
    there, not_there = ask(guarded, "/r/secret/plans"), ask(guarded, "/r/secret/other")
    assert there.text.replace("plans", "other") == not_there.text


@pytest.mark.parametrize("path", ["/usage", "/findings", "/gc"])
def test_totals_are_for_those_who_may_read_everything(guarded: str, path: str) -> None:
    page = ask(guarded, path)
    assert page.status == 403
    assert "secret" not in page.text
