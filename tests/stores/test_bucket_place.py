"""Which bucket a root means, and with which keys it is reached."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from regfs.cli.app import run
from regfs.cli.session import Exit
from regfs.errors import DocumentInvalid, NotARegistry, StoreError
from regfs.stores.bucket.place import Bucket, of_url
from regfs.tree.roots import place_of
from tests.make_fixtures import TREES
from tests.support.buckets import KEY, NAME, SECRET, bucket_of, environment


def configured(folder: Path, storage: str, **variables: str) -> Bucket:
    """Return the bucket of a configuration."""
    file = folder / "config.yml"
    file.write_text(f"version: 0.1\nstorage: {storage}\n")
    found = place_of(str(file), variables)
    assert isinstance(found, Bucket)
    assert SECRET not in repr(found)
    assert pickle.loads(pickle.dumps(found)) == found
    return found


@pytest.mark.parametrize(
    ("root", "url"),
    [
        ("s3://b", "s3://b"),
        ("s3://b/", "s3://b"),
        ("gs://b/some//where/", "gs://b/some/where"),
        ("az://c/p", "az://c/p"),
    ],
)
def test_urls(root: str, url: str) -> None:
    assert of_url(root).url == url


@pytest.mark.parametrize("root", ["s3://", "s3:///x", "s3://a b", "gs://\x1b", "az://-x"])
def test_what_is_no_bucket(root: str) -> None:
    with pytest.raises(NotARegistry, match="must be") as caught:
        of_url(root)
    assert "\x1b" not in str(caught.value)


def test_keys_in_a_url_are_refused_and_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-r", f"s3://{KEY}:{SECRET}@bucket", "ls"]) == Exit.NOT_FOUND.value
    (line,) = capsys.readouterr().err.splitlines()
    assert "credentials do not belong in a URL" in line
    assert SECRET not in line


@pytest.mark.parametrize(
    ("more", "options"),
    [
        ("", {}),
        ("regionendpoint: 'http://h:9000/'", {"endpoint": "http://h:9000"}),
        ("regionendpoint: h:9000", {"endpoint": "https://h:9000"}),
        ("regionendpoint: h, secure: false", {"endpoint": "http://h"}),
        ("regionendpoint: h, forcepathstyle: false",
         {"endpoint": "https://b.h", "virtual_hosted_style_request": "true"}),
    ],
)  # fmt: skip
def test_s3_of_a_configuration(tmp_path: Path, more: str, options: dict[str, str]) -> None:
    keys = f"accesskey: {KEY}, secretkey: {SECRET}, region: r, bucket: b, rootdirectory: /p/q"
    found = configured(tmp_path, f"{{s3: {{{keys}, {more}}}}}")
    assert found.url == "s3://b/p/q"
    own = {"access_key_id": KEY, "secret_access_key": SECRET, "region": "r"}
    assert found.options == own | options


def test_gcs_and_azure_of_a_configuration(tmp_path: Path) -> None:
    found = configured(tmp_path, "{gcs: {bucket: b, keyfile: /k.json}}")
    assert (found.url, found.options) == ("gs://b", {"service_account": "/k.json"})
    found = configured(tmp_path, f"{{gcs: {{bucket: b, credentials: {{private_key: {SECRET}}}}}}}")
    assert SECRET in found.options["service_account_key"]
    keys = f"accountname: a, accountkey: {SECRET}, container: c, realm: example.net"
    found = configured(tmp_path, f"{{azure: {{{keys}}}}}")
    assert found.url == "az://c"
    assert found.options["endpoint"] == "https://a.blob.example.net"
    named = "credentials: {type: client_secret, clientid: i, tenantid: t, secret: s}"
    found = configured(tmp_path, f"{{azure: {{accountname: a, container: c, {named}}}}}")
    assert {"client_id": "i", "tenant_id": "t", "client_secret": "s"}.items() <= (
        found.options.items()
    )


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        (f"{{s3: {{bucket: b, secretkey: {SECRET}}}}}", "AWS_ACCESS_KEY_ID"),
        ("{gcs: {bucket: b, keyfile: /no/such}}", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("{azure: {container: c}}", "AZURE_STORAGE_ACCOUNT_NAME"),
        (f"{{azure: {{container: c, accountname: a, accountkey: '%{SECRET}'}}}}", "AZURE_STORAGE"),
    ],
)
def test_keys_that_are_none(
    tmp_path: Path, storage: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yml").write_text(f"storage: {storage}\n")
    with environment(AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None, HOME=str(tmp_path)):
        assert run(["-r", str(tmp_path / "config.yml"), "ls"]) == Exit.STORAGE.value
    (line,) = capsys.readouterr().err.splitlines()
    assert "no credentials that can be used: set " + words in line
    assert SECRET not in line


def test_variables_replace_parts(tmp_path: Path) -> None:
    found = configured(
        tmp_path, "{s3: {bucket: b}}", REGISTRY_STORAGE_S3_SECRETKEY=SECRET, HOME="/nowhere"
    )
    assert found.options == {"secret_access_key": SECRET}


def test_a_configuration_without_a_bucket(tmp_path: Path) -> None:
    with pytest.raises(DocumentInvalid, match="names no bucket"):
        configured(tmp_path, "{s3: {region: x}}")


def test_a_configuration_is_opened_with_its_own_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with bucket_of(TREES / "whole", "p/") as bucket:
        (tmp_path / "config.yml").write_text(
            f"storage: {{s3: {{accesskey: {KEY}, secretkey: {SECRET}, region: r, bucket: {NAME}, "
            f"rootdirectory: /p, regionendpoint: '{bucket.url}'}}}}\n"
        )
        with environment(
            AWS_ACCESS_KEY_ID="other", AWS_SESSION_TOKEN="other", AWS_ENDPOINT_URL=None
        ):
            assert run(["-r", str(tmp_path / "config.yml"), "info", "--json"]) == 0
        assert bucket.signed == {(KEY, None)}
    captured = capsys.readouterr()
    assert f's3://{NAME}/p"' in captured.out
    assert SECRET not in captured.out + captured.err


# -- profiles --------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with two profiles."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text(
        f"[default]\naws_access_key_id = D\naws_secret_access_key = {SECRET}%x\n"
        "[work]\naws_access_key_id=W\naws_secret_access_key=w\naws_session_token = a=b\n"
    )
    (tmp_path / ".aws/config").write_text(
        "[default]\nregion = r1\n[profile work]\nregion = r2\nendpoint_url = http://h\n"
        "s3 =\n  max_concurrent_requests = 20\n"
    )
    return tmp_path


def test_the_profile_of_the_user(home: Path) -> None:
    found = of_url("s3://b", {"HOME": str(home)})
    assert found.options["access_key_id"] == "D"
    assert found.options["secret_access_key"] == f"{SECRET}%x"
    assert found.options["region"] == "r1"
    assert SECRET not in repr(found)
    work = of_url("s3://b", {"HOME": str(home), "AWS_PROFILE": "work"}).options
    assert (work["session_token"], work["endpoint"]) == ("a=b", "http://h")


def test_keys_in_the_environment_come_first(home: Path) -> None:
    assert of_url("s3://b", {"HOME": str(home), "AWS_ACCESS_KEY_ID": "x"}).options == {}
    assert of_url("gs://b", {"HOME": str(home)}).options == {}
    assert of_url("s3://b", {"HOME": str(home / "none")}).options == {}


def test_a_profile_that_is_not_there_or_damaged(home: Path) -> None:
    with pytest.raises(StoreError, match="no access key of other"):
        of_url("s3://b", {"HOME": str(home), "AWS_PROFILE": "other"})
    for data in (b"\xff\xfe\x00", f"no section {SECRET}".encode()):
        (home / ".aws/credentials").write_bytes(data)
        with pytest.raises(StoreError, match="not a file of AWS profiles") as caught:
            of_url("s3://b", {"HOME": str(home)})
        assert SECRET not in str(caught.value)
