"""Signed requests to one bucket of S3, one at a time: keys, attempts, limits, what failed.

For what obstore cannot ask. Where the bucket is, in which region and under which access key, is
taken from an address that obstore signs, so that both speak to the same server as the same user.

- Answers 429 and 5xx and broken connections are retried, with growing pauses.
- An answer has limits: its bytes, the time between two of them, the time of the whole.
- A redirect is not followed: the signature is that of one host. No cookie is kept.
- XML with a document type is refused, and with it all that entities can do.
"""

from __future__ import annotations

import math
import random
import re
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qs, quote, urlencode, urlsplit, urlunsplit

from regfs.errors import Doubt, PathMissing, RightMissing, StoreError, printable
from regfs.stores.bucket.place import Bucket
from regfs.stores.bucket.requests.client import Client
from regfs.stores.bucket.requests.expiring import Signer, sign_until
from regfs.stores.bucket.requests.failures import meaning

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    import requests
    from requests import PreparedRequest, Response

LARGEST: Final = 16 << 20
"""Bytes of the longest answer: a page has 1,000 rows of at most a few kB."""
_ATTEMPTS: Final = 8
_UNREACHED: Final = 3
"""Attempts to connect: what comes before has reached the server already."""
_PAUSE: Final = 0.1
"""Seconds before the second attempt; they double, up to `_PATIENCE`."""
_PATIENCE: Final = 10.0
_TIMEOUT: Final = (3.0, 60.0)
"""Seconds to connect, and between two bytes."""
_WHOLE: Final = 120.0
"""Seconds that the body of an answer may take."""
_CONNECTIONS: Final = 32
_READS: Final = ("GET", "HEAD")
_DENIED: Final = 403
_LATER: Final = frozenset({429, 500, 502, 503, 504})
_GONE: Final = frozenset({"NoSuchKey", "NoSuchVersion", "NoSuchUpload", ""})
_CHANGED: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})
_UNKNOWN: Final = frozenset({405, 501})
_CODE: Final = re.compile(rb"<Code>(\w{1,80})</Code>")
_ERROR: Final = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?<Error\b")
"""How an answer begins that is none, though its status says so: what takes long begins early."""
_LISTED: Final = frozenset({"versions", "uploads", "list-type"})
"""In the queries of listings."""
_NO_PARTS: Final = frozenset({"", ".", ".."})
_KEYS: Final = (
    "to change a bucket, or to see its uploads, access keys are needed: set AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY; of a role or SSO: aws configure export-credentials --format env"
)


class ObjectChanged(StoreError):
    """An object is not the one that was meant; nothing was done."""


class NotOffered(StoreError):
    """The server does not know this kind of request."""


class S3Call(NamedTuple):
    """One request."""

    method: str
    permission: str
    """What S3 calls the permission that it needs, for messages."""
    key: str = ""
    query: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    body: bytes = b""

    @property
    def kind(self) -> str:
        """As which it is counted."""
        if self.method == "GET":
            return "list" if _LISTED.intersection(self.query) else "get"
        if any(name.lower() == "x-amz-copy-source" for name in self.headers):
            return "copy"
        if "delete" in self.query:
            return "delete"
        return "put" if self.method == "POST" else self.method.lower()


@dataclass(frozen=True, slots=True)
class SignedAnswer:
    """A success."""

    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    repeated: bool
    """Whether an earlier attempt may have been carried out, without an answer."""


class Transport:
    """Asks a bucket. May be used from several threads."""

    def __init__(self, bucket: Bucket, pause: Callable[[float], None] = time.sleep) -> None:
        """Nothing is requested yet.

        Raises:
            Doubt: it is no bucket of S3, there are no keys, or what signs is not installed.
            StoreError: what is set does not suffice to reach the bucket.
        """
        self.url = bucket.url
        self.name = bucket.name
        self._meter = bucket.meter
        self._pause = pause
        key, secret, token = _keys(bucket)
        self._base, region = _address(bucket)
        self._auth = _signer(key, secret, region, token)
        self._expiring = Signer(key, secret, token, region)
        self._session = _session(bucket, lambda: self.before_change())
        self.before_change: Callable[[], float | None] = _let_pass
        """Says for how many seconds more changes may come; raises if none may. Asked when one is
        signed, and as it is sent. The server refuses what arrives later."""
        self._clock: tuple[float, float] | None = None
        """What the server's clock showed, and when, by the monotonic clock."""
        self._noting = threading.Lock()

    def now(self) -> float:
        """Return what the server's clock shows, in seconds since the epoch, to the second.

        As the last answer said, and the time since.

        Raises:
            StoreError: no answer has said so yet, and it does not.
        """
        if self._clock is None:
            self.ask(S3Call("HEAD", "s3:ListBucket"))
        if self._clock is None:
            raise StoreError(f"{printable(self.url)}: its answers have no date")
        date, then = self._clock
        return date + time.monotonic() - then

    def ask(self, asked: S3Call) -> SignedAnswer:
        """Send a request, until it is answered.

        Raises:
            PathMissing: there is no such object, version or upload.
            ObjectChanged: a condition is not met.
            RightMissing: the permission is missing.
            NotOffered: the server does not know such a request.
            StoreError: it fails otherwise, or no answer comes.
        """
        repeated, attempt = False, 0
        while True:
            attempt += 1
            if attempt > 1:
                self._meter.retry()
            self._meter.send(asked.kind)
            last = attempt >= _ATTEMPTS
            try:
                response, body = self._once(asked)
            except OSError as error:  # of which those of requests and urllib3 are
                unreached = _never_sent(error)
                repeated = repeated or not unreached
                if last or (unreached and attempt >= _UNREACHED) or "CERTIFICATE" in str(error):
                    words = meaning(f"{self._base} {error}", "s3")
                    raise StoreError(f"{self._where(asked)}: {words}") from None
                self._pause(_wait(attempt, ""))
                continue
            status = response.status_code
            if status in _LATER or (status == 200 and _ERROR.match(body)):
                if not last:
                    repeated = True
                    self._pause(_wait(attempt, response.headers.get("Retry-After", "")))
                    continue
            elif 200 <= status < 300:
                return SignedAnswer(response.headers, body, repeated)
            if status == _DENIED and asked.method not in _READS:
                self.before_change()  # it may have come too late
            raise self._failure(asked, status, response.headers, body)

    def document(self, asked: S3Call) -> tuple[Element, SignedAnswer]:
        """Send a request that is answered with XML.

        Raises:
            As `ask`.
        """
        answer = self.ask(asked)
        return self.parsed(answer.body), answer

    def parsed(self, body: bytes) -> Element:
        """Return the root of an XML document.

        Raises:
            StoreError: it is none.
        """
        from xml.etree.ElementTree import ParseError

        from defusedxml.common import DefusedXmlException
        from defusedxml.ElementTree import fromstring

        try:
            root: Element = fromstring(body, forbid_dtd=True)
        except (ParseError, DefusedXmlException, ValueError):
            raise self.odd() from None
        return root

    def odd(self) -> StoreError:
        """Return what to raise of an answer that is none of S3."""
        server = urlunsplit((*urlsplit(self._base)[:2], "", "", ""))
        return StoreError(f"{printable(self.url)}: {server} sends no answer of S3")

    def refused(self, asked: S3Call, code: str) -> StoreError:
        """Return what to raise of one of several things asked at once, by its code."""
        body = f"<Code>{code}</Code>".encode()
        return self._failure(asked, 404 if code in _GONE else 400, {}, body)

    # -- one attempt -------------------------------------------------------------------

    def _once(self, asked: S3Call) -> tuple[Response, bytes]:
        from urllib3.exceptions import HTTPError, InsecureRequestWarning

        url = self._base + self._path(asked)
        # Without the content's encoding asked for, the limit is that of the bytes that come.
        headers = {"Accept-Encoding": "identity", "User-Agent": "regfs", **asked.headers}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InsecureRequestWarning)  # as the user has chosen
            response = self._session.request(
                asked.method,
                url,
                headers=headers,
                data=asked.body or None,
                auth=self._signed,
                timeout=_TIMEOUT,
                verify=self._session.verify,
                allow_redirects=False,
                stream=True,
            )
        try:
            with response:
                self._note(response.headers.get("Date", ""))
                return response, self._body(response)
        except HTTPError as error:
            raise OSError(str(error)) from None

    def _signed(self, request: Any) -> PreparedRequest:
        seconds = None if request.method in _READS else self.before_change()
        if seconds is None:
            return self._auth(request)
        sign_until(request, self._expiring, self.now(), max(math.ceil(seconds), 1))
        prepared: PreparedRequest = request
        return prepared

    def _body(self, response: Response) -> bytes:
        body, until = bytearray(), time.monotonic() + _WHOLE
        while piece := response.raw.read1(1 << 16, decode_content=False):
            body += piece
            if len(body) > LARGEST:
                raise StoreError(f"{printable(self.url)}: an answer is over {LARGEST} bytes")
            if time.monotonic() > until:
                raise OSError("timed out")
        length = response.headers.get("Content-Length", "")
        if response.request.method != "HEAD" and length.isdigit() and int(length) != len(body):
            raise OSError("the answer ends within it")
        return bytes(body)

    def _path(self, asked: S3Call) -> str:
        path = ""
        if asked.key:
            if not _NO_PARTS.isdisjoint(asked.key.split("/")):
                raise StoreError(f"{self._where(asked)}: such a key is not sent")
            try:
                path = "/" + quote(asked.key, safe="/~")
            except UnicodeEncodeError:
                raise StoreError(f"{self._where(asked)}: a key is UTF-8") from None
        query = urlencode(sorted(asked.query.items()), quote_via=quote, safe="~")
        return path + ("?" + query if query else "")

    def _note(self, date: str) -> None:
        try:
            seconds = parsedate_to_datetime(date).timestamp()
        except (ValueError, TypeError, OverflowError, OSError):
            return
        self._clock = seconds, time.monotonic()

    # -- what failed -------------------------------------------------------------------

    def _failure(
        self, asked: S3Call, status: int, headers: Mapping[str, str], body: bytes
    ) -> StoreError:
        where = self._where(asked)
        found = _CODE.search(body)
        code = found[1].decode("ascii", "replace") if found else ""
        if status == 404 and asked.key and code in _GONE:
            return PathMissing(f"{where}: no such object")
        if status == 412 or code in _CHANGED:
            return ObjectChanged(f"{where}: it has changed meanwhile")
        if code == "AccessDenied" or (status == 403 and not code):
            return RightMissing(f"{where}: permission denied: {asked.permission} is missing")
        if status in _UNKNOWN or code == "NotImplemented":
            return NotOffered(f"{where}: the server offers no {asked.permission}")
        region = headers.get("x-amz-bucket-region", "")
        text = body.decode("utf-8", "replace")
        told = f"{self._base} status code: {status}: {text}<Region>{region}</Region>"
        words = meaning(told, "s3")
        return StoreError(f"{where}: {words}")

    def _where(self, asked: S3Call) -> str:
        return printable(f"{self.url}: {asked.key}" if asked.key else self.url)


def _let_pass() -> float | None:
    """Let every request be sent, and accepted whenever it arrives."""
    return None


def _never_sent(error: OSError) -> bool:
    """Return whether a failed attempt has surely not reached the server."""
    from requests.exceptions import ConnectTimeout
    from urllib3.exceptions import MaxRetryError, NewConnectionError

    cause = error.args[0] if error.args else None
    reason = cause.reason if isinstance(cause, MaxRetryError) else None
    return isinstance(error, ConnectTimeout) or isinstance(reason, NewConnectionError)


def _wait(attempt: int, after: str) -> float:
    """Return the seconds to the next attempt; a server may ask for some."""
    asked = float(after) if after.isascii() and after.isdigit() and len(after) < 6 else 0.0
    pause = _PAUSE * 2.0**attempt * random.uniform(0.5, 1.0)
    return min(max(pause, asked), _PATIENCE)


def _keys(bucket: Bucket) -> tuple[str, str, str]:
    """Return the access key, the secret key and the token, empty if there is none."""
    if bucket.scheme != "s3":
        raise Doubt(f"{printable(bucket.url)}: this is asked of S3 only")
    for keys in (bucket.options, bucket.keys):
        if keys.get("access_key_id") and keys.get("secret_access_key"):
            return (
                keys["access_key_id"],
                keys["secret_access_key"],
                keys.get("session_token", ""),
            )
    raise Doubt(f"{printable(bucket.url)}: {_KEYS}")


def _address(bucket: Bucket) -> tuple[str, str]:
    """Return the URL of the bucket and its region, as obstore has found them."""
    parts = urlsplit(Client(bucket).signed("x", timedelta(seconds=1)))
    credential = parse_qs(parts.query).get("X-Amz-Credential", [""])[0].split("/")
    if len(credential) != 5 or not parts.path.endswith("/x"):
        raise StoreError(f"{printable(bucket.url)}: its region is not known; set AWS_REGION")
    base = urlunsplit((parts.scheme, parts.netloc, parts.path[: -len("/x")], "", ""))
    return base, credential[2]


def _signer(key: str, secret: str, region: str, token: str) -> Callable[[Any], PreparedRequest]:
    try:
        from requests_aws4auth import AWS4Auth
    except ModuleNotFoundError:
        raise Doubt("requests-aws4auth is missing: pip install 'regfs[bucket]'") from None

    class PathAsSent(AWS4Auth):  # type: ignore[misc]
        """Signs the path as it is sent: keys may hold what a normal path does not."""

        def amz_cano_path(self, path: str) -> str:
            return path

    def sign(request: Any) -> PreparedRequest:
        # One for each request: it renews its key at midnight, which threads must not share.
        extra = {"session_token": token} if token else {}
        signed: PreparedRequest = PathAsSent(key, secret, region, "s3", **extra)(request)
        return signed

    return sign


@lru_cache(maxsize=2)
def _trusted(insecure: bool) -> ssl.SSLContext:
    """Return what the system trusts, which takes 0.2 s to read; or anything."""
    trusted = ssl.create_default_context()
    if insecure:
        trusted.check_hostname = False
        trusted.verify_mode = ssl.CERT_NONE
    return trusted


def _session(bucket: Bucket, ask: Callable[[], object]) -> requests.Session:
    from http.cookiejar import DefaultCookiePolicy

    import requests
    from requests.adapters import HTTPAdapter

    from regfs.stores.bucket.requests.guarded import guarded_pools

    trusted = _trusted(bucket.insecure)

    class WithSystemTrust(HTTPAdapter):
        """Trusts what the system trusts, as obstore does, beside what requests brings."""

        def init_poolmanager(self, *args: Any, **named: Any) -> None:
            super().init_poolmanager(*args, ssl_context=trusted, **named)
            self.poolmanager.pool_classes_by_scheme = guarded_pools(ask)

    session = requests.Session()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    adapter = WithSystemTrust(pool_maxsize=_CONNECTIONS)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    session.verify = not bucket.insecure
    return session
