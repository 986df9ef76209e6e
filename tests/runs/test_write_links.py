"""Many links at once: none has its name before its intent and its bytes are durable."""

from __future__ import annotations

import pytest

from regfs import layout
from regfs.digest import Digest
from regfs.runs import PlannedLink, RunKind, changing, new_run
from regfs.runs.lock import exclusive
from regfs.runs.paths import journal_of
from regfs.runs.totals import ActionKind
from regfs.stores import open_store
from regfs.stores.local.bulk import LocalBulkWriter
from tests.support.builder import TreeBuilder, image


def test_a_link_gets_its_name_when_its_bytes_are_on_the_disk(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.push("app", "v1", image(["one"]))
    digests = [Digest.of(f"blob {number}".encode()) for number in range(450)]
    paths = [layout.path_of(layout.LayerLink("new", digest)) for digest in digests]
    store, run = open_store(str(tree.root)), new_run()
    there: list[int] = []
    barrier = LocalBulkWriter.barrier

    def watched(bulk: LocalBulkWriter) -> None:
        named = [path for path in paths if (tree.root / path).exists()]
        journal = (tree.root / journal_of(run)).read_text()
        halves = [one for one in tree.v2.rglob(".link.*.regfs-tmp") if one.stat().st_size]
        assert all(path in journal for path in named)
        assert len(halves) + len(named) == min(200 * (len(there) + 1), 450)
        there.append(len(named))
        barrier(bulk)

    monkeypatch.setattr(LocalBulkWriter, "barrier", watched)
    with exclusive(store), changing(store, run, RunKind.IMPORT) as changes:
        changes.announce(paths)
        links = zip(paths, digests, strict=True)
        changes.write_links(
            [PlannedLink(path, ActionKind.LAYER_LINK, digest, 1e9) for path, digest in links]
        )
        changes.finish(len(paths))
    assert there == [0, 200, 400, 450]
    assert {(tree.root / path).stat().st_mtime for path in paths} == {1e9}
