"""The options of a verification."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from enum import Enum

from regfs.tree.registry import Target
from regfs.verify.ledger_file import LedgerFile
from regfs.verify.report import Level
from regfs.verify.schedule import Selection


class Portion(Enum):
    """What of a verification is done here. The two parts together find what the whole does."""

    ALL = "all"
    BLOBS = "blobs"
    """Blobs are hashed, and no manifest is taken for one: who has the results does the rest."""
    REST = "rest"
    """All but hashing: results for blobs are those of the ledger, which is loaded."""


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """What to verify, how deep, and with which workers, ledger and clocks."""

    level: Level = Level.DIGESTS
    """How deep to check."""
    targets: tuple[Target, ...] = ()
    """Repositories, tags and digests to check, with what they reach; none means everything."""
    portion: Portion = Portion.ALL
    """What of it is done here; blobs alone are those of level digests, of the whole tree."""
    jobs: int | None = None
    """Tasks that run at the same time; as many as suit the store if that is not said."""
    executor: Executor | None = None
    """Workers that see the same store and do the hashing; None uses threads and processes here."""
    selection: Selection = field(default_factory=Selection)
    """Which blobs to read, of those that `targets` reach."""
    ledger: LedgerFile | None = None
    """Where results are recorded, entered by the caller; earlier results set the order."""
    started: float | None = None
    """When the caller began, in seconds since the epoch (UTC); None means now.

    Time spent on listing the tree counts towards `selection.max_duration` this way."""
    clock: Callable[[], float] = time.time
    """Returns seconds since the epoch (UTC)."""
    steady: Callable[[], float] = time.monotonic
    """Returns seconds by a clock that nobody sets back."""
