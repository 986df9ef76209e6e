"""Answers of several ranges, read as MIME."""

from __future__ import annotations

import email
import email.policy
from typing import cast

from tests.support.exchange import Answer

# -- several ----------------------------------------------------------------------------------


def parts_of(answer: Answer) -> list[tuple[str, bytes]]:
    """Return what a multipart answer holds, as MIME is read: where each part lies, and it."""
    assert answer.status == 206
    assert answer["Content-Range"] is None
    assert answer["Content-Length"] == str(len(answer.body))
    kind = answer["Content-Type"]
    assert kind is not None and kind.startswith("multipart/byteranges; boundary=")
    head = f"Content-Type: {kind}\r\n\r\n".encode()
    message = email.message_from_bytes(head + answer.body, policy=email.policy.HTTP)
    found = []
    for part in message.iter_parts():
        assert part.get_content_type() == "application/octet-stream"
        found.append((str(part["Content-Range"]), cast(bytes, part.get_payload(decode=True))))
    return found
