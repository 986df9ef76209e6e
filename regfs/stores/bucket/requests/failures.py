"""What failures of object stores mean, in words of our own.

Those of a server may quote the request, and with it an access key: of its text only what is
known here is told.
"""

from __future__ import annotations

import re
from typing import Final

from regfs.stores.bucket.place import CREDENTIALS

DENIED: Final = "permission denied: these credentials may not do that"
_REGION: Final = "the bucket is in another region{}; set AWS_REGION"
_CODES: Final = {
    "NoSuchBucket": "there is no such bucket",
    "ContainerNotFound": "there is no such container",
    "InvalidAccessKeyId": "the access key is not known there",
    "SignatureDoesNotMatch": "the secret key is wrong",
    "AuthenticationFailed": "the key of the account is wrong",
    "AuthorizationPermissionMismatch": DENIED,
    "PendingCopyOperation": "a copy to it is under way; try again later",
    "BlobImmutableDueToPolicy": "permission denied: a policy of the container forbids to delete it",
    "AuthorizationFailure": "permission denied: the account refuses this key, or this network",
    "AccessDenied": DENIED,
    "AllAccessDisabled": "permission denied: the bucket is disabled",
    "AuthorizationHeaderMalformed": _REGION,
    "PermanentRedirect": _REGION,
    "TemporaryRedirect": _REGION,
    "IncorrectEndpoint": _REGION,
    "RequestTimeTooSkewed": "the clock of this machine is wrong",
    "ExpiredToken": "the session token has expired",
    "InvalidToken": "the session token is not valid",
    "SlowDown": "too many requests for the server; try again later",
}
_NO_CREDENTIALS: Final = re.compile(
    r"169\.254\.169\.254|metadata\.google|metadata/identity|Missing\w*(?:Key|Credential)|"
    r"(?i:oauth)|credential error|Invalid Access Key|Account must be specified"
)
_NO_AUTHORITIES: Final = "No CA certificates"
_REDIRECTED: Final = "redirect without LOCATION"
_MOVED: Final = frozenset({"301", "307"})


def meaning(text: str, scheme: str) -> str:
    """Return what the words of a failure mean."""
    found = re.search(r"<Code>(\w{1,80})</Code>", text)
    code = found[1] if found else ""
    if code in _CODES:
        region = re.search(r"<Region>([a-z0-9-]{1,40})</Region>", text)
        return _CODES[code].format(f" ({region[1]})" if region else "")
    # Names of repositories are in the path of a request, and may be any words.
    text = re.sub(r"(https?://[^/\s]+)/\S*", r"\1", text)
    if _NO_CREDENTIALS.search(text):
        return f"no credentials that can be used: {CREDENTIALS[scheme]}"
    if _NO_AUTHORITIES in text:  # it is said before there is a request, even without TLS
        return "this machine trusts no certificates: install ca-certificates, or set SSL_CERT_FILE"
    host = re.search(r"(https?://)(?:[^/\s@]*@)?([\w.\[\]:-]{1,200})", text)
    server = host[1] + host[2] if host else "the server"
    status = re.search(r"status code: (\d{3})", text)
    if status is None and _REDIRECTED in text:
        return _REGION.format("")
    if status is None:
        return f"{server}: {_connection(text.lower())}"
    if status[1] in _MOVED:
        return _REGION.format("")
    if status[1] == "403" and not code:  # an answer to HEAD has no words
        return DENIED
    return f"{server} answers {status[1]}{f' ({code})' if code else ''}"


def _connection(text: str) -> str:
    """Return why there is no answer."""
    if "connection refused" in text or "connectionrefused" in text:
        return "connection refused"
    if "dns error" in text or "failed to lookup" in text or "failed to resolve" in text:
        return "no such host"
    if "certificate" in text:
        return "its certificate is not trusted"
    if "timedout" in text or "timed out" in text or "timeout" in text.partition("retry_timeout")[0]:
        return "no answer in time"
    if "kind: connect" in text:
        return "cannot connect"
    return "no answer of an object store"
