"""References as people paste and mistype them, and patterns: what they mean in a tree."""

from __future__ import annotations

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.digest import Digest
from regfs.errors import ManifestUnknown, NameUnknown, ReferenceInvalid
from regfs.findings import Finding
from regfs.names import natural
from regfs.reports.tag_log import tag_log
from regfs.tree.registry import Registry, Target
from tests.support.builder import TreeBuilder, image
from tests.support.registries import registry_of


@pytest.fixture
def registry(tree: TreeBuilder) -> Registry:
    """A registry with several repositories in `team`."""
    for name, tags in {
        "app": ("v1", "v2", "v10", "latest"),
        "team": ("v1",),
        "team/app": ("v1", "latest"),
        "team/web": ("v1",),
        "team/web/ui": ("latest",),
        "mirror.example.com/base": ("v1",),
        "base": ("v1", "v2"),
    }.items():
        for tag in tags:
            tree.push(name, tag, image([f"{name} {tag}"]))
    return registry_of(tree)


def names(registry: Registry, text: str) -> list[str]:
    return [str(target) for target in registry.find_all(text)]


# -- as pasted -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pasted", "meant"),
    [
        ("docker://registry.example.com/team/app:v1", "team/app:v1"),
        ("docker://localhost:5000/app", "app"),
        ("docker://app:v1", "app:v1"),
        ("oci://registry.example.com/app:v1", "app:v1"),
        ("localhost/app:v1", "app:v1"),
        ("localhost:5000/app", "app"),
        ("127.0.0.1:5000/team/app:latest", "team/app:latest"),
        ("[::1]:5000/app:v1", "app:v1"),
        # A repository of that very name goes first.
        ("mirror.example.com/base", "mirror.example.com/base"),
        ("mirror.example.com/base:v1", "mirror.example.com/base:v1"),
        ("docker://mirror.example.com/base:v1", "mirror.example.com/base:v1"),
    ],
)
def test_a_pasted_reference(registry: Registry, pasted: str, meant: str) -> None:
    assert str(registry.find(pasted)) == meant


@pytest.mark.parametrize(
    "text",
    ["mirror.example.com/app", "mirror.example.com/app:v1", "docker://mirror.example.com/app"],
)
def test_a_namespace_of_the_tree_is_no_host(registry: Registry, text: str) -> None:
    with pytest.raises(NameUnknown):
        registry.find(text)
    with pytest.raises((NameUnknown, ReferenceInvalid)):
        registry.find_all(f"{text.rpartition('/')[0]}/te*")


def test_a_pasted_reference_with_a_digest(registry: Registry, tree: TreeBuilder) -> None:
    digest = Digest(tree.current("app", "v1"))
    assert registry.find(f"docker://host:5000/app@{digest}") == Target("app", None, digest)
    assert registry.find(f"host:5000/app:v1@{digest}") == Target("app", "v1", digest)


@pytest.mark.parametrize(
    "text", ["team/nothing:v1", "other/app", "docker://team2/app", "../app", "./app", "x@y.z/app"]
)
def test_what_begins_with_no_host_is_not_cut(registry: Registry, text: str) -> None:
    with pytest.raises((NameUnknown, ReferenceInvalid)):
        registry.find(text)


def test_tag_and_digest_must_agree(registry: Registry, tree: TreeBuilder) -> None:
    first, second = (Digest(tree.current("app", tag)) for tag in ("v1", "v2"))
    assert registry.find(f"app:v1@{first}") == Target("app", "v1", first)
    assert registry.find(f"app:v1@{first.encoded[:7]}") == Target("app", "v1", first)
    with pytest.raises(ManifestUnknown, match=f"app:v1 points to {first}, not to {second}"):
        registry.find(f"app:v1@{second}")
    with pytest.raises(ManifestUnknown, match="no such tag: app:v3"):
        registry.find(f"app:v3@{first}")
    elsewhere = tree.current("team/app", "v1")
    with pytest.raises(ManifestUnknown, match="in app"):
        registry.find(f"app:v1@{elsewhere}")


# -- patterns ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("team/*", ["team/app", "team/web"]),
        ("team/**", ["team", "team/app", "team/web", "team/web/ui"]),
        ("team/", ["team/app", "team/web", "team/web/ui"]),
        ("team/web/", ["team/web/ui"]),
        ("**/ui", ["team/web/ui"]),
        ("*", ["app", "base", "team"]),
        ("a*", ["app"]),
        ("app:v*", ["app:v1", "app:v2", "app:v10"]),
        ("team/*:latest", ["team/app:latest"]),
        ("*:v1", ["app:v1", "base:v1", "team:v1"]),
        ("mirror.example.com/*:v*", ["mirror.example.com/base:v1"]),
        ("app", ["app"]),
    ],
)
def test_a_pattern_is_all_that_matches_in_natural_order(
    registry: Registry, pattern: str, meant: list[str]
) -> None:
    assert names(registry, pattern) == meant


@pytest.mark.parametrize(
    ("pattern", "error", "words"),
    [
        ("other/*", NameUnknown, "no repository matches 'other/*'"),
        ("app/", NameUnknown, "no repository matches 'app/'"),
        ("app:x*", ManifestUnknown, "no tag matches 'app:x*'"),
        # Whoever removes a pattern removes what it names, and nothing else.
        ("localhost:5000/*", NameUnknown, "no repository matches 'localhost:5000/*'"),
        ("registry.example.com/*:v1", NameUnknown, "no repository matches"),
        ("te?m/*", ReferenceInvalid, "only * and **"),
        ("a**", ReferenceInvalid, "must be a component"),
        ("*@sha256:" + "0" * 64, NameUnknown, "no repository matches"),
    ],
)
def test_a_pattern_that_matches_nothing(
    registry: Registry, pattern: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=re.escape(words)):
        registry.find_all(pattern)


@pytest.mark.parametrize("pattern", ["team/*", "*", "team/", "*:v1"])
def test_where_one_is_meant_a_pattern_is_refused(registry: Registry, pattern: str) -> None:
    with pytest.raises(ReferenceInvalid, match="can mean several"):
        registry.find(pattern)


def test_a_damaged_tag_is_reported_and_the_others_match(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    tree.push("app", "v2")
    path = tree.break_("tag-current-garbage", "app", "v1")
    heard: list[Finding] = []
    registry = Registry(registry_of(tree).store, heard.append)
    assert names(registry, "app:v*") == ["app:v2"]
    assert [one.path for one in heard] == [path]


# -- did you mean ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("ap", "no such repository: ap; did you mean app?"),
        ("taem/app:v1", "no such repository: taem/app; did you mean team/app?"),
        ("team/aap", "no such repository: team/aap; did you mean team/app?"),
        ("teem/wep/ui", "no such repository: teem/wep/ui; did you mean team/web/ui?"),
        ("app:latets", "no such tag: app:latets; did you mean latest?"),
        ("localhost:5000/ap", "no such repository: ap; did you mean app?"),
        ("something/else", "no such repository: something/else"),
    ],
)
def test_what_is_like_it_is_named(registry: Registry, typed: str, words: str) -> None:
    with pytest.raises((NameUnknown, ManifestUnknown)) as caught:
        registry.find(typed)
    assert str(caught.value) == words


# -- natural order -------------------------------------------------------------------------------


def test_numbers_count_in_natural_order(registry: Registry) -> None:
    assert list(registry.tags("app")) == ["latest", "v1", "v2", "v10"]
    versions = ["1.2", "1.10", "1.10-rc1", "v0.9", "v0.10", "2020-01-31", "2020-02-01", ""]
    assert sorted(versions, key=natural) == [
        "", "1.2", "1.10", "1.10-rc1", "2020-01-31", "2020-02-01", "v0.9", "v0.10"
    ]  # fmt: skip


@given(st.lists(st.text("ab019.-", max_size=6)))
def test_natural_order_is_one_order(texts: list[str]) -> None:
    ordered = sorted(texts, key=natural)
    assert sorted(reversed(texts), key=natural) == ordered
    assert sorted(texts) == sorted(ordered)


# -- what a tag pointed to before ------------------------------------------------------------


@pytest.fixture
def moved(tree: TreeBuilder) -> list[Digest]:
    """What `team/app:v1` has pointed to, newest first."""
    found = []
    for age in (3000, 2000, 1000):
        with tree.at_age(age):
            tree.push("team/app", "v1", image([f"{age}"]))
        found.append(Digest(tree.current("team/app", "v1")))
    return found[::-1]


def test_what_a_tag_pointed_to_before(tree: TreeBuilder, moved: list[Digest]) -> None:
    registry = registry_of(tree)
    for number, digest in enumerate(moved[1:], 1):
        # Not as the tag: what removes or moves it must not take the tag as it is now.
        expected = Target("team/app", None, digest)
        assert registry.find(f"team/app:v1@-{number}") == expected
        assert registry.find(f"localhost:5000/team/app:v1@-{number}") == expected
        assert registry.find_content(f"team/app:v1@-{number}") == (expected, digest)


def test_a_tag_that_was_set_back_counts_from_there(tree: TreeBuilder, moved: list[Digest]) -> None:
    path = tree.tag_path("team/app", "v1")
    path.write_text(moved[1])
    registry = registry_of(tree)
    assert registry.find("team/app:v1@-1").digest == moved[2]
    with pytest.raises(ManifestUnknown, match="only 1 before that"):
        registry.find("team/app:v1@-2")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("team/app:v1@-3", "team/app:v1 has pointed to only 2 before that"),
        ("team/app:v1@-" + "9" * 200, "give -1 for what it pointed to before"),
        ("team/app:v1@-0", "give -1 for what it pointed to before"),
        ("team/app:v1@-", "give -1 for what it pointed to before"),
        ("team/app:v1@-1x", "give -1 for what it pointed to before"),
        ("team/app:v2@-1", "no such tag: team/app:v2"),
        ("team/app@-1", "only a tag has a history"),
        ("localhost:5000/team@-1", "only a tag has a history"),
        ("nothing:v1@-1", "no such repository: nothing"),
    ],
)
@pytest.mark.usefixtures("moved")
def test_what_a_tag_never_pointed_to(tree: TreeBuilder, text: str, words: str) -> None:
    with pytest.raises((ManifestUnknown, NameUnknown, ReferenceInvalid), match=re.escape(words)):
        registry_of(tree).find(text)


def test_in_a_copied_tree_the_current_one_was_set_last(
    tree: TreeBuilder, moved: list[Digest]
) -> None:
    for path in tree.tag_folder("team/app", "v1").rglob("link"):
        os.utime(path, (1000, 1000))
    registry = registry_of(tree)
    for current in moved:
        tree.tag_path("team/app", "v1").write_text(current)
        others = sorted(one for one in moved if one != current)
        assert [one for one, _ in registry.history("team/app", "v1")] == [current, *others]
        assert [one.digest for one in tag_log(registry, "team/app").entries] == [current, *others]
        assert registry.find("team/app:v1@-1").digest == others[0]


def test_what_a_tag_pointed_to_before_was_collected(tree: TreeBuilder, moved: list[Digest]) -> None:
    tree.delete_revision("team/app", moved[1])
    words = f"team/app:v1@-1 was {moved[1]}, which team/app does not have any more"
    with pytest.raises(ManifestUnknown, match=words):
        registry_of(tree).find("team/app:v1@-1")
