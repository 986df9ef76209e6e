"""Layers laid and taken off again hide what the merged root file system does not show."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.content.entries import EntryKind, read_entries
from regfs.digest import Digest
from regfs.files import layer_stack as stack_module
from regfs.files.changes import Hiding
from regfs.files.layer_stack import LayerStack
from regfs.files.listing import Columns, LayerListing
from regfs.files.merged import Merged
from tests.support.tars import Entry, entry, folder, hardlink, symlink, tar_of


def listed(entries: Sequence[Entry]) -> LayerListing:
    columns = Columns()
    for one in read_entries(io.BytesIO(tar_of(entries))):
        columns.add(one)
    return LayerListing(Digest.of(b"layer"), columns)


def laid(*layers: Sequence[Entry]) -> LayerStack:
    stack = LayerStack()
    for one in layers:
        stack.push(listed(one))
    return stack


def told(stack: LayerStack) -> dict[str, tuple[int, int, bool]]:
    return {one.path: (one.layer, one.by, one.removed) for one in stack.hides()}


def test_what_is_overwritten_and_what_is_removed() -> None:
    stack = laid(
        [entry("a", b"12345"), folder("d"), entry("d/x", b"123"), entry("d/y", b"1"), entry("e")],
        [entry("a", b"1"), entry(".wh.d"), entry(".wh.e")],
    )
    assert (stack.stored, stack.hidden) == (10, 9)
    assert told(stack) == {"a": (0, 1, False), "d/x": (0, 1, True), "d/y": (0, 1, True)}


def test_a_file_is_hidden_when_none_of_its_names_is_left() -> None:
    base = [entry("a", b"12345"), hardlink("b", "a")]
    one = [entry(".wh.a"), hardlink("c", "b")]
    assert laid(base, one, [entry(".wh.b")]).hidden == 0
    stack = laid(base, one, [entry(".wh.b")], [entry("c", b"")])
    assert told(stack) == {"c": (0, 3, False)}
    stack.pop()
    assert stack.hidden == 0
    stack.push(listed([entry(".wh.c")]))
    assert told(stack) == {"c": (0, 3, True)}


def test_a_path_twice_in_one_layer_hides_the_first() -> None:
    assert told(laid([entry("a", b"1"), entry("./a", b"22")])) == {"a": (0, 0, False)}


def test_a_link_above_leads_to_what_is_hidden() -> None:
    base = [folder("usr"), folder("usr/lib"), entry("usr/lib/a", b"1"), symlink("lib", "usr/lib")]
    assert told(laid(base, [entry("lib/.wh.a")])) == {"usr/lib/a": (0, 1, True)}


def test_what_cannot_be_where_it_says_counts_nowhere() -> None:
    stack = laid(
        [entry("f", b"123"), entry("f/below", b"1"), hardlink("h", "nothing"), symlink("l", "l")],
        [entry("l/x", b"1"), entry("a/" * 2100 + "x", b"1"), entry("f/.wh.below")],
    )
    assert (stack.stored, stack.hidden) == (3, 0)


def test_a_layer_may_ask_for_so_many_folders_and_steps_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stack_module, "_MOST_STEPS", 10)
    assert laid([entry("a/b/c/d/e/f", b"1"), symlink("l", "a/b"), entry("l/x", b"1")]).stored == 2
    assert laid([entry("a/b/c/d/e/f", b"1"), symlink("l", "a/b/c/d"), entry("l/e/x")]).stored == 1
    assert laid([entry("1/2/3/4/5/6/7/8/9/10/11/x", b"1")]).stored == 0


def test_a_folder_is_looked_through_once_for_many_whiteouts_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = []
    has_own = LayerStack._has_own

    def look(stack: LayerStack, folder: Any) -> bool:
        looks.append(folder)
        return has_own(stack, folder)

    monkeypatch.setattr(LayerStack, "_has_own", look)
    many = [entry(f"d/{n}", b"1") for n in range(20)]
    marks = [entry(".wh.d"), entry("d/.wh..wh..opq")] * 50
    assert laid(many, [*many, *marks]).hidden == 20
    assert len(looks) == 1


# -- laws -------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c", ".wh.a", ".wh.b", ".wh..wh..opq", ".wh..wh.plnk"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
DATA = st.integers(0, 9).map(lambda size: b"x" * size)
ENTRIES = st.one_of(
    st.builds(entry, PATHS, DATA),
    st.builds(entry, PATHS, DATA),
    st.builds(folder, PATHS),
    st.builds(hardlink, PATHS, PATHS),
    st.builds(symlink, PATHS, st.sampled_from(["a", "/a/b", "../b", "..", "c/..", "nothing"])),
)
LAYERS = st.lists(st.lists(ENTRIES, max_size=8), max_size=5)


@given(layers=LAYERS, others=LAYERS)
def test_hidden_is_what_is_stored_and_not_shown(
    layers: list[list[Entry]], others: list[list[Entry]]
) -> None:
    """The merged root file system is the oracle; other layers have come and gone meanwhile."""
    stack, listings = LayerStack(), [listed(one) for one in layers]
    for one in listings:
        for other in others:
            stack.push(listed(other))
        for _ in others:
            stack.pop()
        stack.push(one)
    merged = Merged.merge(listings)
    expected = {
        (one.placed.layer, one.placed.entry.position, one.by, one.how is Hiding.REMOVED)
        for one in merged.hidden
        if one.placed.entry.size
    }
    found = {
        (one.layer, listings[one.layer][one.number].position, one.by, one.removed)
        for one in stack.hides()
    }
    assert found == expected
    shown = {
        (source.layer, source.entry.position): source.entry.size
        for source in map(merged.content, merged)
        if source.entry.kind is EntryKind.FILE
    }
    assert stack.hidden == stack.stored - sum(shown.values())
    assert stack.hidden == sum(one.size for one in stack.hides())
    while len(stack):
        stack.pop()
    assert (stack.stored, stack.hidden) == (0, 0)
