"""Two images side by side: layers, config, platforms, packages, and what cannot be compared."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import regfs
from regfs.digest import Digest
from regfs.errors import ManifestUnknown, PlatformUnknown, ReferenceInvalid
from regfs.reports.diff import DiffReport, ImageDifference
from regfs.reports.diff_config import FieldChange
from regfs.reports.diff_layers import LayerAt, layer_changes
from tests.support.builder import (
    OCI_LAYER,
    Blob,
    Content,
    TreeBuilder,
    artifact,
    buildkit,
    image,
    index,
    layer,
)

TUTORIAL = Path(__file__).parents[2] / "fixtures/trees/tutorial"


def compared(tree: TreeBuilder, before: Content, after: Content, **options: Any) -> DiffReport:
    tree.push("app", "before", before)
    tree.push("app", "after", after)
    return regfs.open(str(tree.root)).diff("app:before", "app:after", **options)


def of_one(found: DiffReport) -> ImageDifference:
    assert len(found.images) == 1
    assert found.problems == ()
    return found.images[0]


# -- layers ------------------------------------------------------------------------------------


def told(before: str, after: str) -> list[str]:
    """Return how layers compare, each named by a letter; a lower-case one says what it unpacks to.

    `a` and `A` unpack to the same.
    """
    sides = [
        [LayerAt(Digest(f"sha256:{one * 64}"), 1, one.lower(), "", "") for one in text]
        for text in (before, after)
    ]
    found = []
    for one in layer_changes(sides[0], sides[1]):
        letters = "".join(layer.digest[7] for layer in (one.before, one.after) if layer is not None)
        found.append(f"{one.change} {letters}")
    return found


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("", "", []),
        ("ab", "ab", ["shared aa", "shared bb"]),
        ("ab", "acd", ["shared aa", "removed b", "added c", "added d"]),
        ("abc", "aBc", ["shared aa", "repacked bB", "shared cc"]),
        ("abc", "bca", ["shared bb", "shared cc", "moved aa"]),
        ("aa", "a", ["shared aa", "removed a"]),
        ("aba", "aa", ["shared aa", "removed b", "shared aa"]),
    ],
)
def test_layers_side_by_side(before: str, after: str, expected: list[str]) -> None:
    assert told(before, after) == expected


@given(st.text("abcA", max_size=12), st.text("abcA", max_size=12))
def test_each_layer_is_told_once(before: str, after: str) -> None:
    found = told(before, after)
    new = [one.split()[1][-1] for one in found if not one.startswith("removed")]
    assert "".join(new) == after
    old = [one.split()[1][0] for one in found if not one.startswith("added")]
    assert sorted(old) == sorted(before)
    in_order = [one.split()[1][0] for one in found if not one.startswith(("added", "moved"))]
    rest = iter(before)
    assert all(one in rest for one in in_order)


def test_very_many_layers_do_not_take_for_ever() -> None:
    assert len(told("ab" * 10_000, "ba" * 10_000)) == 20_000


def test_what_made_a_layer_stands_beside_it(tree: TreeBuilder) -> None:
    history = [{"created_by": "RUN make # buildkit"}, {"created_by": "CMD", "empty_layer": True}]
    before, after = image(["one"]), image(["one", "two"], {"history": [history[0], *history[::-1]]})
    layers = of_one(compared(tree, before, after)).layers
    made = [one.after.instruction for one in layers if one.after is not None]
    assert [one.change.value for one in layers] == ["shared", "added"]
    assert made == ["RUN make", "RUN make"]


def test_other_packing_is_not_another_layer(tree: TreeBuilder) -> None:
    plain = gzip.decompress(layer({"a": b"1"}))
    packed = [Blob(gzip.compress(plain, level, mtime=0), OCI_LAYER) for level in (1, 9)]
    assert packed[0].digest != packed[1].digest
    found = of_one(compared(tree, image([packed[0], "x"]), image([packed[1], "x"])))
    assert [one.change.value for one in found.layers] == ["repacked", "shared"]
    assert found.files is not None and found.files.changes == ()


# -- config ------------------------------------------------------------------------------------


def fields(
    tree: TreeBuilder, before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[FieldChange]:
    found = of_one(compared(tree, image(["x"], before), image(["x"], after)))
    assert all(one.change.value == "shared" for one in found.layers)
    return list(found.fields)


def start(**values: Any) -> dict[str, Any]:
    return {"config": values}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (start(User="app"), start(), ("user", "", "app", None)),
        (start(User=""), start(User="0"), ("user", "", None, "0")),
        (start(Cmd=["a", "b"]), start(Cmd=["a b"]), ("command", "", '["a", "b"]', '["a b"]')),
        (start(Entrypoint=None), start(Entrypoint=["/x"]), ("entrypoint", "", None, '["/x"]')),
        (start(Env=["A=1", "B=="]), start(Env=["A=2", "B=="]), ("environment", "A", "1", "2")),
        (start(Labels={"a": ""}), start(), ("label", "a", "", None)),
        (start(ExposedPorts={"80/tcp": {}}), start(), ("port", "80/tcp", "", None)),
        (start(), start(Volumes={"/data": {}}), ("volume", "/data", None, "")),
        (start(WorkingDir="/a"), start(WorkingDir="/b"), ("working_dir", "", "/a", "/b")),
        (start(StopSignal="TERM"), start(), ("stop_signal", "", "TERM", None)),
        (
            start(Healthcheck={"Test": ["NONE"]}),
            start(),
            ("healthcheck", "", '{"Test": ["NONE"]}', None),
        ),
        (start(Memory=5), start(Memory=6), ("other", "config.Memory", "5", "6")),
        ({"moby.x": "a"}, {"moby.x": "b"}, ("other", "moby.x", "a", "b")),
        (
            {"variant": "v6"},
            {"variant": "v7"},
            ("platform", "", "linux/amd64/v6", "linux/amd64/v7"),
        ),
        ({"created": "2020"}, {"created": "2021"}, ("created", "", "2020", "2021")),
    ],
)
def test_what_differs_in_the_config(
    tree: TreeBuilder,
    before: dict[str, Any],
    after: dict[str, Any],
    expected: tuple[str, str, str | None, str | None],
) -> None:
    assert fields(tree, before, after) == [FieldChange(*expected)]


def test_what_says_nothing_is_no_difference(tree: TreeBuilder) -> None:
    """Docker writes much that is false or empty; BuildKit leaves it out."""
    before = start(Tty=False, Domainname="", OnBuild=None, Cmd=[], Labels=None)
    assert fields(tree, before | {"docker_version": ""}, start()) == []


def test_steps_of_the_history(tree: TreeBuilder) -> None:
    def history(*steps: str, time: str) -> dict[str, Any]:
        empty = [{"created_by": one, "empty_layer": True, "created": time} for one in steps]
        return {"history": [{"created_by": "COPY x", "created": time}, *empty]}

    before = history("ENV A=1", "CMD a", time="2020")
    after = history("ENV A=2", "CMD a", time="2021")
    assert fields(tree, before, after) == [
        FieldChange("step", "", "ENV A=1", None),
        FieldChange("step", "", None, "ENV A=2"),
        FieldChange("step_created", "2 of 2", "2020", "2021"),
    ]


def test_a_config_that_cannot_be_read_is_told(tree: TreeBuilder) -> None:
    before, after = image(["x"]), image(["x"], {"author": "a"})
    tree.push("app", "before", before)
    tree.push("app", "after", after)
    tree.blob_path(before.document["config"]["digest"]).unlink()
    found = regfs.open(str(tree.root)).diff("app:before", "app:after")
    assert [one.field for one in found.images[0].fields] == ["config"]
    assert len(found.problems) == 1 and "config" in found.problems[0]


# -- indexes -----------------------------------------------------------------------------------

AMD, ARM, S390 = (
    image(["x", one], platform=one) for one in ("linux/amd64", "linux/arm64", "linux/s390x")
)
ARM2 = image(["x", "2"], platform="linux/arm64")


def test_indexes_are_compared_platform_by_platform(tree: TreeBuilder) -> None:
    found = compared(tree, index(AMD, ARM), index(AMD, ARM2, S390))
    assert found.unchanged == ("linux/amd64",)
    assert (found.only_before, found.only_after) == ((), ("linux/s390x",))
    assert [one.platform for one in found.images] == ["linux/arm64"]
    assert found.images[0].before == ARM.digest


def test_an_image_is_compared_with_the_entry_for_its_platform(tree: TreeBuilder) -> None:
    found = of_one(compared(tree, ARM, index(AMD, ARM2)))
    assert (found.platform, found.after) == ("linux/arm64", ARM2.digest)


def test_a_platform_can_be_chosen(tree: TreeBuilder) -> None:
    found = compared(tree, index(AMD, ARM), index(AMD, ARM2), platform="arm64")
    assert [one.platform for one in found.images] == ["linux/arm64"]
    assert found.unchanged == ()


@pytest.mark.parametrize(
    ("before", "after", "platform", "words"),
    [
        (index(AMD, ARM), index(AMD, ARM2), "linux/ppc", "no image for linux/ppc in both"),
        (S390, index(AMD, ARM), None, "no platform in both: linux/s390x in one, linux/amd64"),
        (AMD, AMD, "linux/amd64", None),
        (AMD, AMD, "linux/arm64", "no image for linux/arm64 in both"),
        (
            AMD,
            image(["y"]),
            "linux/arm64",
            "no image for linux/arm64 in both: linux/amd64 in one",
        ),
    ],
)
def test_platforms_that_are_not_in_both(
    tree: TreeBuilder, before: Content, after: Content, platform: str | None, words: str | None
) -> None:
    if words is None:
        assert compared(tree, before, after, platform=platform).same
        return
    with pytest.raises(ReferenceInvalid if platform is None else PlatformUnknown, match=words):
        compared(tree, before, after, platform=platform)


def test_two_images_are_compared_whatever_their_platforms_are(tree: TreeBuilder) -> None:
    found = of_one(compared(tree, AMD, ARM))
    assert [one.field for one in found.fields] == ["platform"]


def test_attestations_are_compared(tree: TreeBuilder) -> None:
    found = compared(tree, index(AMD), buildkit(AMD))
    assert found.unchanged == ("linux/amd64",)
    assert [(one.field, one.key, one.before) for one in found.fields] == [
        ("attestation", "linux/amd64", None)
    ]


# -- what can be compared ----------------------------------------------------------------------


def test_an_artifact_has_no_files(tree: TreeBuilder) -> None:
    found = of_one(compared(tree, artifact(["one"]), artifact(["two"])))
    assert found.files is None
    assert [one.change.value for one in found.layers] == ["removed", "added"]


def test_layers_are_compared_with_layers_only(tree: TreeBuilder) -> None:
    made = image([layer({"a": b"1"}), layer({"a": b"22"})])
    tree.push("app", "v1", made)
    one, two = (blob["digest"] for blob in made.document["layers"])
    opened = regfs.open(str(tree.root))
    found = of_one(opened.diff(one, two))
    assert found.files is not None
    assert [(change.path, change.before) for change in found.files.changes] == [("a", 1)]
    with pytest.raises(ReferenceInvalid, match="a layer is compared with a layer only"):
        opened.diff("app:v1", two)


def test_two_moments_of_a_tag(tree: TreeBuilder) -> None:
    with tree.at_age(300_000):
        tree.push("app", "v1", image(["one"]))
    tree.push("app", "v1", image(["one", "two"]))
    found = regfs.open(str(tree.root)).diff("app:v1@-1", "app:v1")
    files = of_one(found).files
    assert files is not None
    assert [(one.change.value, one.path) for one in files.changes] == [("added", "two")]
    with pytest.raises(ManifestUnknown, match="only 1 before that"):
        regfs.open(str(tree.root)).diff("app:v1@-2", "app:v1")


def test_the_same_is_not_read(tree: TreeBuilder) -> None:
    tree.push("app", "v1", image(["one"]))
    tree.push("web", "v1", image(["one"]))
    found = regfs.open(str(tree.root)).diff("app:v1", "web:v1")
    assert found.same and found.images == ()


# -- packages ----------------------------------------------------------------------------------


def stanza(name: str, version: str) -> bytes:
    text = (
        f"Package: {name}\nStatus: install ok installed\nArchitecture: all\nVersion: {version}\n\n"
    )
    return text.encode()


def packages(tree: TreeBuilder, before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    base = layer({"var/lib/dpkg/status.d/same": stanza("same", "1")})
    found = of_one(compared(tree, image([base, layer(before)]), image([base, layer(after)])))
    assert found.files is not None
    return [f"{one.change} {one.name} {one.before} {one.after}" for one in found.files.packages]


def test_packages_that_went_up_and_down(tree: TreeBuilder) -> None:
    before = [("a", "1"), ("b", "1.10"), ("c", "1.9"), ("d", "1"), ("f", "1")]
    after = [("a", "1"), ("b", "1.9"), ("c", "1.10"), ("e", "2"), ("f", "1")]
    status = "var/lib/dpkg/status"
    assert packages(
        tree,
        {status: b"".join(stanza(*one) for one in before)},
        {status: b"".join(stanza(*one) for one in after)},
    ) == ["down b 1.10 1.9", "up c 1.9 1.10", "removed d 1 None", "added e None 2"]


def test_packages_of_a_distroless_image(tree: TreeBuilder) -> None:
    folder = "var/lib/dpkg/status.d"
    assert packages(
        tree,
        {f"{folder}/a": stanza("a", "1"), f"{folder}/b": stanza("b", "1")},
        {f"{folder}/a": stanza("a", "2"), f"{folder}/a.md5sums": b"0 x"},
    ) == ["up a 1 2", "removed b 1 None"]


def test_another_package_manager(tree: TreeBuilder) -> None:
    assert packages(
        tree,
        {"var/lib/dpkg/status": stanza("a", "1")},
        {"lib/apk/db/installed": b"P:musl\nV:1.2.4-r2\nA:x86_64\n\n"},
    ) == ["added musl None 1.2.4-r2", "removed a 1 None"]


def test_a_database_that_cannot_be_read_is_told(tree: TreeBuilder) -> None:
    path = "var/lib/rpm/Packages"
    found = compared(tree, image([layer({path: b"1"})]), image([layer({path: b"22"})]))
    assert found.images[0].files is not None and found.images[0].files.packages == ()
    assert found.problems == (
        f"packages of rpm: {path}: of the databases of RPM only SQLite is read",
    )


# -- damage ------------------------------------------------------------------------------------


def test_a_layer_that_is_missing_or_damaged_is_told(tree: TreeBuilder) -> None:
    made = [image(["same", text]) for text in ("one", "two")]
    for tag, content in zip(("before", "after"), made, strict=True):
        tree.push("app", tag, content)
    paths = [tree.blob_path(one.document["layers"][1]["digest"]) for one in made]
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:-9])
    opened = regfs.open(str(tree.root))
    found = opened.diff("app:before", "app:after")
    assert len(found.problems) == 2
    assert all(
        tree.relative(path) in text for path, text in zip(paths, found.problems, strict=True)
    )
    assert opened.diff("app:before", "app:after", files=False).problems == ()


def test_a_manifest_of_an_index_that_is_missing_is_told(tree: TreeBuilder) -> None:
    tree.push("app", "before", index(AMD, ARM))
    tree.push("app", "after", index(AMD, ARM2))
    tree.blob_path(ARM.digest).unlink()
    found = regfs.open(str(tree.root)).diff("app:before", "app:after")
    assert found.images == () and len(found.problems) == 1
    assert ARM.digest.partition(":")[2] in found.problems[0]
