"""The rules: each decides about many tags at once which of them to keep.

A rule can only keep. It also keeps what it cannot judge: a tag whose time is unknown, or in the
future because a clock was wrong. These do not count towards a number of tags or of periods. Tags
that tie for the last place are all kept, so the outcome does not depend on any order.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import semver

from regfs.gc.retention.facts import Labels, TagFacts
from regfs.gc.retention.patterns import Patterns
from regfs.gc.retention.policy import Age, KeepTags, Rules, Semver, VersionLevel
from regfs.units import written


class Reason(NamedTuple):
    """Why something is kept."""

    text: str
    age: Age | None = None
    """The age that the rule depends on."""


class Candidate:
    """One tag, or untagged manifest, to decide about."""

    __slots__ = ("_asked", "created", "facts", "reason")

    def __init__(self, facts: TagFacts) -> None:
        self.facts = facts
        self.reason: Reason | None = None
        """The first reason to keep it."""
        self.created: float | None = None
        """When it was built; None also if no rule has asked."""
        self._asked = False

    def keep(self, text: str, age: Age | None = None) -> None:
        """Keep it, and remember why unless there is a reason already."""
        if self.reason is None:
            self.reason = Reason(text, age)

    def time(self, age: Age) -> float | None:
        """Return when it was pushed or built; None when that is not known."""
        time = self.facts.pushed if age is Age.PUSHED else self._ask_created()
        return time if time is not None and time > 0 else None

    def _ask_created(self) -> float | None:
        if not self._asked:
            self._asked = True
            self.created = None if self.facts.created is None else self.facts.created()
        return self.created

    def labels(self) -> Labels | None:
        """Return the labels of its images; None when they cannot be read."""
        return None if self.facts.labels is None else self.facts.labels()


class Asking:
    """Applies the rules of one entry to the tags that match it."""

    def __init__(
        self,
        rules: Rules,
        where: str,
        matching: list[Candidate],
        now: float,
        patterns: Patterns,
    ) -> None:
        self.rules = rules
        self.where = where
        """The entry, as reasons name it."""
        self.matching = matching
        self.now = now
        self.patterns = patterns

    def apply_tag_rules(self) -> None:
        """Apply the rules that read no config."""
        rules = self.rules
        if not rules.given:
            for one in self.matching:
                one.keep(f"{self.where} has no rule, so it keeps what it matches")
        if rules.most_recently_pushed_count is not None:
            self._most_recent(rules.most_recently_pushed_count)
        if rules.pushed_within is not None:
            self._within(self.matching, Age.PUSHED, "pushedWithin", rules.pushed_within)
        if isinstance(rules, KeepTags) and rules.semver is not None:
            self._highest(rules.semver)
        if rules.age is Age.PUSHED:
            self._calendar()

    def apply_config_rules(self) -> None:
        """Apply the rules that read configs, only to tags that nothing else keeps."""
        rules = self.rules
        if rules.created_within is not None:
            self._within(self._pending(), Age.CREATED, "createdWithin", rules.created_within)
        if rules.labels is not None:
            self._labelled(rules.labels)
        if rules.age is Age.CREATED and self._pending():
            self._calendar()

    def _pending(self) -> list[Candidate]:
        return [one for one in self.matching if one.reason is None]

    # -- by age -----------------------------------------------------------------

    def _past(
        self, asked: Iterable[Candidate], age: Age, rule: str
    ) -> list[tuple[float, Candidate]]:
        """Return the tags with a usable time; keep the others."""
        past = []
        for one in asked:
            time = one.time(age)
            if time is None:
                one.keep(f"when it was {age} is not known; {rule} depends on it")
            elif time > self.now:
                one.keep(f"dated in the future: {rule}", age)
            else:
                past.append((time, one))
        return past

    def _most_recent(self, count: int) -> None:
        rule = f"mostRecentlyPushedCount {count} of {self.where}"
        past = self._past(self.matching, Age.PUSHED, rule)
        last = sorted((time for time, _ in past), reverse=True)[:count][-1:]
        for time, one in past:
            if time >= last[0]:
                one.keep(f"among {rule}", Age.PUSHED)

    def _within(self, asked: Iterable[Candidate], age: Age, key: str, seconds: float) -> None:
        rule = f"{key} {written(seconds)} of {self.where}"
        for time, one in self._past(asked, age, rule):
            if self.now - time <= seconds:
                one.keep(f"within {rule}", age)

    def _calendar(self) -> None:
        rules = self.rules
        wanted = [
            (key, count, period)
            for key, count, period in (
                ("keepHourly", rules.keep_hourly, _hour),
                ("keepDaily", rules.keep_daily, _day),
                ("keepWeekly", rules.keep_weekly, _week),
                ("keepMonthly", rules.keep_monthly, _month),
                ("keepYearly", rules.keep_yearly, _year),
            )
            if count is not None
        ]
        for key, count, period in wanted:
            rule = f"{key} {count} of {self.where}"
            past = self._past(self.matching, rules.age, rule)
            for one in _newest_of_each(past, count, period):
                one.keep(f"the newest of its {_WORDS[key]}, {rule}", rules.age)

    # -- by what the image is ------------------------------------------------------

    def _labelled(self, wanted: dict[str, str]) -> None:
        for one in self._pending():
            images = one.labels()
            if not images:
                one.keep(f"its labels cannot be read; {self.where} depends on them")
                continue
            carried = [_carries(image, wanted, self.patterns) for image in images]
            shown = ", ".join(sorted(wanted))
            if any(carried):
                one.keep(f"its labels match {self.where} ({shown})")
            elif None in carried:
                one.keep(f"labels of {self.where} ({shown}) took too long on it")

    def _highest(self, rule: Semver) -> None:
        groups: dict[Version, dict[Version, list[Candidate]]] = {}
        for one in self.matching:
            version = version_of(one.facts.tag or "")
            if version is not None:
                group = groups.setdefault(version[: _DEPTH[rule.by]], {})
                group.setdefault(version, []).append(one)
        for number in sorted(groups, reverse=True)[: rule.groups]:
            group = groups[number]
            shown = ".".join(map(str, number))
            for version in sorted(group, reverse=True)[: rule.keep]:
                for one in group[version]:
                    one.keep(f"among the highest {rule.keep} of {shown}, semver of {self.where}")


def _carries(image: Mapping[str, str], wanted: dict[str, str], patterns: Patterns) -> bool | None:
    """Return whether an image has all these labels; None if that takes too long."""
    if not wanted.keys() <= image.keys():
        return False
    answers = [patterns.search(pattern, image[label]) for label, pattern in wanted.items()]
    return False if False in answers else None if None in answers else True


# -- calendars, in UTC ----------------------------------------------------------------

_WORDS: Final = {
    "keepHourly": "hour",
    "keepDaily": "day",
    "keepWeekly": "week",
    "keepMonthly": "month",
    "keepYearly": "year",
}
_MONDAY: Final = 3 * 86400
"""The epoch was a Thursday: its week had begun three days before."""


def _hour(time: float) -> int:
    return int(time // 3600)


def _day(time: float) -> int:
    return int(time // 86400)


def _week(time: float) -> int:
    return int((time + _MONDAY) // 604800)


def _month(time: float) -> int:
    moment = datetime.fromtimestamp(time, UTC)
    return moment.year * 12 + moment.month


def _year(time: float) -> int:
    return datetime.fromtimestamp(time, UTC).year


def _newest_of_each(
    past: list[tuple[float, Candidate]], count: int, period: Callable[[float], int]
) -> list[Candidate]:
    """Return the newest of each of the last `count` periods that have one."""
    newest: dict[int, float] = {}
    for time, _ in past:
        which = period(time)
        newest[which] = max(time, newest.get(which, time))
    last = {newest[which] for which in sorted(newest, reverse=True)[:count]}
    return [one for time, one in past if time in last]


# -- versions ---------------------------------------------------------------------------

Version = tuple[Hashable, ...]
_DEPTH: Final = {VersionLevel.MAJOR: 1, VersionLevel.MINOR: 2, VersionLevel.PATCH: 3}


def version_of(tag: str) -> Any:
    """Return a key that sorts like the version, its numbers first; None if the tag is no version.

    `semver.Version` compares the same way, a hundred times slower.
    """
    try:
        version = semver.Version.parse(tag.removeprefix("v"))
    except ValueError:
        return None
    marks = (version.prerelease or "").split(".")
    ordered = tuple((0, int(m), "") if m.isdecimal() else (1, 0, m) for m in marks)
    final = version.prerelease is None
    return version.major, version.minor, version.patch, final, ordered
