r"""Everything regfs raises, drawn as one tree.

Damage inside a tree is never raised: it is a `regfs.findings.Finding`.
Exceptions are for misuse, refusals and storage that does not answer.

    RegfsError
    |- NotARegistry                  the root holds no v2 tree
    |- Invalid                       the input of the caller is invalid
    |  |- DigestInvalid              DIGEST_INVALID
    |  |  `- AlgorithmUnsupported    DIGEST_INVALID
    |  |- NameInvalid                NAME_INVALID
    |  |- TagInvalid                 TAG_INVALID
    |  |- ReferenceInvalid           NAME_INVALID
    |  |  `- ReferenceAmbiguous      NAME_INVALID
    |  |- LayoutInvalid              NAME_INVALID
    |  |- ManifestInvalid            MANIFEST_INVALID
    |  |  |- ManifestTooLarge        MANIFEST_INVALID
    |  |  `- DescriptorInvalid       MANIFEST_INVALID
    |  |- UploadInvalid              BLOB_UPLOAD_INVALID
    |  |  `- OutOfOrder              BLOB_UPLOAD_INVALID
    |  |- SizeInvalid                SIZE_INVALID
    |  |  `- BlobTooLarge            SIZE_INVALID
    |  |- LayerInvalid               UNSUPPORTED
    |  `- DocumentInvalid            UNSUPPORTED   (plan, policy, roots files)
    |- Unknown                       no such thing in this tree
    |  |- NameUnknown                NAME_UNKNOWN
    |  |- ManifestUnknown            MANIFEST_UNKNOWN
    |  |- BlobUnknown                BLOB_UNKNOWN
    |  |- UploadUnknown              BLOB_UPLOAD_UNKNOWN
    |  |- ReferentsUnknown           MANIFEST_BLOB_UNKNOWN
    |  `- RunUnknown                 UNKNOWN
    |- Refused                       regfs will not, until a person decides
    |  |- LockHeld
    |  |- LockLost
    |  |- PlanStale
    |  |- ConditionFailed            DENIED
    |  `- Doubt
    |- StoreError                    the storage failed
    |  |- PathMissing                nothing at that path
    |  |- PathChanged                what lies there is not what was meant; it was left
    |  |- PathTooLong                it cannot be moved: its new name would be too long
    |  |- PathDenied                 no permission
    |  |- PathUnsafe                 a special file, or a link that leaves the tree
    |  |- StoreFull                  no space left, or no more of it for this user
    |  `- ContentMismatch            DIGEST_INVALID; bytes are not what their digest says
    `- SourceError                   a source of content failed
       `- SourceLacks                the source does not have the content

Each class carries its OCI error code; HTTP statuses and exit codes are one
table each, in the server and in the command line.

Messages show a name in one way, wherever it comes from:

    printable("caf\udce9\x1b[2J")    caf\xe9\x1b[2J    in a table, a path, a message
    quoted("-tag")                   '-tag'           within a sentence

Names in a tree may hold control characters, escape sequences or bytes that are not UTF-8.
JSON spells them as JSON does, so that programs get them back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import ClassVar


class RegfsError(Exception):
    """Base of all errors that regfs raises; `str(error)` is one line for a person."""

    code: ClassVar[str] = "UNKNOWN"


class NotARegistry(RegfsError):
    """The root holds no registry tree in the v2 layout."""


class Invalid(RegfsError):
    """The input of the caller is invalid."""

    code = "UNSUPPORTED"


class DigestInvalid(Invalid):
    """A text is not a digest."""

    code = "DIGEST_INVALID"


class AlgorithmUnsupported(DigestInvalid):
    """A digest is well formed, but regfs cannot compute its algorithm."""


class NameInvalid(Invalid):
    """A repository name breaks the grammar."""

    code = "NAME_INVALID"


class TagInvalid(Invalid):
    """A tag breaks the grammar."""

    code = "TAG_INVALID"


class ReferenceInvalid(Invalid):
    """A text is neither NAME, NAME:TAG, NAME@DIGEST nor DIGEST."""

    code = "NAME_INVALID"


class ReferenceAmbiguous(ReferenceInvalid):
    """A shortened digest fits more than one thing."""


class LayoutInvalid(Invalid):
    """A path cannot exist below a registry root, or a key cannot become one."""

    code = "NAME_INVALID"


class ManifestInvalid(Invalid):
    """Bytes are not a manifest."""

    code = "MANIFEST_INVALID"


class ManifestTooLarge(ManifestInvalid):
    """A manifest is larger than the limit; it was not read."""


class DescriptorInvalid(ManifestInvalid):
    """A manifest of a known kind has an invalid descriptor."""


class UploadInvalid(Invalid):
    """Bytes sent to an upload are not accepted."""

    code = "BLOB_UPLOAD_INVALID"


class OutOfOrder(UploadInvalid):
    """Bytes sent to an upload do not begin at its offset."""

    def __init__(self, message: str, size: int = 0) -> None:
        super().__init__(message)
        self.size = size
        """Bytes that the upload has."""


class SizeInvalid(Invalid):
    """There are more or fewer bytes than announced."""

    code = "SIZE_INVALID"


class BlobTooLarge(SizeInvalid):
    """A blob is larger than the limit."""


class LayerInvalid(Invalid):
    """Bytes are not a layer: the compression is damaged, or the content is not a tar."""


class TooManyEntries(RegfsError):
    """A layer has more entries than its reader wants to hold."""


class DocumentInvalid(Invalid):
    """A plan, policy or roots file cannot be used."""


class AttestationInvalid(Invalid):
    """A document about an image (provenance, an SBOM, an envelope) cannot be read."""


class Unknown(RegfsError):
    """No such thing in this tree."""


class NameUnknown(Unknown):
    """No such repository."""

    code = "NAME_UNKNOWN"


class ManifestUnknown(Unknown):
    """No such tag or revision in the repository."""

    code = "MANIFEST_UNKNOWN"


class BlobUnknown(Unknown):
    """No such blob."""

    code = "BLOB_UNKNOWN"


class AttestationUnknown(Unknown):
    """Nothing of that kind is about the image."""

    code = "MANIFEST_UNKNOWN"


class PlatformUnknown(Unknown):
    """No image for the platform that was asked for."""

    code = "MANIFEST_UNKNOWN"


class UploadUnknown(Unknown):
    """No such unfinished upload in the repository."""

    code = "BLOB_UPLOAD_UNKNOWN"


class ReferentsUnknown(Unknown):
    """A manifest names something that its repository does not have."""

    code = "MANIFEST_BLOB_UNKNOWN"

    def __init__(self, message: str, missing: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.missing = missing
        """The digests."""


class RunUnknown(Unknown):
    """No such run."""


class Refused(RegfsError):
    """Nothing was done: a person has to decide first."""

    code = "DENIED"


class LockHeld(Refused):
    """Another run holds the lock of this tree."""

    def __init__(self, message: str, *, shared: bool = False) -> None:
        super().__init__(message)
        self.shared = shared
        """Whether the lock is held in shared mode."""


class LockLost(Refused):
    """This run may not be the holder of the lock any more, and changes nothing more."""


class PlanStale(Refused):
    """The plan was made for another tree."""


class ConditionFailed(Refused):
    """What would be replaced does not meet the condition of the caller."""


class Doubt(Refused):
    """The operation could delete something that may be in use."""


class StoreError(RegfsError):
    """The storage failed or refused."""

    code = "UNAVAILABLE"


class PathMissing(StoreError):
    """Nothing is at that path."""


class PathChanged(StoreError):
    """What lies at a path is not what was meant any more, and was left as it is."""


class PathTooLong(StoreError):
    """What lies at a path cannot be moved, since its new name would be too long; it was left."""


class PathDenied(StoreError):
    """No permission for that path."""


class RightMissing(PathDenied):
    """The credentials lack a right: no other user of this machine has it by that."""


class PathUnsafe(StoreError):
    """The path is a special file, or a symbolic link that leaves the tree or loops."""


class StoreFull(StoreError):
    """There is no space: on the disk, or in the quota of this user."""


class ContentMismatch(StoreError):
    """Bytes do not have the digest or size that names them."""

    code = "DIGEST_INVALID"


class SourceError(RegfsError):
    """A source of content failed or refused."""

    code = "UNAVAILABLE"


class SourceLacks(SourceError):
    """A source does not have the content."""

    code = "BLOB_UNKNOWN"


def printable(text: object) -> str:
    """Return `text` with everything that a terminal would act on, or cannot show, escaped."""
    shown = str(text)
    return shown if shown.isprintable() else "".join(map(_escape, shown))


def without_secrets(place: str) -> str:
    """Return a place as a message names it: of a URL without user, password and query."""
    scheme, slashes, rest = place.partition("://")
    if not slashes:
        return printable(place)
    host, slash, path = rest.partition("?")[0].partition("/")
    return printable(f"{scheme}://{host.rpartition('@')[2]}{slash}{path}")


def quoted(text: str, limit: int = 300) -> str:
    """Return a name in quotes, printable; a long one is cut after `limit` characters."""
    return f"'{printable(text if len(text) <= limit else text[:limit] + '...')}'"


def did_you_mean(
    word: str, known: Iterable[str], others: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Return the end of a message that names what was probably meant; empty if nothing is like it.

    `others` are words of other programs, and what they mean here.
    """
    from difflib import get_close_matches  # only for who has mistyped something

    choices = list(known)
    meant = others.get(word)
    close = [meant] if meant in choices else get_close_matches(word[:200], choices)
    return f"; did you mean {' or '.join(map(printable, close))}?" if close else ""


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
