"""Which tags and untagged manifests a retention policy keeps, and why. Pure.

    policy    what a policy file says
    patterns  its regular expressions
    facts     what is known of a tag
    rules     which of many tags a rule keeps

Keeping always wins: every entry whose pattern matches a tag is applied, and the tag is dropped
only if there are entries and none of their rules keeps it. Unlike in zot, no entry hides another.
What is unknown is kept. No decision depends on the order of tags or of entries.

`regfs.gc.mark` decides what is deleted with a tag, and what else keeps its manifest.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from regfs.gc.decisions import Decision
from regfs.gc.retention.facts import (
    Labels,
    TagFacts,
    created_of,
    created_time,
    labels_of,
)
from regfs.gc.retention.patterns import Patterns
from regfs.gc.retention.policy import Age, Block, KeepTags, RetentionPolicy, Rules
from regfs.gc.retention.rules import Asking, Candidate

__all__ = [
    "Block",
    "Decision",
    "KeepTags",
    "Labels",
    "Patterns",
    "RetentionPolicy",
    "Rules",
    "TagFacts",
    "created_of",
    "created_time",
    "decide",
    "decide_untagged",
    "labels_of",
]


def decide(
    policy: RetentionPolicy,
    facts: Iterable[TagFacts],
    repository: str,
    now: float,
    patterns: Patterns | None = None,
) -> list[Decision]:
    """Decide about every tag of a repository, in the order of their names.

    `now` is in seconds since the epoch. A tag that is attached to an image (a fallback tag
    of referrers, a cosign signature) does not count for any rule: it is kept and deleted with
    its subject, unless `immutable` or an entry whose patterns match it keeps it. `patterns`
    tells afterwards which of them were too slow.
    """
    patterns = patterns or Patterns()
    candidates = [Candidate(known) for known in sorted(facts, key=lambda known: known.tag or "")]
    found = policy.block_for(repository)
    if found is None:
        _keep_all(candidates, "no block of the policy covers this repository")
        return _decisions(candidates, repository, now, "")
    number, block = found
    where = f"policies[{number}]"
    judged = [one for one in candidates if not _set_aside(one)]
    if not block.keep_tags:
        _keep_all(judged, f"{where} has no keepTags: every tag stays")
    _keep_immutable(judged, block, where, patterns)
    entries: list[tuple[str, Rules]] = [
        (f"keepTags[{n}]", entry) for n, entry in enumerate(block.keep_tags)
    ]
    _ask(entries, judged, now, patterns)
    _judge_attached(candidates, block, where, now, patterns)
    if not block.allow_empty and all(one.reason is None for one in judged):
        _keep_all(judged, f"{where} would drop every tag, and allowEmpty is not set")
    return _decisions(candidates, repository, now, f"no rule of {where} keeps it")


def decide_untagged(
    policy: RetentionPolicy,
    facts: Iterable[TagFacts],
    repository: str,
    now: float,
    patterns: Patterns | None = None,
) -> list[Decision]:
    """Decide about untagged manifests of a repository, in the order of their digests.

    Facts have no tag here, and `pushed` is the time of the revision link.
    """
    candidates = [Candidate(known) for known in sorted(facts, key=lambda known: known.digest or "")]
    found = policy.block_for(repository)
    if found is None:
        _keep_all(candidates, "no block of the policy covers this repository")
        return _decisions(candidates, repository, now, "")
    number, block = found
    where = f"policies[{number}]"
    if block.delete_untagged is False:
        _keep_all(candidates, f"{where} does not delete untagged manifests")
    if block.keep_untagged is not None:
        _ask([("keepUntagged", block.keep_untagged)], candidates, now, patterns or Patterns())
    return _decisions(candidates, repository, now, f"no rule of {where} keeps it untagged")


def _set_aside(one: Candidate) -> bool:
    """Keep a tag that no rule applies to, and return whether it is one."""
    if one.facts.digest is None:
        one.keep("what it points to cannot be read")
    return one.reason is not None or one.facts.attached_to is not None


def _judge_attached(
    candidates: list[Candidate], block: Block, where: str, now: float, patterns: Patterns
) -> None:
    """Keep by rule the attached tags that a pattern names; the others follow their images."""
    attached = [
        one for one in candidates if one.facts.attached_to is not None and one.reason is None
    ]
    _keep_immutable(attached, block, where, patterns)
    named: list[tuple[str, Rules]] = [
        (f"keepTags[{n}]", entry)
        for n, entry in enumerate(block.keep_tags)
        if entry.patterns is not None
    ]
    _ask(named, attached, now, patterns)
    for one in attached:
        if one.reason is None:
            one.keep(_ATTACHED.format(one.facts.attached_to))


_ATTACHED: Final = "attached to {}: kept and deleted with it"


def _keep_all(candidates: Iterable[Candidate], text: str) -> None:
    for one in candidates:
        one.keep(text)


def _keep_immutable(judged: list[Candidate], block: Block, where: str, patterns: Patterns) -> None:
    for number, pattern in enumerate(block.immutable):
        place = f"immutable[{number}] of {where}"
        _keep_all(_found(pattern, judged, place, patterns), place)


def _ask(
    entries: list[tuple[str, Rules]], judged: list[Candidate], now: float, patterns: Patterns
) -> None:
    """Apply every entry; rules that read configs last, when the fewest tags are undecided."""
    asked = [
        Asking(rules, where, _matching(rules, judged, where, patterns), now, patterns)
        for where, rules in entries
    ]
    for asking in asked:
        asking.apply_tag_rules()
    for asking in asked:
        asking.apply_config_rules()


def _matching(
    rules: Rules, judged: list[Candidate], where: str, patterns: Patterns
) -> list[Candidate]:
    if not isinstance(rules, KeepTags) or rules.patterns is None:
        return judged
    found: set[int] = set()
    for number, pattern in enumerate(rules.patterns):
        rest = [one for one in judged if id(one) not in found]
        found.update(map(id, _found(pattern, rest, f"patterns[{number}] of {where}", patterns)))
    return [one for one in judged if id(one) in found]


def _found(
    pattern: str, judged: list[Candidate], place: str, patterns: Patterns
) -> list[Candidate]:
    """Return the tags in which a pattern is found; keep those it takes too long on."""
    found = []
    for one in judged:
        answer = patterns.search(pattern, one.facts.tag or "")
        if answer is None:
            one.keep(f"{place} took too long on it")
        elif answer:
            found.append(one)
    return found


# -- words ------------------------------------------------------------------------------


def _decisions(
    candidates: list[Candidate], repository: str, now: float, otherwise: str
) -> list[Decision]:
    return [
        Decision(
            repository,
            one.facts.tag,
            one.facts.digest,
            one.reason is not None,
            _worded(one, now, otherwise),
            one.facts.pushed,
            one.created,
            one.facts.attached_to if _is_attached_only(one) else None,
        )
        for one in candidates
    ]


def _is_attached_only(one: Candidate) -> bool:
    """Return whether a tag is kept only because of what it is attached to."""
    return one.reason is not None and one.reason.text == _ATTACHED.format(one.facts.attached_to)


def _worded(one: Candidate, now: float, otherwise: str) -> str:
    text, age = (otherwise, Age.PUSHED) if one.reason is None else one.reason
    time = None if age is None else one.time(age)
    return text if time is None else f"{age} {_day(time)} ({_ago(now - time)}): {text}"


def _day(time: float) -> str:
    try:
        return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d}"
    except (OverflowError, ValueError, OSError):
        return "after 9999"


def _ago(seconds: float) -> str:
    if seconds < 0:
        return "in the future"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
