"""Somebody who asks a registry by HTTP, and looks at every answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import requests

from regfs.digest import Digest

UPLOADS = "/v2/team/app/blobs/uploads/"


class Client:
    """Somebody who sends requests to one server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = requests.Session()

    def __call__(
        self, method: str, path: str, data: Any = None, status: int | None = None, **headers: str
    ) -> requests.Response:
        """Send a request; be sure of the status."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self._session.request(
            method, self.url + path, data=data, headers=named, timeout=30
        )
        assert status in (None, answer.status_code), (answer.status_code, answer.text)
        if path.startswith("/v2"):
            assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
        return answer

    def begin(self, query: str = "") -> str:
        """Begin an upload; return where it is."""
        return self("POST", UPLOADS + query, status=202).headers["Location"]

    def patch(self, place: str, start: int, data: bytes, status: int = 202) -> requests.Response:
        given = f"{start}-{start + len(data) - 1}"
        return self("PATCH", place, data, status, Content_Range=given)

    def complete(
        self, place: str, digest: Digest, data: bytes = b"", status: int = 201
    ) -> requests.Response:
        return self("PUT", f"{place}?digest={digest}", data, status)

    def pulled(self, answer: requests.Response) -> bytes:
        """Return what can be pulled from where an answer says it is."""
        return self("GET", answer.headers["Location"], status=200).content


def code(answer: requests.Response) -> str:
    """Return the code of an error, whose form is that of the spec."""
    body = answer.json()
    assert set(body) == {"errors"}
    for error in body["errors"]:
        assert set(error) <= {"code", "message", "detail"}
        assert "Traceback" not in error["message"]
    return str(body["errors"][0]["code"])


def pieces(data: bytes, size: int = 70) -> Iterator[bytes]:
    """Yield data piece by piece, so that its length is not told."""
    for start in range(0, len(data), size):
        yield data[start : start + size]
