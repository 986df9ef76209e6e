"""What can be wrong with a tree, as data: a closed list of codes, each with message and remedy.

A `Finding` is produced wherever damage is met (scan, graph, verify, gc) and is never
raised. Nothing here reads a tree, and no code is defined elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Final, NamedTuple


class Severity(StrEnum):
    """How much a finding matters."""

    ERROR = "error"
    """Something is lost, unreadable or cannot be trusted."""
    WARNING = "warning"
    """Nothing is lost, but somebody should look."""
    INFO = "info"
    """A normal leftover, or a fact worth knowing."""


class Code(StrEnum):
    """Every kind of finding there is."""

    BLOB_CORRUPT = "blob-corrupt"
    BLOB_SIZE_MISMATCH = "blob-size-mismatch"
    BLOB_MISSING = "blob-missing"
    BLOB_UNREADABLE = "blob-unreadable"
    BLOB_CHANGED = "blob-changed"
    BLOB_MISPLACED = "blob-misplaced"
    BLOB_UNREFERENCED = "blob-unreferenced"
    BLOB_ANNOTATED = "blob-annotated"
    LINK_EMPTY = "link-empty"
    LINK_INVALID = "link-invalid"
    LINK_MISMATCH = "link-mismatch"
    LINK_DANGLING = "link-dangling"
    LAYER_LINK_MISSING = "layer-link-missing"
    LAYER_LINK_UNUSED = "layer-link-unused"
    TAG_DANGLING = "tag-dangling"
    TAG_WITHOUT_CURRENT = "tag-without-current"
    TAG_INVALID = "tag-invalid"
    TAG_BEHIND = "tag-behind"
    TAG_AMBIGUOUS = "tag-ambiguous"
    REPOSITORY_INVALID_NAME = "repository-invalid-name"
    REPOSITORY_EMPTY = "repository-empty"
    REPOSITORY_TAGLESS = "repository-tagless"
    REPOSITORIES_MISSING = "repositories-missing"
    BLOBS_MISSING = "blobs-missing"
    MANIFEST_UNREADABLE = "manifest-unreadable"
    MANIFEST_TOO_LARGE = "manifest-too-large"
    MANIFEST_UNKNOWN_TYPE = "manifest-unknown-type"
    DESCRIPTOR_SIZE_MISMATCH = "descriptor-size-mismatch"
    DESCRIPTOR_INVALID = "descriptor-invalid"
    INDEX_CHILD_MISSING = "index-child-missing"
    SUBJECT_MISSING = "subject-missing"
    SIGNATURE_DANGLING = "signature-dangling"
    DIFFID_MISMATCH = "diffid-mismatch"
    LAYER_UNREADABLE = "layer-unreadable"
    LAYER_ENTRY_ODD = "layer-entry-odd"
    LAYER_TYPE_MISMATCH = "layer-type-mismatch"
    LAYER_COUNT_MISMATCH = "layer-count-mismatch"
    CONFIG_UNREADABLE = "config-unreadable"
    SIGNATURE_MISSING = "signature-missing"
    UPLOAD_STALE = "upload-stale"
    UPLOAD_UNKNOWN = "upload-unknown"
    UPLOAD_WITHOUT_DATA = "upload-without-data"
    UPLOAD_WITHOUT_STARTEDAT = "upload-without-startedat"
    TEMPORARY_FILE = "temporary-file"
    NFS_LEFTOVER = "nfs-leftover"
    LOST_AND_FOUND = "lost-and-found"
    JUNK = "junk"
    FOREIGN_PATH = "foreign-path"
    SPECIAL_FILE = "special-file"
    SYMLINK_INSIDE = "symlink-inside"
    SYMLINK_LOOP = "symlink-loop"
    SYMLINK_OUTSIDE = "symlink-outside"
    FOLDER_REPLACED = "folder-replaced"
    PATH_UNREADABLE = "path-unreadable"
    ALGORITHM_UNSUPPORTED = "algorithm-unsupported"
    ARCHIVE_TRUNCATED = "archive-truncated"
    ENTRY_DUPLICATE = "entry-duplicate"
    NAME_NOT_UTF8 = "name-not-utf8"
    DIRECTORY_EMPTY = "directory-empty"
    ROOT_MISSING = "root-missing"
    PATTERN_SLOW = "pattern-slow"


class Rule(NamedTuple):
    """Severity, message and remedy of one code."""

    severity: Severity
    message: str
    remedy: str


_E, _W, _I = Severity.ERROR, Severity.WARNING, Severity.INFO
# A registry never overwrites existing data: a push alone repairs nothing.
_REPLACE = "`regfs heal --from SOURCE`, or `regfs verify --quarantine` and push the image again."
_REFILL = "Push the image again, or `regfs heal --from SOURCE`."
# A registry fails when it cannot read the link of a blob, and so does the push.
_RELINK = "`regfs heal --relink`, or remove the link and push the image again."
# Content that matches its digest is as it was pushed: pushing it again changes nothing.
_REBUILD = "It was pushed like this: build and push the image again, and delete this manifest."

RULES: Final[dict[Code, Rule]] = {
    Code.BLOB_CORRUPT: Rule(_E, "blob content does not match its digest", _REPLACE),
    Code.BLOB_SIZE_MISMATCH: Rule(
        _E,
        "blob has another size than its descriptor says",
        "`regfs verify --level digests` shows whether the blob or the manifest is wrong.",
    ),
    Code.BLOB_MISSING: Rule(
        _E,
        "blob is missing, and an image needs it",
        _REFILL,
    ),
    Code.BLOB_UNREADABLE: Rule(
        _E, "blob cannot be read", "Check permissions and the disk, then verify again."
    ),
    Code.BLOB_CHANGED: Rule(
        _W,
        "blob was modified while it was read; no registry does that",
        "Find out what writes to it, then verify again.",
    ),
    Code.BLOB_MISPLACED: Rule(
        _E,
        "blob is stored in the wrong place for its digest",
        "Find what moved it; the registry cannot see it here.",
    ),
    Code.BLOB_UNREFERENCED: Rule(
        _I, "nothing refers to this blob", "`regfs gc plan` shows what can be freed."
    ),
    Code.BLOB_ANNOTATED: Rule(
        _I,
        "blob is named only in an annotation, by an image of a repository that links it",
        "Nothing to do: regfs keeps it. A registry's own collector deletes it.",
    ),
    Code.LINK_EMPTY: Rule(
        _E,
        "link file is empty (a crash while it was written)",
        _RELINK,
    ),
    Code.LINK_INVALID: Rule(
        _E,
        "link file does not hold exactly one digest",
        _RELINK,
    ),
    Code.LINK_MISMATCH: Rule(
        _E,
        "link names another digest than its path",
        "Find out which of the two is right; regfs keeps both until then.",
    ),
    Code.LINK_DANGLING: Rule(_W, "link points to a missing blob", _REFILL),
    Code.LAYER_LINK_MISSING: Rule(
        _E,
        "repository has no link to a blob its image needs (pull answers 404)",
        "Push the image again: the registry writes the link. Or `regfs heal --relink`.",
    ),
    Code.LAYER_LINK_UNUSED: Rule(
        _I,
        "no image of the repository uses this layer link",
        "`regfs gc plan` shows what can be freed.",
    ),
    Code.TAG_DANGLING: Rule(
        _E,
        "tag points to a missing manifest",
        "Push the tag again, or delete it; `regfs heal --relink` if only the link is gone.",
    ),
    Code.TAG_WITHOUT_CURRENT: Rule(
        _W,
        "tag has a history but no current link (it is listed, but a pull answers 404)",
        "Push the tag again, or delete it; `regfs heal --relink` if its history leaves no doubt.",
    ),
    Code.TAG_BEHIND: Rule(
        _I,
        "tag does not point to its latest push (interrupted, or the tag was moved back)",
        "Push the tag again if the newer image was meant.",
    ),
    Code.TAG_AMBIGUOUS: Rule(
        _W,
        "index.json gives this tag to more than one image; the first one has it",
        "Give the others another name; until then they are untagged here.",
    ),
    Code.TAG_INVALID: Rule(_W, "tag name is invalid", "No client can ask for it."),
    Code.REPOSITORY_INVALID_NAME: Rule(
        _W,
        "repository name is invalid (no client can ask for it)",
        "Rename or remove the folder by hand; the registry's own collector stops at it.",
    ),
    Code.REPOSITORY_EMPTY: Rule(
        _I, "repository has no image", "It stays in the catalog until its folder is removed."
    ),
    Code.REPOSITORY_TAGLESS: Rule(
        _W,
        "repository has manifests but no tag (pushed by digest, or tags live in a database)",
        "Untagged manifests here are kept unless the repository is confirmed by name.",
    ),
    Code.REPOSITORIES_MISSING: Rule(
        _E,
        "there are blobs but no repository that could name them",
        "Mount or restore the folder of repositories; no blob is collected until there is one.",
    ),
    Code.BLOBS_MISSING: Rule(
        _E,
        "there are repositories with images but not a single blob",
        "Mount or restore the folder of blobs; nothing can be pulled until then.",
    ),
    Code.MANIFEST_UNREADABLE: Rule(_E, "manifest cannot be parsed", _REBUILD),
    Code.MANIFEST_TOO_LARGE: Rule(
        _E,
        "manifest is larger than the limit and was not read",
        "No registry accepts such a manifest; find out what wrote it.",
    ),
    Code.MANIFEST_UNKNOWN_TYPE: Rule(
        _W,
        "manifest has a media type that regfs does not know",
        "Every digest written in it is kept.",
    ),
    Code.DESCRIPTOR_SIZE_MISMATCH: Rule(
        _E,
        "descriptor gives another size than the content has",
        "The content has its digest, so the manifest is wrong: build and push the image again, "
        "and delete this manifest.",
    ),
    Code.DESCRIPTOR_INVALID: Rule(_E, "manifest has an invalid descriptor", _REBUILD),
    Code.INDEX_CHILD_MISSING: Rule(
        _W,
        "index lists a missing manifest",
        "Legal for a partial mirror; otherwise push the missing platform, or mirror all platforms.",
    ),
    Code.SUBJECT_MISSING: Rule(
        _I,
        "referrer names a missing subject",
        "Push the subject, or delete the referrer if its image is gone for good.",
    ),
    Code.SIGNATURE_DANGLING: Rule(
        _I,
        "tag holds what cosign made for an image that is missing",
        "`regfs gc plan -m --delete-referrers-of-dangling` takes it, unless its image is in "
        "another registry or still to come.",
    ),
    Code.DIFFID_MISMATCH: Rule(
        _E, "unpacked layer does not match the diffID in the config", "Build the image again."
    ),
    Code.LAYER_UNREADABLE: Rule(_E, "layer cannot be unpacked", "Build the image again."),
    Code.LAYER_ENTRY_ODD: Rule(
        _W,
        "layer has entries that clients refuse, or place as each of them sees fit",
        "Find out who built it; run it nowhere until you know.",
    ),
    Code.LAYER_TYPE_MISMATCH: Rule(
        _W,
        "layer is compressed differently than its media type says",
        "Most clients look at the data alone; copy the image with a tool that converts it.",
    ),
    Code.LAYER_COUNT_MISMATCH: Rule(
        _E, "config and manifest have different numbers of layers", "Build the image again."
    ),
    Code.CONFIG_UNREADABLE: Rule(
        _E, "config cannot be parsed as an image config", "Build the image again."
    ),
    Code.SIGNATURE_MISSING: Rule(
        _W,
        "schema 1 manifest has no readable signature",
        "Registry 2.5 to 2.8 sign it anew when they serve it, 3.x does not serve it at all: "
        "push the image again as schema 2 or OCI.",
    ),
    Code.UPLOAD_STALE: Rule(
        _I, "upload was started and never finished", "`regfs gc plan` shows what can be freed."
    ),
    Code.UPLOAD_UNKNOWN: Rule(
        _E,
        "the bytes that the upload has so far are not known",
        "Use keys that may list uploads in parts.",
    ),
    Code.UPLOAD_WITHOUT_DATA: Rule(
        _I,
        "upload is finished but not cleaned up: its data has been moved away (a crash after that)",
        "Nothing is lost with it; `regfs gc plan` shows what can be freed.",
    ),
    Code.UPLOAD_WITHOUT_STARTEDAT: Rule(
        _I,
        "upload does not say when it was started (a crash while that was written)",
        "The registry's own purge never removes it; `regfs gc plan` shows what can be freed.",
    ),
    Code.TEMPORARY_FILE: Rule(
        _I,
        "temporary file of an unfinished write",
        "`regfs gc plan` shows what can be freed.",
    ),
    Code.NFS_LEFTOVER: Rule(
        _I,
        "file was deleted while a client of this NFS server had it open",
        "It goes away when it is closed; if not, restart the client that has it open.",
    ),
    Code.LOST_AND_FOUND: Rule(
        _I,
        "folder of the file system itself, for what fsck recovers",
        "What is in it was once part of a tree: check whether anything is missing, then remove it.",
    ),
    Code.JUNK: Rule(
        _I,
        "belongs to a desktop, a NAS or a tool, not to the registry",
        "Harmless; keep whatever indexes shares or takes snapshots away from this folder.",
    ),
    Code.FOREIGN_PATH: Rule(
        _W,
        "not part of the registry layout",
        "regfs leaves it alone; remove it by hand if it is yours.",
    ),
    Code.SPECIAL_FILE: Rule(
        _E, "neither a file nor a folder; not opened", "Remove it: no registry creates such a file."
    ),
    Code.SYMLINK_INSIDE: Rule(
        _W,
        "symbolic link within the tree: the same thing has two paths",
        "regfs reads it, and collects nothing that could be reached through it.",
    ),
    Code.SYMLINK_LOOP: Rule(
        _E,
        "symbolic link leads to itself, to nothing or to a folder seen before; not followed",
        "Remove the link.",
    ),
    Code.SYMLINK_OUTSIDE: Rule(
        _E,
        "symbolic link leaves the tree; not followed",
        "Mount the folder in place (mount --bind) instead of linking it.",
    ),
    Code.FOLDER_REPLACED: Rule(
        _E,
        "not a folder, although the layout has one here; what was in it cannot be seen",
        "Put the folder back, or move this out of the tree if nothing lay there; until then "
        "regfs collects nothing that it may hold or need.",
    ),
    Code.PATH_UNREADABLE: Rule(
        _E,
        "cannot be read; what is in it is unknown",
        "Run with more rights, or remove what is in the way.",
    ),
    Code.ARCHIVE_TRUNCATED: Rule(
        _E,
        "archive ends too early, or is damaged; what comes after that is unknown",
        "Make the archive again; a copy that was interrupted looks like this.",
    ),
    Code.ENTRY_DUPLICATE: Rule(
        _W,
        "more than one entry of this name; the last one counts, as in unpacking",
        "An archive that was updated has such (tar -r, tar -u); in a bucket, remove the odd key.",
    ),
    Code.ALGORITHM_UNSUPPORTED: Rule(
        _W,
        "digest uses an algorithm that regfs does not support",
        "regfs keeps it; only sha256, sha384 and sha512 can be checked.",
    ),
    Code.NAME_NOT_UTF8: Rule(
        _W, "name is not UTF-8", "Rename or remove it by hand; no client can ask for it."
    ),
    Code.DIRECTORY_EMPTY: Rule(
        _I, "folder is empty (a normal leftover)", "`regfs gc plan` shows what can be freed."
    ),
    Code.ROOT_MISSING: Rule(
        _E,
        "listed as in use, but not on this disk",
        "Push the image again, remove it from the list of roots if nothing uses it any more, or "
        "name this registry as the list does (--roots-host).",
    ),
    Code.PATTERN_SLOW: Rule(
        _W,
        "pattern of the policy takes too long on a tag or label; what it cannot decide on is kept",
        "Write the pattern without repetitions inside repetitions, such as (a+)+.",
    ),
}


@dataclass(frozen=True, slots=True)
class WrittenFinding:
    """A finding as JSON has it."""

    code: str
    severity: Severity
    path: str
    digest: str | None
    repository: str | None
    tag: str | None
    expected: str | None
    actual: str | None
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or worth knowing, and where."""

    code: Code
    path: str
    """Path relative to the root, with `/`; undecodable bytes as surrogate escapes."""
    digest: str | None = None
    """The digest it is about, if any."""
    repository: str | None = None
    tag: str | None = None
    expected: str | None = None
    actual: str | None = None
    override: Severity | None = field(default=None, repr=False)
    """The severity, where it differs from the usual one of the code."""
    advice: str | None = field(default=None, repr=False)
    """The remedy, where it differs from the usual one of the code."""

    @property
    def place(self) -> tuple[str, str, str]:
        """The sort key for findings that come from several processes or threads."""
        return self.path, self.code, self.digest or ""

    @property
    def severity(self) -> Severity:
        """The severity of the code, or the override."""
        return self.override or RULES[self.code].severity

    @property
    def message(self) -> str:
        """What is wrong, with what was expected and what was found."""
        text = RULES[self.code].message
        facts = [
            f"{word} {value}"
            for word, value in (("expected", self.expected), ("found", self.actual))
            if value is not None
        ]
        return f"{text}: {', '.join(facts)}" if facts else text

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return self.advice or RULES[self.code].remedy

    def written(self) -> dict[str, Any]:
        """Return the fields of a `WrittenFinding`."""
        return {field.name: getattr(self, field.name) for field in fields(WrittenFinding)}

    def __str__(self) -> str:
        return f"{self.severity}: {self.path}: {self.message} [{self.code}]"


def worst(findings: Iterable[Finding]) -> Severity | None:
    """Return the highest severity among `findings`; None if there are none."""
    order = [Severity.ERROR, Severity.WARNING, Severity.INFO]
    present = {finding.severity for finding in findings}
    return next((severity for severity in order if severity in present), None)
