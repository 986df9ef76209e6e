"""What collections did as metrics for Prometheus, for node_exporter's textfile collector.

    regfs_gc_runs_total{root="/srv/registry"} 12.0
    regfs_gc_deleted_total{root="/srv/registry",kind="blob"} 4711.0

A file tells of every command that wrote to it: counters go on from what it holds of the
same root, for one that says 1 each time is no counter. A command that fails writes
nothing, so what to alert on is the time of the last one that came to its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector, CollectorRegistry

from regfs.render.tables import printable
from regfs.runs.totals import ActionKind, Totals

PREFIX: Final = "regfs_gc"


@dataclass(frozen=True, slots=True)
class Work:
    """What one command did."""

    root: str
    seconds: float
    """How long it took, the wait before a purge included."""
    finished: float
    """When it came to its end, in seconds since the epoch, UTC."""
    deleted: Totals
    freed: int
    """Bytes deleted for good."""
    quarantined: int
    """Bytes that wait in quarantine, of all collections."""


Past = dict[tuple[str, frozenset[tuple[str, str]]], float]
"""Sample -> its value."""


class _WorkCollector(Collector):
    """Hands out the metrics of one command, and of those before."""

    def __init__(self, work: Work, past: Past) -> None:
        self._work = work
        self._past = past
        self._labels = {"root": printable(work.root)}

    def collect(self) -> Iterable[Metric]:
        """Yield every metric."""
        work = self._work
        yield self._counter("runs", "Commands that collected or purged.", [({}, 1)])
        kinds = [({"kind": kind.value}, count) for kind, count in _by_kind(work.deleted)]
        yield self._counter("deleted", "Things deleted for good, by kind.", kinds)
        yield self._counter("freed_bytes", "Bytes deleted for good.", [({}, work.freed)])
        took = "How long the last command took, the wait before a purge included."
        yield self._gauge("duration_seconds", took, work.seconds)
        held = "Bytes that wait in quarantine to be purged or restored."
        yield self._gauge("quarantined_bytes", held, work.quarantined)
        when = "When a command last came to its end."
        yield self._gauge("last_completed_timestamp_seconds", when, work.finished)

    def _counter(
        self, name: str, meaning: str, samples: Iterable[tuple[dict[str, str], int]]
    ) -> Metric:
        full = f"{PREFIX}_{name}"
        rows = [({**self._labels, **labels}, count) for labels, count in samples]
        family = CounterMetricFamily(full, meaning, labels=list(rows[0][0]))
        for labels, count in rows:
            before = self._past.get((f"{full}_total", frozenset(labels.items())), 0.0)
            family.add_metric(list(labels.values()), before + count)
        return family

    def _gauge(self, name: str, meaning: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"{PREFIX}_{name}", meaning, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), value)
        return family


def _by_kind(totals: Totals) -> Iterator[tuple[ActionKind, int]]:
    yield ActionKind.TAG, totals.tags
    yield ActionKind.TAG_INDEX, totals.tag_indexes
    yield ActionKind.REVISION, totals.manifests
    yield ActionKind.LAYER_LINK, totals.layer_links
    yield ActionKind.UPLOAD, totals.uploads
    yield ActionKind.BLOB, totals.blobs
    yield ActionKind.TEMPORARY, totals.temporaries


def gc_metrics_text(work: Work, before: str = "") -> str:
    """Return the metrics in Prometheus' text format; `before` is what the file holds now."""
    registry = CollectorRegistry()
    registry.register(_WorkCollector(work, _past(before)))
    return generate_latest(registry).decode()


def _past(text: str) -> Past:
    """Return what a file says; nothing when it is no file of metrics, or not wholly one."""
    try:
        return {
            (sample.name, frozenset(sample.labels.items())): float(sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
    except ValueError:
        return {}
