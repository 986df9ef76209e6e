"""What commands print with --json: every form of every command, against its schema.

A new command without a document, a document without a form, and a flag or choice that no form
gives, each fail a test here.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
from jsonschema import Draft202012Validator

import regfs
from regfs.cli.app import cli, run
from regfs.cli.common import COMMON
from regfs.cli.schema import documents, schema_of

TREES = Path(__file__).parents[2] / "fixtures/trees"
TUTORIAL = TREES / "tutorial"

FORMS = {
    "info": ["info"],
    "ls": ["ls", "ls -l", "ls --empty"],
    "ls tags": ["ls my-busybox", "ls -l my-busybox"],
    "ls entries": ["ls my-busybox-extended:latest", "ls -l my-busybox-extended:latest"],
    "ls untagged": ["ls --untagged", "ls --untagged -l", "ls --untagged my-busybox-extended"],
    "ls orphans": ["ls --orphans", "ls -l --orphans"],
    "ls uploads": ["ls --uploads", "ls --uploads my-busybox"],
    "show": ["show my-busybox-extended", "show --paths my-busybox", "show my-busybox@{manifest}"],
    "show part": ["show 25b1600519c0", "show my-busybox@25b1600519c0"],
    "show raw": ["show --raw my-busybox-extended", "show --raw my-busybox"],
    "referrers": ["referrers my-busybox-extended-attest:sbom", "referrers my-busybox"],
    "sbom": ["sbom my-busybox-extended-attest:sbom --platform linux/amd64"],
    "sbom packages": ["sbom my-busybox-extended-attest:sbom --packages --format spdx"],
    "files": [
        "files my-busybox",
        "files my-busybox bin -l --depth 1",
        "files my-busybox-extended --platform linux/amd64 --recursive",
        "files my-busybox-extended --layer 2 --tree",
    ],
    "files find": [
        "files --find busybox",
        "files my-busybox --find '*/s*'",
        f"files --sha256 {'0' * 64}",
    ],
    "buildkit": [
        "buildkit my-busybox-extended:latest",
        "buildkit my-busybox-extended-classic",
        "buildkit my-busybox-extended-cached:buildcache-index",
    ],
    "log": ["log my-busybox", "log my-busybox:latest -n 1"],
    "diff": [
        "diff my-busybox my-busybox-extended:latest",
        "diff my-busybox my-busybox-extended:latest --times --platform linux/amd64 -n 5",
        "diff 270795096978 471ddda1bb23 --name-only",
        "diff my-busybox my-busybox-extended-plain:default --no-files",
        "diff my-busybox my-busybox --exit-code",
    ],
    "why": ["why 25b1600519c0", "why my-busybox:latest", "why my-busybox"],
    "du": [
        "du",
        "du my-busybox",
        "du my-busybox:latest",
        *(f"du --by {by}" for by in ("repository", "tag", "layer", "namespace", "media-type")),
        *(f"du --sort {size}" for size in ("stored", "apparent", "unique", "shared", "name")),
    ],
    "du rm": ["du --rm my-busybox", "du --rm my-busybox:latest"],
    "reuse": ["reuse", "reuse my-busybox"],
    "waste": [
        "waste",
        "waste my-busybox-extended:latest --fail-under 0.5 -n 3",
        "waste --recompress --sample 1MB",
    ],
    "bases": ["bases", "bases my-busybox-extended:latest"],
    "graph": ["graph --format json", "graph --format json --no-blobs my-busybox"],
    "graph file": [
        *(
            f"graph --format {form} -o picture"
            for form in ("dot", "mermaid", "graphml", "gexf", "json", "sqlite", "html")
        )
    ],
    "verify": [
        *(f"verify --level {level}" for level in ("links", "sizes", "digests", "content")),
        "verify --no-ledger my-busybox",
        "verify --only-blobs --subset 1/1",
        "verify --quarantine",
    ],
    "verify ndjson": ["verify --ndjson"],
    "schema": ["schema"],
    "verify merge": ["! verify --ledger part", "verify --merge part"],
    "heal": [
        *(f"heal --from {TUTORIAL} --level {level}" for level in ("sizes", "digests")),
        f"heal --from {TUTORIAL} --sparse --insecure --dry-run",
        "heal --relink --dry-run",
        "heal --relink",
    ],
    "rm": [
        "rm my-busybox-extended:latest --dry-run --recursive",
        "rm my-busybox-extended:latest",
        "rm my-busybox --offline --gc",
    ],
    "untag": ["untag my-busybox:latest --dry-run", "untag my-busybox:latest --offline"],
    "tag": [
        "tag my-busybox:latest stable --dry-run",
        "tag my-busybox:latest my-busybox:stable --offline --force",
    ],
    "rollback": [
        "! cp my-busybox:latest my-busybox-extended:latest --force",
        "rollback my-busybox-extended:latest --dry-run",
        "rollback my-busybox-extended:latest -1 --offline",
    ],
    "mv": ["mv my-busybox web --dry-run --recursive", "mv my-busybox web --offline"],
    "cp": [
        "cp my-busybox:latest web:v1 --dry-run",
        "cp my-busybox:latest --to other --dry-run --allow-empty",
        "cp my-busybox:latest --to other --allow-empty",
        "cp my-busybox:latest my-busybox-extended:latest --offline --force",
    ],
    "export": [
        "export --to copy --list blobs.txt",
        "export my-busybox:latest --to copy --replace",
        "export --to layout --format oci --since copy",
        "export --to copy.tar --format tree --since blobs.txt",
    ],
    "import": [
        "! untag my-busybox:latest",
        f"import {TUTORIAL} --dry-run",
        f"import {TUTORIAL} my-busybox:latest --with {TUTORIAL} --offline",
        f"import {TUTORIAL} --replace",
    ],
    "gc plan": [
        "gc plan",
        "gc plan -m --offline --leftovers --empty-repositories",
        "gc plan -m --delete-referrers-of-dangling --delete-referrers-of-subject -o plan.json",
        "gc plan --allow-no-manifests --policy keep.toml --explain",
        "gc plan --roots in-use.txt --ignore-missing-roots",
        "! gc plan --subset 1/2 -o part",
        "gc plan --merge part",
        "gc run --dry-run -m --offline --leftovers --empty-repositories --allow-no-manifests",
        "gc run -n -m --delete-referrers-of-dangling --delete-referrers-of-subject",
        "gc run -n --roots in-use.txt --ignore-missing-roots",
    ],
    "gc apply": [
        "gc apply plan.json --offline",
        "! gc restore {run}",
        "! gc plan -m --offline -o again.json",
        "gc apply again.json --offline --purge",
    ],
    "gc run": ["gc run -m --offline --yes", "gc run --offline --yes --purge"],
    "gc restore": ["gc restore {run}"],
    "gc purge": [
        "gc purge --offline --discard",
        "gc purge --roots in-use.txt --ignore-missing-roots",
        "gc purge --yes",
    ],
    "gc plan subset": ["gc plan --subset 1/2 -o part"],
    "gc purge dry-run": ["gc purge --dry-run", "gc purge -n --offline"],
    "gc runs": ["gc runs"],
    "config": ["config", "config --all"],
}
"""Document -> command lines that print it; those with `!` only prepare the next."""


def commands(group: click.Group = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield every command that does something: its name in words, and itself."""
    context = click.Context(group)
    for name in group.list_commands(context):
        made = group.get_command(context, name)
        if isinstance(made, click.Group):
            yield from commands(made, (*path, name))
        else:
            yield " ".join((*path, name)), made


COMMANDS = dict(commands())
WITH = {name for name, made in COMMANDS.items() if "as_json" in {one.name for one in made.params}}
"""Commands that have --json."""


def command_of(text: str) -> str:
    """Return the name of the command that a document or a command line begins with."""
    words = f"{text.removeprefix('! ')} "
    return max((name for name in COMMANDS if words.startswith(f"{name} ")), key=len)


def test_a_command_prints_documents_or_has_no_option_for_them() -> None:
    assert {command_of(name) for name in documents()} == WITH


def test_every_document_has_forms() -> None:
    assert set(documents()) == set(FORMS)


BYTES = {"--cat", "--tar"}
"""Flags with which a command writes bytes, and no document."""


@pytest.mark.parametrize("command", sorted(WITH))
def test_every_flag_and_every_choice_is_in_a_form(command: str) -> None:
    given = {
        word
        for forms in FORMS.values()
        for form in forms
        if command_of(form) == command
        for word in shlex.split(form)
    }
    for option in COMMANDS[command].params:
        if not isinstance(option, click.Option) or option.name in COMMON:
            continue
        names = {*option.opts, *option.secondary_opts}
        if isinstance(option.type, click.Choice):
            assert set(option.type.choices) <= given, names
        elif option.is_flag:
            assert names & (given | BYTES), names


# -- the schemas ------------------------------------------------------------------------------


@cache
def validator(name: str) -> Draft202012Validator:
    """Return what checks a document; it takes no key that the schema does not have."""
    schema = schema_of(name)
    Draft202012Validator.check_schema(schema)
    if name != "show raw":  # written by others
        _close(schema)
    return Draft202012Validator(schema)


def _close(schema: Any) -> None:
    for inner in schema.values() if isinstance(schema, dict) else schema:
        if isinstance(inner, (dict, list)):
            _close(inner)
    if isinstance(schema, dict) and isinstance(schema.get("properties"), dict):
        schema["additionalProperties"] = False


class Printer:
    """Runs forms on a copy of a tree, in its folder."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._root = root
        self._capsys = capsys
        self._known = {
            "manifest": (
                root
                / "docker/registry/v2/repositories/my-busybox/_manifests/tags/latest/current/link"
            ).read_text()
        }

    def print(self, form: str) -> tuple[int, Any]:
        """Return the exit code and the document."""
        arguments = shlex.split(form.removeprefix("!").format(**self._known))
        code = run(["-r", str(self._root), *arguments, "--json"])
        captured = self._capsys.readouterr()
        assert captured.out.endswith("\n") or "--raw" in arguments or not captured.out
        document = json.loads(captured.out) if captured.out else None
        if isinstance(document, dict) and document.get("run"):
            self._known["run"] = document["run"]
        return code, document

    def quietly(self, form: str) -> tuple[int, str, str]:
        """Return the exit code, and what is printed with -q for people."""
        arguments = shlex.split(form.removeprefix("!").format(**self._known))
        code = run(["-r", str(self._root), *arguments, "-q"])
        return code, *self._capsys.readouterr()

    def plainly(self, form: str) -> str:
        """Return what is printed for people."""
        arguments = shlex.split(form.removeprefix("!").format(**self._known))
        assert run(["-r", str(self._root), *arguments]) in (0, 1), form
        return self._capsys.readouterr().out


def prepare(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Printer:
    """Return what prints forms in a new folder, where a plan and a run have been made."""
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    shutil.copytree(TUTORIAL, folder / "tree")
    (folder / "other").mkdir()
    (folder / "in-use.txt").write_text("my-busybox:latest\nmy-busybox:none\n")
    (folder / "keep.toml").write_text(
        '[[policies]]\nrepositories = ["**"]\n[[policies.keepTags]]\npatterns = [".*"]\n'
    )
    made = Printer(folder / "tree", capsys)
    for form in ("gc plan -m --offline -o plan.json", "gc run -m --offline --yes"):
        made.print(form)
    return made


@pytest.fixture
def printer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Printer:
    return prepare(tmp_path, capsys, monkeypatch)


@pytest.mark.parametrize("name", [name for name in FORMS if name != "verify ndjson"])
def test_what_is_printed_follows_its_schema(name: str, printer: Printer) -> None:
    for form in FORMS[name]:
        code, document = printer.print(form)
        assert code in (0, 1), form
        if not form.startswith("!"):
            validator(name).validate(document)
    for file in Path.cwd().glob("plan*.json"):
        validator("gc plan").validate(json.loads(file.read_text()))


ACTS = [
    *FORMS["verify"],
    *FORMS["heal"],
    *(form for form in FORMS["gc apply"] if not form.startswith("!")),
    *FORMS["gc run"],
    *FORMS["gc restore"],
    "gc purge --offline --discard",
    "gc plan -o plan.json",
]
"""Command lines that check or change a tree."""


@pytest.mark.parametrize("form", [form for form in ACTS if "--dry-run" not in form])
def test_quiet_prints_nothing_when_all_is_well(form: str, printer: Printer) -> None:
    if "again.json" in form:
        printer.print("gc plan -m --offline -o again.json")
    assert printer.quietly(form) == (0, "", "")


def test_quiet_prints_answers_and_problems(
    printer: Printer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for form in ("ls", "du", "gc plan", "gc run -n", "gc runs", f"heal --from {TUTORIAL} -n"):
        assert printer.quietly(form)[1] != "", form
    shutil.copytree(TREES / "damaged-layer-flipped", tmp_path / "bad")
    assert run(["-r", str(tmp_path / "bad"), "verify", "-q"]) == 1
    assert "blob-corrupt" in capsys.readouterr().out


DAMAGED = [
    *("info", "ls", "ls untagged", "du", "reuse", "waste", "bases"),
    *("verify", "gc plan", "gc runs"),
]


@pytest.mark.parametrize("damage", sorted(path.name for path in TREES.glob("damaged-*")))
def test_what_is_printed_of_a_damaged_tree_follows_its_schema(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "tree"
    shutil.copytree(TREES / damage, root)
    for name in DAMAGED:
        assert run(["-r", str(root), *FORMS[name][0].split(), "--json"]) in (0, 1)
        validator(name).validate(json.loads(capsys.readouterr().out))
    assert run(["-r", str(root), "verify", "--ndjson"]) in (0, 1)
    rows = capsys.readouterr().out.splitlines()
    assert rows
    for row in rows:
        validator("verify ndjson").validate(json.loads(row))


@pytest.mark.parametrize("name", documents())
def test_no_row_is_described_as_an_array(name: str) -> None:
    # pydantic describes a named tuple as an array; printed, it is an object.
    rows = [one for one in schema_of(name).get("$defs", {}).values() if "prefixItems" in one]
    assert not rows, "give it a dataclass"


def test_a_missing_key_and_a_key_too_many_do_not_pass(printer: Printer) -> None:
    _, document = printer.print("du")
    validator("du").validate(document)
    assert not validator("du").is_valid({**document, "more": 1})
    del document["rows"][0]["stored"]
    assert not validator("du").is_valid(document)


# -- regfs schema ----------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["gc", "plan"], ["gc plan"], ["gc-plan"]])
def test_a_schema_is_found_by_the_words_of_the_command(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["schema", *words]) == 0
    assert json.loads(capsys.readouterr().out) == schema_of("gc plan")


def test_all_schemas_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert listed == documents()
    assert {"info", "gc plan", "ls tags", "verify merge"} <= set(listed)
    assert run(["schema", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == listed


@pytest.mark.parametrize("command", ["cat x", "completion bash", "help", "man", "serve"])
def test_json_is_refused_where_there_is_no_document(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["--json", *command.split()]) == 2
    name = command.split()[0]
    assert f"regfs {name} prints no JSON document" in capsys.readouterr().err
    assert run([*command.split(), "--json"]) == 2
    monkeypatch.setenv("REGFS_JSON", "1")  # meant for those that have one
    assert run(["-r", str(TUTORIAL), "help"]) == 0


@pytest.mark.parametrize(
    "words", [["nothing"], ["gc"], ["gc", "nothing"], ["cat"], [".."], ["app"], [""], ["-"]]
)
def test_a_command_without_a_document_has_no_schema(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["schema", "--", *words]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("regfs: ")


# -- terminals --------------------------------------------------------------------------------

WIDTHS = (40, 60, 80, 120)
DIGEST = re.compile(r"\b(?:sha256:[0-9a-f]{64}|[0-9a-f]{64}|[0-9a-f]{12})\b")
RUN = re.compile(r"\b\d{8}T\d{6}Z-[0-9a-f]{6}\b")


@cache
def names() -> list[str]:
    """Return the names of all repositories and tags of the tree."""
    repositories = regfs.open(str(TUTORIAL)).inventory.repositories.values()
    tags = [f"{one.name}:{tag}" for one in repositories for tag in one.tags]
    return [*(one.name for one in repositories), *tags]


@pytest.mark.parametrize("name", sorted({*FORMS} - {"show raw"}))
def test_names_and_identifiers_are_whole_at_any_width(
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What 200 columns show stands at any other width as well, on one line."""
    shown: dict[tuple[int, str], list[str]] = {}
    for width, option in [(200, ""), (200, "-v"), (40, "-v"), *((width, "") for width in WIDTHS)]:
        made = prepare(tmp_path / f"{width}{option}", capsys, monkeypatch)
        monkeypatch.setenv("COLUMNS", str(width))
        shown[width, option] = [made.plainly(f"{form} {option}") for form in FORMS[name]]
    for (width, option), outputs in shown.items():
        for form, wide, narrow in zip(FORMS[name], shown[200, option], outputs, strict=True):
            told = {one for one in names() if one in wide} | set(DIGEST.findall(wide))
            assert [one for one in told if one not in narrow] == [], f"{form}: {width}"
            assert len(set(RUN.findall(narrow))) == len(set(RUN.findall(wide))), f"{form}: {width}"
