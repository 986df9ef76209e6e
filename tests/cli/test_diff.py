"""`regfs diff` as people and scripts meet it: what is printed, and exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from regfs.cli.app import run
from tests.support.builder import TreeBuilder, image, layer

TUTORIAL = Path(__file__).parents[2] / "fixtures/trees/tutorial"


@pytest.fixture
def shop(tree: TreeBuilder, monkeypatch: pytest.MonkeyPatch) -> TreeBuilder:
    monkeypatch.setenv("COLUMNS", "80")
    base = layer({"base/file": b"x" * 2000})
    for tag, old, new in (("v1", b"1" * 50, b"2"), ("v2", b"3" * 50, b"4")):
        status = b"Package: tar\nVersion: 1." + new + b"\n\n"
        top = layer({"etc/a": old, f"etc/{tag}": new, "var/lib/dpkg/status": status})
        history = [{"created_by": "FROM base"}, {"created_by": f"RUN make {tag} # buildkit"}]
        config = {"config": {"Env": [f"TAG={tag}"]}, "history": history}
        tree.push("app", tag, image([base, top], config))
    return tree


def diff(tree: TreeBuilder, *arguments: str) -> int:
    return run(["-r", str(tree.root), "diff", *arguments])


SEEN = """\
- app:v1  DIGEST______, image
+ app:v2  DIGEST______, image

Layers: 123 B -> 123 B; 1 layer (123 B) shared
    Layer          Bytes   Instruction
-   DIGEST______   123 B   RUN make v1
+   DIGEST______   123 B   RUN make v2

Config
- env          TAG=v1
+ env          TAG=v2
- step         RUN make v1
+ step         RUN make v2

Packages: 1 up
     Package   Before   After
up   tar       1.2      1.4     dpkg

Files: 1 added (+1 B), 1 removed (-1 B), 2 changed (0 B)
    Before   After   Path                   What
~     50 B    50 B   /etc/a                 content
-      1 B           /etc/v1
+              1 B   /etc/v2
~     27 B    27 B   /var/lib/dpkg/status   content
"""


def test_what_people_see(shop: TreeBuilder, capsys: pytest.CaptureFixture[str]) -> None:
    assert diff(shop, "app:v1", "app:v2") == 0
    printed = re.sub(r"^─+\n", "", capsys.readouterr().out, flags=re.MULTILINE)
    printed = re.sub(r"\b[0-9a-f]{12}\b", "DIGEST______", printed)
    assert re.sub(r"\d\d\d B", "123 B", printed) == SEEN


def test_only_some_files_are_listed(shop: TreeBuilder, capsys: pytest.CaptureFixture[str]) -> None:
    assert diff(shop, "app:v1", "app:v2", "-n", "1") == 0
    printed = capsys.readouterr().out
    assert "and 3 more: raise --top, or --name-only" in printed
    assert "/etc/a" in printed and "/etc/v1" not in printed


def test_names_for_scripts(shop: TreeBuilder, capsys: pytest.CaptureFixture[str]) -> None:
    assert diff(shop, "--name-only", "app:v1", "app:v2") == 0
    names = ["/etc/a", "/etc/v1", "/etc/v2", "/var/lib/dpkg/status"]
    assert capsys.readouterr().out.splitlines() == names


def test_the_exit_code_for_scripts(shop: TreeBuilder) -> None:
    assert diff(shop, "--exit-code", "app:v1", "app:v1") == 0
    assert diff(shop, "--exit-code", "app:v1", "app:v2") == 1
    assert diff(shop, "app:v1", "app:v2") == 0


def test_what_could_not_be_read_is_never_silent(
    shop: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = shop.document(shop.current("app", "v2"))["layers"][1]["digest"]
    shop.blob_path(digest).unlink()
    for options in ([], ["--name-only"], ["--json"]):
        assert diff(shop, "app:v1", "app:v2", *options) == 1
        captured = capsys.readouterr()
        assert shop.relative(shop.blob_path(digest)) in captured.out + captured.err
        if options == ["--json"]:
            assert len(json.loads(captured.out)["problems"]) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["app:v1", "app:v3"], 4, "no such tag: app:v3"),
        (["app:v1", "app:v2@-1"], 4, "app:v2 has pointed to nothing before that"),
        (
            ["app:v1", "app:v2", "--platform", "linux/arm64"],
            4,
            "no image for linux/arm64 in both",
        ),
        (
            ["app:v1", "app:v1", "--platform", "linux/arm64"],
            4,
            "no image for linux/arm64 in both",
        ),
        (["app:v1", "app:v2", "--name-only", "--no-files"], 2, "leave nothing to print"),
        (["app:v1", "app:*"], 2, "not a tag"),
    ],
)
def test_what_cannot_be_compared(
    shop: TreeBuilder,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    assert diff(shop, *arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in " ".join(captured.err.split())


def test_control_characters_of_names_do_not_reach_the_terminal(
    tree: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b[31mred\nline"
    labels = {"config": {"Labels": {evil: evil}}}
    history = {"history": [{"created_by": evil}] * 2}
    tree.push("app", "v1", image(["a"]))
    tree.push("app", "v2", image(["a", layer({f"{evil}/x": evil.encode()})], labels | history))
    for options in ([], ["--name-only"]):
        assert diff(tree, "app:v1", "app:v2", *options) == 0
        printed = capsys.readouterr().out
        assert "\x1b" not in printed
        assert "\nline" not in printed
        assert r"\x1b[31mred\nline" in printed


def test_endless_values_are_cut(tree: TreeBuilder, capsys: pytest.CaptureFixture[str]) -> None:
    long = "1" * 100_000
    for tag, version in (("v1", "2"), ("v2", long)):
        status = f"Package: tar\nVersion: {version}\n\n".encode()
        steps = [{"created_by": f"ENV {tag} {n}", "empty_layer": True} for n in range(1000)]
        config = {"config": {"User": version}, "history": steps}
        tree.push("app", tag, image([layer({"var/lib/dpkg/status": status})], config))
    assert diff(tree, "app:v1", "app:v2") == 0
    printed = capsys.readouterr().out
    assert "(100,000 characters)" in printed
    assert "more: --json has all" in printed
    assert len(printed) < 30_000


def test_files_that_cannot_be_read_are_not_called_the_same(
    shop: TreeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    for tag in ("v1", "v2"):
        digest = shop.document(shop.current("app", tag))["layers"][1]["digest"]
        shop.blob_path(digest).write_bytes(b"no layer")
    assert diff(shop, "app:v1", "app:v2") == 1
    printed = capsys.readouterr().out
    assert "Files: not all could be read" in printed
    assert "the same" not in printed
