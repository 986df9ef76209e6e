"""What the tests of garbage collection share: looking at a tree, random trees, and an oracle.

`recipes()` draws how a registry came to be, `build` makes it on a disk, and
`Oracle` says what must stay: a plain walk over the JSON on the disk, written
without a look at how regfs does it.

    recipe = draw(recipes())
    tree = build(TreeBuilder(folder), recipe)
    assert going(plan_of(tree, delete_untagged=True), "blob") == tree.blobs() - Oracle(tree).blobs
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from regfs.gc.plan import Plan, plan
from regfs.gc.policy import Policy
from regfs.gc.roots import Roots
from regfs.gc.sweep import Applied, apply
from regfs.graph import Graph, build_graph
from regfs.reports.image import Shown, show
from regfs.runs import purge as purge_run
from regfs.stores import WritableStore, open_store
from regfs.tree.inventory import Inventory
from regfs.tree.registry import Registry
from regfs.tree.scan import scan
from tests.support.builder import (
    TreeBuilder,
    artifact,
    cache_index,
    image,
    index,
)
from tests.support.images import DOCKER_CONFIG, OCI_CONFIG, Content

# -- using regfs --------------------------------------------------------------


def registry_of(tree: TreeBuilder) -> Registry:
    return Registry(store_of(tree))


def store_of(tree: TreeBuilder) -> WritableStore:
    return open_store(str(tree.root))


def scan_and_build(
    tree: TreeBuilder, *, history: bool = True, lean: bool = True
) -> tuple[Inventory, Graph]:
    """List and link a tree as gc does."""
    registry = registry_of(tree)
    inventory = scan(registry.store, history=history, lean=lean)
    return inventory, build_graph(inventory, registry)


def plan_of(
    tree: TreeBuilder,
    *,
    now: float | None = None,
    history: bool = True,
    lean: bool = True,
    **policy: Any,
) -> Plan:
    """Return what would go; `policy` are fields of Policy, and `now` is the present.

    That all images of a tree may be gone is on purpose here; see test_gc_elsewhere.
    """
    _, graph = scan_and_build(tree, history=history, lean=lean)
    policy = {"allow_no_manifests": True, **policy}
    return plan(graph, Policy(**policy), time.time() if now is None else now)


def collect(tree: TreeBuilder, *, purge: bool = True, **policy: Any) -> Applied:
    """Plan and apply."""
    applied = apply(plan_of(tree, **policy), registry_of(tree))
    if purge:
        purge_run(store_of(tree), applied.run)
    return applied


def going(planned: Plan, kind: str) -> set[str]:
    """Return the digests of one kind of action."""
    return {action.digest or action.path for action in planned.actions if action.kind == kind}


def going_in(planned: Plan, kind: str) -> set[tuple[str, str]]:
    """Return repository and digest of one kind of action."""
    return {
        (action.repository or "", action.digest or action.path)
        for action in planned.actions
        if action.kind == kind
    }


def paths(planned: Plan) -> set[str]:
    return {action.path for action in planned.actions}


@contextmanager
def new_tree(age: float = 172_800) -> Iterator[TreeBuilder]:
    """Make a tree for one example; it ends with the block."""
    with tempfile.TemporaryDirectory(prefix="tree-") as folder:
        yield TreeBuilder(Path(folder), age)


# -- what an image needs ------------------------------------------------------


def files_of(tree: TreeBuilder, name: str, tag: str) -> set[str]:
    """Return every path that pulling an image with all its platforms reads."""
    digest = tree.current(name, tag)
    return {tree.relative(tree.tag_path(name, tag)), *_files_of_manifest(tree, name, digest)}


def _files_of_manifest(tree: TreeBuilder, name: str, digest: str) -> set[str]:
    found = {tree.revision_path(name, digest), tree.blob_path(digest)}
    document = tree.document(digest)
    deeper: set[str] = set()
    for part in [document.get("config"), *document.get("layers", [])]:
        if part is not None:
            found |= {tree.layer_path(name, part["digest"]), tree.blob_path(part["digest"])}
    for child in document.get("manifests", []):
        deeper |= _files_of_manifest(tree, name, child["digest"])
    return {tree.relative(path) for path in found if path.exists()} | deeper


# -- the oracle ---------------------------------------------------------------


def _meant(tag: str) -> str | None:
    """Return the digest that a tag is named after."""
    return tag.replace("-", ":", 1) if tag.startswith("sha256-") else None


class Oracle:
    """What must stay of a healthy tree of which nothing is young, by the rules of the house."""

    def __init__(self, tree: TreeBuilder, *, untagged: bool = False) -> None:
        self.tree = tree
        self.present = tree.blobs()
        self.documents = {digest: self._read(digest) for digest in self.present}
        self.names = self._names()
        self.live = {name: self._roots(name, untagged) for name in self.names}
        self._follow(untagged)
        self.layers = {name: self._leaves(self.live[name]) for name in self.names}
        self.blobs: set[str] = set().union(*self.live.values(), *self.layers.values())

    def _read(self, digest: str) -> dict[str, Any]:
        try:
            document = json.loads(self.tree.blob_path(digest).read_bytes())
        except ValueError:
            return {}
        return document if isinstance(document, dict) and "schemaVersion" in document else {}

    def _names(self) -> list[str]:
        top = self.tree.v2 / "repositories"
        return sorted({p.parent.relative_to(top).as_posix() for p in top.rglob("_*")
                       if p.name in ("_layers", "_manifests", "_uploads")})  # fmt: skip

    def revisions(self, name: str) -> set[str]:
        folder = self.tree.repository_path(name) / "_manifests/revisions"
        return {":".join(path.parts[-3:-1]) for path in folder.glob("*/*/link")}

    def _roots(self, name: str, untagged: bool) -> set[str]:
        tags = {tag: self.tree.current(name, tag) for tag in self.tree.tags(name)}
        ordinary = {tag for tag, digest in tags.items() if not self._is_beside(tag, digest)}
        plain = {tags[tag] for tag in ordinary}
        # What is named after a manifest that is here, and is something else, tags no image.
        others = self.revisions(name)
        own = {tag for tag in ordinary if tags[tag] == _meant(tag) or _meant(tag) not in others}
        if not untagged or not own:
            return self.closure({*tags.values(), *self.revisions(name)}, subjects=True)
        dangling = {
            digest
            for digest in self.revisions(name)
            if (subject := self.subject(digest)) is not None and subject not in self.present
        }
        beside = self.closure(set(tags.values()) - plain)
        return self.closure(self._with_referrers(name, plain | dangling), subjects=True) | beside

    def _is_beside(self, tag: str, digest: str) -> bool:
        """Return whether a tag lists referrers of what it is named after, or is one itself."""
        subject = _meant(tag)
        if subject is None or digest == subject:
            return False
        if self.subject(digest) is not None:
            return self.subject(digest) == subject
        children = self.documents.get(digest, {}).get("manifests")
        return children is not None and all(self._is_referrer(c["digest"]) for c in children)

    def _is_referrer(self, digest: str) -> bool:
        if digest not in self.present:
            return True  # nobody knows
        document = self.documents[digest]
        kind = document.get("config", {}).get("mediaType", OCI_CONFIG)
        artifact = document.get("artifactType") or kind not in (OCI_CONFIG, DOCKER_CONFIG)
        return self.subject(digest) is not None or bool(artifact)

    def _with_referrers(self, name: str, digests: set[str]) -> set[str]:
        """Return manifests with their untagged referrers, and those of what they lead to."""
        found = self.closure(digests, subjects=True)
        more = {digest for digest in self.revisions(name) if self.subject(digest) in found} - found
        return self._with_referrers(name, found | more) if more else found

    def _follow(self, untagged: bool) -> None:
        """Keep whatever is about something that lives in any repository."""
        before = -1
        while untagged and before != (before := sum(map(len, self.live.values()))):
            everywhere: set[str] = set().union(*self.live.values())
            for name in self.names:
                more = {d for d in self.revisions(name) if self.subject(d) in everywhere}
                self.live[name] |= self.closure(more)

    def subject(self, digest: str) -> str | None:
        found = self.documents.get(digest, {}).get("subject")
        return None if found is None else str(found["digest"])

    def closure(self, digests: Iterable[str], *, subjects: bool = False) -> set[str]:
        found: set[str] = set()
        pending = list(digests)
        while pending:
            digest = pending.pop()
            if digest in found:
                continue
            found.add(digest)
            document = self.documents.get(digest, {})
            pending += [child["digest"] for child in document.get("manifests", [])]
            if subjects and (subject := self.subject(digest)) is not None:
                pending.append(subject)
        return found

    def _leaves(self, digests: Iterable[str]) -> set[str]:
        found = set(digests)
        for digest in digests:
            document = self.documents.get(digest, {})
            parts = [document.get("config"), *document.get("layers", [])]
            found |= {part["digest"] for part in parts if part is not None}
        return found


# -- random registries --------------------------------------------------------


def fewer(times: int, least: int) -> settings:
    """Return the profile with so many times fewer examples: each of them takes long."""
    return settings(max_examples=max(settings().max_examples // times, least))


@dataclass(frozen=True)
class Recipe:
    """How a registry came to be: what was pushed, and what happened, in order."""

    contents: list[tuple[Any, ...]]
    steps: list[tuple[Any, ...]]
    repositories: list[str] = field(default_factory=lambda: ["a", "a/b", "m", "z"])


WORDS = ["base", "one", "two", "three"]
TAGS = ["v1", "v2", "latest"]
NOWHERE = "sha256:" + "0" * 64


def _contents(kinds: Iterable[str], sparse: bool) -> st.SearchStrategy[tuple[Any, ...]]:
    earlier = st.integers(0, 9)
    some = st.lists(earlier, min_size=1, max_size=3)
    absent = st.lists(earlier, max_size=1 if sparse else 0)
    layers = st.lists(st.sampled_from(WORDS), max_size=3)
    made: dict[str, st.SearchStrategy[tuple[Any, ...]]] = {
        "image": st.tuples(st.just("image"), layers, st.booleans()),
        "index": st.tuples(st.just("index"), some, absent, st.booleans()),
        "artifact": st.tuples(st.just("artifact"), st.none() | earlier, st.integers(0, 2)),
        "cache": st.tuples(st.just("cache"), layers),
    }
    return st.one_of(*(made[kind] for kind in kinds))


@st.composite
def recipes(
    draw: st.DrawFn,
    *,
    kinds: Iterable[str] = ("image", "index", "artifact", "cache"),
    steps: Iterable[str] = ("push", "untag", "delete", "blob", "orphan", "fallback", "upload"),
    sparse: bool = True,
) -> Recipe:
    """Recipes of healthy registries: nothing in them is damaged, much of it is garbage."""
    contents = draw(st.lists(_contents(kinds, sparse), min_size=1, max_size=6))
    repository, which, word = st.integers(0, 3), st.integers(0, 9), st.sampled_from(WORDS)
    tag = st.sampled_from(TAGS)
    made: dict[str, st.SearchStrategy[tuple[Any, ...]]] = {
        "push": st.tuples(st.just("push"), repository, st.none() | tag, which),
        "untag": st.tuples(st.just("untag"), repository, tag),
        "delete": st.tuples(st.just("delete"), repository, which),
        "blob": st.tuples(st.just("blob"), repository, word),
        "orphan": st.tuples(st.just("orphan"), word),
        "fallback": st.tuples(st.just("fallback"), repository, which, which),
        "upload": st.tuples(st.just("upload"), repository),
    }
    pushes = draw(st.lists(made["push"], min_size=1, max_size=6))
    rest = st.lists(st.one_of(*(made[step] for step in steps)), max_size=6)
    return Recipe(contents, [*pushes, *draw(rest)])


def make_contents(recipe: Recipe, space: str = "") -> list[Content]:
    """Make what a recipe pushes; with another `space` no blob of it is the same."""
    made: list[Content] = []
    for number, (kind, *arguments) in enumerate(recipe.contents):
        made.append(_make(kind, arguments, made, number, space))
    return made


def _make(kind: str, arguments: list[Any], made: list[Content], number: int, space: str) -> Content:
    def pick(position: int) -> Content:
        return made[position % len(made)]

    def own(words: list[str]) -> list[str]:
        return [f"{space}{word}" for word in words]

    if kind == "image" or not made:
        layers, docker = arguments if kind == "image" else (["base"], False)
        return image(own(layers), {"author": f"{space}{number}"}, docker=docker)
    if kind == "index":
        children, absent, docker = arguments
        sparse = [pick(position) for position in absent]
        return index(*map(pick, children), sparse=sparse, docker=docker)
    if kind == "artifact":
        about, blobs = arguments
        subject = NOWHERE if about is None else pick(about)
        return artifact(own([f"sbom {blobs}"]), subject=subject)
    return cache_index(own(arguments[0] or ["cached"]))


def build(
    tree: TreeBuilder, recipe: Recipe, rename: Mapping[str, str] | None = None, space: str = ""
) -> TreeBuilder:
    """Make the registry of a recipe, perhaps with other names for its repositories.

    In a `space` of its own it shares no blob with one in another, but for what is empty.
    """
    contents = make_contents(recipe, space)
    names = [(rename or {}).get(name, name) for name in recipe.repositories]
    for kind, *arguments in recipe.steps:
        if kind == "orphan":
            tree.blob(f"orphan {space}{arguments[0]}".encode())
            tree.folder(tree.v2 / "repositories")
        else:
            _take_step(tree, kind, names[arguments[0]], arguments[1:], contents, space)
    return tree


def _take_step(
    tree: TreeBuilder,
    kind: str,
    name: str,
    arguments: list[Any],
    contents: list[Content],
    space: str,
) -> None:
    def pick(position: int) -> Content:
        return contents[position % len(contents)]

    if kind == "push":
        tag, which = arguments
        tree.push(name, tag, pick(which))
        # Version 2.8 of the registry takes a folder without `_layers` for no repository.
        tree.folder(tree.repository_path(name) / "_layers")
    elif kind == "untag" and arguments[0] in tree.tags(name):
        tree.untag(name, arguments[0])
    elif kind == "delete" and tree.revision_path(name, pick(arguments[0]).digest).exists():
        tree.delete_manifest(name, pick(arguments[0]).digest)
    elif kind == "blob":
        tree.add_blob(name, f"unused {space}{arguments[0]}")
    elif kind == "fallback":
        tree.fallback(name, pick(arguments[0]).digest, pick(arguments[1]))
    elif kind == "upload":
        tree.upload(name, 3)


def shown(tree: TreeBuilder, reference: str) -> Shown:
    registry = registry_of(tree)
    _, graph = scan_and_build(tree, lean=False)
    target = registry.find(reference)
    assert target.digest is not None
    return show(graph, registry, target, target.digest)


def by_repository(roots: Roots) -> dict[str, set[str]]:
    """Return repository -> digests and tags that a list of roots names there."""
    found: dict[str, set[str]] = {}
    for root in roots.said:
        if root.name is not None:
            found.setdefault(root.name, set()).add(root.reference)
    return found
