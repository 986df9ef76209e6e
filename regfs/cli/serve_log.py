"""What `regfs serve` logs to standard error: requests and other events."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

from regfs.units import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable

    from regfs.server.access_log import Exchange
    from regfs.tree.registry import Registry


def access_log(shape: str, registry: Registry) -> Callable[[Exchange], None]:
    """Return a function that writes a line for each request."""
    from regfs.server.access_log import as_json, combined

    if shape == "none":
        return lambda exchange: None
    line = as_json if shape == "json" else combined
    if shape == "story":
        from regfs.server.story import Story

        line = Story(registry).line

    def write(exchange: Exchange) -> None:
        if text := line(exchange):
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    return write


class _OneLine(logging.Formatter):
    """Formats other events as one line each, like requests."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback follows only if $REGFS_TRACEBACK is set."""
        from regfs.render.tables import printable

        words = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            words += f": {type(error).__name__}: {error}"
        line = printable(" ".join(words.split()))
        if self._as_json:
            import json

            time = rfc3339(record.created, "milliseconds")
            level = record.levelname.lower()
            line = json.dumps({"time": time, "level": level, "message": line})
        else:
            line = f"regfs: {line}"
        if record.exc_info and os.environ.get("REGFS_TRACEBACK"):
            line += "\n" + self.formatException(record.exc_info)
        return line


def log_to_standard_error(*, as_json: bool) -> None:
    """Log other events to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine(as_json=as_json))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("regfs").setLevel(logging.INFO)
