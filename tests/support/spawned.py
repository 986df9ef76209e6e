"""regfs as scripts run it: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]


def spawn(*arguments: str | bytes, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run regfs as scripts do, with no root but the one that is given."""
    environment = {key: value for key, value in os.environ.items() if key != "REGFS_ROOT"}
    environment |= {"PYTHONPATH": str(PROJECT), **options.pop("env", {})}
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.PIPE)
    return subprocess.run(
        [sys.executable, "-m", "regfs", *arguments],
        text=True,
        env=environment,
        timeout=120,
        check=False,
        **options,
    )
