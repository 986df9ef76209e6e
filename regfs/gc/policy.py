"""What may be collected: the options of a run. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from regfs.gc.retention import RetentionPolicy
else:

    class RetentionPolicy:
        """A placeholder that loads the model on demand: loading takes longer than a plan."""

        @classmethod
        def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
            from regfs.gc.retention import RetentionPolicy as Model

            return handler.generate_schema(Model)


HOUR: Final = 3600.0
DAY: Final = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one run. The default collects only what nothing refers to."""

    delete_untagged: bool = False
    """Whether manifests that no tag reaches, directly or through an index, may be deleted."""
    min_age: float = HOUR
    """Seconds; anything younger counts as in use."""
    uploads_older_than: float = 7 * DAY
    """Seconds after which an unfinished upload is stale."""
    allow_tagless: tuple[str, ...] = ()
    """Repositories without any tag whose manifests may be deleted all the same."""
    allow_no_manifests: bool = False
    """Whether a tree without any manifest is empty on purpose, so that all may be deleted."""
    keep_referrers_of_dangling: bool = True
    """Whether a referrer whose subject is missing is kept: it may have been pushed first."""
    keep_referrers_of_subject: bool = True
    """Whether an untagged referrer is kept while its subject is."""
    tag_history: int | None = None
    """Number of former digests of each tag that are kept in its index; None for all."""
    leftovers: bool = False
    """Whether the whole tree is walked for temporary files and empty folders."""
    empty_repositories: bool = False
    """Whether the folders of an empty repository are deleted."""
    max_freed: int | None = None
    """Bytes after which no more blobs are collected; None for no limit."""
    retention: RetentionPolicy | None = None
    """Which tags may be deleted, by repository."""
    roots: tuple[str, ...] | None = None
    """What a list of roots says is in use: `Roots.texts`."""
    ignore_missing_roots: bool = False
    """Whether a run continues although some roots are not in the tree."""
