"""What a manifest that cannot be known means for the repositories that name it: they freeze."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator

from regfs import layout
from regfs.digest import Digest
from regfs.findings import Code, Finding, Severity
from regfs.graph.attached import is_gone
from regfs.graph.model import EdgeKind, Graph, Node, NodeKind
from regfs.names import subject_tag


def freeze(graph: Graph) -> None:
    """Freeze every repository that names, through anything, a manifest that is not known.

    A child of an index that is nowhere a revision and nowhere a blob is no
    doubt: partial mirrors are legal, and what it would need was never pushed.
    """
    doubtful: dict[Digest, Finding] = {}
    named = _named(graph, graph.problems)
    elsewhere = _elsewhere(graph, named)
    for digest, problem in graph.problems.items():
        nodes = named.get(digest, ())
        if problem.code is Code.BLOB_MISSING and not nodes:
            graph.problems[digest] = _missing_child(graph, digest, problem, _above(graph, digest))
            continue
        # A missing manifest is told once for each link that names it, with the right words.
        if problem.code is not Code.BLOB_MISSING:
            graph.findings.append(problem)
        else:
            graph.findings.extend(_dangling(node, digest) for node in nodes)
            _missing_child(graph, digest, problem, elsewhere[digest])
        doubtful[digest] = problem
    for name, reached in _naming(graph, doubtful):
        reasons = [problem for digest, problem in doubtful.items() if digest in reached]
        graph.frozen.setdefault(name, []).extend(reasons)
    for subject, referrers in graph.subjects():
        digests = graph.named_as(subject)
        if not any(one in graph.manifests or one in graph.problems for one in digests):
            for referrer in referrers:
                path = layout.blob_path(referrer)
                finding = Finding(Code.SUBJECT_MISSING, path, referrer, expected=subject)
                graph.findings.append(finding)

    graph.findings.extend(_dangling_signatures(graph))


def _dangling_signatures(graph: Graph) -> Iterator[Finding]:
    """Yield a finding for each cosign tag whose image is gone."""
    for name, repository in graph.inventory.repositories.items():
        for tag, info in repository.tags.items():
            found = subject_tag(tag)
            if found is None or found.is_fallback or info.current is None:
                continue
            if is_gone(graph, found):
                path = layout.path_of(layout.TagCurrent(name, tag))
                said = f"{found.holds} of {found.subject}"
                code = Code.SIGNATURE_DANGLING
                yield Finding(code, path, info.current, name, tag, actual=said)


def _above(graph: Graph, manifest: Digest) -> dict[Digest, EdgeKind]:
    """Return the manifests that lead to one, and why."""
    before = graph.predecessors(manifest).items()
    return {one: kind for one, kind in before if isinstance(one, Digest)}


def _named(graph: Graph, manifests: Collection[Digest]) -> dict[Digest, list[Node]]:
    """Return the tags and revisions that lead to any of `manifests`."""
    found: dict[Digest, list[Node]] = defaultdict(list)
    for repository in graph.inventory.repositories.values() if manifests else ():
        for node, _, target in graph.links(repository):
            if target in manifests:
                found[target].append(node)
    return found


def _elsewhere(
    graph: Graph, named: dict[Digest, list[Node]]
) -> dict[Digest, dict[Digest, EdgeKind]]:
    """Return for each missing manifest what lists it in repositories without a link to it.

    The links that dangle speak for their own repositories only.
    """
    missing = {
        digest: {node.repository for node in nodes}
        for digest, nodes in named.items()
        if graph.problems[digest].code is Code.BLOB_MISSING
    }
    above = {one for digest in missing for one in _above(graph, digest)}
    homes = {
        one: {node.repository for node in nodes} for one, nodes in _named(graph, above).items()
    }
    return {
        digest: {
            one: kind
            for one, kind in _above(graph, digest).items()
            if not homes.get(one, set()) <= dangling
        }
        for digest, dangling in missing.items()
    }


def _missing_child(
    graph: Graph, digest: Digest, problem: Finding, listed: dict[Digest, EdgeKind]
) -> Finding:
    for index, kind in listed.items():
        if kind is EdgeKind.CHILD:
            path = layout.blob_path(index)
            problem = Finding(Code.INDEX_CHILD_MISSING, path, index, expected=digest)
            graph.findings.append(problem)
    return problem


def _naming(graph: Graph, doubtful: Collection[Digest]) -> Iterator[tuple[str, set[Digest]]]:
    """Yield each repository that names any of `doubtful`, and what of them it reaches."""
    # Upwards once for all, downwards only where it leads to some of them.
    above = _closure(doubtful, lambda one: _above(graph, one))
    starts: dict[str, list[Digest]] = defaultdict(list)
    for target, nodes in _named(graph, above).items():
        for node in nodes:
            starts[node.repository].append(target)
    for name, start in starts.items():
        yield (
            name,
            _closure(start, lambda one: [o for o in graph.successors.get(one, ()) if o in above]),
        )


def _closure(start: Iterable[Digest], step: Callable[[Digest], Iterable[Digest]]) -> set[Digest]:
    found = set(start)
    pending = list(found)
    while pending:
        fresh = [one for one in step(pending.pop()) if one not in found]
        found.update(fresh)
        pending.extend(fresh)
    return found


def _dangling(node: Node, digest: Digest) -> Finding:
    if node.kind is NodeKind.TAG:
        path = layout.path_of(layout.TagCurrent(node.repository, node.name))
        return Finding(Code.TAG_DANGLING, path, digest, node.repository, node.name)
    path = layout.path_of(layout.RevisionLink(node.repository, Digest(node.name)))
    return Finding(Code.LINK_DANGLING, path, digest, node.repository, override=Severity.ERROR)
