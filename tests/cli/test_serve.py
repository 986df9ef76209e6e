"""`regfs serve`: what it refuses to begin with, and how it begins and ends."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from regfs.cli.app import run
from regfs.runs.lock import LOCK
from regfs.stores import open_store
from tests.support import wire
from tests.support.builder import TreeBuilder
from tests.support.served import HASH, end, serving

RULES = '[[rules]]\nusers = ["alice", "carol"]\nrepositories = ["**"]\nactions = ["read"]\n'


@pytest.fixture
def users(tmp_path: Path) -> str:
    file = tmp_path / "users"
    file.write_text(f"alice:{HASH}\n")
    return str(file)


def refused(capsys: pytest.CaptureFixture[str], root: Path, *options: str) -> tuple[int, str]:
    """Return the exit code and the last line of what is said; a server that begins hangs."""
    code = run(["-r", str(root), "serve", *options])
    told = capsys.readouterr().err.strip()
    assert "Traceback" not in told
    return code, told.splitlines()[-1]


# -- what it does not begin with ---------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--delete"], "--delete needs --writable"),
        (["--access", "rules.toml"], "--access needs --htpasswd"),
        (["--tls-cert", "x.pem"], "--tls-cert and --tls-key go together"),
        (["--listen", "localhost"], "say HOST:PORT"),
        (["--listen", "127.0.0.1:65536"], "say HOST:PORT"),
        (["--listen", "[::1]"], "say HOST:PORT"),
        (["--listen", "::1"], "say HOST:PORT"),
        (["--listen", "unix:relative"], "unix:/PATH"),
        (["--htpasswd", "/nothing/there"], "/nothing/there: No such file"),
        (["--tls-cert", "/nothing/c", "--tls-key", "/nothing/k"], "/nothing/c: No such file"),
        (["--max-blob-size", "large"], "is not a size"),
        (["--keep-free", "much"], "is not a size"),
        (["--expire-uploads", "59m"], "at least an hour"),
        (["--host-name", "https://registry.example/"], "give a name"),
    ],
)
def test_contradictory_options_are_refused(
    tree: TreeBuilder, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    code, line = refused(capsys, tree.root, *options)
    assert code == 2
    assert told in line


def test_an_unknown_host_to_listen_on_is_refused(
    tree: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    code, line = refused(capsys, tree.root, "--listen", "nowhere.invalid:5000")
    assert code == 2
    assert "nowhere.invalid:5000" in line


def test_a_wrong_line_in_the_password_file(
    tree: TreeBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "wrong"
    file.write_text(f"alice:{HASH}\nbob:hunter2\n")
    code, line = refused(capsys, tree.root, "--htpasswd", str(file))
    assert (code, line.partition(": ")[2].partition(": ")[0]) == (2, f"{file}:2")
    assert "hunter2" not in line


def test_a_wrong_line_in_the_access_file(
    tree: TreeBuilder, users: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rules.toml"
    file.write_text(RULES.replace("read", "pull"))
    code, line = refused(capsys, tree.root, "--htpasswd", users, "--access", str(file))
    assert code == 2
    assert line.startswith(f"regfs: {file}: rules[0].actions[0]: must be")


@pytest.mark.parametrize("host", ["0.0.0.0:0", ":0", "*:0", "[::]:0"])
def test_other_machines_are_served_only_with_passwords_and_tls(
    tree: TreeBuilder, users: str, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    code, line = refused(capsys, tree.root, "--listen", host)
    assert code == 3
    assert "nobody would need a password" in line
    code, line = refused(capsys, tree.root, "--listen", host, "--htpasswd", users)
    assert code == 3
    assert "in the clear" in line


@pytest.mark.parametrize("mode", [[], ["--writable"]])
def test_serve_is_refused_during_a_collection(
    tree: TreeBuilder, capsys: pytest.CaptureFixture[str], mode: list[str]
) -> None:
    tree.push("app", "v1")
    with open_store(str(tree.root)).lock(LOCK, "gc, process 1"):
        code, line = refused(capsys, tree.root, *mode)
    assert code == 3
    assert "locked by gc, process 1" in line


def test_a_second_writable_server_is_refused(tree: TreeBuilder) -> None:
    """Two would not see which of them writes to an upload, or who changes a tag first."""
    tree.push("app", "v1")
    with serving(tree.root, "--writable") as (process, url):
        command = [sys.executable, "-m", "regfs", "-r", str(tree.root), "serve", "--writable"]
        second = subprocess.run(
            [*command, "--listen", "127.0.0.1:0"],
            capture_output=True,
            text=True,
            timeout=wire.LOCK_TIMEOUT,
            check=False,
        )
        assert second.returncode == 3
        assert second.stderr.startswith("regfs: another server takes pushes into this tree (")
        assert f"process {process.pid} on " in second.stderr
        with serving(tree.root) as (reader, other):
            assert requests.get(f"{other}/v2/app/manifests/v1", timeout=60).ok
            assert end(reader, signal.SIGTERM)[0] == 0
        assert run(["-r", str(tree.root), "gc", "run", "-m", "--yes"]) == 0
        assert requests.post(f"{url}/v2/app/blobs/uploads/", timeout=60).ok
        process.kill()
        process.wait()
    with serving(tree.root, "--writable") as (process, url):
        assert requests.post(f"{url}/v2/app/blobs/uploads/", timeout=60).ok
        assert end(process, signal.SIGTERM)[0] == 0
    with serving(tree.root, "--writable") as (process, _):
        assert end(process, signal.SIGTERM)[0] == 0


def test_a_writable_server_without_write_permission_is_refused(
    tree: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.push("app", "v1")
    (tree.root / ".regfs").write_text("in the way")
    assert refused(capsys, tree.root, "--writable")[0] == 5


def test_serve_refuses_a_folder_without_a_tree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, tmp_path / "nothing")[0] == 4


def test_a_port_in_use_is_one_line(tree: TreeBuilder, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        where = f"127.0.0.1:{other.getsockname()[1]}"
        code, line = refused(capsys, tree.root, "--listen", where)
    assert code == 5
    assert line == f"regfs: cannot listen on {where}: Address already in use"


# -- how it begins and ends --------------------------------------------------------------


def test_serve_prints_address_tree_and_mode(tree: TreeBuilder) -> None:
    with serving(tree.root) as (process, url):
        assert requests.get(f"{url}/v2/", timeout=60).ok
        code, told = end(process, signal.SIGTERM)
    assert code == 0
    assert '"GET /v2/ HTTP/1.1" 200 ' in told
    assert "Traceback" not in told


def test_serve_exits_130_on_sigint(tree: TreeBuilder) -> None:
    with serving(tree.root) as (process, _):
        assert end(process, signal.SIGINT)[0] == 130


def test_a_second_signal_aborts_requests(tree: TreeBuilder) -> None:
    blob = tree.blob(bytes(48 << 20))
    tree.layer_link("app", blob)
    with serving(tree.root, "--grace", "1h") as (process, url), wire.connected(url) as one:
        one.sendall(b"GET /v2/app/blobs/%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % blob.encode())
        assert one.recv(12) == b"HTTP/1.1 200"
        process.send_signal(signal.SIGTERM)
        wire.until(lambda: not listens(url))
        assert process.poll() is None
        code, told = end(process, signal.SIGTERM)
    assert code == 0
    assert "Traceback" not in told


def listens(url: str) -> bool:
    try:
        with wire.connected(url):
            return True
    except ConnectionRefusedError:
        return False


def test_serve_listens_on_ipv6(tree: TreeBuilder) -> None:
    if not has_version_6():
        pytest.skip("this machine has no address ::1")
    with serving(tree.root, "--listen", "[::1]:0") as (process, url):
        assert url.startswith("http://[::1]:")
        assert requests.get(f"{url}/healthz", timeout=60).ok
        assert end(process, signal.SIGTERM)[0] == 0


def has_version_6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as one:
            one.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("how", ["combined", "json", "none"])
def test_the_log_has_the_shape_that_was_asked_for(tree: TreeBuilder, users: str, how: str) -> None:
    tree.push("app", "v1")
    with serving(tree.root, "--log-format", how, "--htpasswd", users) as (process, url):
        target = f"{url}/v2/app/manifests/v1"
        assert requests.get(target, auth=("alice", "secret"), timeout=60).ok
        _, told = end(process, signal.SIGTERM)
    if how == "combined":
        assert re.match(
            r'127\.0\.0\.1 - alice \[.*\] "GET /v2/app/manifests/v1 HTTP/1.1" 200', told
        )
    elif how == "json":
        document = json.loads(told)
        assert (document["repository"], document["tag"], document["user"]) == ("app", "v1", "alice")
    else:
        assert told == ""


def test_a_user_in_the_rules_without_a_password_is_noted(
    tree: TreeBuilder, users: str, tmp_path: Path
) -> None:
    file = tmp_path / "rules.toml"
    file.write_text(RULES)
    command = [sys.executable, "-m", "regfs", "-r", str(tree.root), "serve"]
    options = ["--listen", "127.0.0.1:0", "--htpasswd", users, "--access", str(file)]
    with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        process.terminate()
    assert line == f"{file}: carol has no password in {users}\n"


def test_serve_listens_on_a_unix_socket(tree: TreeBuilder, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    for _ in range(2):  # what a killed server leaves is no hindrance
        with serving(tree.root, "--listen", f"unix:{path}") as (process, url):
            assert url == f"http+unix:{path}"
            with socket.socket(socket.AF_UNIX) as one:
                one.connect(str(path))
                one.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert wire.rest(one).startswith(b"HTTP/1.1 200")
            process.kill()


def test_serve_listens_on_localhost_by_name(tree: TreeBuilder) -> None:
    with serving(tree.root, "--listen", "localhost:0") as (process, url):
        assert requests.get(f"{url}/healthz", timeout=60).ok
        assert end(process, signal.SIGTERM)[0] == 0


def test_loopback_without_passwords_answers_only_own_names(tree: TreeBuilder, users: str) -> None:
    def status(url: str, host: str) -> int:
        return requests.get(f"{url}/v2/", headers={"Host": host}, timeout=60).status_code

    own = ("--host-name", "Registry.Example")
    with serving(tree.root, *own) as (process, url):
        assert status(url, "localhost") == status(url, "registry.example:5000") == 200
        assert status(url, "evil.example") == 403
        assert end(process, signal.SIGTERM)[0] == 0
    for options in (("--htpasswd", users), ("--listen", "0.0.0.0:0", "--insecure")):
        with serving(tree.root, *options) as (process, url):
            there = url.replace("0.0.0.0", "127.0.0.1")
            assert status(there, "evil.example") in (200, 401)
            assert end(process, signal.SIGTERM)[0] == 0


def test_insecure_serves_other_machines(tree: TreeBuilder) -> None:
    with serving(tree.root, "--listen", "0.0.0.0:0", "--insecure") as (process, url):
        port = url.rpartition(":")[2]
        assert requests.get(f"http://127.0.0.1:{port}/healthz", timeout=60).ok
        assert end(process, signal.SIGTERM)[0] == 0


def test_a_tree_that_cannot_be_written_is_served(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    before = tree.files(""), tree.folders("")
    for path in tree.root.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    tree.root.chmod(0o555)
    try:
        with serving(tree.root) as (process, url):
            assert requests.get(f"{url}/v2/app/manifests/v1", timeout=60).ok
            assert end(process, signal.SIGTERM)[0] == 0
    finally:
        for path in (tree.root, *tree.root.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert (tree.files(""), tree.folders("")) == before


def test_health_fails_when_the_tree_is_removed(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    with serving(tree.root) as (process, url):
        assert requests.get(f"{url}/healthz", timeout=60).json() == {"status": "ok"}
        (tree.root / "docker").rename(tree.root / "away")
        wire.until(lambda: requests.get(f"{url}/healthz", timeout=60).status_code == 503)
        (tree.root / "away").rename(tree.root / "docker")
        wire.until(lambda: requests.get(f"{url}/healthz", timeout=60).status_code == 200)
        _, told = end(process, signal.SIGTERM)
    assert "regfs: not healthy: docker/registry/v2 is gone" in told
