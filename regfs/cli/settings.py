"""Settings: values of options from the environment and from regfs.toml.

    REGFS_ROOT=/srv/registry          root = "/srv/registry"
    REGFS_GC_MIN_AGE=1d               [gc]
                                      min-age = "1d"          # of every command of gc
    REGFS_GC_PURGE_OLDER_THAN=7d      [gc.purge]
                                      older-than = "7d"

The command line goes first, then the environment, `$XDG_CONFIG_HOME/regfs/regfs.toml` and
`/etc/regfs/regfs.toml`; or, instead of the two, the file that `$REGFS_CONFIG` names. Within each
the settings of one command go before those of its group. An empty variable is not set.

Nothing is deleted because of a setting that nobody sees. Options that delete more, ask less or
wait less (`TYPED`) are taken from the command line only; what else decides what is deleted
(`SHOWN`) is printed when it comes from here; and what protects recent data (`RAISED`) can only be
made longer than its default.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from regfs.errors import DocumentInvalid, printable

TYPED: Final = frozenset(
    {
        "allow-empty",
        "allow-no-manifests",
        "allow-tagless",
        "delete-untagged",
        "discard",
        "force",
        "gc",
        "ignore-missing-roots",
        "insecure",
        "keep-referrers-of-dangling",
        "keep-referrers-of-subject",
        "offline",
        "only-blobs",
        "purge",
        "quarantine",
        "recursive",
        "replace",
        "tls-verify",
        "wait",
        "yes",
    }
)
"""Options that only the command line can give."""
SHOWN: Final = frozenset(
    {
        "dry-run",
        "empty-repositories",
        "from",
        "leftovers",
        "max-freed",
        "min-age",
        "older-than",
        "policy",
        "relink",
        "roots",
        "roots-host",
        "sparse",
        "tag-history",
        "uploads-older-than",
    }
)
"""Options that are printed when a setting gives them."""
RAISED: Final = frozenset({"expire-uploads", "keep-journals", "min-age", "uploads-older-than"})
"""Durations that a setting can only make longer than the default."""

LARGEST: Final = 1 << 20
"""Bytes of a configuration file."""
FILE: Final = "regfs/regfs.toml"
SYSTEM: Final = "/etc"

Scope: TypeAlias = tuple[str, ...]
"""The names of a command: ("gc", "plan"); empty for options that all commands have."""


class Setting(NamedTuple):
    """A value from the environment or a file."""

    value: Any
    """Text from the environment, any TOML value from a file."""
    source: str
    """The variable, or the path of the file."""
    key: str
    """The variable, or the keys in the file: `gc.min-age`."""

    @property
    def place(self) -> str:
        """Where it was set, for a message."""
        return self.key if self.source == self.key else f"{printable(self.source)}: {self.key}"


class ConfigFile(NamedTuple):
    """A configuration file that was read."""

    path: str
    table: dict[str, Any]

    def find(self, scope: Scope, option: str) -> Setting | None:
        """Return the value of an option in one scope."""
        table = self.within(scope)
        # A table of that name is the scope of a command: [gc.purge].
        if option not in table or isinstance(table[option], dict):
            return None
        return Setting(table[option], self.path, ".".join((*scope, option)))

    def within(self, scope: Scope) -> dict[str, Any]:
        """Return the table of a scope; empty if there is none."""
        table: Any = self.table
        for name in scope:
            table = table.get(name, {})
            if not isinstance(table, dict):
                return {}
        return dict(table)


class OptionSettings:
    """All settings of one run."""

    def __init__(self, environment: Mapping[str, str], files: Sequence[ConfigFile]) -> None:
        self.environment = {
            name: value
            for name, value in environment.items()
            if name.startswith("REGFS_") and value
        }
        self.files = files

    def find(self, scope: Scope, option: str) -> Setting | None:
        """Return the value of an option of a command, unless nothing sets it."""
        return next(self._found(scope, option), None)

    def _found(self, scope: Scope, option: str) -> Iterator[Setting]:
        """Yield every value of an option, the one that counts first."""
        scopes = [scope[:length] for length in range(len(scope), 0, -1)] or [()]
        for one in scopes:
            name = variable(one, option)
            if name in self.environment:
                yield Setting(self.environment[name], name, name)
        for file in self.files:
            for one in scopes:
                found = file.find(one, option)
                if found is not None:
                    yield found

    def from_file(self, option: str) -> Setting | None:
        """Return what the files say of an option that all commands have."""
        found = (file.find((), option) for file in self.files)
        return next((one for one in found if one is not None), None)


def variable(scope: Scope, option: str) -> str:
    """Return the name of the variable of an option: `REGFS_GC_MIN_AGE`."""
    return "_".join(("REGFS", *scope, option)).replace("-", "_").upper()


def candidates(environment: Mapping[str, str]) -> list[str]:
    """Return the paths of the files that are read if they are there, the first goes first."""
    named = environment.get("REGFS_CONFIG")
    if named:
        return [named] if named != os.devnull else []
    home = environment.get("XDG_CONFIG_HOME", "")
    if not home.startswith("/"):  # the specification says to ignore it
        home = os.path.expanduser("~/.config")
    return [f"{folder}/{FILE}" for folder in (home, SYSTEM) if folder.startswith("/")]


def load_settings(environment: Mapping[str, str] = os.environ) -> OptionSettings:
    """Read the settings.

    Raises:
        DocumentInvalid: a file is there and cannot be read, or is not TOML.
    """
    must_exist = bool(environment.get("REGFS_CONFIG"))
    read = (_read(path, must_exist) for path in candidates(environment))
    return OptionSettings(environment, [file for file in read if file is not None])


def _read(path: str, must_exist: bool) -> ConfigFile | None:
    shown = printable(path)
    try:
        # Not to wait for the writer of a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            problem = _problem(os.fstat(descriptor))
            data = b"" if problem else os.read(descriptor, LARGEST + 1)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError) and not must_exist:
            return None
        reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
        raise DocumentInvalid(f"{shown}: {reason}") from None
    if len(data) > LARGEST:
        problem = f"is larger than {LARGEST} bytes"
    if problem:
        raise DocumentInvalid(f"{shown}: {problem}")
    from regfs.documents.loading import parsed

    table = parsed(data, shown)
    if not isinstance(table, dict):
        raise DocumentInvalid(f"{shown}: must be a table")
    return ConfigFile(path, table)


def _problem(found: os.stat_result) -> str:
    """Return why a file is not trusted as configuration; empty if it is."""
    if not stat.S_ISREG(found.st_mode):
        return "is not a file"
    return "can be written by everybody: chmod o-w" if found.st_mode & stat.S_IWOTH else ""
