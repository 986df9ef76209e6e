"""`regfs files`: what is inside images, without unpacking them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from regfs.cli.options import platform_option
from regfs.cli.session import Exit, Session
from regfs.cli.session import command as regfs_command

if TYPE_CHECKING:
    from regfs.files.image import ImageFiles
    from regfs.findings import Finding

DOCUMENTS = {"": "regfs.files.file_list:FileList", "find": "regfs.reports.file_search:FoundFiles"}

_NUMBER: Final = re.compile(r"-?[0-9]{1,4}")


@regfs_command(
    name="files",
    examples=[
        "regfs files app:v1",
        "regfs files app:v1 /etc -l",
        "regfs files app:v1 --layer 2 --tree",
        "regfs files app:v1 /etc/os-release --cat",
        "regfs files app:v1 --tar | tar x -C rootfs",
        "regfs files --find 'log4j-core-2.1[0-6]*.jar'   (in all images)",
    ],
    answers=True,
    exits=[Exit.REFUSED],
)
@click.argument("reference", metavar="[REF]", required=False)
@click.argument("path", metavar="[PATH]", default="")
@click.option("-l", "--long", "details", is_flag=True, help="Show modes, owners, sizes, times.")
@click.option("-R", "--recursive", "deep", is_flag=True, help="List folders in it too.")
@click.option("--tree", is_flag=True, help="Draw PATH and all below it as a tree.")
@click.option("--depth", metavar="N", type=click.IntRange(1), help="List N folders deep.")
@click.option(
    "--layer",
    metavar="N|DIGEST",
    help="List one layer, as it is stored: 1 is the base, -1 the top.",
)
@platform_option
@click.option("--cat", is_flag=True, help="Write the content of the file PATH.")
@click.option("--tar", is_flag=True, help="Write all files of the image as a tar.")
@click.option("--find", metavar="GLOB", help="List files of that name in images that have it.")
@click.option("--sha256", metavar="DIGEST", help="List files with that content.")
def command(session: Session, reference: str | None, path: str, **options: Any) -> Exit:
    """List the files of an image, or of one of its layers; nothing is unpacked.

    PATH is a folder or file in it, by default the root. Layers are put on top of each other
    as in a container: what a higher one deletes or replaces is not there. REF may also be the
    digest of a layer. Symbolic links in PATH are followed, within the image.

    --find and --sha256 search all images, or those that REF or a pattern names. A GLOB without
    a slash is a name (libssl.so*), one with a slash a whole path (*/bin/python3*).
    """
    wanted = _FilesWanted(**options)
    _check(session, wanted, reference, path)
    if wanted.is_search:
        return _find(session, reference, wanted.find, wanted.sha256)
    image = session.tree.files(str(reference), wanted.platform)
    number = None if wanted.layer is None else layer_number(image, wanted.layer)
    if wanted.tar:
        return _write_tar(session, image)
    if wanted.cat:
        return _write_file(session, image, path, number)
    return _list(session, image, path, number, wanted)


class _FilesWanted(NamedTuple):
    """The options."""

    details: bool
    deep: bool
    tree: bool
    depth: int | None
    layer: str | None
    platform: str | None
    cat: bool
    tar: bool
    find: str | None
    sha256: str | None

    @property
    def is_search(self) -> bool:
        """Whether images are searched, and not one listed."""
        return self.find is not None or self.sha256 is not None

    @property
    def is_list(self) -> bool:
        """Whether an option of lists is given."""
        return self.details or self.deep or self.tree or self.depth is not None


def _check(session: Session, wanted: _FilesWanted, reference: str | None, path: str) -> None:
    """Raise UsageError if options contradict each other, or one is missing."""
    placed = bool(path) or wanted.layer is not None
    if wanted.cat + wanted.tar + wanted.is_list + wanted.is_search > 1:
        raise click.UsageError("--cat, --tar, --find and options of a list cannot be combined")
    if wanted.is_search and (placed or wanted.platform is not None):
        raise click.UsageError("--find and --sha256 take no PATH, --layer and --platform")
    if reference is None and not wanted.is_search:
        raise click.UsageError("give a REF, or --find GLOB for all images")
    if session.json and (wanted.cat or wanted.tar):
        raise click.UsageError("--cat and --tar print no JSON document")
    if wanted.tar and placed:
        raise click.UsageError("--tar takes no PATH and no --layer")


def _list(
    session: Session, image: ImageFiles, path: str, number: int | None, wanted: _FilesWanted
) -> Exit:
    from regfs.files.file_list import file_list, names
    from regfs.render.files import print_lines, show_files

    whole = wanted.deep or wanted.tree or number is not None
    depth = wanted.depth or (None if whole else 1)
    if not (session.json or wanted.details or wanted.tree):
        found = names(image, path, layer=number, depth=depth)
        session.show(lambda console: print_lines(console, found))
        tell(session, image.findings if number is None else image.listing(number).findings)
        return Exit.CLEAN
    report = file_list(image, path, layer=number, depth=depth)
    tell(session, report.findings)
    session.emit(report, lambda console: show_files(report, console, tree=wanted.tree))
    return Exit.CLEAN


def _find(session: Session, reference: str | None, find: str | None, sha256: str | None) -> Exit:
    from regfs.render.files import show_found

    report = session.tree.find_files(
        find, *([] if reference is None else [reference]), sha256=sha256
    )
    tell(session, report.findings)
    session.emit(report, lambda console: show_found(report, console))
    return Exit.CLEAN


def layer_number(image: ImageFiles, text: str) -> int:
    """Return which layer is meant by its number or the beginning of its digest, from 0."""
    from regfs.errors import ReferenceInvalid, quoted

    count = len(image.layers)
    if _NUMBER.fullmatch(text):
        number = int(text)
        found = [number - 1 if number > 0 else count + number]
        found = found if number and 0 <= found[0] < count else []
    else:
        digits = text.removeprefix("sha256:")
        found = [
            number
            for number, digest in enumerate(image.layers)
            if len(digits) >= 7 and digest.encoded.startswith(digits)
        ]
    if not found:
        raise ReferenceInvalid(
            f"{image.reference} has no layer {quoted(text)}; it has {count}: "
            + ", ".join(digest.short for digest in image.layers)
        )
    return found[0]


def tell(session: Session, findings: Iterable[Finding]) -> None:
    """Print what is odd in layers, and does not make the answer incomplete."""
    from regfs.findings import Code

    for finding in findings:
        if finding.code is Code.LAYER_ENTRY_ODD:
            session.complain(f"{finding.digest}: {finding.message}")


def _write_tar(session: Session, image: ImageFiles) -> Exit:
    from regfs.errors import Refused
    from regfs.files.tarring import tar_pieces

    if sys.stdout.isatty():
        raise Refused("a tar is not written to a terminal: give > FILE or | tar tv")
    tell(session, image.findings)
    for piece in tar_pieces(image, session.tree.layers):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
    return Exit.CLEAN


def _write_file(session: Session, image: ImageFiles, path: str, number: int | None) -> Exit:
    from regfs.digest import BUFFER_SIZE
    from regfs.errors import Refused, printable
    from regfs.reports.blob import TextCheck

    if not path.strip("/"):
        raise click.UsageError("--cat needs the PATH of a file")
    with image.open(path, number) as stream:
        terminal, check = sys.stdout.isatty(), TextCheck()
        while piece := stream.read(BUFFER_SIZE):
            if terminal and check.is_broken_by(piece):
                raise Refused(
                    f"{printable(path)} is no text, and is not written to a terminal: give > FILE"
                )
            sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
    return Exit.CLEAN
