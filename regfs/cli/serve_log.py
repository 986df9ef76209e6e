"""What `regfs serve` tells on standard error: requests, and what happens beside them."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

from regfs.units import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable

    from regfs.server.access_log import Exchange


def access_log(shape: str) -> Callable[[Exchange], None]:
    """Return what writes a line for each request."""
    from regfs.server.access_log import as_json, combined

    if shape == "none":
        return lambda exchange: None
    line = as_json if shape == "json" else combined

    def tell(exchange: Exchange) -> None:
        sys.stderr.write(line(exchange) + "\n")
        sys.stderr.flush()

    return tell


class _OneLine(logging.Formatter):
    """What is told beside requests: one line each, as the requests are."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; where an error comes from is told on demand only."""
        from regfs.render.tables import printable

        words = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            words += f": {type(error).__name__}: {error}"
        told = printable(" ".join(words.split()))
        if self._as_json:
            import json

            time = rfc3339(record.created, "milliseconds")
            level = record.levelname.lower()
            told = json.dumps({"time": time, "level": level, "message": told})
        else:
            told = f"regfs: {told}"
        if record.exc_info and os.environ.get("REGFS_TRACEBACK"):
            told += "\n" + self.formatException(record.exc_info)
        return told


def log_to_standard_error(*, as_json: bool) -> None:
    """Let what is told beside requests go to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine(as_json=as_json))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("regfs").setLevel(logging.INFO)
