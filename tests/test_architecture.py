"""The house stands as designed: imports point down, rooms keep to their business.

The table of layers is here; a module that is in none of its rows fails the test.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import click
import pytest

import regfs
import regfs.manifests
from regfs.cli.app import COMMANDS, cli
from tests.support.builder import TreeBuilder, image, index

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = PROJECT / "regfs"

LAYERS: dict[str, int] = {
    **dict.fromkeys(("errors", "findings", "digest", "names", "layout", "progress", "parallel"), 0),
    "units": 0,
    **dict.fromkeys(("content", "documents", "manifests", "stores"), 1),
    **dict.fromkeys(("tree", "runs", "push"), 2),
    "graph": 3,
    **dict.fromkeys(("reports", "files", "verify", "heal", "gc", "edits", "exchange"), 4),
    "render": 5,
    "facade": 6,
    **dict.fromkeys(("cli", "server", "browse"), 7),
    **dict.fromkeys(("__main__", ""), 8),
}
"""Room -> layer; the empty name is regfs itself, which only hands names out."""

ARROWS = {
    ("digest", "errors"),
    ("names", "digest"),
    ("names", "errors"),
    ("layout", "digest"),
    ("layout", "errors"),
    ("content", "stores"),
    ("push", "runs"),
    ("push", "tree"),
    ("heal", "verify"),
    ("reports", "files"),
    ("reports", "gc"),
    ("edits", "gc"),
    ("edits", "reports"),
    ("exchange", "edits"),
    ("cli", "server"),
    ("cli", "browse"),
}
"""Who may import a neighbour on its own layer."""

PURE = (
    "reports",
    *("gc.policy", "gc.decisions", "gc.retention", "gc.roots", "gc.tags"),
    *("gc.mark", "gc.actions", "gc.limit", "gc.candidates", "gc.plan"),
)
"""Rooms that are tested without a disk."""

IMPURE = {"os", "pathlib", "io", "shutil", "subprocess", "socket", "tempfile", "glob", "threading"}

CHANGES = {"create", "append", "move", "replace", "move_many", "delete", "delete_tree", "lock",
           "claim", "share"}  # fmt: skip
"""Methods of a Store that change what it holds."""


def modules() -> list[str]:
    """Return the name below regfs of every module; a package goes by its own name."""
    names = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


MODULES = modules()


@cache
def source(module: str) -> ast.Module:
    base = PACKAGE.joinpath(*module.split(".")) if module else PACKAGE
    path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(module: str) -> Iterator[str]:
    """Yield every module that a module imports, anywhere in it."""
    for node in ast.walk(source(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                below = inner.removeprefix("regfs.")
                is_module = inner.startswith("regfs.") and below in MODULES
                yield inner if is_module else str(node.module)


def inside(module: str) -> Iterator[str]:
    """Yield the modules of regfs that a module imports, named from regfs on."""
    for name in imports(module):
        if name == "regfs" or name.startswith("regfs."):
            yield name[6:]


def room(module: str) -> str:
    """Return the row of the table that a module belongs to: its package, or itself at the top."""
    name = module.partition(".")[0]
    assert name in LAYERS, f"regfs.{module} is in no layer"
    return name


@pytest.mark.parametrize("module", MODULES)
def test_imports_only_point_down(module: str) -> None:
    here = room(module)
    for other in inside(module):
        there = room(other)
        if there == "" and (LAYERS[here] >= LAYERS["cli"] or module == "content.cluster"):
            continue  # the version, which workers have to have as well
        allowed = there == here or (here, there) in ARROWS or LAYERS[there] < LAYERS[here]
        assert allowed, f"regfs.{module} imports regfs.{other}"


def test_in_the_room_of_buckets_too_imports_only_point_down() -> None:
    """What only reads a bucket knows nothing of what changes it."""
    floors = ("meter", "place", "requests", "listing", "store", "changing", "opening")

    def floor(module: str) -> int:
        return floors.index(module.removeprefix("stores.bucket.").partition(".")[0])

    within = [module for module in MODULES if module.startswith("stores.bucket.")]
    for module in within:
        for other in inside(module):
            assert other not in within or floor(other) <= floor(module), f"{module}: {other}"


def test_every_row_of_the_table_is_a_room() -> None:
    assert {room(module) for module in MODULES} == set(LAYERS)
    for here, there in ARROWS:
        users = [module for module in MODULES if room(module) == here]
        assert any(room(other) == there for module in users for other in inside(module))


ARCHITECTURE = (PROJECT / "docs/architecture.md").read_text(encoding="utf-8")
DRAWN = 46
"""Columns of the drawing that hold names; words follow."""


def test_the_drawing_has_the_layers_of_the_table() -> None:
    drawing = ARCHITECTURE.split("```")[1].strip("\n").splitlines()
    rows = [line[:DRAWN].split() for line in drawing if line[:DRAWN].strip()]
    drawn = [LAYERS[name] for row in rows for name in row]
    assert drawn == sorted(drawn, reverse=True)
    assert {name for row in rows for name in row} == set(LAYERS) - {""}


@pytest.mark.parametrize("name", re.findall(r"`((?:regfs|tests|fixtures)/[\w/.]+)`", ARCHITECTURE))
def test_what_the_page_names_is_there(name: str) -> None:
    assert (PROJECT / name).exists()


@pytest.mark.parametrize("module", [m for m in MODULES if m.partition(".")[0] == "stores"])
def test_stores_know_nothing_of_what_they_store(module: str) -> None:
    known = {room(other) for other in inside(module)}
    assert known <= {"stores", "errors", "findings", "progress", "parallel"}


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith(PURE)])
def test_pure_rooms_touch_no_disk(module: str) -> None:
    assert {name.partition(".")[0] for name in imports(module)} & IMPURE == set()


def _calls(module: str) -> Iterator[tuple[str, str]]:
    """Yield receiver and name of every method and function that is called."""
    for node in ast.walk(source(module)):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield "", node.func.id
            elif isinstance(node.func, ast.Attribute):
                yield ast.unparse(node.func.value), node.func.attr


READS_ENVIRONMENT = "facade.environment"
"""So that a program finds the keys of a bucket where obstore finds them."""


@pytest.mark.parametrize(
    "module",
    [m for m in MODULES if m.partition(".")[0] != "cli" and m != READS_ENVIRONMENT],
)
def test_libraries_neither_print_nor_read_the_environment(module: str) -> None:
    calls = set(_calls(module))
    assert not calls & {("", "print"), ("", "input"), ("sys.stdout", "write")}
    used = {ast.unparse(n) for n in ast.walk(source(module)) if isinstance(n, ast.Attribute)}
    assert not used & {"os.environ", "os.getenv", "sys.stdout", "sys.stderr", "sys.argv"}
    assert not {"click", "rich.prompt"} & set(imports(module))


def test_a_class_name_stands_for_one_class() -> None:
    found = Counter(
        node.name.lstrip("_")
        for module in MODULES
        for node in ast.walk(source(module))
        if isinstance(node, ast.ClassDef)
    )
    # gc/policy.py has a stand-in for the model, which is loaded only when a policy has one.
    assert [name for name, count in found.items() if count > 1] == ["RetentionPolicy"]


WRITES = {
    "runs.journal": {"append"},
    "runs.changes": {"create", "move", "move_many", "delete"},
    "runs.undo": {"move", "move_many"},
    "runs.purge": {"delete"},
    "runs.prune": {"delete"},
    "runs.space": {"claim", "delete"},
    "runs.in_place": {"delete", "delete_tree"},
    "runs.lock": {"lock"},
    # What a registry does that takes pushes and deletes links, as its clients ask.
    "edits.transfer": {"create", "share"},  # content that another tree lacks
    "stores.bulk": {"create"},  # for whoever writes many files: `bulk` counts as a store here
    # A copy in another place, which only exports write; of an empty folder, the file that made it.
    "exchange.media": {"create", "delete"},
    "exchange.export": {"delete"},  # what a killed export was writing there
    "push.uploads": {"create", "append", "replace", "delete_tree"},
    "push.manifests": {"create", "delete"},
    "heal.fetching": {"create", "replace", "delete"},  # .regfs/heal; replace in a journaled run
    "heal.repair": {"lock", "delete_tree"},  # likewise
    "verify.ledger_file": {"create", "append", "lock"},  # .regfs/ledger, or a file outside the tree
}
"""Who may change what a store holds, and how."""


@pytest.mark.parametrize("module", MODULES)
def test_only_runs_change_a_tree(module: str) -> None:
    """But for what a registry does for its clients, and is not taken back, all is journaled."""
    changing = {
        name
        for receiver, name in _calls(module)
        if name in CHANGES and re.search(r"(^|[._])(store|bulk)$", receiver)
    }
    allowed = WRITES.get(module, set())
    assert changing <= allowed
    assert bool(changing) == bool(allowed)


WRITERS = {
    *(
        "gc.sweep",
        "gc.collect",
        "edits.carry_out",
        "edits.transfer",
        "exchange.opening",
        "exchange.importing",
    ),
    *("heal.repair", "heal.quarantine", "heal.relink"),
    *("push.uploads", "push.manifests"),
}
"""Who takes a store that was handed to it for reading as one to change."""

READERS = {"reports", "files", "graph", "tree", "content", "manifests", "render", "verify"}
"""Rooms that take a Store and no WritableStore, so that mypy sees that they change nothing."""


def _names(module: str) -> set[str]:
    """Return every name that a module uses."""
    nodes = list(ast.walk(source(module)))
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    return used | {node.name for node in nodes if isinstance(node, ast.alias)}


def test_who_reads_a_tree_cannot_change_it() -> None:
    assert {module for module in MODULES if ("", "writable") in set(_calls(module))} == WRITERS
    # A ledger is written to the file that it was given, wherever that is.
    takers = {module for module in MODULES if "WritableStore" in _names(module)}
    assert {module for module in takers if room(module) in READERS} == {"verify.ledger_file"}
    openers = {module for module in MODULES if "open_store" in _names(module)}
    assert {room(module) for module in openers} & READERS == {"content"}


def test_only_sweep_edits_and_heal_begin_a_run() -> None:
    """Edits move links that a person has named.

    Heal may: it puts back what a digest proves, and moves aside what a digest disproves.
    """
    users = {module for module in MODULES if ("", "changing") in set(_calls(module))}
    heal = {"heal.repair", "heal.quarantine", "heal.relink"}
    assert users == {"gc.sweep", "edits.carry_out", *heal}


def test_only_sweep_deletes_in_place() -> None:
    """It alone knows that the run was to delete at once, and that nobody else writes."""
    assert {module for module in MODULES if ("", "InPlace") in set(_calls(module))} == {"gc.sweep"}


# -- what an import costs --------------------------------------------------------------


def loaded(code: str, *arguments: str) -> set[str]:
    """Return the top-level modules that are loaded after `code` has run in a new Python."""
    script = f"import sys\n{code}\nsys.stderr.write('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=PROJECT,
    )
    return {name for name in done.stderr.splitlines() if "." not in name or "regfs" in name}


def test_importing_regfs_costs_nothing() -> None:
    names = loaded("import regfs")
    assert {name for name in names if name.startswith("regfs")} == {"regfs"}
    assert not names & {"networkx", "numpy", "pydantic", "click", "rich"}


def test_opening_a_tree_loads_neither_models_nor_graph(tree: TreeBuilder) -> None:
    names = loaded("import regfs\nregfs.open(sys.argv[1])", str(tree.root))
    assert "regfs.facade" in names
    assert not names & {"networkx", "numpy", "pydantic", "click", "rich", "regfs.graph", "regfs.gc"}


@pytest.mark.parametrize("name", regfs.__all__)
def test_public_names_exist(name: str) -> None:
    assert getattr(regfs, name).__name__ == name
    assert name in dir(regfs)


def test_public_names_do_not_hide_a_module() -> None:
    assert set(regfs.__all__).isdisjoint(MODULES)


def test_what_is_no_public_name() -> None:
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = regfs.nothing_like_it


def test_the_version_is_told_without_loading_anything() -> None:
    names = loaded("sys.argv = ['regfs', '--version']\nfrom regfs.cli import main\nmain()")
    assert not names & {"click", "rich", "pydantic", "networkx"}


def test_listing_loads_no_more_than_it_needs(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    code = "from regfs.cli.app import run\nassert run(['-r', sys.argv[1], 'ls']) == 0"
    names = loaded(code, str(tree.root))
    assert "click" in names
    assert not names & {"networkx", "aiohttp", "obstore", "jinja2"}
    assert not names & {"backports", "configparser", "decimal", "tempfile"}
    assert not {name for name in names if name.startswith(("regfs.stores.archive", "regfs.files"))}


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["browse", "--help"]])
def test_help_loads_no_server(arguments: list[str]) -> None:
    code = "from regfs.cli.app import run\nassert run(sys.argv[1:]) == 0"
    assert not loaded(code, *arguments) & {"aiohttp", "jinja2", "bcrypt", "networkx", "textual"}


def test_verifying_loads_no_more_than_it_needs(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    code = "from regfs.cli.app import run\nassert run(['-r', sys.argv[1], 'verify', '-q']) == 0"
    names = loaded(code, str(tree.root))
    assert not names & {"prometheus_client", "regfs.render.junit", "regfs.render.metrics"}


@pytest.mark.parametrize(
    "command",
    [
        ["verify", "--level", "sizes"],
        ["verify"],
        ["du"],
        ["info"],
        ["reuse"],
        ["bases"],
        ["gc", "plan"],
    ],
)
def test_a_tree_of_plain_images_loads_no_models(tree: TreeBuilder, command: list[str]) -> None:
    tree.push("app", "v1")
    tree.push("app", "v2", index(image(["layer"]), image(["other"])))
    code = "from regfs.cli.app import run\nassert run(['-r', *sys.argv[1:]]) == 0"
    names = loaded(code, str(tree.root), *command)
    assert not names & {"pydantic", "regfs.manifests.models"}


def test_planning_loads_no_more_than_it_needs(tree: TreeBuilder) -> None:
    tree.push("app", "v1")
    code = "from regfs.cli.app import run\nassert run(['-r', sys.argv[1], 'gc', 'plan']) == 0"
    names = loaded(code, str(tree.root))
    assert "regfs.gc.plan" in names
    assert not names & {"socket", "regfs.reports.lineage", "regfs.verify", "regfs.heal"}


def test_the_explorer_begins_without_what_reads_a_tree() -> None:
    """Its first screen has to come at once."""
    names = loaded("import regfs.browse.app")
    assert not names & {"pydantic", "networkx", "regfs.graph", "regfs.verify", "regfs.gc"}


def test_what_is_no_name_of_manifests() -> None:
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = regfs.manifests.nothing_like_it


# -- the commands ------------------------------------------------------------------------


def commands() -> dict[str, click.Command]:
    """Return every command by its full name, sub-commands included."""
    found = {}
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None, name
        found[name] = command
        if isinstance(command, click.Group):
            found |= {f"{name} {sub}": made for sub, made in command.commands.items()}
    return found


EVERY = commands()


@pytest.mark.parametrize("name", EVERY)
def test_help_tells_what_how_and_the_exit_codes(name: str) -> None:
    command = EVERY[name]
    context = click.Context(command, info_name=f"regfs {name}", help_option_names=["-h", "--help"])
    text = command.get_help(context)
    assert command.get_short_help_str(limit=200)
    assert re.search(rf"Examples:\n\s+regfs {name}\b", text) or f"\n  regfs {name} " in text
    assert all(len(line) < 80 for line in text.splitlines())
    codes = text.partition("Exit codes:")[2]
    assert re.search(r"^\s+0\s+clean$", codes, re.MULTILINE)
    for code in ("2", "4", "5", "130"):
        assert re.search(rf"^\s+{code}\s+\w", codes, re.MULTILINE), code
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.name


@pytest.mark.parametrize("name", [name for name in EVERY if name != "gc"])
def test_every_command_takes_the_common_options(name: str) -> None:
    options = {flag for option in EVERY[name].params for flag in option.opts}
    assert {"--root", "-r", "--quiet", "--verbose"} <= options


@pytest.mark.parametrize("name", EVERY)
def test_every_command_stands_in_readme(name: str) -> None:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert re.search(rf"\bregfs {name}\b", readme)


def test_no_module_imports_itself_through_others() -> None:
    known = set(MODULES)
    needs = {
        # A package hands out what its modules define.
        module: {one for one in inside(module) if one in known and not one.startswith(f"{module}.")}
        for module in MODULES
        if module
    }
    list(TopologicalSorter(needs).static_order())


def test_no_file_is_longer_than_can_be_read_at_once() -> None:
    lines = {str(file): len(file.read_text().splitlines()) for file in PACKAGE.rglob("*.py")}
    assert {name: count for name, count in lines.items() if count > 500} == {}


def test_tests_share_helpers_by_support_only() -> None:
    lines = {
        f"{file.relative_to(PROJECT)}: {line}"
        for file in (PROJECT / "tests").rglob("*.py")
        for line in file.read_text().splitlines()
        if re.match(r"\s*(from|import) tests\S*\.test_", line)
    }
    assert not lines
