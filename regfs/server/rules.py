"""Who may do what to which repositories. Pure.

    [[rules]]
    users = ["ci"]                     # "*": every user; "anonymous": everybody, without a password
    repositories = ["team/**"]
    actions = ["read", "write"]        # and "delete"

Whatever no rule allows is denied; the order of rules does not matter. Users may do whatever
everybody may do.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, PrivateAttr, StrictStr

from regfs.documents.globs import glob
from regfs.documents.loading import load
from regfs.server.routes import Verb

EVERY_USER: Final = "*"
ANONYMOUS: Final = "anonymous"
EVERYTHING: Final = "**"
"""The pattern of every name."""
RESERVED: Final = frozenset({EVERY_USER, ANONYMOUS})
"""Reserved names that no user can have."""


def _glob(value: str) -> str:
    glob(value)
    return value


def _some(value: tuple[object, ...]) -> tuple[object, ...]:
    # A minimum length of pydantic counts valid elements only, and hides what is wrong in one.
    if not value:
        raise ValueError("must not be empty")
    return value


class _RulesTable(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AccessRule(_RulesTable):
    """A rule: some users may do some things to some repositories."""

    users: Annotated[tuple[StrictStr, ...], AfterValidator(_some)]
    repositories: Annotated[
        tuple[Annotated[StrictStr, AfterValidator(_glob)], ...], AfterValidator(_some)
    ]
    actions: Annotated[tuple[Verb, ...], AfterValidator(_some)]


class Access(_RulesTable):
    """The rules of an access file."""

    rules: Annotated[tuple[AccessRule, ...], AfterValidator(_some)]
    _ready: dict[tuple[str | None, Verb], re.Pattern[str]] = PrivateAttr(default_factory=dict)
    """User and verb -> the patterns of names that are allowed."""

    def allows(self, user: str | None, verb: Verb, name: str) -> bool:
        """Return whether a user (None: anonymous) may do this to a repository."""
        ready = self._ready.get((user, verb))
        if ready is None:
            ready = self._ready[user, verb] = self._names(user, verb)
        return ready.fullmatch(f"/{name}") is not None

    def allows_something(self, user: str | None, verb: Verb) -> bool:
        """Return whether a user may do this to any repository."""
        return any(True for _ in self._of(user, verb))

    def allows_all(self, user: str | None, verb: Verb) -> bool:
        """Return whether a user may do this to every repository, future ones included."""
        return any(EVERYTHING in rule.repositories for rule in self._of(user, verb))

    def _names(self, user: str | None, verb: Verb) -> re.Pattern[str]:
        globs = {text for rule in self._of(user, verb) for text in rule.repositories}
        return re.compile("|".join(glob(text).pattern for text in sorted(globs)) or "(?!)", re.S)

    def _of(self, user: str | None, verb: Verb) -> list[AccessRule]:
        who = {ANONYMOUS} if user is None else {ANONYMOUS, EVERY_USER, user}
        return [rule for rule in self.rules if verb in rule.actions and who & {*rule.users}]

    @property
    def users(self) -> tuple[str, ...]:
        """All users that rules name, sorted."""
        named = (user for rule in self.rules for user in rule.users)
        return tuple(dict.fromkeys(user for user in named if user not in RESERVED))


def load_access(data: bytes, name: str) -> Access:
    """Read an access file, TOML or JSON; `name` is that of the file, for messages.

    Raises:
        DocumentInvalid: it is not valid; the message is `NAME: KEY: what is wrong`.
    """
    return load(Access, data, name)
