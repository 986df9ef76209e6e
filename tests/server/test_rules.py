"""Who may do what: the rules of an access file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.documents.globs import glob
from regfs.errors import DocumentInvalid
from regfs.server.routes import Verb
from regfs.server.rules import ANONYMOUS, EVERY_USER, Access, AccessRule, load_access

EXAMPLE = b"""
[[rules]]
users = ["anonymous"]
repositories = ["public/**"]
actions = ["read"]

[[rules]]
users = ["*"]
repositories = ["**"]
actions = ["read"]

[[rules]]
users = ["ci", "alice"]
repositories = ["team/*", "scratch"]
actions = ["read", "write"]

[[rules]]
users = ["alice"]
repositories = ["scratch"]
actions = ["delete"]
"""


@pytest.mark.parametrize(
    ("user", "verb", "name", "allowed"),
    [
        (None, "read", "public/app", True),
        (None, "read", "public", True),
        (None, "read", "publicity", False),
        (None, "write", "public/app", False),
        ("bob", "read", "team/app", True),
        ("bob", "write", "team/app", False),
        ("ci", "write", "team/app", True),
        ("ci", "write", "team/app/deep", False),
        ("ci", "delete", "scratch", False),
        ("alice", "delete", "scratch", True),
        ("alice", "delete", "team/app", False),
    ],
)
def test_a_rule_allows_what_it_lists(user: str | None, verb: str, name: str, allowed: bool) -> None:
    access = load_access(EXAMPLE, "access.toml")
    assert access.allows(user, Verb(verb), name) is allowed


def test_whether_anything_can_be_read_without_a_password() -> None:
    access = load_access(EXAMPLE, "access.toml")
    assert access.allows_something(None, Verb.READ)
    assert not access.allows_something(None, Verb.WRITE)


def test_the_users_that_are_named() -> None:
    assert load_access(EXAMPLE, "access.toml").users == ("ci", "alice")


def test_json_means_the_same() -> None:
    text = b'{"rules": [{"users": ["*"], "repositories": ["a"], "actions": ["read"]}]}'
    assert load_access(text, "access.json").allows("bob", Verb.READ, "a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            b'[[rules]]\nusers = ["a"]\nrepositories = ["**"]\nactions = ["pull"]\n',
            'access.toml: rules[0].actions[0]: must be "read", "write" or "delete", not "pull"',
        ),
        (
            b'[[rules]]\nusers = []\nrepositories = ["**"]\nactions = ["read"]\n',
            "access.toml: rules[0].users: [] must not be empty",
        ),
        (
            b'[[rules]]\nusers = ["a"]\nrepositories = ["a?"]\nactions = ["read"]\n',
            'access.toml: rules[0].repositories[0]: "a?" is not a glob',
        ),
        (
            b'[[rules]]\nuser = ["a"]\nrepositories = ["a"]\nactions = ["read"]\n',
            "access.toml: rules[0].user: unknown key",
        ),
        (b"", "access.toml: rules: is missing"),
        (b"[[rules]\n", "access.toml:1: not TOML"),
        (b"\xff", "access.toml:1: not text in UTF-8"),
    ],
)
def test_an_error_names_the_key(text: bytes, message: str) -> None:
    with pytest.raises(DocumentInvalid) as raised:
        load_access(text, "access.toml")
    assert str(raised.value).startswith(message)


_users = st.sampled_from(["a", "b", EVERY_USER, ANONYMOUS])
_globs = st.sampled_from(["**", "x", "x/*", "x/**", "**/y", "*y", "z"])
_names = st.sampled_from(["x", "y", "z", "x/y", "x/y/z", "w/y", "xy"])
_rules = st.lists(
    st.builds(
        AccessRule,
        users=st.lists(_users, min_size=1, max_size=2).map(tuple),
        repositories=st.lists(_globs, min_size=1, max_size=3).map(tuple),
        actions=st.lists(st.sampled_from(Verb), min_size=1, max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=4,
)


@given(rules=_rules, user=st.sampled_from([None, "a", "b", "c"]), name=_names, data=st.data())
def test_allowed_is_what_some_rule_says(
    rules: list[AccessRule], user: str | None, name: str, data: st.DataObject
) -> None:
    verb = data.draw(st.sampled_from(Verb))
    expected = any(
        verb in rule.actions
        and any(glob(text).fullmatch(f"/{name}") for text in rule.repositories)
        and (
            ANONYMOUS in rule.users
            or (user is not None and (user in rule.users or EVERY_USER in rule.users))
        )
        for rule in rules
    )
    access = Access(rules=tuple(rules))
    assert access.allows(user, verb, name) is expected
    shuffled = Access(rules=tuple(data.draw(st.permutations(rules))))
    assert shuffled.allows(user, verb, name) is expected
    if expected:
        assert access.allows_something(user, verb)
