"""Error codes of the API: what each is as a status, and as JSON.

Only codes of the specification are sent: by them clients decide whether to try again. It has no
code for a failure of the server, so that is TOOMANYREQUESTS with a status of 5xx, the only code
that says that the same request may succeed later. A full disk is DENIED with 507: trying again
does not help until there is space.

Source: opencontainers/distribution-spec, spec.md, "Error Codes".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from regfs.errors import LockHeld, PathDenied, RegfsError, StoreFull

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
    "SIZE_INVALID": 400,
    "TOOMANYREQUESTS": 429,
    "UNAUTHORIZED": 401,
    "UNSUPPORTED": 405,
}
"""Code -> its usual status."""

_OTHERS: Final[dict[str, tuple[str, int]]] = {
    "TAG_INVALID": ("MANIFEST_INVALID", 400),
    "UNAVAILABLE": ("TOOMANYREQUESTS", 503),
    "UNKNOWN": ("TOOMANYREQUESTS", 500),
    "UNSUPPORTED": ("UNSUPPORTED", 400),
}
"""Codes of the library that the specification lacks, or defines differently."""

VERSION_HEADER: Final = {"Docker-Distribution-API-Version": "registry/2.0"}
"""Headers of every answer below /v2."""


class ApiError(Exception):
    """An error as an answer; raised by handlers if the library has no exception for it."""

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
        usual = STATUS[code]
        self.code = code
        self.status = usual if status is None else status
        self.detail = detail
        self.headers = dict(headers or {})


def internal_error() -> ApiError:
    """Return the answer to a bug, which reveals nothing about it."""
    return ApiError("TOOMANYREQUESTS", "internal error; see the log of the server", status=500)


def as_api_error(error: RegfsError) -> ApiError:
    """Return the answer to an exception of the library."""
    code, status = _OTHERS.get(error.code) or (error.code, STATUS[error.code])
    if isinstance(error, LockHeld):
        # A collection is running: it takes seconds, and clients try again.
        code, status = _OTHERS["UNAVAILABLE"]
        return ApiError(code, str(error), status=status, headers={"Retry-After": "5"})
    if isinstance(error, StoreFull):
        code, status = "DENIED", 507  # clients should not try again at once
    if isinstance(error, PathDenied):
        status = 500
    return ApiError(code, str(error), status=status)


def error_response(error: ApiError) -> web.Response:
    """Return an error as JSON of the specification."""
    one: dict[str, Any] = {"code": error.code, "message": str(error)}
    if error.detail is not None:
        one["detail"] = error.detail
    body = json.dumps({"errors": [one]}, ensure_ascii=True) + "\n"
    return web.Response(
        text=body, status=error.status, content_type="application/json", headers=error.headers
    )
