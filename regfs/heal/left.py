"""What heal has not repaired: the errors that verify still finds, counted by code.

Heal restores content, and links on request. An ambiguous tag, a manifest that was pushed broken
or a link in doubt remain. All of it is reported, because "nothing to fetch" does not mean that
everything is intact.
"""

from __future__ import annotations

from collections import Counter

from regfs.findings import Severity
from regfs.heal.report import Healed, HealPlan, HealState, Left
from regfs.verify import Result


def left(
    result: Result, planned: HealPlan | None = None, healed: Healed | None = None
) -> list[Left]:
    """Return the errors of a verification, and what else `healed` could not repair.

    The verification may have been at a level that reads no content: what was found corrupt
    before and could not be healed still is.
    """
    counts = Counter[str]()
    for (severity, code), count in result.counts.items():
        if severity is Severity.ERROR:
            counts[code.value] += count
    reported = {row.finding.path for row in result.findings}
    codes = {} if planned is None else {item.path: item.code for item in planned.items}
    for outcome in () if healed is None else healed.outcomes:
        right = outcome.state in (HealState.HEALED, HealState.WAS_RIGHT)
        if not right and outcome.path not in reported:
            counts[codes[outcome.path]] += 1
    return [Left(code, count) for code, count in sorted(counts.items())]
