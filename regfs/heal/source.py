"""What a source of intact content must offer, how several are asked, and how to reach a registry.

What a source gives is never trusted: the caller compares it with the digest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Final, NamedTuple, Protocol, TypeVar

from regfs.digest import Digest
from regfs.errors import ContentMismatch, SourceError, SourceLacks

Answer = TypeVar("Answer")


class BlobRequest(NamedTuple):
    """One thing that is asked for."""

    digest: Digest
    size: int = -1
    """Bytes, as the manifests that name it say; -1 when none does."""
    manifest: bool = False
    repositories: tuple[str, ...] = ()
    """In which repositories of our tree it is used: a hint, for a registry serves by name."""


class Source(Protocol):
    """A place that content can be read from."""

    @property
    def url(self) -> str:
        """Where it is, for people and journals; holds no secret."""

    def size(self, wanted: BlobRequest) -> int:
        """Return how many bytes it has of something; -1 when it does not tell.

        Raises:
            SourceLacks: it does not have it.
            SourceError: it does not answer.
        """

    def open(self, wanted: BlobRequest) -> BinaryIO:
        """Open something for reading from its beginning.

        Raises:
            As `size`; reading raises SourceError.
        """

    def close(self) -> None:
        """Let go of it."""


def ask_each(
    sources: Iterable[Source], ask: Callable[[Source], Answer]
) -> tuple[Answer, tuple[str, ...]]:
    """Return the answer of the first source that gives one, and how others failed before it.

    Raises:
        SourceLacks: no source has it.
        SourceError: no source gives it, and at least one failed.
        ContentMismatch: no source gives it, none failed, and at least one gave something else.
    """
    errors: list[tuple[Source, SourceError | ContentMismatch]] = []
    for source in sources:
        try:
            answer = ask(source)
        except (SourceError, ContentMismatch) as error:
            errors.append((source, error))
            continue
        failed = [pair for pair in errors if not isinstance(pair[1], SourceLacks)]
        return answer, tuple(_named(*pair) for pair in failed)
    if len(errors) == 1:
        raise errors[0][1]
    kind = max((type(error) for _, error in errors), key=_GRAVITY.index, default=SourceLacks)
    raise kind("; ".join(_named(*pair) for pair in errors) or "there is no source")


_GRAVITY: Final[list[type[SourceError] | type[ContentMismatch]]] = [
    SourceLacks,
    ContentMismatch,
    SourceError,
]


def _named(source: Source, error: SourceError | ContentMismatch) -> str:
    text = str(error)
    return text if text.startswith(source.url) else f"{source.url}: {text}"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and a password; the password is never printed."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RegistryAccess:
    """How to reach a registry."""

    credentials: Credentials | None = None
    authfile: str | None = None
    """A file as docker login and podman login write it."""
    verify_tls: bool = True
    ca: str | None = None
    """A file of certificates to trust instead of the usual ones."""
    repositories: tuple[str, ...] = ()
    """Names in the registry to ask first."""
    proxies: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 60.0
    """Seconds to wait for the next bytes."""
    min_rate: int = 1000
    """Bytes per second that a body must come with, from its 30th second on."""
    max_duration: float = 86_400.0
    """Seconds after which the registry is not asked any more."""
    pause: Callable[[float], None] = time.sleep
    """What waits between two attempts."""
    clock: Callable[[], float] = time.monotonic
    """What tells the time, in seconds."""
