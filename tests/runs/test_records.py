"""The records of a journal: what is written is read again, and what says too little is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.digest import Digest
from regfs.runs.records import Change, Head, Item, Note, RunKind, Stage, parse
from regfs.runs.totals import ActionKind, Totals
from tests.support.strategies import disk_names

RUN = "20260101T000000Z-aaaaaa"
PATH = "docker/registry/v2/blobs/sha256/aa/data"
LAYER = Digest.of(b"layer")
ITEM = {"path": PATH, "kind": "blob", "digest": LAYER, "size": 5}


@pytest.mark.parametrize("kind", ActionKind)
@pytest.mark.parametrize("change", Change)
@pytest.mark.parametrize("digest", [LAYER, None])
def test_an_item_is_read_as_it_was_written(
    change: Change, kind: ActionKind, digest: Digest | None
) -> None:
    item = Item(RUN, change, PATH, kind, digest, 5, PATH)
    if change is Change.MOVE:
        item = item._replace(source=PATH.rpartition("/")[0], mtime=1.5)
    if change is Change.CREATE:
        item = item._replace(content=LAYER, folder=True)
    assert parse(RUN, json.loads(json.dumps(item.line()))) == item


@given(
    st.sampled_from(Change),
    st.sampled_from([*ActionKind, 'a kind of "later"']),
    st.text() | disk_names(),
    st.sampled_from([LAYER, None]),
    st.integers(0, 2**60),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
)
def test_the_text_of_an_item_is_its_line_as_json(
    change: Change,
    kind: ActionKind | str,
    path: str,
    digest: Digest | None,
    size: int,
    mtime: float | None,
) -> None:
    item = Item(RUN, change, f"{path}/data", kind, digest, size, path, mtime)
    assert item.text() == json.dumps(item.line())


def test_an_item_of_an_old_journal_has_no_mtime() -> None:
    item = parse(RUN, {"move": PATH, **ITEM})
    assert isinstance(item, Item)
    assert (item.mtime, item.named, item.written) == (None, True, False)


@pytest.mark.parametrize(
    ("line", "record"),
    [
        ({"run": RUN}, Head(RUN, RunKind.GC, None)),
        ({"run": RUN, "kind": "heal", "wait": 60}, Head(RUN, RunKind.HEAL, 60.0)),
        ({"run": RUN, "kind": "polish"}, Head(RUN, RunKind.GC, None)),
        ({"begin": PATH}, Note("begin", PATH)),
        ({"returned": PATH, "at": "2026-01-01T00:00:00Z"}, Note("returned", PATH)),
        ({"applied": "1970-01-01T00:01:00Z"}, Stage("applied", 60.0, False, None)),
        ({"synced": "some day"}, Stage("synced", None, False, None)),
        ({"purging": "some day", "partly": True}, Stage("purging", None, True, None)),
        ({"undoing": "", "lying": {"blobs": 2}}, Stage("undoing", None, False, Totals(blobs=2))),
        ({"torn": 7}, None),
        ({"polished": PATH}, None),
    ],
)
def test_a_line_says_one_thing(line: dict[str, object], record: object) -> None:
    assert parse(RUN, line) == record


@pytest.mark.parametrize(
    "line",
    [
        {"move": PATH, **ITEM, "path": None},
        {"move": PATH, **ITEM, "kind": 1},
        {"move": PATH, **ITEM, "digest": "sha256:0"},
        {"move": PATH, **ITEM, "digest": "md5:abc"},
        {"move": PATH, **ITEM, "digest": 7},
        {"move": PATH, **ITEM, "size": "5"},
        {"move": PATH, **ITEM, "mtime": "yesterday"},
        {"move": PATH, **ITEM, "mtime": 10**400},
        {"move": PATH, "path": PATH},
        {"create": PATH, **ITEM},
        {"create": PATH, **ITEM, "content": None},
        {"replace": [PATH], **ITEM},
        {"run": None},
        {"run": RUN, "wait": "long"},
        {"left": [PATH]},
        {"returned": None},
        {"applied": "some day"},
        {"purging": "", "lying": {"cats": 1}},
        {"purging": "", "lying": 7},
    ],
)
def test_a_line_that_says_too_little_is_refused(line: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse(RUN, line)
