"""What may be collected: the knobs of a run. Pure; knows neither tree nor clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from regfs.gc.retention import RetentionPolicy
else:

    class RetentionPolicy:
        """Stands for the model until that is asked for: loading it takes longer than a plan."""

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
    """Whether manifests that no tag reaches, directly or through an index, may go."""
    min_age: float = HOUR
    """Seconds; nothing younger is touched, and what is younger is in use."""
    uploads_older_than: float = 7 * DAY
    """Seconds after which an upload that was begun and not finished is stale."""
    allow_tagless: tuple[str, ...] = ()
    """Repositories that have no tag at all and may lose their manifests all the same."""
    allow_no_manifests: bool = False
    """Whether a tree without a single manifest is empty on purpose, and all in it may go."""
    keep_referrers_of_dangling: bool = True
    """Whether a referrer whose subject is not there stays: it may have been pushed first."""
    keep_referrers_of_subject: bool = True
    """Whether an untagged referrer stays while its subject does."""
    tag_history: int | None = None
    """How many former digests of each tag stay in its index; None for all."""
    leftovers: bool = False
    """Whether the whole tree is walked for temporary files and empty folders."""
    empty_repositories: bool = False
    """Whether a repository that holds nothing any more goes with its folder."""
    max_freed: int | None = None
    """Bytes after which no more blobs are taken, nor links of what stays; None for no end."""
    retention: RetentionPolicy | None = None
    """Which tags may go, by repository."""
    roots: tuple[str, ...] | None = None
    """What is in use by the word of somebody outside the tree: `Roots.texts`."""
    ignore_missing_roots: bool = False
    """Whether a run is carried out although some of the roots are not there."""
