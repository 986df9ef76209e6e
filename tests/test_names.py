"""Who may be named what, and which tags are named after a manifest."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.digest import ALGORITHMS, Digest
from regfs.errors import NameInvalid, TagInvalid
from regfs.layout import TagCurrent, key_of, path_of
from regfs.names import check_name, check_tag, fallback_tag, name_problem, subject_tag
from tests.support import strategies

HEX = "ab" + "0123456789" * 6 + "cd"
D = Digest.parse(f"sha256:{HEX}")

# The grammar as the reference registry states it, without ports and IPv6 hosts,
# which its storage refuses.
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*"
_HOST_PART = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_NAME = re.compile(
    rf"(?:{_HOST_PART}(?:\.{_HOST_PART})*/)?{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII
)


@given(st.text("aB1._-/", max_size=10) | strategies.names() | st.text(max_size=6))
def test_a_name_is_fine_when_the_reference_registry_says_so(name: str) -> None:
    assert (name_problem(name) is None) == bool(_NAME.fullmatch(name))


@pytest.mark.parametrize(
    "name",
    [
        *("a", "a/b", "a/b/c", "a__b", "a---b", "0", "a.b_c-d", "Team/app", "My-Host.io/x"),
        *("tags/list", "blobs/uploads", "manifests/x"),
        *("a" * 255, "x/" + "a" * 255, "a/" * 127 + "a"),
    ],
)
def test_legal_names(name: str) -> None:
    check_name(name)
    assert key_of(path_of(TagCurrent(name, "v1"))) == TagCurrent(name, "v1")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "is empty"),
        ("App", "'App'"),
        ("team/App", "'App'"),
        ("a//b", "empty component"),
        ("/a", "empty component"),
        ("a/", "empty component"),
        ("a/_layers", "'_layers'"),
        ("a___b", "'a___b'"),
        ("a._b", "'a._b'"),
        ("-a", "'-a'"),
        ("a\n", r"'a\n'"),
        ("..", "'..'"),
        ("localhost:5000/foo", "'localhost:5000'"),
        ("caf\udce9", r"'caf\xe9'"),
        ("\u0661", "'\u0661'"),
        ("a" * 256, "longer than 255"),
        ("x/" + "a" * 256, "longer than 255"),
        ("a" * 256 + "/x", "longer than 255"),
        ("x_y/" + "a" * 252, "longer than 255"),
    ],
)
def test_illegal_names_are_refused_in_words(name: str, reason: str) -> None:
    assert reason in (name_problem(name) or "")
    with pytest.raises(NameInvalid, match=re.escape(reason)):
        check_name(name)


@given(strategies.tags())
def test_legal_tags(tag: str) -> None:
    check_tag(tag)


@pytest.mark.parametrize(
    "tag", ["", ".a", "-a", "a/b", "a:b", "a b", "a" * 129, "a\n", "caf\u00e9", "v\u0661", "\udcff"]
)
def test_illegal_tags_are_refused(tag: str) -> None:
    with pytest.raises(TagInvalid):
        check_tag(tag)


@pytest.mark.parametrize(("algorithm", "size"), ALGORITHMS.items())
def test_the_fallback_tag_names_its_subject(algorithm: str, size: int) -> None:
    subject, other = (
        Digest(f"{algorithm}:{'ab' * (size // 2)}"),
        Digest(f"{algorithm}:{'0' * size}"),
    )
    found = subject_tag(fallback_tag(subject))
    assert found is not None
    assert found.is_fallback
    assert (found.algorithm, len(found.digits), found.holds) == (algorithm, 64, "referrers")
    assert found.among([other, subject]) == [subject]
    assert not found.names(other)
    assert not found.names(None)


@pytest.mark.parametrize(
    "tag",
    [
        "v1",
        f"sha256-{HEX[:-1]}",
        f"sha256-{HEX}0",
        f"sha256-{HEX}\n",
        f"sha256-{HEX.upper()}",
        f"sha384-{'0' * 96}",
        f"sha512-{'0' * 63}",
        f"blake3-{HEX}",
        f"sha256-{HEX}.sigx",
        f"sha256-{HEX}.",
        f"sha384-{'0' * 80}.sig",
    ],
)
def test_other_tags_name_no_subject(tag: str) -> None:
    assert subject_tag(tag) is None


@pytest.mark.parametrize(
    ("ending", "holds"), [("sig", "signature"), ("att", "attestation"), ("sbom", "SBOM")]
)
def test_the_cosign_tag_names_its_subject(ending: str, holds: str) -> None:
    found = subject_tag(f"sha256-{HEX}.{ending}")
    assert found is not None
    assert not found.is_fallback
    assert (found.subject, found.holds) == (D, holds)
    assert found.among([D]) == [D]
    long = Digest(f"sha384:{'a' * 96}")
    whole = subject_tag(f"sha384-{'a' * 96}.{ending}")
    assert whole is not None
    assert whole.among([long]) == [long]
