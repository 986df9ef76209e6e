"""Results of verify made by hand, and a reader of its JUnit documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from regfs.findings import Code, Finding
from regfs.verify import Checked, Level, Result
from regfs.verify.report import Collector

ERROR = Finding(Code.BLOB_CORRUPT, "blobs/a")
WARNING = Finding(Code.FOREIGN_PATH, "stray")
LEFTOVER = Finding(Code.DIRECTORY_EMPTY, "empty")


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


def states(suite: ElementTree.Element) -> dict[str, str]:
    """Return what became of each test case."""
    found = {}
    for case in suite.findall("testcase"):
        verdicts = [child.tag for child in case if child.tag != "system-out"]
        name = f"{case.attrib['classname']} {case.attrib['name']}"
        found[name] = verdicts[0] if verdicts else "passed"
    return found


LAST = "regfs_verify_last_completed_timestamp_seconds"
