"""What Prometheus and a watchdog are told."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from regfs.server.health import Health
from tests.support import wire
from tests.support.builder import TreeBuilder
from tests.support.server import hosted


def metrics(url: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return name and labels -> value."""
    text = requests.get(f"{url}/metrics", timeout=60).text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(url: str, name: str, **labels: str) -> float:
    return metrics(url).get((name, frozenset(labels.items())), 0.0)


@pytest.fixture
def url(tree: TreeBuilder) -> Iterator[str]:
    tree.push("app", "v1")
    with hosted(tree.root, writable=True) as url:
        yield url


def test_requests_are_counted(url: str) -> None:
    for tag, status in (("v1", "200"), ("v1", "200"), ("nothing", "404")):
        requests.get(f"{url}/v2/app/manifests/{tag}", timeout=60)
        labels = {"action": "manifest", "method": "GET", "status": status}
        wire.until(lambda: value(url, "regfs_http_requests_total", **labels) >= 1)  # noqa: B023
    asked = {"action": "manifest", "method": "GET"}
    wire.until(lambda: value(url, "regfs_http_request_seconds_count", **asked) == 3)
    assert value(url, "regfs_http_requests_total", status="200", **asked) == 2
    assert value(url, "regfs_http_requests_total", status="404", **asked) == 1


def test_bytes_are_counted(url: str) -> None:
    size = len(requests.get(f"{url}/v2/app/manifests/v1", timeout=60).content)
    wire.until(lambda: value(url, "regfs_http_sent_bytes_total", action="manifest") == size)
    began = requests.post(f"{url}/v2/app/blobs/uploads/", timeout=60)
    requests.patch(url + began.headers["Location"], data=bytes(5000), timeout=60)
    wire.until(lambda: value(url, "regfs_http_received_bytes_total", action="upload") == 5000)


def test_running_requests_are_counted(url: str) -> None:
    began = requests.post(f"{url}/v2/app/blobs/uploads/", timeout=60)
    head = f"PATCH {began.headers['Location']} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
    with wire.connected(url) as one:
        one.sendall(head.encode())
        in_flight = "regfs_http_requests_in_flight"
        wire.until(lambda: value(url, in_flight, action="upload") == 1)
        assert value(url, "regfs_http_connections") >= 1
        one.sendall(bytes(10))
        wire.until(lambda: value(url, in_flight, action="upload") == 0)


def test_clients_cannot_create_labels(url: str) -> None:
    for method in (b"GET", b"BREW", b"PROPFIND"):
        wire.get(url, b"/v2/made-up-name/tags/list", method=method)
        wire.get(url, b"/made-up-name", method=method)
        wire.get(url, b"/v2/made-up-name", method=method)
    wire.until(lambda: value(url, "regfs_http_requests_total",
                             action="tags", method="GET", status="404") == 1)  # fmt: skip
    text = requests.get(f"{url}/metrics", timeout=60).text
    assert "made-up-name" not in text
    assert "BREW" not in text


def test_metrics_of_the_process_are_included(url: str) -> None:
    assert value(url, "process_resident_memory_bytes") > 0


def test_a_disk_that_hangs_is_reported_and_asked_once(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    go = threading.Event()

    def hang(self: Health) -> str:
        looked.append(1)
        go.wait(wire.LOCK_TIMEOUT)
        return ""

    monkeypatch.setattr("regfs.server.health.TIMEOUT", 0.05)
    monkeypatch.setattr(Health, "_look", hang)
    try:
        for _ in range(3):
            answer = requests.get(f"{url}/healthz", timeout=60)
            assert answer.status_code == 503
            assert answer.json() == {"status": "unavailable"}
        assert looked == [1]
    finally:
        go.set()
    wire.until(lambda: requests.get(f"{url}/healthz", timeout=60).status_code == 200)
