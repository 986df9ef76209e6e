"""The first page: the repositories. It imports nothing slow, so that it comes at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from regfs.browse.places import Line, LineColumn, Listed, Measure, OneRepository, Standing
from regfs.render.tables import plural
from regfs.units import human_size

if TYPE_CHECKING:
    from regfs.browse.tree_data import TreeData
    from regfs.digest import Digest
    from regfs.reports.usage import UsageRow

WAITS: Final = "sizes come once the tree is read"
_COLUMNS: Final = (LineColumn("Tags", 6, 50, right=True), LineColumn("Unique", 8, 70, right=True))
MEASURES: Final[dict[str, Measure]] = {
    "stored": lambda item: item.used.stored if item.used else None,
    "unique": lambda item: item.used.unique if item.used else None,
    "apparent": lambda item: item.used.apparent if item.used else None,
}
"""What of a repository or tag can be its size."""


class NamedItem(NamedTuple):
    """A repository, a tag, or what is untagged."""

    name: str | None
    used: UsageRow | None
    digest: Digest | None = None
    """What a tag points to."""
    changed: float = 0.0
    """When a tag was set."""


def repositories_page(data: TreeData | None, names: Iterable[str]) -> Listed:
    """Return the repositories: those of the tree, or `names` until it is read."""
    if data is None:
        items = [NamedItem(name, None) for name in names]
        note = f"{plural(len(items), 'repository', 'repositories')} so far; {WAITS}"
    else:
        every = data.graph.inventory.repositories
        items = [NamedItem(name, data.used.get(name)) for name in every]
        count = plural(len(items), "repository", "repositories")
        tagged = sum(len(one.tags) for one in every.values())
        note = f"{count}, {plural(tagged, 'tag')}; {human_size(data.stored)} stored"

    def line(item: NamedItem, measure: Measure | None) -> Line:
        return _repository_line(data, item, measure)

    return Listed(
        "",
        items,
        line,
        lambda item: item.name or "",
        measures=MEASURES if data else {},
        columns=_COLUMNS if data else (),
        heading="Repository",
        note=note,
        by_size=data is not None,
        whole=data is not None,
    )


def _repository_line(data: TreeData | None, item: NamedItem, measure: Measure | None) -> Line:
    name, used = item.name or "", item.used
    if data is None:
        return Line(name, opens=OneRepository(name), reference=name)
    tagged = len(data.graph.inventory.repositories[name].tags)
    known = data.verified
    return Line(
        name,
        size=measure(item) if measure else None,
        standing=known.of_repository.get(name, Standing.UNKNOWN) if known else Standing.UNKNOWN,
        cells=(f"{tagged:,}", human_size(used.unique) if used else ""),
        aside="" if used else "empty",
        opens=OneRepository(name),
        reference=name,
        details=(("Repository", name), *used_words(used)),
    )


def used_words(used: UsageRow | None) -> Iterator[tuple[str, str]]:
    """Yield what something uses, in words."""
    if used is not None:
        yield "Stored", f"{human_size(used.stored)} in {plural(used.blobs, 'blob')}"
        yield "Unique", f"{human_size(used.unique)}: only this needs them"
        yield "Shared", f"{human_size(used.shared)}: others need them too"
        yield "Apparent", f"{human_size(used.apparent)} without sharing"
        if used.missing_blobs:
            yield "Missing", plural(used.missing_blobs, "blob")
