"""Requests to a bucket: counted by kind, and spread over time."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path

import pytest

from regfs.cli.app import run
from regfs.cli.session import Exit
from regfs.stores import open_store
from regfs.stores.bucket.meter import Meter
from tests.make_fixtures import TREES
from tests.support.buckets import NAME, bucket_of

ROOT = f"s3://{NAME}"
KINDS = {"list", "get", "head", "put", "copy", "delete"}
PRICES = "list = 5\nget = 0.4\nout = 90\ncurrency = 'EUR'\n"


class Clock:
    """A clock that only pauses move on."""

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def pause(self, seconds: float) -> None:
        self.time += seconds


def test_requests_are_spread_over_time() -> None:
    clock = Clock()
    meter = Meter(10, clock=clock.now, pause=clock.pause)
    for _ in range(31):
        meter.send("get")
    assert clock.time == pytest.approx(103.0)
    clock.time += 60  # what was not used is not made up for
    before = clock.time
    meter.send("put", 10)
    meter.send("get")
    assert clock.time == pytest.approx(before + 1.0)
    assert meter.counts == {"get": 32, "put": 10}


def test_without_a_limit_nobody_waits() -> None:
    clock = Clock()
    meter = Meter(clock=clock.now, pause=clock.pause)
    for _ in range(1000):
        meter.send("list")
    assert clock.time == 100.0


def test_another_process_has_the_limit_and_counts_for_itself() -> None:
    meter = Meter(7)
    meter.send("get")
    other = pickle.loads(pickle.dumps(meter))
    assert (other.most, other.counts) == (7, {})


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert run(["-r", ROOT, *arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert isinstance(document, dict)
    return document


def test_json_counts_what_the_server_was_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with bucket_of(TREES / "whole") as bucket:
        for arguments in (["du"], ["gc", "plan"], ["verify"], ["show", "app:v1"]):
            bucket.requests.clear()
            counted = answer(capsys, *arguments)["requests"]
            assert isinstance(counted, dict)
            assert counted.keys() <= KINDS
            assert {kind: n for kind, n in bucket.requests.items() if n} == counted, arguments


def test_a_run_counts_what_it_changes(capsys: pytest.CaptureFixture[str]) -> None:
    with bucket_of(TREES / "whole") as bucket:
        bucket.requests.clear()
        made = answer(capsys, "gc", "run", "--yes", "--offline", "-m", "--min-age", "0")["requests"]
        assert isinstance(made, dict)
        assert made["copy"] > 0
        assert made["delete"] > 0
        # The lock is given back after the answer.
        assert 0 <= sum(bucket.requests.values()) - sum(made.values()) <= 2


def test_a_folder_is_asked_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-r", str(TREES / "whole"), "du", "--json"]) == 0
    assert "requests" not in json.loads(capsys.readouterr().out)


def test_verbose_says_what_was_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with bucket_of(TREES / "whole"):
        assert run(["-r", ROOT, "ls", "-v"]) == 0
        assert "requests: " in capsys.readouterr().err
        assert run(["-r", ROOT, "ls"]) == 0
        assert "requests: " not in capsys.readouterr().err


def test_the_limit_reaches_all_that_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    send = Meter.send

    def noted(meter: Meter, kind: str, count: int = 1) -> None:
        seen.add(meter.most)
        send(meter, kind, count)

    monkeypatch.setattr(Meter, "send", noted)
    with bucket_of(TREES / "whole"):
        assert run(["-r", ROOT, "--max-requests-per-second", "100000", "ls", "--uploads"]) == 0
        assert seen == {100000}
        seen.clear()
        open_store(ROOT).snapshot()
        assert seen == {math.inf}


@pytest.mark.parametrize("text", ["0", "-1", "often"])
def test_a_limit_is_a_number_above_nothing(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-r", ROOT, "--max-requests-per-second", text, "ls"]) == Exit.USAGE.value
    assert "--max-requests-per-second" in capsys.readouterr().err


def test_info_says_what_a_plan_and_a_verify_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(PRICES)
    with bucket_of(TREES / "whole") as bucket:
        found = answer(capsys, "info", "--prices", str(file))["costs"]
        assert isinstance(found, dict)
        plan, verify = found["plan"], found["verify"]
        blobs = [one.data for key, one in bucket.objects.items() if "/blobs/" in key]
        assert (verify["get"], verify["bytes"]) == (len(blobs), sum(map(len, blobs)))
        expected = plan["list"] * 0.005 + plan["get"] * 0.0004 + plan["bytes"] * 90 / 1e9
        assert plan["money"] == pytest.approx(expected)
        assert (found["plan_again"]["get"], found["currency"]) == (0, "EUR")
        bucket.requests.clear()
        answer(capsys, "gc", "plan")
        # Besides the tree a plan looks for the runs of before.
        assert 0 <= bucket.requests["list"] - plan["list"] <= 3
        assert 0 <= bucket.requests["get"] - plan["get"] <= 1
        assert run(["-r", ROOT, "info", "--prices", str(file)]) == 0
        assert " EUR" in capsys.readouterr().out
        assert run(["-r", ROOT, "info"]) == 0
        out = capsys.readouterr().out
        assert "listing page" in out
        assert "USD" not in out


@pytest.mark.parametrize(
    ("text", "words"),
    [("list = 1", "get"), (PRICES + "puts = 1", "unknown key"), ("list = -1\nget = 1", "list")],
)
def test_prices_that_cannot_be_meant_are_refused_in_a_line(
    text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(text)
    arguments = ["-r", str(TREES / "whole"), "info", "--prices", str(file)]
    assert run(arguments) == Exit.USAGE.value
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_the_costs_of_a_folder_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-r", str(TREES / "whole"), "info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["costs"] is None
