"""Passwords that wait to be computed: nobody is locked out by those who guess."""

from __future__ import annotations

import asyncio
import base64
import os
import threading
from pathlib import Path

import bcrypt
import pytest

from regfs.server import auth, htpasswd
from regfs.server.auth import Gate
from regfs.server.htpasswd import PasswordFile
from tests.support import wire


@pytest.fixture
def users(tmp_path: Path) -> Path:
    file = tmp_path / "users"
    file.write_bytes(b"alice:" + bcrypt.hashpw(b"open sesame", bcrypt.gensalt(4)) + b"\n")
    return file


def header(password: bytes) -> list[str]:
    return ["Basic " + base64.b64encode(b"alice:" + password).decode()]


def order_of_passwords(
    users: Path, monkeypatch: pytest.MonkeyPatch, guesser: str, other: str
) -> list[bytes]:
    """Let 80 wrong passwords come from one address, then the right one; return what is computed."""
    computed: list[bytes] = []
    begun, go = threading.Event(), threading.Event()

    def held_up(password: bytes, hashed: bytes) -> bool:
        computed.append(password)
        begun.set()
        go.wait(wire.LOCK_TIMEOUT)
        return htpasswd.matches(password, hashed)

    monkeypatch.setattr(auth, "matches", held_up)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)

    async def story() -> None:
        gate = Gate(PasswordFile(str(users)))
        wrong = [
            asyncio.ensure_future(gate.identify(header(b"guess %d" % number), guesser))
            for number in range(80)
        ]
        await asyncio.to_thread(begun.wait, wire.LOCK_TIMEOUT)
        right = asyncio.ensure_future(gate.identify(header(b"open sesame"), other))
        await asyncio.sleep(0)
        go.set()
        assert await right == "alice"
        refused = await asyncio.gather(*wrong, return_exceptions=True)
        assert {getattr(one, "code", one) for one in refused} == {"UNAUTHORIZED"}
        gate.close()

    asyncio.run(story())
    assert len(computed) == 81
    return computed


def test_many_wrong_passwords_do_not_lock_out_the_right_one(
    users: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As all clients are one behind a proxy."""
    order_of_passwords(users, monkeypatch, "192.0.2.7", "192.0.2.7")


def test_guessing_delays_no_other_address(users: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = order_of_passwords(users, monkeypatch, "192.0.2.7", "192.0.2.8")
    assert computed.index(b"open sesame") <= 2  # one has its turn, and one more may be before it


def test_a_password_in_use_stays_remembered(users: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[bytes] = []
    matches = htpasswd.matches

    def counted(password: bytes, hashed: bytes) -> bool:
        computed.append(password)
        return matches(password, hashed)

    monkeypatch.setattr(auth, "matches", counted)
    given = header(b"open sesame")

    async def story() -> None:
        gate = Gate(PasswordFile(str(users)))
        loop = asyncio.get_running_loop()
        began = loop.time()
        for minute in range(10):
            late = began + minute * auth.REMEMBERED_FOR * 0.9
            monkeypatch.setattr(loop, "time", lambda late=late: late)
            monkeypatch.setattr(auth, "LOOK_EVERY", 1e9)
            assert await gate.identify(given) == "alice"
        assert len(computed) == 1
        last = late + auth.REMEMBERED_FOR * 1.1
        monkeypatch.setattr(loop, "time", lambda: last)
        assert await gate.identify(given) == "alice"
        assert len(computed) == 2
        gate.close()

    asyncio.run(story())
