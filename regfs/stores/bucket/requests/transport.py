"""Signed requests to one bucket, one at a time: attempts, limits, what failed.

For what obstore cannot ask. Where the bucket is, and in which region, is taken from an address that
obstore signs, so that both speak to the same server as the same user.

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
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from regfs.errors import PathMissing, RightMissing, StoreError, printable
from regfs.stores.bucket.place import Bucket
from regfs.stores.bucket.requests.answers import ObjectHead, etag_of
from regfs.stores.bucket.requests.calls import Call, SignedAnswer
from regfs.stores.bucket.requests.cloud import Cloud
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
_GONE: Final = frozenset(
    {"NoSuchKey", "NoSuchVersion", "NoSuchUpload", "BlobNotFound", "CannotVerifyCopySource", ""}
)
_CHANGED: Final = frozenset(
    {"PreconditionFailed", "ConditionalRequestConflict", "BlobAlreadyExists"}
)
_REFUSED: Final = frozenset(
    {"AccessDenied", "AuthorizationPermissionMismatch", "InsufficientAccountPermissions"}
)
_UNKNOWN: Final = frozenset({405, 501})
_CODE: Final = re.compile(rb"<Code>(\w{1,80})</Code>")
_ERROR: Final = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?<Error\b")
"""How an answer begins that is none, though its status says so: what takes long begins early."""
_NO_PARTS: Final = frozenset({"", ".", ".."})


class ObjectChanged(StoreError):
    """An object is not the one that was meant; nothing was done."""


class NotOffered(StoreError):
    """The server does not know this kind of request."""


class Transport:
    """Asks a bucket. May be used from several threads."""

    def __init__(
        self, bucket: Bucket, cloud: Cloud, pause: Callable[[float], None] = time.sleep
    ) -> None:
        """Nothing is requested yet."""
        self.url = bucket.url
        self.name = bucket.name
        self._meter = bucket.meter
        self._pause = pause
        self._cloud = cloud
        self._base = cloud.base
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
            self.ask(self._cloud.clock)
        if (now := self._noted()) is None:
            raise StoreError(f"{printable(self.url)}: its answers have no date")
        return now

    def _noted(self) -> float | None:
        """Return what the server's clock shows, as the last answer said, and the time since."""
        if self._clock is None:
            return None
        date, then = self._clock
        return date + time.monotonic() - then

    def ask(self, asked: Call) -> SignedAnswer:
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
                    words = meaning(f"{self._base} {error}", self._cloud.scheme)
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

    def document(self, asked: Call) -> tuple[Element, SignedAnswer]:
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

    def object_told(self, headers: Mapping[str, str], version: str = "") -> ObjectHead:
        """Return what the headers of an answer tell of an object.

        Raises:
            StoreError: they tell no size or time.
        """
        try:
            size = int(headers["Content-Length"])
            mtime = parsedate_to_datetime(headers["Last-Modified"]).timestamp()
        except (KeyError, ValueError, TypeError, OverflowError):
            raise self.odd() from None
        return ObjectHead(size, mtime, etag_of(headers.get("ETag", "")), version)

    def odd(self) -> StoreError:
        """Return what to raise of an answer that is none of this cloud."""
        server = urlunsplit((*urlsplit(self._base)[:2], "", "", ""))
        return StoreError(f"{printable(self.url)}: {server} sends no answer of {self._cloud.name}")

    def refused(self, asked: Call, code: str) -> StoreError:
        """Return what to raise of one of several things asked at once, by its code."""
        body = f"<Code>{code}</Code>".encode()
        return self._failure(asked, 404 if code in _GONE else 400, {}, body)

    # -- one attempt -------------------------------------------------------------------

    def _once(self, asked: Call) -> tuple[Response, bytes]:
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
        left = None if request.method in _READS else self.before_change()
        seconds = None if left is None else max(math.ceil(left), 1)
        now = self._noted() if seconds is None else self.now()
        signed: PreparedRequest = self._cloud.sign(
            request, time.time() if now is None else now, seconds
        )
        return signed

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

    def path_of(self, key: str) -> str:
        """Return the path of an object as it is sent, from that of the bucket on.

        Raises:
            StoreError: such a key cannot be sent.
        """
        where = printable(f"{self.url}: {key}")
        if not _NO_PARTS.isdisjoint(key.split("/")):
            raise StoreError(f"{where}: such a key is not sent")
        try:
            return "/" + quote(key, safe="/~")
        except UnicodeEncodeError:
            raise StoreError(f"{where}: a key is UTF-8") from None

    def _path(self, asked: Call) -> str:
        path = self.path_of(asked.key) if asked.key else ""
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
        self, asked: Call, status: int, headers: Mapping[str, str], body: bytes
    ) -> StoreError:
        where = self._where(asked)
        found = _CODE.search(body)
        code = found[1].decode() if found else headers.get("x-ms-error-code", "")
        if status == 404 and asked.key and code in _GONE:
            return PathMissing(f"{where}: no such object")
        if status == 412 or code in _CHANGED:
            return ObjectChanged(f"{where}: it has changed meanwhile")
        if code in _REFUSED or (status == 403 and not code):
            return RightMissing(f"{where}: permission denied: {asked.permission} is missing")
        if status in _UNKNOWN or code == "NotImplemented":
            return NotOffered(f"{where}: the server offers no {asked.permission}")
        region = headers.get("x-amz-bucket-region", "")
        text = body.decode("utf-8", "replace") or f"<Code>{code}</Code>"
        told = f"{self._base} status code: {status}: {text}<Region>{region}</Region>"
        words = meaning(told, self._cloud.scheme)
        return StoreError(f"{where}: {words}")

    def _where(self, asked: Call) -> str:
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
