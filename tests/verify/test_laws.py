"""Laws of verify on random registries: what is whole, what any damage gives, and whom it hurts.

The images that a damage must touch are worked out beforehand, from the JSON on the disk.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.findings import Code, Finding, Severity
from regfs.stores import open_store
from regfs.tree.registry import Registry
from regfs.tree.scan import scan
from regfs.verify import Level, Result, VerifyOptions, verify
from tests.support.builder import TreeBuilder, image, index
from tests.support.damage import DAMAGE, Victim
from tests.support.needs import images_of
from tests.support.registries import Recipe, build, new_tree, recipes
from tests.support.verification import EXPECTED, check, grave

KINDS = st.sampled_from(sorted(DAMAGE))
REPOSITORIES = st.sampled_from(["a", "a/b", "m"])

VICTIM = image(["base", "one", "of the victim"])
"""Shares layers with what the recipes push."""
NOTHING = Recipe(contents=[], steps=[])
LISTED = index(VICTIM, image(["two"], platform="linux/arm64"))


class Found(NamedTuple):
    """One finding above info, with whom it hurts."""

    code: str
    path: str
    repository: str | None
    expected: str | None
    images: frozenset[str]


def found(result: Result) -> set[Found]:
    rows = ((row.finding, frozenset(row.images)) for row in grave(result))
    return {Found(f.code.value, f.path, f.repository, f.expected, images) for f, images in rows}


def places(findings: set[Found]) -> set[tuple[str, str, str | None, str | None]]:
    return {finding[:4] for finding in findings}


def added(before: set[Found], after: set[Found]) -> set[Found]:
    """Return what was not found at that place before."""
    known = places(before)
    return {finding for finding in after if finding[:4] not in known}


# -- whole registries -----------------------------------------------------------


def legal(tree: TreeBuilder) -> Iterator[tuple[str, str]]:
    """Yield what a registry that was only used can be told: code, and repository or index."""
    top = tree.v2 / "repositories"
    for folder in top.rglob("_manifests"):
        name = folder.parent.relative_to(top).as_posix()
        revisions = {f"sha256:{path.parent.name}" for path in folder.glob("revisions/*/*/link")}
        if revisions and not tree.tags(name):
            yield "repository-tagless", name
        for revision in revisions:
            for child in tree.document(revision).get("manifests", []):
                kind = child["mediaType"]
                if ("manifest" in kind or "index" in kind) and child["digest"] not in revisions:
                    yield "index-child-missing", revision


def is_hollow(tree: TreeBuilder, finding: Finding) -> bool:
    """Return whether a finding is of an index none of whose children its repository has."""
    if finding.code is not Code.INDEX_CHILD_MISSING:
        return False
    children = [one["digest"] for one in tree.document(str(finding.digest))["manifests"]]
    names = [
        folder.parent.relative_to(tree.v2 / "repositories").as_posix()
        for folder in (tree.v2 / "repositories").rglob("_manifests")
    ]
    having = [name for name in names if tree.revision_path(name, str(finding.digest)).exists()]
    return any(
        not any(tree.revision_path(name, child).exists() for child in children) for name in having
    )


@given(recipes())
def test_a_registry_that_was_only_used_is_whole_but_for_what_is_legal(recipe: Any) -> None:
    with new_tree() as folder:
        tree = build(folder, recipe)
        result = check(tree)
        errors = {row.finding for row in grave(result) if row.finding.severity is Severity.ERROR}
        assert all(is_hollow(tree, finding) for finding in errors)
        told = {
            (row.finding.code.value, row.finding.digest or row.finding.repository)
            for row in grave(result)
        }
        assert told == set(legal(tree))


# -- one damage -----------------------------------------------------------------

LYING_AROUND = {kind for kind, (_, hurts) in EXPECTED.items() if not hurts}
RETAGGED = {
    "manifest-unknown-type",
    "manifest-deep",
    "manifest-wrong-types",
    "manifest-bogus-digest",
    "descriptor-wrong-size",
    "index-child-missing",
}
"""Damage that is a new manifest under the tag: nobody else has it."""


def hurt(tree: TreeBuilder, kind: str, victim: Victim) -> set[str]:
    """Return the images that a damage must touch; ask before it is done."""
    name, tag = victim.name, victim.tag
    if kind == "tag-invalid":
        return {f"{name}:-not-a-tag"}
    if kind in LYING_AROUND:
        return set()
    if kind.startswith("tag-") or kind in RETAGGED:
        return {f"{name}:{tag}"}
    of_blob = ("blob-", "layer-link-", "fifo-data", "folder-data", "symlink-")
    digest = victim.blob if kind.startswith(of_blob) else victim.manifest
    everywhere = images_of(tree, digest)
    if kind.startswith(("link-", "layer-link-", "fifo-link")):
        return {one for one in everywhere if one.startswith((f"{name}:", f"{name}@"))}
    return everywhere


@given(recipes(), KINDS, REPOSITORIES, st.sampled_from([VICTIM, LISTED]))
def test_any_damage_is_found_and_laid_to_exactly_the_images_that_use_it(
    recipe: Any, kind: str, name: str, content: Any
) -> None:
    with new_tree() as folder:
        tree = build(folder, recipe)
        tree.push(name, "victim", content)
        before = found(check(tree))
        victim = Victim(tree, name, "victim")
        expected = hurt(tree, kind, victim)
        tree.break_(kind, name, "victim")
        more = added(before, found(check(tree)))
        codes, _ = EXPECTED[kind]
        assert codes <= {finding.code for finding in more}
        assert {one for finding in more for one in finding.images} == expected


# -- two ------------------------------------------------------------------------


def apart(recipe: Any, *damages: tuple[str, str]) -> set[Found]:
    """Return what is found when each of `damages` (kind, repository) is done to an image."""
    with new_tree() as folder:
        tree = build(folder, recipe)
        for name in ("one", "two"):
            tree.push(name, "v1", index(image([name, "base"]), image([name, "arm"])))
        for kind, name in damages:
            tree.break_(kind, name, "v1")
        return found(check(tree))


def joined(*results: set[Found]) -> set[Found]:
    """Return the findings of all results; one place is one finding and hurts whom any hurts.

    Two damages can meet in one place: content that does not depend on its victim is one blob,
    whoever pushed it.
    """
    images: dict[tuple[str, str, str | None, str | None], frozenset[str]] = {}
    for finding in chain.from_iterable(results):
        place = finding[:4]
        images[place] = images.get(place, frozenset()) | finding.images
    return {Found(*place, hurt) for place, hurt in images.items()}


@given(recipes(), KINDS, KINDS)
def test_two_damages_give_the_findings_of_each(recipe: Any, first: str, second: str) -> None:
    one, two = (first, "one"), (second, "two")
    assert apart(recipe, one, two) == joined(apart(recipe, one), apart(recipe, two))


@pytest.mark.parametrize("kind", ["link-other-digest", "tag-current-other-digest"])
def test_a_link_that_dangles_hides_no_child_missing_in_another_repository(kind: str) -> None:
    one, two = ("index-child-missing", "one"), (kind, "two")
    assert apart(NOTHING, one, two) == joined(apart(NOTHING, one), apart(NOTHING, two))


@pytest.mark.parametrize("kind", sorted(DAMAGE))
def test_one_damage_to_two_images_gives_the_findings_of_each(kind: str) -> None:
    one, two = (kind, "one"), (kind, "two")
    assert apart(NOTHING, one, two) == joined(apart(NOTHING, one), apart(NOTHING, two))


# -- nothing is changed -----------------------------------------------------------


def state(tree: TreeBuilder) -> dict[str, tuple[Any, ...]]:
    """Return everything of every path but when it was last read."""
    seen: dict[str, tuple[Any, ...]] = {}
    for folder, names, files in os.walk(tree.root):
        for name in (".", *names, *files):
            path = os.path.join(folder, name)
            found = os.lstat(path)
            content = ""
            if stat.S_ISREG(found.st_mode):
                with open(path, "rb") as file:
                    content = hashlib.file_digest(file, "sha256").hexdigest()
            elif stat.S_ISLNK(found.st_mode):
                content = os.readlink(path)
            facts = found.st_mode, found.st_uid, found.st_gid, found.st_nlink, found.st_size
            seen[path] = (*facts, found.st_mtime_ns, found.st_ctime_ns, content)
    return seen


@given(recipes(), KINDS, st.sampled_from(Level))
def test_verify_changes_no_byte_mode_or_time_of_a_tree(
    recipe: Any, kind: str, level: Level
) -> None:
    with new_tree() as folder:
        tree = build(folder, recipe)
        tree.push("a", "victim", LISTED)
        tree.break_(kind, "a", "victim")
        before = state(tree)
        registry = Registry(open_store(str(tree.root)))
        verify(registry, scan(registry.store), options=VerifyOptions(level=level))
        assert state(tree) == before
