"""Environment variables of a block, and those that lead to a server of S3."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.s3.server import KEY, SECRET


@contextmanager
def environment(**variables: str | None) -> Iterator[None]:
    """Set variables while the block runs; None removes one."""
    before = {name: os.environ.get(name) for name in variables}
    try:
        for name, text in variables.items():
            os.environ.pop(name, None)
            if text is not None:
                os.environ[name] = text
        yield
    finally:
        for name, old in before.items():
            os.environ.pop(name, None)
            if old is not None:
                os.environ[name] = old


@contextmanager
def reached_at(url: str, **variables: str | None) -> Iterator[None]:
    """Let programs find the server and its keys by their environment."""
    named = {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": "us-east-1",
        **variables,
    }
    with environment(**named):
        yield
