"""The four ways of README to a registry in a container, run as they are printed.

One test, because building the image and the file takes minutes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from regfs import __version__
from tests.support.archives import packed
from tests.support.containers import containers
from tests.support.examples import PROJECT
from tests.support.installed import (
    IMAGE,
    build_file,
    build_image,
    busybox_root,
    needs_building,
)
from tests.support.reference import run

README = (PROJECT / "README.md").read_text(encoding="utf-8")
SECTION = README.split("## A registry in a container\n")[1].split("\n## ")[0]
WAYS = re.findall(r"^\| `([^`]*)` \|", SECTION, re.MULTILINE)
BESIDE = f"docker run --rm --volumes-from registry:ro {IMAGE}"
WITHIN = "docker exec registry regfs"
SAME = 7
"""Lines of what a command prints that are the same each time."""


def tutorial(folder: Path) -> Path:
    """Return a copy of the tutorial's tree as a registry writes it, old enough to collect."""
    tree = folder / "tree"
    shutil.copytree(PROJECT / "fixtures/trees/tutorial", tree)
    for path in (tree, *tree.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (1e9, 1e9))
    return tree


def start_registry(folder: Path, tree: Path) -> None:
    """Run a container with busybox alone and a tree, which root owns, in its volume."""
    (folder / "root.tar").write_bytes(packed(busybox_root(folder / "root")))
    run("docker", "import", "--quiet", folder / "root.tar", "localhost/registry")
    volume = f"--volume={tree}:/var/lib/registry"
    run("docker", "run", "-d", "--name=registry", volume, "localhost/registry", "/bin/sleep", "999")


def shell(command: str, code: int = 0, words: str = "") -> str:
    """Run a command as a reader of README does; return what it prints.

    One that fails prints one line, with `words` in it.
    """
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True,
        env={**os.environ, "PATH": path}, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == code, (command, done)
    if code:
        assert re.fullmatch(r"regfs: [^\n]*\n", done.stderr), (command, done)
        assert words in done.stderr, (command, done)
    return done.stdout


def files(tree: Path) -> set[str]:
    return {str(path.relative_to(tree)) for path in tree.rglob("*")}


def as_nobody_special() -> None:
    """The image reads a tree of root's, and changes nothing."""
    assert shell(f"{BESIDE} --version") == f"regfs {__version__}\n"
    assert "no errors" in shell(f"{BESIDE} verify")
    shell(f"{BESIDE} untag my-busybox:latest", code=5)
    shell(f"docker run --rm {IMAGE}", code=4)  # no volume is mounted


def single_file(tree: Path) -> None:
    """The file has all that its commands need: modules imported by name, templates, scripts."""
    for command in (
        "schema", "ls -l", "gc plan", "files my-busybox-extended:latest", "man gc", "help serve",
    ):  # fmt: skip
        here = shell(f"regfs -r {tree} {command}").splitlines()[:SAME]
        assert shell(f"{WITHIN} {command}").splitlines()[:SAME] == here
    shell(f"{WITHIN} graph --format html -o /tmp/page.html")
    assert "d3" in shell("docker exec registry cat /tmp/page.html")
    shell("docker exec -d registry regfs serve")
    asked = "until wget -qO- http://127.0.0.1:5000/; do sleep 1; done"
    assert "my-busybox-extended" in shell(f"docker exec registry sh -c '{asked}' 2> {os.devnull}")

    # It brings what buckets take, and the certificates that this container lacks.
    keys = "-e AWS_ACCESS_KEY_ID=key -e AWS_SECRET_ACCESS_KEY=secret -e AWS_REGION=here"
    nowhere = f"{keys} -e AWS_ENDPOINT_URL=http://127.0.0.1:1"
    shell(f"docker exec {nowhere} registry regfs -r s3://bucket ls", 5, "connection refused")


def programs_and_processes(file: Path) -> None:
    """What the file runs has the machine's libraries; its own processes are the file once more."""
    shell(f"{WITHIN} -r docker://other ls", code=4)  # there is no such program
    script = file.with_name("docker")
    script.write_text("#!/bin/sh\nenv > /tmp/variables\nexit 9\n")
    script.chmod(0o755)
    run("docker", "cp", script, "registry:/bin/docker")
    shell(f"{WITHIN} -r docker://other ls", code=5)
    assert "LD_LIBRARY_PATH" not in shell("docker exec registry cat /tmp/variables")
    process = [str(file), "-I", "-S", "-c", "what Python would run"]
    ended = subprocess.run(process, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


@needs_building("buildah", "podman", "mmdebstrap", "busybox", "objcopy")
def test_the_ways_of_readme_to_a_container(tmp_path: Path) -> None:
    tree = tutorial(tmp_path)
    before = files(tree)
    expected = {
        what: shell(f"regfs -r {tree} {what}").splitlines()[:SAME] for what in ("du", "verify")
    }
    shutil.rmtree(tree / ".regfs")
    file = tmp_path / "dist/regfs"
    with containers(docker=True):
        build_image(tmp_path)
        build_file(file)
        start_registry(tmp_path, tree)
        run("docker", "cp", file, "registry:/usr/local/bin/")
        try:
            assert len(WAYS) == 4
            for way in WAYS:
                printed = shell(way.replace("\\|", "|"))
                assert printed.splitlines()[:SAME] == expected[way.split()[-1]], way
            as_nobody_special()
            single_file(tree)
            programs_and_processes(file)
            assert files(tree) == before

            # As the user that writes the tree, both collect.
            beside = BESIDE.replace(":ro", " --user 0")
            assert "Moved into quarantine: 1 blob" in shell(f"{beside} gc run --yes")
            assert before - files(tree)
            shell(f"{WITHIN} gc restore latest")
        finally:
            run("docker", "rm", "--force", "--time=0", "registry")
    assert {one for one in files(tree) if not one.startswith(".regfs")} == before


def test_the_version_of_the_image_is_that_of_regfs() -> None:
    dockerfile = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    assert f'image.version="{__version__}"' in dockerfile
