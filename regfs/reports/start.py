"""How a container of an image starts: what its config says of that, as plain texts."""

from __future__ import annotations

from dataclasses import dataclass

from regfs.digest import Digest
from regfs.manifests.image_config import ImageConfig


@dataclass(frozen=True, slots=True)
class Config:
    """The config: how a container of the image starts, and how the image was built."""

    digest: str
    created: str | None
    """As the builder wrote it; no time zone is implied."""
    author: str
    user: str
    working_dir: str
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    environment: tuple[str, ...]
    ports: tuple[str, ...]
    volumes: tuple[str, ...]
    labels: dict[str, str]
    inline_cache: bool
    """Whether BuildKit put its build cache into the config."""


def config_of(digest: Digest, config: ImageConfig) -> Config:
    """Return what is shown of the config with a digest."""
    start = config.config
    return Config(
        digest=digest,
        created=config.created,
        author=config.author,
        user=_text(start.get("User")),
        working_dir=_text(start.get("WorkingDir")),
        entrypoint=_texts(start.get("Entrypoint")),
        command=_texts(start.get("Cmd")),
        environment=_texts(start.get("Env")),
        ports=_texts(start.get("ExposedPorts")),
        volumes=_texts(start.get("Volumes")),
        labels=config.labels,
        inline_cache=config.inline_cache,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    """Return the texts in a list, or the keys of an object; a lone text is a list of one."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, (list, dict)):
        return tuple(one for one in value if isinstance(one, str))
    return ()
