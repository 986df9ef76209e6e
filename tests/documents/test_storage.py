"""The storage section of a registry's configuration: both forms, variables, and hostile YAML."""

from __future__ import annotations

import pytest

from regfs.documents.storage import Storage, is_configuration, read_storage
from regfs.errors import DocumentInvalid

V2 = b"""\
version: 0.1
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /srv/registry
  delete:
    enabled: true
http:
  addr: :5000
"""
V3 = b"""\
version: 0.1
storage:
  delete: {enabled: true}
  tag: {concurrencylimit: 8}
  redirect: {disable: true}
  maintenance:
    uploadpurging: {enabled: false}
  filesystem: {rootdirectory: '/srv/registry', maxthreads: 100}
"""
S3 = b"""\
storage:
  s3:
    accesskey: AKIDTEST
    secretkey: SECRETTEST
    regionendpoint: https://user:SECRETTEST@s3.example.com
    bucket: images
    rootdirectory: /prod
"""


def storage(data: bytes, **variables: str) -> Storage:
    return read_storage(data, "config.yml", variables)


def problem(data: bytes, **variables: str) -> str:
    with pytest.raises(DocumentInvalid) as caught:
        storage(data, **variables)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


@pytest.mark.parametrize("data", [V2, V3])
def test_the_forms_of_both_versions_name_a_folder(data: bytes) -> None:
    assert is_configuration(data.decode())
    assert storage(data).folder == "/srv/registry"


@pytest.mark.parametrize(
    "data", [b"storage: filesystem", b"storage:\n  filesystem:\n", b"storage: {filesystem: {}}"]
)
def test_a_registry_stores_where_it_does_by_default(data: bytes) -> None:
    assert storage(data).folder == "/var/lib/registry"


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (S3, "S3 (bucket images, rootdirectory /prod)"),
        (b"storage: {gcs: {bucket: b, keyfile: /k}}", "Google Cloud Storage (bucket b)"),
        (b"storage: {azure: {container: c, accountkey: x}}", "Azure Blob Storage (container c)"),
        (b"storage: inmemory", "memory"),
        (b"storage: {odd: {}}", '"odd", a driver that regfs does not know'),
    ],
)
def test_other_drivers_are_named_without_their_secrets(data: bytes, place: str) -> None:
    found = storage(data)
    assert found.place == place
    assert "SECRETTEST" not in repr(found)


def test_a_variable_replaces_a_part_as_in_the_registry() -> None:
    folder = storage(V2, REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY="/other").folder
    assert folder == "/other"
    assert storage(V2, REGISTRY_STORAGE="inmemory").driver == "inmemory"
    both = {"REGISTRY_STORAGE": "s3", "REGISTRY_STORAGE_S3_BUCKET": "b"}
    assert storage(V2, **both).place == "S3 (bucket b)"
    assert storage(V2, REGISTRY_STORAGE_DELETE_ENABLED="false") == storage(V2)
    assert storage(b"version: 0.1", REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY="/a").folder == "/a"


def test_several_drivers_and_none_are_refused() -> None:
    words = 'config.yml: storage: must name one driver, found "filesystem" and "s3"'
    assert problem(V2, REGISTRY_STORAGE_S3_BUCKET="b") == words
    assert "found none" in problem(b"storage: {cache: {}}")
    assert "found none" in problem(b"version: 0.1")


BOMB = b"a0: &a0 {x: y}\n" + b"".join(
    b"a%d: &a%d {<<: [%s]}\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 30)
)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"storage: [a, b]", "storage: must be a table"),
        (b"- storage", "must be a table"),
        (b"storage: {filesystem: /srv}", "storage.filesystem: must be a table"),
        # The default in its place would be another registry.
        (b"storage: {filesystem: {rootdirectory: [/srv]}}", "storage.filesystem.rootdirectory: mu"),
        (b"storage: {s3: {bucket: b, rootdirectory: {a: b}}}", "storage.s3.rootdirectory: must be"),
        (b"storage:\n  a: b: c\n", "config.yml:2: not YAML: mapping values"),
        (b"storage: *nowhere", "not YAML: found undefined alias"),
        (b"storage: &a {filesystem: *a}", "not YAML"),
        (b"storage: \0", "not YAML"),
        (b"storage: \xff", "not YAML"),
        (b"? [a]\n: b", "not YAML"),
        (b"storage: " + b"[" * 100_000, "n"),
        (b"storage: " + b"{a: " * 50_000, "n"),
        (BOMB + b"storage: {filesystem: *a29}", "anchor (<<)"),
        (b"x: " + b"y" * (1 << 18), "is larger than"),
    ],
)
def test_a_hostile_document_is_one_line(data: bytes, words: str) -> None:
    assert words in problem(data)


def test_no_object_is_made_of_a_document() -> None:
    document = b"storage: {filesystem: {rootdirectory: !!python/object/apply:os.abort []}}"
    assert "storage.filesystem.rootdirectory: must be text" in problem(document)


@pytest.mark.parametrize(
    "text", ["", "stories: 1", "  storage: indented", "storage", "a storage:", '{"storages": 1}']
)
def test_other_files_are_no_configuration(text: str) -> None:
    assert not is_configuration(text)


@pytest.mark.parametrize(
    "text",
    [
        "version: 0.1\nstorage: inmemory\n",
        '{"version": "0.1", "storage": {"s3": {}}}',
        "{\n  storage : {filesystem: {}},\n  version: 0.1\n}",
    ],
)
def test_a_configuration_may_be_in_braces(text: str) -> None:
    assert is_configuration(text)
