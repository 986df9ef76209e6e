"""A network as an SQLite database: tables, keys, views. docs/pictures.md has queries.

    repositories --< tags >-- manifests --< edges >-- blobs          findings
         `------< revisions >-----'  (each manifest is a blob too)

A blob that is missing has no size. `blobs.only_tag_id` and `only_repository_id` are set where
nothing else needs a blob, so that what removing a tag frees is a sum.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any, Final

from regfs.digest import Digest
from regfs.errors import StoreError, printable
from regfs.findings import Finding
from regfs.graph import EdgeKind, NodeKind
from regfs.render.pictures import unambiguous
from regfs.reports.network import Network, NetworkNode, repository_id, tag_id
from regfs.units import rfc3339

VERSION: Final = 1
"""`PRAGMA user_version`: goes up when a table or view changes."""
_PIECE: Final = 1 << 20

_SCHEMA: Final = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE repositories (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, layer_links INTEGER NOT NULL,
    uploads INTEGER NOT NULL, upload_bytes INTEGER NOT NULL);
CREATE TABLE blobs (
    id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, media_type TEXT,
    size INTEGER, written TEXT, users INTEGER NOT NULL, repositories INTEGER NOT NULL,
    only_repository_id INTEGER REFERENCES repositories (id),
    only_tag_id INTEGER REFERENCES tags (id));
CREATE TABLE manifests (
    id INTEGER PRIMARY KEY REFERENCES blobs (id), form TEXT NOT NULL, artifact_type TEXT,
    platform TEXT, created TEXT, problem TEXT);
CREATE TABLE tags (
    id INTEGER PRIMARY KEY, repository_id INTEGER NOT NULL REFERENCES repositories (id),
    name TEXT NOT NULL, manifest_id INTEGER REFERENCES manifests (id), written TEXT,
    UNIQUE (repository_id, name));
CREATE TABLE revisions (
    repository_id INTEGER NOT NULL REFERENCES repositories (id),
    manifest_id INTEGER NOT NULL REFERENCES manifests (id),
    PRIMARY KEY (repository_id, manifest_id)) WITHOUT ROWID;
CREATE TABLE edges (
    source_id INTEGER NOT NULL REFERENCES manifests (id),
    target_id INTEGER NOT NULL REFERENCES blobs (id), kind TEXT NOT NULL,
    PRIMARY KEY (source_id, target_id, kind)) WITHOUT ROWID;
CREATE TABLE findings (
    id INTEGER PRIMARY KEY, severity TEXT NOT NULL, code TEXT NOT NULL, path TEXT NOT NULL,
    blob_id INTEGER REFERENCES blobs (id),
    repository_id INTEGER REFERENCES repositories (id), tag TEXT, expected TEXT, actual TEXT,
    message TEXT NOT NULL, remedy TEXT NOT NULL);
"""

_VIEWS: Final = """
CREATE INDEX blobs_by_size ON blobs (size);
CREATE INDEX blobs_by_only_repository ON blobs (only_repository_id);
CREATE INDEX blobs_by_only_tag ON blobs (only_tag_id);
CREATE INDEX tags_by_manifest ON tags (manifest_id);
CREATE INDEX revisions_by_manifest ON revisions (manifest_id);
CREATE INDEX edges_by_target ON edges (target_id);
CREATE INDEX findings_by_blob ON findings (blob_id);
CREATE INDEX findings_by_repository ON findings (repository_id);
CREATE VIEW contents AS
    WITH RECURSIVE reached (tag_id, home_id, blob_id) AS (
        SELECT id, repository_id, manifest_id FROM tags WHERE manifest_id IS NOT NULL
        UNION
        SELECT tag_id, home_id, target_id FROM reached JOIN edges ON source_id = blob_id
        WHERE edges.kind NOT IN ('subject', 'base')
        UNION
        SELECT tag_id, home_id, source_id FROM reached JOIN edges ON target_id = blob_id
        JOIN revisions ON revisions.repository_id = home_id AND revisions.manifest_id = source_id
        WHERE edges.kind = 'subject')
    SELECT repositories.name AS repository, tags.name AS tag, digest, kind, media_type, size, users
    FROM reached JOIN blobs ON blobs.id = blob_id JOIN tags ON tags.id = tag_id
    JOIN repositories ON repositories.id = home_id;
CREATE VIEW shared_layers AS
    SELECT digest, size, users, repositories, size * (users - 1) AS saved
    FROM blobs WHERE kind = 'layer' AND users > 1 AND size IS NOT NULL;
CREATE VIEW unreferenced AS
    SELECT digest, size, written FROM blobs WHERE users = 0 AND size IS NOT NULL;
CREATE VIEW missing AS
    SELECT digest, kind, media_type, users, repositories FROM blobs WHERE size IS NULL;
CREATE VIEW tag_sizes AS
    SELECT repository, tag, sum(size) AS bytes, count(*) AS blobs,
        sum(CASE WHEN users = 1 THEN size ELSE 0 END) AS only_bytes
    FROM contents GROUP BY repository, tag;
CREATE VIEW links AS
    SELECT one.digest AS source, edges.kind AS kind, other.digest AS target
    FROM edges JOIN blobs AS one ON one.id = source_id JOIN blobs AS other ON other.id = target_id;
"""


def database(network: Network, findings: Iterable[Finding]) -> Iterator[bytes]:
    """Yield an SQLite database, which is made in a temporary file.

    Raises:
        StoreError: there is no space for that file.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="regfs-") as folder:
            path = Path(folder, "registry.sqlite")
            with closing(sqlite3.connect(path)) as connection:
                _Tables(connection, network).write(findings)
            with path.open("rb") as stream:
                while piece := stream.read(_PIECE):
                    yield piece
    except (sqlite3.OperationalError, OSError) as error:
        raise StoreError(f"{tempfile.gettempdir()}: {printable(error)}") from None


class _Tables:
    """Fills a database; used once."""

    def __init__(self, connection: sqlite3.Connection, network: Network) -> None:
        self._connection = connection
        self._network = network
        self._repositories = {name: number for number, name in enumerate(network.repositories, 1)}
        pairs = ((name, tag) for name, tags in network.repositories.items() for tag in tags)
        self._tags = {pair: number for number, pair in enumerate(pairs, 1)}
        self._known: set[int] = set()
        """The blobs that have a row."""

    def write(self, findings: Iterable[Finding]) -> None:
        """Write everything; it is one transaction of a file that nobody else sees."""
        run = self._connection
        run.execute("PRAGMA journal_mode = OFF")
        run.execute("PRAGMA synchronous = OFF")
        run.executescript(f"PRAGMA user_version = {VERSION};{_SCHEMA}")
        facts = self._network.facts
        about = [("root", unambiguous(facts.root)), ("taken_at", rfc3339(facts.taken_at))]
        run.executemany("INSERT INTO about VALUES (?, ?)", about)
        self._write_nodes()
        self._write_edges()
        rows = (self._finding(one) for one in findings)
        run.executemany(f"INSERT INTO findings VALUES (NULL{', ?' * 10})", rows)
        run.executescript(_VIEWS)
        run.execute("ANALYZE")
        run.commit()

    def _write_nodes(self) -> None:
        run, tags = self._connection, list[NetworkNode]()
        nodes = self._network.nodes()
        content: list[NetworkNode] = []
        for node in nodes:
            if node.kind == NodeKind.REPOSITORY:
                run.execute("INSERT INTO repositories VALUES (?, ?, ?, ?, ?)", self._home(node))
            elif node.kind == NodeKind.TAG:
                tags.append(node)
            else:
                content.append(node)
                break
        run.executemany("INSERT INTO tags VALUES (?, ?, ?, NULL, ?)", map(self._tag, tags))
        for node in chain(content, nodes):
            row = self._blob(node)
            self._known.add(row[0])
            run.execute(f"INSERT INTO blobs VALUES (?{', ?' * 9})", row)
            if node.kind == NodeKind.MANIFEST:
                run.execute("INSERT INTO manifests VALUES (?, ?, ?, ?, ?, ?)", self._manifest(node))

    def _home(self, node: NetworkNode) -> tuple[Any, ...]:
        name = node.repository or ""
        held = self._network.inventory_of(name)
        size = sum(one.size for one in held.uploads.values())
        counts = (len(held.layers), len(held.uploads), size)
        return self._repositories[name], unambiguous(name), *counts

    def _tag(self, node: NetworkNode) -> tuple[Any, ...]:
        name, tag = node.repository or "", node.tag or ""
        written = None if node.written is None else rfc3339(node.written)
        return self._tags[name, tag], self._repositories[name], unambiguous(tag), written

    def _blob(self, node: NetworkNode) -> tuple[Any, ...]:
        number = self._number(node.digest)
        users = self._network.users
        only_tag = only_repository = None
        if (places := users.repositories).count(number) == 1:
            name = users.names[places.of(number)[0]]
            only_repository = self._repositories.get(name)
            if users.tags.count(number) == 1:
                holder = users.holders[users.tags.of(number)[0]]
                only_tag = self._tags.get((name, holder.tag)) if holder.tag is not None else None
        return (
            number,
            node.digest,
            node.kind,
            None if node.media_type is None else unambiguous(node.media_type),
            node.size,
            None if node.written is None else rfc3339(node.written),
            node.users,
            places.count(number),
            only_repository,
            only_tag,
        )

    def _manifest(self, node: NetworkNode) -> tuple[Any, ...]:
        texts = (node.form, node.artifact_type, node.platform, node.created, node.problem)
        shown = (None if text is None else unambiguous(text) for text in texts)
        return self._number(node.digest), *shown

    def _number(self, digest: str | None) -> int:
        return self._network.number(Digest(digest or ""))

    def _write_edges(self) -> None:
        run = self._connection
        starts = {repository_id(name): number for name, number in self._repositories.items()}
        tags = {tag_id(*pair): number for pair, number in self._tags.items()}
        for edge in self._network.edges():
            if edge.kind == EdgeKind.TAG:
                continue
            end = self._number(edge.target)
            if edge.kind == EdgeKind.REVISION:
                run.execute("INSERT INTO revisions VALUES (?, ?)", (starts[edge.source], end))
            elif edge.kind == EdgeKind.CURRENT:
                run.execute(
                    "UPDATE tags SET manifest_id = ? WHERE id = ?", (end, tags[edge.source])
                )
            elif edge.kind != EdgeKind.HISTORY:
                row = (self._number(edge.source), end, str(edge.kind))
                run.execute("INSERT INTO edges VALUES (?, ?, ?)", row)

    def _finding(self, finding: Finding) -> tuple[Any, ...]:
        row = finding.written()
        digest, home = finding.digest, finding.repository
        blob = self._number(digest) if digest else None
        return (
            finding.severity.value,
            finding.code.value,
            unambiguous(finding.path),
            blob if blob in self._known else None,
            self._repositories.get(home) if home else None,
            *(None if (t := row[key]) is None else unambiguous(str(t)) for key in
              ("tag", "expected", "actual", "message", "remedy")),
        )  # fmt: skip
