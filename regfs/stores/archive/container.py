"""A registry in a container of Docker or Podman, by their `cp` to standard output.

    podman://registry              podman cp registry:/var/lib/registry -
    docker://registry:/data        docker cp registry:/data -

Nothing is installed in the container or run in it; it may be stopped. A single file that is asked
for later comes by a `cp` of its own.
"""

from __future__ import annotations

import posixpath
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Final, cast

from regfs.errors import NotARegistry, StoreError, printable
from regfs.stores.archive.decompressors import Bytes
from regfs.stores.archive.headers import ArchiveDamaged, entries
from regfs.stores.archive.streamed import CutOff, Opened, StreamedTar, StreamOptions
from regfs.stores.archive.unpacking import PlainStream
from regfs.stores.flat.store import FlatStore

TOOLS: Final = ("docker", "podman")
DEFAULT_FOLDER: Final = "/var/lib/registry"
_SAID: Final = 4096
"""Bytes of what the tool has said that are looked at."""
_ENDING: Final = 10.0
"""Seconds that the tool gets to end after its archive has."""


def open_container(root: str, options: StreamOptions) -> FlatStore:
    """Open `podman://CONTAINER[:PATH]` or `docker://CONTAINER[:PATH]`.

    Raises:
        NotARegistry: it names no container, or the tool is not installed.
        StoreError: the tool failed; the message says what it said.
    """
    tool, _, rest = root.partition("://")
    name, _, folder = rest.partition(":")
    folder = posixpath.normpath("/" + (folder or DEFAULT_FOLDER).lstrip("/"))
    # What begins with a dash would be an option of the tool.
    if not name or name.startswith("-") or "/" in name or "\0" in rest:
        raise NotARegistry(
            f"{printable(root)}: must be {tool}://CONTAINER or {tool}://CONTAINER:/FOLDER"
        )

    def again(position: int, member: bytes) -> Opened:
        path = f"{posixpath.dirname(folder)}/{member.decode(errors='surrogateescape')}"
        return _one(tool, f"{name}:{path}")

    url = f"{tool}://{name}:{folder}"
    source = StreamedTar(url, lambda: _copied(tool, f"{name}:{folder}"), options, again=again)
    source.refusal = (
        f"{printable(url)}: regfs only reads what is in a container; mount its volume, and give "
        "the folder"
    )
    return FlatStore(source)


@contextmanager
def _copied(tool: str, what: str) -> Iterator[Bytes]:
    """Yield the archive that `cp` writes; leaving it raises CutOff if the tool failed."""
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                [tool, "cp", what, "-"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
                process_group=0,
            )
        except FileNotFoundError:
            raise NotARegistry(f"{tool}: is not installed; it reads containers") from None
        except OSError as error:
            raise NotARegistry(f"{tool}: cannot be run: {error.strerror}") from None
        whole = False
        damage: ArchiveDamaged | None = None
        try:
            try:
                yield cast(Bytes, process.stdout)
                whole = True
            except ArchiveDamaged as error:
                damage = error
        finally:
            code = _ended(process, kill=not whole and damage is None)
        if code and (whole or damage):
            raise CutOff(f"{tool} cp failed: {_words(said, code)}")
        if damage is not None:
            raise damage


def _ended(process: subprocess.Popen[bytes], *, kill: bool) -> int:
    """Let the tool end; return its exit code."""
    if kill:
        process.kill()
    cast(IO[bytes], process.stdout).close()  # or it might wait for a reader
    try:
        return process.wait(_ENDING)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _words(said: IO[bytes], code: int) -> str:
    """Return the last line of what the tool said."""
    said.seek(0)
    lines = said.read(_SAID).decode(errors="replace").split("\n")
    last = [line for line in lines if line.strip()][-1:]
    if last:
        return printable(last[0].strip()[:300])
    return f"exit code {code}" if code > 0 else f"killed by signal {-code}"


@contextmanager
def _one(tool: str, what: str) -> Iterator[Bytes]:
    """Yield the content of one file in a container."""
    begun = False
    try:
        with _copied(tool, what) as raw:
            stream = PlainStream(raw, lambda amount: None)
            next(entries(stream))
            begun = True
            yield stream
    except (CutOff, StopIteration, ArchiveDamaged) as error:
        if not begun:  # else it was not to be read to its end
            raise StoreError(f"{printable(what)}: {error}") from None
