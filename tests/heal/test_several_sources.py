"""Healing from several sources: the next one is asked for what one lacks or fails at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from regfs.cli.app import run
from regfs.digest import Digest
from regfs.errors import ContentMismatch, SourceError, SourceLacks
from regfs.heal.repair import heal
from regfs.heal.report import Healed, HealOutcome, HealState
from regfs.heal.source import BlobRequest, ask_each
from regfs.stores import open_store
from regfs.tree.registry import Registry
from tests.support.backups import ARM, LAYER, MULTI, ONE, Memory, backup, plan_of, stocked
from tests.support.builder import TreeBuilder, schema1

DATA = ONE.blobs[1].data


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    return stocked(tree)


def named(source: Memory, url: str) -> Memory:
    source.url = url
    return source


def heal_from(tree: TreeBuilder, *sources: Memory) -> Healed:
    planned = plan_of(tree, *sources)
    return heal(planned, Registry(open_store(str(tree.root))), *sources)


def outcome(healed: Healed, digest: str) -> HealOutcome:
    (found,) = (one for one in healed.outcomes if one.digest == digest)
    return found


def test_what_one_source_lacks_another_gives(shop: TreeBuilder) -> None:
    good = shop.files()
    whole = Memory.of(shop)
    layers = Memory({LAYER: DATA})
    others = Memory({one: data for one, data in whole.content.items() if one != LAYER})
    for digest in (LAYER, ARM.blobs[1].digest, MULTI.digest):
        shop.delete_blob(digest)
    healed = heal_from(shop, layers, others)
    assert shop.files() == good
    assert (healed.healed, healed.broken) == (3, 0)
    assert {one.message for one in healed.outcomes} == {""}
    assert LAYER not in [request.digest for request in others.asked]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (OSError("input/output error"), "input/output error"),
        (b"wrong", "another digest"),
        (DATA + b"\0", "more than"),
    ],
)
def test_a_source_that_fails_is_named_and_the_next_one_is_asked(
    shop: TreeBuilder, given: bytes | Exception, said: str
) -> None:
    good = shop.files()
    bad, whole = named(Memory.of(shop), "bad"), Memory.of(shop)
    bad.content[LAYER] = given
    shop.break_("blob-flipped", "app", "v1", LAYER)
    found = outcome(heal_from(shop, bad, whole), LAYER)
    assert found.state is HealState.HEALED
    assert found.message.startswith("bad: ")
    assert said in found.message
    assert shop.files() == good


@pytest.mark.parametrize("given", [OSError("input/output error"), b"{}", None])
def test_what_a_manifest_names_is_learned_from_the_next_source(
    shop: TreeBuilder, given: bytes | Exception | None
) -> None:
    good = shop.files()
    bad, whole = Memory.of(shop), Memory.of(shop)
    if given is None:
        del bad.content[MULTI.digest]
    else:
        bad.content[MULTI.digest] = given
    for digest in (MULTI.digest, ARM.digest, ARM.blobs[0].digest):
        shop.delete_blob(digest)
    healed = heal_from(shop, bad, whole)
    assert (healed.healed, healed.broken) == (3, 0)
    assert shop.files() == good


@pytest.mark.parametrize(
    ("contents", "state"),
    [
        ([None, None], HealState.LACKING),
        ([None, b"wrong"], HealState.WRONG),
        ([OSError("it hangs"), None], HealState.FAILED),
        ([b"wrong", OSError("it hangs")], HealState.FAILED),
    ],
)
def test_what_no_source_gives_names_them_all(
    shop: TreeBuilder, contents: Sequence[bytes | Exception | None], state: HealState
) -> None:
    sources = [
        named(Memory({} if content is None else {LAYER: content}), f"source {number}")
        for number, content in enumerate(contents)
    ]
    shop.delete_blob(LAYER)
    healed = heal_from(shop, *sources)
    found = outcome(healed, LAYER)
    assert (found.state, healed.broken) == (state, 1)
    assert "source 0: " in (found.message or "")
    assert "source 1: " in (found.message or "")
    assert not shop.blob_path(LAYER).exists()


def test_the_size_that_one_source_claims_does_not_limit_the_next(tree: TreeBuilder) -> None:
    tree.push("old", "v1", schema1("old", "v1", ["a layer, which is longer than one word"]))
    good = tree.files()
    (layer,) = {one for one in tree.blobs() if one != tree.current("old", "v1")}
    whole = Memory.of(tree)
    tree.delete_blob(layer)
    healed = heal_from(tree, Memory({layer: b"short"}), whole)
    assert outcome(healed, layer).state is HealState.HEALED
    assert tree.files() == good


def test_without_a_source_nothing_is_found() -> None:
    with pytest.raises(SourceLacks):
        ask_each([], lambda source: source.size(BlobRequest(Digest(LAYER))))


def test_a_plan_names_every_source(shop: TreeBuilder) -> None:
    planned = plan_of(shop, named(Memory({}), "one"), named(Memory({}), "two"))
    assert planned.source == "one, two"


def test_errors_of_one_source_are_raised_as_they_are() -> None:
    for error in (SourceLacks("a"), SourceError("b"), ContentMismatch("c")):

        def fail(source: object, error: Exception = error) -> None:
            raise error

        with pytest.raises(type(error)) as caught:
            ask_each([Memory({})], fail)
        assert caught.value is error


# -- the command ------------------------------------------------------------------


def test_a_source_that_cannot_be_opened_is_said_and_the_others_are_asked(
    shop: TreeBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, good = backup(shop), shop.files()
    (tmp_path / "torn.tar").write_bytes(b"x" * 2000)
    shop.delete_blob(LAYER)
    arguments = ["-r", str(shop.root), "heal", "--from", str(tmp_path / "torn.tar")]
    assert run([*arguments, "--from", str(whole.root)]) == 0
    said = capsys.readouterr()
    assert "torn.tar: not a tar archive" in said.err
    assert "Healed: 1 digest" in said.out
    assert shop.files() == good


def test_sources_that_all_cannot_be_opened_end_the_command(
    shop: TreeBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.tar", "b.tar"):
        (tmp_path / name).write_bytes(b"x" * 2000)
    places = ["--from", str(tmp_path / "a.tar"), "--from", str(tmp_path / "b.tar")]
    assert run(["-r", str(shop.root), "heal", *places]) == 5
    assert "a.tar: not a tar archive" in capsys.readouterr().err


def test_a_password_is_for_one_registry(
    shop: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--from", "http://127.0.0.1:1", "--from", "docker://127.0.0.1:1"]
    assert run(["-r", str(shop.root), "heal", *places, "--creds", "me:hush"]) == 2
    assert "one registry" in capsys.readouterr().err
