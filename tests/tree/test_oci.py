"""An OCI layout is read as the tree that a registry has of the same images."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import regfs
from regfs.cli.app import run
from regfs.cli.session import Exit
from regfs.digest import Digest
from regfs.errors import NotARegistry, StoreError
from regfs.facade import Tree
from regfs.findings import Code
from regfs.stores.archive.streamed import StreamOptions
from regfs.stores.local.store import LocalStore
from regfs.tree.inventory import Inventory
from regfs.tree.oci import content as oci_content
from regfs.tree.oci.index import LARGEST
from regfs.tree.oci.names import ImageName, NotAName, default_repository, name_of
from regfs.tree.oci.source import open_layout
from tests.support.archives import FORMS, opened, packed
from tests.support.builder import TreeBuilder
from tests.support.images import (
    Content,
    artifact,
    attestation,
    cache_index,
    digest_of,
    dumps,
    image,
    index,
    oci_artifact,
    raw,
    schema1,
)
from tests.support.reference import make_oci_layout

KEY = "org.opencontainers.image.ref.name"
DOCKER_KEY = "io.containerd.image.name"


def links(inventory: Inventory) -> dict[str, Any]:
    """Return all that repositories link, and all blobs with their sizes."""
    found: dict[str, Any] = {"": sorted((one, info.size) for one, info in inventory.blobs.items())}
    for name, one in inventory.repositories.items():
        tags = {tag: info.current for tag, info in one.tags.items()}
        found[name] = (tags, sorted(one.revisions), sorted(one.layers))
    return found


def codes(tree: Tree) -> list[Code]:
    return sorted({one.finding.code for one in tree.verify().findings})


def entries(folder: Path, *changes: Any) -> None:
    """Put these entries into the index of a layout, in place of those that are there."""
    (folder / "index.json").write_bytes(dumps({"schemaVersion": 2, "manifests": list(changes)}))


# -- names --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "text", "name"),
    [
        (KEY, "v1", ("", "", "v1")),
        (KEY, "busybox", ("", "", "busybox")),
        (KEY, "app:v1", ("", "app", "v1")),
        (KEY, "team/app:v1", ("", "team/app", "v1")),
        (KEY, "localhost/app:v1", ("localhost", "app", "v1")),
        (KEY, "localhost:5000/app:v1", ("localhost:5000", "app", "v1")),
        (KEY, "quay.io/team/app", ("quay.io", "team/app", "latest")),
        (KEY, "localhost:5000/app", ("localhost:5000", "app", "latest")),
        (KEY, f"app@sha256:{'a' * 64}", ("", "app", "")),
        (KEY, f"quay.io/app:v1@sha256:{'a' * 64}", ("quay.io", "app", "v1")),
        (KEY, f"sha256:{'a' * 64}", ("", "", "")),
        (KEY, "docker.io/library/app:v1", ("docker.io", "app", "v1")),
        (DOCKER_KEY, "docker.io/library/app:v1", ("docker.io", "app", "v1")),
        (DOCKER_KEY, "docker.io/team/app:v1", ("docker.io", "team/app", "v1")),
        (KEY, "", ("", "", "")),
    ],
)
def test_what_programs_call_an_image(key: str, text: str, name: tuple[str, str, str]) -> None:
    assert name_of({key: text, "other": "x"}) == ImageName(*name)


def test_the_whole_name_goes_before_the_tag() -> None:
    notes = {KEY: "v1", DOCKER_KEY: "docker.io/library/app:v2"}
    assert name_of(notes) == ImageName("docker.io", "app", "v2")


@pytest.mark.parametrize(
    "text",
    ["App:v1", "../x:v1", "a//b:v1", "app:v 1", "/x", "x/", "_a/b:v1", "a" * 2000, 7, ["v1"]],
)
def test_what_no_registry_can_call_an_image(text: Any) -> None:
    with pytest.raises(NotAName):
        name_of({KEY: text})


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("/srv/My Layout", "my-layout"),
        ("/srv/app.tar.gz", "app"),
        ("/srv/app.oci.tar.zst", "app"),
        ("podman://builder:/out/layout", "layout"),
        ("-", "image"),
        ("/srv/\udcff\udcfe", "image"),
        ("/srv/" + "x" * 300, "image"),
    ],
)
def test_what_has_only_a_tag_is_named_by_where_it_is(url: str, name: str) -> None:
    assert default_repository(url) == name


@given(st.text(max_size=60) | st.from_regex(r"[a-z0-9.:/@_-]{1,60}", fullmatch=True))
def test_every_name_is_one_of_a_registry_or_refused(text: str) -> None:
    from regfs.names import name_problem, tag_problem

    try:
        host, repository, tag = name_of({KEY: text})
    except NotAName:
        return
    assert not repository or name_problem(repository) is None
    assert not tag or tag_problem(tag) is None
    assert "/" not in host


# -- content ------------------------------------------------------------------------------


def _contents() -> st.SearchStrategy[Content]:
    images = st.builds(
        lambda layers, docker: image(layers, docker=docker),
        st.lists(st.sampled_from("abcd"), min_size=1, max_size=3),
        st.booleans(),
    )
    attested = images.map(lambda one: index(one, attestation(one)))
    return st.one_of(
        images,
        st.lists(images, min_size=1, max_size=3).map(lambda some: index(*some)),
        st.lists(images, min_size=1, max_size=2).map(lambda some: index(index(*some))),
        attested,
        st.just(cache_index()),
        st.just(artifact()),
        st.just(oci_artifact()),
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    images=st.dictionaries(
        st.tuples(st.sampled_from(["app", "team/app", "b"]), st.sampled_from(["v1", "v2"])),
        _contents(),
        min_size=1,
        max_size=4,
    )
)
def test_a_layout_links_what_a_push_links(
    memory: Path, images: dict[tuple[str, str], Content]
) -> None:
    folder = memory / str(len(list(memory.iterdir())))
    folder.mkdir()
    tree = TreeBuilder(folder / "tree")
    for (name, tag), content in images.items():
        tree.push(name, tag, content)
    make_oci_layout(folder / "layout", {f"{name}:{tag}": c for (name, tag), c in images.items()})
    read = regfs.open(str(folder / "layout"))
    assert links(read.inventory) == links(regfs.open(str(tree.root)).inventory)
    assert read.unread == []
    assert codes(read) == codes(regfs.open(str(tree.root)))


@pytest.mark.parametrize("form", FORMS)
def test_a_tar_of_a_layout_is_read_wherever_the_layout_begins(tmp_path: Path, form: str) -> None:
    make_oci_layout(tmp_path / "layout", {"app:v1": image(["a"]), "v2": image(["b"])})
    for prefix in ("", "./", "some/folder/"):
        data = packed(tmp_path / "layout", prefix=prefix)
        tree = Tree(open_layout(opened(data, form, tmp_path, StreamOptions(layouts=True))))
        named = "image" if form == "stdin" else "archive"
        assert list(tree.inventory.repositories) == ["app", named]
        assert tree.verify(level="content" if form == "tar" else "links").findings == ()


def test_two_layouts_in_one_archive_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_oci_layout(tmp_path / "both" / name, {"v1": image([name])})
    (tmp_path / "both.tar").write_bytes(packed(tmp_path / "both"))
    with pytest.raises(NotARegistry, match="more than one OCI layout: below a/ and b/"):
        regfs.open(str(tmp_path / "both.tar"))


def test_a_tree_that_holds_a_file_called_oci_layout_stays_a_tree(tmp_path: Path) -> None:
    tree = TreeBuilder(tmp_path)
    tree.push("app", "v1", image(["a"]))
    for name in ("oci-layout", "index.json"):
        (tmp_path / name).write_text("{}")
    assert list(regfs.open(str(tmp_path)).inventory.repositories) == ["app"]
    (tmp_path / "t.tar").write_bytes(packed(tmp_path))
    assert list(regfs.open(str(tmp_path / "t.tar")).inventory.repositories) == ["app"]


def test_what_has_no_name_belongs_where_it_is_listed_or_what_it_is_about(tmp_path: Path) -> None:
    one, other, alone = image(["a"]), image(["b"]), image(["c"])
    signature = artifact(subject=one)
    counter = artifact(["counter"], subject=signature)
    lost = artifact(["lost"], subject=image(["nowhere"]))
    both = index(one, other)
    make_oci_layout(
        tmp_path / "out", {"app:v1": both, "b:v1": other, **dict(zip("123456", (
            counter, signature, lost, one, alone, other), strict=True))},
    )  # fmt: skip
    document = json.loads((tmp_path / "out/index.json").read_bytes())
    for entry in document["manifests"][2:]:
        del entry["annotations"]
    (tmp_path / "out/index.json").write_bytes(dumps(document))
    found = regfs.open(str(tmp_path / "out")).inventory.repositories
    revisions = {name: set(one.revisions) for name, one in found.items()}
    assert revisions == {
        "app": {one.digest, other.digest, both.digest, signature.digest, counter.digest},
        "b": {other.digest},
        "out": {lost.digest, alone.digest},
    }
    assert not found["out"].tags


def test_hosts_stay_in_names_only_where_images_differ(tmp_path: Path) -> None:
    one, other = image(["a"]), image(["b"])
    names = {"a.io/app:v1": one, "b.io:5000/app:v1": other, "a.io/x:v1": one, "b.io/x:v1": one}
    make_oci_layout(tmp_path / "out", names)
    found = regfs.open(str(tmp_path / "out")).inventory.repositories
    assert sorted(found) == ["a.io/app", "b.io-5000/app", "x"]


def test_schema_1_and_unknown_manifests_keep_what_they_name(tmp_path: Path) -> None:
    old = schema1("app", "old", ["a"])
    make_oci_layout(tmp_path / "out", {"app:old": old})
    tree = regfs.open(str(tmp_path / "out"))
    assert set(tree.inventory.repositories["app"].layers) == {one.digest for one in old.blobs}


# -- damage -------------------------------------------------------------------------------


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """A layout with one image, `app:v1`."""
    make_oci_layout(tmp_path / "out", {"app:v1": image(["a", "b"])})
    return tmp_path / "out"


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


IMAGE = image(["a", "b"])


def _break(layout: Path, how: str) -> None:
    top, manifest = _blob(layout, IMAGE.blobs[-1].digest), _blob(layout, IMAGE.digest)
    match how:
        case "missing layer":
            top.unlink()
        case "missing manifest":
            manifest.unlink()
        case "flipped layer":
            top.write_bytes(top.read_bytes()[:-1] + b"!")
        case "flipped manifest":
            manifest.write_bytes(manifest.read_bytes() + b" ")
        case "no JSON":
            manifest.write_bytes(b"\xff" * 40)
        case "layer that leads out":
            top.unlink()
            top.symlink_to("/etc/hostname")
        case "fifo":
            top.unlink()
            os.mkfifo(top)
        case "stray":
            (layout / "blobs/sha256/readme").write_text("x")
        case "wrong size":
            entries(layout, {**IMAGE.descriptor(), "size": 7, "annotations": {KEY: "app:v1"}})
        case "second":
            other = image(["z"])
            _blob(layout, other.digest).write_bytes(other.data)
            notes = {"annotations": {KEY: "app:v1"}}
            entries(layout, *({**one.descriptor(), **notes} for one in (IMAGE, other)))
        case "no name":
            entries(layout, {**IMAGE.descriptor(), "annotations": {KEY: "../../etc"}})
        case "no digest":
            odd = [{"size": 1}, 7, None, {"digest": "sha256:x"}, {"digest": ["a"]}]
            entries(layout, *odd, {**IMAGE.descriptor(), "annotations": {KEY: "app:v1"}})


@pytest.mark.parametrize(
    ("how", "code", "outcome"),
    [
        ("missing layer", Code.BLOB_MISSING, Exit.FINDINGS),
        ("missing manifest", Code.TAG_DANGLING, Exit.FINDINGS),
        ("flipped layer", Code.BLOB_CORRUPT, Exit.FINDINGS),
        ("flipped manifest", Code.BLOB_CORRUPT, Exit.FINDINGS),
        ("no JSON", Code.BLOB_CORRUPT, Exit.FINDINGS),
        ("layer that leads out", Code.SYMLINK_OUTSIDE, Exit.FINDINGS),
        ("fifo", Code.SPECIAL_FILE, Exit.FINDINGS),
        ("stray", Code.FOREIGN_PATH, Exit.CLEAN),
        ("wrong size", Code.DESCRIPTOR_SIZE_MISMATCH, Exit.FINDINGS),
        ("second", Code.TAG_AMBIGUOUS, Exit.FINDINGS),
        ("no name", Code.TAG_INVALID, Exit.CLEAN),
        ("no digest", Code.DESCRIPTOR_INVALID, Exit.FINDINGS),
    ],
)
def test_damage_is_a_finding(
    layout: Path, how: str, code: Code, outcome: Exit, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["-r", str(layout), "verify"]) == Exit.CLEAN.value
    capsys.readouterr()
    _break(layout, how)
    assert run(["-r", str(layout), "verify", "--json"]) == outcome.value
    captured = capsys.readouterr()
    assert code.value in [one["code"] for one in json.loads(captured.out)["findings"]]
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is not JSON"),
        (b"[" * 200_000, "is nested too deep"),
        (b"[]", "is no index: has no list of manifests"),
        (b'{"manifests": 7}', "is no index: has no list of manifests"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b'{"manifests": [{"size": ' + b"9" * 9000 + b"}]}", "is not JSON"),
    ],
)
def test_an_index_that_is_none_is_named_in_a_line(
    layout: Path, data: bytes, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (layout / "index.json").write_bytes(data)
    assert run(["-r", str(layout), "ls"]) == Exit.NOT_FOUND.value
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"regfs: {layout}: an OCI layout, but its index.json {words}")


def test_a_huge_index_is_not_read(layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (layout / "index.json").open("wb") as file:
        file.truncate(200 << 20)
    assert run(["-r", str(layout), "ls"]) == Exit.NOT_FOUND.value
    assert f"is larger than {LARGEST} bytes" in capsys.readouterr().err


def test_links_without_end_are_not_made(layout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oci_content, "MOST_LINKS", 9)
    notes = ({"annotations": {KEY: f"app{number}:v1"}} for number in range(4))
    entries(layout, *({**IMAGE.descriptor(), **one} for one in notes))
    with pytest.raises(NotARegistry, match="need more than 9 links"):
        regfs.open(str(layout))


def test_an_index_within_itself_ends(layout: Path) -> None:
    data = raw(dumps({"schemaVersion": 2, "mediaType": index(IMAGE).media_type,
                      "manifests": [index(IMAGE).descriptor(), IMAGE.descriptor()]}))  # fmt: skip
    _blob(layout, index(IMAGE).digest).write_bytes(data.data)  # lists itself, under a false name
    entries(layout, {**index(IMAGE).descriptor(), "annotations": {KEY: "app:v1"}})
    assert set(regfs.open(str(layout)).inventory.repositories["app"].revisions) == {
        index(IMAGE).digest,
        IMAGE.digest,
    }


def test_sha512_blobs_are_blobs(layout: Path) -> None:
    digest = digest_of(IMAGE.data, "sha512")
    place = _blob(layout, digest)
    place.parent.mkdir()
    place.write_bytes(IMAGE.data)
    entries(layout, {**IMAGE.descriptor(), "digest": digest, "annotations": {KEY: "app:v1"}})
    tree = regfs.open(str(layout))
    assert tree.inventory.repositories["app"].tags["v1"].current == Digest(digest)
    assert codes(tree) == [Code.BLOB_UNREFERENCED]  # the same manifest by sha256


def test_nothing_is_written_into_a_layout(layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(layout.rglob("*"))
    for command in (["gc", "plan"], ["rm", "app:v1"], ["tag", "app:v1", "x"], ["gc", "purge"],
                    ["heal", "--relink"], ["serve", "--writable", "--listen", "127.0.0.1:0"],
                    ["--allow-empty", "untag", "app:v1"]):  # fmt: skip
        assert run(["-r", str(layout), *command]) == Exit.REFUSED.value, command
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"regfs: {layout}: regfs reads an OCI layout and never changes it")
    assert sorted(layout.rglob("*")) == before


def test_a_layout_that_vanishes_is_a_storage_failure(layout: Path) -> None:
    store = open_layout(LocalStore(str(layout)))
    shutil.rmtree(layout)
    path = f"docker/registry/v2/blobs/sha256/{IMAGE.digest[7:9]}/{IMAGE.digest[7:]}/data"
    with pytest.raises(StoreError):
        store.read(path, 10)
