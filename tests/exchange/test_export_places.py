"""export: places that will not do, copies of nothing, and what is told of a copy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import regfs
from regfs.cli.app import run
from regfs.errors import NotARegistry, Refused
from tests.support.buckets import bucket_of
from tests.support.builder import TreeBuilder, image
from tests.support.copies import files
from tests.support.disks import needs_mounts, small_disk
from tests.support.nobody import public_folder, run_as_nobody
from tests.support.registries import Oracle

# -- where nothing can be written --------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "code", "words"),
    [
        ("https://registry.example/x", 2, "skopeo copies from regfs serve"),
        ("ftp://host/x", 2, "a folder, a .tar, - (standard output), s3://BUCKET or"),
        ("docker://reg", 2, "regfs export --to - | docker cp - reg:/var/lib/registry"),
        ("podman://reg:/srv/x", 2, "regfs export --to - | podman cp - reg:/srv/x"),
        ("oci:layout", 2, "--format oci"),
        ("inventory:s3://bucket/manifest.json", 2, "not where an export can go"),
        ("copy.tar.gz", 2, "write a plain .tar"),
        ("nowhere/copy.tar", 5, "nowhere: no such folder; make it first"),
        ("file", 3, "there already, and no folder; name a folder, or a new .tar"),
        ("busy", 3, "holds mine, and is no copy that regfs export has written"),
        ("SOURCE", 3, "lies in the tree that is copied"),
        ("SOURCE/docker/copy", 3, "lies in the tree that is copied"),
        ("SOURCE/.regfs/copy.tar", 3, "lies in the tree that is copied"),
    ],
)
def test_a_place_that_will_not_do_is_told_with_what_would(
    shop: TreeBuilder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    to: str,
    code: int,
    words: str,
) -> None:
    here = tmp_path / "here"
    (here / "busy").mkdir(parents=True)
    (here / "busy/mine").write_text("mine")
    (here / "file").write_text("mine")
    before, source = files(here), files(shop.root)
    monkeypatch.chdir(here)
    assert (
        run(["-r", str(shop.root), "export", "--to", to.replace("SOURCE", str(shop.root))]) == code
    )
    said = capsys.readouterr()
    assert words in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert (files(here), files(shop.root)) == (before, source)


def test_a_list_that_has_no_folder_is_told_before_anything_is_written(
    shop: TreeBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, wanted = str(tmp_path / "copy.tar"), str(tmp_path / "nowhere/list")
    assert run(["-r", str(shop.root), "export", "--to", copy, "--list", wanted]) == 5
    assert "nowhere: no such folder; make it first" in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["registry"]


def test_who_may_not_write_a_copy_is_told_where() -> None:
    with public_folder() as place:
        tree, copy = TreeBuilder(place / "registry"), str(place / "copy")
        tree.push("app", "v1", image(["one"]))
        done = run_as_nobody("-r", str(tree.root), "export", "--to", copy)  # root has made it
        assert done.code == 5
        assert done.err.startswith(f"regfs: {copy}: ")
        assert "permission denied" in done.err


@needs_mounts
@pytest.mark.parametrize("to", ["copy", "copy.tar"])
def test_a_full_disk_is_told_with_its_place_and_a_copy_goes_on(
    shop: TreeBuilder, tmp_path: Path, to: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.push("app", "large", image([os.urandom(300_000), os.urandom(300_000)]))
    with small_disk("tmpfs", tmp_path, size=500_000) as disk:
        place = ["-r", str(shop.root), "export", "--to", str(disk / to)]
        assert run(place) == 5
        said = capsys.readouterr().err
        assert str(disk / to) in said
        assert "no space left on the device" in said
        assert said.count("\n") == 1
        assert (to == "copy.tar") == (list(disk.iterdir()) == [])
        if to == "copy":
            assert "the same command goes on" in said


def test_a_bucket_is_not_copied_into_itself(shop: TreeBuilder) -> None:
    with bucket_of(shop.root, "reg/") as bucket:
        before = dict(bucket.objects)
        for to in ("reg", "reg/docker/registry", "reg/docker/copy", "reg/.regfs/copy"):
            with pytest.raises(Refused, match="lies in the tree that is copied"):
                regfs.open("s3://bucket/reg", variables=os.environ).export_to(
                    f"s3://bucket/{to}", variables=os.environ
                )
        assert bucket.objects == before


# -- nothing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "form"),
    [("copy", "tree"), ("copy.tar", "tree"), ("copy", "oci"), ("copy.tar", "oci"), ("s3", "tree")],
)
def test_a_copy_of_nothing_is_an_empty_registry(
    shop: TreeBuilder, tmp_path: Path, to: str, form: str
) -> None:
    (tmp_path / "empty").mkdir()
    empty = regfs.open(str(tmp_path / "empty"), empty=True)
    with bucket_of():
        place = "s3://bucket/copy" if to == "s3" else str(tmp_path / to)
        assert empty.export_to(place, format=form, variables=os.environ).copied.blobs == 0
        copy = regfs.open(place, variables=os.environ)
        assert (copy.verify().findings, copy.summary().repositories) == ((), 0)
        done = regfs.open(str(shop.root)).import_from(place, variables=os.environ)
        assert done.edit.created == []
        if not to.endswith(".tar"):
            again = regfs.open(str(shop.root)).export_to(place, format=form, variables=os.environ)
            assert again.copied.blobs == len(Oracle(shop).blobs)


def test_an_empty_bucket_is_a_copy_only_while_no_run_has_changed_it(
    shop: TreeBuilder, tmp_path: Path
) -> None:
    with bucket_of() as bucket:
        with pytest.raises(NotARegistry):
            regfs.open("s3://bucket/copy", variables=os.environ)
        (tmp_path / "empty").mkdir()
        empty = regfs.open(str(tmp_path / "empty"), empty=True)
        empty.export_to("s3://bucket/copy", variables=os.environ)
        tree = regfs.open("s3://bucket/copy", variables=os.environ)
        tree.import_from(str(shop.root))
        for key in [one for one in bucket.objects if "/docker/" in one]:
            del bucket.objects[key]
        with pytest.raises(NotARegistry):
            regfs.open("s3://bucket/copy", variables=os.environ)


# -- what is told ----------------------------------------------------------------------------


def test_what_is_not_there_has_no_row(
    shop: TreeBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["-r", str(shop.root), "export", "--to", str(tmp_path / "copy")]
    assert run(arguments) == 0
    first = capsys.readouterr().out
    assert run(arguments) == 0
    second = capsys.readouterr().out
    assert [line.partition(":")[0] for line in (first + second).splitlines()] == [
        f"Exported to {tmp_path / 'copy'}".partition(":")[0],
        "Copied",
        f"Exported to {tmp_path / 'copy'}".partition(":")[0],
        "There already",
    ]


def test_what_older_skopeo_does_not_find_is_told(
    shop: TreeBuilder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.push("app", "docker", image(["base"], docker=True))
    program = ["-r", str(shop.root), "export", "--format", "oci", "--to"]
    assert run([*program, str(tmp_path / "all")]) == 0
    assert "Of Docker's media types: app:docker\nOlder skopeo" in capsys.readouterr().out
    assert run([*program, str(tmp_path / "one"), "app:docker"]) == 0
    assert "Older skopeo" not in capsys.readouterr().out
