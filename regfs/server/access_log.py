r"""The access log: one line for each request, in the combined format or as JSON. Pure.

    192.0.2.7 - alice [26/Nov/2026:14:13:57 +0000] "GET /v2/app/manifests/v1 HTTP/1.1" 200 428
        "-" "skopeo/1.18"                                    (one line: the "combined" format)

What clients send is untrusted: control characters, quotes and invalid UTF-8 are escaped, so
that each request is one line. Of the headers, only Referer and User-Agent are logged.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple

from regfs.units import rfc3339

_USERINFO: Final = re.compile(r"^([a-z][a-z0-9+.-]*://)[^/?#]*@", re.IGNORECASE)
_MONTHS: Final = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()  # noqa: SIM905
_STRANGE: Final = re.compile(r"[^ -~]|[\"\\]")
LONGEST: Final = 2048
"""Characters of one value that a client has sent."""


class Exchange(NamedTuple):
    """A request and its answer."""

    at: float
    """When it came, as seconds since the epoch."""
    seconds: float
    """Until the last byte of the answer was handed over."""
    remote: str
    """The address it came from; empty for a Unix socket."""
    user: str
    """The user, if the password was right; else empty."""
    method: str
    target: str
    """Path and query as sent."""
    protocol: str
    status: int
    sent: int
    """Bytes of the body of the answer."""
    received: int
    """Bytes of the body of the request."""
    referer: str
    user_agent: str
    action: str
    """What was asked for; see `routes.Action`, and `metrics` for what is none of the API."""
    repository: str
    reference: str
    """A tag, digest or upload."""


def combined(exchange: Exchange) -> str:
    """Return a line in the `combined` format of Apache and nginx."""
    when = _second(int(exchange.at))
    asked = f"{exchange.method} {without_userinfo(exchange.target)} {exchange.protocol}".rstrip()
    return (
        f"{_word(exchange.remote)} - {_word(exchange.user)} [{when}] "
        f'"{_quoted(asked)}" {exchange.status} {exchange.sent or "-"} '
        f'"{_quoted(exchange.referer) or "-"}" "{_quoted(exchange.user_agent) or "-"}"'
    )


@lru_cache(maxsize=8)
def _second(at: int) -> str:
    # Not strftime("%b"): names of months would follow the locale.
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment.day:02}/{_MONTHS[moment.month - 1]}/{moment.year}:{moment:%H:%M:%S} +0000"


def as_json(exchange: Exchange) -> str:
    """Return a JSON object on one line, without empty values."""
    document: dict[str, str | int | float] = {
        "time": rfc3339(exchange.at, "milliseconds"),
        "remote": exchange.remote,
        "user": exchange.user,
        "method": exchange.method,
        "path": without_userinfo(exchange.target),
        "protocol": exchange.protocol,
        "status": exchange.status,
        "bytes": exchange.sent,
        "bytes_received": exchange.received,
        "seconds": round(exchange.seconds, 6),
        "action": exchange.action,
        "repository": exchange.repository,
        _kind_of(exchange): exchange.reference,
        "referer": exchange.referer,
        "user_agent": exchange.user_agent,
    }
    return json.dumps({key: _text(value) for key, value in document.items() if value != ""})


def _kind_of(exchange: Exchange) -> str:
    if exchange.action == "upload":
        return "upload"
    return "digest" if ":" in exchange.reference else "tag"


def without_userinfo(target: str) -> str:
    """Return a request's target without the password that an absolute URL may have."""
    return _USERINFO.sub(r"\1", target)


def _text(value: str | int | float) -> str | int | float:
    if not isinstance(value, str) or (value.isascii() and len(value) <= LONGEST):
        return value
    # Invalid UTF-8 would become half a surrogate pair, which is not valid JSON.
    raw = value[:LONGEST].encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "backslashreplace")


def _quoted(text: str) -> str:
    if len(text) <= LONGEST and not _STRANGE.search(text):
        return text
    return "".join(map(_escaped, text[:LONGEST].encode("utf-8", "surrogateescape")))


def _word(text: str) -> str:
    return _quoted(text).replace(" ", "\\x20") or "-"


def _escaped(byte: int) -> str:
    if byte in b'"\\':
        return f"\\{chr(byte)}"
    return chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}"
