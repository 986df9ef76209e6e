"""The clients people have, against a `regfs serve` with passwords, rules and TLS."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from tests.support.buildah import Podman
from tests.support.images import image
from tests.support.processes import RegfsServer
from tests.support.reference import make_oci_layout, needs_programs, run

ONE = image(["base", "top"])
PASSWORDS = {"ci": "open sesame", "reader": "let me look"}
ACCESS = """
[[rules]]
users = ["*"]
repositories = ["team/**"]
actions = ["read"]

[[rules]]
users = ["ci"]
repositories = ["team/**"]
actions = ["write", "delete"]
"""

needs_skopeo = needs_programs("openssl", "skopeo")


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    """Return the folder that clients are told to trust: who has signed the certificate."""
    folder = tmp_path / "trust"
    folder.mkdir()
    made = ("-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    files = ("-keyout", tmp_path / "tls.key", "-out", folder / "ca.crt")
    named = ("-days", "2", "-subj", "/CN=regfs", "-addext", "subjectAltName=IP:127.0.0.1")
    run("openssl", "req", *made, *files, *named)
    return folder


@pytest.fixture
def server(tmp_path: Path, trust: Path) -> Iterator[RegfsServer]:
    """A server that wants passwords, over TLS; only `ci` may change anything, below `team`."""
    root, users, access = tmp_path / "registry", tmp_path / "users", tmp_path / "access.toml"
    root.mkdir()
    lines = (
        f"{user}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()}\n"
        for user, password in PASSWORDS.items()
    )
    users.write_text("".join(lines))
    access.write_text(ACCESS)
    tls = ("--tls-cert", trust / "ca.crt", "--tls-key", tmp_path / "tls.key")
    may = ("--writable", "--delete", "--htpasswd", users, "--access", access)
    with RegfsServer(root, *may, *tls, trust=trust / "ca.crt") as running:
        yield running


@pytest.fixture
def layout(tmp_path: Path) -> str:
    make_oci_layout(tmp_path / "layout", {"one": ONE})
    return f"oci:{tmp_path / 'layout'}:one"


def skopeo(
    side: str, trust: Path, user: str | None, source: str, target: str
) -> subprocess.CompletedProcess[str]:
    """Copy as a user, or as nobody; `side` is the one that is a registry: src or dest."""
    who = f"--{side}-no-creds" if user is None else f"--{side}-creds={user}:{PASSWORDS[user]}"
    plain = ("skopeo", "--insecure-policy", "copy", "--quiet", "--preserve-digests")
    return run(*plain, who, f"--{side}-cert-dir", trust, source, target, check=False)


@needs_skopeo
def test_skopeo_pushes_and_pulls_with_a_password_and_over_tls(
    server: RegfsServer, trust: Path, layout: str, tmp_path: Path
) -> None:
    place = server.image("team/app:v1")
    assert skopeo("dest", trust, "ci", layout, place).stderr == ""
    assert skopeo("src", trust, "reader", place, f"dir:{tmp_path / 'out'}").stderr == ""
    assert (tmp_path / "out/manifest.json").read_bytes() == ONE.data
    log = server.log()
    assert "/v2/team/app/manifests/v1" in log
    for user, password in PASSWORDS.items():
        assert password not in log
        assert base64.b64encode(f"{user}:{password}".encode()).decode() not in log


@needs_skopeo
def test_skopeo_is_told_that_a_password_is_missing_or_is_not_enough(
    server: RegfsServer, trust: Path, layout: str, tmp_path: Path
) -> None:
    assert skopeo("dest", trust, "ci", layout, server.image("team/app:v1")).returncode == 0
    out = f"dir:{tmp_path / 'out'}"
    unknown = skopeo("src", trust, None, server.image("team/app:v1"), out)
    assert "unauthorized" in unknown.stderr
    reader = skopeo("dest", trust, "reader", layout, server.image("team/app:v2"))
    elsewhere = skopeo("dest", trust, "ci", layout, server.image("other/app:v1"))
    assert "denied" in reader.stderr
    assert "403 (Forbidden)" in elsewhere.stderr  # all that an answer to HEAD can say
    assert {path.name for path in server.root.glob("**/tags/*")} == {"v1"}


@needs_skopeo
def test_a_client_that_does_not_trust_the_certificate_sends_no_password(
    server: RegfsServer, layout: str, tmp_path: Path
) -> None:
    nobody = tmp_path / "trusts nobody"
    nobody.mkdir()
    done = skopeo("dest", nobody, "ci", layout, server.image("team/app:v1"))
    assert "certificate signed by unknown authority" in done.stderr
    assert "manifests" not in server.log()


@needs_programs("openssl", "podman")
def test_podman_logs_in_once_and_pushes(server: RegfsServer, trust: Path, tmp_path: Path) -> None:
    known = ("--authfile", str(tmp_path / "auth.json"), "--cert-dir", str(trust))
    with Podman() as podman:
        podman.build("scratch", {"/etc/motd": b"one\n"}, "localhost/app:v1")
        podman("login", *known, "-u", "ci", "-p", PASSWORDS["ci"], server.address)
        podman("push", "--quiet", *known, "localhost/app:v1", server.image("team/app:v1"))
        podman("rmi", "--all", "--force")
        assert podman("pull", "--quiet", *known, server.image("team/app:v1"))


@needs_programs("openssl", "curl")
def test_curl_reads_with_a_password_and_is_challenged_without(
    server: RegfsServer, trust: Path
) -> None:
    url = f"https://{server.address}/v2/_catalog"
    curl = ("curl", "-sS", "--cacert", trust / "ca.crt")
    assert json.loads(run(*curl, "-u", f"ci:{PASSWORDS['ci']}", url).stdout) == {"repositories": []}
    refused = run(*curl, "-i", url).stdout.lower()
    assert refused.startswith("http/1.1 401 ")
    assert "\nwww-authenticate: basic " in refused
