"""Archives of a tree: tars in every form that writers make, and the stores that read them."""

from __future__ import annotations

import gzip
import io
import os
import random
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from regfs.stores import Store
from regfs.stores.archive.opening import open_archive, open_standard_input
from regfs.stores.archive.streamed import StreamOptions

FORMS = ("tar", "tar.gz", "tar.zst", "stdin")


def packed(
    root: Path,
    *,
    form: int = tarfile.PAX_FORMAT,
    folders: bool = True,
    shuffle: random.Random | None = None,
    prefix: str = "",
) -> bytes:
    """Return a tar of a folder, as `tarfile` writes it; with `shuffle` its entries in any order."""
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w", format=form, encoding="utf-8") as archive:
        paths = [path for path in sorted(root.rglob("*")) if folders or not path.is_dir()]
        if shuffle is not None:
            shuffle.shuffle(paths)
        for path in paths:
            archive.add(path, prefix + path.relative_to(root).as_posix(), recursive=False)
    return memory.getvalue()


def compressed(data: bytes, form: str) -> bytes:
    """Return an archive in one of the FORMS."""
    if form == "tar.gz":
        return gzip.compress(data, 1)
    return zstd(data) if form == "tar.zst" else data


def zstd(data: bytes) -> bytes:
    """Compress by zstd."""
    if sys.version_info >= (3, 14):
        from compression.zstd import compress
    else:
        from backports.zstd import compress
    return compress(data)


def tar_of(members: Iterable[tuple[str, bytes | dict[str, Any]]], end: bool = True) -> bytes:
    """Return a tar of members: name and content, or name and what `TarInfo` has of it."""
    memory = io.BytesIO()
    archive = tarfile.open(fileobj=memory, mode="w", format=tarfile.GNU_FORMAT)  # noqa: SIM115
    for name, what in members:
        info = tarfile.TarInfo(name)
        info.mtime = 1_790_000_000
        if isinstance(what, bytes):
            info.size = len(what)
            archive.addfile(info, io.BytesIO(what))
            continue
        for key, value in what.items():
            setattr(info, key, value)
        archive.addfile(info)
    if end:
        archive.close()
    return memory.getvalue()


@contextmanager
def standard_input(data: bytes, *, file: Path | None = None) -> Iterator[None]:
    """Let standard input be a pipe with some bytes, or a file, while the block runs."""
    before = os.dup(0)
    writer = None
    try:
        if file is not None:
            file.write_bytes(data)
            source = os.open(file, os.O_RDONLY)
        else:
            writer = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert writer.stdin is not None
            assert writer.stdout is not None
            source = os.dup(writer.stdout.fileno())
            writer.stdout.close()
            feeder = threading.Thread(target=_feed, args=(writer, data))
            feeder.start()
        os.dup2(source, 0)
        os.close(source)
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)
        if writer is not None:
            feeder.join()
            writer.wait()


def _feed(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin:  # nobody may read the rest
        process.stdin.write(data)


def opened(data: bytes, form: str, folder: Path, options: StreamOptions | None = None) -> Store:
    """Open the bytes of a tar in one of the FORMS."""
    if form == "stdin":
        with standard_input(data):
            return open_standard_input(options or StreamOptions())
    file = folder / f"archive.{form}"
    file.write_bytes(compressed(data, form))
    return open_archive(str(file), options or StreamOptions())
