"""`regfs graph` in every format but html: what other programs read of it, and hostile trees."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import stat
import subprocess
from contextlib import closing
from html import unescape
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from hypothesis import given

import regfs
from regfs.cli.app import run
from regfs.cli.graph import FORMATS as OFFERED
from regfs.errors import Invalid, Refused, printable
from regfs.render.pictures.export import FORMATS
from tests.support.builder import TreeBuilder, artifact, image, index, layer
from tests.support.reference import IN_CI, have
from tests.support.registries import Recipe, build, new_tree, recipes

PROJECT = Path(__file__).parents[2]
TREES = PROJECT / "fixtures/trees"
TUTORIAL = TREES / "tutorial"


def export(root: Path, format: str, *references: str, blobs: bool = True) -> bytes:
    return b"".join(regfs.open(str(root)).export(format, *references, blobs=blobs))


def network(root: Path, *references: str) -> Any:
    return nx.node_link_graph(json.loads(export(root, "json", *references)), edges="edges")


def database(data: bytes, folder: Path) -> sqlite3.Connection:
    (folder / "registry.sqlite").write_bytes(data)
    return sqlite3.connect(folder / "registry.sqlite")


def test_the_command_offers_every_format() -> None:
    assert OFFERED == FORMATS


# -- programs read it --------------------------------------------------------------------


@pytest.mark.parametrize("format", ["graphml", "gexf"])
@pytest.mark.parametrize("name", ["tutorial", "whole", "damaged-manifest-missing"])
def test_networkx_reads_what_json_says(format: str, name: str, tmp_path: Path) -> None:
    file = tmp_path / "picture"
    file.write_bytes(export(TREES / name, format))
    read: Any = nx.read_graphml(file) if format == "graphml" else nx.read_gexf(file)
    expected = network(TREES / name)
    assert dict(read.nodes(data=True)) == dict(expected.nodes(data=True))
    kinds = {(a, b): kind for a, b, kind in expected.edges(data="kind")}
    assert {(a, b): kind for a, b, kind in read.edges(data="kind")} == kinds
    assert len(kinds) > 10


def test_the_network_has_what_is_in_the_tree(tree: TreeBuilder) -> None:
    tree.push("app", "v1", index(image(["base", "one"]), image(["arm"], platform="linux/arm64")))
    tree.push("app", "v0", image(["base"]))
    made = network(tree.root)
    kinds = {node: data["kind"] for node, data in made.nodes(data=True)}
    assert sorted(kinds.values()) == sorted(
        ["repository", "tag", "tag", *["manifest"] * 4, *["config"] * 3, *["layer"] * 3]
    )
    top = next(made.successors("tag:app:v1"))
    assert {made.nodes[one]["platform"] for one in made.successors(top)} == {
        "linux/amd64",
        "linux/arm64",
    }
    (based,) = [(a, b) for a, b, kind in made.edges(data="kind") if kind == "base"]
    assert based[0] in made[top] and based[1] == next(made.successors("tag:app:v0"))
    base = next(node for node in made if made.nodes[node].get("users") == 2)
    assert set(made.predecessors(base)) == set(based)


def test_references_name_a_part(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["base", "one"]))
    tree.push("web", "v1", image(["base", "two"]))
    tree.push("web", "v2", image(["three"]))
    tags = {node for node in network(tree.root, "web:v1") if node.startswith("tag:")}
    assert tags == {"tag:web:v1"}
    shared = next(
        node for node, n in network(tree.root).nodes(data="users") if n == 2 and ":" in node
    )
    tags = {node for node in network(tree.root, shared) if node.startswith("tag:")}
    assert tags == {"tag:app:v1", "tag:web:v1"}
    lean = json.loads(export(tree.root, "json", "app", blobs=False))
    assert {one["kind"] for one in lean["nodes"]} == {"repository", "tag", "manifest"}
    assert {one["kind"] for one in lean["edges"]} == {"tag", "current", "revision"}


@given(recipe=recipes())
def test_every_blob_and_every_edge_of_the_graph_is_there(recipe: Recipe) -> None:
    with new_tree() as tree:
        build(tree, recipe)
        opened = regfs.open(str(tree.root), empty=True)
        document = json.loads(b"".join(opened.export("json")))
        nodes = {one["id"]: one for one in document["nodes"]}
        assert len(nodes) == len(document["nodes"])
        pairs = [(one["source"], one["target"], one["kind"]) for one in document["edges"]]
        assert len(set(pairs)) == len(pairs)
        assert {end for pair in pairs for end in pair[:2]} <= nodes.keys()
        graph, inventory = opened.graph, opened.inventory
        stored = {one["id"]: one["size"] for one in nodes.values() if "size" in one}
        assert stored == {digest: inventory.blobs[digest].size for digest in inventory.blobs}
        named = {(m, leaf.digest) for m in graph.manifests for leaf in graph.leaves(m)}
        pointed = {(m, to) for m, targets in graph.successors.items() for to in targets}
        assert {pair[:2] for pair in pairs} >= named | pointed


# -- drawings ----------------------------------------------------------------------------


def test_dot_says_what_is_damaged_and_what_nothing_needs(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image([layer({"etc/x": b"x"})]))
    tree.break_("blob-missing", "app", "v1")
    text = export(tree.root, "dot").decode()
    assert re.search(r'label="layer missing\\n[0-9a-f]{12}".*color=red', text)
    assert 'label="app"' in text
    assert 'label="v1"' in text


needs_graphviz = pytest.mark.skipif(
    not have("dot") and not IN_CI, reason="not installed: dot (graphviz)"
)


def drawn_by_graphviz(text: bytes, *options: str) -> bytes:
    """Return what `dot` makes of a text without a complaint."""
    done = subprocess.run(["dot", *options], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


@pytest.mark.reference
@needs_graphviz
@pytest.mark.parametrize("names", [["app"], ['a"];b', "c\\", "<b>&amp;", "\udcff\n", "\\N"]])
def test_graphviz_reads_the_same_nodes_and_edges(names: list[str], tree: TreeBuilder) -> None:
    repositories = tree.root / "docker/registry/v2/repositories"
    tree.push("web", "v1", index(image(["base", "one"]), image(["arm"], platform="linux/arm64")))
    for name in names:
        shutil.copytree(repositories / "web", repositories / name)
    read = json.loads(drawn_by_graphviz(export(tree.root, "dot"), "-Tdot_json"))
    nodes = [one for one in read["objects"] if "nodes" not in one]
    expected = network(tree.root)
    kinds = dict(expected.nodes(data="kind"))
    assert len(nodes) == len([kind for kind in kinds.values() if kind != "config"])
    labels = {one["label"].replace("\\\\", "\\").replace("&amp;", "&") for one in nodes}
    assert {printable(name) for name in names} <= labels
    # A link from a repository to what its tag leads to is not drawn, and no config.
    drawn = [end for _, end, kind in expected.edges(data="kind") if kind != "revision"]
    assert len(read["edges"]) == len([end for end in drawn if kinds[end] != "config"])


@pytest.mark.reference
@needs_graphviz
def test_graphviz_draws_it() -> None:
    svg = unescape(drawn_by_graphviz(export(TUTORIAL, "dot"), "-Tsvg").decode())
    assert "my-busybox-extended-classic" in svg
    assert svg.count("<polygon") > 30


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = TreeBuilder(tmp_path_factory.mktemp("large"))
    tree.push("app", "v1", image([f"layer {number}" for number in range(2100)]))
    return tree.root


@pytest.mark.parametrize("format", ["dot", "mermaid"])
def test_a_drawing_nobody_can_read_is_refused(format: str, large: Path) -> None:
    with pytest.raises(Refused, match=rf"too large for {format}: 2,103 nodes and 2,102 edges"):
        export(large, format)
    assert b"v1" in export(large, format, blobs=False)


def test_a_mermaid_text_that_is_too_long_is_refused(tree: TreeBuilder) -> None:
    for number in range(220):
        tree.push("app", f"v{number}-{'%' * 100}", image(["base"]))
    with pytest.raises(Refused, match="characters, of at most 50,000"):
        export(tree.root, "mermaid")


# -- a database --------------------------------------------------------------------------

QUERIES = re.findall(
    r"```sql\n(.*?)```", (PROJECT / "docs/pictures.md").read_text(encoding="utf-8"), re.DOTALL
)


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("database")
    (folder / "registry.sqlite").write_bytes(export(TUTORIAL, "sqlite"))
    return folder / "registry.sqlite"


@pytest.mark.parametrize("query", QUERIES)
def test_every_documented_query_answers(query: str, tutorial: Path) -> None:
    with closing(sqlite3.connect(tutorial)) as made:
        assert made.execute(query).fetchall()


def test_the_database_agrees_with_the_reports(tutorial: Path) -> None:
    opened = regfs.open(str(TUTORIAL))
    used = opened.usage(by="tag")
    with closing(sqlite3.connect(tutorial)) as made:
        assert made.execute("PRAGMA foreign_key_check").fetchall() == []
        sizes = {
            f"{repository}:{tag}": (stored, only)
            for repository, tag, stored, only in made.execute(
                "SELECT repository, tag, bytes, only_bytes FROM tag_sizes"
            )
        }
        (saved,) = made.execute("SELECT sum(saved) FROM shared_layers").fetchone()
        unneeded = made.execute("SELECT count(*), sum(size) FROM unreferenced").fetchone()
        (tables,) = made.execute(
            "SELECT group_concat(name) FROM sqlite_master WHERE type = 'table' "
            "AND name NOT LIKE 'sqlite%'"
        ).fetchone()
    rows = {row.name: row for row in used.rows if row.tag is not None}
    assert sizes == {name: (row.stored, row.unique) for name, row in rows.items()}
    assert saved > 8_000_000
    assert unneeded == (1, 118)
    assert set(tables.split(",")) == {
        *("about", "repositories", "tags", "revisions", "manifests", "blobs", "edges", "findings")
    }


def test_findings_of_the_listing_the_links_and_the_ledger(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    shutil.copytree(TREES / "damaged-layer-flipped", root)
    with closing(database(export(root, "sqlite"), tmp_path)) as made:
        assert ("blob-corrupt",) not in set(made.execute("SELECT code FROM findings"))
    assert run(["-r", str(root), "verify", "-q"]) == 1
    with closing(database(export(root, "sqlite"), tmp_path)) as made:
        rows = made.execute(
            "SELECT code, severity, kind FROM findings JOIN blobs ON blobs.id = blob_id"
        ).fetchall()
    assert ("blob-corrupt", "error", "layer") in rows


def test_a_ledger_that_cannot_be_read_is_said(
    tree: TreeBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.push("app", "v1", image(["base"]))
    (tree.root / ".regfs/ledger").mkdir(parents=True)
    file = tmp_path / "registry.sqlite"
    assert run(["-r", str(tree.root), "graph", "-o", str(file)]) == 1
    assert "incomplete" in capsys.readouterr().err
    with closing(sqlite3.connect(file)) as made:
        assert list(made.execute("SELECT code, path FROM findings")) == [
            ("path-unreadable", ".regfs/ledger")
        ]


# -- hostile trees -----------------------------------------------------------------------

HOSTILE = ["</script><script>alert(1)", 'a"];b[label="x', "n\x1b[31m\n\x00x", "\udcff\udcfe", "ﷺ￾"]


@pytest.mark.parametrize("format", [one for one in FORMATS if one != "html"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(format: str, name: str, tree: TreeBuilder, tmp_path: Path) -> None:
    name = name.replace("/", "").replace("\x00", "")
    tree.push("app", "v1", image(["base"]))
    tree.push(
        "app", "v2", artifact(["data"], artifact_type=name.encode("utf-8", "replace").decode())
    )
    tags = tree.root / "docker/registry/v2/repositories/app/_manifests/tags"
    shutil.copytree(tags / "v1", tags / name)
    data = export(tree.root, format)
    if format == "json":
        document = json.loads(data)
        assert any(one.get("tag") == name for one in document["nodes"])
    elif format in ("graphml", "gexf"):
        (tmp_path / "x").write_bytes(data)
        read: Any = nx.read_graphml if format == "graphml" else nx.read_gexf
        assert len([one for one in read(tmp_path / "x") if one.startswith("tag:")]) == 3
    elif format == "sqlite":
        with closing(database(data, tmp_path)) as made:
            assert made.execute("SELECT count(DISTINCT name) FROM tags").fetchone() == (3,)
    else:
        text = data.decode()
        assert all(one.isprintable() or one == "\n" for one in text)
        plain = re.sub(r'"(?:[^"\\]|\\.)*"', "", text)
        assert not re.search(r"alert|<|x\"", plain)
        assert len(text.splitlines()) == len(export(tree.root, format).splitlines())


def test_another_format_is_refused() -> None:
    with pytest.raises(Invalid, match="no format is called 'png': dot, mermaid"):
        export(TUTORIAL, "png")


# -- the command -------------------------------------------------------------------------


def test_the_ending_of_the_file_says_the_format(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, start in (("x.gv", b"digraph"), ("x.mmd", b"flowchart"), ("x.db", b"SQLite format")):
        assert run(["-r", str(TUTORIAL), "graph", "-o", str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_bytes().startswith(start)
    said = capsys.readouterr()
    assert re.search(r"x\.gv: dot, [\d.]+ kB\n.*x\.mmd: mermaid, ", said.err)
    assert said.out == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["graph"], "--format is missing"),
        (["graph", "-o", "registry.png"], "--format is missing"),
        (["graph", "--format", "dot", "--json"], "dot needs -o FILE"),
        (["graph", "-o", "{root}/docker/registry/v2/x.dot"], "inside a registry tree"),
    ],
)
def test_usage(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = [one.replace("{root}", str(TUTORIAL)) for one in arguments]
    assert run(["-r", str(TUTORIAL), *given]) == 2
    assert said in capsys.readouterr().err


def test_a_file_that_cannot_be_written_keeps_its_content(
    tmp_path: Path, large: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "registry.dot"
    file.write_text("old")
    assert run(["-r", str(large), "graph", "-o", str(file)]) == 3
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["registry.dot"]
    assert "too large for dot" in capsys.readouterr().err
    assert run(["-r", str(large), "graph", "-o", str(tmp_path / "no/x.json")]) == 5


def test_what_could_not_be_read_is_said(
    tree: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.push("app", "v1", image(["base"]))
    tree.break_("manifest-empty", "app", "v1")
    code = run(["-r", str(tree.root), "graph", "--format", "json"])
    captured = capsys.readouterr()
    assert code == 1
    assert "incomplete" in captured.err
    problems = {one.get("problem") for one in json.loads(captured.out)["nodes"]}
    assert len(problems - {None}) == 1


def test_who_may_read_a_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text("")
    file.chmod(0o640)
    assert run(["-r", str(TUTORIAL), "-q", "graph", "-o", str(file)]) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
