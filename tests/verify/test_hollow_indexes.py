"""An index of which a repository has nothing: an error, and what heal makes of it in one run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from regfs.cli.app import run
from regfs.findings import Code, Severity
from regfs.verify import Level
from tests.support.backups import ARM, MULTI, ONE, Memory, backup, plan_of, stocked
from tests.support.builder import TreeBuilder, image, index
from tests.support.reference import ReferenceRegistry, copy, needs_reference
from tests.support.verification import BASE, check, grave

AMD = MULTI.children[0]
CHILDREN = (AMD, ARM)
Said = pytest.CaptureFixture[str]


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    return stocked(tree)


def collected(tree: TreeBuilder) -> TreeBuilder:
    """Leave what the reference's collector leaves of an index with `--delete-untagged`.

    It takes the links of what has no tag, children of indexes among it, and then all blobs that
    only these need, but not the manifests.
    """
    for child in CHILDREN:
        tree.delete_revision("team/x", child.digest)
        for blob in child.blobs:
            if blob not in ONE.blobs:
                tree.delete_blob(blob.digest)
    return tree


def emptied(tree: TreeBuilder) -> TreeBuilder:
    """Leave nothing of what an index lists but the links to its layers."""
    for child in CHILDREN:
        tree.delete_blob(child.digest)
    return collected(tree)


def weights(tree: TreeBuilder) -> list[tuple[str, str, str | None]]:
    rows = (row.finding for row in grave(check(tree)) if row.finding.code.value != "link-dangling")
    return sorted((one.code.value, one.severity.value, one.expected) for one in rows)


def heal(tree: TreeBuilder, *arguments: str | Path) -> int:
    return run(["-r", str(tree.root), "heal", *map(str, arguments)])


# -- verify -----------------------------------------------------------------------


@pytest.mark.parametrize("damage", [collected, emptied])
def test_an_index_of_which_nothing_is_there_is_an_error(shop: TreeBuilder, damage: object) -> None:
    damage(shop)  # type: ignore[operator]
    wanted = sorted(child.digest for child in CHILDREN)
    assert weights(shop) == [("index-child-missing", "error", one) for one in wanted]
    for level in (Level.SIZES, Level.CONTENT):
        rows = [r for r in grave(check(shop, level=level)) if r.finding.severity is Severity.ERROR]
        assert {row.images for row in rows} == {("team/x:multi",)}
        assert {row.finding.code for row in rows} == {Code.INDEX_CHILD_MISSING}
        assert "heal --from SOURCE --relink" in rows[0].finding.remedy


def test_an_index_of_which_something_is_there_is_a_partial_mirror(shop: TreeBuilder) -> None:
    shop.delete_revision("team/x", ARM.digest)
    shop.delete_blob(ARM.digest)
    assert weights(shop) == [("index-child-missing", "warning", ARM.digest)]


def test_each_repository_is_judged_by_what_it_has_itself(shop: TreeBuilder) -> None:
    away = image(["away"])
    shop.push("a", "v1", index(image([BASE]), sparse=[away]))
    shop.push("b", "v1", index(sparse=[image([BASE]), away]))
    rows = [row for row in grave(check(shop)) if row.finding.severity is Severity.ERROR]
    assert {row.images for row in rows} == {("b:v1",)}
    # The same index, whole in one repository and hollow in another.
    shop.push("c", "v1", MULTI)
    for child in CHILDREN:
        shop.delete_revision("c", child.digest)
    rows = [row for row in grave(check(shop)) if "c:v1" in row.images]
    assert {row.finding.repository for row in rows} == {"c"}
    assert {row.finding.severity for row in rows} == {Severity.ERROR}
    assert "team/x:multi" not in {name for row in rows for name in row.images}


def test_a_cache_has_such_indexes_of_every_image_that_was_only_asked_about(
    shop: TreeBuilder,
) -> None:
    emptied(shop)
    shop.write(shop.root / "scheduler-state.json", "{}")
    assert {weight for _, weight, _ in weights(shop)} == {"warning"}


# -- heal -------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [collected, emptied])
def test_one_run_with_both_makes_it_whole(shop: TreeBuilder, damage: object, capsys: Said) -> None:
    whole, good = backup(shop), shop.files()
    damage(shop)  # type: ignore[operator]
    assert heal(shop, "--from", whole.root, "--relink") == 0
    assert shop.files() == good
    assert "Left" not in capsys.readouterr().out


@pytest.mark.parametrize("damage", [collected, emptied])
def test_content_alone_leaves_links_and_says_so(
    shop: TreeBuilder, damage: object, capsys: Said
) -> None:
    whole, good = backup(shop), shop.files()
    damage(shop)  # type: ignore[operator]
    assert heal(shop, "--from", whole.root) == 1
    assert "Still wrong: 2 errors (index-child-missing 2)" in capsys.readouterr().out
    assert heal(shop, "--relink") == 0
    assert shop.files() == good


def test_links_alone_leave_content_and_say_so(shop: TreeBuilder, capsys: Said) -> None:
    collected(shop)
    assert heal(shop, "--relink", "--json") == 1
    left = json.loads(capsys.readouterr().out)["left"]
    assert [one["code"] for one in left] == ["blob-missing"]


def test_a_manifest_that_lost_its_link_is_asked_for_all_it_needs(
    shop: TreeBuilder, capsys: Said
) -> None:
    whole, good = backup(shop), shop.files()
    shop.delete_revision("app", ONE.digest)
    shop.delete_blob(ONE.blobs[2].digest)
    assert heal(shop, "--from", whole.root, "--relink") == 0
    assert shop.files() == good


def test_what_an_index_lists_and_lost_its_link_is_asked_for_all_it_needs(
    shop: TreeBuilder, capsys: Said
) -> None:
    whole, good = backup(shop), shop.files()
    shop.delete_revision("team/x", ARM.digest)
    shop.delete_blob(ARM.blobs[1].digest)
    assert heal(shop, "--from", whole.root, "--relink") == 0
    assert shop.files() == good


def test_what_a_source_cannot_help_with_is_left_and_said(shop: TreeBuilder, capsys: Said) -> None:
    whole = backup(shop)
    shop.break_("descriptor-wrong-size", "app", "v1")
    for dry in (["-n"], []):
        assert heal(shop, "--from", whole.root, *dry) == 1
        said = capsys.readouterr().out
        assert "Still wrong: 1 error (descriptor-size-mismatch 1)" in said
        assert "--relink writes links" in said


def test_what_is_corrupt_and_not_healed_is_left_though_links_are_looked_at_after(
    shop: TreeBuilder, capsys: Said
) -> None:
    whole = backup(shop)
    whole.delete_blob(ONE.blobs[2].digest)
    shop.break_("blob-flipped", "app", "v1", ONE.blobs[2].digest)
    shop.layer_path("app", ONE.blobs[1].digest).unlink()
    assert heal(shop, "--from", whole.root, "--relink", "--json") == 1
    assert json.loads(capsys.readouterr().out)["left"] == [{"code": "blob-corrupt", "count": 1}]


def test_of_an_index_that_is_fetched_everything_is_fetched_if_nothing_is_there(
    shop: TreeBuilder,
) -> None:
    source = Memory.of(shop)
    for content in (MULTI, *CHILDREN):
        shop.delete_blob(content.digest)
    for child in CHILDREN:
        shop.delete_revision("team/x", child.digest)
    wanted = {item.digest for item in plan_of(shop, source).items}
    assert wanted == {MULTI.digest, AMD.digest, ARM.digest}


@needs_reference
def test_a_client_pulls_what_was_made_whole(
    shop: TreeBuilder, registry_server: object, tmp_path: Path, capsys: Said
) -> None:
    whole = backup(shop)
    emptied(shop)
    registry: ReferenceRegistry = registry_server(shop.root)  # type: ignore[operator]
    options = (registry.image("team/x:multi"), f"dir:{tmp_path / 'pulled'}", "--all")
    assert copy(*options, check=False).returncode != 0
    assert heal(shop, "--from", whole.root, "--relink") == 0
    copy(*options)
