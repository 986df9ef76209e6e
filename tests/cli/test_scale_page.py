"""What docs/scale.md shows is run as it stands: the job of Kubernetes, the array of Slurm."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from regfs.cli.app import run
from regfs.cli.session import Exit
from tests.make_fixtures import TREES

PAGE = (Path(__file__).parents[2] / "docs/scale.md").read_text()
TOTAL = 16


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def job() -> Any:
    (text,) = blocks("yaml")
    return yaml.safe_load(text)


def shell(script: str, folder: Path, **variables: str) -> int:
    """Run a script of the page, whose volume is a folder, with regfs on the path."""
    command = folder / "regfs"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m regfs "$@"\n')
    command.chmod(0o755)
    for place in ("/results", "/shared"):
        script = script.replace(place, str(folder))
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", **variables}
    return subprocess.run(["sh", "-c", script], env=environment, check=False).returncode


def test_the_job_is_one_that_kubernetes_takes(job: Any) -> None:
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == TOTAL
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] in ("Never", "OnFailure")
    (container,) = pod["containers"]
    assert {one["name"] for one in container["volumeMounts"]} == {
        one["name"] for one in pod["volumes"]
    }


@pytest.mark.parametrize("tree", ["tutorial", "damaged-layer-flipped"])
def test_shares_of_the_job_cover_everything_once(
    job: Any, tree: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four of the sixteen shares are run as pods would, the others in this process."""
    (container,) = job["spec"]["template"]["spec"]["containers"]
    root = str(TREES / tree)
    for index in range(TOTAL):
        if index % 5:
            part = f"{tmp_path}/part-{index}"
            subset = ("--subset", f"{index + 1}/{TOTAL}")
            assert run(["-r", root, "verify", "-q", *subset, "--ledger", part]) in (0, 1)
        else:
            (script,) = container["command"][2:]
            variables = {"JOB_COMPLETION_INDEX": str(index), "REGFS_ROOT": root}
            assert shell(script, tmp_path, **variables) == 0
    capsys.readouterr()
    parts = sorted(map(str, tmp_path.glob("part-*")))  # and their locks, which are empty
    assert len(parts) == 2 * TOTAL
    code = run(["-r", root, "verify", "--merge", *parts, "--ledger", f"{tmp_path}/all"])
    told = capsys.readouterr().out
    assert code == (0 if tree == "tutorial" else Exit.FINDINGS.value)
    assert ("blob-corrupt" in told) == (tree != "tutorial")
    assert not re.search(r"not (?:yet )?verified", told)


def test_the_array_of_slurm_writes_its_parts(tmp_path: Path) -> None:
    (script,) = [text for text in blocks("sh") if "SBATCH" in text]
    root = str(TREES / "tutorial")
    script = script.replace("s3://images/prod", root)
    for task in ("1", str(TOTAL)):
        assert shell(script, tmp_path, SLURM_ARRAY_TASK_ID=task) == 0
        assert (tmp_path / f"part-{task}").stat().st_size > 0
