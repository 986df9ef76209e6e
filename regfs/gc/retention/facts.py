"""What is known of one tag or untagged manifest. Pure data.

The config of an image is a file of its own, and of 10^5 tags most are decided
without it: `created` and `labels` are only called when a rule depends on them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from regfs.digest import Digest

if TYPE_CHECKING:
    from regfs.manifests.image_config import ImageConfig

EARLIEST: Final = 315_619_200.0
"""1980-01-02. No image is as old, but builders that want the same bytes each time write such
times: year 1 (Go's zero), 1970-01-01 (Bazel, ko, Jib) and 1980-01-01 (buildpacks)."""

Labels = Sequence[Mapping[str, str]]
"""The labels of each image that a tag leads to: an index has one for each platform."""


@dataclass(frozen=True, slots=True)
class TagFacts:
    """What is known of one tag, or of a manifest without one."""

    tag: str | None
    """None: an untagged manifest."""
    digest: Digest | None
    """None: what the tag points to cannot be read."""
    pushed: float | None
    """When the link was written, in seconds since the epoch."""
    created: Callable[[], float | None] | None = None
    """Returns when the image was built; None if that is not known."""
    labels: Callable[[], Labels | None] | None = None
    """Returns the labels of its images; None if they are not known."""
    attached_to: str | None = None
    """The manifest that a list of referrers or a cosign signature is attached to."""


_RFC3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d{1,6})?\d*([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def created_time(text: str | None) -> float | None:
    """Return the time in a config, in seconds since the epoch; None if it has no valid one."""
    found = _RFC3339.fullmatch(text or "")
    if found is None:
        return None
    day, hour, fraction, zone = found.groups(default="")
    try:
        seconds = datetime.fromisoformat(f"{day}T{hour}{fraction}{zone.upper()}").timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if seconds >= EARLIEST else None


def created_of(configs: Iterable[ImageConfig | None]) -> float | None:
    """Return when the youngest of the images of a tag was built; a config is None if unreadable."""
    times = [None if config is None else created_time(config.created) for config in configs]
    known = [time for time in times if time is not None]
    return max(known) if known and len(known) == len(times) else None


def labels_of(configs: Iterable[ImageConfig | None]) -> Labels | None:
    """Return the labels of the images of a tag; None when one of them cannot be read."""
    found = [None if config is None else config.labels for config in configs]
    readable = [labels for labels in found if labels is not None]
    return readable if len(readable) == len(found) else None
