"""What every test can ask for, and how hypothesis and the reference programs are used.

`REGFS_CI=1` says that nothing may be left out: a skipped test of the reference
programs then fails the run. `HYPOTHESIS_PROFILE` is dev (default), ci or thorough:
the first two try the same examples in each run and report a failing one as it was
drawn; thorough draws new ones, many more, and shrinks what fails.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from regfs.findings import Finding
from regfs.stores.local.root import V2
from regfs.stores.local.store import LocalStore, open_local
from tests.support.builder import TreeBuilder
from tests.support.real_buckets import Server
from tests.support.reference import IN_CI, ReferenceRegistry
from tests.support.shared import shared
from tests.support.stores import MEMORY

# No deadline: two cores shared with real registries say nothing about an example's speed.
_COMMON = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
# Shrinking takes up to five minutes a failure, and more where a step starts a registry.
_BOUNDED = settings(
    _COMMON, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate]
)
settings.register_profile("dev", _BOUNDED, max_examples=30)
settings.register_profile("ci", _BOUNDED, max_examples=100)
settings.register_profile("thorough", _COMMON, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if IN_CI else "dev"))

# No settings of whoever runs the tests.
for _name in [name for name in os.environ if name.startswith("REGFS_") and name != "REGFS_CI"]:
    del os.environ[_name]
os.environ["REGFS_CONFIG"] = os.devnull
os.environ["XDG_CACHE_HOME"] = os.devnull  # nothing is kept in the home of whoever runs them
# pytest-xdist sets it: what a test prints would be folded there only.
os.environ.pop("COLUMNS", None)

_left_out: list[str] = []


@pytest.fixture
def tree(tmp_path: Path) -> TreeBuilder:
    """A registry with nothing in it, where everything written is two days old."""
    return TreeBuilder(tmp_path / "registry")


@pytest.fixture
def memory() -> Iterator[Path]:
    """A new folder, in memory where there is such a place."""
    with tempfile.TemporaryDirectory(prefix="regfs-", dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture
def findings() -> list[Finding]:
    """What a listing reports."""
    return []


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of a registry with nothing in it."""
    folder = tmp_path / "registry"
    (folder / V2).mkdir(parents=True)
    return folder


@pytest.fixture
def local(root: Path) -> LocalStore:
    """The store of `root`."""
    return open_local(str(root))


@pytest.fixture
def registry_server() -> Iterator[Callable[[Path], ReferenceRegistry]]:
    """Start a docker-registry over a root; it ends with the test."""
    with ExitStack() as running:
        yield lambda root: running.enter_context(ReferenceRegistry(root))


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """Return the running server of a kind, which all workers share; started when first asked."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with ExitStack() as running:
        yield lru_cache(lambda kind: Server(kind, running.enter_context(shared(kind, folder))))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note each skipped test that drives a reference program."""
    if report.skipped and "reference" in report.keywords and not hasattr(report, "wasxfail"):
        _left_out.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI, fail when a test of the reference programs was left out."""
    if IN_CI and _left_out:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which tests made the run fail by being left out."""
    if IN_CI and _left_out:
        terminalreporter.section("left out in CI", red=True)
        for test in sorted(set(_left_out)):
            terminalreporter.line(test)
