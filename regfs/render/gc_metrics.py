"""What collections did as metrics for Prometheus, for node_exporter's textfile collector.

    regfs_gc_runs_total{root="/srv/registry"} 12.0
    regfs_gc_deleted_total{root="/srv/registry",kind="blob"} 4711.0

Counters continue from the values that the file already has for the same root. A command
that fails writes nothing, so alert on the time of the last one that completed.
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
    """When it completed, in seconds since the epoch, UTC."""
    deleted: Totals
    freed: int
    """Bytes deleted for good."""
    quarantined: int
    """Bytes in quarantine, of all collections."""


Past = dict[tuple[str, frozenset[tuple[str, str]]], float]
"""Sample -> its value."""


class _WorkCollector(Collector):
    """Collects the metrics of one command, added to those before."""

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
        waiting = "Bytes that wait in quarantine to be purged or restored."
        yield self._gauge("quarantined_bytes", waiting, work.quarantined)
        when = "When a command last completed."
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
    """Return the metrics in Prometheus' text format; `before` is the present content."""
    registry = CollectorRegistry()
    registry.register(_WorkCollector(work, _past(before)))
    return generate_latest(registry).decode()


def _past(text: str) -> Past:
    """Return the samples of a file; empty if it is not a valid file of metrics."""
    try:
        return {
            (sample.name, frozenset(sample.labels.items())): float(sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
    except ValueError:
        return {}
