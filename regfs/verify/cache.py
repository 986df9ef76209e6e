"""Remedies in a pull-through cache: nobody pushes there, the registry fetches.

The registry fetches what is missing or no longer linked again by itself. Corrupt content has
to be moved aside first, because the registry serves what it has. What upstream has pushed
wrong comes back wrong.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from regfs.findings import Code, Finding

_FETCHED: Final = "It is fetched again on the next pull."
_ASIDE: Final = "`regfs verify --quarantine`; then it is fetched again on the next pull."
_REMOVE: Final = "Remove the link; what it names is fetched again on the next pull."
_UPSTREAM: Final = "Upstream serves it like this: tell the maintainers of the image."
_EXPIRED: Final = (
    "Nothing to do: the registry expires what it has fetched, and regfs collects nothing here."
)

ADVICE: Final[dict[Code, str]] = {
    **dict.fromkeys(
        (
            Code.BLOB_MISSING,
            Code.LINK_DANGLING,
            Code.LAYER_LINK_MISSING,
            Code.TAG_DANGLING,
            Code.TAG_WITHOUT_CURRENT,
            Code.TAG_BEHIND,
            Code.INDEX_CHILD_MISSING,
            Code.SUBJECT_MISSING,
        ),
        _FETCHED,
    ),
    Code.BLOB_CORRUPT: _ASIDE,
    Code.LINK_EMPTY: _REMOVE,
    Code.LINK_INVALID: _REMOVE,
    **dict.fromkeys(
        (
            Code.MANIFEST_UNREADABLE,
            Code.DESCRIPTOR_INVALID,
            Code.DESCRIPTOR_SIZE_MISMATCH,
            Code.DIFFID_MISMATCH,
            Code.LAYER_UNREADABLE,
            Code.LAYER_COUNT_MISMATCH,
            Code.CONFIG_UNREADABLE,
            Code.SIGNATURE_MISSING,
        ),
        _UPSTREAM,
    ),
    **dict.fromkeys(
        (
            Code.BLOB_UNREFERENCED,
            Code.LAYER_LINK_UNUSED,
            Code.UPLOAD_STALE,
            Code.UPLOAD_WITHOUT_DATA,
            Code.UPLOAD_WITHOUT_STARTEDAT,
            Code.TEMPORARY_FILE,
            Code.DIRECTORY_EMPTY,
            Code.SIGNATURE_DANGLING,
        ),
        _EXPIRED,
    ),
}
"""Code -> remedy in a cache, where the usual one does not apply."""


def in_cache(finding: Finding) -> Finding:
    """Return a finding with the remedy that applies in a cache."""
    advice = ADVICE.get(finding.code)
    return finding if advice is None else replace(finding, advice=advice)
