"""What heal has not put right: the errors that verify still finds, counted by their code.

Heal puts back content, and links when it is asked to; a tag that means nothing certain,
a manifest that was pushed broken or a link in doubt stay. Whoever asks for healing must
hear of all of it, for "nothing to fetch" is not "all is well".
"""

from __future__ import annotations

from collections import Counter

from regfs.findings import Severity
from regfs.heal.report import Healed, HealPlan, HealState, Left
from regfs.verify import Result


def left(
    result: Result, planned: HealPlan | None = None, healed: Healed | None = None
) -> list[Left]:
    """Return the errors of a verification, and what `healed` knows to be broken beside them.

    The verification may have been at a level that reads no content: what was corrupt when
    content was read, and could not be healed, is so still.
    """
    counts = Counter[str]()
    for (severity, code), count in result.counts.items():
        if severity is Severity.ERROR:
            counts[code.value] += count
    told = {row.finding.path for row in result.findings}
    codes = {} if planned is None else {item.path: item.code for item in planned.items}
    for outcome in () if healed is None else healed.outcomes:
        right = outcome.state in (HealState.HEALED, HealState.WAS_RIGHT)
        if not right and outcome.path not in told:
            counts[codes[outcome.path]] += 1
    return [Left(code, count) for code, count in sorted(counts.items())]
