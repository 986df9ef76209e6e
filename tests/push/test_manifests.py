"""Manifests are put: what is written, in which order, what is refused, and beside a run."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from regfs import layout
from regfs.digest import Digest
from regfs.errors import (
    ContentMismatch,
    LockHeld,
    ManifestInvalid,
    ManifestTooLarge,
    ManifestUnknown,
    NameInvalid,
    ReferentsUnknown,
    TagInvalid,
)
from regfs.push.manifests import Publisher
from regfs.runs import lock
from regfs.stores import open_store
from regfs.tree.registry import Registry
from tests.support.builder import (
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Blob,
    Content,
    TreeBuilder,
    artifact,
    buildkit,
    cache_index,
    image,
    index,
    layer,
    oci_artifact,
    raw,
    schema1,
)
from tests.support.crashes import Crash, CrashingStore
from tests.support.pusher import Pusher, pusher
from tests.support.verification import check, codes

BASE = layer({"base": b"base"})
V1, V2 = image([BASE, "one"]), image([BASE, "two"])
FOREIGN = Blob(
    b"far away", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    {"urls": ["https://example.org/far"]}, stored=False,
)  # fmt: skip


def absent(content: bytes = b"absent", **extra: Any) -> Blob:
    return Blob(content, None, extra, stored=False)


# -- what is written -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        V1,
        image([BASE], media_type=False),
        image([BASE], docker=True),
        image([]),
        image([BASE, BASE]),
        image([Blob(b"odd", "application/x-odd")]),
        artifact(subject=V1),
        index(V1, V2),
        index(),
        index(V1, docker=True),
        index(index(V1), V2),
        index(V1, artifact_type="application/x", subject="sha256:" + "0" * 64),
        buildkit(V1),
        cache_index(["one", "two"]),
        image([FOREIGN, BASE]),
    ],
)
def test_a_push_writes_what_the_reference_writes(
    tree: TreeBuilder, tmp_path: Path, content: Content
) -> None:
    pusher(tree).push("team/app", "v1", content)
    oracle = TreeBuilder(tmp_path / "oracle")
    oracle.push("team/app", "v1", content)
    assert tree.files() == oracle.files()
    assert tree.folders() == oracle.folders()


def test_a_tag_that_is_moved_keeps_its_history(tree: TreeBuilder, tmp_path: Path) -> None:
    oracle = TreeBuilder(tmp_path / "oracle")
    one = pusher(tree)
    for content in (V1, V2, V1):
        one.push("app", "v1", content)
        oracle.push("app", "v1", content)
    assert tree.files() == oracle.files()
    assert tree.current("app", "v1") == V1.digest


def test_one_push_may_set_many_tags(tree: TreeBuilder) -> None:
    one = pusher(tree)
    one.before("app", V1)
    tags = [f"v{number}" for number in range(12)]
    put = one.publisher.put("app", V1.data, digest=Digest(V1.digest), tags=tags)
    assert put == (V1.digest, None, tuple(tags))
    assert tree.tags("app") == sorted(tags)
    assert all(tree.current("app", tag) == V1.digest for tag in tags)


@pytest.mark.parametrize("algorithm", ["sha384", "sha512"])
def test_a_manifest_is_stored_under_the_digest_it_was_pushed_with(
    tree: TreeBuilder, algorithm: str
) -> None:
    one = pusher(tree)
    content = image([Blob(BASE, algorithm=algorithm)])
    one.before("app", content)
    digest = Digest.of(content.data, algorithm)
    assert one.publisher.put("app", content.data, digest=digest, tags=["v1"]).digest == digest
    assert tree.current("app", "v1") == digest
    assert tree.blob_path(digest).read_bytes() == content.data
    assert tree.revision_path("app", digest).read_text() == digest
    assert codes(check(tree)) == []
    parent = index(raw(content.data))
    with pytest.raises(ReferentsUnknown):  # its child is there by another digest only
        one.put("app", "multi", parent)


def test_the_subject_is_returned_and_may_be_missing(tree: TreeBuilder) -> None:
    about = artifact(subject=V1)
    assert pusher(tree).push("app", None, about).subject == V1.digest
    assert pusher(tree).push("app", "v1", V1).subject is None


def test_a_push_heals_a_damaged_manifest_and_its_links(tree: TreeBuilder) -> None:
    pusher(tree).push("app", "v1", V1)
    before = tree.files()
    for path in (
        tree.blob_path(V1.digest),
        tree.revision_path("app", V1.digest),
        tree.tag_path("app", "v1"),
        tree.tag_index_path("app", "v1", V1.digest),
    ):
        path.write_bytes(b"")
    pusher(tree).put("app", "v1", V1)
    assert tree.files() == before


# -- what is refused ---------------------------------------------------------------------------


def refused(tree: TreeBuilder, kind: type[Exception], content: Content, match: str = ".") -> Any:
    """Be sure that a manifest is refused, and that nothing is written."""
    one = pusher(tree)
    one.before("app", content)
    before = tree.files()
    with pytest.raises(kind, match=match) as raised:
        one.put("app", "v1", content)
    assert tree.files() == before
    return raised.value


BARE = {"schemaVersion": 2, "mediaType": OCI_MANIFEST}


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (raw(b""), "not JSON"),
        (raw(b"[]"), "not an object"),
        (raw(b"{}"), "media type"),
        (raw(BARE), "config"),
        (raw({**V1.document, "mediaType": "application/x"}), "unknown media type"),
        (raw({**V1.document, "manifests": []}), "more than one kind"),
        (raw({**V1.document, "Config": {}}), "different case"),
        (raw({**V1.document, "schemaVersion": 3}), "schemaVersion"),
        (raw({k: v for k, v in V1.document.items() if k != "schemaVersion"}), "schemaVersion"),
        (raw({**V1.document, "subject": {"digest": "x"}}), "subject"),
        (raw(V1.data, OCI_INDEX), "Content-Type"),
        (raw(V1.data, DOCKER_MANIFEST), "Content-Type"),
        (raw(V1.data, "text/plain"), "Content-Type"),
        (raw(image([BASE], media_type=False).data, DOCKER_MANIFEST), "Content-Type"),
        (oci_artifact(), "not accepted"),
        (schema1("app", "v1"), "not accepted"),
        (raw(V1.data.replace(b"sha256:", b"blake3:")), "unsupported"),
        (raw(V1.data.replace(b"sha256:", b"")), "digest"),
    ],
)
def test_an_invalid_manifest_is_refused(tree: TreeBuilder, content: Content, match: str) -> None:
    pusher(tree).before("app", V1)
    refused(tree, ManifestInvalid, content, match)


@pytest.mark.parametrize("media_type", ["", OCI_MANIFEST, f"{OCI_MANIFEST}; charset=utf-8",
                                        OCI_MANIFEST.upper()])  # fmt: skip
def test_equivalent_content_types_are_accepted(tree: TreeBuilder, media_type: str) -> None:
    one = pusher(tree)
    one.before("app", V1)
    assert one.publisher.put("app", V1.data, media_type=media_type).digest == V1.digest


def test_the_largest_manifest_is_accepted_and_a_larger_one_refused(tree: TreeBuilder) -> None:
    publisher = Publisher(Registry(open_store(str(tree.root))), limit=1000)
    empty = image([], annotations={"a": ""})
    pusher(tree).before("app", empty)
    filled = empty.data.replace(b'"a":""', b'"a":"' + b"x" * (1000 - len(empty.data)) + b'"')
    assert publisher.put("app", filled).digest == Digest.of(filled)
    with pytest.raises(ManifestTooLarge):
        publisher.put("app", filled.replace(b"xx", b"xxx", 1))


def test_another_digest_is_refused(tree: TreeBuilder) -> None:
    one = pusher(tree)
    one.before("app", V1)
    before = tree.files()
    for digest in (V2.digest, Digest.of(V2.data, "sha512")):
        with pytest.raises(ContentMismatch):
            one.publisher.put("app", V1.data, digest=Digest(digest), tags=["v1"])
    assert tree.files() == before


@pytest.mark.parametrize(("name", "tag", "kind"), [
    ("App x", "v1", NameInvalid), ("../x", "v1", NameInvalid), ("a/_layers/b", "v1", NameInvalid),
    ("app", "", TagInvalid), ("app", "a/b", TagInvalid), ("app", "..", TagInvalid),
    ("app", "x" * 129, TagInvalid),
])  # fmt: skip
def test_invalid_names_are_refused(
    tree: TreeBuilder, name: str, tag: str, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        pusher(tree).publisher.put(name, image([]).data, tags=["ok", tag])
    assert tree.files() == {}


# -- what a manifest names must be there -------------------------------------------------------


BROKEN: dict[str, Callable[[TreeBuilder], object]] = {
    "layer link": lambda tree: tree.layer_path("app", Blob(BASE).digest).unlink(),
    "layer": lambda tree: tree.blob_path(Blob(BASE).digest).unlink(),
    "hollow layer": lambda tree: tree.blob_path(Blob(BASE).digest).write_bytes(b""),
    "shorter layer": lambda tree: tree.blob_path(Blob(BASE).digest).write_bytes(BASE[:-1]),
    "empty layer link": lambda tree: tree.layer_path("app", Blob(BASE).digest).write_bytes(b""),
    "link to another": lambda tree: tree.layer_path("app", Blob(BASE).digest).write_text(
        V1.blobs[0].digest
    ),
    "config link": lambda tree: tree.layer_path("app", V1.blobs[0].digest).unlink(),
    "config": lambda tree: tree.blob_path(V1.blobs[0].digest).unlink(),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_manifest_needs_what_it_is_made_of(tree: TreeBuilder, broken: str) -> None:
    one = pusher(tree)
    one.before("app", V1)
    one.push("other", "v1", V1)  # that another repository has it does not count
    BROKEN[broken](tree)
    before = tree.files()
    with pytest.raises(ReferentsUnknown) as raised:
        one.put("app", "v1", V1)
    missing = V1.blobs[0] if "config" in broken else Blob(BASE)
    assert raised.value.missing == (missing.digest,)
    assert missing.digest in str(raised.value)
    assert tree.files() == before
    one.push("app", "v1", V1)  # and all of it again heals it
    assert codes(check(tree)) == []


@pytest.mark.parametrize("broken", ["link", "blob", "hollow", "only-a-layer", "not-pushed"])
def test_an_index_needs_its_manifests(tree: TreeBuilder, broken: str) -> None:
    one = pusher(tree)
    parent = index(V1, V2)
    if broken == "not-pushed":
        one.push("app", None, V2)
        one.push("other", None, V1)
    else:
        one.before("app", parent)
    if broken == "link":
        tree.revision_path("app", V1.digest).unlink()
    elif broken == "blob":
        tree.blob_path(V1.digest).unlink()
    elif broken == "hollow":
        tree.blob_path(V1.digest).write_bytes(b"")
    elif broken == "only-a-layer":
        tree.revision_path("app", V1.digest).unlink()
        one.add_blob("app", Blob(V1.data))
    with pytest.raises(ReferentsUnknown) as raised:
        one.put("app", "multi", parent)
    assert raised.value.missing == (V1.digest,)


def test_sizes_must_agree(tree: TreeBuilder) -> None:
    wrong = Blob(BASE, extra={"size": len(BASE) + 1})
    assert "bytes and not" in str(refused(tree, ReferentsUnknown, image([wrong])))


def test_only_layers_with_urls_may_be_missing(tree: TreeBuilder) -> None:
    refused(tree, ReferentsUnknown, image([absent()]))
    far = {"urls": ["https://example.org/x"]}
    document = V1.document
    document["config"] |= {**far, "digest": Digest.of(b"gone"), "size": 4}
    pusher(tree).before("app", V1)
    refused(tree, ReferentsUnknown, raw(document))
    child = index(raw(V1.data), sparse=[])
    named = child.document
    named["manifests"][0] |= far
    refused(tree, ReferentsUnknown, raw(named, OCI_INDEX))


def test_an_index_may_name_content_of_any_type(tree: TreeBuilder) -> None:
    one = pusher(tree)
    odd = Blob(b"odd", "application/x-odd")
    one.push("app", "odd", index(odd))
    assert codes(check(tree)) == []


def test_missing_referents_are_named_within_a_bounded_message(tree: TreeBuilder) -> None:
    many = image([absent(bytes([number])) for number in range(40)])
    error = refused(tree, ReferentsUnknown, many)
    assert len(error.missing) == 40
    assert "and 30 more" in str(error)


def test_an_alias_counts_as_its_target(tree: TreeBuilder) -> None:
    content = image([Blob(BASE, algorithm="sha512")])
    tree.push("app", "old", content)  # as the reference has it: by sha256, with an alias
    pusher(tree).put("app", "v1", content)
    assert tree.current("app", "v1") == content.digest


# -- beside a run, beside others -----------------------------------------------------------------


def test_nothing_changes_while_a_run_is_under_way(tree: TreeBuilder) -> None:
    one = pusher(tree)
    one.push("app", "v1", V1)
    one.before("app", V2)
    before = tree.files()
    attempts: list[Callable[[], object]] = [
        lambda: one.put("app", "v2", V2),
        lambda: one.publisher.delete_tag("app", "v1"),
        lambda: one.publisher.delete_manifest("app", Digest(V1.digest)),
        lambda: one.publisher.delete_blob("app", Digest(V1.blobs[0].digest)),
    ]
    with lock.exclusive(open_store(str(tree.root))):
        for attempt in attempts:
            with pytest.raises(LockHeld):
                attempt()
    assert tree.files() == before
    for attempt in attempts:
        if attempt is not attempts[1]:
            attempt()


class Watched:
    """A store that sees whether a run could begin while links are looked at or change."""

    def __init__(self, root: Path) -> None:
        self._store = open_store(str(root))
        self.seen: list[str] = []

    def snapshot(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def _see(self, what: str, path: str) -> None:
        if path.startswith(layout.PREFIX):
            with pytest.raises(LockHeld):
                self._store.lock(lock.LOCK, "a run").__enter__()
            self.seen.append(f"{what} {path.rpartition('/')[2]}")

    def read(self, path: str, limit: int) -> bytes:
        self._see("look", path)
        return self._store.read(path, limit)

    def create(self, path: str) -> Any:
        self._see("write", path)
        return self._store.create(path)

    def delete(self, paths: Any) -> int:
        paths = list(paths)
        for path in paths:
            self._see("delete", path)
        return self._store.delete(paths)


def test_no_run_can_begin_between_check_and_link(tree: TreeBuilder) -> None:
    pusher(tree).before("app", V1)
    store: Any = Watched(tree.root)
    one = Pusher(store)
    one.put("app", "v1", V1)
    assert store.seen == [*["look link"] * 3, "write data", *["write link"] * 3]
    store.seen.clear()
    one.publisher.delete_manifest("app", Digest(V1.digest))
    assert store.seen[0] == "delete link"


def test_concurrent_puts_and_deletes_leave_whole_tags(memory: Path) -> None:
    tree = TreeBuilder(memory)
    one = pusher(tree)
    one.before("app", V1)
    one.before("app", V2)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        content = (V1, V2)[number % 2]
        try:
            for _ in range(8):
                one.put("app", "v1", content)
                with suppress(ManifestUnknown):
                    one.publisher.delete_tag("app", "v1")
                with suppress(ManifestUnknown):
                    one.publisher.delete_manifest("app", Digest(content.digest))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert codes(check(tree)) == []
    one.put("app", "v1", V1)
    assert tree.tag_index_path("app", "v1", V1.digest).exists()


# -- a process that dies -----------------------------------------------------------------------


def stock(tree: TreeBuilder) -> None:
    one = pusher(tree)
    one.push("app", "v1", V1)
    one.push("app", "also", V1)
    one.push("app", "v2", V2)
    one.before("app", index(V1, V2))


ACTIONS: dict[str, Callable[[Pusher], object]] = {
    "put": lambda one: one.put("app", "v3", index(V1, V2)),
    "move a tag": lambda one: one.put("app", "v1", V2),
    "delete a tag": lambda one: one.publisher.delete_tag("app", "v1"),
    "delete a manifest": lambda one: one.publisher.delete_manifest("app", Digest(V1.digest)),
}


@pytest.mark.parametrize("action", ACTIONS)
def test_a_crash_at_any_change_breaks_no_reference(memory: Path, action: str) -> None:
    done = TreeBuilder(memory / "done")
    stock(done)
    ACTIONS[action](pusher(done))
    for at in itertools.count():
        tree = TreeBuilder(memory / str(at))
        stock(tree)
        try:
            ACTIONS[action](Pusher(CrashingStore(open_store(str(tree.root)), at)))
        except Crash:
            pass
        else:
            assert at > 1
            break
        # No client gets to see a tag that has a history and points to nothing.
        assert set(codes(check(tree))) <= {"tag-without-current"}
        try:
            ACTIONS[action](pusher(tree))
        except ManifestUnknown:
            assert "delete" in action  # it had been done
        left = {path for path in tree.files() if not path.endswith(".regfs-tmp")}
        if "delete" not in action:
            assert left == set(done.files())
        assert {p for p in left if "/current/" in p} == {
            p for p in done.files() if "/current/" in p
        }
