"""A line for each request: what it looks like, and that nothing breaks out of it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regfs.server.access_log import Exchange, as_json, combined

PULLED = Exchange(
    at=1795702437.25,
    seconds=0.0123456,
    remote="192.0.2.7",
    user="alice",
    method="GET",
    target="/v2/team/app/manifests/v1?x=1",
    protocol="HTTP/1.1",
    status=200,
    sent=428,
    received=0,
    referer="",
    user_agent="skopeo/1.18",
    action="manifest",
    repository="team/app",
    reference="v1",
)
COMBINED = re.compile(
    r"(\S+) - (\S+) \[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "
    r'"((?:[^"\\]|\\.)*)" (\d{3}) (\d+|-) "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"'
)
"""As goaccess, logstash and fail2ban read it."""


def test_the_line_has_the_combined_format() -> None:
    assert combined(PULLED) == (
        "192.0.2.7 - alice [26/Nov/2026:14:13:57 +0000] "
        '"GET /v2/team/app/manifests/v1?x=1 HTTP/1.1" 200 428 "-" "skopeo/1.18"'
    )


def test_json_has_more_fields() -> None:
    assert json.loads(as_json(PULLED)) == {
        "time": "2026-11-26T14:13:57.250Z",
        "remote": "192.0.2.7",
        "user": "alice",
        "method": "GET",
        "path": "/v2/team/app/manifests/v1?x=1",
        "protocol": "HTTP/1.1",
        "status": 200,
        "bytes": 428,
        "bytes_received": 0,
        "seconds": 0.012346,
        "action": "manifest",
        "repository": "team/app",
        "tag": "v1",
        "user_agent": "skopeo/1.18",
    }


@pytest.mark.parametrize(
    ("action", "reference", "key"),
    [
        ("manifest", "v1", "tag"),
        ("manifest", "sha256:" + "0" * 64, "digest"),
        ("blob", "sha256:" + "0" * 64, "digest"),
        ("upload", "7a1c", "upload"),
    ],
)
def test_a_reference_is_logged_by_its_kind(action: str, reference: str, key: str) -> None:
    document = json.loads(as_json(PULLED._replace(action=action, reference=reference)))
    assert document[key] == reference


@pytest.mark.parametrize("line", [combined, as_json])
def test_a_password_in_an_absolute_target_is_left_out(line: Any) -> None:
    told = line(PULLED._replace(target="http://alice:hunter2@host/v2/"))
    assert "hunter2" not in told
    assert "http://host/v2/" in told


def test_line_ends_and_quotes_are_escaped() -> None:
    told = combined(PULLED._replace(user_agent='x" 200\r\n\x1b[31m\\', user="a b"))
    assert told.endswith(r'"x\" 200\x0d\x0a\x1b[31m\\"')
    assert " a\\x20b " in told


_texts = st.text(st.characters(), max_size=40) | st.binary(max_size=40).map(
    lambda data: data.decode("utf-8", "surrogateescape")
)


@given(user=_texts, target=_texts, agent=_texts, referer=_texts, reference=_texts)
def test_no_text_breaks_a_line(
    user: str, target: str, agent: str, referer: str, reference: str
) -> None:
    exchange = PULLED._replace(
        user=user, target=target, user_agent=agent, referer=referer, reference=reference
    )
    line = combined(exchange)
    assert line.isascii() and line.isprintable()
    found = COMBINED.fullmatch(line)
    assert found is not None
    assert found[5] == "200"
    told = as_json(exchange)
    assert told.isascii() and told.isprintable()
    document = json.loads(told)
    assert document["status"] == 200
    json.dumps(document, ensure_ascii=False).encode()  # no half of a surrogate pair
