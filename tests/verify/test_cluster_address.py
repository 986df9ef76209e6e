"""What is no scheduler, or has other certificates, is told in a line and in bounded time."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from regfs.cli.session import Exit
from tests.support.builder import TreeBuilder, image
from tests.support.cluster import cluster_of, regfs
from tests.support.reference import needs_programs

pytest.importorskip("distributed")


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    tree.push("app", "v1", image(["one"]))
    return tree


@pytest.mark.parametrize(
    ("address", "code", "words"),
    [
        ("tcp://127.0.0.1:1", Exit.STORAGE, "no scheduler answers there"),
        ("127.0.0.1", Exit.USAGE, "a scheduler is tcp://HOST:PORT"),
        ("tcp://u\x1b[0m:8", Exit.USAGE, "a scheduler is tcp://HOST:PORT"),
    ],
)
def test_an_address_of_no_scheduler(
    shop: TreeBuilder, address: str, code: Exit, words: str
) -> None:
    done = regfs("-r", shop.root, "gc", "plan", "--cluster", address)
    assert (done.returncode, done.stdout) == (code.value, "")
    assert words in done.stderr
    assert "\x1b" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 64])
def test_what_is_no_scheduler_is_said_to_be_none(shop: TreeBuilder, answer: bytes) -> None:
    """What listens there says nothing, or something else; none is waited for for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    connections.append(connection)
                    connection.sendall(answer)
                    if answer:
                        connection.close()

        connections: list[socket.socket] = []
        threading.Thread(target=serve, daemon=True).start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        done = regfs("-r", shop.root, "verify", "--cluster", address)
        server.shutdown(socket.SHUT_RDWR)
    assert (done.returncode, done.stdout) == (Exit.STORAGE.value, "")
    assert re.fullmatch(rf"regfs: {address}: no scheduler [^\n]+\n", done.stderr)
    for connection in connections:
        connection.close()


# -- TLS -----------------------------------------------------------------------------------


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def certificates(folder: Path, authority: str, name: str) -> None:
    """Make an authority, and a certificate that it has signed."""
    key = ("-newkey", "rsa:2048", "-nodes")
    made = ("-keyout", f"{authority}.key", "-out", f"{authority}.pem", "-subj", f"/CN={authority}")
    openssl(folder, "req", "-x509", *key, *made, "-days", "2")
    made = ("-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
    openssl(folder, "req", *key, *made)
    signer = ("-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-CAcreateserial")
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signer, "-out", f"{name}.pem")


def tls(folder: Path, authority: str, name: str, *roles: str) -> dict[str, str]:
    """Return Dask's own variables that name them, for some roles."""
    start = "DASK_DISTRIBUTED__COMM__TLS__"
    found = {f"{start}CA_FILE": str(folder / f"{authority}.pem")}
    for role in roles:
        found[f"{start}{role}__CERT"] = str(folder / f"{name}.pem")
        found[f"{start}{role}__KEY"] = str(folder / f"{name}.key")
    return found


@needs_programs("openssl")
def test_a_scheduler_with_tls_takes_and_gives_certificates(
    shop: TreeBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates(tmp_path, "ours", "node")
    certificates(tmp_path, "theirs", "stranger")
    for_all = tls(tmp_path, "ours", "node", "SCHEDULER", "WORKER")
    with cluster_of(tmp_path, 1, scheme="tls", variables=for_all) as cluster:
        assert cluster.address.startswith("tls://")

        def verify(address: str, variables: Mapping[str, str]) -> tuple[int, str]:
            with monkeypatch.context() as patch:
                for name, text in variables.items():
                    patch.setenv(name, text)
                done = regfs("-r", shop.root, "verify", "-q", "--no-ledger", "--cluster", address)
            assert (done.stdout, len(done.stderr.splitlines())) == ("", min(done.returncode, 1))
            return done.returncode, done.stderr

        ours = tls(tmp_path, "ours", "node", "CLIENT")
        assert verify(cluster.address, ours) == (Exit.CLEAN.value, "")
        for variables, words in (
            ({}, "no certificates: set distributed.comm.tls"),
            (tls(tmp_path, "theirs", "stranger", "CLIENT"), "takes these certificates"),
            (tls(tmp_path, "ours", "stranger", "CLIENT"), "takes these certificates"),
            (tls(tmp_path, "ours", "nobody", "CLIENT"), "cannot be used: No such file"),
        ):
            code, said = verify(cluster.address, variables)
            assert (code, words in said) == (Exit.STORAGE.value, True), said
        code, said = verify(cluster.address.replace("tls:", "tcp:"), ours)
        assert (code, "is it tls://?" in said) == (Exit.STORAGE.value, True), said
