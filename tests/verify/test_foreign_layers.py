"""Layers that belong elsewhere: absent by right when they have urls, and nobody's to take."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regfs.errors import ReferentsUnknown
from regfs.verify import Level
from tests.support.backups import Memory, plan_of, relink_now
from tests.support.builder import Blob, Content, TreeBuilder, image, index
from tests.support.pusher import pusher
from tests.support.registries import shown
from tests.support.verification import BASE, check, codes, touched

DOCKER = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
OCI = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
URLS = {"urls": ["https://mcr.microsoft.com/v2/windows/blobs/x"]}
FAR = BASE


def windows(*, urls: bool, kind: str | None = DOCKER, data: bytes = FAR) -> Content:
    """Return an image whose base layer belongs to somebody else."""
    return image([Blob(data, kind, URLS if urls else {}, stored=False), "own"])


@pytest.mark.parametrize("kind", [DOCKER, OCI])
@pytest.mark.parametrize(("urls", "elsewhere", "linked"), list(product([False, True], repeat=3)))
def test_an_error_is_what_has_neither_urls_nor_a_blob_to_serve(
    tree: TreeBuilder, kind: str, urls: bool, elsewhere: bool, linked: bool
) -> None:
    pushed = windows(urls=urls, kind=kind)
    tree.push("win", "v1", pushed)
    digest = pushed.blobs[1].digest
    if elsewhere:
        tree.add_blob("other", FAR)
    if linked:
        tree.add_blob("win", FAR)
    here = elsewhere or linked
    expected = [] if urls or linked else ["layer-link-missing" if here else "blob-missing"]
    assert codes(check(tree)) == expected
    before = tree.files()
    relink_now(tree)
    assert tree.files() == before
    fetched = [item.digest for item in plan_of(tree, Memory({digest: FAR})).items]
    assert fetched == ([] if here or urls else [digest])


def test_a_lost_layer_hurts_no_image_that_has_it_from_urls(tree: TreeBuilder) -> None:
    tree.push("win", "whole", windows(urls=True))
    tree.push("win", "broken", windows(urls=False))
    assert touched(check(tree)) == {"win:broken"}


@pytest.mark.parametrize("linked", [False, True])
def test_a_corrupt_copy_hurts_those_who_serve_it(tree: TreeBuilder, linked: bool) -> None:
    tree.push("win", "v1", windows(urls=True))
    tree.push("other", "v1", image([FAR]))
    if linked:
        tree.add_blob("win", FAR)
    tree.break_("blob-flipped", "other", "v1")
    assert touched(check(tree)) == {"other:v1", *(["win:v1"] if linked else [])}


def test_a_layer_that_is_named_once_without_urls_is_needed(tree: TreeBuilder) -> None:
    far = Blob(FAR, DOCKER, URLS, stored=False)
    tree.push("win", "v1", image([far, Blob(FAR, stored=False)]))
    assert codes(check(tree, level=Level.SIZES)) == ["blob-missing"]


# -- rights -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [DOCKER, OCI])
def test_a_push_without_the_bytes_needs_urls(tree: TreeBuilder, kind: str) -> None:
    one = pusher(tree)
    for pushed in (windows(urls=True, kind=kind), windows(urls=False, kind=kind)):
        for blob in (pushed.blobs[2], pushed.blobs[0]):
            one.add_blob("win", blob)
    one.publisher.put("win", windows(urls=True, kind=kind).data)
    with pytest.raises(ReferentsUnknown, match="is not there, and has no urls"):
        one.publisher.put("win", windows(urls=False, kind=kind).data)


def test_no_relink_links_what_an_image_of_somebody_else_holds(tree: TreeBuilder) -> None:
    secret = image([b"secret"])
    tree.push("secret", "v1", secret)
    for kind in (DOCKER, OCI, None):
        tree.push("eve", f"t{kind and len(kind)}", windows(urls=True, kind=kind, data=b"secret"))
    tree.push("eve", "docker", windows(urls=False, data=b"secret"))
    tree.push("eve", "index", index(sparse=[secret]))
    before = tree.files()
    assert relink_now(tree).written == []
    assert tree.files() == before


def test_what_an_index_lists_is_linked_where_all_its_parts_are(tree: TreeBuilder) -> None:
    inner = image(["a", "b"])
    tree.push("app", "v1", index(inner))
    good = tree.files()
    tree.revision_path("app", inner.digest).unlink()
    relink_now(tree)
    assert tree.files() == good
    tree.revision_path("app", inner.digest).unlink()
    tree.layer_path("app", inner.blobs[2].digest).unlink()
    damaged = tree.files()
    relink_now(tree)
    assert tree.files() == damaged


SECRET = image(["secret", "base"])


def _pushes(tree: TreeBuilder) -> Iterator[None]:
    """Push as a server lets anybody push, and as one that does not look at indexes does."""
    one = pusher(tree)
    one.push("secret", "v1", SECRET)
    one.push("eve", "own", image(["base", "mine"]))
    for number, (kind, urls) in enumerate(product([DOCKER, OCI, None], [True, False])):
        extra = URLS if urls else {}
        for blob in SECRET.blobs[1:]:
            theirs = Blob(blob.data, kind, extra, stored=False)
            made = image([theirs])
            one.add_blob("eve", made.blobs[0])
            with suppress(ReferentsUnknown):
                one.publisher.put("eve", made.data, tags=[f"t{number}"])
            yield
    tree.push("eve", "all", index(sparse=[SECRET]))
    tree.push("eve", "some", index(image(["base", "mine"]), sparse=[SECRET]))


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_whatever_links_are_lost_relink_writes_none_that_was_not_there(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tree = TreeBuilder(Path(folder))
        for _ in _pushes(tree):
            pass
        good = tree.files()
        links = sorted(path for path in good if path.endswith("/link"))
        for path in data.draw(st.sets(st.sampled_from(links))):
            (tree.root / path).unlink()
        relink_now(tree)
        now = tree.files()
        assert {path: now[path] for path in now if path in good} == now


# -- reports ----------------------------------------------------------------------


@pytest.mark.parametrize("elsewhere", [False, True])
def test_show_counts_what_is_fetched_elsewhere_neither_as_stored_nor_as_shared(
    tree: TreeBuilder, elsewhere: bool
) -> None:
    tree.push("win", "v1", windows(urls=True))
    tree.push("win", "v2", windows(urls=True))
    if elsewhere:
        tree.push("other", "v1", image([FAR]))
    report = shown(tree, "win:v1")
    (one,) = report.images
    config, _, own = windows(urls=True).blobs
    assert report.problems == ()
    assert one.shared == len(own.data)
    assert one.size == report.size + len(config.data) + len(own.data)
    far, mine = (step for step in one.steps if step.digest)
    assert (far.elsewhere, far.present, far.images) == (True, False, 0)
    assert (mine.elsewhere, mine.present) == (False, True)


def test_show_counts_what_was_pushed_all_the_same(tree: TreeBuilder) -> None:
    tree.push("win", "v1", windows(urls=True))
    without = shown(tree, "win:v1").images[0].size
    tree.add_blob("win", FAR)
    (one,) = shown(tree, "win:v1").images
    assert one.size == without + len(FAR)
    assert not any(step.elsewhere for step in one.steps)
