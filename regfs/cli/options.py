"""Options that several commands share, and the types of their values."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import click

from regfs.units import WHAT_TO_SAY, seconds_of

if TYPE_CHECKING:
    from regfs.verify.schedule import Subset as Chosen


Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]


def option_group(*options: Decorator) -> Decorator:
    """Return a decorator that adds several options to a command, in this order."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def top_option(help: str, *, default: int | None = None) -> Decorator:
    """Return the option that says how many rows of the answer are printed."""
    return click.option(
        "-n",
        "--top",
        metavar="N",
        type=click.IntRange(1),
        default=default,
        show_default=default is not None,
        help=help,
    )


jobs_option: Final = click.option(
    "--jobs",
    metavar="N",
    type=click.IntRange(1),
    help="Threads (default: one per processor; 8 at least to hash what is in a bucket).",
)

cluster_option: Final = click.option(
    "--cluster",
    metavar="ADDRESS",
    help="Let the workers of this Dask scheduler read, instead of threads: tcp://HOST:8786.",
)

platform_option: Final = click.option(
    "--platform", metavar="OS/ARCH", help="Of an index, the image for this: linux/arm64."
)


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


_MULTIPLES: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(?:([kmgtp]?)(i?)b?)", re.IGNORECASE)
_LONGEST: Final = 20
"""Characters of a number: a longer one is a typing error."""


class Size(click.ParamType[int]):
    """A number of bytes: `4096`, `500MB`, `10G` (decimal, as sizes are shown), `1.5TiB`."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the bytes."""
        if isinstance(value, int):
            return value
        text = str(value).strip()
        found = _SIZE.fullmatch(text) if len(text) <= _LONGEST else None
        if found is None or (found[3] and not found[2]):
            self.fail(f"{value!r} is not a size; use e.g. 500MB, 10G or 1.5TiB", param, ctx)
        from decimal import Decimal  # every command has an option of this type

        factor = (1024 if found[3] else 1000) ** _MULTIPLES[found[2].lower()]
        return int(Decimal(found[1]) * factor)


class Subset(click.ParamType["Chosen"]):
    """A part of the blobs: `n/t`, `x%` or a size."""

    name = "SUBSET"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Chosen:
        """Return the part."""
        from regfs.verify.schedule import SHARDS_LIMIT, ByteCount, Shard, Share

        text = str(value).strip()
        if found := re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text):
            number, total = int(found[1]), int(found[2])
            if not 1 <= number <= total <= SHARDS_LIMIT:
                self.fail(f"{value!r}: n/t needs 1 <= n <= t <= {SHARDS_LIMIT}", param, ctx)
            return Shard(number, total)
        if found := re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,9})?)%", text):
            if not 0 < float(found[1]) <= 100:
                self.fail(f"{value!r}: a share must be above 0% and at most 100%", param, ctx)
            return Share(float(found[1]) / 100)
        if "/" in text or "%" in text:
            self.fail(f"{value!r} is not a part; use e.g. 3/16, 5% or 10G", param, ctx)
        return ByteCount(Size().convert(value, param, ctx))
