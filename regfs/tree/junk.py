"""Names that no registry gives: what desktops, NAS systems, file systems and copying tools leave.

    @eaDir  .snapshot  .zfs         a NAS, an index or snapshots of its own     folders
    .DS_Store  ._link  Thumbs.db    a desktop that has looked at the share      files
    .fuse_hidden0001                deleted while it was open, below FUSE       files
    .wh.v1                          an overlay's note that v1 was deleted       files
    .data.Xy12Ab  .~tmp~/data       half of a copy by rsync                     see `rsync_target`

What is in such a folder is no part of the tree: a snapshot is the tree as it once was,
and nothing can be pulled from there. A recycle bin is none of these, for what lies in
it may be put back. Folders count only by names that no tag, repository or algorithm
can have, so that nothing a client has made is ever taken for junk.
"""

from __future__ import annotations

import re
from typing import Final

from regfs import layout
from regfs.errors import LayoutInvalid

_FOLDER: Final = re.compile(
    r"@eaDir|@tmp|#snapshot|\.snapshots?|\.zfs|\.~tmp~|\.rsync-partial|\.AppleDouble"
    r"|\.Spotlight-V100|\.fseventsd|\.TemporaryItems|\.stfolder|\.stversions"
)
_FILE: Final = re.compile(
    r"\.DS_Store|\._.+|Thumbs\.db|ehthumbs\.db|desktop\.ini|\.directory|\.localized|\.apdisk"
    r"|\.fuse_hidden[0-9A-Fa-f]+|\.wh\..+|.+@SynoEAStream|.+@SynoResource|SYNO@.+",
    re.DOTALL,
)
_RSYNC_FOLDERS: Final = frozenset({".~tmp~", ".rsync-partial"})
_RSYNC_FILE: Final = re.compile(r"\.(.+)\.[0-9A-Za-z]{6}", re.DOTALL)


def is_junk_folder(path: str) -> bool:
    """Return whether a folder is of somebody else, with all that it holds."""
    return _FOLDER.fullmatch(layout.name_of(path)) is not None


def is_junk_file(path: str) -> bool:
    """Return whether a file is of somebody else, by its name or by the folder it is in."""
    name = layout.name_of(path)
    return _FILE.fullmatch(name) is not None or is_junk_folder(layout.parent_of(path))


def is_rsync_folder(path: str) -> bool:
    """Return whether rsync keeps halves of files in this folder, or whole ones until the end."""
    return layout.name_of(path) in _RSYNC_FOLDERS


def rsync_target(path: str) -> str | None:
    """Return the file of the layout that a half is of, which rsync has left; else None."""
    folder, _, name = path.rpartition("/")
    if is_rsync_folder(folder):
        target = f"{layout.parent_of(folder)}/{name}"
    elif found := _RSYNC_FILE.fullmatch(name):
        target = f"{folder}/{found[1]}"
    else:
        return None
    try:
        return None if isinstance(layout.key_of(target), layout.Foreign) else target
    except LayoutInvalid:  # a name of nothing but dots
        return None
