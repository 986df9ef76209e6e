"""Which manifests are live: those that the roots of each repository reach. Pure.

    roots    every revision link and every tag. Where untagged manifests are pruned: tags, and
             manifests that are young, listed as roots, or kept by a retention policy. Where
             a policy drops tags and no untagged manifests: also what had no tag before
    reach    index -> child, referrer -> subject; when pruning also subject -> its referrers

Links are live in one repository, blobs in all. So each repository is marked by itself, in any
order. When all are marked, a referrer whose subject is live in another repository becomes live.

A tag that is attached to an image (see `regfs.graph.attached`) is kept and deleted with that
image. Where untagged manifests are pruned, the tags of cosign are deleted in the same run as their
image. A list of referrers is deleted with its image only by a policy, and keeps what it lists
until then. A tag whose image was missing before the run is *dangling*: tags of cosign are then
deleted only on demand (`keep_referrers_of_dangling`).

Why nothing is lost by deleting an attached tag: its image is deleted in the same run, or the
whole tree was read and has neither a link, a manifest nor a blob of the image. A tag that a rule
of the policy, a list of roots or its age keeps does not depend on its image.

In doubt everything is kept: all of a repository in `Graph.frozen` is live, and it loses no tag.
While `Graph.incomplete` holds anything, no referrer is deleted, because its subject may be in a
part of the tree that cannot be read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from regfs import layout
from regfs.digest import Digest, digests_in
from regfs.errors import RegfsError
from regfs.findings import Code, Finding, Severity
from regfs.gc.decisions import Decision
from regfs.gc.kept import Kept
from regfs.gc.policy import Policy
from regfs.gc.roots import Resolved, Roots, resolve
from regfs.gc.tags import Read, TagChoice
from regfs.graph import Graph
from regfs.graph.attached import attached_to, is_gone, is_own, lives
from regfs.names import SubjectTag, subject_tag
from regfs.tree.inventory import RepositoryInventory, TagInfo


class Mark:
    """The live manifests of every repository of one tree."""

    def __init__(self, graph: Graph, policy: Policy, now: float, read: Read) -> None:
        self.kept = Kept()
        self.findings: list[Finding] = []
        self._live: dict[str, set[Digest]] = {}
        """Repository -> its live manifests, where any manifest may be deleted."""
        self.now = now
        self.outside: set[Digest] = set()
        """Blobs that the list of roots names, with everything they need."""
        self._graph = graph
        self._inventory = graph.inventory
        self._policy = policy
        self._choice = TagChoice(graph, policy, now, read)
        self._read = read
        self._vouched: set[str] = set()
        """Repositories for which the list of roots says what is in use."""
        self._external = self._resolve()
        self._referring = {one for _, referrers in graph.subjects() for one in referrers}
        """Manifests that have a subject."""
        self._waiting: dict[str, dict[str, TagInfo]] = {}
        """Repository -> tags that are kept only if the image they are attached to is live."""
        self._run()

    @property
    def decisions(self) -> list[Decision]:
        """The decision about every tag and manifest that a retention policy covers."""
        return self._choice.decisions

    def dropped(self, repository: str) -> Mapping[str, str]:
        """Return the tags of a repository that are deleted, and why."""
        return self._choice.dropped.get(repository, {})

    def young(self, mtime: float) -> bool:
        """Return whether something with this mtime is too young to be deleted; so is the future."""
        return self.now - mtime < self._policy.min_age

    def prunes(self, repository: RepositoryInventory) -> bool:
        """Return whether untagged manifests of a repository may be deleted."""
        name = repository.name
        if not self._is_asked(name):
            return False
        if any(is_own(self._graph, repository, tag) for tag in repository.tags):
            return True
        # Without any tag, "untagged" says nothing: a person or a list has to say what is in use.
        vouched = name in self._vouched and bool(self._external.get(name))
        return name in self._policy.allow_tagless or vouched or not repository.revisions

    def loses_manifests(self, repository: RepositoryInventory) -> bool:
        """Return whether any manifest of a repository may be deleted."""
        return self.prunes(repository) or self._drops(repository.name)

    def _drops(self, repository: str) -> bool:
        """Return whether only manifests whose tags are dropped may be deleted."""
        block = self._choice.block(repository)
        drops = block is not None and bool(block.keep_tags) and not self._is_asked(repository)
        return drops and repository not in self._graph.frozen

    def _is_asked(self, repository: str) -> bool:
        """Return whether pruning is requested for a repository that is not in doubt."""
        block = self._choice.block(repository)
        said = None if block is None else block.delete_untagged
        asked = self._policy.delete_untagged if said is None else said
        return asked and repository not in self._graph.frozen

    # -- roots --------------------------------------------------------------------

    def _resolve(self) -> dict[str, set[Digest]]:
        """Return the manifests of each repository that the list of roots names."""
        if self._policy.roots is None:
            return {}
        roots = Roots.of(self._policy.roots)
        found: Resolved = resolve(roots, self._inventory)
        weight = Severity.WARNING if self._policy.ignore_missing_roots else None
        missing = [one for one in found.findings if not self._is_alias(one)]
        self.findings.extend(replace(one, override=weight) for one in missing)
        self._vouched = found.vouched
        names: dict[str, set[str | None]] = {}
        for root in (*roots.said, *roots.perhaps):
            names.setdefault(root.reference, set()).add(root.name)
        external = {name: set(manifests) for name, manifests in found.manifests.items()}
        for blob in found.blobs:
            # Some runtimes know an image by its config; then the image is in use.
            holders = self._graph.manifests_naming(blob)
            self.outside |= self._graph.needs(self._graph.reachable([blob, *holders]))
            self.outside |= self._graph.aliases.get(blob, set())
            if not holders:
                self.outside |= self._unlinked(blob)
            for name, repository in self._inventory.repositories.items():
                held = [one for one in holders if one in repository.revisions]
                external.setdefault(name, set()).update(held)
                if held and not names[blob].isdisjoint((None, name)):
                    self._vouched.add(name)
        return external

    def _is_alias(self, finding: Finding) -> bool:
        """Return whether a missing root is there under its digest in another algorithm."""
        digest = finding.digest
        found = () if digest is None else self._graph.aliases.get(Digest(digest), ())
        return any(self._inventory.blobs.get(one) is not None for one in found)

    def _unlinked(self, blob: Digest) -> set[Digest]:
        """Return every digest in a manifest that no repository links to, so the graph lacks it.

        If it is no manifest, the digests in it at worst keep too much.
        """
        found, pending = {blob}, [blob]
        while pending:
            one = pending.pop()
            if one in self._graph.manifests:
                found |= self._graph.needs(self._graph.reachable([one]))
                continue
            try:
                named = digests_in(self._read(one))
            except RegfsError:
                continue
            fresh = {other for other in named if other in self._inventory.blobs} - found
            found |= fresh
            pending.extend(fresh)
        return found

    def _run(self) -> None:
        for repository in self._inventory.repositories.values():
            self._choice.choose(repository, self._external.get(repository.name, ()))
            self._waiting[repository.name] = self._attached(repository)
        for name, repository in self._inventory.repositories.items():
            if self.loses_manifests(repository):
                self._live[name] = self._mark(repository)
            elif self._is_asked(name):
                self._refuse_tagless(repository)
        self._follow_subjects()
        while self._keep_attached():
            self._follow_subjects()
        for name, waiting in self._waiting.items():
            revisions = self._inventory.repositories[name].revisions
            for tag in waiting:
                is_here = bool(_subject(tag).among(revisions))
                reason = f"the image it is attached to is {'deleted' if is_here else 'gone'}"
                self._choice.drop(name, [tag], reason)
        self.findings += self._choice.findings

    def _staying(self, repository: RepositoryInventory) -> Iterator[tuple[str, TagInfo]]:
        dropped, waiting = self.dropped(repository.name), self._waiting[repository.name]
        tags = repository.tags.items()
        return ((tag, info) for tag, info in tags if tag not in dropped and tag not in waiting)

    def live(self, repository: str) -> set[Digest]:
        """Return the live manifests of a repository."""
        found = self._live.get(repository)
        if found is not None:
            return found
        # Not cached: it is asked for once, and takes 40 MB for 10^6 manifests.
        inventory = self._inventory.repositories[repository]
        return self._graph.live(inventory, self._external.get(repository, ()))

    def _live_anywhere(self) -> set[Digest]:
        return set().union(*map(self.live, self._inventory.repositories))

    def _mark(self, repository: RepositoryInventory) -> set[Digest]:
        """Return the live manifests of a repository that may lose some."""
        tagged = self._tagged(repository)
        external = self._external.get(repository.name, set())
        if self._drops(repository.name):
            before = self._untagged_before(repository)
            roots = {*tagged, *external, *self._young(repository), *before}
            return self._reached(repository, roots)
        live = self._reached(repository, {*tagged, *external, *self._young(repository)})
        unseen = [digest for digest in repository.revisions if digest not in live]
        kept = set(self._choice.untagged(repository, unseen))
        return live | self._reached(repository, kept) if kept else live

    def _untagged_before(self, repository: RepositoryInventory) -> set[Digest]:
        """Return what no tag reached before tags were dropped: it is not deleted with them.

        Subjects do not count: the tag of an SBOM does not keep the image.
        """
        currents = {info.current for info in repository.tags.values() if info.current is not None}
        held = self._graph.reachable(currents, referrers=self._referrers(repository))
        name, found = repository.name, set[Digest]()
        for digest in repository.revisions:
            linked = self._graph.revision_targets(name, digest)
            if held.isdisjoint(linked):
                found.update((digest, *linked))
        return found

    def _reached(self, repository: RepositoryInventory, roots: set[Digest]) -> set[Digest]:
        """Return what roots reach when manifests are pruned."""
        if self._graph.incomplete:
            roots = {*roots, *self._referring_in(repository)}
        elif not self._dangling_may_go(repository.name):
            roots = {*roots, *filter(self._subject_is_missing, self._referring_in(repository))}
        referrers = self._referrers(repository)
        live = self._graph.reachable(roots, subjects=True, referrers=referrers)
        # A fallback tag is a list of referrers. It keeps them, but a signature must not keep
        # its image: on registries without a referrers API every signed image has such a tag.
        lists = {
            info.current
            for tag, info in self._staying(repository)
            if info.current is not None and self._is_list(tag, info)
        }
        return live | self._graph.reachable(lists, referrers=referrers)

    def _referrers(self, repository: RepositoryInventory) -> Collection[Digest]:
        return repository.revisions if self._policy.keep_referrers_of_subject else ()

    def _refuse_tagless(self, repository: RepositoryInventory) -> None:
        path = layout.repository_folder(repository.name)
        for digest, size, *_ in repository.revisions.files(range(len(repository.revisions))):
            link = f"{layout.revision_folder(repository.name, digest)}/link"
            self.kept.add("tagless", link, size)
        code = Code.REPOSITORY_TAGLESS
        self.findings.append(Finding(code, path, repository=repository.name))

    def _tagged(self, repository: RepositoryInventory) -> set[Digest]:
        """Return what tags point to; for an unreadable tag everything in its history."""
        found: set[Digest] = set()
        for tag, info in self._staying(repository):
            if info.current is None or not self._is_list(tag, info):
                found.update(info.targets)
        return found

    def _young(self, repository: RepositoryInventory) -> Iterator[Digest]:
        """Yield manifests that were pushed, or lost a tag, less than min_age ago."""
        table = repository.revisions
        for row, mtime in enumerate(table.mtimes):
            if self.young(mtime):
                yield table.digest(row)
        for info in repository.tags.values():
            if self.young(info.mtime):
                yield from (entry.digest for entry in info.history)

    # -- referrers and attached tags ----------------------------------------------

    def _is_list(self, tag: str, info: TagInfo) -> bool:
        """Return whether a tag lists referrers: it keeps them, but not their subject."""
        found = attached_to(self._graph, tag, info.current)
        return found is not None and found.is_fallback

    def _dangling_may_go(self, repository: str) -> bool:
        """Return whether referrers without a subject may be deleted from a repository."""
        block = self._choice.block(repository)
        asked = block is not None and block.delete_referrers
        return asked or not self._policy.keep_referrers_of_dangling

    def _referring_in(self, repository: RepositoryInventory) -> list[Digest]:
        """Return the manifests of a repository that have a subject; in most trees none has."""
        revisions = repository.revisions if self._referring else ()
        return [digest for digest in revisions if digest in self._referring]

    def _subjects_of(self, referrer: Digest) -> list[Digest]:
        subject = self._graph.manifests[referrer].subject
        assert subject is not None
        return self._graph.named_as(subject)

    def _subject_is_missing(self, referrer: Digest) -> bool:
        return not any(one in self._graph.manifests for one in self._subjects_of(referrer))

    def _follow_subjects(self) -> None:
        """Keep untagged referrers whose subject is live in another repository."""
        repositories = self._inventory.repositories.values()
        pruned = [one for one in repositories if self.loses_manifests(one)]
        if not (pruned and self._referring and self._policy.keep_referrers_of_subject):
            return
        everywhere = self._live_anywhere()
        grown = True
        while grown:
            grown = False
            for repository in pruned:
                live = self._live[repository.name]
                more = [
                    digest
                    for digest in self._referring_in(repository)
                    if digest not in live and not everywhere.isdisjoint(self._subjects_of(digest))
                ]
                if more:
                    live |= self._graph.reachable(more, referrers=repository.revisions)
                    everywhere |= live
                    grown = True

    def _attached(self, repository: RepositoryInventory) -> dict[str, TagInfo]:
        """Return the tags of a repository that are kept only if their image is live.

        The image must be in this repository or nowhere in the tree: if only this repository
        lacks it, it may still be pushed here. Whether a tag of the image was dropped does not
        matter, because an interrupted run has moved these already.
        """
        name, block = repository.name, self._choice.block(repository.name)
        every_tag_stays = block is not None and not block.keep_tags
        if every_tag_stays or self._graph.incomplete or not self.loses_manifests(repository):
            return {}
        external = self._external.get(name, ())
        waiting = {}
        for tag, info in repository.tags.items():
            found = attached_to(self._graph, tag, info.current)
            if found is None or info.current is None or info.current in external:
                continue
            if self.young(info.mtime) or self._choice.is_ruled(name, tag):
                continue
            if found.among(repository.revisions):
                deleted_along = block is not None or not found.is_fallback
            else:
                deletable = not found.is_fallback and self._dangling_may_go(name)
                deleted_along = deletable and self._is_gone(found)
            if deleted_along:
                waiting[tag] = info
        return waiting

    def _is_gone(self, found: SubjectTag) -> bool:
        """Return whether the image of an attached tag is nowhere: in no repository, in no root."""
        return not found.among(self.outside) and is_gone(self._graph, found)

    def _keep_attached(self) -> bool:
        """Keep the attached tags whose image is live; return whether there were any."""
        if not any(self._waiting.values()):
            return False
        everywhere = self._live_anywhere()
        grown = False
        for name, waiting in self._waiting.items():
            staying = {
                tag: info
                for tag, info in waiting.items()
                if lives(self._graph, _subject(tag), everywhere)
            }
            if not staying:
                continue
            for tag in staying:
                del waiting[tag]
            roots = {
                info.current
                for tag, info in staying.items()
                if info.current is not None and not self._is_list(tag, info)
            }
            self._live[name] |= self._reached(self._inventory.repositories[name], roots)
            grown = True
        return grown


def _subject(tag: str) -> SubjectTag:
    """Return what an attached tag is attached to."""
    found = subject_tag(tag)
    assert found is not None
    return found
