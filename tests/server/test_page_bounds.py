"""What one reader of the page can cost the others: rows, bytes, turns, and readings of the tree."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from regfs import manifests
from regfs.server.ui import page_maker, pages, snapshots
from regfs.server.ui.snapshot import LARGEST
from regfs.server.ui.snapshots import FRESH_SHARE, Snapshots
from regfs.server.ui.views.parts import LISTED
from regfs.stores import open_store
from regfs.tree.registry import Registry
from regfs.tree.scan import scan
from tests.support import wire
from tests.support.builder import TreeBuilder, artifact, image, index, raw
from tests.support.exchange import get
from tests.support.images import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Blob, Content
from tests.support.server import hosted

MANY = 1200


def page(url: str, path: str) -> str:
    while (answer := get(url, path)).status == 202:
        pass
    assert answer.status == 200, path
    return answer.text


def many_layers(count: int) -> Content:
    """Return an image that names a few blobs as very many layers."""
    blobs = [Blob(b"layer %d" % number) for number in range(10)]
    config = Blob(b"{}", OCI_CONFIG)
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.descriptor(OCI_CONFIG),
        "layers": [blobs[number % 10].descriptor(OCI_LAYER) for number in range(count)],
    }
    return raw(document, blobs=[*blobs, config])


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of every manifest that is taken apart, in one step for all threads."""
    lengths: list[int] = []
    parse: Callable[..., Any] = manifests.parse

    def measured(data: bytes, **options: Any) -> Any:
        lengths.append(len(data))
        return parse(data, **options)

    monkeypatch.setattr(manifests, "parse", measured)
    return lengths


# -- rows --------------------------------------------------------------------------------


def test_a_manifest_of_27000_layers_is_not_parsed(tree: TreeBuilder, parsed: list[int]) -> None:
    large = many_layers(27_000)
    tree.push("app", "v1", large)
    assert len(large.data) > LARGEST
    with hosted(tree.root) as url:
        text = page(url, "/r/app/_tags/v1")
        for path in ("/", "/r/app", "/reuse", "/findings", "/usage?by=layer"):
            page(url, path)
    assert "too large for this page" in text
    assert "And 26,801 more" in text
    assert text.count("<tr>") < 2 * LISTED
    assert len(text) < 300_000
    assert max(parsed, default=0) <= LARGEST


def test_an_index_or_config_above_the_limit_is_not_parsed(
    tree: TreeBuilder, parsed: list[int]
) -> None:
    rows = [{"mediaType": OCI_MANIFEST, "digest": "sha256:" + "0" * 64, "size": 2}] * 3000
    tree.push("app", "index", raw({"schemaVersion": 2, "manifests": rows}, manifests.OCI_INDEX))
    tree.push("app", "v1", image(["x"], {"history": [{"created_by": "x" * 100}] * 4000}))
    with hosted(tree.root) as url:
        assert "too large for this page" in page(url, "/r/app/_tags/index")
        assert "larger than" in page(url, "/r/app/_tags/v1")
    listed = [length for length in parsed if length > LARGEST]
    assert len(listed) <= 1  # what the graph is made of is read once, for all pages


def test_every_list_on_a_page_has_an_end(tree: TreeBuilder) -> None:
    labels = {f"label-{number}": "x" for number in range(MANY)}
    config = {"config": {"Labels": labels, "Env": [f"E{number}=x" for number in range(MANY)]}}
    shown = image([b"layer"], config, annotations=labels)
    sparse = [image([f"{number}"]) for number in range(MANY)]
    tree.push("app", "v1", shown)
    tree.push("app", "layers", many_layers(MANY))
    tree.push("app", "index", index(shown, sparse=sparse))
    for number in range(LISTED + 5):
        tree.tag("app", f"also-{number}", shown.digest)
        tree.push("app", None, artifact([b"s"], subject=shown, artifact_type=f"a/{number}"))
    with hosted(tree.root) as url:
        one = page(url, "/r/app/_tags/v1")
        assert one.count("<dt>label-") == 2 * LISTED  # labels and annotations
        assert one.count("<li><code>E") == LISTED
        assert one.count("<td>a/") == LISTED
        assert one.count("And 1,000 more") == 3
        layers = page(url, "/r/app/_tags/layers")
        assert layers.count('<li id="layer-') == LISTED
        assert len(re.findall(r"<a href=\"#layer-", layers)) == LISTED
        entries = page(url, "/r/app/_tags/index")
        assert entries.count(", not here</span>") == LISTED - 1
        untagged = page(url, "/r/app").partition("Untagged")[2]
        assert untagged.count('<tr>\n<th scope="row">') <= LISTED


def test_indexes_that_list_indexes_without_end_are_shown(tree: TreeBuilder) -> None:
    inner = image([b"deep"])
    levels = [inner]
    for number in range(300):
        inner = index(inner, annotations={"n": str(number)})
        levels.append(inner)
    tree.push("app", "deep", inner)
    for one in levels:
        tree.delete_revision("app", one.digest)
    with hosted(tree.root) as url:
        assert "/r/app/_tags/deep" in page(url, f"/b/{Blob(b'deep').digest}")
        assert page(url, "/r/app/_tags/deep")


# -- turns -------------------------------------------------------------------------------


def from_address(url: str, path: str, address: str) -> int:
    connection = http.client.HTTPConnection(
        urlsplit(url).netloc, timeout=60, source_address=(address, 0)
    )
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_client_with_many_pages_delays_only_itself(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    begun, go = threading.Event(), threading.Event()
    search: Callable[..., Any] = vars(pages)["search"]

    def held_up(look: Any, query: str) -> Any:
        made.append(query)
        begun.set()
        go.wait(wire.LOCK_TIMEOUT)
        return search(look, query)

    tree.push("app", "v1")
    answers: dict[str, int] = {}

    def ask(server: str, query: str, address: str) -> threading.Thread:
        def work() -> None:
            answers[query] = from_address(server, f"/search?q={query}", address)

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    with hosted(tree.root) as url:
        page(url, "/")
        monkeypatch.setattr(pages, "search", held_up)
        monkeypatch.setattr(page_maker, "WAITING", 5)
        asking = [ask(url, "first", "127.0.0.1")]
        assert begun.wait(wire.LOCK_TIMEOUT)
        asking += [ask(url, f"more-{number}", "127.0.0.1") for number in range(10)]
        wire.until(lambda: len(answers) == 6)  # those for whom there is no room
        asking.append(ask(url, "other", "127.0.0.2"))
        wire.until(lambda: from_address(url, "/nope", "127.0.0.2") == 404)  # it has come by now
        go.set()
        for one in asking:
            one.join()
    assert sorted(answers.values()) == [200] * 6 + [429] * 6
    assert answers["other"] == 200
    assert made.index("other") <= 2


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_refresh_never_exceeds_its_share_of_the_time(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, readings, takes = Clock(), [], 40.0

    def slow(*args: Any, **options: Any) -> Any:
        readings.append(clock.now)
        clock.now += takes
        return scan(*args, **options)

    monkeypatch.setattr(snapshots, "scan", slow)
    tree.push("app", "v1")

    async def story() -> None:
        keeper = Snapshots(Registry(open_store(str(tree.root))), clock=clock)
        await keeper.get(patience=60)
        rest = takes * (1 - FRESH_SHARE) / FRESH_SHARE
        for _ in range(45):  # while the rest is longer than anybody waits for it
            clock.now += rest / 100
            assert await keeper.get(patience=60, fresh=True) is not None
        assert len(readings) == 1
        clock.now += rest
        await asyncio.gather(*(keeper.get(patience=60, fresh=True) for _ in range(50)))
        assert len(readings) == 2
        keeper.close()

    asyncio.run(story())


# -- bytes -------------------------------------------------------------------------------


@pytest.fixture
def url(tree: TreeBuilder) -> Iterator[str]:
    tree.push("app", "v1", many_layers(100))
    with hosted(tree.root) as url:
        yield url


def test_pages_are_compressed_for_those_who_take_it(url: str, tree: TreeBuilder) -> None:
    digest = tree.current("app", "v1")
    style = re.findall(r'href="(/static/style[^"]+)"', page(url, "/"))
    for path in ("/r/app/_tags/v1", f"/r/app/_raw/{digest}", *style):
        plain = get(url, path)
        small = get(url, path, Accept_Encoding="br, gzip;q=0.8")
        assert plain["Content-Encoding"] is None
        assert small["Content-Encoding"] == "gzip"
        assert plain["Vary"] == small["Vary"] == "Accept-Encoding"
        assert len(small.body) < len(plain.body) / 2
        if "_tags" not in path:  # a page says when it was made
            assert gzip.decompress(small.body) == plain.body
        assert get(url, path, Accept_Encoding="gzip;q=0, br")["Content-Encoding"] is None


def test_an_unknown_path_is_a_page(url: str) -> None:
    answer = get(url, "/nope")
    assert answer.status == 404
    assert (answer["Content-Type"] or "").startswith("text/html")
    assert "There is no such page" in answer.text
    assert "default-src 'none'" in (answer["Content-Security-Policy"] or "")
    wrong = requests.delete(f"{url}/usage", timeout=60)
    assert wrong.status_code == 405
    assert wrong.headers["Content-Type"].startswith("text/html")
    assert "GET" in wrong.headers["Allow"]
    assert get(url, "/v2/nope").headers["Content-Type"].startswith("application/json")
