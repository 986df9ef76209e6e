"""How durations are written: `90s`, `30m`, `1h`, `7d`, `2w`, `1y`, or several together: `1d12h`.

    seconds_of("1d12h") -> 129600.0        written(129600.0) -> "1d12h"

A year has 365 days. On the command line and in policy files alike.
"""

from __future__ import annotations

import math
import re
from typing import Final

_SECONDS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(s|min|m|h|d|w|y)")

WHAT_TO_SAY: Final = "is no duration; say e.g. 90s, 30m, 1h, 7d or 2w"


def seconds_of(text: str) -> float | None:
    """Return the seconds of a duration; None when `text` is none, or longer than can be counted."""
    text = text.strip().lower()
    if text == "0":
        return 0.0
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    return seconds if math.isfinite(seconds) else None


def written(seconds: float) -> str:
    """Return a duration as `seconds_of` reads it, in days, hours, minutes and seconds."""
    whole, fraction = divmod(seconds, 60)
    minutes = int(whole)
    parts = [(minutes // 1440, "d"), (minutes // 60 % 24, "h"), (minutes % 60, "m")]
    text = "".join(f"{count}{unit}" for count, unit in parts if count)
    if fraction or not text:
        text += f"{fraction:.9f}".rstrip("0").rstrip(".") + "s"
    return text
