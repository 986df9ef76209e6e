"""The config of an image: what it tells, what it takes for nothing, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from regfs.errors import ManifestInvalid, ManifestTooLarge
from regfs.manifests.image_config import parse_config

FIXTURES = Path(__file__).parents[2] / "fixtures" / "manifests"


def dumps(document: object) -> bytes:
    return json.dumps(document).encode()


def test_an_image_config_tells_what_it_is() -> None:
    config = parse_config((FIXTURES / "unknown-image-config.json").read_bytes())
    assert config.platform == "linux/amd64"
    assert len(config.rootfs.diff_ids) == 2
    made = [step.created_by for step in config.history if not step.empty_layer]
    assert len(made) == len(config.rootfs.diff_ids)
    assert not config.inline_cache


def test_an_image_config_takes_null_for_nothing() -> None:
    config = parse_config(
        b'{"architecture": "arm", "os": "linux", "variant": "v7", "config": null, "history": null,'
        b' "rootfs": {"type": "layers", "diff_ids": null}, "moby.buildkit.cache.v0": "e30="}'
    )
    assert config.platform == "linux/arm/v7"
    assert config.labels == {}
    assert config.history == ()
    assert config.rootfs.diff_ids == ()
    assert config.inline_cache
    assert parse_config(b'{"rootfs": null}').rootfs.diff_ids == ()


def test_the_labels_of_an_image_are_its_texts() -> None:
    labels = {"maintainer": "somebody", "count": 3}
    assert parse_config(dumps({"config": {"Labels": labels}})).labels == {"maintainer": "somebody"}
    assert parse_config(dumps({"config": {"Labels": None}})).labels == {}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not JSON"),
        (b"[]", "not an object"),
        (b'{"rootfs": {"diff_ids": ["x"]}}', r"rootfs\.diff_ids\[0\]: not a digest: 'x'"),
        (b'{"config": []}', "config: is not an object"),
        (b'{"history": [3]}', r"history\[0\]: is not an object"),
    ],
)
def test_what_is_no_image_config_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ManifestInvalid, match=reason):
        parse_config(data)


def test_too_large_a_config_is_not_looked_at() -> None:
    with pytest.raises(ManifestTooLarge):
        parse_config(b"{}", limit=1)
