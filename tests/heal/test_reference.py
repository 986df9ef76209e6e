"""What a registry does with corrupt data, and that heal and quarantine are the cure: the real one.

A docker-registry serves the tree or is the source, and skopeo pushes and pulls.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from regfs.cli.app import run as regfs
from regfs.heal.opening import open_source
from regfs.heal.source import Credentials, RegistryAccess
from regfs.runs import restore, runs
from regfs.stores import open_store
from tests.support.backups import ARM, LAYER, MULTI, ONE, heal_from, stocked
from tests.support.builder import TreeBuilder
from tests.support.loopback import LoopbackServer
from tests.support.processes import Answer
from tests.support.reference import (
    ReferenceRegistry,
    copy,
    make_oci_layout,
    needs_reference,
    pull_all,
)

Serve = Callable[[Path], ReferenceRegistry]


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    return stocked(tree)


@pytest.fixture
def push(tmp_path: Path) -> Callable[[ReferenceRegistry], None]:
    make_oci_layout(tmp_path / "layout", {"v1": ONE})

    def push(registry: ReferenceRegistry) -> None:
        place = registry.image("app:v1")
        copy(f"oci:{tmp_path / 'layout'}:v1", place, "--preserve-digests")

    return push


def pulls(registry: ReferenceRegistry, folder: Path) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    return pull_all(registry.image("app:v1"), folder, check=False).returncode == 0


@needs_reference
@pytest.mark.parametrize("kind", ["blob-flipped", "blob-empty", "manifest-empty"])
def test_a_push_heals_nothing_until_the_corrupt_data_is_in_quarantine(
    shop: TreeBuilder,
    tmp_path: Path,
    registry_server: Serve,
    push: Callable[[ReferenceRegistry], None],
    kind: str,
) -> None:
    good = shop.files()
    damaged = shop.root / shop.break_(kind, "app", "v1")
    bad = damaged.read_bytes()
    registry = registry_server(shop.root)
    assert not pulls(registry, tmp_path / "pulled")
    push(registry)
    assert damaged.read_bytes() == bad  # sticky: it was there, so it was not written
    assert not pulls(registry, tmp_path / "pulled")
    assert regfs(["-r", str(shop.root), "verify", "--quarantine", "-q"]) == 1
    assert not damaged.exists()
    push(registry)
    assert pulls(registry, tmp_path / "pulled")
    assert {path: shop.files()[path] for path in good} == good
    assert regfs(["-r", str(shop.root), "verify", "-q"]) == 0


@needs_reference
def test_what_was_quarantined_comes_back_when_nothing_took_its_place(shop: TreeBuilder) -> None:
    shop.break_("blob-flipped", "app", "v1", LAYER)
    damaged = shop.files()
    assert regfs(["-r", str(shop.root), "verify", "--quarantine", "-q"]) == 1
    store = open_store(str(shop.root))
    (run,) = runs(store)
    restore(store, run.run)
    assert shop.files() == damaged


def ruined(shop: TreeBuilder) -> dict[str, str]:
    good = shop.files()
    shop.break_("blob-flipped", "app", "v1", LAYER)
    shop.break_("manifest-empty", "app", "v1")
    shop.delete_blob(MULTI.digest)
    shop.delete_blob(ARM.digest)
    shop.delete_blob(ARM.blobs[1].digest)
    return good


@needs_reference
def test_a_registry_heals_and_what_was_healed_can_be_pulled(
    shop: TreeBuilder, tmp_path: Path, registry_server: Serve
) -> None:
    mirror = stocked(TreeBuilder(tmp_path / "mirror"))
    good = ruined(shop)
    source = registry_server(mirror.root)
    assert heal_from(shop, f"http://{source.address}").broken == 0
    assert shop.files() == good
    healed = registry_server(shop.root)
    pull_all(healed.image("app:v1"), tmp_path / "one")
    pull_all(healed.image("team/x:multi"), tmp_path / "multi")


@needs_reference
def test_a_registry_that_names_its_repositories_otherwise_heals_by_its_catalog(
    shop: TreeBuilder, tmp_path: Path, registry_server: Serve
) -> None:
    mirror = TreeBuilder(tmp_path / "mirror")
    mirror.push("mirror/of/app", "v1", ONE)
    mirror.push("mirror/of/x", "v1", MULTI)
    good = ruined(shop)
    source = registry_server(mirror.root)
    assert heal_from(shop, f"http://{source.address}").broken == 0
    assert shop.files() == good


class Guarded(ReferenceRegistry):
    """A docker-registry that wants a password."""

    def __enter__(self) -> Guarded:
        import tests.support.reference as reference

        plain = reference._configure

        def configure(path: Path, root: Path, port: int) -> Path:
            made = plain(path, root, port)
            config = json.loads(made.read_bytes())
            # bcrypt of "secret", as `htpasswd -B` writes it.
            hashed = "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"
            (path.parent / "htpasswd").write_text(f"me:{hashed}\n")
            config["auth"] = {"htpasswd": {"realm": "x", "path": str(path.parent / "htpasswd")}}
            made.write_text(json.dumps(config))
            return made

        reference._configure = configure
        try:
            super().__enter__()
        finally:
            reference._configure = plain
        return self

    def request(
        self, method: str, url: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        answer = super().request(method, url, body, headers)
        # A registry that refuses is up.
        return answer._replace(status=200) if answer.status == 401 and url == "/v2/" else answer


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[str, TreeBuilder]]:
    mirror = stocked(TreeBuilder(tmp_path / "mirror"))
    with Guarded(mirror.root) as registry:
        yield f"http://{registry.address}", mirror


@needs_reference
def test_a_registry_with_a_password_heals_those_who_know_it(
    shop: TreeBuilder, tmp_path: Path, guarded: tuple[str, TreeBuilder]
) -> None:
    url, _ = guarded
    good = ruined(shop)
    with closing(
        open_source(url, RegistryAccess(credentials=Credentials("me", "guess")))
    ) as source:
        healed = heal_from(shop, source)
    assert healed.healed == 0
    assert all("refused the credentials" in one.message for one in healed.outcomes)
    auth = base64.b64encode(b"me:secret").decode()
    file = tmp_path / "auth.json"
    file.write_text(json.dumps({"auths": {url.removeprefix("http://"): {"auth": auth}}}))
    with closing(open_source(url, RegistryAccess(authfile=str(file)))) as source:
        assert heal_from(shop, source).broken == 0
    assert shop.files() == good


@needs_reference
def test_tls_is_verified_against_the_given_certificates(shop: TreeBuilder, tmp_path: Path) -> None:
    import ssl
    from http.server import BaseHTTPRequestHandler

    from regfs.errors import SourceError

    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out",
         certificate],
        check=True, capture_output=True,
    )  # fmt: skip

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = LoopbackServer(Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.start()
    address = f"docker://127.0.0.1:{server.port}"
    try:
        with pytest.raises(SourceError, match="certificate"):
            open_source(address, RegistryAccess())
        open_source(address, RegistryAccess(ca=str(certificate))).close()
        open_source(address, RegistryAccess(verify_tls=False)).close()
    finally:
        server.stop()
