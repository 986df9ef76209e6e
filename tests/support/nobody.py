"""What a user without rights sees: work done, or a command run, as `nobody`.

ran = run_as_nobody("-r", str(tree.root), "ls")
assert (ran.code, ran.err) == (0, "")
"""

from __future__ import annotations

import io
import os
import pickle
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from regfs.cli.app import run

NOBODY = 65_534


class Ran(NamedTuple):
    """What a command has done."""

    code: int
    out: str
    err: str


def as_nobody(work: Callable[[], Any]) -> Any:
    """Return what `work` returns when a user without rights does it."""
    if os.geteuid() != 0:
        return work()
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # forking beside idle threads of the test runner
        child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            try:
                answer = pickle.dumps((work(), None))
            except BaseException as error:
                answer = pickle.dumps((None, repr(error)))
            os.write(writer, answer)
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    result, trouble = pickle.loads(answer)
    assert trouble is None, trouble
    return result


def run_as_nobody(*arguments: str) -> Ran:
    """Run a command line without rights.

    Once as who we are first, so that no module is loaded from where nobody may read.
    """
    _run(arguments)
    answer: Ran = as_nobody(lambda: _run(arguments))
    return answer


def _run(arguments: tuple[str, ...]) -> Ran:
    kept = sys.stdout, sys.stderr
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in kept)
    sys.stdout, sys.stderr = out, err
    try:
        code = run(list(arguments))
    finally:
        sys.stdout, sys.stderr = kept
    return Ran(code, *(_text(stream) for stream in (out, err)))


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read()


@contextmanager
def public_folder() -> Iterator[Path]:
    """Make a folder that anybody can get to while the block runs; pytest's own are private."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
