"""What is about an image: found by every way, read, and shown as a tree."""

from __future__ import annotations

import pytest

from regfs.digest import Digest
from regfs.errors import AttestationUnknown, ReferenceAmbiguous
from regfs.reports.attestations import AttachedDocument, attached_documents, read_document
from regfs.reports.referrers import ReferrerTree, TreeRow, referrer_tree
from regfs.reports.sboms import chosen_sbom, sbom_documents
from tests.support.attached import own
from tests.support.builder import Blob, TreeBuilder, artifact, attestation, image, index
from tests.support.images import PROVENANCE, Content, dumps, provenance_of
from tests.support.registries import registry_of, scan_and_build, shown
from tests.support.sboms import BUILDKIT1, CYCLONE, SPDX, SPDX2, bundle, envelope, statement

APP, OTHER = image(["app"]), image(["other"], platform="linux/arm64")
DSSE = "application/vnd.dsse.envelope.v1+json"
SIMPLE = "application/vnd.dev.cosign.simplesigning.v1+json"


def cosign(body: bytes, media_type: str, predicate: str = "") -> Content:
    """Return what cosign pushes to a tag: in the shape of an image, without a subject."""
    notes = {"annotations": {"predicateType": predicate}} if predicate else {}
    return image([Blob(body, media_type, notes)], b"{}")


def documents(tree: TreeBuilder, reference: str) -> list[AttachedDocument]:
    _, graph = scan_and_build(tree)
    target, digest = registry_of(tree).find_content(reference)
    return attached_documents(graph, registry_of(tree), target.name, digest)


def told(tree: TreeBuilder, reference: str) -> list[tuple[str, str, str]]:
    """Return kind, way and problem of each document."""
    read = (read_document(registry_of(tree), one) for one in documents(tree, reference))
    return [(one.document.kind, one.document.way, one.problem) for one in read]


def tree_of(tree: TreeBuilder, reference: str) -> ReferrerTree:
    _, graph = scan_and_build(tree)
    target, digest = registry_of(tree).find_content(reference)
    return referrer_tree(graph, registry_of(tree), target, digest)


def drawn(report: ReferrerTree) -> list[tuple[int, str, str, tuple[str, ...]]]:
    return [(row.depth, row.kind, row.way, row.holds) for row in report.rows]


@pytest.mark.parametrize("old", [False, True])
def test_attestations_beside_an_image_are_found_from_the_tag_and_from_the_image(
    tree: TreeBuilder, old: bool
) -> None:
    types = (SPDX, PROVENANCE)
    said = (statement(APP, SPDX2), statement(APP, BUILDKIT1, PROVENANCE))
    tree.push("app", "v1", index(APP, attestation(APP, *said, types=types, old=old)))
    wanted = [("SBOM", "index"), ("provenance", "index")]
    assert [one[:2] for one in told(tree, "app:v1")] == wanted
    assert [one[0] for one in told(tree, f"app@{APP.digest}")] == ["SBOM", "provenance"]
    assert all(problem == "" for _, _, problem in told(tree, "app:v1"))
    read = [read_document(registry_of(tree), one) for one in documents(tree, "app:v1")]
    assert read[0].sbom is not None
    assert read[0].sbom.packages == 3
    assert read[1].provenance is not None
    assert read[1].provenance.commit == "c" * 40


def test_an_index_tells_nothing_of_other_builds_of_its_image(tree: TreeBuilder) -> None:
    tree.push("app", "v1", index(APP, attestation(APP)))
    tree.push("app", "v2", index(APP, attestation(APP, statement(APP, BUILDKIT1, PROVENANCE))))
    assert len(documents(tree, "app:v1")) == len(documents(tree, "app:v2")) == 1
    assert len(documents(tree, f"app@{APP.digest}")) == 2
    assert len([row for row in tree_of(tree, "app:v1").rows if row.holds]) == 2


def test_cosign_oras_and_bundles_are_found(tree: TreeBuilder) -> None:
    tree.push("app", "v1", APP)
    said = statement(APP, SPDX2)
    tree.push("app", f"{own(APP.digest)}.sig", cosign(b"{}", SIMPLE))
    tree.push("app", f"{own(APP.digest)}.att", cosign(envelope(said), DSSE, SPDX))
    tree.push("app", f"{own(APP.digest)}.sbom", cosign(dumps(SPDX2), "text/spdx+json"))
    oras = artifact([Blob(dumps(CYCLONE), "application/vnd.cyclonedx+json")], subject=APP)
    tree.push("app", None, oras)
    kind = "application/vnd.dev.sigstore.bundle.v0.3+json"
    sigstore = artifact([Blob(bundle(said), kind)], subject=APP, artifact_type=kind)
    tree.fallback(
        "app",
        APP.digest,
        artifact([Blob(b"note", "text/plain")], artifact_type="text/plain"),
        sigstore,
    )
    found = {(one.kind, one.form, one.way) for one in documents(tree, "app:v1")}
    assert found == {
        ("signature", "", "cosign tag"),
        ("SBOM", "SPDX", "cosign tag"),
        ("SBOM", "CycloneDX", "subject"),
        ("attestation", "", "subject"),
        ("document", "", "fallback tag"),
    }
    _, graph = scan_and_build(tree)
    target, digest = registry_of(tree).find_content("app:v1")
    sboms = sbom_documents(graph, registry_of(tree), target, digest)
    # The bundle is looked into: its manifest does not say what it holds.
    assert sorted(one.form for one in sboms) == ["CycloneDX", "SPDX", "SPDX", "SPDX"]
    assert chosen_sbom(sboms, "app:v1", "cyclonedx", None).manifest == oras.digest
    with pytest.raises(ReferenceAmbiguous, match="app:v1 has 3 SBOMs; give --platform"):
        chosen_sbom(sboms, "app:v1", "spdx", None)
    with pytest.raises(AttestationUnknown, match=r"no such SBOM; there is .* CycloneDX"):
        chosen_sbom(sboms, "app:v1", "syft", None)
    with pytest.raises(AttestationUnknown, match="has no SBOM; BuildKit makes one"):
        chosen_sbom([], "app:v1", None, None)


def test_the_platform_chooses(tree: TreeBuilder) -> None:
    parts = [attestation(one, statement(one, SPDX2), types=[SPDX]) for one in (APP, OTHER)]
    tree.push("app", "v1", index(APP, OTHER, *parts))
    _, graph = scan_and_build(tree)
    target, digest = registry_of(tree).find_content("app:v1")
    found = sbom_documents(graph, registry_of(tree), target, digest)
    for platform in ("linux/arm64", "arm64"):
        assert chosen_sbom(found, "app:v1", None, platform).about == OTHER.digest
    target, digest = registry_of(tree).find_content(parts[0].digest)
    (held,) = sbom_documents(graph, registry_of(tree), target, digest)
    assert held.about == APP.digest


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (statement(OTHER, {}, PROVENANCE), f"the statement is about {OTHER.digest}, not about"),
        (b'{"predicateType":"x","subject":[],"predicate":{}}', "is about nothing, not about"),
        (b"no JSON", "is no in-toto statement"),
        (b"{}", "is no in-toto statement"),
        (b'{"predicateType":', "is not JSON"),
        (provenance_of(APP).replace(b'"predicate":{}', b'"predicate":[]'), "is not an object"),
    ],
)
def test_what_is_wrong_with_a_statement_is_told_with_its_path(
    tree: TreeBuilder, body: bytes, words: str
) -> None:
    tree.push("app", "v1", index(APP, attestation(APP, body)))
    ((_, _, problem),) = told(tree, "app:v1")
    assert problem.startswith("docker/registry/v2/blobs/sha256/")
    assert words in problem


def test_a_document_that_is_missing_or_corrupt_is_told(tree: TreeBuilder) -> None:
    tree.push("app", "v1", index(APP, attestation(APP)))
    (one,) = documents(tree, "app:v1")
    path = tree.blob_path(one.digest)
    path.write_bytes(provenance_of(APP).replace(b'"app"', b'"bad"'))
    assert "content does not match its digest" in told(tree, "app:v1")[0][2]
    tree.delete_blob(one.digest)
    assert "document is not there" in told(tree, "app:v1")[0][2]


def test_an_sbom_that_is_large_is_counted_only_where_that_is_asked_for(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.push("app", "v1", index(APP, attestation(APP, statement(APP, SPDX2), types=[SPDX])))
    monkeypatch.setattr("regfs.reports.attestations.COUNTED", 100)
    (one,) = documents(tree, "app:v1")
    assert read_document(registry_of(tree), one).sbom is None
    names: list[str] = []
    whole = read_document(registry_of(tree), one, lambda package: names.append(package.name))
    assert whole.sbom is not None
    assert names == ["libc6", "left-pad", "plain"]


def test_no_crowd_of_attestations_holds_up_show(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regfs.reports.image._READ", 3)
    said = [statement(APP, {"number": number}, PROVENANCE) for number in range(5)]
    once = attestation(APP, *said, said[0], types=[PROVENANCE] * 6)
    tree.push("app", "v1", index(APP, once))
    found = shown(tree, "app:v1")
    assert len(found.attestations) == 3
    assert found.problems == ("only the first 3 of 5 attestations were read",)


# -- the tree ------------------------------------------------------------------------------------


def test_referrers_of_referrers_stand_below_them(tree: TreeBuilder) -> None:
    sbom = artifact([Blob(dumps(SPDX2), "application/spdx+json")], subject=APP)
    signature = artifact([Blob(b"sig", SIMPLE)], subject=sbom, artifact_type="test/signature")
    tree.push("app", "v1", index(APP, attestation(APP)))
    tree.push("app", None, sbom)
    tree.push("app", "signed", signature)
    found = drawn(tree_of(tree, "app:v1"))
    assert found[:2] == [(0, "index", "asked", ()), (1, "image", "listed", ())]
    assert sorted(found[2:]) == [
        (2, "artifact", "index", ("provenance",)),
        (2, "artifact", "subject", ("SPDX SBOM",)),
        (3, "artifact", "subject", ("signature",)),
    ]
    assert tree_of(tree, "app:signed").rows[0].tags == ("app:signed",)


def test_tags_that_lead_in_a_circle_end(tree: TreeBuilder) -> None:
    first, second = cosign(b"1", SIMPLE), cosign(b"2", SIMPLE)
    tree.push("app", f"{own(first.digest)}.sig", second)
    tree.push("app", f"{own(second.digest)}.sig", first)
    rows = tree_of(tree, f"app@{first.digest}").rows
    assert [(row.depth, row.digest, row.repeated) for row in rows] == [
        (0, first.digest, False),
        (1, second.digest, False),
        (2, first.digest, True),
    ]


def test_a_long_chain_is_followed_to_its_end(tree: TreeBuilder) -> None:
    last = APP
    tree.push("app", "v1", APP)
    for number in range(60):
        last = artifact([Blob(b"%d" % number, SIMPLE)], subject=last)
        tree.push("app", None, last)
    rows = tree_of(tree, "app:v1").rows
    assert [row.depth for row in rows] == list(range(61))


def test_each_repository_has_its_own_referrers(tree: TreeBuilder) -> None:
    tree.push("app", "v1", APP)
    tree.push("mirror", "v1", APP)
    tree.push("mirror", None, artifact(["sbom"], subject=APP))
    tree.push("mirror", f"{own(APP.digest)}.sig", cosign(b"{}", SIMPLE))
    assert len(tree_of(tree, "app:v1").rows) == 1
    assert len(tree_of(tree, "mirror:v1").rows) == 3
    assert len(tree_of(tree, APP.digest).rows) == 3


def test_a_signature_that_is_gone_is_told(tree: TreeBuilder) -> None:
    tree.push("app", "v1", APP)
    gone = tree.push("app", f"{own(APP.digest)}.sig", cosign(b"{}", SIMPLE))
    tree.delete_blob(gone)
    report = tree_of(tree, "app:v1")
    assert [row.kind for row in report.rows] == ["image", "missing"]
    assert report.problems == (f"{tree.relative(tree.blob_path(gone))}: manifest is not there",)


def test_what_may_not_be_told_of_is_left_out(tree: TreeBuilder) -> None:
    tree.push("app", "v1", index(APP, attestation(APP)))
    tree.push("app", f"{own(APP.digest)}.sig", cosign(b"{}", SIMPLE))
    _, graph = scan_and_build(tree)
    registry = registry_of(tree)
    target, digest = registry.find_content("app:v1")

    def only(one: Digest) -> bool:
        return one in (digest, APP.digest)

    assert attached_documents(graph, registry, "app", digest, only) == []
    rows: tuple[TreeRow, ...] = referrer_tree(graph, registry, target, digest, only).rows
    assert {row.digest for row in rows} == {digest, APP.digest}
