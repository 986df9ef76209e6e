"""The graph and the server list the same referrers."""

from __future__ import annotations

import pytest

from regfs.digest import Digest
from regfs.graph.attached import referrers
from regfs.stores import open_store
from regfs.tree.pages import Folders
from regfs.tree.referrers import Referrers
from regfs.tree.registry import Registry
from tests.support.builder import (
    OCI_MANIFEST,
    Content,
    TreeBuilder,
    artifact,
    digest_of,
    image,
    index,
    raw,
)
from tests.support.images import dumps, subject_index
from tests.support.registries import scan_and_build

BASE = image()
OTHER = image(["other"])
SILENT, NAMED, FOREIGN = (
    artifact(["a"]),
    artifact(["b"], subject=BASE),
    artifact(["c"], subject=OTHER),
)


def _by(tree: TreeBuilder, content: Content, algorithm: str) -> str:
    """Push a manifest by a digest in an algorithm; it is stored under the other one."""
    digest = digest_of(content.data, algorithm)
    tree.push("app", None, content)
    if digest != content.digest:
        tree.delete_revision("app", content.digest)
        tree.write(tree.revision_path("app", digest), content.digest)
    return digest


@pytest.mark.parametrize("unlinked", [None, NAMED, SILENT], ids=["all", "no-named", "no-silent"])
@pytest.mark.parametrize(
    "content",
    [
        index(NAMED, SILENT),
        index(NAMED, SILENT, FOREIGN),
        index(NAMED, SILENT, OTHER),
        index(NAMED, SILENT, index(SILENT)),
        index(NAMED, SILENT, docker=True),
        index(raw(b"{}"), SILENT),
        index(),
        NAMED,
        SILENT,
        OTHER,
        BASE,
        subject_index(OTHER, manifests=[SILENT.descriptor()]),
        subject_index(BASE, manifests=[SILENT.descriptor()]),
    ],
    ids=[
        "list", "foreign", "image-in-list", "nested", "docker", "unknown-in-list", "empty",
        "referrer", "silent", "image", "itself", "list-of-other", "list-with-subject",
    ],
)  # fmt: skip
@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_graph_and_server_list_the_same_referrers(
    tree: TreeBuilder, algorithm: str, content: Content, unlinked: Content | None
) -> None:
    subject = Digest(_by(tree, BASE, algorithm))
    about = artifact(["d"])
    document = {**about.document, "subject": {**BASE.descriptor(), "digest": subject}}
    for one in (NAMED, SILENT, FOREIGN, raw(dumps(document), OCI_MANIFEST)):
        tree.push("app", None, one)
    tree.push("app", f"{subject.algorithm}-{subject.encoded[:64]}", content)
    if unlinked is not None:
        tree.delete_revision("app", unlinked.digest)
    _, graph = scan_and_build(tree)
    registry = Registry(open_store(str(tree.root)))
    served = Referrers(registry, Folders(registry.store))
    for asked in {subject, Digest(BASE.digest), Digest(OTHER.digest)}:
        expected = {one for one in referrers(graph, asked, "app") if one in graph.manifests}
        assert {one.digest for one in served.of("app", asked)} == expected
