"""The v2 path dictionary: what each path means, and where each thing lies.

    docker/registry/v2/
      blobs/<alg>/<hex[:2]>/<hex>/data                              BlobData
      repositories/<name>/
        _layers/<alg>/<hex>/link                                    LayerLink
        _manifests/revisions/<alg>/<hex>/link                       RevisionLink
                           .../signatures/<alg>/<hex>/link          SignatureLink  (before 2.5)
                           .../_referrers/_<type>/<alg>/<hex>/link  ReferrerLink   (proposed)
        _manifests/tags/<tag>/current/link                          TagCurrent
        _manifests/tags/<tag>/index/<alg>/<hex>/link                TagIndex
        _uploads/<id>/data                                          UploadData
        _uploads/<id>/startedat                                     UploadStartedAt
        _uploads/<id>/hashstates/<alg>/<offset>                     UploadHashState

Every other path is `Foreign`. `key_of` takes names and tags as they are on the
disk, legal or not: a folder no client can ask for may still keep a blob alive.
Whether they are legal is a question of `regfs.names`.

Paths are str relative to the root, with `/`; bytes that are not UTF-8 are
surrogate escapes. Nothing here touches a disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

from regfs.digest import ALGORITHMS, Digest
from regfs.errors import DigestInvalid, LayoutInvalid, quoted

PREFIX: Final = "docker/registry/v2"
BLOBS: Final = PREFIX + "/blobs"
REPOSITORIES: Final = PREFIX + "/repositories"
LOCKFILES: Final = "docker/registry/lockfiles"
"""Where GitLab's registry says that a database, not this tree, knows what is in use."""
SCHEDULER_STATE: Final = "scheduler-state.json"
"""Where a pull-through cache keeps the expiry of its content."""
PARTS: Final = frozenset({"_manifests", "_layers", "_uploads"})
"""The folders of a repository; a folder without any of these is no repository."""
STATE: Final = ".regfs"
"""The folder of regfs: journal, quarantine, ledger, lock."""


class BlobData(NamedTuple):
    """The bytes of a blob."""

    digest: Digest


class LayerLink(NamedTuple):
    """A repository holds this blob."""

    name: str
    digest: Digest


class RevisionLink(NamedTuple):
    """A repository holds this manifest."""

    name: str
    digest: Digest


class SignatureLink(NamedTuple):
    """A signature of a schema 1 manifest, as written before distribution 2.5."""

    name: str
    revision: Digest
    digest: Digest


class ReferrerLink(NamedTuple):
    """A manifest that names `subject`, as proposed for distribution (#4483, #4828)."""

    name: str
    subject: Digest
    artifact_type: str
    """As on the disk, where it may be more than one folder."""
    digest: Digest


class TagCurrent(NamedTuple):
    """What a tag points to."""

    name: str
    tag: str


class TagIndex(NamedTuple):
    """What a tag points to or once did."""

    name: str
    tag: str
    digest: Digest


class UploadData(NamedTuple):
    """The bytes an unfinished upload has so far."""

    name: str
    id: str
    part: str = ""
    """16 hexadecimal digits where a bucket has them in several parts; empty on a disk."""


class UploadStartedAt(NamedTuple):
    """When an upload began."""

    name: str
    id: str


class UploadHashState(NamedTuple):
    """The state of a running digest after `offset` bytes of an upload."""

    name: str
    id: str
    algorithm: str
    offset: int


class Foreign(NamedTuple):
    """A path that is not part of the layout."""

    path: str


Key: TypeAlias = (
    BlobData
    | LayerLink
    | RevisionLink
    | SignatureLink
    | ReferrerLink
    | TagCurrent
    | TagIndex
    | UploadData
    | UploadStartedAt
    | UploadHashState
    | Foreign
)
"""What a path means. Keys are tuples: two of different classes can compare equal."""

_DIGEST: Final = (
    "(" + "|".join(f"{name}/[0-9a-f]{{{size}}}" for name, size in ALGORITHMS.items()) + ")"
)
_DIGEST_TEXT = re.compile(_DIGEST)
_BLOB = re.compile(rf"({'|'.join(ALGORITHMS)})/([0-9a-f]{{2}})/(\2[0-9a-f]+)/data")
_LAYER = re.compile(_DIGEST + "/link")
_REVISION = re.compile(
    rf"{_DIGEST}/(?:link|signatures/{_DIGEST}/link|_referrers/_(.+)/{_DIGEST}/link)", re.DOTALL
)
_TAG = re.compile(rf"([^/]+)/(?:current|index/{_DIGEST})/link")
_UPLOAD = re.compile(
    rf"([^/]+)/(?:(data)(?:\.([0-9a-f]{{16}}))?|(startedat)"
    rf"|hashstates/({'|'.join(ALGORITHMS)})/(0|[1-9][0-9]{{0,18}}))"
)
_HEX4 = "[0-9a-f]{4}"
_UUID = rf"[0-9a-f]{{8}}-{_HEX4}-{_HEX4}-{_HEX4}-[0-9a-f]{{12}}"
_UPLOAD_ID = re.compile(_UUID)
_TEMPORARY = re.compile(rf"(.+)\.{_UUID}\.tmp", re.DOTALL)
_NFS_LEFTOVER = re.compile(r"\.nfs[0-9A-Fa-f.]{4,}")
_UUID7 = re.compile(rf"[0-9a-f]{{8}}-{_HEX4}-7[0-9a-f]{{3}}-[89ab][0-9a-f]{{3}}-[0-9a-f]{{12}}")
_BARE = re.compile(r"[0-9a-f]{64}")

_BLOBS_START: Final = BLOBS + "/"
_REPOSITORIES_START: Final = REPOSITORIES + "/"


def key_of(path: str) -> Key:
    """Return what `path` means.

    Raises:
        LayoutInvalid: no path below a root can be spelled like this.
    """
    problem = _path_problem(path)
    if problem:
        raise LayoutInvalid(f"not a path below a registry root: {quoted(path)} {problem}")
    key: Key | None = None
    if path.startswith(_REPOSITORIES_START):
        # No component of a name starts with "_", so the first one that does ends the name.
        name, _, rest = path[len(_REPOSITORIES_START) :].partition("/_")
        if not name.startswith("_"):
            key = _repository_key(name, rest)
    elif path.startswith(_BLOBS_START):
        blob = _BLOB.fullmatch(path, len(_BLOBS_START))
        if blob and len(blob[3]) == ALGORITHMS[blob[1]]:
            key = BlobData(Digest(f"{blob[1]}:{blob[3]}"))
    return Foreign(path) if key is None else key


def _repository_key(name: str, rest: str) -> Key | None:
    """Return what `_<rest>` in the repository `name` means; None if it means nothing."""
    if rest.startswith("layers/"):
        found = _LAYER.fullmatch(rest, 7)
        return LayerLink(name, _digest(found[1])) if found else None
    if rest.startswith("manifests/revisions/"):
        return _revision_key(name, rest[20:])
    if rest.startswith("manifests/tags/"):
        if not (found := _TAG.fullmatch(rest, 15)):
            return None
        tag, digest = found.groups()
        return TagIndex(name, tag, _digest(digest)) if digest else TagCurrent(name, tag)
    if rest.startswith("uploads/"):
        return _upload_key(name, rest[8:])
    return None


def _revision_key(name: str, rest: str) -> Key | None:
    found = _REVISION.fullmatch(rest)
    if not found:
        return None
    revision, signature, artifact_type, referrer = found.groups()
    if signature:
        return SignatureLink(name, _digest(revision), _digest(signature))
    if referrer:
        return ReferrerLink(name, _digest(revision), artifact_type, _digest(referrer))
    return RevisionLink(name, _digest(revision))


def _upload_key(name: str, rest: str) -> Key | None:
    found = _UPLOAD.fullmatch(rest)
    if not found:
        return None
    upload, data, part, startedat, algorithm, offset = found.groups()
    if data:
        return UploadData(name, upload, part or "")
    if startedat:
        return UploadStartedAt(name, upload)
    return UploadHashState(name, upload, algorithm, int(offset))


def _digest(folders: str) -> Digest:
    return Digest(folders.replace("/", ":", 1))


def path_of(key: Key) -> str:
    """Return where `key` lies.

    Raises:
        LayoutInvalid: a part of the key would put it somewhere else.
    """
    path = _spelled(key)
    meant = key_of(path)
    if meant != key or type(meant) is not type(key):
        raise LayoutInvalid(f"no path means {quoted(str(key))}")
    return path


def _spelled(key: Key) -> str:
    match key:
        case BlobData(digest):
            folder = f"{BLOBS}/{digest.algorithm}/{digest.prefix}/{digest.encoded}"
            return f"{folder}/data"
        case LayerLink(name, digest):
            return f"{REPOSITORIES}/{name}/_layers/{_folders(digest)}/link"
        case RevisionLink(name, digest):
            return f"{REPOSITORIES}/{name}/_manifests/revisions/{_folders(digest)}/link"
        case SignatureLink(name, revision, digest):
            folder = f"{REPOSITORIES}/{name}/_manifests/revisions/{_folders(revision)}"
            return f"{folder}/signatures/{_folders(digest)}/link"
        case ReferrerLink(name, subject, artifact_type, digest):
            folder = f"{REPOSITORIES}/{name}/_manifests/revisions/{_folders(subject)}"
            return f"{folder}/_referrers/_{artifact_type}/{_folders(digest)}/link"
        case TagCurrent(name, tag):
            return f"{REPOSITORIES}/{name}/_manifests/tags/{tag}/current/link"
        case TagIndex(name, tag, digest):
            return f"{REPOSITORIES}/{name}/_manifests/tags/{tag}/index/{_folders(digest)}/link"
        case UploadData(name, upload, part):
            ending = f".{part}" if part else ""
            return f"{REPOSITORIES}/{name}/_uploads/{upload}/data{ending}"
        case UploadStartedAt(name, upload):
            return f"{REPOSITORIES}/{name}/_uploads/{upload}/startedat"
        case UploadHashState(name, upload, algorithm, offset):
            return f"{REPOSITORIES}/{name}/_uploads/{upload}/hashstates/{algorithm}/{offset}"
    return key.path


def _folders(digest: Digest) -> str:
    return digest.replace(":", "/", 1)


def blob_path(digest: Digest) -> str:
    """Return where the bytes of a blob lie."""
    return f"{blob_folder(digest)}/data"


def parent_of(path: str) -> str:
    """Return the folder that holds `path`; the root, which is empty, of a path of one component."""
    return path.rpartition("/")[0]


def name_of(path: str) -> str:
    """Return the last component of `path`."""
    return path.rpartition("/")[2]


def from_bytes(path: bytes) -> str:
    """Return a path of bytes as a str with surrogate escapes, whatever the locale."""
    return path.decode("utf-8", "surrogateescape")


def _path_problem(path: str) -> str | None:
    """Return why `path` cannot be a path below a root; None if it can."""
    if not path:
        return "is empty"
    if path[0] == "/":
        return "is absolute"
    if path[-1] == "/" or "//" in path:
        return "has an empty component"
    if "\0" in path:
        return "holds a NUL"
    # Every dot component but the first follows a slash: most paths pass this cheap test.
    if (path[0] == "." or "/." in path) and not {".", ".."}.isdisjoint(path.split("/")):
        return "has a component '.' or '..'"
    if not path.isascii():
        try:
            alike = path.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            alike = ""
        if alike != path:
            return "is not how any path of bytes is spelled"
    return None


# Folders


def blobs_folder(algorithm: str) -> str:
    """Return where the blobs of one algorithm lie, in folders of two characters."""
    return f"{BLOBS}/{_part(algorithm)}"


def blob_folder(digest: Digest) -> str:
    """Return the folder of one blob."""
    algorithm, _, encoded = _checked(digest).partition("/")
    return f"{BLOBS}/{algorithm}/{encoded[:2]}/{encoded}"


def blob_folders(digests: Iterable[Digest]) -> list[str]:
    """Return the folders of many blobs."""
    parts = (folders.partition("/") for folders in _all_checked(digests))
    return [f"{BLOBS}/{algorithm}/{encoded[:2]}/{encoded}" for algorithm, _, encoded in parts]


def repository_folder(name: str) -> str:
    """Return the folder of a repository; other repositories can lie in it."""
    path = f"{REPOSITORIES}/{name}"
    if not name or name[0] in "_/" or "/_" in name or _path_problem(path):
        raise LayoutInvalid(f"no folder can be that of a repository {quoted(name)}")
    return path


def layers_folder(name: str, algorithm: str | None = None) -> str:
    """Return the folder of the layer links of a repository."""
    return _below(f"{repository_folder(name)}/_layers", algorithm)


def layer_folder(name: str, digest: Digest) -> str:
    """Return the folder of one layer link."""
    return f"{repository_folder(name)}/_layers/{_checked(digest)}"


def layer_folders(name: str, digests: Iterable[Digest]) -> list[str]:
    """Return the folders of many layer links."""
    above = f"{repository_folder(name)}/_layers/"
    return [above + folders for folders in _all_checked(digests)]


def revisions_folder(name: str, algorithm: str | None = None) -> str:
    """Return the folder of the revisions of a repository."""
    return _below(f"{repository_folder(name)}/_manifests/revisions", algorithm)


def revision_folder(name: str, digest: Digest) -> str:
    """Return the folder of one revision."""
    return f"{repository_folder(name)}/_manifests/revisions/{_checked(digest)}"


def tags_folder(name: str) -> str:
    """Return the folder of the tags of a repository."""
    return f"{repository_folder(name)}/_manifests/tags"


def tag_folder(name: str, tag: str) -> str:
    """Return the folder of one tag."""
    return f"{tags_folder(name)}/{_part(tag)}"


def tag_index_folder(name: str, tag: str, algorithm: str | None = None) -> str:
    """Return the folder of the history of a tag."""
    return _below(f"{tag_folder(name, tag)}/index", algorithm)


def tag_index_entry_folder(name: str, tag: str, digest: Digest) -> str:
    """Return the folder of one digest in the history of a tag."""
    return f"{tag_folder(name, tag)}/index/{_checked(digest)}"


def uploads_folder(name: str) -> str:
    """Return the folder of the unfinished uploads of a repository."""
    return f"{repository_folder(name)}/_uploads"


def upload_folder(name: str, upload: str) -> str:
    """Return the folder of one upload."""
    return f"{uploads_folder(name)}/{_part(upload)}"


def _below(folder: str, algorithm: str | None) -> str:
    return folder if algorithm is None else f"{folder}/{_part(algorithm)}"


def _part(text: str) -> str:
    """Return `text` after checking that it is one component of a path."""
    if "/" in text or _path_problem(text):
        raise LayoutInvalid(f"not one component of a path: {quoted(text)}")
    return text


def _checked(digest: Digest) -> str:
    """Return the two folders of a digest, checking it: Digest() itself checks nothing."""
    folders = _folders(digest)
    if not _DIGEST_TEXT.fullmatch(folders):
        raise LayoutInvalid(f"not a digest: {quoted(digest)}")
    return folders


def _all_checked(digests: Iterable[Digest]) -> list[str]:
    found = list(map(_folders, digests))
    if not all(map(_DIGEST_TEXT.fullmatch, found)):
        raise LayoutInvalid("not a digest among those of a folder")
    return found


# Uploads and what others leave


def upload_time(upload: str) -> float | None:
    """Return when the id of an upload was made, in seconds since the epoch.

    None for ids of registries before distribution 3.1, which are not UUIDs of version 7.
    """
    return int(upload[:8] + upload[9:13], 16) / 1000 if _UUID7.fullmatch(upload) else None


def is_upload(text: str) -> bool:
    """Return whether `text` can be the id of an upload: a UUID of any version."""
    return bool(_UPLOAD_ID.fullmatch(text))


def is_temporary(path: str) -> bool:
    """Return whether `path` was left by an unfinished write beside a file of the layout."""
    if not path.endswith(".tmp") or not (found := _TEMPORARY.fullmatch(path)):
        return False
    final = found[1]
    return _path_problem(final) is None and not isinstance(key_of(final), Foreign)


def is_nfs_leftover(path: str) -> bool:
    """Return whether `path` is a name that NFS gives to a file deleted while it is open."""
    return bool(_NFS_LEFTOVER.fullmatch(name_of(path)))


def is_lost_and_found(folder: str) -> bool:
    """Return whether `folder` is the `lost+found` of a file system; no name contains a plus."""
    return name_of(folder) == "lost+found"


def repository_of(path: str) -> str | None:
    """Return the repository whose folders hold `path`; None for a blob or a folder above."""
    if not path.startswith(_REPOSITORIES_START):
        return None
    name, inside, _ = path[len(_REPOSITORIES_START) :].partition("/_")
    return name if inside else None


# Links


def parse_link(content: bytes) -> Digest:
    """Return the digest that a link file holds, exactly as the reference registry reads it.

    Raises:
        DigestInvalid: it holds anything else, even one more newline.
    """
    return Digest.parse(content.decode("ascii", "backslashreplace"))


def tolerant_link(content: bytes) -> Digest | None:
    """Return the only digest that a damaged link file can have meant; None if there is none."""
    text = content.strip(b"\0 \t\r\n").decode("ascii", "backslashreplace").lower()
    try:
        return Digest.parse(f"sha256:{text}" if _BARE.fullmatch(text) else text)
    except DigestInvalid:
        return None
