"""Error codes of the API: what each is as a status, and as JSON.

Source: opencontainers/distribution-spec, spec.md, "Error Codes"; UNKNOWN, UNAVAILABLE,
RANGE_INVALID and PAGINATION_NUMBER_INVALID are distribution's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from regfs.errors import LockHeld, PathDenied, RegfsError

STATUS: Final[dict[str, int]] = {
    "BLOB_UNKNOWN": 404,
    "BLOB_UPLOAD_INVALID": 400,
    "BLOB_UPLOAD_UNKNOWN": 404,
    "DENIED": 403,
    "DIGEST_INVALID": 400,
    "MANIFEST_BLOB_UNKNOWN": 404,
    "MANIFEST_INVALID": 400,
    "MANIFEST_UNKNOWN": 404,
    "NAME_INVALID": 400,
    "NAME_UNKNOWN": 404,
    "PAGINATION_NUMBER_INVALID": 400,
    "RANGE_INVALID": 416,
    "SIZE_INVALID": 400,
    "TAG_INVALID": 400,
    "TOOMANYREQUESTS": 429,
    "UNAUTHORIZED": 401,
    "UNAVAILABLE": 503,
    "UNKNOWN": 500,
    "UNSUPPORTED": 405,
}
"""Code -> the status it usually goes with."""

VERSION_HEADER: Final = {"Docker-Distribution-API-Version": "registry/2.0"}
"""On every answer below /v2."""


class ApiError(Exception):
    """An answer that is an error; what a handler raises when the library has no word for it."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        detail: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = STATUS[code] if status is None else status
        self.detail = detail
        self.headers = dict(headers or {})


def as_api_error(error: RegfsError) -> ApiError:
    """Return the answer to what the library has raised."""
    if isinstance(error, LockHeld):
        # Garbage is being collected: it takes seconds, and clients ask again.
        return ApiError("UNAVAILABLE", str(error), headers={"Retry-After": "5"})
    if isinstance(error, PathDenied):
        return ApiError("UNAVAILABLE", str(error), status=500)
    return ApiError(error.code, str(error))


def error_response(error: ApiError) -> web.Response:
    """Return an error as OCI's JSON."""
    one: dict[str, Any] = {"code": error.code, "message": str(error)}
    if error.detail is not None:
        one["detail"] = error.detail
    body = json.dumps({"errors": [one]}, ensure_ascii=True) + "\n"
    return web.Response(
        text=body, status=error.status, content_type="application/json", headers=error.headers
    )
