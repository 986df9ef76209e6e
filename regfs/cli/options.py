"""Option types that several commands share."""

from __future__ import annotations

from typing import Any

import click

from regfs.durations import WHAT_TO_SAY, seconds_of


class Duration(click.ParamType[float]):
    """A duration such as `90s`, `30m`, `1h`, `7d`, `2w` or `1d12h`, as seconds."""

    name = "DURATION"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the seconds."""
        if isinstance(value, int | float):
            return float(value)
        seconds = seconds_of(str(value))
        if seconds is None:
            self.fail(f"{value!r} {WHAT_TO_SAY}", param, ctx)
        return seconds
