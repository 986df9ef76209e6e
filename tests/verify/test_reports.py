"""What a verification tells: in words, as JUnit XML to CI servers, as metrics to Prometheus."""

from __future__ import annotations

import os
import stat
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from regfs.cli.app import run
from regfs.findings import Code, Finding
from regfs.graph import build_graph
from regfs.render.junit import junit_pieces
from regfs.render.metrics import metrics_text
from regfs.render.verify import show_result, verdict
from regfs.stores import open_store
from regfs.tree.registry import Registry
from regfs.tree.scan import scan
from regfs.units import human_duration
from regfs.verify import Checked, Level, PullableImage, Result, VerifyOptions, images_of, verify
from regfs.verify.report import HARM_LIMIT, Collector
from tests.support.builder import TreeBuilder, artifact, digest_of, image, index
from tests.support.damage import DAMAGE
from tests.support.registries import build, new_tree, recipes
from tests.support.verification import BASE, V1, check, stocked

Said = pytest.CaptureFixture[str]

ERROR = Finding(Code.BLOB_CORRUPT, "blobs/a")
WARNING = Finding(Code.FOREIGN_PATH, "stray")
LEFTOVER = Finding(Code.DIRECTORY_EMPTY, "empty")


@pytest.fixture
def shop(tree: TreeBuilder) -> TreeBuilder:
    return stocked(tree)


class Hurt:
    """Says that every finding touches the same images."""

    def __init__(self, *names: str) -> None:
        self._names = set(names)

    def images(self, finding: Finding) -> set[str]:
        return self._names


def made(
    *findings: Finding, images: Sequence[str] = (), interrupted: bool = False, **more: Any
) -> Result:
    """Make a result in which every error and warning touches `images`."""
    collector = Collector(Hurt(*images), lambda finding: True, None)
    for finding in findings:
        collector.add(finding)
    values = {"started": 1_000_000.0, "finished": 1_000_002.0, **more}
    checked = Checked(3, 4_000_000, 5, 1)
    rows = tuple(collector.rows)
    return Result(
        "/srv/registry", Level.DIGESTS, checked, rows, interrupted, collector.images, **values
    )


def images_in(tree: TreeBuilder, *targets: str, level: Level = Level.DIGESTS) -> list[str]:
    registry = Registry(open_store(str(tree.root)))
    inventory = scan(registry.store)
    graph = build_graph(inventory, registry) if level.covers(Level.SIZES) else None
    meant = [registry.find(target) for target in targets]
    return [str(one) for one in images_of(meant, inventory, graph)]


# -- in words -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (made(), "no problems found"),
        (made(LEFTOVER), "no errors; 1 leftover of normal use"),
        (made(WARNING, LEFTOVER), "no errors; 1 warning to look at"),
        (made(ERROR, WARNING, images=["a:v1"]), "1 image is damaged"),
        (made(ERROR, images=["a:v1", "a:v2"]), "2 images are damaged"),
        (made(ERROR), "1 error, but no image is known to be damaged"),
        (made(WARNING, images=["a:v1"]), "no errors; 1 warning to look at"),
        (made(ERROR, images=["a:v1"], interrupted=True), "1 image is damaged so far"),
        (made(interrupted=True), "no problems found so far"),
    ],
)
def test_the_verdict_is_one_plain_line(result: Result, words: str) -> None:
    assert verdict(result) == words


def shown(result: Result, *, verbose: int = 0) -> tuple[str, list[str]]:
    console = Console(width=200)
    notes: list[str] = []
    with console.capture() as captured:
        show_result(console, result, verbose=verbose, note=notes.append)
    return captured.get(), notes


def test_the_summary_ends_with_the_time_taken_and_the_rate() -> None:
    assert shown(made())[0].endswith("no problems found\ntook 2 s, 2 MB/s\n")
    assert shown(made(finished=1_000_000.0))[0].endswith("took 0.01 s\n")


def test_each_image_is_listed_with_what_is_worst() -> None:
    other = Finding(Code.BLOB_MISSING, "blobs/b")
    out, _ = shown(made(WARNING, ERROR, other, images=["a:v1"]))
    (row,) = [line.split() for line in out.splitlines() if line.startswith("a:v1")]
    assert row == ["a:v1", "2", "1", "blob-corrupt"]


def test_many_images_are_listed_on_demand() -> None:
    result = made(ERROR, images=[f"a:{number:02}" for number in range(30)])
    short, notes = shown(result)
    assert short.count("blob-corrupt") == 1 + 20
    assert notes == ["regfs: and 10 more images; -v lists them"]
    everything, notes = shown(result, verbose=1)
    assert everything.count("blob-corrupt") == 1 + 30
    assert notes == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0.01 s"),
        (0.421, "0.42 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (3605, "1 h"),
        (7 * 3600 + 120, "7 h 2 min"),
        (2 * 86400 + 5 * 3600 + 59, "2 d 5 h"),
    ],
)
def test_durations_are_told_in_two_units(seconds: float, words: str) -> None:
    assert human_duration(seconds) == words


def test_a_clock_that_is_set_back_takes_no_time() -> None:
    assert made(finished=1.0).seconds == 0


def test_the_time_of_listing_counts_where_the_caller_says_so(shop: TreeBuilder) -> None:
    registry = Registry(open_store(str(shop.root)))
    times = iter([110.0, 150.0])
    result = verify(
        registry,
        scan(registry.store),
        options=VerifyOptions(started=100.0, clock=lambda: next(times)),
    )
    assert (result.started, result.finished) == (100.0, 110.0)
    assert check(shop, clock=iter([1.0, 3.0]).__next__).seconds == 2


# -- by image -----------------------------------------------------------------


def test_findings_of_an_image_are_counted_beyond_those_that_are_kept() -> None:
    warnings = [Finding(Code.FOREIGN_PATH, str(number)) for number in range(HARM_LIMIT)]
    harm = made(*warnings, ERROR, images=["a:v1"]).images["a:v1"]
    assert (harm.errors, harm.warnings, len(harm.rows)) == (1, HARM_LIMIT, HARM_LIMIT)
    assert harm.worst is not None
    assert harm.worst.finding is ERROR


def test_an_image_beyond_those_that_are_named_is_known(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regfs.verify.report.IMAGES_LIMIT", 1)
    pushed = tree.push("app", "t1", image([BASE]))
    tree.tag("app", "t2", pushed)
    tree.break_("blob-flipped", "app", "t1")
    result = check(tree)
    assert result.images.keys() == {"app:t1", "app:t2"}
    assert "2 images are damaged" in shown(result)[0]


def test_the_images_of_a_tree_are_its_tags_and_what_no_tag_reaches(shop: TreeBuilder) -> None:
    subject = image(["untagged"])
    shop.push("app", None, index(subject))
    signature = artifact(["signature"], subject=V1)
    shop.push("app", None, signature)
    untagged = {f"app@{index(subject).digest}", f"app@{signature.digest}"}
    tags = {"app:v1", "app:whole", "team/x:multi"}
    assert set(images_in(shop)) == tags | untagged
    assert set(images_in(shop, level=Level.LINKS)) == tags


def test_images_are_those_that_were_asked_for(shop: TreeBuilder) -> None:
    shop.push("app/nested", "v1", image(["nested"]))
    assert images_in(shop, "app") == ["app:v1", "app:whole"]
    assert images_in(shop, "app:v1", "team/x") == ["app:v1", "team/x:multi"]
    assert images_in(shop, f"app@{V1.digest}") == ["app:v1"]
    assert set(images_in(shop, digest_of(BASE))) == {"app:v1", "app:whole", "team/x:multi"}


@given(recipes(), st.sampled_from(sorted(DAMAGE)))
def test_findings_touch_images_of_the_tree_only(recipe: Any, kind: str) -> None:
    with new_tree() as folder:
        tree = build(folder, recipe)
        tree.push("victim", "v1", V1)
        tree.push("victim", "multi", index(V1, image(["arm"], platform="linux/arm64")))
        tree.break_(kind, "victim", "v1")
        for level in Level:
            result = check(tree, level=level)
            known = images_in(tree, level=level)
            assert len(known) == len(set(known))
            assert result.images.keys() <= set(known)


# -- JUnit --------------------------------------------------------------------

ALLOWED = {
    "testsuites": ({"testsuite"}, {"tests", "failures", "errors", "skipped", "time"}),
    "testsuite": (
        {"properties", "testcase"},
        {"name", "tests", "failures", "errors", "skipped", "time", "timestamp"},
    ),
    "properties": ({"property"}, set()),
    "property": (set(), {"name", "value"}),
    "testcase": ({"failure", "error", "skipped", "system-out"}, {"classname", "name"}),
    "failure": (set(), {"type", "message"}),
    "error": (set(), {"message"}),
    "skipped": (set(), {"message"}),
    "system-out": (set(), set()),
}
"""Element -> elements in it and attributes of it, of those that Jenkins' schema has."""


def parsed(text: str) -> ElementTree.Element:
    """Parse a document; check that it has the form that is agreed on, and counts rightly."""
    top = ElementTree.fromstring(text)
    assert top.tag == "testsuites"
    for element in top.iter():
        children, attributes = ALLOWED[element.tag]
        assert {child.tag for child in element} <= children
        assert element.keys() == attributes or set(element.keys()) == attributes
    (suite,) = top
    cases = suite.findall("testcase")
    for name, wanted in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        assert int(suite.attrib[wanted]) == sum(1 for case in cases if case.find(name) is not None)
    assert int(suite.attrib["tests"]) == len(cases)
    assert len({(case.attrib["classname"], case.attrib["name"]) for case in cases}) == len(cases)
    return suite


def junit(result: Result, *images: PullableImage) -> ElementTree.Element:
    return parsed("".join(junit_pieces(result, images)))


def states(suite: ElementTree.Element) -> dict[str, str]:
    """Return what became of each test case."""
    found = {}
    for case in suite.findall("testcase"):
        verdicts = [child.tag for child in case if child.tag != "system-out"]
        name = f"{case.attrib['classname']} {case.attrib['name']}"
        found[name] = verdicts[0] if verdicts else "passed"
    return found


def text_of(suite: ElementTree.Element, name: str, kind: str) -> str:
    (element,) = suite.findall(f"testcase[@name='{name}']/{kind}")
    return element.text or ""


def test_each_image_is_a_test_case(shop: TreeBuilder) -> None:
    damaged = shop.break_("blob-flipped", "app", "v1")
    untagged = shop.push("app", None, image(["untagged"]))
    stray = shop.break_("foreign-file", "app", "v1")
    target = shop.root / "verify.xml"
    assert run(["-r", str(shop.root), "verify", "-q", "--junit", str(target)]) == 1
    suite = parsed(target.read_text())
    assert states(suite) == {
        "app v1": "failure",
        "app whole": "passed",
        f"app @{untagged}": "passed",
        "team/x multi": "passed",
        "regfs.verify foreign-path": "passed",
    }
    failure = text_of(suite, "v1", "failure")
    assert "blob-corrupt" in failure
    assert damaged in failure
    assert stray in text_of(suite, "foreign-path", "system-out")


def test_the_suite_says_when_and_how_long() -> None:
    suite = junit(made(), PullableImage("app", "v1"))
    assert suite.attrib["timestamp"] == "1970-01-12T13:46:40"
    assert suite.attrib["time"] == "2.000"
    properties = {one.attrib["name"]: one.attrib["value"] for one in suite.iter("property")}
    assert properties == {"root": "/srv/registry", "level": "digests"}


def test_warnings_are_what_a_passed_test_says() -> None:
    suite = junit(made(WARNING, images=["app:v1"]), PullableImage("app", "v1"))
    assert states(suite) == {"app v1": "passed"}
    assert "foreign-path" in text_of(suite, "v1", "system-out")


def test_an_error_that_touches_no_image_fails_a_test_of_its_own() -> None:
    suite = junit(made(LEFTOVER, ERROR), PullableImage("app", "v1"))
    assert states(suite) == {
        "app v1": "passed",
        "regfs.verify blob-corrupt": "failure",
        "regfs.verify directory-empty": "passed",
    }


def test_an_image_that_was_not_asked_for_is_no_test_case_but_its_finding_is_kept() -> None:
    suite = junit(made(ERROR, images=["other:v1"]), PullableImage("app", "v1"))
    assert states(suite) == {"app v1": "passed", "regfs.verify blob-corrupt": "failure"}


def test_images_beyond_those_that_a_finding_names_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regfs.verify.report.IMAGES_LIMIT", 1)
    result = made(ERROR, images=["a:1", "a:2"])
    assert states(junit(result, PullableImage("a", "1"), PullableImage("a", "2"))) == {
        "a 1": "failure",
        "a 2": "failure",
    }
    assert states(junit(result, PullableImage("a", "2"))) == {"a 2": "failure"}


def test_a_flood_of_findings_is_cut_and_counted() -> None:
    strays = [Finding(Code.FOREIGN_PATH, f"stray {number}") for number in range(250)]
    suite = junit(made(*strays, ERROR))
    lines = text_of(suite, "foreign-path", "system-out").splitlines()
    assert lines[-1] == "and 150 more"
    assert sum("stray" in line for line in lines) == 100
    suite = junit(made(*strays, ERROR, images=["app:v1"]), PullableImage("app", "v1"))
    assert states(suite) == {"app v1": "failure"}
    assert "blob-corrupt" in text_of(suite, "v1", "failure")


def test_an_interrupted_run_passes_nothing_it_has_not_seen() -> None:
    result = made(ERROR, images=["app:v1"], interrupted=True)
    suite = junit(result, PullableImage("app", "v1"), PullableImage("app", "v2"))
    assert states(suite) == {
        "app v1": "failure",
        "app v2": "skipped",
        "regfs.verify completed": "error",
    }


@given(st.text(st.characters(codec=None), max_size=8), st.text(max_size=8))
def test_any_name_gives_a_document_that_can_be_parsed(odd: str, other: str) -> None:
    name = odd.replace("/", "")
    finding = Finding(Code.FOREIGN_PATH, f"{name}]]>&<", actual=other)
    suite = junit(made(finding, ERROR, images=[f"app:{name}"]), PullableImage("app", name))
    assert states(suite).popitem()[1] == "failure"


def test_bytes_that_are_no_text_are_escaped(shop: TreeBuilder, tmp_path: Path) -> None:
    shop.write(shop.v2 / os.fsdecode(b"repositories/app/\x1b\xff"), b"x")
    target = tmp_path / "verify.xml"
    assert run(["-r", str(shop.root), "verify", "-q", "--junit", str(target)]) == 0
    assert r"\x1b\xff" in text_of(parsed(target.read_text()), "foreign-path", "system-out")


# -- metrics ------------------------------------------------------------------


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


LAST = "regfs_verify_last_completed_timestamp_seconds"


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


# -- files --------------------------------------------------------------------


def verified(tree: TreeBuilder, *arguments: str) -> int:
    return run(["-r", str(tree.root), "verify", *arguments])


def test_a_report_replaces_what_was_there_and_leaves_nothing_beside_it(
    shop: TreeBuilder, tmp_path: Path
) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    kept = folder / "kept.prom"
    kept.write_text("old")
    kept.chmod(0o640)
    (folder / "regfs.prom").symlink_to("kept.prom")
    with kept.open() as opened:  # who has it open reads the old one to its end
        assert verified(shop, "-q", "--metrics", str(folder / "regfs.prom")) == 0
        assert opened.read() == "old"
    assert kept.read_text().startswith("# HELP regfs_verify")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o640
    assert sorted(path.name for path in folder.iterdir()) == ["kept.prom", "regfs.prom"]


def test_new_reports_can_be_read_by_others(shop: TreeBuilder, tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        assert verified(shop, "-q", "--metrics", str(tmp_path / "m.prom")) == 0
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "m.prom").stat().st_mode) == 0o644


def test_a_report_can_go_into_a_pipe(shop: TreeBuilder, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    assert verified(shop, "-q", "--junit", str(pipe)) == 0
    reader.join()
    assert parsed(read[0]).attrib["tests"] == "3"
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("option", ["--junit", "--metrics"])
def test_a_report_on_standard_output_is_alone_there(
    shop: TreeBuilder, capsys: Said, option: str
) -> None:
    shop.break_("blob-flipped", "app", "v1")
    assert verified(shop, "-v", option, "-") == 1
    said = capsys.readouterr()
    assert said.out.startswith({"--junit": "<?xml", "--metrics": "# HELP"}[option])
    assert "affects app:v1" in said.err
    assert "1 image is damaged" in said.err
    if option == "--junit":
        parsed(said.out)
    else:
        assert list(text_string_to_metric_families(said.out))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--junit", "-", "--metrics", "-"],
        ["--junit", "-", "--json"],
        ["--metrics", "-", "--ndjson"],
    ],
)
def test_two_documents_do_not_fit_on_standard_output(
    shop: TreeBuilder, capsys: Said, arguments: list[str]
) -> None:
    assert verified(shop, *arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "only one document" in said.err


def test_a_report_that_cannot_be_written_is_told_after_all_the_rest(
    shop: TreeBuilder, tmp_path: Path, capsys: Said
) -> None:
    shop.break_("blob-flipped", "app", "v1")
    absent, written = tmp_path / "absent/verify.xml", tmp_path / "regfs.prom"
    assert verified(shop, "--junit", str(absent), "--metrics", str(written)) == 5
    said = capsys.readouterr()
    assert "1 image is damaged" in said.out
    assert said.err == f"regfs: {absent}: No such file or directory\n"
    assert written.exists()


def test_no_report_is_written_into_a_tree(shop: TreeBuilder, capsys: Said) -> None:
    inside = shop.v2 / "blobs/verify.xml"
    assert verified(shop, "--junit", str(inside)) == 2
    assert "inside a registry tree" in capsys.readouterr().err
    assert not inside.exists()


def test_what_was_found_before_a_key_is_in_every_report(
    shop: TreeBuilder, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.break_("tag-current-newline", "app", "whole")

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("regfs.verify.levels.hash_all", interrupt)
    reports = tmp_path / "verify.xml", tmp_path / "regfs.prom"
    assert verified(shop, "--junit", str(reports[0]), "--metrics", str(reports[1])) == 130
    assert "1 image is damaged so far" in capsys.readouterr().out
    assert Counter(states(parsed(reports[0].read_text())).values()) == {
        "failure": 1,
        "skipped": 2,
        "error": 1,
    }
    text = reports[1].read_text()
    assert 'code="link-invalid"' in text
    assert LAST not in text
