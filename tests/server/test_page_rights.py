"""Every route of the page, as somebody sees it who may read one repository of two.

The reader may push too, and knows every digest of the other repository. So what is pushed
names all of it: as subject, as child of an index, as layer that lies elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import shake_256
from html import unescape
from urllib.parse import quote

import pytest
from aiohttp import web

from regfs.server.app import make_app
from regfs.server.routes import Verb
from regfs.server.settings import Settings
from regfs.stores import open_store
from regfs.tree.registry import Registry
from tests.support.builder import TreeBuilder, artifact, blob_of, image, index, layer, raw
from tests.support.exchange import Answer, get
from tests.support.images import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Blob, Content
from tests.support.server import hosted

BASE = layer({"base": b"b" * 5000})
PLAN = shake_256(b"plan").digest(54_321)
FILES = layer({"zebra-file": b"zebra-content"})
INSIDE = ("files", "documents")
SECRETS = ("zebra-name", "zebra-tag", "zebra-label", "zebra-env", "zebra-step", "zebra/type",
           "zebra-file", "zebra-content")  # fmt: skip
"""Words that only the repository `zebra-name` holds."""


def plan() -> Content:
    config = {
        "config": {"Labels": {"zebra-label": "yes"}, "Env": ["A=zebra-env"]},
        "history": [{"created_by": step} for step in ("base", "zebra-step", "files")],
    }
    return image([BASE, PLAN, FILES], config)


@dataclass(frozen=True)
class Scene:
    """A server, and what its reader knows of what must not be shown."""

    url: str
    hidden: tuple[str, ...]
    """Digests that only the other repository has."""
    sizes: tuple[str, ...]
    """Their bytes, as pages tell them."""

    def ask(self, path: str) -> Answer:
        while (answer := get(self.url, path)).status == 202:
            pass
        return answer


def only_public(request: web.Request, verb: Verb, name: str) -> bool:
    return verb is Verb.READ and name == "public"


def listing(*digests: str) -> Content:
    """Return an index of manifests of which somebody knows no more than the digests."""
    rows = [{"mediaType": OCI_MANIFEST, "digest": digest, "size": 2} for digest in digests]
    return raw({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": rows}, OCI_INDEX)


def elsewhere(digest: str) -> Content:
    """Return an image that names a blob as a layer which its urls lead to."""
    config = Blob(b"{}", OCI_CONFIG)
    foreign = {"mediaType": OCI_LAYER, "digest": digest, "size": 1, "urls": ["https://x.example"]}
    document = {"schemaVersion": 2, "config": config.descriptor(OCI_CONFIG), "layers": [foreign]}
    return raw(document, blobs=[config])


def naming(digest: str) -> Content:
    """Return an image that names a blob as its layer, as if it had been pushed with it."""
    config = Blob(b"{}", OCI_CONFIG)
    named = {"mediaType": OCI_LAYER, "digest": digest, "size": 1}
    document = {"schemaVersion": 2, "config": config.descriptor(OCI_CONFIG), "layers": [named]}
    return raw(document, blobs=[config])


@pytest.fixture
def scene(tree: TreeBuilder) -> Iterator[Scene]:
    shown = image([BASE, "mine"])
    hidden = plan()
    signature = artifact([b"zebra-signature"], subject=shown, artifact_type="zebra/type")
    inner = index(hidden)
    chain = artifact([b"between"], subject=hidden, artifact_type="zebra/type")
    tree.push("public", "v1", shown)
    tree.push("zebra-name", "zebra-tag", hidden)
    tree.push("zebra-name", "zebra-index", inner)
    tree.push("zebra-name", None, signature)
    tree.push("zebra-name", None, chain)
    everything = [hidden, inner, signature, chain]
    manifests = [one.digest for one in everything]
    blobs = {Blob(data).digest for one in everything for data in _data(one)}
    known = sorted(blobs.union(manifests))
    for digest in known:
        tree.push("public", f"about-{digest[7:15]}", artifact([b"a"], subject=digest))
    tree.push("public", "children", listing(shown.digest, *manifests))
    tree.push("public", None, listing(chain.digest, inner.digest))
    for tag in ("elsewhere", "elsewhere-too"):
        tree.push("public", tag, elsewhere(Blob(PLAN).digest))
    tree.push("public", "elsewhere-files", elsewhere(blob_of(FILES).digest))
    tree.push("public", "naming-files", naming(blob_of(FILES).digest))
    tree.push("public", shown.digest.replace(":", "-"), listing(signature.digest))
    with hosted(tree.root, may=only_public) as url:
        sizes = {len(data) for one in everything for data in (one.data, *_data(one))}
        told = tuple(f"{size:,} bytes" for size in sorted(sizes) if size > 1000)
        assert told
        yield Scene(url, tuple(known), told)


def _data(one: Content) -> Iterable[bytes]:
    return (blob.data for blob in one.blobs if blob.data not in (BASE, b"{}"))


def direct(digest: str) -> list[str]:
    """Return every path at which a digest could be asked for."""
    return [
        f"/r/public/_manifests/{digest}",
        f"/r/public/_raw/{digest}",
        f"/r/public/_tags/{digest}",
        f"/r/zebra-name/_manifests/{digest}",
        f"/r/zebra-name/_raw/{digest}",
        *(f"/r/{name}/_{part}/{digest}/" for name in ("public", "zebra-name") for part in INSIDE),
        f"/b/{digest}",
    ]


def routes(url: str, scene_root: TreeBuilder) -> set[str]:
    """Return the beginning of every path of the page that can be looked at."""
    app = make_app(Registry(open_store(str(scene_root.root))), Settings())
    found = {
        route.resource.canonical.partition("{")[0]
        for route in app.router.routes()
        if route.method == "GET" and route.resource is not None
    }
    return found - {"/healthz", "/metrics", "/static/"}


def walked(scene: Scene) -> Iterator[tuple[str, Answer]]:
    """Follow every link, and try every digest at every place."""
    pending = ["/", "/usage", "/reuse", "/findings", "/gc", "/gc?untagged=1", "/login"]
    pending += ["/search?q=zebra", "/search?q=v1", "/?sort=unique", "/?sort=-stored"]
    pending += [f"/usage?by={by}" for by in ("tag", "namespace", "layer", "media-type")]
    pending += ["/r/zebra-name", "/r/zebra-name/_tags/zebra-tag"]
    for digest in scene.hidden:
        pending += direct(digest)
        pending += [f"/search?q={quote(text)}" for text in (digest, digest[7:15])]
        pending.append(f"/search?q=public@{quote(digest)}")
        pending.append(f"/r/public/_tags/children?of={quote(digest)}")
    seen: set[str] = set()
    while pending:
        path = unescape(pending.pop())
        if path in seen:
            continue
        seen.add(path)
        answer = scene.ask(path)
        yield path, answer
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            pending += re.findall(r'(?:href|action)="(/(?!static|refresh)[^"#]*)"', answer.text)


def test_every_page_shows_only_what_its_repository_itself_has(
    scene: Scene, tree: TreeBuilder
) -> None:
    visited: set[str] = set()
    for path, answer in walked(scene):
        visited.add(path.partition("?")[0])
        assert answer.status < 500, path
        text = answer.text
        for word in (*SECRETS, *scene.sizes):
            # What was asked for stands on the page again.
            assert word in unescape(path) or word not in text, (path, word)
    for start in routes(scene.url, tree):
        assert any(path == start or path.startswith(start) for path in visited), start


def test_hidden_content_is_on_no_page(scene: Scene) -> None:
    for digest in scene.hidden:
        for path in direct(digest):
            assert scene.ask(path).status == 404, path
    for path in ("/r/public/_tags/children", "/r/public/_tags/elsewhere", "/r/public"):
        for digest in scene.hidden:
            found = scene.ask(path).text
            assert f'href="/b/{digest}"' not in found
            assert f"_manifests/{digest}" not in found


def test_content_of_other_repositories_is_not_here(scene: Scene) -> None:
    """A page must not tell whether somebody else has what a manifest names."""
    children = scene.ask("/r/public/_tags/children").text
    assert children.count(", not here</span>") == 4
    assert "elsewhere (urls)" in scene.ask("/r/public/_tags/elsewhere").text


def test_the_figures_of_a_repository_count_what_it_has(scene: Scene) -> None:
    page = scene.ask("/r/public").text
    assert "Unique" not in page
    own = sum(int(size.replace(",", "")) for size in re.findall(r'title="([\d,]+) bytes"', page))
    assert own < 54_321


def test_a_user_who_may_read_both_sees_both(tree: TreeBuilder, scene: Scene) -> None:
    """The walk above would find nothing if there was nothing to find."""
    with hosted(tree.root) as url:
        everything = Scene(url, scene.hidden, scene.sizes)
        texts = "".join(answer.text for _, answer in walked(everything) if answer.status == 200)
    for word in (*SECRETS, *scene.sizes):
        assert word in texts, word
