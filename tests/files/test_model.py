"""Random stacks of layers against a model: a plain dict of paths."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from regfs.content.entries import EntryKind, TarEntry
from regfs.digest import Digest
from regfs.files.changes import ChangeKind
from regfs.files.listing import Columns, LayerListing, packed, unpacked
from regfs.files.merged import Merged, implied

NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


class Do(NamedTuple):
    """What one entry of a layer does."""

    kind: str
    path: str
    target: str = ""


STEPS = st.one_of(
    st.builds(Do, st.sampled_from(["file", "folder", "whiteout", "opaque"]), PATHS),
    st.builds(Do, st.just("hardlink"), PATHS, PATHS),
)
STACKS = st.lists(st.lists(STEPS, max_size=6), min_size=1, max_size=4)


class There(NamedTuple):
    """What is at a path of the model."""

    layer: int
    content: int | None
    """The number of the entry with the content; None for a folder."""


class Model:
    """A root file system as a dict; each rule is written as the specification says it."""

    def __init__(self) -> None:
        self.at: dict[str, There] = {}
        self.number = 0

    def below(self, path: str) -> list[str]:
        return [one for one in self.at if one.startswith(f"{path}/")]

    def add(self, layer: int, steps: list[Do]) -> None:
        for step in steps:
            self.number += 1
            if step.kind == "whiteout":
                self.remove_lower([step.path, *self.below(step.path)], layer)
            elif step.kind == "opaque":
                self.remove_lower(self.below(step.path), layer)
            else:
                self.put(layer, step)

    def remove_lower(self, paths: list[str], layer: int) -> None:
        for path in sorted(paths, reverse=True):  # what is in a folder before the folder
            there = self.at.get(path)
            if there is not None and there.layer < layer and not self.below(path):
                del self.at[path]

    def put(self, layer: int, step: Do) -> None:
        content: int | None = self.number
        if step.kind == "hardlink":
            source = self.at.get(step.target)
            if source is None or source.content is None:
                return
            content = source.content
        above = step.path.split("/")[:-1]
        folders = ["/".join(above[: depth + 1]) for depth in range(len(above))]
        # Folders on the way are made even where the rest of the way turns out to be no way.
        for folder in folders:
            if self.at.get(folder, There(0, None)).content is not None:
                return
            self.at.setdefault(folder, There(layer, None))
        if step.kind == "folder":
            self.at[step.path] = There(layer, None)
            return
        for path in self.below(step.path):
            del self.at[path]
        self.at[step.path] = There(layer, content)


def written(step: Do, number: int) -> TarEntry:
    """Return the entry of a step; its size is its number."""
    path, kind = step.path, EntryKind.FILE
    if step.kind == "folder":
        kind = EntryKind.FOLDER
    elif step.kind == "hardlink":
        kind = EntryKind.HARDLINK
    elif step.kind == "whiteout":
        above, slash, name = path.rpartition("/")
        path = f"{above}{slash}.wh.{name}"
    elif step.kind == "opaque":
        path += "/.wh..wh..opq"
    size = number if kind is EntryKind.FILE else 0
    return implied(path)._replace(kind=kind, size=size, target=step.target, position=number)


def listings(stack: list[list[Do]]) -> list[LayerListing]:
    found: list[LayerListing] = []
    number = 0
    for steps in stack:
        columns = Columns()
        for step in steps:
            number += 1
            columns.add(written(step, number))
        found.append(LayerListing(Digest.of(b"%d" % len(found)), columns))
    return found


def seen(merged: Merged) -> dict[str, int | None]:
    """Return every path with the number of the entry that has its content."""
    return {
        placed.path: None
        if placed.entry.kind is EntryKind.FOLDER
        else merged.content(placed).entry.size
        for placed in merged
    }


@given(STACKS)
def test_layers_make_what_the_model_makes(stack: list[list[Do]]) -> None:
    model, made = Model(), listings(stack)
    for layer, steps in enumerate(stack):
        model.add(layer, steps)
        assert seen(Merged.merge(made[: layer + 1])) == {
            path: there.content for path, there in model.at.items()
        }


@given(STACKS)
def test_changes_lead_from_each_layer_to_the_next(stack: list[list[Do]]) -> None:
    made = listings(stack)
    paths: set[str] = set()
    merged = Merged.merge(made)
    for layer in range(len(made)):
        for change in merged.changes(layer):
            assert (change.path in paths) == (change.kind is not ChangeKind.ADDED)
            if change.kind is ChangeKind.ADDED:
                paths.add(change.path)
            elif change.kind is ChangeKind.REMOVED:
                paths.remove(change.path)
        assert paths == set(seen(Merged.merge(made[: layer + 1])))


@given(STACKS)
def test_what_is_hidden_is_what_no_path_shows(stack: list[list[Do]]) -> None:
    made = listings(stack)
    merged = Merged.merge(made)
    shown = set(seen(merged).values())
    hidden = [one.placed.entry.size for one in merged.hidden]
    lost = {placed.entry.size for placed in merged.lost}
    files = {
        entry.size
        for listing in made
        for entry in listing
        if entry.kind is EntryKind.FILE and ".wh." not in entry.path
    }
    assert sorted(hidden) == sorted(files - shown - lost)


@given(STACKS)
def test_order_of_iteration_and_lookups_agree(stack: list[list[Do]]) -> None:
    merged = Merged.merge(listings(stack))
    placed = list(merged)
    assert [one.path.split("/") for one in placed] == sorted(one.path.split("/") for one in placed)
    assert [name.rstrip("/") for name, _ in merged.names_below()] == [one.path for one in placed]
    for one in placed:
        assert merged.get(one.path) == one
        assert one in merged.children(one.path.rpartition("/")[0])


@given(STACKS)
def test_a_listing_comes_back_from_its_bytes(stack: list[list[Do]]) -> None:
    for listing in listings(stack):
        again = unpacked(listing.digest, *packed(listing))
        assert again is not None
        assert list(again) == list(listing)
        assert again.findings == listing.findings
        assert unpacked(listing.digest, b"x", packed(listing)[1]) is None
        assert (
            unpacked(listing.digest, packed(listing)[0], packed(listing)[1][:-1]) is None
            or not listing
        )
