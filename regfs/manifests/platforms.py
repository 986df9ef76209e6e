"""Which platform is meant where a person names one.

linux/arm64    that one, of any variant
arm64          linux/arm64
linux/arm/v7   that one alone
"""

from __future__ import annotations

import platform as machine
from typing import Final

_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def own_platform() -> str:
    """Return that of the images that run on this machine."""
    return f"linux/{_ARCHITECTURES.get(machine.machine(), machine.machine())}"


def fits(wanted: str, platform: str) -> bool:
    """Return whether a platform is the one wanted; without a variant, any is."""
    if "/" not in wanted:
        wanted = f"linux/{wanted}"
    return f"{platform}/".startswith(f"{wanted.removesuffix('/')}/")
