"""The real programs tests compare regfs with: docker-registry 2.8 (as Debian packages it), skopeo.

    @needs_reference
    def test_pull(tree, tmp_path):
        tree.push("app", "v1")
        with ReferenceRegistry(tree.root) as registry:
            pull_all(registry.image("app:v1"), tmp_path / "pulled")
            assert registry.push("app", "v2", image(["more"])).startswith("sha256:")
        assert collect(tree.root, delete_untagged=True).blobs == set()

A missing program skips a test, except in CI (`REGFS_CI=1`), where the test runs and fails.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest

from tests.support.images import Content, digest_of, dumps
from tests.support.processes import TIMEOUT, RegistryProcess

IN_CI = os.environ.get("REGFS_CI") == "1"
REGISTRY = "docker-registry"

_Test = TypeVar("_Test", bound=Callable[..., object] | type)


def have(*programs: str) -> bool:
    """Return whether all these programs are installed."""
    return all(shutil.which(program) for program in programs)


def needs_programs(*programs: str) -> Callable[[_Test], _Test]:
    """Mark a test or class as one that drives these programs."""
    missing = [program for program in programs if not have(program)]
    skip = pytest.mark.skipif(
        bool(missing) and not IN_CI, reason=f"not installed: {', '.join(missing)}"
    )
    return lambda test: pytest.mark.reference(skip(test))


needs_reference = needs_programs(REGISTRY, "skopeo")
"""Mark a test or class as one that drives docker-registry and skopeo."""


def run(*command: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; fail the test with what it said when it fails."""
    # Debian's 2.8.2 registry panics when this variable names a file with no S3 configured.
    environment = {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT, env=environment, check=False
    )
    if check and done.returncode != 0:
        pytest.fail(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stderr}")
    return done


# skopeo


def copy(
    source: str, target: str, *options: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Copy one image, without TLS; references are skopeo's (docker://, oci:, dir:)."""
    plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
    return run(
        "skopeo", "--insecure-policy", "copy", "--quiet", *plain, *options, source, target,
        check=check,
    )  # fmt: skip


def pull_all(
    reference: str, folder: Path, *, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Pull an image with all its platforms into a new folder; every digest is checked."""
    return copy(reference, f"dir:{folder}", "--all", "--preserve-digests", check=check)


def inspect(reference: str) -> dict[str, Any]:
    """Return what skopeo says of an image: Name, Digest, Layers, ..."""
    return dict(json.loads(run("skopeo", "inspect", "--tls-verify=false", reference).stdout))


def make_oci_layout(folder: Path, images: Mapping[str, Content]) -> None:
    """Write an OCI image layout; `skopeo copy oci:<folder>:<name>` reads each image."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def store(content: Content) -> None:
        for data in (content.data, *(blob.data for blob in content.blobs)):
            (blobs / digest_of(data).partition(":")[2]).write_bytes(data)
        for child in content.children:
            store(child)

    entries = []
    for name, content in images.items():
        store(content)
        notes = {"org.opencontainers.image.ref.name": name}
        entries.append({**content.descriptor(), "annotations": notes})
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (folder / "index.json").write_bytes(dumps({"schemaVersion": 2, "manifests": entries}))


# docker-registry


class GcResult(NamedTuple):
    """What `docker-registry garbage-collect` did, or in a dry run would have done."""

    returncode: int
    blobs: set[str]
    manifests: set[tuple[str, str]]
    """(repository, digest) of the revisions removed. Version 2.8 never removes a layer link."""
    output: str


def _configure(path: Path, root: Path, port: int) -> Path:
    config = {
        "version": "0.1",
        "log": {"level": "info", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(root)},
            "delete": {"enabled": True},
            "maintenance": {"uploadpurging": {"enabled": False}},
        },
        "compatibility": {"schema1": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "of the tests"},
    }
    path.write_bytes(dumps(config))  # JSON is YAML
    return path


def collect(root: Path, *, delete_untagged: bool = False, dry_run: bool = True) -> GcResult:
    """Run the reference garbage collector over a tree that nobody serves."""
    options = [*(["--dry-run"] if dry_run else []), *(["-m"] if delete_untagged else [])]
    with tempfile.TemporaryDirectory() as folder:
        config = _configure(Path(folder, "config.yml"), root, 0)
        done = run(REGISTRY, "garbage-collect", *options, config, check=False)
    blobs: set[str] = set()
    manifests: set[tuple[str, str]] = set()
    repository = ""
    for line in done.stdout.splitlines():
        subject, found, digest = line.partition(" eligible for deletion: ")
        if found and subject == "blob":
            blobs.add(digest)
        elif found and subject == "manifest":
            manifests.add((repository, digest))
        elif line and " " not in line:  # a repository's name stands alone above its lines
            repository = line
    return GcResult(done.returncode, blobs, manifests, done.stdout + done.stderr)


class ReferenceRegistry(RegistryProcess):
    """A docker-registry that serves a tree on the loopback while the block runs."""

    program = REGISTRY

    def command(self, port: int) -> list[str | Path]:
        """Return what serves the tree at a port of 127.0.0.1."""
        return [REGISTRY, "serve", _configure(self.folder / "config.yml", self.root, port)]


class BucketRegistry(ReferenceRegistry):
    """A docker-registry on the bucket that the environment names."""

    def __init__(self, bucket: str, prefix: str = "") -> None:
        super().__init__(Path(prefix))
        self._bucket = bucket

    def command(self, port: int) -> list[str | Path]:
        """Return what serves the bucket at a port of 127.0.0.1."""
        s3 = {
            "accesskey": os.environ["AWS_ACCESS_KEY_ID"],
            "secretkey": os.environ["AWS_SECRET_ACCESS_KEY"],
            "region": os.environ["AWS_REGION"],
            "regionendpoint": os.environ["AWS_ENDPOINT_URL"],
            "bucket": self._bucket,
            "rootdirectory": f"/{self.root}" if self.root.parts else "",
            "secure": False,
            "v4auth": True,
            "chunksize": 10 << 20,
        }
        command = super().command(port)
        file = Path(command[-1])
        config = json.loads(file.read_text())
        config["storage"] |= {"s3": s3, "redirect": {"disable": True}}
        del config["storage"]["filesystem"]
        file.write_bytes(dumps(config))
        return command
