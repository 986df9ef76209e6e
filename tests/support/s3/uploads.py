"""Uploads in parts as programs leave them open, by signed requests."""

from __future__ import annotations

import os

from regfs.stores.bucket.place import of_url
from regfs.stores.bucket.requests.answers import OpenUpload
from regfs.stores.bucket.requests.calls import Call
from regfs.stores.bucket.requests.signed import Signed
from tests.support.s3.server import NAME

MIB = 1 << 20


def signed(root: str = f"s3://{NAME}") -> Signed:
    """Return what signs requests to the bucket of a root, and never pauses."""
    made = Signed(of_url(root, os.environ))
    made.transport._pause = lambda seconds: None
    return made


def begun(client: Signed, key: str, *parts: bytes) -> str:
    """Begin an upload in parts; return its id."""
    root, _ = client.transport.document(Call("POST", "", key, {"uploads": ""}))
    upload = root.findtext("{*}UploadId") or ""
    for number, data in enumerate(parts, 1):
        add_part(client, key, upload, number, data)
    return upload


def add_part(client: Signed, key: str, upload: str, number: int, data: bytes) -> None:
    """Add a part to an upload."""
    query = {"partNumber": str(number), "uploadId": upload}
    client.transport.ask(Call("PUT", "", key, query, body=data))


def open_uploads(client: Signed, prefix: str = "") -> list[OpenUpload]:
    """Return the open uploads."""
    return [one for page in client.uploads(prefix) for one in page]
