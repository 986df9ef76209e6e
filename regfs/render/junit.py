"""A verification as JUnit XML, in the form that Jenkins and GitLab read.

    <testsuites>
      <testsuite name="regfs.verify" tests= failures= errors= skipped= time= timestamp=>
        <testcase classname="team/app" name="v1">            an image: passed,
          <failure type="blob-corrupt" message=>             or what is wrong with it
        <testcase classname="regfs.verify" name="foreign-path">
          <system-out>                                       what affects no image, by code

Errors fail a test case, warnings are its output. In an interrupted run, images without
errors are skipped, because they were not checked completely, and the run itself is a test
case with an error. There can be a million cases: they are written one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from typing import Final, NamedTuple
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

from regfs.findings import Code, Finding, Severity
from regfs.render.tables import printable
from regfs.units import rfc3339
from regfs.verify import PullableImage, Result
from regfs.verify.report import ImageDamage

SUITE: Final = "regfs.verify"
LISTED: Final = 100
"""Findings of one code that are listed in its test case; the rest are only counted."""
INTERRUPTED: Final = "the verification was interrupted"


class Case(NamedTuple):
    """One test case."""

    classname: str
    name: str
    failures: Sequence[Finding] = ()
    """Errors, as far as the result keeps them."""
    remarks: Sequence[Finding] = ()
    """Findings that do not fail it."""
    more: int = 0
    """Number of findings that are not listed."""
    skipped: str = ""
    """Why its outcome is unknown."""
    failed: bool = False
    error: str = ""
    """Why it could not be completed."""


def junit_pieces(result: Result, images: Iterable[PullableImage]) -> Iterator[str]:
    """Yield the document in pieces; `images` are all that were to be verified."""
    every = sorted(images, key=lambda image: (image.repository, image.reference))
    names = {str(image) for image in every}
    loose = [*_by_code(result, names)]
    if result.interrupted:
        loose.append(Case(SUITE, "completed", error=INTERRUPTED))
    out = StringIO()
    # The pieces are written to files as UTF-8.
    xml = XMLGenerator(out, "utf-8", short_empty_elements=True)
    xml.startDocument()
    totals = _totals(result, every, loose)
    _open(xml, "testsuites", {key: totals[key] for key in _COUNTS})
    _open(xml, "testsuite", {"name": SUITE, **totals})
    _write_properties(xml, {"root": result.root, "level": result.level.value})
    for case in (*(_image_case(result, image) for image in every), *loose):
        _write_case(xml, case)
        yield out.getvalue()
        out.seek(0)
        out.truncate()
    xml.endElement("testsuite")
    xml.endElement("testsuites")
    xml.endDocument()
    yield out.getvalue() + "\n"


_COUNTS: Final = ("tests", "failures", "errors", "skipped", "time")


def _totals(
    result: Result, images: Sequence[PullableImage], loose: Sequence[Case]
) -> dict[str, str]:
    failed = sum(1 for case in loose if case.failed)
    skipped = 0
    for image in images:
        harm = result.images.get(str(image))
        if harm is not None and harm.errors:
            failed += 1
        elif result.interrupted:
            skipped += 1
    return {
        "tests": str(len(images) + len(loose)),
        "failures": str(failed),
        "errors": str(sum(1 for case in loose if case.error)),
        "skipped": str(skipped),
        "time": f"{result.seconds:.3f}",
        "timestamp": rfc3339(result.started).removesuffix("Z"),
    }


def _image_case(result: Result, image: PullableImage) -> Case:
    harm = result.images.get(str(image), ImageDamage())
    found = [row.finding for row in harm.rows]
    failures = [finding for finding in found if finding.severity is Severity.ERROR]
    if harm.errors and not failures and harm.worst is not None:
        failures = [harm.worst.finding]  # there were so many warnings that no error was kept
    remarks = [finding for finding in found if finding.severity is not Severity.ERROR]
    more = harm.errors + harm.warnings - len(failures) - len(remarks)
    skipped = INTERRUPTED if result.interrupted and not harm.errors else ""
    names = image.repository, image.reference
    return Case(*names, failures, remarks, more, skipped, failed=harm.errors > 0)


def _by_code(result: Result, images: set[str]) -> Iterator[Case]:
    """Yield a test case for each code with findings that affect none of `images`."""
    harms = (harm for name, harm in result.images.items() if name in images)
    affecting = {id(row) for harm in harms for row in harm.rows}  # a row does not name every image
    found: dict[Code, list[Finding]] = {}
    counts: dict[Code, int] = {}
    failed: set[Code] = set()
    for row in result.findings:
        code = row.finding.code
        if id(row) in affecting or not images.isdisjoint(row.images):
            continue
        counts[code] = counts.get(code, 0) + 1
        kept = found.setdefault(code, [])
        if row.finding.severity is Severity.ERROR and code not in failed:
            failed.add(code)
            kept.insert(0, row.finding)
        elif len(kept) < LISTED:
            kept.append(row.finding)
    for (_, code), count in result.more.items():
        if code in counts:
            counts[code] += count
    for code in sorted(found):
        errors = [one for one in found[code] if one.severity is Severity.ERROR]
        rest = [one for one in found[code] if one.severity is not Severity.ERROR]
        more = counts[code] - len(found[code])
        yield Case(SUITE, code.value, errors, rest, more, failed=code in failed)


def _open(xml: XMLGenerator, name: str, about: dict[str, str]) -> None:
    xml.startElement(name, AttributesImpl(about))


def _write_properties(xml: XMLGenerator, properties: dict[str, str]) -> None:
    _open(xml, "properties", {})
    for name, value in properties.items():
        _open(xml, "property", {"name": name, "value": printable(value)})
        xml.endElement("property")
    xml.endElement("properties")


def _write_case(xml: XMLGenerator, case: Case) -> None:
    names = {"classname": printable(case.classname), "name": printable(case.name)}
    _open(xml, "testcase", names)
    more = [f"and {case.more} more"] if case.more else []
    if case.failures:
        first = case.failures[0]
        about = {"type": first.code.value, "message": f"{printable(first.message)} [{first.code}]"}
        _write(xml, "failure", about, [*map(_text, case.failures), *more])
    elif case.error:
        _write(xml, "error", {"message": case.error}, [])
    elif case.skipped:
        _write(xml, "skipped", {"message": case.skipped}, [])
    if case.remarks:
        _write(xml, "system-out", {}, [*map(_text, case.remarks), *([] if case.failures else more)])
    xml.endElement("testcase")


def _write(xml: XMLGenerator, name: str, about: dict[str, str], lines: Sequence[str]) -> None:
    _open(xml, name, about)
    xml.characters("\n".join(lines))
    xml.endElement(name)


def _text(finding: Finding) -> str:
    # printable escapes every character that XML cannot hold.
    return f"{printable(finding)}\n    {finding.remedy}"
