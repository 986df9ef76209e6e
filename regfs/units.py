"""Durations, sizes and times, as people and JSON write them.

    seconds_of("1d12h") -> 129600.0        written(129600.0) -> "1d12h"
    human_size(1_090_000) -> "1.09 MB"     human_duration(200) -> "3 min 20 s"
    rfc3339(0.0) -> "1970-01-01T00:00:00Z"

Durations are written `90s`, `30m`, `1h`, `7d`, `2w`, `1y`, or several together, `1d12h`, on the
command line and in policy files alike. A year has 365 days.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Final

_SECONDS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(s|min|m|h|d|w|y)")

WHAT_TO_SAY: Final = "is not a duration; use e.g. 90s, 30m, 1h, 7d or 2w"


def seconds_of(text: str) -> float | None:
    """Return the seconds of a duration; None if `text` is none, or is too long to count."""
    text = text.strip().lower()
    if text == "0":
        return 0.0
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    return seconds if math.isfinite(seconds) else None


def written(seconds: float) -> str:
    """Return a duration as `seconds_of` reads it: days, hours, minutes and seconds."""
    whole, fraction = divmod(seconds, 60)
    minutes = int(whole)
    parts = [(minutes // 1440, "d"), (minutes // 60 % 24, "h"), (minutes % 60, "m")]
    text = "".join(f"{count}{unit}" for count, unit in parts if count)
    if fraction or not text:
        text += f"{fraction:.9f}".rstrip("0").rstrip(".") + "s"
    return text


def human_duration(seconds: float) -> str:
    """Return a duration in its two largest units: `0.42 s`, `59 s`, `3 min 20 s`, `2 d 5 h`."""
    if seconds < 9.95:
        return f"{seconds:.2g} s" if seconds >= 0.01 else "0.01 s"
    left = round(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
    return " ".join(part for part in parts[:2] if part)


def ago(seconds: float) -> str:
    """Return how long ago something was, in its largest unit: `3 min ago`, `2 days ago`."""
    if seconds < 60:
        return "just now"
    _, size, one, several = next(unit for unit in _AGES if seconds < unit[0])
    count = int(seconds // size)
    return f"{count} {one if count == 1 else several} ago"


_DAY: Final = 86_400
_AGES: Final[tuple[tuple[float, float, str, str], ...]] = (
    (3600, 60, "min", "min"),
    (_DAY, 3600, "h", "h"),
    (60 * _DAY, _DAY, "day", "days"),
    (730 * _DAY, 30.4375 * _DAY, "month", "months"),
    (float("inf"), 365.25 * _DAY, "year", "years"),
)
"""The seconds below which a unit is used, its own seconds, and its words."""

_DECIMAL: Final = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_BINARY: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_by: list[int] = [1000]
"""What the next larger unit is multiplied by: one choice for the whole process."""


def use_units(*, binary: bool) -> None:
    """Let `human_size` write binary units (MiB) or decimal ones (MB) from now on."""
    _by[0] = 1024 if binary else 1000


def human_size(size: int, beside: int | None = None) -> str:
    """Return a number of bytes with three digits, in decimal units as `docker images` does.

    With `beside`, it has the unit and the decimals of that size, so that the two compare at a
    glance: `6.50 MB` beside `6.51 MB`. What is less than a hundredth of it has its own.
    """
    if beside is not None:
        return _in_unit_of(size, size if abs(size) * 100 < abs(beside) else beside)
    unit, value = _scaled(size)
    if unit == _units()[0]:
        return f"{size} B"
    return f"{value:.3g} {unit}" if abs(value) < 999.5 else f"{value:.0f} {unit}"


def _in_unit_of(size: int, beside: int) -> str:
    unit, other = _scaled(beside)
    if unit == _units()[0]:
        return f"{size} B"
    decimals = 2 if abs(other) < 9.995 else 1 if abs(other) < 99.95 else 0
    return f"{size / _by[0] ** _units().index(unit):.{decimals}f} {unit}"


def _scaled(size: int) -> tuple[str, float]:
    """Return the unit in which a size has at most three digits, and its value there."""
    value, units = float(size), _units()
    for unit in units:
        if abs(value) < 999.5 or unit == units[-1]:
            break
        value /= _by[0]
    return unit, value


def _units() -> tuple[str, ...]:
    return _DECIMAL if _by[0] == 1000 else _BINARY


def utc_time(seconds: float) -> datetime:
    """Return seconds since the epoch as a UTC time, or the nearest one that exists."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        edge = datetime.max if seconds > 0 else datetime.min
        return edge.replace(tzinfo=UTC)


def rfc3339(time: datetime | float, timespec: str = "seconds") -> str:
    """Return a time, or seconds since the epoch, as RFC 3339 in UTC; `timespec` as isoformat's."""
    if not isinstance(time, datetime):
        time = utc_time(time)
    # Not strftime: it writes the year 1 as 1.
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=timespec) + "Z"
