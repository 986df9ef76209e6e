"""Plans as files: written and read again, and what is not a plan."""

from __future__ import annotations

import json
import os

import pytest

from regfs.errors import DocumentInvalid
from regfs.gc.plan import load
from regfs.render.tables import to_json
from tests.support.builder import TreeBuilder, image
from tests.support.litter import carry_out, make_plan, with_litter


@pytest.fixture
def litter(tree: TreeBuilder) -> TreeBuilder:
    return with_litter(tree)


def test_a_plan_survives_being_written_down(litter: TreeBuilder) -> None:
    planned = make_plan(litter)
    again = load(to_json(planned).encode())
    assert again.actions == planned.actions
    assert again.policy == planned.policy
    assert (again.id, again.root, again.totals) == (planned.id, planned.root, planned.totals)
    assert carry_out(litter, again).done == planned.totals


def test_a_plan_of_an_earlier_version_is_applied(litter: TreeBuilder) -> None:
    planned = make_plan(litter)
    written = json.loads(to_json(planned))
    for name in ("allocated", "kept_bytes", "kept_items", "stays", "tags_left"):
        del written[name]
    for action in written["actions"]:
        del action["allocated"]
    again = load(json.dumps(written).encode())
    assert [one.path for one in again.actions] == [one.path for one in planned.actions]
    assert carry_out(litter, again).done == planned.totals


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"schema": "regfs.plan/1"}',
        b'{"schema": "regfs.plan/2", "actions": []}',
        b'{"schema": "regfs.plan/1", "id": "../../docker"}',
        b'{"schema": "regfs.plan/1", "id": "a/b"}',
    ],
)
def test_what_is_no_plan_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(Exception, match="not a plan") as caught:
        load(data)
    assert "\n" not in str(caught.value)


def test_actions_that_were_read_share_their_reasons(litter: TreeBuilder) -> None:
    """They are made while the file is read: validating a dict of each takes three times as much."""
    actions = load(to_json(make_plan(litter)).encode()).actions
    assert len({id(action.reason) for action in actions}) == len({one.reason for one in actions})
    assert len(actions) > len({action.reason for action in actions})


def test_a_plan_may_lack_what_a_later_version_adds(litter: TreeBuilder) -> None:
    planned = make_plan(litter)
    written = json.loads(to_json(planned))
    for action in written["actions"]:
        del action["allocated"]
    again = load(json.dumps(written).encode())
    assert [one.path for one in again.actions] == [one.path for one in planned.actions]


@pytest.mark.parametrize(
    ("name", "value"),
    [("kind", "cat"), ("kind", []), ("path", None), ("digest", 0), ("size", "big"), ("mtime", {})],
)
def test_the_field_of_an_action_that_is_wrong_is_named(
    litter: TreeBuilder, name: str, value: object
) -> None:
    written = json.loads(to_json(make_plan(litter)))
    written["actions"][1][name] = value
    with pytest.raises(DocumentInvalid, match=rf"not a plan: actions\.1\.{name}: "):
        load(json.dumps(written).encode())


def test_an_action_that_lacks_a_field_is_refused(litter: TreeBuilder) -> None:
    written = json.loads(to_json(make_plan(litter)))
    del written["actions"][0]["mtime"]
    with pytest.raises(DocumentInvalid, match=r"actions\.0\.mtime: Field required"):
        load(json.dumps(written).encode())


def test_names_that_are_not_utf8_survive_a_plan(tree: TreeBuilder) -> None:
    name = os.fsdecode(b"app-\xff")
    tree.push("good", "v1", image(["kept"]))
    tree.push("good", "v0", image(["x"]))
    tree.folder(tree.repository_path("good").parent / name / "_manifests")
    tree.upload(name, 10, started_at="2020-01-01T00:00:00Z")
    tree.age(30 * 86400)
    planned = load(to_json(make_plan(tree)).encode())
    applied = carry_out(tree, planned)
    assert applied.done.uploads == 1
