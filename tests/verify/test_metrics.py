"""Results of verify as metrics for Prometheus."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from regfs.render.metrics import metrics_text
from tests.support.results import ERROR, LAST, LEFTOVER, WARNING, made


def samples(text: str) -> dict[str, float]:
    """Return each sample's value by its name, with its severity and code if it has them."""
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            labels = dict(sample.labels)
            assert (labels.pop("root"), labels.pop("level")) == ("/srv/registry", "digests")
            found[" ".join([sample.name, *map(labels.__getitem__, sorted(labels))])] = sample.value
    return found


def test_the_metrics_of_a_run() -> None:
    text = metrics_text(made(ERROR, WARNING, LEFTOVER, images=["app:v1"]))
    assert samples(text) == {
        "regfs_verify_blobs_total": 3,
        "regfs_verify_bytes_total": 4_000_000,
        "regfs_verify_links_total": 5,
        "regfs_verify_manifests_total": 1,
        "regfs_verify_errors_total": 1,
        "regfs_verify_findings blob-corrupt error": 1,
        "regfs_verify_findings foreign-path warning": 1,
        "regfs_verify_findings directory-empty info": 1,
        "regfs_verify_damaged_images": 1,
        "regfs_verify_duration_seconds": 2,
        "regfs_verify_success": 0,
        "regfs_verify_interrupted": 0,
        "regfs_verify_last_completed_timestamp_seconds": 1_000_002,
    }


def test_types_follow_the_naming_rules_of_prometheus() -> None:
    kinds = {}
    for line in metrics_text(made(ERROR)).splitlines():
        if line.startswith("# TYPE"):
            _, _, name, kind = line.split()
            kinds[name] = kind
    assert {name for name, kind in kinds.items() if kind == "counter"} == {
        name for name in kinds if name.endswith("_total")
    }
    assert set(kinds.values()) == {"counter", "gauge"}
    assert not [name for name in kinds if name.endswith("_created")]


def test_success_is_a_run_that_ended_without_an_error() -> None:
    assert samples(metrics_text(made(WARNING)))["regfs_verify_success"] == 1
    assert samples(metrics_text(made(interrupted=True)))["regfs_verify_success"] == 0
    assert samples(metrics_text(made(interrupted=True)))["regfs_verify_interrupted"] == 1


def test_an_interrupted_run_keeps_the_time_of_the_last_that_was_not() -> None:
    before = metrics_text(made())
    after = metrics_text(made(interrupted=True, finished=2_000_000.0), before)
    assert samples(after)[LAST] == 1_000_002
    again = metrics_text(made(interrupted=True, finished=3_000_000.0), after)
    assert samples(again)[LAST] == 1_000_002
    assert samples(metrics_text(made(finished=4_000_000.0), again))[LAST] == 4_000_000


@pytest.mark.parametrize("before", ["", "not { metrics", f"{LAST} nonsense", f"{LAST} 7\n"])
def test_what_is_no_time_of_this_tree_is_not_kept(before: str) -> None:
    assert LAST not in samples(metrics_text(made(interrupted=True), before))


def test_a_root_of_any_name_can_be_a_label() -> None:
    odd = replace(made(), root=os.fsdecode(b'/srv/"\\\n\xff'))
    (root,) = {
        sample.labels["root"]
        for family in text_string_to_metric_families(metrics_text(odd))
        for sample in family.samples
    }
    assert root == r'/srv/"\\n\xff'
