"""Roots from outside: every line is understood or refused, and what is in use is found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.digest import Digest
from regfs.errors import DocumentInvalid
from regfs.findings import Code, Severity
from regfs.gc.roots import Resolved, Root, Roots, parse_roots, resolve
from tests.support.builder import TreeBuilder, image
from tests.support.registries import by_repository, scan_and_build
from tests.support.strategies import digests, names, tags

D = Digest.of(b"one")
E = Digest.of(b"two", "sha512")


def nowhere(name: str) -> bool:
    return False


def parsed(*lines: str, exists: tuple[str, ...] = ()) -> Roots:
    return parse_roots("\n".join(lines).encode(), "roots.txt", exists.__contains__)


def refused(data: str | bytes) -> str:
    with pytest.raises(DocumentInvalid) as caught:
        parse_roots(data.encode() if isinstance(data, str) else data, "roots.txt", nowhere)
    return str(caught.value)


# -- reading ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "name", "reference"),
    [
        (D, None, D),
        (E, None, E),
        (f"docker://{D}", None, D),
        ("app:v1", "app", "v1"),
        ("team/app:v1", "team/app", "v1"),
        (f"team/app@{D}", "team/app", D),
        (f"team/app:v1@{D}", "team/app", D),
        (f"registry.example.com:5000/team/app:v1@{D}", "team/app", D),
        ("registry.example.com:5000/team/app:v1", "team/app", "v1"),
        ("registry:5000/app:v1", "app", "v1"),
        ("localhost/app:v1", "app", "v1"),
        ("docker.io/library/app:v1", "library/app", "v1"),
        (f"docker-pullable://registry.example.com/app@{D}", "app", D),
        ("oci://registry.example.com/charts/app:1.0.0", "charts/app", "1.0.0"),
        ("  app:v1\t", "app", "v1"),
        ("app:v1 # in use", "app", "v1"),
        ("app:v1\r", "app", "v1"),
        ("\ufeffapp:v1", "app", "v1"),
    ],
)
def test_a_line_is_understood(line: str, name: str | None, reference: str) -> None:
    roots = parsed(line)
    if name is None:
        assert roots.digests == {reference}
        assert by_repository(roots) == {}
    else:
        assert roots.digests == set()
        assert by_repository(roots) == {name: {reference}}
    (root,) = roots.said
    assert isinstance(root.reference, Digest) == (reference in (D, E))


def test_comments_and_blank_lines_say_nothing() -> None:
    roots = parsed("# was läuft", "", "  ", "app:v1", "app:v2", f"app@{D}", " # end", str(D))
    assert by_repository(roots) == {"app": {"v1", "v2", D}}
    assert roots.digests == {D}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("app", "neither tag nor digest"),
        ("registry:5000/app", "neither tag nor digest"),
        ("app:v1 app:v2", "is not letters"),
        ("app v1", "neither tag nor digest"),
        ("app:v1,app:v2", "is not letters"),
        ("app:", "tag '' is empty"),
        ("app:-x", "tag '-x' is not"),
        (f"app:@{D}", "tag '' is empty"),
        (D[:-1], "not a digest"),
        (f"app@{D[:-1]}", "not a digest"),
        ("app@", "not a digest"),
        (f"app@{D.upper()}", "not a digest"),
        ("app@blake3:abcd", "unsupported digest algorithm"),
        (f"@{D}", "is empty"),
        ("App:v1", "has the component 'App'"),
        ("registry.example.com/App:v1", "has the component 'App'"),
        ("registry.example.com//app:v1", "has an empty component"),
        ("/app:v1", "has an empty component"),
        ("https://registry.example.com/app:v1", "has an empty component"),
        ("äpp:v1", "has the component"),
        ("app:v\0", "is not letters"),
        ('{"image": "app:v1"}', "is not letters"),
    ],
)
def test_a_line_that_is_not_understood_is_refused_with_its_number(line: str, words: str) -> None:
    found = refused(f"# in use\napp:v0\n{line}\napp:v2\n")
    assert found.startswith(f"roots.txt:3: {line!r}: ")
    assert words in found
    assert len(found.splitlines()) == 1


@pytest.mark.parametrize("data", [b"app:v1\n\xff", "app:v1\n".encode("utf-16"), b"a:\xe4"])
def test_what_is_no_text_is_refused(data: bytes) -> None:
    assert "not text in UTF-8" in refused(data)


def test_a_long_line_is_cut() -> None:
    assert len(refused("x" * 10_000)) < 300


@pytest.mark.parametrize("data", ["", "\n\n", "# nothing\n", "\ufeff"])
def test_an_empty_list_is_refused(data: str) -> None:
    assert refused(data) == "roots.txt: contains no reference; an empty list is refused"


def test_a_repository_of_that_very_name_is_no_host() -> None:
    roots = parsed("example.com/app:v1", exists=("example.com/app",))
    assert by_repository(roots) == {"example.com/app": {"v1"}}
    assert roots.perhaps == frozenset()


def test_where_both_readings_are_there_both_are_kept() -> None:
    roots = parsed("example.com/app:v1", exists=("example.com/app", "app"))
    assert by_repository(roots) == {"example.com/app": {"v1"}}
    assert roots.perhaps == {Root("app", "v1")}


def test_a_repository_on_the_disk_may_have_any_name() -> None:
    assert by_repository(parsed("Odd:v1", exists=("Odd",))) == {"Odd": {"v1"}}


HOSTS = ("reg.example.com", "proxy.example.com:5000/docker")


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("reg.example.com/team/app:v1", "team/app"),
        ("REG.example.com/team/app:v1", "team/app"),
        ("docker-pullable://reg.example.com/team/app:v1", "team/app"),
        ("proxy.example.com:5000/docker/team/app:v1", "team/app"),
        ("team/app:v1", "team/app"),
        ("app:v1", "app"),
        ("reg.example.com:5000/team/app:v1", None),
        ("proxy.example.com:5000/team/app:v1", None),
        ("proxy.example.com:5000/docker:v1", None),
        ("proxy.example.com:5000/dockers/app:v1", None),
        ("docker.io/library/App:v1", None),
        ("localhost/team/app:v1", None),
    ],
)
def test_lines_of_other_hosts_are_counted_and_passed_by(line: str, name: str | None) -> None:
    data = f"{D}\n{line}\n".encode()
    roots = parse_roots(data, "roots.txt", nowhere, HOSTS)
    assert by_repository(roots) == ({} if name is None else {name: {"v1"}})
    assert roots.elsewhere == (name is None)
    assert roots.digests == {D}


def test_a_repository_that_is_called_like_another_host_is_meant() -> None:
    known = {"quay.io/app", "reg.example.com/app", "app"}
    roots = parse_roots(b"quay.io/app:v1\nreg.example.com/app:v1", "-", known.__contains__, HOSTS)
    assert by_repository(roots) == {"quay.io/app": {"v1"}, "reg.example.com/app": {"v1"}}
    assert roots.perhaps == {Root("app", "v1")}


def test_a_list_of_other_hosts_alone_is_refused_like_an_empty_one() -> None:
    with pytest.raises(DocumentInvalid, match="none of its 2 lines names an image of reg"):
        parse_roots(b"quay.io/a:1\nquay.io/b:1", "roots.txt", nowhere, HOSTS[:1])


PLAIN = names().filter(lambda name: name.partition("/")[0] not in ("localhost", "My-Host.io"))


@given(
    st.sampled_from(["", "localhost/", "registry.example.com/", "r:5000/", "docker.io/"]),
    PLAIN.filter(lambda name: "." not in name.partition("/")[0] and name[0].islower()),
    tags(),
    digests(),
)
def test_every_way_to_write_a_reference_means_the_same(
    host: str, name: str, tag: str, digest: Digest
) -> None:
    for written, reference in (
        (f"{host}{name}:{tag}", tag),
        (f"{host}{name}@{digest}", digest),
        (f"{host}{name}:{tag}@{digest}", digest),
    ):
        if (host, name) != ("", "sha256"):
            assert by_repository(parsed(written)) == {name: {reference}}


# -- in a tree ------------------------------------------------------------------------------


def found_in(tree: TreeBuilder, *lines: str, lean: bool = True) -> Resolved:
    inventory, _ = scan_and_build(tree, lean=lean)
    data = "\n".join(lines).encode()
    return resolve(parse_roots(data, "roots.txt", inventory.repositories.__contains__), inventory)


def missing(resolved: Resolved) -> list[str]:
    return [finding.path.removeprefix("docker/registry/v2/") for finding in resolved.findings]


def test_a_tag_is_what_it_points_to(tree: TreeBuilder) -> None:
    digest = Digest(tree.push("team/app", "v1"))
    found = found_in(tree, "registry.example.com/team/app:v1")
    assert found == Resolved(manifests={"team/app": {digest}}, vouched={"team/app"})


def test_a_digest_is_in_use_wherever_it_is(tree: TreeBuilder) -> None:
    content = image("base")
    digest = Digest(tree.push("a", "v1", content))
    tree.push("b", None, content)
    tree.push("c", "v1", image("other"))
    for lean in (True, False):
        found = found_in(tree, digest, lean=lean)
        both = {"a": {digest}, "b": {digest}}
        assert found == Resolved(manifests=both, vouched={"a", "b"})
    assert found_in(tree, f"a@{digest}") == Resolved(manifests=both, vouched={"a"})


def test_a_tag_without_a_revision_holds_its_digest(tree: TreeBuilder) -> None:
    digest = Digest(tree.push("a", "v1"))
    tree.delete_revision("a", digest)
    assert found_in(tree, f"a@{digest}") == Resolved(manifests={"a": {digest}}, vouched={"a"})


def test_an_image_may_be_known_by_its_config(tree: TreeBuilder) -> None:
    digest = tree.push("a", "v1")
    config = Digest(tree.document(digest)["config"]["digest"])
    assert found_in(tree, f"docker://{config}") == Resolved(blobs={config})


def test_a_manifest_in_another_repository_is_kept_there_and_told(tree: TreeBuilder) -> None:
    digest = tree.push("new/app", "v1")
    tree.push("old/app", "v2", image("other"))
    for name in ("old/app", "gone/app"):
        found = found_in(tree, f"{name}@{digest}")
        assert found.manifests == {"new/app": {digest}}
        hexadecimal = digest.removeprefix("sha256:")
        revisions = f"repositories/{name}/_manifests/revisions"
        assert missing(found) == [f"{revisions}/sha256/{hexadecimal}"]


def test_a_manifest_without_any_link_is_kept_as_a_blob(tree: TreeBuilder) -> None:
    digest = tree.push("app", None)
    tree.delete_revision("app", digest)
    found = found_in(tree, f"app@{digest}")
    assert found.blobs == {digest}
    assert len(found.findings) == 1


def test_a_link_without_a_blob_is_no_image(tree: TreeBuilder) -> None:
    digest = tree.push("app", "v1")
    tree.delete_blob(digest)
    for line in (digest, f"app@{digest}", "app:v1"):
        found = found_in(tree, line)
        assert found.manifests == {"app": {digest}}, "its links stay all the same"
        assert found.blobs == set()
        assert len(found.findings) == 1


def test_of_a_tag_that_cannot_be_read_all_its_history_is_in_use(tree: TreeBuilder) -> None:
    old, new = tree.push("app", "v1", image("old")), tree.push("app", "v1", image("new"))
    tree.tag_path("app", "v1").unlink()
    found = found_in(tree, "app:v1")
    assert found.manifests == {"app": {old, new}}
    assert missing(found) == ["repositories/app/_manifests/tags/v1"]


def test_a_root_that_is_not_there_is_an_error_that_says_who_wants_it(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    found = found_in(tree, "# list", "r.example.com/app:v2", "gone:v1", str(D), f"app@{D}")
    assert (found.manifests, found.blobs) == ({}, {D}), "a manifest may still name it"
    first, second, third, fourth = found.findings
    assert first.code is Code.ROOT_MISSING
    assert first.severity is Severity.ERROR
    assert first.message.endswith("expected r.example.com/app:v2 (roots.txt:2)")
    assert (first.repository, first.tag, first.digest) == ("app", "v2", None)
    assert (second.repository, second.tag) == ("gone", "v1")
    assert (third.repository, third.tag, third.digest) == (None, None, D)
    assert (fourth.repository, fourth.tag, fourth.digest) == ("app", None, D)
    assert missing(found)[2] == f"blobs/sha256/{D.prefix}/{D.encoded}"


def test_the_other_reading_is_kept_and_not_missed(tree: TreeBuilder) -> None:
    whole = Digest(tree.push("example.com/app", "v1", image("whole")))
    rest = Digest(tree.push("app", "v1", image("rest")))
    found = found_in(tree, "example.com/app:v1")
    both = {"example.com/app": {whole}, "app": {rest}}
    assert found == Resolved(manifests=both, vouched=set(both))
    tree.untag("app", "v1")
    assert found_in(tree, "example.com/app:v1").manifests == {"example.com/app": {whole}}


@given(st.lists(st.tuples(names(), digests() | tags()), min_size=1), st.booleans())
def test_a_plan_holds_roots_as_they_are(said: list[tuple[str, str]], likely: bool) -> None:
    roots = {Root(name, reference) for name, reference in said}
    some = frozenset(sorted(roots)[:1]) if likely and len(roots) > 1 else frozenset()
    first = Roots({root: "" for root in roots - some}, some)
    second = Roots.of(first.texts)
    assert (set(second.said), second.perhaps) == (roots - some, some)


def test_a_folder_that_is_no_legal_name_is_not_taken_for_a_likely_reading() -> None:
    roots = parsed("?odd:v1", exists=("?odd",))
    assert set(Roots.of(roots.texts).said) == {Root("?odd", "v1")}
