"""A verification as metrics for Prometheus, for node_exporter's textfile collector.

    regfs_verify_blobs_total{root="/srv/registry",level="digests"} 31.0
    regfs_verify_findings{root=..., level=..., severity="error", code="blob-corrupt"} 1.0

A file has the outcome of the last run. Its totals start again each time, which Prometheus
takes for the reset of a counter. Only the time of the last completed run is kept by a run
that was interrupted, because alerts depend on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector, CollectorRegistry

from regfs.findings import Severity
from regfs.render.tables import printable
from regfs.verify import Result

PREFIX: Final = "regfs_verify"
COMPLETED: Final = f"{PREFIX}_last_completed_timestamp_seconds"


class _VerifyCollector(Collector):
    """Collects the metrics of one result."""

    def __init__(self, result: Result, completed: float | None) -> None:
        self._result = result
        self._completed = completed
        self._labels = _labels(result)

    def collect(self) -> Iterable[Metric]:
        """Yield every metric."""
        yield from self._counters()
        result = self._result
        found = GaugeMetricFamily(
            f"{PREFIX}_findings",
            "Findings of the last run by severity and code.",
            labels=[*self._labels, "severity", "code"],
        )
        for (severity, code), count in sorted(result.counts.items()):
            found.add_metric([*self._labels.values(), severity.value, code.value], count)
        yield found
        damaged = sum(1 for harm in result.images.values() if harm.errors)
        yield self._gauge("damaged_images", "Images that the last run found damaged.", damaged)
        took = "How long the last run took."
        yield self._gauge("duration_seconds", took, result.seconds)
        good = not result.interrupted and result.severity is not Severity.ERROR
        meaning = "Whether the last run completed without an error (1) or not (0)."
        yield self._gauge("success", meaning, int(good))
        meaning = "Whether the last run was interrupted (1) or completed (0)."
        yield self._gauge("interrupted", meaning, int(result.interrupted))
        if self._completed is not None:
            name = COMPLETED.removeprefix(f"{PREFIX}_")
            yield self._gauge(name, "When a run last completed.", self._completed)

    def _counters(self) -> Iterator[Metric]:
        done = self._result.checked
        counts = self._result.counts.items()
        errors = sum(count for (severity, _), count in counts if severity is Severity.ERROR)
        for name, count, meaning in (
            ("blobs", done.blobs, "Blobs that the last run checked."),
            ("bytes", done.bytes, "Bytes that the last run hashed, each blob once."),
            ("links", done.links, "Links that the last run read."),
            ("manifests", done.manifests, "Manifests that the last run read."),
            ("errors", errors, "Findings of severity error of the last run."),
        ):
            family = CounterMetricFamily(f"{PREFIX}_{name}", meaning, labels=list(self._labels))
            family.add_metric(list(self._labels.values()), count)
            yield family

    def _gauge(self, name: str, meaning: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"{PREFIX}_{name}", meaning, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), value)
        return family


def metrics_text(result: Result, before: str = "") -> str:
    """Return the metrics in Prometheus' text format; `before` is the present content."""
    completed = _completed(before, result) if result.interrupted else result.finished
    registry = CollectorRegistry()
    registry.register(_VerifyCollector(result, completed))
    return generate_latest(registry).decode()


def _labels(result: Result) -> dict[str, str]:
    return {"root": printable(result.root), "level": result.level.value}


def _completed(text: str, result: Result) -> float | None:
    """Return when a run of the same tree and level last completed, according to `text`."""
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == COMPLETED and sample.labels == _labels(result):
                    return float(sample.value)
    except ValueError:
        pass  # it is not a file of metrics yet
    return None
