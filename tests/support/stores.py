"""Small words for tests of stores: put a file, name the files, the codes found; a failing disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from regfs.findings import Code, Finding
from regfs.stores import FileKind, Store, WritableStore

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""A place where waiting for the disk takes no time; None where there is none."""

SECRET = b"content from outside the tree"
"""What lies in the folder beside the tree."""


def no_findings(finding: Finding) -> None:
    raise AssertionError(f"unexpected: {finding}")


def put(store: WritableStore, path: str, data: bytes = b"") -> None:
    with store.create(path) as writer:
        writer.write(data)


def files(store: Store, folder: str = "") -> list[str]:
    found = store.walk(folder, no_findings)
    return [entry.path for entry in found if entry.kind is FileKind.FILE]


def codes(findings: list[Finding]) -> list[tuple[Code, str]]:
    return sorted((finding.code, finding.path) for finding in findings)


def ignore(finding: Finding) -> None:
    pass


def no_link_findings(finding: Finding) -> None:
    assert finding.code in (Code.SYMLINK_INSIDE, Code.SYMLINK_LOOP)


def failing_with(number: int) -> Callable[..., Any]:
    def fail(*args: object, **options: object) -> Any:
        raise OSError(number, os.strerror(number))

    return fail
