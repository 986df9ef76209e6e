"""Two configs side by side: how containers start, labels, platform, history. Pure.

    environment  PATH   /bin   -> /bin:/app
    label        stage  (none) -> test
    step                RUN make -> (none)

Every key of a config counts, known or not, unless it says nothing (false, empty, null).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from regfs.manifests.image_config import ImageConfig
from regfs.reports.builder import builder_of, set_time
from regfs.reports.diff_layers import matching
from regfs.reports.instructions import instruction


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A value that is not the same."""

    field: str
    """`platform`, `environment`, `label`, `step` and so on; `other` for what has no name here."""
    key: str
    """Which one of several: the name of a variable, a label; else empty."""
    before: str | None
    """None: it is not there. A value that is no text is JSON."""
    after: str | None


_NAMES: Final = {
    "User": "user",
    "WorkingDir": "working_dir",
    "Entrypoint": "entrypoint",
    "Cmd": "command",
    "StopSignal": "stop_signal",
    "Healthcheck": "healthcheck",
    "Shell": "shell",
    "OnBuild": "on_build",
    "Env": "environment",
    "Labels": "label",
    "ExposedPorts": "port",
    "Volumes": "volume",
}
"""Keys of what a container starts with -> what they are called here."""
_SEVERAL: Final = frozenset({"Env", "Labels", "ExposedPorts", "Volumes"})
"""Those that have several values."""


def config_changes(before: ImageConfig, after: ImageConfig) -> Iterator[FieldChange]:
    """Yield what differs between two configs, but for their layers."""
    yield from _changed("builder", *({"": _builder(one)} for one in (before, after)))
    yield from _changed("set_times", *({"": set_time(one)} for one in (before, after)))
    for name in ("platform", "os_version", "author", "created"):
        yield from _changed(name, *({"": getattr(one, name) or None} for one in (before, after)))
    for key, name in _NAMES.items():
        several = key in _SEVERAL
        old, new = (_values(one.config.get(key), several=several) for one in (before, after))
        yield from _changed(name, old, new)
    yield from _changed("other", _rest(before), _rest(after))
    yield from _steps(before, after)


def _builder(config: ImageConfig) -> str | None:
    builder, version, _ = builder_of(config)
    return f"{builder} {version}".strip() or None


def annotation_changes(
    before: Mapping[str, str], after: Mapping[str, str]
) -> Iterator[FieldChange]:
    """Yield the annotations of two manifests that are not the same."""
    return _changed("annotation", before, after)


def _changed(
    field: str, before: Mapping[str, object], after: Mapping[str, object]
) -> Iterator[FieldChange]:
    for key in sorted(before.keys() | after.keys()):
        old, new = _text(before.get(key)), _text(after.get(key))
        if old != new:
            yield FieldChange(field, key, old, new)


def _values(value: Any, *, several: bool) -> dict[str, Any]:
    """Return the values of a key by their names, of which a single one has none."""
    if not several:
        return {"": value or None}
    if isinstance(value, list):
        pairs = (str(one).partition("=") for one in value)
        return {name: item for name, _, item in pairs}
    if not isinstance(value, dict):
        return {} if value is None else {"": value}
    # Ports and volumes are the keys of empty objects.
    return {name: "" if item in ({}, None) else item for name, item in value.items()}


def _rest(config: ImageConfig) -> dict[str, object]:
    """Return what has no name here and says something, by its keys."""
    inner = {f"config.{key}": one for key, one in config.config.items() if key not in _NAMES}
    # Docker writes much that is false or empty, which is the same as to leave it out.
    return {key: one for key, one in ((config.model_extra or {}) | inner).items() if one}


def _text(value: object) -> str | None:
    if value is None or value in ([], {}):
        return None
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _steps(before: ImageConfig, after: ImageConfig) -> Iterator[FieldChange]:
    """Yield the steps of the histories that only one has, and whether the others differ."""
    old, new = before.history, after.history
    texts = [[(instruction(one.created_by), one.empty_layer) for one in h] for h in (old, new)]
    pairs = matching(*texts)
    first = second = 0
    for here, there in [*pairs, (len(old), len(new))]:
        yield from (FieldChange("step", "", text, None) for text, _ in texts[0][first:here])
        yield from (FieldChange("step", "", None, text) for text, _ in texts[1][second:there])
        first, second = here + 1, there + 1
    for name in ("created", "author", "comment"):
        values = [(getattr(old[i], name), getattr(new[j], name)) for i, j in pairs]
        if others := [pair for pair in values if pair[0] != pair[1]]:
            yield FieldChange(f"step_{name}", f"{len(others)} of {len(pairs)}", *others[0])
