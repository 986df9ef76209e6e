"""The config of an image: what it runs on, what it starts, how each layer was made.

    parse_config(b'{"os": "linux", "architecture": "arm64", ...}').platform -> "linux/arm64"

Not here: the manifest that names the config (`manifests`), and the layers themselves.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import FailFast, Field, ValidationError

from regfs.errors import ManifestInvalid
from regfs.manifests import LIMIT, DigestField, Document, Text, json_object, or_empty, summarise

INLINE_CACHE: Final = "moby.buildkit.cache.v0"


class History(Document):
    """How one layer of an image was made, or a step that made no layer."""

    created: str | None = None
    created_by: Text = ""
    author: Text = ""
    comment: Text = ""
    empty_layer: Annotated[bool, or_empty(bool)] = False


class RootFs(Document):
    """The uncompressed layers of an image."""

    type: Text = ""
    diff_ids: Annotated[tuple[DigestField, ...], FailFast(), or_empty(tuple)] = ()
    """Base first."""


class ImageConfig(Document):
    """The config of an image: its platform, what a container starts, how it was built."""

    architecture: Text = ""
    os: Text = ""
    os_version: Text = Field("", alias="os.version")
    variant: Text = ""
    created: str | None = None
    """RFC 3339, as the builder wrote it."""
    author: Text = ""
    config: Annotated[dict[str, Any], or_empty(dict)] = Field(default_factory=dict)
    """What a container starts with: Env, Entrypoint, Cmd, Labels and so on."""
    rootfs: Annotated[RootFs, or_empty(RootFs)] = Field(default_factory=RootFs)
    history: Annotated[tuple[History, ...], FailFast(), or_empty(tuple)] = ()
    """Base first."""

    @property
    def platform(self) -> str:
        """Such as `linux/arm/v7`."""
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the image, without values that are not text."""
        labels = self.config.get("Labels")
        pairs = labels.items() if isinstance(labels, dict) else ()
        return {key: value for key, value in pairs if isinstance(value, str)}

    @property
    def inline_cache(self) -> bool:
        """Whether this config contains the build cache of BuildKit."""
        return INLINE_CACHE in (self.model_extra or {})


def parse_config(data: bytes, *, limit: int = LIMIT) -> ImageConfig:
    """Return the image config in `data`; `limit` is in bytes.

    Raises:
        ManifestTooLarge: longer than `limit`; not parsed.
        ManifestInvalid: not a JSON object, or not an image config.
    """
    try:
        return ImageConfig.model_validate(json_object(data, limit))
    except ValidationError as error:
        raise ManifestInvalid(summarise(error)) from None
