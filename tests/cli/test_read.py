"""The commands that only look: what they print, and with which code they end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner

from regfs.cli import du
from regfs.cli.app import cli, run
from regfs.cli.session import Exit
from regfs.reports.usage import By, Sort
from tests.support.builder import TreeBuilder, blob_of, buildkit, digest_of, image, index
from tests.support.damage import DAMAGE

TUTORIAL = Path(__file__).parents[2] / "fixtures/trees/tutorial"
BUSYBOX = "25b1600519c0"


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Regfs = Callable[..., Ran]


@pytest.fixture
def regfs(
    tree: TreeBuilder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Regfs:
    """Run a command on the tree of the test."""
    monkeypatch.delenv("COLUMNS", raising=False)  # pytest-xdist sets it

    def runs(*arguments: str, root: Path | None = None) -> Ran:
        code = run(["-r", str(root or tree.root), *arguments])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return runs


def document(ran: Ran) -> Any:
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def spawn(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "regfs", *arguments], capture_output=True, timeout=60, **options
    )


# -- the story of the tutorial ------------------------------------------------


def test_are_layers_reused(regfs: Regfs) -> None:
    ran = regfs("reuse", root=TUTORIAL)
    assert ran.out.startswith("Yes: 2 of 4 layers are used by more than one image.\n")
    assert f"{BUSYBOX} (1.08 MB) is stored once and used by 7 images in 6 repositories" in ran.out


def test_what_is_built_on_what(regfs: Regfs) -> None:
    lines = regfs("bases", root=TUTORIAL).out.splitlines()
    assert lines[0].split() == ["my-busybox:latest", "1", "layer,", "1.08", "MB"]
    assert any(line.startswith("|- my-busybox-extended:latest ") for line in lines)


def test_info_counts(regfs: Regfs) -> None:
    found = document(regfs("info", "--json", root=TUTORIAL))
    assert (found["repositories"], found["tags"], found["owner"]) == (6, 8, "plain")
    assert found["uploads"]["count"] == found["unreferenced"]["count"] == 1


def test_du_adds_up_to_the_disk(regfs: Regfs) -> None:
    found = document(regfs("du", "--json", root=TUTORIAL))
    files = [path for path in TUTORIAL.rglob("*") if path.is_file()]
    assert found["disk"]["total"]["bytes"] == sum(path.stat().st_size for path in files)


def test_du_rm_shows_what_removal_would_free(regfs: Regfs) -> None:
    ran = regfs("du", "--rm", "my-busybox:latest", root=TUTORIAL)
    assert "Removing this frees 754 B" in ran.out
    found = document(regfs("du", "--rm", "my-busybox", "--json", root=TUTORIAL))
    assert found["freed"]["bytes"] == 754
    assert found["keepers"][0]["bytes"] == found["kept"]["bytes"]


def test_show_prints_the_instruction_of_each_layer(regfs: Regfs) -> None:
    ran = regfs("show", "my-busybox-extended", root=TUTORIAL)
    assert "my-busybox-extended:latest" in ran.out
    assert "COPY epoch.sh /epoch.sh" in ran.out
    assert "attestation" in ran.out


def test_why_a_layer_is_kept(regfs: Regfs) -> None:
    found = document(regfs("why", BUSYBOX, "--json", "--top", "100", root=TUTORIAL))
    tags = {place["name"] for path in found["paths"] for place in path if place["kind"] == "tag"}
    assert "my-busybox:latest" in tags
    assert len(found["layer_links"]) == 6


# -- ls -----------------------------------------------------------------------


def test_ls_prints_one_name_per_line(tree: TreeBuilder, regfs: Regfs) -> None:
    tree.push("team/b", "v1")
    tree.push("a", "v2")
    assert regfs("ls") == Ran(0, "a\nteam/b\n", "")
    assert regfs("ls", "a").out == "a:v2\n"


def test_ls_of_a_pattern(tree: TreeBuilder, regfs: Regfs) -> None:
    for name in ("team/a", "team/b", "other"):
        for tag in ("v2", "v10", "latest"):
            tree.push(name, tag, image([f"{name} {tag}"]))
    tree.push("team/a", None, image(["untagged"]))
    assert regfs("ls", "team/*").out == regfs("ls", "team/").out == "team/a\nteam/b\n"
    assert regfs("ls", "*/*:v*").out == "team/a:v2\nteam/a:v10\nteam/b:v2\nteam/b:v10\n"
    assert regfs("ls", "other").out == "other:latest\nother:v2\nother:v10\n"
    assert "team/b:v10" in regfs("ls", "-l", "team/*:v*").out
    assert len(document(regfs("ls", "team/*", "--untagged", "--json"))["tags"]) == 1
    assert document(regfs("ls", "team/*", "--empty", "--json")) == {"repositories": []}
    assert regfs("ls", "x*").code == Exit.NOT_FOUND.value
    assert regfs("ls", "team/*:v*", "--untagged").code == Exit.USAGE.value


def test_patterns_where_several_are_meant(tree: TreeBuilder, regfs: Regfs) -> None:
    for name in ("team/a", "team/b", "other"):
        tree.push(name, "v1", image([name]))
    rows = document(regfs("du", "team/", "team/a", "--json"))["rows"]
    assert sorted(row["name"] for row in rows) == ["team/a", "team/b"]
    assert document(regfs("du", "--rm", "team/*:v1", "--json"))["freed"]["bytes"] > 0
    assert regfs("reuse", "team/*").code == regfs("verify", "team/*").code == 0
    assert "can mean several" in regfs("show", "team/*").err


def test_ls_works_without_networkx_and_without_a_scan(tree: TreeBuilder) -> None:
    tree.push("app", "v1", index(image()))
    tree.push("app", None, image(["untagged"]))
    script = (
        "import sys\n"
        "sys.modules['networkx'] = None\n"
        "import regfs.tree.scan\n"
        "regfs.tree.scan.scan = None\n"
        "from regfs.cli.app import run\n"
        "sys.exit(run(sys.argv[1:]))"
    )
    for arguments in (["ls"], ["ls", "-l", "app"], ["ls", "app:v1"], ["ls", "--untagged"]):
        command = [sys.executable, "-c", script, "-r", str(tree.root), *arguments]
        done = subprocess.run(command, capture_output=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout


@pytest.mark.parametrize("arguments", [["ls"], ["ls", "app"], ["ls", "a*"], ["config"]])
def test_plain_lists_load_no_models(tree: TreeBuilder, arguments: list[str]) -> None:
    """They are what people wait for at a prompt: pydantic takes as long as all else."""
    tree.push("app", "v1")
    script = (
        "import sys\n"
        "sys.modules['pydantic'] = None\n"
        "from regfs.cli.app import run\n"
        "sys.exit(run(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", script, "-r", str(tree.root), *arguments]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_ls_long_shows_platforms_and_sizes(tree: TreeBuilder, regfs: Regfs) -> None:
    tree.push("app", "v1", index(image(["a"]), image(["b"], platform="linux/arm64")))
    ran = regfs("ls", "-l", "app")
    assert "linux/amd64, linux/arm64" in ran.out
    found = document(regfs("ls", "app", "-l", "--json"))
    assert found["tags"][0]["digest"] == tree.current("app", "v1")


def test_ls_lists_untagged_uploads_and_empty_repositories(tree: TreeBuilder, regfs: Regfs) -> None:
    old = tree.push("app", "v1", image(["old"]))
    tree.push("app", "v1", image(["new"]))
    upload = tree.upload("app", 10)
    tree.folder(tree.repository_path("nothing") / "_layers")
    assert regfs("ls", "--untagged").out == f"app@{old}\n"
    assert regfs("ls", "--untagged", "app").out == f"app@{old}\n"
    assert upload in regfs("ls", "--uploads").out
    assert regfs("ls", "--empty").out == "nothing\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("ls", "--untagged", "--uploads"),
        ("ls", "--empty", "app"),
        ("ls", "--uploads", "app:v1"),
        ("du", "--rm"),
        ("du", "--by", "weight"),
        ("show",),
    ],
)
def test_contradictory_options_exit_2(
    tree: TreeBuilder, regfs: Regfs, arguments: tuple[str, ...]
) -> None:
    tree.push("app", "v1")
    ran = regfs(*arguments)
    assert (ran.code, ran.out) == (2, "")


# -- show and cat -------------------------------------------------------------


def test_raw_is_the_manifest_byte_for_byte(tree: TreeBuilder) -> None:
    content = image(["layer"])
    tree.push("app", "latest", content)
    for arguments in (["show", "--raw", "app"], ["cat", "app:latest"], ["cat", content.digest]):
        result = CliRunner().invoke(cli, ["-r", str(tree.root), *arguments])
        assert result.stdout_bytes == content.data


def test_cat_streams_what_is_larger_than_a_manifest(tree: TreeBuilder) -> None:
    data = os.urandom(5 << 20)
    tree.push("app", "v1", image([data]))
    done = spawn("-r", str(tree.root), "cat", digest_of(data))
    assert (done.returncode, done.stdout == data) == (0, True)


def test_cat_by_another_algorithm(tree: TreeBuilder) -> None:
    blob = blob_of("layer")
    other = digest_of(blob.data, "sha512")
    tree.push("app", "v1", image([blob]))
    tree.layer_link("app", other, blob.digest)
    result = CliRunner().invoke(cli, ["-r", str(tree.root), "cat", f"app@{other}"])
    assert result.stdout_bytes == blob.data


def test_cat_writes_nothing_of_a_small_blob_that_is_corrupt(
    tree: TreeBuilder, regfs: Regfs
) -> None:
    layer = blob_of("layer")
    tree.push("app", "v1", image([layer]))
    path = tree.break_("blob-flipped", "app", "v1")
    ran = regfs("cat", layer.digest)
    assert (ran.code, ran.out) == (1, "")
    assert path in ran.err


def test_cat_of_a_large_corrupt_blob_exits_1(tree: TreeBuilder) -> None:
    data = bytes(5 << 20)
    tree.push("app", "v1", image([data]))
    tree.break_("blob-flipped", "app", "v1")
    done = spawn("-r", str(tree.root), "cat", digest_of(data))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "kind", ["manifest-missing", "manifest-empty", "manifest-flipped", "manifest-too-large"]
)
@pytest.mark.parametrize("extra", [[], ["--raw"], ["--json"]])
def test_show_of_a_damaged_manifest_is_one_line(
    tree: TreeBuilder, regfs: Regfs, kind: str, extra: list[str]
) -> None:
    tree.push("app", "v1")
    path = tree.break_(kind, "app", "v1")
    ran = regfs("show", "app:v1", *extra)
    assert (ran.code, ran.out) == (1, "")
    assert path in ran.err
    assert len(ran.err.splitlines()) == 1


def test_show_of_an_incomplete_image_ends_with_findings(tree: TreeBuilder, regfs: Regfs) -> None:
    tree.push("app", "v1", image(["layer"]))
    path = tree.break_("blob-missing", "app", "v1")
    ran = regfs("show", "app:v1")
    assert ran.code == 1
    assert f"{path}: layer is not there" in ran.err


def test_a_name_alone_means_its_tag_latest(tree: TreeBuilder, regfs: Regfs) -> None:
    tree.push("app", "v1")
    ran = regfs("show", "app")
    assert ran.code == 2
    assert "name a tag: v1" in ran.err


# -- references ---------------------------------------------------------------


@pytest.mark.parametrize("command", ["show", "cat", "why", "ls", "du", "reuse"])
def test_unknown_references_are_not_found(tree: TreeBuilder, regfs: Regfs, command: str) -> None:
    tree.push("app", "v1")
    for reference in ("nobody", "app:nothing", "sha256:" + "0" * 64, "app@" + "0" * 12):
        ran = regfs(command, reference)
        assert (ran.code, ran.out) == (4, ""), reference
        assert len(ran.err.splitlines()) == 1


def test_an_ambiguous_digest_lists_the_candidates(tree: TreeBuilder, regfs: Regfs) -> None:
    for last in "01":
        tree.write(tree.blob_path("sha256:" + "a" * 63 + last), b"x")
    ran = regfs("why", "a" * 12)
    assert ran.code == 2
    assert "a" * 63 + "0" in ran.err
    assert "a" * 63 + "1" in ran.err


# -- any tree, any terminal ---------------------------------------------------

COMMANDS = [
    ("info",),
    ("ls",),
    ("ls", "-l"),
    ("ls", "--untagged", "-l"),
    ("ls", "--uploads"),
    ("du",),
    ("du", "--by", "tag"),
    ("du", "--by", "layer"),
    ("du", "--by", "media-type"),
    ("reuse",),
    ("bases",),
]


@pytest.mark.parametrize("kind", sorted(DAMAGE))
def test_every_report_works_on_a_damaged_tree(tree: TreeBuilder, regfs: Regfs, kind: str) -> None:
    tree.push("app", "v1", image(["base", "top"]))
    tree.push("app", "v2", buildkit(image(["base", "else"])))
    tree.break_(kind, "app", "v1")
    for command in COMMANDS:
        for extra in ([], ["--json"]):
            ran = regfs(*command, *extra)
            assert ran.code in (0, 1), (command, ran.err)
            # What could not be read is said, and nothing else is.
            lines = ran.err.splitlines()
            assert all(line.startswith("regfs: incomplete. ") for line in lines)
            assert (ran.code == 1) is bool(lines), (command, ran.err)
            if extra:
                json.loads(ran.out)
    for command in (("show", "app:v1"), ("why", "app:v1"), ("ls", "-l", "app"), ("du", "app:v1")):
        ran = regfs(*command)
        assert ran.code in (0, 1, 4), (command, ran.err)
        assert "internal error" not in ran.err


@pytest.mark.parametrize("command", COMMANDS)
def test_an_empty_registry_is_fine(tree: TreeBuilder, regfs: Regfs, command: tuple[str]) -> None:
    assert regfs(*command).code == 0


def test_escape_sequences_never_reach_the_terminal(tree: TreeBuilder, regfs: Regfs) -> None:
    evil = "\x1b[31mred\x07"
    config = {
        "config": {"Labels": {evil: evil}, "Env": [evil], "Cmd": [evil]},
        "history": [{"created_by": evil}],
        "author": evil,
    }
    tree.push("app", "v1", image(["layer"], config, annotations={evil: evil}))
    tree.folder(tree.repository_path(f"bad{evil}") / "_layers")
    for command in (("show", "app:v1"), ("ls",), ("ls", "-l"), ("du", "--by", "tag"), ("bases",)):
        ran = regfs(*command)
        assert ran.code == 0
        assert "\x1b" not in ran.out
        assert "\x07" not in ran.out


def test_names_that_are_not_utf8_are_shown_escaped(tree: TreeBuilder, regfs: Regfs) -> None:
    name = os.fsdecode(b"caf\xe9")
    tree.push(name, "v1")
    assert regfs("ls").out == "caf\\xe9\n"
    assert document(regfs("ls", "--json"))["repositories"][0]["name"] == name
    assert regfs("ls", name).code == 0
    assert regfs("du", "--by", "tag").code == 0


def test_a_reader_that_leaves_is_no_error(tree: TreeBuilder) -> None:
    for number in range(3000):
        tree.folder(tree.repository_path(f"repository-number-{number}") / "_layers")
    for command in ("ls", "ls -l", "ls --json", "show app --raw", "du"):
        tree.push("app", "latest")
        regfs = f"{sys.executable} -m regfs -r {tree.root} {command}"
        line = f"{regfs} | head -1; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", line], capture_output=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, b""), command


def test_piped_output_is_plain_and_never_cut(tree: TreeBuilder) -> None:
    long = "a-long-name/" * 15 + "end"
    tree.push(long, "v1", image(["layer"], {"history": [{"created_by": "RUN " + "x" * 3000}]}))
    env = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    assert long in spawn("-r", str(tree.root), "ls", "-l", env=env).stdout.decode()
    shown = spawn("-r", str(tree.root), "show", f"{long}:v1", env=env).stdout.decode()
    assert "RUN " + "x" * 3000 in shown
    assert "\x1b" not in shown


def test_tables_fit_a_narrow_terminal(tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch,
                                      regfs: Regfs) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", "80")
    root = tree.root.parent / "tutorial"
    shutil.copytree(TUTORIAL, root)
    for command in (("du",), ("du", "--by", "tag"), ("ls", "-l"), ("info",), ("reuse",)):
        ran = regfs(*command, root=root)
        assert max(len(line) for line in ran.out.splitlines()) <= 80 or command == ("info",)
    assert BUSYBOX in regfs("show", "my-busybox-extended-classic", root=root).out


def test_the_choices_of_du_are_those_of_the_report() -> None:
    assert set(du.ROWS) == {by.value for by in By}
    assert set(du.SORTS) == {sort.value for sort in Sort}


@pytest.mark.parametrize("command", ["info", "ls", "show", "cat", "why", "du", "reuse", "bases"])
def test_help_has_examples_and_exit_codes(regfs: Regfs, command: str) -> None:
    ran = regfs(command, "--help")
    assert ran.code == 0
    assert "Examples:" in ran.out
    assert "Exit codes:" in ran.out


def test_the_log_of_a_repository_is_a_table_of_eighty_columns(
    tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for tag in ("latest", "annotated"):
        tree.push("app", tag, image(["first"]))
        tree.push("app", tag, image(["first", "second"]))
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["-r", str(tree.root), "log", "app"]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split()[:5] == ["Set", "Tag", "Digest", "State", "Size"]
    states = [row[heading.index("State") :].split()[0] for row in rows if row.startswith("20")]
    assert states == ["current", "whole"] * 2
