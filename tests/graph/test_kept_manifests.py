"""Manifests that were read before: a graph of them is the graph, whatever became of the cache."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.cli.app import run
from regfs.cli.session import Exit
from regfs.content import kept_manifests
from regfs.content.cache import Cache
from regfs.content.kept_manifests import ManifestCache, pack, unpack
from regfs.digest import Digest
from regfs.findings import Code
from regfs.gc.plan import Plan, plan
from regfs.gc.policy import Policy
from regfs.graph import Graph, build_graph
from regfs.stores.local.store import LocalStore
from regfs.tree.registry import Registry
from regfs.tree.scan import scan
from tests.make_fixtures import TREES
from tests.support.buckets import NAME, FakeBucket, Stored, bucket_of
from tests.support.builder import TreeBuilder, image, index, raw
from tests.support.registries import build, new_tree, recipes, store_of


@pytest.fixture
def kept(tmp_path: Path) -> ManifestCache:
    return ManifestCache(Cache(str(tmp_path / "cache")), "tree")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the store was asked for the contents of."""
    names: list[str] = []
    contents = LocalStore.contents

    def noting(self: LocalStore, folder: str, wanted: list[str], *rest: object) -> object:
        names.extend(wanted)
        return contents(self, folder, wanted, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(LocalStore, "contents", noting)
    return names


def graph_of(tree: TreeBuilder, kept: ManifestCache | None, *, lean: bool = True) -> Graph:
    registry = Registry(store_of(tree), kept=kept)
    return build_graph(scan(registry.store, lean=lean), registry)


def plan_of(tree: TreeBuilder, kept: ManifestCache | None) -> Plan:
    """Return a plan; the same moment for all."""
    policy = Policy(delete_untagged=True, allow_no_manifests=True)
    return plan(graph_of(tree, kept), policy, 2_000_000_000.0)


def told(graph: Graph) -> object:
    """Return what a graph says."""
    manifests = {digest: graph.manifests[digest] for digest in graph.manifests}
    leaves = {digest: sorted(graph.leaves(digest)) for digest in manifests}
    return manifests, leaves, graph.problems, graph.findings, graph.frozen


# -- the same ----------------------------------------------------------------------------


def test_a_manifest_is_read_once(tree: TreeBuilder, kept: ManifestCache, asked: list[str]) -> None:
    one, both = tree.push("app", "v1"), tree.push("app", "v2", index(image(["a"]), image(["b"])))
    cold = told(graph_of(tree, kept))
    assert {Digest(one).encoded, Digest(both).encoded} < set(asked)
    asked.clear()
    for lean in (True, False):
        assert told(graph_of(tree, kept, lean=lean)) == cold
    assert asked == []
    new = tree.push("app", "v3", image(["c"]))
    assert told(graph_of(tree, kept)) == told(graph_of(tree, None))
    assert asked.count(Digest(new).encoded) == 2
    assert len(asked) == 1 + len(graph_of(tree, kept).manifests)


def test_what_may_be_a_manifest_is_looked_at_once(
    tree: TreeBuilder, kept: ManifestCache, asked: list[str]
) -> None:
    """Of what a manifest of unknown type names, only the bytes tell what it is."""
    blob = tree.blob(b'{"schemaVersion": 2, "config": 1}')
    for number in range(3):
        document = {"mediaType": "application/vnd.odd+json", "number": number, "blob": blob}
        tree.push("app", f"v{number}", raw(json.dumps(document).encode()))
    cold = told(graph_of(tree, kept))
    assert asked.count(Digest(blob).encoded) == 1
    asked.clear()
    assert told(graph_of(tree, kept)) == cold == told(graph_of(tree, None))
    assert asked.count(Digest(blob).encoded) == 1  # by the graph without a cache


@given(recipes(), st.randoms(use_true_random=False))
def test_plans_of_kept_manifests_are_plans(recipe: object, rng: random.Random) -> None:
    """Of an unchanged tree, and after parts of the cache were lost or damaged."""
    with new_tree() as tree:
        build(tree, recipe)  # type: ignore[arg-type]
        alone = plan_of(tree, None)
        folder = tree.root / "cache"
        kept = ManifestCache(Cache(str(folder)), "tree")
        for _ in range(3):
            found = plan_of(tree, kept)
            assert (found.actions, found.kept, found.findings) == (
                alone.actions,
                alone.kept,
                alone.findings,
            )
            for path in sorted(folder.iterdir()) if folder.exists() else ():
                damage(path, rng)


def damage(path: Path, rng: random.Random) -> None:
    """Do to a file of the cache what disks and people do."""
    data = bytearray(path.read_bytes())
    match rng.randrange(5):
        case 0:
            path.unlink()
        case 1:
            path.write_bytes(data[: rng.randrange(len(data))])
        case 2:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            path.write_bytes(data)
        case 3:
            path.write_bytes(rng.randbytes(rng.randrange(200)))


# -- nothing is believed ---------------------------------------------------------------------


class Liar(ManifestCache):
    """Says of every manifest what another one says."""

    def __init__(self, tree: TreeBuilder, says: bytes) -> None:
        self.names = [Digest(digest).encoded for digest in tree.blobs()]
        self.says = says

    def folder(self, name: str) -> dict[str, bytes]:
        """Return the lie."""
        return dict.fromkeys(self.names, self.says)

    def keep(self, name: str, kept: object, added: object) -> None:
        """Forget it."""


def test_a_cache_that_lies_changes_nothing(tree: TreeBuilder) -> None:
    """A manifest of the same size that needs no layer would let all layers go."""
    digest = tree.push("app", "v1", image(["a", "b"]))
    document = tree.document(digest)
    size = tree.blob_path(digest).stat().st_size
    document["layers"] = []
    lie = json.dumps(document).encode().ljust(size)
    assert len(lie) == size
    assert told(graph_of(tree, Liar(tree, lie))) == told(graph_of(tree, None))
    assert not [one for one in plan_of(tree, Liar(tree, lie)).actions if one.kind == "blob"]


@pytest.mark.parametrize("size", [0, 5])
def test_a_blob_of_another_size_is_read(tree: TreeBuilder, kept: ManifestCache, size: int) -> None:
    digest = tree.push("app", "v1")
    assert not graph_of(tree, kept).problems
    path = tree.blob_path(digest)
    path.write_bytes(path.read_bytes()[:size])
    found = graph_of(tree, kept).problems[Digest(digest)]
    assert found.code is Code.BLOB_CORRUPT


def test_a_blob_that_is_gone_is_missing(tree: TreeBuilder, kept: ManifestCache) -> None:
    digest = tree.push("app", "v1")
    assert not graph_of(tree, kept).problems
    tree.delete_blob(digest)
    assert graph_of(tree, kept).problems[Digest(digest)].code is Code.BLOB_MISSING
    assert told(graph_of(tree, kept)) == told(graph_of(tree, None))


def test_what_was_corrupt_is_not_kept(tree: TreeBuilder, kept: ManifestCache) -> None:
    digest = tree.push("app", "v1")
    path = tree.blob_path(digest)
    good = path.read_bytes()
    path.write_bytes(good.replace(b"sha256", b"sha257"))
    for _ in range(2):
        assert graph_of(tree, kept).problems[Digest(digest)].code is Code.BLOB_CORRUPT
    path.write_bytes(good)
    assert not graph_of(tree, kept).problems


# -- what is kept ------------------------------------------------------------------------


@given(st.dictionaries(st.binary(min_size=32, max_size=32).map(bytes.hex), st.binary()))
def test_what_is_packed_comes_back(manifests: dict[str, bytes]) -> None:
    assert unpack(pack(manifests)) == manifests


@given(st.binary(max_size=200))
def test_other_bytes_are_nothing_or_what_they_would_be(data: bytes) -> None:
    assert all(len(one) <= len(data) for one in unpack(data).values())


def test_too_much_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_manifests, "LARGEST", 10)
    monkeypatch.setattr(kept_manifests, "MOST", 15)
    names = ["aa" * 32, "bb" * 32, "cc" * 32]
    assert list(unpack(pack(dict.fromkeys(names, b"x" * 8)))) == names[:1]
    assert unpack(pack({names[0]: b"x" * 11})) == {}


def test_what_is_gone_from_the_tree_is_kept_no_longer(
    tree: TreeBuilder, kept: ManifestCache, asked: list[str]
) -> None:
    """When its folder is written again."""
    digest = Digest(tree.push("app", "v1"))
    graph_of(tree, kept)
    folder = f"sha256:{digest.prefix}"
    assert digest.encoded in kept.folder(folder)
    tree.delete_manifest("app", digest)
    tree.delete_blob(digest)
    number = 0
    while True:  # until one lands in the same folder
        number += 1
        other = image([f"{number}"])
        if Digest.of(other.data).prefix == digest.prefix:
            break
    tree.push("app", "v2", other)
    graph_of(tree, kept)
    assert list(kept.folder(folder)) == [Digest.of(other.data).encoded]


# -- buckets -----------------------------------------------------------------------------

ROOT = f"s3://{NAME}"


@pytest.fixture
def bucket() -> Iterator[FakeBucket]:
    with bucket_of(TREES / "tutorial") as served:
        yield served


@contextmanager
def noting_reads(bucket: FakeBucket) -> Iterator[list[str]]:
    """Note the blobs that are read while the block runs."""
    found: list[str] = []

    def note(method: str, key: str, _: object) -> None:
        if method == "GET" and key.endswith("/data"):
            found.append(key)

    bucket.fault = note
    yield found


def answered(capsys: pytest.CaptureFixture[str]) -> object:
    """Return what was printed, without what it cost."""
    return json.loads(capsys.readouterr().out) | {"requests": None}


def test_the_second_report_of_a_bucket_reads_nothing(
    bucket: FakeBucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["-r", ROOT, "du", "--json", "--cache", str(tmp_path / "cache")]
    with noting_reads(bucket) as cold:
        assert run(command) == 0
    first = answered(capsys)
    with noting_reads(bucket) as warm:
        assert run(command) == 0
    assert (len(cold), warm) == (13, [])
    assert answered(capsys) == first
    with noting_reads(bucket) as without:
        assert run([*command[:4], "--no-cache"]) == 0
    assert sorted(without) == sorted(cold)
    assert answered(capsys) == first


def test_verify_reads_what_is_there_now(
    bucket: FakeBucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = ["--cache", str(tmp_path / "cache")]
    assert run(["-r", ROOT, "du", "-q", *cache]) == 0
    key = next(
        key
        for key, stored in sorted(bucket.objects.items())
        if key.endswith("/data") and b'"schemaVersion"' in stored.data[:20]
    )
    stored = bucket.objects[key]
    rotten = stored.data.replace(b"sha256", b"sha257")
    bucket.objects[key] = Stored(rotten, stored.mtime)
    for level in ("sizes", "digests"):  # the first hashes nothing but manifests
        code = run(["-r", ROOT, "verify", "--level", level, *cache, "--json"])
        assert code == Exit.FINDINGS.value
        assert "blob-corrupt" in capsys.readouterr().out
