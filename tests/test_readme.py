"""README and docs/ tell the truth: examples print what they show, links lead somewhere.

`python -m tests.support.examples` writes what the examples print now into all pages.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from regfs.cli.app import cli
from tests.support.examples import PAGES, PROJECT, Reading, prepare, run, steps_of
from tests.support.reference import IN_CI, have

README = (PROJECT / "README.md").read_text(encoding="utf-8")
TEXTS = {str(path.relative_to(PROJECT)): path.read_text(encoding="utf-8") for path in PAGES}
PROGRAMS = ("skopeo", "buildah", "curl")


def options_of(command: click.Command) -> set[str]:
    """Return every option of a command and of the commands in it."""
    found = {flag for param in command.params for flag in (*param.opts, *param.secondary_opts)}
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            found |= options_of(inner)
    return found | {"-h", "--help"}


@pytest.mark.parametrize("page", [page for page, text in TEXTS.items() if steps_of(text)])
def test_the_examples_of_a_page_print_what_it_shows(page: str, tmp_path: Path) -> None:
    steps = steps_of(TEXTS[page])
    needed = [one for one in PROGRAMS if any(re.search(rf"\b{one}\b", s.command) for s in steps)]
    if not have(*needed) and not IN_CI:
        pytest.skip(f"not installed: one of {', '.join(needed)}")
    prepare(tmp_path)
    now, shown = Reading(), Reading()
    for step, outcome in zip(steps, run(TEXTS[page], tmp_path), strict=True):
        assert now.stable(outcome.printed) == shown.stable(step.shown), step.command
        assert outcome.code == 0, step.command


def test_the_pages_have_examples() -> None:
    assert len(steps_of(README)) >= 5
    assert len(steps_of(TEXTS["docs/guide.md"])) >= 5
    assert len(steps_of(TEXTS["docs/tutorial.md"])) >= 7


def test_the_first_command_looks_at_a_copy_of_the_tree(tmp_path: Path) -> None:
    first = README.split("```sh\n")[1].split("```")[0]
    _, copy, rest = first.partition("cp ")
    (tmp_path / "fixtures").symlink_to(PROJECT / "fixtures")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-ec", copy + rest], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert "layers are used by more than one image" in done.stdout
    assert "no errors" in done.stdout
    assert not (PROJECT / "fixtures/trees/tutorial/.regfs").exists()


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_to_files_and_headings_that_exist(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[page]):
        if target.startswith(("https://", "http://")):
            continue
        name, _, anchor = target.partition("#")
        path = (PROJECT / page).parent / name if name else PROJECT / page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}
            assert anchor in anchors, target


def test_every_page_of_docs_is_linked_from_readme() -> None:
    for page in TEXTS:
        assert page == "README.md" or f"({page}" in README, page


@pytest.mark.parametrize("page", TEXTS)
def test_options_that_a_page_gives_to_regfs_exist(page: str) -> None:
    known = options_of(cli)
    code = re.findall(r"^```(?:sh|console)\n(.*?)^```", TEXTS[page], re.DOTALL | re.MULTILINE)
    lines = [line for block in code for line in block.replace("\\\n", "").splitlines()]
    lines += re.findall(r"`(regfs [^`]*)`", TEXTS[page])
    for line in lines:
        for call in re.findall(r"(?<![\w/.-])regfs ([^|&#>]*)", line):
            for option in re.findall(r"(?<=\s)(--?[a-z][a-z-]*)", f" {call}"):
                assert option in known, f"{option} in: {line}"


def test_the_library_example_runs(tmp_path: Path) -> None:
    found = re.search(r"```python\n(.*?)```", TEXTS["docs/guide.md"], re.DOTALL)
    assert found is not None
    prepare(tmp_path)
    code = found[1].replace("/var/lib/registry", str(tmp_path / "tutorial"))
    for path in (tmp_path / "tutorial").rglob("*"):
        os.utime(path, (0, 0))  # old enough to be collected
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT)
    assert done.stdout.splitlines() == [
        "31 blobs, 13 manifests",
        "1109168 bytes in images",
        "sha256:25b1600519c0 is used by 7 images",
        "sha256:270795096978 is used by 5 images",
        "0 damaged images",
        "2 blobs would go",
    ], done.stderr


def test_the_test_command_of_readme_is_what_ci_runs() -> None:
    marked = README.split("<!-- test-command -->")[1]
    assert ".venv/bin/pytest" in marked.split("```")[1]
