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
    """A blob or manifest to ask a source for."""

    digest: Digest
    size: int = -1
    """Bytes, according to the manifests that name it; -1 if none does."""
    manifest: bool = False
    repositories: tuple[str, ...] = ()
    """The repositories of our tree that use it: a hint, because a registry serves by name."""


class Source(Protocol):
    """A place that content can be read from."""

    @property
    def url(self) -> str:
        """Where it is, for people and journals; contains no secret."""

    def size(self, request: BlobRequest) -> int:
        """Return the size of the content in bytes; -1 if the source does not say.

        Raises:
            SourceLacks: the source does not have it.
            SourceError: the source does not answer.
        """

    def open(self, request: BlobRequest) -> BinaryIO:
        """Open the content for reading.

        Raises:
            As `size`; reading raises SourceError.
        """

    def close(self) -> None:
        """Release what it has open."""


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
    """A credentials file as docker login and podman login write it."""
    verify_tls: bool = True
    ca: str | None = None
    """A certificate file to trust instead of the system's."""
    repositories: tuple[str, ...] = ()
    """Repositories of the registry to look in first."""
    proxies: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 60.0
    """Seconds to wait for the next bytes."""
    min_rate: int = 1000
    """Minimum rate of a body in bytes per second, from its 30th second on."""
    max_duration: float = 86_400.0
    """Seconds after which the registry is asked for nothing more."""
    pause: Callable[[float], None] = time.sleep
    """Waits between two attempts; takes seconds."""
    clock: Callable[[], float] = time.monotonic
    """Returns the time in seconds."""
