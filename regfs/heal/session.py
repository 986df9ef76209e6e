"""HTTP requests to a registry: authentication, retries, and where a secret may go.

- Credentials go to the registry itself, and to the token server it names if that uses TLS (or
  the registry itself does not). A redirect to another host is followed without them, and never
  from TLS to plain HTTP.
- Responses 429 and 5xx and broken connections are retried, with growing pauses.
- Everything has a limit: the time for the head of a response, the rate of a body, and the
  duration of the session.
- Nothing is read from the environment or from .netrc. Messages contain no query of an address,
  because storage puts its signatures there.
"""

from __future__ import annotations

import base64
import json
import queue
import re
import threading
import warnings
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests
from requests import RequestException, Response
from urllib3.exceptions import HTTPError, InsecureRequestWarning

from regfs.errors import Invalid, SourceError
from regfs.heal.source import Credentials, RegistryAccess
from regfs.units import written

ATTEMPTS: Final = 5
_REDIRECTS: Final = 5
_PATIENCE: Final = 30.0
"""Maximum seconds of a pause that a registry asks for."""
_HEADS: Final = 2
"""The head of a response may take this many times the timeout between two bytes."""
_GRACE: Final = 30.0
"""Seconds before the minimum rate of a body applies."""
_TOKEN_BYTES: Final = 1 << 20
_MOVED: Final = frozenset({301, 302, 303, 307, 308})
_LATER: Final = frozenset({429, 500, 502, 503, 504})
_PARAMETER: Final = re.compile(r'([a-zA-Z_]+)\s*=\s*"([^"]*)"')
_HUB_KEY: Final = "https://index.docker.io/v1/"


class HttpSession:
    """A session with one registry."""

    def __init__(
        self,
        base: str,
        access: RegistryAccess,
        credentials: Credentials | None,
        *,
        may_be_plain: bool = False,
    ) -> None:
        self.base = base
        self._access = access
        self._may_be_plain = may_be_plain
        self._credentials = credentials
        self._authorizations: dict[str, str] = {}
        """Scope -> the authorization header that worked."""
        self._end = access.clock() + access.max_duration
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.proxies.update(access.proxies)
        self._session.verify = (access.ca or True) if access.verify_tls else False

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def wait(self, seconds: float) -> None:
        """Pause."""
        self._access.pause(seconds)

    def check_time(self) -> None:
        """Check that the time for this registry is not up.

        Raises:
            SourceError: it is.
        """
        if self._access.clock() >= self._end:
            limit = written(self._access.max_duration)
            raise SourceError(f"{self.base}: the time is up after {limit} (--max-duration)")

    def pace(self) -> Pace:
        """Return a check of the rate of a body."""
        return Pace(self.base, self._access.min_rate, self._access.clock)

    def some(self, response: Response, count: int, pace: Pace, *, decode: bool = False) -> bytes:
        """Return what has arrived of a body, at most `count` bytes.

        Waiting for more would hide how slowly it arrives.

        Raises:
            SourceError: it is too slow, or the time is up.
            HTTPError, RequestException, OSError: it is interrupted.
        """
        self.check_time()
        data = bytes(response.raw.read1(count, decode_content=decode))
        pace.check(len(data))
        return data

    def document(self, response: Response, limit: int) -> bytes:
        """Return a body, or its first `limit` bytes. Raises as `some`."""
        pace, data = self.pace(), b""
        while len(data) < limit:
            piece = self.some(response, limit - len(data), pace, decode=True)
            if not piece:
                break
            data += piece
        return data

    def words(self, response: Response) -> str:
        """Return the words for a response that is not a success."""
        code = response.status_code
        if code in (401, 403):
            known = "refused the credentials" if self._credentials else "requires credentials"
            return f"{known} (HTTP {code})"
        return f"answered HTTP {code} {response.reason or ''}".rstrip()

    def request(
        self, method: str, path: str, *, scope: str, accept: str = "*/*", offset: int = 0
    ) -> Response:
        """Send a request; return the response, whatever its status, with its body unread.

        Raises:
            SourceError: there is no response.
        """
        url = self.base + path
        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        response = self._followed(method, url, headers, self._authorizations.get(scope))
        if response.status_code == 401 and scope:
            response.close()
            authorization = self._authorize(response, scope)
            if authorization is not None:
                self._authorizations[scope] = authorization
                response = self._followed(method, self.base + path, headers, authorization)
        response.asked = (method, path, scope, accept)  # type: ignore[attr-defined]
        return response

    def again(self, response: Response, offset: int) -> Response:
        """Request the rest of a response, from `offset`."""
        method, path, scope, accept = response.asked  # type: ignore[attr-defined]
        return self.request(method, path, scope=scope, accept=accept, offset=offset)

    # -- one request --------------------------------------------------------------

    def _followed(
        self, method: str, url: str, headers: dict[str, str], authorization: str | None
    ) -> Response:
        for _ in range(_REDIRECTS + 1):
            response = self._patient(method, url, headers, authorization)
            if response.status_code not in _MOVED or "Location" not in response.headers:
                return response
            response.close()
            target = urljoin(url, response.headers["Location"])
            here, there = urlsplit(url), urlsplit(target)
            if there.scheme not in ("http", "https") or (here.scheme, there.scheme) == (
                "https",
                "http",
            ):
                raise SourceError(f"{self.base}: redirects to {_shown(target)}, which is not safe")
            if (here.scheme, here.netloc) != (there.scheme, there.netloc):
                authorization = None
            url = target
        raise SourceError(f"{self.base}: too many redirects")

    def _patient(
        self, method: str, url: str, headers: dict[str, str], authorization: str | None
    ) -> Response:
        """Send a request; retry while the registry is busy or the connection breaks."""
        problem = ""
        self.check_time()
        for attempt in range(1, ATTEMPTS + 1):
            pause = 0.5 * 2**attempt
            try:
                response = self._once(method, url, headers, authorization)
            except requests.exceptions.SSLError as error:
                plain = self._plain(url)
                if plain is None:
                    raise SourceError(f"{_shown(url)}: TLS: {_reason(error)}") from error
                url = plain
                continue
            except (RequestException, HTTPError, OSError) as error:
                problem = _reason(error)
            else:
                if response.status_code not in _LATER:
                    return response
                problem = self.words(response)
                pause = max(pause, _retry_after(response))
                response.close()
            if attempt < ATTEMPTS:
                self.wait(min(pause, _PATIENCE))
                self.check_time()
        raise SourceError(f"{_shown(url)}: {problem}")

    def _plain(self, url: str) -> str | None:
        """Return the address without TLS if that is allowed; None if not."""
        if not (self._may_be_plain and url.startswith(self.base) and url.startswith("https:")):
            return None
        self.base = "http:" + self.base.removeprefix("https:")
        return "http:" + url.removeprefix("https:")

    def _once(
        self, method: str, url: str, headers: dict[str, str], authorization: str | None
    ) -> Response:
        more = {"User-Agent": "regfs"}
        if authorization is not None:
            more["Authorization"] = authorization
        with warnings.catch_warnings():
            # The user has chosen --insecure, and every digest is compared anyway.
            warnings.simplefilter("ignore", InsecureRequestWarning)
            return _within(
                _HEADS * self._access.timeout,
                lambda: self._session.request(
                    method,
                    url,
                    headers=headers | more,
                    timeout=(min(10.0, self._access.timeout), self._access.timeout),
                    allow_redirects=False,
                    stream=True,
                ),
            )

    # -- authentication -----------------------------------------------------------

    def _authorize(self, response: Response, scope: str) -> str | None:
        """Return the authorization header for a challenge; None if there are no credentials."""
        challenge = response.headers.get("WWW-Authenticate", "")
        scheme = challenge.partition(" ")[0].lower()
        if scheme == "bearer":
            parameters = {key.lower(): value for key, value in _PARAMETER.findall(challenge)}
            return self._token(parameters, scope)
        if scheme == "basic" and self._credentials is not None:
            return _basic(self._credentials)
        return None

    def _token(self, parameters: dict[str, str], scope: str) -> str | None:
        realm = parameters.get("realm", "")
        plain = self.base.startswith("http:")
        if not realm.startswith("https://") and not (plain and realm.startswith("http://")):
            raise SourceError(f"{self.base}: names a token server that is not safe")
        query = {"scope": parameters.get("scope") or scope}
        if parameters.get("service"):
            query["service"] = parameters["service"]
        url = requests.Request("GET", realm, params=query).prepare().url or realm
        authorization = _basic(self._credentials) if self._credentials else None
        with self._followed("GET", url, {"Accept": "application/json"}, authorization) as answer:
            if answer.status_code != 200:
                raise SourceError(f"{_shown(realm)}: {self.words(answer)}")
            try:
                document = json.loads(self.document(answer, _TOKEN_BYTES))
                token = document.get("token") or document.get("access_token")
            except (ValueError, AttributeError, RecursionError, HTTPError, OSError):
                token = None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise SourceError(f"{_shown(realm)}: sent no token")
        return f"Bearer {token}"


class Pace:
    """Checks that a body is fast enough; pauses between two attempts count too."""

    def __init__(self, base: str, rate: int, clock: Callable[[], float]) -> None:
        self._base = base
        self._rate = rate
        self._clock = clock
        self._began = clock()
        self._done = 0

    def check(self, more: int) -> None:
        """Count `more` bytes that have arrived.

        Raises:
            SourceError: they are too slow.
        """
        self._done += more
        seconds = self._clock() - self._began
        if self._done < self._rate * (seconds - _GRACE):
            raise SourceError(
                f"{self._base}: sent {self._done} bytes in {seconds:.0f} s, less than "
                f"{self._rate} per second (--min-rate)"
            )


def _within(seconds: float, ask: Callable[[], Response]) -> Response:
    """Return a response whose head arrives in time.

    The timeout of a socket starts again with each byte, so a slow head could take forever. The
    thread that waits for one is abandoned, and ends with the process.
    """
    answers: queue.SimpleQueue[Response | BaseException] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put(ask())
        except BaseException as error:  # raised again in the waiting thread
            answers.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise requests.exceptions.ReadTimeout from None
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _basic(credentials: Credentials) -> str:
    text = f"{credentials.user}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(text).decode()}"


def _shown(url: str) -> str:
    """Return an address without parts that could be secret."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _reason(error: BaseException) -> str:
    """Return why there was no response; messages of requests contain the whole address."""
    if isinstance(error, requests.exceptions.ReadTimeout):
        return "no response in time"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "no connection in time"
    text = str(error)
    words = {
        "Connection refused": "connection refused",
        "Name or service not known": "no such host",
        "name resolution": "no such host",
        "CERTIFICATE_VERIFY_FAILED": "the certificate cannot be verified",
        "WRONG_VERSION_NUMBER": "the server does not use TLS",
        "Connection reset": "the connection was reset",
    }
    return next((said for part, said in words.items() if part in text), type(error).__name__)


def _retry_after(response: Response) -> float:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0


def stored_credentials(path: str | None, host: str) -> Credentials | None:
    """Return the credentials that `docker login` has stored for a host.

    Raises:
        Invalid: the file cannot be read.
    """
    if path is None:
        return None
    try:
        with open(path, "rb") as stream:
            document: Any = json.loads(stream.read(_TOKEN_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise Invalid(f"{path}: not a credentials file: {type(error).__name__}") from None
    auths = document.get("auths") if isinstance(document, dict) else None
    keys = [host, f"https://{host}", f"http://{host}", f"https://{host}/v1/", f"https://{host}/v2/"]
    if host == "registry-1.docker.io":
        keys += [_HUB_KEY, "docker.io", "index.docker.io"]
    for key in keys:
        entry = auths.get(key) if isinstance(auths, dict) else None
        found = _decoded(entry.get("auth")) if isinstance(entry, dict) else None
        if found is not None:
            return found
    return None


def _decoded(text: object) -> Credentials | None:
    try:
        user, colon, password = base64.b64decode(str(text), validate=True).decode().partition(":")
    except ValueError:
        return None
    return Credentials(user, password) if colon and user else None
