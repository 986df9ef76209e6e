"""Option types that several commands share."""

from __future__ import annotations

import re
from typing import Any, Final

import click

_SECONDS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}


class Duration(click.ParamType[float]):
    """A duration such as `90s`, `30m`, `1h`, `7d`, `2w` or `1d12h`, as seconds."""

    name = "DURATION"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the seconds."""
        if isinstance(value, int | float):
            return float(value)
        text = str(value).strip().lower()
        if text == "0":
            return 0.0
        parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)(s|min|m|h|d|w|y)", text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            self.fail(f"{value!r} is no duration; say e.g. 90s, 30m, 1h, 7d or 2w", param, ctx)
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)
