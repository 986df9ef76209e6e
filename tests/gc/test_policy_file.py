"""Reading policy files: what is understood, and what is said where one is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.errors import DocumentInvalid
from regfs.gc.policy_file import load_policy
from regfs.gc.retention import RetentionPolicy

EXAMPLE = r"""
# what the registry of the house keeps
[[policies]]
repositories = ["infra/**", "prod/*"]
immutable = ["v\\d+\\.\\d+\\.\\d+"]
deleteReferrers = true
[policies.keepUntagged]
pushedWithin = "7d"
[[policies.keepTags]]
patterns = ['v.*']
mostRecentlyPushedCount = 10
createdWithin = "90d"
keepWeekly = 4
age = "created"
labels = {"com.example.keep" = "yes|always"}
semver = {by = "minor", groups = 3, keep = 2}

[[policies]]
repositories = ["**"]
delete_untagged = false
"""

TOP = '[[policies]]\nrepositories = ["**"]\n'
ENTRY = f"{TOP}[[policies.keepTags]]\n"


def refused(data: str | bytes, name: str = "policy.toml") -> str:
    with pytest.raises(DocumentInvalid) as caught:
        load_policy(data.encode() if isinstance(data, str) else data, name)
    return str(caught.value)


def test_a_policy_is_read() -> None:
    first, second = load_policy(EXAMPLE.encode(), "policy.toml").policies
    (entry,) = first.keep_tags
    assert first.repositories == ("infra/**", "prod/*")
    assert first.immutable == (r"v\d+\.\d+\.\d+",)
    assert first.keep_untagged is not None
    assert first.keep_untagged.pushed_within == 7 * 86400
    assert (entry.most_recently_pushed_count, entry.keep_weekly) == (10, 4)
    assert entry.labels == {"com.example.keep": "yes|always"}
    assert entry.semver is not None
    assert (entry.semver.by, entry.semver.groups, entry.semver.keep) == ("minor", 3, 2)
    assert (first.delete_untagged, second.delete_untagged) == (None, False)


@pytest.mark.parametrize("name", ["policy.json", "-", "policy"])
def test_a_policy_may_be_json(name: str) -> None:
    expected = load_policy(EXAMPLE.encode(), "-")
    data = b"\xef\xbb\xbf \n" + expected.model_dump_json(by_alias=True, exclude_unset=True).encode()
    assert load_policy(data, name) == expected


def test_the_ending_of_the_name_decides_first() -> None:
    assert refused("{", "a.toml").startswith("a.toml:1: not TOML: ")
    assert refused("a = 1", "a.json").startswith("a.json:1: not JSON: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f'{ENTRY}\npushedWithin = "30 days"',
            'policies[0].keepTags[0].pushedWithin: "30 days" is not a duration; '
            "use e.g. 90s, 30m, 1h, 7d or 2w",
        ),
        (
            f"{ENTRY}pushedWithin = 7",
            "policies[0].keepTags[0].pushedWithin: 7 is not a duration; "
            "use e.g. 90s, 30m, 1h, 7d or 2w",
        ),
        (
            f'{ENTRY}createdWithin = "0d"',
            'policies[0].keepTags[0].createdWithin: "0d" must be more than nothing',
        ),
        (
            f"{TOP}keepTag = []",
            "policies[0].keepTag: unknown key; did you mean keepTags? (known: "
            "repositories, immutable, deleteUntagged, keepUntagged, deleteReferrers, allowEmpty, "
            "keepTags)",
        ),
        (
            "[[policy]]\nrepositories = []",
            "policy: unknown key; did you mean policies? (known: policies)",
        ),
        (
            f"{TOP}keepTags = []\nkeep_tags = []",
            "policies[0].keep_tags: is given twice: keepTags is the same",
        ),
        ("# nothing", "policies: is missing"),
        ("\n[[policies]]\nallowEmpty = true", "policies[0].repositories: is missing"),
        ("policies = []", "policies: [] must not be empty"),
        ("policies = 3", "policies: must be an array, not 3"),
        ("policies = [\n3]", "policies[0]: must be a table, not 3"),
        ("[[policies]]\nrepositories = []", "policies[0].repositories: [] must not be empty"),
        (f"{ENTRY}patterns = []", "policies[0].keepTags[0].patterns: [] must not be empty"),
        (f"{ENTRY}labels = {{}}", "policies[0].keepTags[0].labels: {} must not be empty"),
        (f"{ENTRY}labels = 1", "policies[0].keepTags[0].labels: must be a table, not 1"),
        (f'{TOP}immutable = "x"', 'policies[0].immutable: must be an array, not "x"'),
        (f"{TOP}immutable = ['x',\n 1]", "policies[0].immutable[1]: must be a string, not 1"),
        (
            f'{TOP}deleteUntagged = "no"',
            'policies[0].deleteUntagged: must be true or false, not "no"',
        ),
        (
            f"{ENTRY}keepDaily = true",
            "policies[0].keepTags[0].keepDaily: must be a whole number, not true",
        ),
        (
            f"{ENTRY}keepDaily = 0",
            "policies[0].keepTags[0].keepDaily: must be at least 1, not 0",
        ),
        (
            f'{ENTRY}age = "pulled"',
            'policies[0].keepTags[0].age: must be "pushed" or "created", not "pulled"',
        ),
        (
            f"{ENTRY}semver = {{keep = 2}}",
            "policies[0].keepTags[0].semver.by: is missing",
        ),
        (
            f"{ENTRY}patterns = ['v(']",
            'policies[0].keepTags[0].patterns[0]: "v(" is not a regular expression: missing ) '
            "at position 2",
        ),
        (
            f"{ENTRY}patterns = ['a(?i)b']",
            'policies[0].keepTags[0].patterns[0]: "a(?i)b" is not a regular expression: '
            "flags must be at its beginning",
        ),
        (
            f"{ENTRY}labels = {{'com.x' = '['}}",
            'policies[0].keepTags[0].labels."com.x": "[" is not a regular expression: '
            "unterminated character set at position 1",
        ),
        (
            "[[policies]]\nrepositories = ['a?']",
            'policies[0].repositories[0]: "a?" is not a glob of repositories: ? has no meaning, '
            "only * and **",
        ),
        (
            "[[policies]]\nrepositories = ['a/']",
            'policies[0].repositories[0]: "a/" is not a glob of repositories: '
            "it has an empty component",
        ),
        (
            "[[policies]]\nrepositories = ['a**']",
            'policies[0].repositories[0]: "a**" is not a glob of repositories: '
            "** must be a component by itself",
        ),
        (
            f"{TOP}[policies.keepUntagged]\nsemver = {{by = 'major'}}",
            "policies[0].keepUntagged.semver: unknown key; it belongs in policies.keepTags "
            "(known: mostRecentlyPushedCount, pushedWithin, createdWithin, keepHourly, "
            "keepDaily, keepWeekly, keepMonthly, keepYearly, age, labels)",
        ),
        (
            f"{TOP}zzz = 1\nkeepTags = 1",
            "policies[0].zzz: unknown key (known: repositories",
        ),
        (
            f"{ENTRY}[policies.keepTags.semver]\nby = 'minor'\nkep = 1",
            "policies[0].keepTags[0].semver.kep: unknown key; did you mean keep? (known: "
            "by, groups, keep)",
        ),
    ],
)
def test_what_is_wrong_is_told_in_one_line_with_its_place(text: str, message: str) -> None:
    found = refused(text)
    assert found.startswith(f"policy.toml: {message}")
    assert len(found.splitlines()) == 1


@pytest.mark.parametrize("key", ["mostRecentlyPulledCount", "pulledWithin", "pulled_within"])
@pytest.mark.parametrize("where", ["[[policies.keepTags]]", "[policies.keepUntagged]"])
def test_pulls_are_refused_with_the_reason(key: str, where: str) -> None:
    found = refused(f"{TOP}{where}\n{key} = 1")
    assert found.startswith("policy.toml: policies[0].keep")
    assert f"{key}: pulls are not recorded on the disk" in found


@pytest.mark.parametrize(("key", "hint"), [("dryRun", "deletes nothing"), ("delay", "--min-age")])
def test_what_zot_says_elsewhere_is_refused_with_a_hint(key: str, hint: str) -> None:
    assert hint in refused(f"{key} = '1h'\n{TOP}")


@pytest.mark.parametrize(
    ("data", "name", "message"),
    [
        ("a = 1\nb", "p.toml", "p.toml: not TOML: Expected '=' after a key"),  # at its end
        (
            "a = 1\nb c = 1\n",
            "p.toml",
            "p.toml:2: not TOML: Expected '=' after a key in a key/value",
        ),
        ("a = 1\na = 2\n", "p.toml", "p.toml:2: not TOML: Cannot overwrite a value (column 6)"),
        ('{\n"a": ,}', "p.json", "p.json:2: not JSON: Expecting value (column 6)"),
        ("[]", "p.json", "p.json: must be a table, not []"),
        ('{"a": 1,\n"a": 1}', "p.json", "p.json: a: is given twice"),
        ("[" * 100_000, "p.json", "p.json: nested too deep"),
        ("a = " + "[" * 100_000, "p.toml", "p.toml: nested too deep"),
        (b"a = 1\n\xff", "p.toml", "p.toml:2: not text in UTF-8"),
        ("a = 1".encode("utf-16"), "p.toml", "p.toml:1: not text in UTF-8"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line_or_its_end(
    data: str | bytes, name: str, message: str
) -> None:
    assert refused(data, name).startswith(message)


@pytest.mark.parametrize(("name", "data"), [("p.json", '{"a": %s}'), ("p.toml", "a = %s")])
def test_a_number_that_is_too_long_is_refused(name: str, data: str) -> None:
    found = refused(data % ("9" * 5000), name)
    assert found.startswith(f"{name}: not {name[2:].upper()}: ")
    assert "sys." not in found


def test_a_long_value_is_cut() -> None:
    found = refused(f"{ENTRY}pushedWithin = '{'x' * 500}'")
    assert len(found) < 250
    assert "xxx... is not a duration" in found


KEYS = [
    *("policies", "repositories", "keepTags", "keep_untagged", "patterns", "pushedWithin"),
    *("semver", "by", "labels", "keepDaily", "x\n"),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from(["7d", "v.*", "major", "("]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_document_is_a_policy_or_refused_in_one_line(document: Any) -> None:
    try:
        made = load_policy(json.dumps(document, indent=1).encode(), "p.json")
    except DocumentInvalid as error:
        assert str(error).startswith("p.json:")
        assert len(str(error).splitlines()) == 1
    else:
        assert made == RetentionPolicy.model_validate(document)


@given(st.binary(max_size=40) | st.text("[]{}=\"'\\.,#ab1\n", max_size=40).map(str.encode))
def test_no_bytes_end_in_anything_but_a_refusal(data: bytes) -> None:
    for name in ("p.toml", "p.json", "p"):
        refused(data, name)
