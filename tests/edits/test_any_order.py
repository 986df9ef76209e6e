"""Edits, pushes, collections, undoings and purges in any order: every tag that is there is whole.

Nobody else removes a tag: one is gone only if an edit removed it, or if an edit that created it
was undone.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from regfs.digest import Digest
from regfs.edits.edit import Edited
from regfs.errors import Refused, RegfsError
from regfs.gc.collect import collect, purge
from regfs.layout import TagCurrent, blob_path, key_of
from tests.support.builder import TreeBuilder, artifact, image, index
from tests.support.edits import assert_pullable, editor, opened
from tests.support.registries import plan_of, registry_of
from tests.support.stores import MEMORY

ONE, TWO = image(["base", "one"]), image(["base", "two"])
ARM = image(["base", "arm"], platform="linux/arm64")
SBOM = artifact(["sbom"], subject=ONE)
MULTI = index(ONE, ARM)
POOL = {made.digest: made for made in (ONE, TWO, ARM, MULTI, index(TWO, ARM), SBOM)}
NAMES = st.sampled_from(["app", "app/web", "team"])
TAGS = st.sampled_from(["v1", "v2"])

Tags = dict[tuple[str, str], str]


class Editing(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="regfs-", dir=MEMORY)
        self.tree = TreeBuilder(Path(self._folder.name))
        for name, content in (("app", ONE), ("app/web", MULTI), ("team", TWO)):
            self.tree.push(name, "v1", content)
        self.done: list[Edited] = []
        """What can be undone."""

    def teardown(self) -> None:
        self._folder.cleanup()

    def tags(self) -> Tags:
        found = {}
        for path in (self.tree.v2 / "repositories").rglob("current/link"):
            key = key_of(self.tree.relative(path))
            assert isinstance(key, TagCurrent)
            found[key.name, key.tag] = path.read_text()
        return found

    def edit(self, method: str, *arguments: Any, **options: Any) -> Tags | None:
        """Edit, unless that is refused; return the tags that were there before."""
        before, files = self.tags(), self.tree.files()
        try:
            done = getattr(editor(self.tree), method)(*arguments, offline=True, **options)
        except RegfsError:
            assert self.tree.files() == files
            return None
        assert done.skipped == []
        if done.run is not None:
            self.done.append(done)
        return before

    # -- what is done --------------------------------------------------------------------

    def a_tag(self, data: st.DataObject) -> tuple[str, str]:
        """Choose one of the tags that are there."""
        return data.draw(st.sampled_from(sorted(self.tags())), label="tag")

    @rule(name=NAMES, tag=TAGS, digest=st.sampled_from(sorted(POOL)))
    def push(self, name: str, tag: str, digest: str) -> None:
        self.tree.push(name, tag, POOL[digest])

    @precondition(lambda self: self.tags())
    @rule(data=st.data(), whole=st.booleans())
    def remove_tag(self, data: st.DataObject, whole: bool) -> None:
        gone = self.a_tag(data)
        before = self.edit("rm" if whole else "untag", ":".join(gone))
        if before is not None:
            assert self.tags() == {key: to for key, to in before.items() if key != gone}

    @precondition(lambda self: self.tags())
    @rule(data=st.data())
    def remove_manifest(self, data: st.DataObject) -> None:
        name, tag = self.a_tag(data)
        digest = self.tags()[name, tag]
        before = self.edit("rm", f"{name}@{digest}")
        if before is not None:
            left = {key: to for key, to in before.items() if (key[0], to) != (name, digest)}
            assert self.tags() == left

    @precondition(lambda self: self.tags())
    @rule(data=st.data(), recursive=st.booleans())
    def remove_repository(self, data: st.DataObject, recursive: bool) -> None:
        name, _ = self.a_tag(data)
        before = self.edit("rm", name, recursive=recursive)
        if before is not None:
            left = {
                key: to for key, to in before.items() if not f"{key[0]}/".startswith(f"{name}/")
            }
            assert self.tags() == left

    @precondition(lambda self: self.tags())
    @rule(data=st.data(), new=NAMES, recursive=st.booleans())
    def move(self, data: st.DataObject, new: str, recursive: bool) -> None:
        name, _ = self.a_tag(data)
        before = self.edit("mv", name, new, recursive=recursive)
        if before is not None:
            moved = {
                (f"{new}{key[0][len(name):]}" if f"{key[0]}/".startswith(f"{name}/") else key[0],
                 key[1]): to
                for key, to in before.items()
            }  # fmt: skip
            assert self.tags() == moved

    @precondition(lambda self: self.tags())
    @rule(data=st.data(), new=NAMES, to=TAGS)
    def copy(self, data: st.DataObject, new: str, to: str) -> None:
        name, tag = self.a_tag(data)
        before = self.edit("cp", f"{name}:{tag}", f"{new}:{to}", force=True)
        if before is not None:
            assert self.tags() == {**before, (new, to): before[name, tag]}

    @precondition(lambda self: self.tags())
    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        name, tag = self.a_tag(data)
        before = self.edit("rollback", f"{name}:{tag}")
        if before is not None:
            assert {**self.tags(), (name, tag): ""} == {**before, (name, tag): ""}

    @rule(untagged=st.booleans())
    def collect(self, untagged: bool) -> None:
        before = self.tags()
        plan = plan_of(self.tree, delete_untagged=untagged, min_age=0.0)
        collect(plan, registry_of(self.tree))
        assert self.tags() == before

    @precondition(lambda self: self.done)
    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        done = data.draw(st.sampled_from(self.done), label="run")
        self.done.remove(done)
        before = self.tags()
        restored = opened(self.tree).restore(done.run or "")
        # An SBOM may outlive the image that it is about; what tags need is checked below.
        assert {one.path for one in restored.lost} <= {blob_path(Digest(ONE.digest))}
        after = self.tags()
        own = {(key.name, key.tag) for one in done.created
               if isinstance(key := key_of(one.path), TagCurrent)}  # fmt: skip
        assert {key: to for key, to in before.items() if key not in own}.items() <= after.items()

    @rule()
    def purge(self) -> None:
        before = self.tags()
        purge(registry_of(self.tree), offline=True)
        for done in self.done:
            try:
                opened(self.tree).restore(done.run or "")
            except Refused:
                continue
        self.done = []
        assert before.items() <= self.tags().items()

    # -- what is true --------------------------------------------------------------------

    @invariant()
    def every_tag_is_whole(self) -> None:
        for (name, tag), digest in self.tags().items():
            assert_pullable(self.tree, name, tag, POOL[digest])


Editing.TestCase.settings = settings(stateful_step_count=20)
test_in_any_order_every_tag_is_whole = Editing.TestCase
