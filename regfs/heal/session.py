"""Asking a registry over HTTP: who asks, what is asked again, and where a secret may go.

- Credentials go to the registry itself, and to the token server that it names
  when that is asked over TLS (or the registry itself is not). A redirect to another
  host is followed without them, and never from TLS to plain HTTP.
- Answers 429 and 5xx and connections that break are tried again, each time later.
- All of it has an end: the head of an answer, however slowly it drips, a body (a minimum
  rate), and the session as a whole.
- Nothing is read from the environment or from .netrc; messages hold no query of
  an address, for that is where storage puts its signatures.
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
"""Seconds that a registry may tell us to wait at most."""
_HEADS: Final = 2
"""In how many times the timeout between two bytes the head of an answer must have come."""
_GRACE: Final = 30.0
"""Seconds in which a body may gather pace."""
_TOKEN_BYTES: Final = 1 << 20
_MOVED: Final = frozenset({301, 302, 303, 307, 308})
_LATER: Final = frozenset({429, 500, 502, 503, 504})
_PARAMETER: Final = re.compile(r'([a-zA-Z_]+)\s*=\s*"([^"]*)"')
_HUB_KEY: Final = "https://index.docker.io/v1/"


class HttpSession:
    """One registry, asked again and again."""

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
        """Scope -> the header that was good for it."""
        self._end = access.clock() + access.max_duration
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.proxies.update(access.proxies)
        self._session.verify = (access.ca or True) if access.verify_tls else False

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self._access.pause(seconds)

    def check_time(self) -> None:
        """Go on.

        Raises:
            SourceError: the time for this registry is up.
        """
        if self._access.clock() >= self._end:
            limit = written(self._access.max_duration)
            raise SourceError(f"{self.base}: not asked any more after {limit} (--max-duration)")

    def pace(self) -> Pace:
        """Return what watches how fast a body comes."""
        return Pace(self.base, self._access.min_rate, self._access.clock)

    def some(self, response: Response, count: int, pace: Pace, *, decode: bool = False) -> bytes:
        """Return what has come of a body by now, at most `count` bytes.

        To wait for more would hide how slowly it comes.

        Raises:
            SourceError: it comes too slowly, or the time is up.
            HTTPError, RequestException, OSError: it breaks off.
        """
        self.check_time()
        data = bytes(response.raw.read1(count, decode_content=decode))
        pace.check(len(data))
        return data

    def document(self, response: Response, limit: int) -> bytes:
        """Return a body, or its first `limit` bytes; it raises what `some` does."""
        pace, data = self.pace(), b""
        while len(data) < limit:
            piece = self.some(response, limit - len(data), pace, decode=True)
            if not piece:
                break
            data += piece
        return data

    def words(self, response: Response) -> str:
        """Return what an answer that is no success says."""
        code = response.status_code
        if code in (401, 403):
            known = "was refused" if self._credentials else "wants credentials"
            return f"{known} (HTTP {code})"
        return f"answered HTTP {code} {response.reason or ''}".rstrip()

    def request(
        self, method: str, path: str, *, scope: str, accept: str = "*/*", offset: int = 0
    ) -> Response:
        """Ask, and return the answer with its body unread, whatever it says.

        Raises:
            SourceError: there is no answer.
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
        """Ask for the rest of an answer."""
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
                raise SourceError(
                    f"{self.base}: sends us on to {_shown(target)}, which is not safe"
                )
            if (here.scheme, here.netloc) != (there.scheme, there.netloc):
                authorization = None
            url = target
        raise SourceError(f"{self.base}: sends us on and on")

    def _patient(
        self, method: str, url: str, headers: dict[str, str], authorization: str | None
    ) -> Response:
        """Ask, and again when the answer is to come later."""
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
        """Go on without TLS where that was allowed and TLS is not spoken."""
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
            # Whoever said --insecure knows, and every digest is compared anyway.
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

    # -- who asks -----------------------------------------------------------------

    def _authorize(self, response: Response, scope: str) -> str | None:
        """Return the header that a challenge asks for; None when we have nothing to give."""
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
            raise SourceError(f"{self.base}: names a token server that is not safe to ask")
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
            raise SourceError(f"{_shown(realm)}: gave no token")
        return f"Bearer {token}"


class Pace:
    """Watches that a body comes fast enough; waiting between two attempts counts too."""

    def __init__(self, base: str, rate: int, clock: Callable[[], float]) -> None:
        self._base = base
        self._rate = rate
        self._clock = clock
        self._began = clock()
        self._done = 0

    def check(self, more: int) -> None:
        """Take how many more bytes have come.

        Raises:
            SourceError: they come too slowly.
        """
        self._done += more
        seconds = self._clock() - self._began
        if self._done < self._rate * (seconds - _GRACE):
            raise SourceError(
                f"{self._base}: gave {self._done} bytes in {seconds:.0f} s, and {self._rate} a "
                "second are wanted (--min-rate)"
            )


def _within(seconds: float, ask: Callable[[], Response]) -> Response:
    """Return an answer that comes in time.

    A timeout of a socket begins anew with each byte, so a head that drips would never end. Who
    waits for one is left behind, and ends with the process.
    """
    answers: queue.SimpleQueue[Response | BaseException] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put(ask())
        except BaseException as error:  # raised again where the answer is waited for
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
    """Return an address without what could be secret in it."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _reason(error: BaseException) -> str:
    """Return why there was no answer, in words: what requests says holds the whole address."""
    if isinstance(error, requests.exceptions.ReadTimeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "no connection in time"
    text = str(error)
    words = {
        "Connection refused": "connection refused",
        "Name or service not known": "no such host",
        "name resolution": "no such host",
        "CERTIFICATE_VERIFY_FAILED": "the certificate cannot be verified",
        "WRONG_VERSION_NUMBER": "it speaks no TLS",
        "Connection reset": "the connection was reset",
    }
    return next((said for part, said in words.items() if part in text), type(error).__name__)


def _retry_after(response: Response) -> float:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0


def stored_credentials(path: str | None, host: str) -> Credentials | None:
    """Return what `docker login` has kept for a host.

    Raises:
        Invalid: the file cannot be read.
    """
    if path is None:
        return None
    try:
        with open(path, "rb") as stream:
            document: Any = json.loads(stream.read(_TOKEN_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise Invalid(f"{path}: not a file of credentials: {type(error).__name__}") from None
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
