"""A password file: bcrypt only, and nothing of it in a message."""

from __future__ import annotations

import os
from pathlib import Path

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.errors import DocumentInvalid
from regfs.server.htpasswd import PasswordFile, matches, parse


def hashed(password: bytes, form: bytes = b"$2b$") -> bytes:
    return bcrypt.hashpw(password, bcrypt.gensalt(4)).replace(b"$2b$", form)


HASH = hashed(b"open sesame")


@pytest.mark.parametrize("form", [b"$2a$", b"$2b$", b"$2y$"])
def test_every_form_of_bcrypt_is_accepted(form: bytes) -> None:
    users = parse(b"# people\n\nalice:" + hashed(b"secret", form) + b"\r\n", "users")
    assert matches(b"secret", users["alice"])
    assert not matches(b"Secret", users["alice"])


def test_bytes_beyond_those_bcrypt_uses_are_ignored() -> None:
    assert matches(b"x" * 100, hashed(b"x" * 72))
    assert not matches(b"x" * 71, hashed(b"x" * 72))


@pytest.mark.parametrize(
    "line",
    [
        b"alice",
        b"alice:hunter2",
        b"alice:$apr1$hunter2$0123456789abcdefghijkl",
        b"alice:{SHA}hunter2",
        b"alice:HASH:hunter2",
        b"alice:COSTLY",
        b":HASH",
        b"\xff:HASH",
        b"hunter\x012:HASH",
        b"*:HASH",
        b"anonymous:HASH",
        b"bob:HASH",
    ],
    ids=range(12),  # the hash is another one in each process
)
def test_an_invalid_line_is_named_by_its_number_only(line: bytes) -> None:
    with pytest.raises(DocumentInvalid) as raised:
        line = line.replace(b"HASH", HASH).replace(b"COSTLY", HASH.replace(b"$04$", b"$17$"))
        parse(b"bob:" + HASH + b"\n" + line + b"\n", "users")
    message = str(raised.value)
    assert message.startswith("users:2: ")
    assert "hunter" not in message
    assert "$2" not in message


def test_all_invalid_lines_are_named_at_once() -> None:
    with pytest.raises(DocumentInvalid, match=r"^users:1: .*\(lines 3, 4 are wrong too\)$"):
        parse(b"x\nbob:" + HASH + b"\ny\nz\n", "users")


@given(data=st.binary(max_size=60), secret=st.sampled_from([b"s3cr3t-w0rd", b"p\xc3\xa4ss"]))
def test_messages_never_quote_a_line(data: bytes, secret: bytes) -> None:
    try:
        parse(data + secret + b"\n", "users")
    except DocumentInvalid as error:
        assert secret.decode() not in str(error)
        assert str(error).isprintable()


def test_a_file_without_users_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "users"
    empty.write_bytes(b"# nobody yet\n")
    with pytest.raises(DocumentInvalid, match="no users; add one with"):
        PasswordFile(str(empty))


def test_an_unknown_user_takes_as_long_as_a_known_one(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_bytes(b"a:" + HASH + b"\nb:" + HASH + b"\nc:" + HASH.replace(b"$04$", b"$09$"))
    passwords = PasswordFile(str(file))
    nobody, known = passwords.hash_of("eve")
    assert not known
    assert nobody.startswith(b"$2b$04$")
    assert not matches(b"", nobody)
    assert passwords.hash_of("a") == (HASH, True)


def test_the_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_bytes(b"alice:" + HASH + b"\n")
    passwords = PasswordFile(str(file))
    assert not passwords.refresh()
    fresh = tmp_path / "fresh"
    fresh.write_bytes(b"bob:" + HASH + b"\n")
    os.replace(fresh, file)
    assert passwords.refresh()
    assert set(passwords.users) == {"bob"}


def test_an_invalid_file_keeps_the_users_and_is_reported_once(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_bytes(b"alice:" + HASH + b"\n")
    passwords = PasswordFile(str(file))
    file.write_bytes(b"alice:plain\n")
    with pytest.raises(DocumentInvalid, match="users:1: "):
        passwords.refresh()
    assert not passwords.refresh()
    assert set(passwords.users) == {"alice"}
    file.unlink()
    with pytest.raises(FileNotFoundError):
        passwords.refresh()
    assert set(passwords.users) == {"alice"}
