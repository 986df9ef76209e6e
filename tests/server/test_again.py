"""SIGHUP: what a server lives by is read again, and a file that is wrong changes nothing."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
from pathlib import Path

import bcrypt
import pytest
import requests

from tests.support import wire
from tests.support.builder import TreeBuilder
from tests.support.certificates import Pair, made
from tests.support.reference import needs_programs, run
from tests.support.served import end, serving

RULES = '[[rules]]\nusers = ["alice"]\nrepositories = ["{}"]\nactions = ["read"]\n'


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


def replaced(file: Path, text: str) -> None:
    """Write a file as careful programs do; its time is that of the one before."""
    before = file.stat()
    new = file.with_suffix(".new")
    new.write_text(text)
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.rename(file)


def again(process: subprocess.Popen[str], files: int = 1) -> list[str]:
    """Let a server read its files again; return what it says of each."""
    process.send_signal(signal.SIGHUP)
    assert process.stderr is not None
    said: list[str] = []
    while len(said) < files:
        line = process.stderr.readline()
        assert line, "the server has ended"
        if "HTTP/1.1" not in line:
            said.append(line.strip())
    return said


def status(url: str, name: str, password: str = "secret") -> int:
    target = f"{url}/v2/{name}/manifests/v1"
    return requests.get(target, auth=("alice", password), timeout=60).status_code


@pytest.fixture
def files(tree: TreeBuilder, tmp_path: Path) -> tuple[Path, Path]:
    """Users and rules of a tree with two repositories, one of which may be read."""
    tree.push("open", "v1")
    tree.push("closed", "v1")
    users, rules = tmp_path / "users", tmp_path / "rules.toml"
    users.write_text(f"alice:{hashed('secret')}\n")
    rules.write_text(RULES.format("open"))
    return users, rules


def options(files: tuple[Path, Path]) -> list[str]:
    users, rules = files
    return ["--htpasswd", str(users), "--access", str(rules)]


def test_sighup_reloads_rules(tree: TreeBuilder, files: tuple[Path, Path]) -> None:
    users, rules = files
    with serving(tree.root, *options(files)) as (process, url):
        assert (status(url, "open"), status(url, "closed")) == (200, 403)
        rules.write_text(RULES.format("closed"))
        assert status(url, "closed") == 403
        assert again(process, 2) == [
            f"regfs: {users} was read again",
            f"regfs: {rules} was read again",
        ]
        assert (status(url, "open"), status(url, "closed")) == (403, 200)
        assert end(process, signal.SIGTERM)[0] == 0


def test_sighup_reloads_passwords(tree: TreeBuilder, files: tuple[Path, Path]) -> None:
    users, _ = files
    with serving(tree.root, *options(files)) as (process, url):
        assert status(url, "open") == 200
        replaced(users, f"alice:{hashed('other')}\n")
        again(process, 2)
        assert (status(url, "open", "other"), status(url, "open", "secret")) == (200, 401)


@pytest.mark.parametrize("text", ["[[rules]]\nusers = 7\n", "", None])
def test_invalid_rules_keep_the_previous_ones(
    tree: TreeBuilder, files: tuple[Path, Path], text: str | None
) -> None:
    users, rules = files
    with serving(tree.root, *options(files)) as (process, url):
        replaced(users, f"alice:{hashed('other')}\n")
        if text is None:
            rules.unlink()
        else:
            rules.write_text(text)
        first, second = again(process, 2)
        assert first == f"regfs: {users} was read again"  # each by itself
        assert second.startswith(f"regfs: {rules}")
        assert second.endswith("; the rules stay as they were")
        assert (status(url, "open", "other"), status(url, "closed", "other")) == (200, 403)


@pytest.mark.parametrize("text", ["alice:plain\n", ""])
def test_an_invalid_password_file_keeps_the_previous_users(
    tree: TreeBuilder, files: tuple[Path, Path], text: str
) -> None:
    users, _ = files
    with serving(tree.root, *options(files)) as (process, url):
        users.write_text(text)
        told = again(process, 2)
        assert any(f"{users}" in line and "the users stay as they were" in line for line in told)
        if text:
            assert status(url, "open") == 200
        assert process.poll() is None


def test_a_user_in_new_rules_without_a_password_is_logged(
    tree: TreeBuilder, files: tuple[Path, Path]
) -> None:
    users, rules = files
    with serving(tree.root, *options(files)) as (process, _):
        rules.write_text(RULES.format("open").replace('"alice"', '"carol"'))
        assert f"regfs: {rules}: carol has no password in {users}" in again(process, 3)


def test_sighup_without_files_changes_nothing(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    with serving(tree.root) as (process, url):
        assert again(process) == ["regfs: there is no file to read again"]
        assert status(url, "app") == 200
        assert end(process, signal.SIGTERM)[0] == 0


# -- certificates ----------------------------------------------------------------------------


def certificate(url: str, name: str | None) -> bytes:
    """Return what a new connection is shown, in DER; without a name it asks for none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with wire.connected(url) as plain, context.wrap_socket(plain, server_hostname=name) as one:
        found = one.getpeercert(binary_form=True)
    assert found is not None
    return found


def in_der(pair: Pair) -> bytes:
    return ssl.PEM_cert_to_DER_cert(Path(pair.certificate).read_text())


@needs_programs("openssl", "curl")
def test_sighup_reloads_the_certificate(tree: TreeBuilder, tmp_path: Path) -> None:
    tree.push("app", "v1")
    pair, new = made(tmp_path, "one"), made(tmp_path, "two")
    files = ["--tls-cert", pair.certificate, "--tls-key", pair.key]
    before, after = in_der(pair), in_der(new)
    context = ssl.create_default_context(cadata=before)
    with serving(tree.root, *files) as (process, url):
        with (
            wire.connected(url) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as old,
        ):
            Path(new.certificate).rename(pair.certificate)
            (told,) = again(process)
            assert (
                told.startswith(f"regfs: {pair.certificate}, {pair.key}: ") or "not the key" in told
            )
            assert told.endswith("the certificate and its key stay as they were")
            assert certificate(url, "localhost") == certificate(url, None) == before
            Path(new.key).rename(pair.key)
            assert again(process) == [f"regfs: {pair.certificate} was read again"]
            assert certificate(url, "localhost") == certificate(url, None) == after
            assert still_answers(old)  # what began with the old one goes on
        done = run("curl", "-sS", "--cacert", pair.certificate, f"{url}/v2/")
        assert done.stdout == "{}"
        assert end(process, signal.SIGTERM)[0] == 0


def still_answers(one: socket.socket) -> bool:
    one.sendall(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return one.recv(12) == b"HTTP/1.1 200"
