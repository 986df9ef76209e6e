"""Where the reference registry keeps its content, by its `config.yml`.

    storage:                             Storage("filesystem", {"rootdirectory": "/srv"})
      filesystem:
        rootdirectory: /srv

Versions 2 and 3 write the section alike. As there, a variable replaces a part of the file:
REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/srv one value, REGISTRY_STORAGE=inmemory the section.
Who calls says which variables there are.

All scalars are taken as text, and of nothing but text, lists and tables anything is made, so a
hostile document costs no more than its length. Keys taken over from an anchor (`<<`) are
refused where they matter: a few lines of them can stand for billions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from regfs.documents.loading import shown
from regfs.errors import DocumentInvalid

LARGEST: Final = 256 << 10
"""Bytes of a configuration."""
FILESYSTEM: Final = "filesystem"
DEFAULT_FOLDER: Final = "/var/lib/registry"
"""Where the registry stores if its configuration does not say."""
PREFIX: Final = "REGISTRY_STORAGE"
"""How the variables begin that replace parts of the section."""
_DRIVERS: Final = {
    "filesystem": "a folder",
    "inmemory": "memory",
    "s3": "S3",
    "s3aws": "S3",
    "gcs": "Google Cloud Storage",
    "azure": "Azure Blob Storage",
    "swift": "OpenStack Swift",
    "oss": "Alibaba Cloud OSS",
    "cos": "Tencent Cloud COS",
}
_BESIDE: Final = frozenset({"cache", "delete", "maintenance", "redirect", "tag"})
"""What stands beside the driver in the section."""
_BUCKETS: Final = ("bucket", "container", "rootdirectory")
"""Parameters that say where, and hold no secret."""
_SECTION: Final = re.compile(
    r"""^["']?storage["']?[ \t]*: | \A\s*(?=\{) [^\0]* [{,]\s*["']?storage["']?\s*:""",
    re.MULTILINE | re.VERBOSE,
)
"""A line of its own, or a part of a document in braces: JSON is YAML."""


@dataclass(frozen=True, slots=True)
class Storage:
    """The driver of a registry, and where it stores. Its text holds no secret."""

    driver: str
    parameters: Mapping[str, str]
    """Those that say where: `rootdirectory`, `bucket`, `container`. Never a secret."""
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)
    """All that the driver is given, secrets too; of a table in it each part by itself
    (`credentials.clientid`), and the whole as JSON."""

    @property
    def folder(self) -> str:
        """The folder of the driver `filesystem`."""
        return self.parameters.get("rootdirectory") or DEFAULT_FOLDER

    @property
    def place(self) -> str:
        """Where it stores, in words: `S3 (bucket images, rootdirectory /prod)`."""
        known = _DRIVERS.get(
            self.driver, f"{shown(self.driver)}, a driver that regfs does not know"
        )
        where = ", ".join(f"{key} {value}" for key, value in self.parameters.items() if value)
        return f"{known} ({where})" if where else known


def is_configuration(text: str) -> bool:
    """Return whether a text looks like the configuration of a registry."""
    return _SECTION.search(text) is not None


def read_storage(data: bytes, name: str, variables: Mapping[str, str]) -> Storage:
    """Return the storage of a configuration; `name` is that of the file, for messages.

    Raises:
        DocumentInvalid: it is not valid, or names no driver or several.
    """
    if len(data) > LARGEST:
        raise DocumentInvalid(f"{name}: is larger than {LARGEST} bytes")
    document = _parsed(data, name)
    section = _table(document, name).get("storage", "")
    for variable in sorted(variables, key=lambda one: (one.count("_"), one)):
        section = _replaced(section, variable, variables[variable])
    if isinstance(section, str) and section:
        return Storage(section.lower(), {})
    section = _table(section or {}, f"{name}: storage")
    drivers = [key for key in section if key.lower() not in _BESIDE]
    if len(drivers) != 1:
        found = " and ".join(map(shown, drivers[:3])) if drivers else "none"
        raise DocumentInvalid(f"{name}: storage: must name one driver, found {found}")
    (driver,) = drivers
    values = section[driver] or {}
    values = _table(values, f"{name}: storage.{driver}")
    lower = {key.lower(): value for key, value in values.items()}
    texts: dict[str, Any] = {key: lower[key] for key in _BUCKETS if key in lower}
    for key, value in texts.items():
        if not isinstance(value, str):  # else the default would be another registry
            raise DocumentInvalid(f"{name}: storage.{driver}.{key}: must be text")
    return Storage(driver.lower(), texts, _settings(lower))


def _settings(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings of a driver as text."""
    found = {}
    for key, value in values.items():
        if isinstance(value, str):
            found[key] = value
        elif isinstance(value, dict):
            parts = {str(one): text for one, text in value.items() if isinstance(text, str)}
            found[key] = json.dumps(parts)
            found |= {f"{key}.{one.lower()}": text for one, text in parts.items()}
    return found


def _replaced(section: Any, variable: str, value: str) -> Any:
    """Return the section with what a variable says in place of what the file says."""
    keys = variable.removeprefix(PREFIX).strip("_").lower().split("_")
    new = _parsed(value.encode(errors="surrogateescape"), f"${variable}")
    if keys == [""]:
        return new
    changed = dict(section) if isinstance(section, dict) else {}
    table = changed
    for key in keys[:-1]:
        inner = table.get(key)
        table[key] = dict(inner) if isinstance(inner, dict) else {}
        table = table[key]
    table[keys[-1]] = new
    return changed


def _table(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise DocumentInvalid(f"{place}: must be a table")
    if "<<" in value:
        raise DocumentInvalid(f"{place}: takes keys over from an anchor (<<): write them out")
    return value


def _parsed(data: bytes, name: str) -> Any:
    """Return a YAML document as text, lists and tables.

    Raises:
        DocumentInvalid: it is none.
    """
    import yaml  # only for such roots

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        return yaml.load(data, Loader=loader)
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f":{error.problem_mark.line + 1}"
        raise DocumentInvalid(f"{name}{line}: not YAML: {error.problem or error.context}") from None
    except RecursionError:
        raise DocumentInvalid(f"{name}: nested too deep") from None
    except (yaml.YAMLError, ValueError, TypeError) as error:
        words = " ".join(str(error).split())[:200]
        raise DocumentInvalid(f"{name}: not YAML: {words}") from None
