"""What real object stores refuse, in words; and images pulled from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from regfs.cli.app import run
from regfs.cli.session import Exit
from tests.make_fixtures import TREES
from tests.support.environment import environment
from tests.support.real_buckets import Server, bucket_on, kinds
from tests.support.reference import needs_programs
from tests.support.reference import run as program
from tests.support.served import serving

KEYS = {
    "AWS_ACCESS_KEY_ID": "the access key is not known there",
    "AWS_SECRET_ACCESS_KEY": "the secret key is wrong",
}


def refused(root: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the line in which a command fails."""
    assert run(["-r", root, "ls"]) == Exit.STORAGE.value
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("kind", kinds("rgw", "seaweedfs"))
def test_wrong_keys(
    kind: str, object_store: Callable[[str], Server], capsys: pytest.CaptureFixture[str]
) -> None:
    with bucket_on(object_store(kind), TREES / "whole") as root:
        for name, words in KEYS.items():
            with environment(**{name: "other"}):
                assert words in refused(root, capsys)


@pytest.mark.parametrize("kind", kinds("azurite"))
def test_a_wrong_key_of_an_account(
    kind: str, object_store: Callable[[str], Server], capsys: pytest.CaptureFixture[str]
) -> None:
    server = object_store(kind)
    other = environment(AZURE_STORAGE_ACCOUNT_KEY="b3RoZXI=")
    with bucket_on(server, TREES / "whole") as root, other:
        assert "the account refuses this key, or this network" in refused(root, capsys)


# fake-gcs-server answers 500.
@pytest.mark.parametrize("kind", kinds("rgw", "seaweedfs", "azurite"))
def test_no_such_bucket(
    kind: str, object_store: Callable[[str], Server], capsys: pytest.CaptureFixture[str]
) -> None:
    with bucket_on(object_store(kind)) as root:
        line = refused(root.partition("://")[0] + "://no-such-bucket", capsys)
    assert "there is no such" in line


# fake-gcs-server without a key signs nothing.
@needs_programs("skopeo")
@pytest.mark.parametrize("options", [(), ("--redirect",)])
@pytest.mark.parametrize("kind", kinds("rgw", "seaweedfs", "azurite"))
def test_images_are_pulled_from_a_bucket(
    kind: str, options: tuple[str, ...], object_store: Callable[[str], Server], tmp_path: Path
) -> None:
    with (
        bucket_on(object_store(kind), TREES / "tutorial", "pfx") as root,
        serving(root, *options) as (_, url),
    ):
        source = f"docker://{url.removeprefix('http://')}/my-busybox-extended:latest"
        program("skopeo", "copy", "--src-tls-verify=false", source, f"dir:{tmp_path}/pulled")
    assert len(list((tmp_path / "pulled").iterdir())) >= 4
