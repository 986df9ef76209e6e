"""Referrers, clause by clause of the distribution spec, and what could make the answer untrue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.digest import Digest
from regfs.server.api import referrers as api
from regfs.stores import open_store
from regfs.tree.pages import Folders
from regfs.tree.referrers import Referrers
from regfs.tree.registry import Registry
from tests.support.builder import (
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_MANIFEST,
    Content,
    TreeBuilder,
    artifact,
    digest_of,
    image,
    index,
    oci_artifact,
    raw,
)
from tests.support.exchange import ask, get
from tests.support.images import dumps, subject_index
from tests.support.reference import ReferenceRegistry, needs_reference
from tests.support.server import hosted

BASE = image()
SBOM = "application/spdx+json"
SIGNATURE = "application/vnd.example.signature"


def listed(url: str, subject: str, query: str = "", name: str = "app") -> list[dict[str, Any]]:
    """Return the descriptors of an answer that has the form it must have."""
    answer = get(url, f"/v2/{name}/referrers/{subject}{query}")
    assert answer.status == 200
    assert answer["Content-Type"] == OCI_INDEX
    assert answer["Docker-Distribution-API-Version"] == "registry/2.0"
    document = answer.json()
    assert document.keys() == {"schemaVersion", "mediaType", "manifests"}
    assert (document["schemaVersion"], document["mediaType"]) == (2, OCI_INDEX)
    return list(document["manifests"])


def digests(found: list[dict[str, Any]]) -> list[str]:
    return [str(one["digest"]) for one in found]


def test_what_a_descriptor_says(tree: TreeBuilder) -> None:
    notes = {"org.example.a": "1", "b": "<é>"}
    sbom = artifact(subject=BASE, artifact_type=SBOM, annotations=notes)
    tree.push("app", "v1", BASE)
    tree.push("app", None, sbom)
    with hosted(tree.root) as url:
        assert listed(url, BASE.digest) == [
            {
                "mediaType": OCI_MANIFEST,
                "digest": sbom.digest,
                "size": len(sbom.data),
                "artifactType": SBOM,
                "annotations": notes,
            }
        ]
        head = ask(url, "HEAD", f"/v2/app/referrers/{BASE.digest}")
        assert (head.status, head.body) == (200, b"")


@pytest.mark.parametrize(
    ("content", "artifact_type"),
    [
        (artifact(subject=BASE, artifact_type=SBOM), SBOM),
        (image(config=b"{}", config_type=SIGNATURE, subject=BASE), SIGNATURE),
        (image(config=b"{}", config_type=SIGNATURE, subject=BASE, artifact_type=""), SIGNATURE),
        (image(subject=BASE), OCI_CONFIG),
        (image(config=b"{}", config_type=OCI_EMPTY, subject=BASE), OCI_EMPTY),
        (subject_index(BASE, artifactType=SBOM), SBOM),
        (subject_index(BASE, artifactType=""), None),
        (subject_index(BASE), None),
        (oci_artifact(subject=BASE), SBOM),
    ],
    ids=[
        "declared", "by-config", "empty-so-by-config", "image", "empty-config", "index",
        "index-empty", "index-without", "withdrawn",
    ],
)  # fmt: skip
def test_the_artifact_type(tree: TreeBuilder, content: Content, artifact_type: str | None) -> None:
    tree.push("app", "v1", BASE)
    tree.push("app", None, content)
    with hosted(tree.root) as url:
        (found,) = listed(url, BASE.digest)
        assert found.get("artifactType") == artifact_type
        assert found["mediaType"] == content.media_type
        assert "annotations" not in found


def test_without_referrers_there_is_an_empty_index(tree: TreeBuilder) -> None:
    """A 404 would say that there is no such API."""
    tree.push("app", "v1", BASE)
    with hosted(tree.root) as url:
        assert listed(url, BASE.digest) == []
        assert listed(url, digest_of(b"nothing")) == []
        assert listed(url, digest_of(b"nothing", "sha512")) == []
        assert listed(url, BASE.digest, name="nobody") == []
        assert listed(url, BASE.digest, "?artifactType=a/b") == []


@pytest.mark.parametrize("digest", ["sha256:ab", "v1", "md5:" + "a" * 32])
def test_an_invalid_digest_is_refused(tree: TreeBuilder, digest: str) -> None:
    tree.push("app", "v1", BASE)
    with hosted(tree.root) as url:
        answer = get(url, f"/v2/app/referrers/{digest}")
        assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


def test_a_filter_by_type(tree: TreeBuilder) -> None:
    sbom, signature = (
        artifact(["x"], subject=BASE, artifact_type=kind) for kind in (SBOM, SIGNATURE)
    )
    tree.push("app", "v1", BASE)
    tree.push("app", None, sbom)
    tree.push("app", None, signature)
    with hosted(tree.root) as url:
        path = f"/v2/app/referrers/{BASE.digest}"
        for query in (quote(SBOM, safe=""), SBOM):  # a plus that is not encoded is a space
            answer = get(url, f"{path}?artifactType={query}")
            assert answer["OCI-Filters-Applied"] == "artifactType"
            assert digests(answer.json()["manifests"]) == [sbom.digest]
        for query in ("", "?artifactType="):
            answer = get(url, path + query)
            assert answer["OCI-Filters-Applied"] is None
            assert set(digests(answer.json()["manifests"])) == {sbom.digest, signature.digest}


def test_only_of_this_repository(tree: TreeBuilder) -> None:
    """A blob that is there for all is listed only where it is linked as a manifest."""
    sbom = artifact(subject=BASE)
    for name in ("app", "other", "layers"):
        tree.push(name, "v1", BASE)
    tree.push("other", None, sbom)
    tree.layer_link("layers", sbom.digest)
    with hosted(tree.root) as url:
        assert listed(url, BASE.digest) == []
        assert listed(url, BASE.digest, name="layers") == []
        assert digests(listed(url, BASE.digest, name="other")) == [sbom.digest]


def test_pushes_and_deletes_show_at_once(tree: TreeBuilder) -> None:
    first, second = (artifact([name], subject=BASE) for name in ("a", "b"))
    tree.push("app", "v1", BASE)
    with hosted(tree.root) as url:
        assert listed(url, BASE.digest) == []
        tree.push("app", None, first)
        assert digests(listed(url, BASE.digest)) == [first.digest]
        tree.push("app", None, second)
        assert digests(listed(url, BASE.digest)) == sorted([first.digest, second.digest])
        tree.delete_revision("app", first.digest)
        assert digests(listed(url, BASE.digest)) == [second.digest]
        tree.revision("app", first.digest)
        assert digests(listed(url, BASE.digest)) == sorted([first.digest, second.digest])
        tree.delete_manifest("app", BASE.digest)  # a subject need not be there
        assert len(listed(url, BASE.digest)) == 2


def test_damage(tree: TreeBuilder) -> None:
    """What cannot be verified is not told, and told again when it is put right."""
    flipped, gone, sound = (artifact([name], subject=BASE) for name in ("a", "b", "c"))
    tree.push("app", "v1", BASE)
    for content in (flipped, gone, sound):
        tree.push("app", None, content)
    tree.write(tree.blob_path(flipped.digest), flipped.data + b" ")
    tree.blob_path(gone.digest).unlink()
    with hosted(tree.root) as url:
        assert digests(listed(url, BASE.digest)) == [sound.digest]
        tree.write(tree.blob_path(flipped.digest), flipped.data)
        tree.write(tree.blob_path(gone.digest), gone.data)
        assert len(listed(url, BASE.digest)) == 3
        tree.write(tree.blob_path(sound.digest), b"")
        tree.delete_blob(gone.digest)
        assert digests(listed(url, BASE.digest)) == [flipped.digest]


def test_strange_things_among_the_manifests(tree: TreeBuilder) -> None:
    sbom = artifact(subject=BASE)
    tree.push("app", "v1", BASE)
    tree.push("app", None, sbom)
    subject = BASE.descriptor()
    documents: list[dict[str, Any]] = [
        {"subject": subject},
        {"subject": "x", "schemaVersion": 2, "mediaType": OCI_MANIFEST},
        {"subject": {"digest": "sha256:ab"}, "schemaVersion": 2, "mediaType": OCI_INDEX},
        {"subject": None, "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []},
    ]
    for document in documents:
        tree.push("app", None, raw(dumps(document)))
    for data in (b"", b'"subject"', b'{"subject":', b"\xff" * 50):
        tree.push("app", None, raw(data))
    folder = tree.revision_path("app", sbom.digest).parent.parent
    tree.folder(folder / "not-a-digest")
    tree.folder(folder.parent / "md5" / "x")
    (folder / ("b" * 64)).symlink_to("nowhere")
    with hosted(tree.root) as url:
        assert digests(listed(url, BASE.digest)) == [sbom.digest]


def test_a_key_written_with_an_escape(tree: TreeBuilder) -> None:
    document = artifact(subject=BASE).document
    data = dumps(document).replace(b'"subject"', b'"\\u0073ubject"')
    tree.push("app", "v1", BASE)
    tree.push("app", None, raw(data))
    with hosted(tree.root) as url:
        assert digests(listed(url, BASE.digest)) == [digest_of(data)]


# -- the fallback tag ------------------------------------------------------------------------


def test_the_fallback_tag_is_merged(tree: TreeBuilder) -> None:
    """What names the subject comes once; what names nothing comes for being listed."""
    named, silent = artifact(["a"], subject=BASE), artifact(["b"])
    tree.push("app", "v1", BASE)
    tree.fallback("app", BASE.digest, named, silent)
    with hosted(tree.root) as url:
        found = listed(url, BASE.digest)
        assert digests(found) == sorted([named.digest, silent.digest])
        assert found == listed(url, BASE.digest), "as well the second time"
        assert {one["artifactType"] for one in found} == {SBOM}
        tree.untag("app", BASE.digest.replace(":", "-"))
        assert digests(listed(url, BASE.digest)) == [named.digest]


def test_what_the_fallback_tag_cannot_make_true(tree: TreeBuilder) -> None:
    other = image(["other"])
    elsewhere, foreign = artifact(["a"], subject=other), artifact(["b"], subject=BASE)
    tree.push("app", "v1", BASE)
    tree.fallback("app", BASE.digest, elsewhere, foreign)
    tree.delete_revision("app", foreign.digest)
    with hosted(tree.root) as url:
        assert listed(url, BASE.digest) == []


def test_damage_of_what_only_the_fallback_tag_lists(tree: TreeBuilder) -> None:
    first, second = artifact(["a"]), artifact(["b"])
    tree.push("app", "v1", BASE)
    tree.fallback("app", BASE.digest, first, second)
    tree.write(tree.blob_path(first.digest), first.data + b" ")
    with hosted(tree.root) as url:
        assert digests(listed(url, BASE.digest)) == [second.digest]


def test_the_fallback_tag_of_a_long_digest(tree: TreeBuilder) -> None:
    subject = digest_of(BASE.data, "sha512")
    silent = artifact(["b"])
    tree.push("app", f"sha512-{subject.partition(':')[2][:64]}", index(silent))
    with hosted(tree.root) as url:
        assert digests(listed(url, subject)) == [silent.digest]


@pytest.mark.parametrize("content", [image(), raw(b"x"), index(docker=True)])
def test_a_fallback_tag_that_is_no_index(tree: TreeBuilder, content: Content) -> None:
    tree.push("app", BASE.digest.replace(":", "-"), content)
    with hosted(tree.root) as url:
        assert listed(url, BASE.digest) == []


@needs_reference
def test_what_clients_pushed_to_docker_registry(tree: TreeBuilder) -> None:
    sbom = artifact(subject=BASE)
    with ReferenceRegistry(tree.root) as registry:
        registry.push("app", "v1", BASE)
        registry.push("app", None, sbom)
        registry.push("app", BASE.digest.replace(":", "-"), index(sbom))
    with hosted(tree.root) as url:
        assert digests(listed(url, BASE.digest)) == [sbom.digest]


# -- pages -------------------------------------------------------------------------------------


def test_more_than_an_index_holds(tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = {"note": "x" * 300}
    contents = [artifact([f"{n}"], subject=BASE, annotations=notes) for n in range(7)]
    other = artifact(["other"], subject=BASE, artifact_type=SIGNATURE)
    tree.push("app", "v1", BASE)
    for content in (*contents, other):
        tree.push("app", None, content)
    fitting = api._fitting
    monkeypatch.setattr(api, "_fitting", lambda found: fitting(found, 1500))
    expected = sorted(content.digest for content in contents)
    with hosted(tree.root) as url:
        path = f"/v2/app/referrers/{BASE.digest}?artifactType={quote(SBOM, safe='')}"
        found: list[str] = []
        sizes = []
        while path:
            answer = get(url, path)
            assert answer["OCI-Filters-Applied"] == "artifactType"
            assert len(answer.body) <= 1500
            page = digests(answer.json()["manifests"])
            found += page
            sizes.append(len(page))
            path = answer.next
    assert found == expected
    assert len(sizes) > 1 and min(sizes) > 0


def test_a_single_oversized_descriptor_is_listed(tree: TreeBuilder) -> None:
    large = artifact(subject=BASE, annotations={"note": "\x01" * 600_000, "more": "\x02" * 90_000})
    small = artifact(["small"], subject=BASE)
    assert len(large.data) < 4 * 1024 * 1024
    tree.push("app", "v1", BASE)
    for content in (large, small):
        tree.push("app", None, content)
    with hosted(tree.root) as url:
        path = f"/v2/app/referrers/{BASE.digest}"
        found = []
        while path:
            answer = get(url, path)
            found += digests(answer.json()["manifests"])
            path = answer.next
    assert found == sorted([large.digest, small.digest])


# -- what is remembered ------------------------------------------------------------------------


class Reading(Registry):
    """A registry that tells which manifests are read."""

    def __init__(self, root: Path) -> None:
        super().__init__(open_store(str(root)))
        self.read: list[str] = []

    def manifest_bytes(self, digest: Digest, limit: int = 4 * 1024 * 1024) -> bytes:
        self.read.append(digest)
        return super().manifest_bytes(digest, limit)


@pytest.fixture
def filled(tree: TreeBuilder) -> Iterator[TreeBuilder]:
    tree.push("app", "v1", BASE)
    for number in range(80):
        tree.push("app", None, artifact([f"{number}"], subject=BASE if number % 2 else None))
    yield tree


def test_each_manifest_is_read_once(filled: TreeBuilder) -> None:
    registry = Reading(filled.root)
    referrers = Referrers(registry, Folders(registry.store))
    assert len(referrers.of("app", Digest(BASE.digest))) == 40
    assert len(registry.read) == len(set(registry.read)) == 81
    for _ in range(3):
        assert len(referrers.of("app", Digest(BASE.digest))) == 40
    filled.push("app", None, artifact(["new"], subject=BASE))
    assert len(referrers.of("app", Digest(BASE.digest))) == 41
    assert len(registry.read) == 82


def test_what_is_damaged_is_read_again_only_when_it_changes(filled: TreeBuilder) -> None:
    broken = artifact(["broken"], subject=BASE)
    filled.push("app", None, broken)
    filled.write(filled.blob_path(broken.digest), b"broken")
    registry = Reading(filled.root)
    referrers = Referrers(registry, Folders(registry.store))
    for _ in range(3):
        assert len(referrers.of("app", Digest(BASE.digest))) == 40
    assert registry.read.count(broken.digest) == 1
    filled.write(filled.blob_path(broken.digest), broken.data)
    assert len(referrers.of("app", Digest(BASE.digest))) == 41


def test_what_is_forgotten_is_read_again(
    filled: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regfs.tree.referrers._MEMORY", 5_000)
    monkeypatch.setattr("regfs.tree.referrers._NAMES", 1)
    registry = Reading(filled.root)
    referrers = Referrers(registry, Folders(registry.store))
    for _ in range(2):
        assert len(referrers.of("app", Digest(BASE.digest))) == 40
    assert len(registry.read) > 160


_Steps = st.lists(
    st.tuples(st.sampled_from(["push", "delete", "damage", "heal", "list", "unlist"]),
              st.integers(0, 3), st.integers(0, 3)),
    max_size=12,
)  # fmt: skip


def _change(tree: TreeBuilder, content: Content, what: str, length: int) -> None:
    """Do to a manifest what a step says; damage leaves bytes of this length."""
    link, blob = tree.revision_path("app", content.digest), tree.blob_path(content.digest)
    if what == "push":
        tree.push("app", None, content)
    elif what == "delete" and link.exists():
        link.unlink()
    elif what == "damage" and blob.exists():
        tree.write(blob, b"x" * length)
    elif what == "heal":
        tree.write(blob, content.data)


def _is_whole(tree: TreeBuilder, content: Content) -> bool:
    link, blob = tree.revision_path("app", content.digest), tree.blob_path(content.digest)
    return link.exists() and blob.exists() and blob.read_bytes() == content.data


@given(_Steps)
def test_the_answer_is_what_the_tree_says(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    """After any changes, an old acquaintance answers as a newcomer does, and as the tree is."""
    tree = TreeBuilder(tmp_path_factory.mktemp("referrers"))
    subjects = [image([f"s{number}"]) for number in range(2)]
    about = {0: subjects[0], 1: subjects[0], 2: subjects[1], 3: None}
    contents = [artifact([f"{number}"], subject=about[number]) for number in range(4)]
    registry = Registry(open_store(str(tree.root)))
    old = Referrers(registry, Folders(registry.store))
    fallback: set[int] = set()
    for what, one, other in steps:
        _change(tree, contents[one], what, other)
        if what == "list":
            fallback = {one, other}
            entries = [contents[number].descriptor() for number in sorted(fallback)]
            document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
            tag = subjects[0].digest.replace(":", "-")
            tree.push("app", tag, raw(dumps(document), OCI_INDEX))
        elif what == "unlist" and fallback:
            fallback = set()
            tree.untag("app", subjects[0].digest.replace(":", "-"))
        for subject in subjects:
            expected = [
                made.digest
                for number, made in enumerate(contents)
                if _is_whole(tree, made)
                and (
                    about[number] is subject
                    or (about[number] is None and number in fallback and subject is subjects[0])
                )
            ]
            new = Referrers(registry, Folders(registry.store))
            for lister in (old, new):
                found = lister.of("app", Digest(subject.digest))
                assert [referrer.digest for referrer in found] == sorted(expected)
                for referrer in found:
                    assert json.loads(referrer.descriptor)["digest"] == referrer.digest
