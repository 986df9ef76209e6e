"""The log as a story: what skopeo and others do, in words that a person reads."""

from __future__ import annotations

from typing import Any

import pytest

from regfs.digest import Digest
from regfs.server.access_log import Exchange
from regfs.server.story import Story
from regfs.units import human_size
from tests.support.builder import TreeBuilder, blob_of, image, index
from tests.support.images import Blob
from tests.support.registries import registry_of

BASE = Exchange(
    at=0.0,
    seconds=0.0,
    remote="127.0.0.1",
    user="",
    method="GET",
    target="/v2/",
    protocol="HTTP/1.1",
    status=200,
    sent=0,
    received=0,
    referer="",
    user_agent="skopeo/1.18",
    action="base",
    repository="",
    reference="",
)


def asked(action: str, reference: str, repository: str = "app", **others: Any) -> Exchange:
    return BASE._replace(action=action, reference=reference, repository=repository, **others)


def uploaded(digest: str, query: str = "") -> Exchange:
    target = f"/v2/app/blobs/uploads/1?{query or f'digest={digest}'}"
    return asked("upload", "1", method="PUT", status=201, target=target)


def size(layer: Blob) -> str:
    return human_size(len(layer.data))


@pytest.fixture
def layer() -> Blob:
    return blob_of("base")


@pytest.fixture
def story(tree: TreeBuilder, layer: Blob) -> Story:
    tree.push("app", "v1", image([layer]))
    return Story(registry_of(tree))


def test_a_layer_that_was_looked_for_in_vain_is_new(tree: TreeBuilder, story: Story) -> None:
    fresh = blob_of("fresh")
    short = Digest(fresh.digest).short
    missing = asked("blob", fresh.digest, method="HEAD", status=404)
    assert story.line(missing) == f"skopeo looks for blob {short} in app: not there"
    tree.add_blob("app", fresh)
    told = f"skopeo pushes app: layer {short}, {size(fresh)}"
    assert story.line(uploaded(fresh.digest)) == f"{told}, new"
    assert story.line(uploaded(fresh.digest)) == told  # nobody looked whether it was there


def test_a_layer_of_another_repository_is_sent_again_or_linked(story: Story, layer: Blob) -> None:
    short = Digest(layer.digest).short
    other = asked("blob", layer.digest, "other", method="HEAD", status=404)
    assert story.line(other) == (
        f"skopeo looks for layer {short} in other: not there, but in another repository"
    )
    again = story.line(uploaded(layer.digest))
    assert again == (
        f"skopeo pushes app: layer {short}, {size(layer)}, sent again: it is stored once"
    )
    mounted = story.line(uploaded("", f"mount={layer.digest}&from=base"))
    assert mounted == (
        f"skopeo pushes app: layer {short}, {size(layer)}, linked from base, nothing sent"
    )


def test_manifests_are_told_with_what_they_name(tree: TreeBuilder, story: Story) -> None:
    one = image([blob_of("1"), blob_of("2")])
    pushed = Digest(tree.push("app", "v2", one))
    put = asked("manifest", "v2", method="PUT", status=201)
    words = story.line(put)
    assert words.startswith(f"skopeo pushes app:v2: image {pushed.short}, config ")
    assert words.endswith(", 2 layers")
    listed = Digest(tree.push("app", "both", index(one)))
    by_digest = asked("manifest", listed)
    assert story.line(by_digest) == (f"skopeo pulls app@{listed.short}: index {listed.short} of 1")
    assert story.line(asked("manifest", "gone")).endswith("a manifest that is gone already")


@pytest.mark.parametrize(
    ("exchange", "line"),
    [
        (asked("catalog", "", ""), "skopeo lists the repositories"),
        (asked("tags", ""), "skopeo lists the tags of app"),
        (asked("base", "", ""), ""),
        (asked("uploads", "", method="POST", status=202), ""),
        (asked("upload", "1", method="PATCH", status=202), ""),
        (asked("base", "", "", status=401), ""),
        (
            asked("manifest", "v1", method="DELETE", status=202),
            "skopeo deletes app:v1: its bytes stay until a garbage collection",
        ),
        (
            asked("manifest", "v9", status=404, target="/v2/app/manifests/v9?x=y"),
            "skopeo gets 404 for GET /v2/app/manifests/v9",
        ),
        (
            asked("page", "", "", target="/usage", user_agent="Mozilla/5.0", user="ann"),
            "a browser (ann) looks at the page /usage",
        ),
    ],
)
def test_each_request_has_its_words(story: Story, exchange: Exchange, line: str) -> None:
    assert story.line(exchange) == line


def test_what_a_client_sends_cannot_forge_a_line(story: Story) -> None:
    forged = asked("tags", "", user_agent="x\nskopeo deletes everything\x1b[2J/1")
    assert story.line(forged).isprintable()


def test_the_same_blob_is_looked_for_once(story: Story) -> None:
    looks = asked("blob", "sha256:" + "0" * 64, method="HEAD", status=404)
    assert story.line(looks)
    assert not story.line(looks)
    assert story.line(asked("tags", ""))
    assert story.line(looks)


def test_a_story_remembers_a_bounded_number_of_digests(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regfs.server.story.REMEMBERED", 3)
    for number in range(9):
        story.line(asked("blob", f"sha256:{number:064x}", method="HEAD", status=404))
    assert len(story._looked_for) == 3
