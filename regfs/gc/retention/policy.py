r"""What a retention policy says: the blocks, entries and rules of a policy file. Pure data.

The vocabulary is zot's, with restic's buckets; every key may be written in snake_case too.
A pattern is found anywhere in a tag or label, as in zot.

    [[policies]]
    repositories = ["infra/**", "prod/*"]
    immutable = ["^v\\d+\\.\\d+\\.\\d+$"]
    deleteUntagged = true
    keepUntagged = {pushedWithin = "7d"}
    [[policies.keepTags]]
    patterns = ["^v"]
    mostRecentlyPushedCount = 10
    semver = {by = "minor", keep = 2}

`regfs.gc.policy_file` reads a file and says where it is wrong; `regfs.gc.retention`
decides. A policy survives `model_dump(mode="json")` and back.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    StrictInt,
    StrictStr,
)
from pydantic.alias_generators import to_camel

from regfs.documents.globs import glob
from regfs.gc.retention.patterns import expression
from regfs.units import WHAT_TO_SAY, seconds_of, written

T = TypeVar("T", bound=Collection[Any])

# -- values -------------------------------------------------------------------


def _text(value: str) -> str:
    expression(value)
    return value


def _glob(value: str) -> str:
    glob(value)
    return value


def _seconds(value: Any) -> float:
    seconds = seconds_of(value) if isinstance(value, str) else None
    if seconds is None:
        raise ValueError(WHAT_TO_SAY)
    if seconds == 0:
        raise ValueError("must be more than nothing")
    return seconds


def _some(value: T) -> T:
    # A minimum length of pydantic counts valid elements only, and hides what is wrong in one.
    if not value:
        raise ValueError("must not be empty")
    return value


Expression = Annotated[StrictStr, AfterValidator(_text)]
Glob = Annotated[StrictStr, AfterValidator(_glob)]
Count = Annotated[StrictInt, Field(ge=1)]
Seconds = Annotated[
    float,
    BeforeValidator(_seconds, json_schema_input_type=str),
    PlainSerializer(written, return_type=str),
]


class Age(StrEnum):
    """What makes a thing old."""

    PUSHED = "pushed"
    """When the link was written: the file's time on this disk."""
    CREATED = "created"
    """When the image was built, as its config says."""


class VersionLevel(StrEnum):
    """How much of a version two versions share to be in one group."""

    MAJOR = "major"
    MINOR = "minor"
    PATCH = "patch"


# -- the tables -----------------------------------------------------------------


class Table(BaseModel):
    """Frozen, and closed: a key that is misspelled would keep nothing."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )


class Semver(Table):
    """The highest versions of each group of versions."""

    by: VersionLevel
    groups: Count | None = None
    """How many groups, the highest first; default all."""
    keep: Count = 1
    """How many versions of each group, the highest first."""


class Rules(Table):
    """Each of them keeps tags; without any rule everything is kept."""

    most_recently_pushed_count: Count | None = None
    pushed_within: Seconds | None = None
    created_within: Seconds | None = None
    keep_hourly: Count | None = None
    """The newest of each of the last n hours that have one, and so on; in UTC."""
    keep_daily: Count | None = None
    keep_weekly: Count | None = None
    keep_monthly: Count | None = None
    keep_yearly: Count | None = None
    age: Age = Age.PUSHED
    """Which time hours, days, weeks, months and years refer to."""
    labels: Annotated[dict[StrictStr, Expression], AfterValidator(_some)] | None = None
    """Label of the config -> the pattern to be found in it; all of them must be."""

    @property
    def given(self) -> bool:
        """Whether there is any rule."""
        others = type(self).model_fields.keys() - {"age", "patterns"}
        return any(getattr(self, name) is not None for name in others)


class KeepTags(Rules):
    """An entry: patterns of tags, and rules which of them to keep."""

    patterns: Annotated[tuple[Expression, ...], AfterValidator(_some)] | None = None
    """Default every tag."""
    semver: Semver | None = None


class Block(Table):
    """A block of a policy: what is kept in some repositories."""

    repositories: Annotated[tuple[Glob, ...], AfterValidator(_some)]
    immutable: tuple[Expression, ...] = ()
    """Tags that are always kept."""
    delete_untagged: StrictBool | None = None
    """Whether manifests go that had no tag before; None as the run says (`-m`), False whatever
    it says. In zot the default is that they go."""
    keep_untagged: Rules | None = None
    delete_referrers: StrictBool = False
    """Whether a referrer whose subject is missing may be deleted."""
    allow_empty: StrictBool = False
    """Whether a repository may lose its last tag."""
    keep_tags: tuple[KeepTags, ...] = ()
    """With no entry every tag stays."""

    def matches(self, repository: str) -> bool:
        """Return whether this block covers a repository."""
        return any(glob(text).fullmatch(f"/{repository}") for text in self.repositories)


class RetentionPolicy(Table):
    """A policy file."""

    policies: Annotated[tuple[Block, ...], AfterValidator(_some)]

    def block_for(self, repository: str) -> tuple[int, Block] | None:
        """Return the first block that covers a repository, with its number; None if none does."""
        blocks = enumerate(self.policies)
        return next(((n, block) for n, block in blocks if block.matches(repository)), None)
