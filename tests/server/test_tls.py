"""TLS: files that cannot be used, and a connection over it."""

from __future__ import annotations

import shutil
import socket
import ssl
from pathlib import Path

import pytest
import requests

from regfs.errors import DocumentInvalid
from regfs.server.access_log import Exchange
from regfs.server.settings import Limits
from regfs.server.tls import server_context
from tests.support import wire
from tests.support.builder import TreeBuilder
from tests.support.certificates import Pair, made
from tests.support.reference import needs_programs
from tests.support.server import hosted

LARGE = 48 << 20


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return made(tmp_path_factory.mktemp("tls"), "one")


@needs_programs("openssl")
def test_what_is_pulled_over_tls(tree: TreeBuilder, pair: Pair) -> None:
    tree.push("app", "v1")
    blob = tree.blob(bytes(1 << 20))
    tree.layer_link("app", blob)
    with hosted(tree.root, tls=server_context(*pair)) as url:
        assert url.startswith("https://")
        answer = requests.get(f"{url}/v2/app/blobs/{blob}", verify=pair.certificate, timeout=60)
    assert answer.content == bytes(1 << 20)


@needs_programs("openssl")
def test_old_versions_are_refused(tree: TreeBuilder, pair: Pair) -> None:
    context = server_context(*pair)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


@needs_programs("openssl")
def test_plain_http_to_a_tls_port_breaks_nothing(tree: TreeBuilder, pair: Pair) -> None:
    with hosted(tree.root, tls=server_context(*pair)) as url:
        wire.get(url, b"/v2/")
        assert requests.get(f"{url}/v2/", verify=pair.certificate, timeout=60).ok


@needs_programs("openssl")
def test_a_client_that_does_not_read_over_tls_is_disconnected(
    tree: TreeBuilder, pair: Pair
) -> None:
    """Here the kernel does not see what is waited for; the buffer of the connection tells."""
    blob = tree.blob(bytes(LARGE))
    tree.layer_link("app", blob)
    heard: list[Exchange] = []
    limits = Limits(slow_seconds=0.4)
    context = ssl.create_default_context(cafile=pair.certificate)
    with (
        hosted(tree.root, tls=server_context(*pair), limits=limits, observe=heard.append) as url,
        wire.connected(url) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as one,
    ):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.sendall(b"GET /v2/app/blobs/%s HTTP/1.1\r\nHost: x\r\n\r\n" % blob.encode())
        wire.until(lambda: bool(heard))
    assert heard[0].status == 499


# -- files -------------------------------------------------------------------------------


@needs_programs("openssl")
def test_a_key_of_another_certificate(pair: Pair, tmp_path: Path) -> None:
    other = made(tmp_path, "other")
    with pytest.raises(DocumentInvalid, match=r"other\.key: not the key of .*one\.crt"):
        server_context(pair.certificate, other.key)


@needs_programs("openssl")
def test_a_key_with_a_passphrase(tmp_path: Path) -> None:
    sealed = made(tmp_path, "locked", "-passout", "pass:hunter2")
    with pytest.raises(DocumentInvalid, match="the key has a passphrase"):
        server_context(*sealed)


@needs_programs("openssl")
@pytest.mark.parametrize("which", [0, 1])
def test_a_missing_file_is_reported(pair: Pair, which: int) -> None:
    files = list(pair)
    files[which] = "/nothing/there"
    with pytest.raises(DocumentInvalid, match=r"^/nothing/there: No such file"):
        server_context(*files)


@needs_programs("openssl")
def test_files_the_wrong_way_round(pair: Pair) -> None:
    with pytest.raises(DocumentInvalid, match=r"one\.key: contains no certificate in PEM"):
        server_context(pair.key, pair.certificate)


@needs_programs("openssl")
def test_a_file_that_is_cut_off(pair: Pair, tmp_path: Path) -> None:
    cut = tmp_path / "cut.crt"
    shutil.copy(pair.certificate, cut)
    cut.write_bytes(cut.read_bytes()[:100])
    with pytest.raises(DocumentInvalid, match=r"cut\.crt, .*one\.key: ") as raised:
        server_context(str(cut), pair.key)
    assert "\n" not in str(raised.value)
