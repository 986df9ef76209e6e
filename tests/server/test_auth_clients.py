"""Repositories that everybody may read beside those that need a password, for a real client.

skopeo pings `/v2/` first: were it let in there, it would never send its password.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from regfs.server.auth import Gate
from regfs.server.htpasswd import PasswordFile
from regfs.server.rules import load_access
from tests.support.builder import TreeBuilder
from tests.support.images import image
from tests.support.reference import make_oci_layout, needs_programs, run
from tests.support.server import hosted

ACCESS = b"""
[[rules]]
users = ["anonymous"]
repositories = ["public/*"]
actions = ["read"]

[[rules]]
users = ["alice"]
repositories = ["**"]
actions = ["read", "write"]
"""


@pytest.fixture
def host(tree: TreeBuilder, tmp_path: Path) -> Iterator[str]:
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    users = tmp_path / "users"
    users.write_text(f"alice:{hashed}\nbob:{hashed}\n")
    gate = Gate(PasswordFile(str(users)), load_access(ACCESS, "access.toml"))
    with hosted(tree.root, gate=gate, writable=True) as url:
        yield url.removeprefix("http://")


@needs_programs("skopeo")
def test_skopeo_reads_without_a_password_and_pushes_with_one(
    host: str, tree: TreeBuilder, tmp_path: Path
) -> None:
    make_oci_layout(tmp_path / "layout", {"v1": image(["a layer"])})
    source = f"oci:{tmp_path / 'layout'}:v1"

    def push(user: str, name: str) -> str:
        copy = ("skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false")
        to = ("--dest-creds", user, source, f"docker://{host}/{name}:v1")
        return run(*copy, *to, check=False).stderr

    def pull(name: str, *credentials: str) -> str:
        look = ("skopeo", "inspect", "--raw", "--tls-verify=false", *credentials)
        return run(*look, f"docker://{host}/{name}:v1", check=False).stderr

    assert "level=fatal" not in push("alice:secret", "public/app")
    assert "level=fatal" not in push("alice:secret", "team/app")
    assert pull("public/app", "--no-creds") == ""
    assert pull("public/app", "--creds", "bob:secret") == ""
    assert "unauthorized" in pull("team/app", "--no-creds")
    assert "denied: you may not read" in pull("team/app", "--creds", "bob:secret")
    assert sorted(tree.tags("public/app") + tree.tags("team/app")) == ["v1", "v1"]
