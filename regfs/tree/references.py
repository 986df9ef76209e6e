"""What a reference given by a person means in a tree.

    app  app:v1  app@25b1600  app:v1@sha256:25b1...  25b1600        one thing
    app:v1@-1                                                       what a tag pointed to before
    docker://registry.example.com:5000/app:v1  localhost/app:v1     as pasted: a host is left out
    team/*  team/**  */app:v1.*  team/                              several things

A repository of that very name goes before any other meaning, and what is a namespace in the tree
is not taken for a host: what is removed is what was named. `*` matches within a component of
a name and within a tag, `**` across components; `team/` is every repository below team.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar, cast

from regfs import layout
from regfs.digest import ALGORITHMS, Digest
from regfs.documents.globs import glob
from regfs.errors import (
    AlgorithmUnsupported,
    BlobUnknown,
    DigestInvalid,
    LayoutInvalid,
    ManifestUnknown,
    NameUnknown,
    ReferenceAmbiguous,
    ReferenceInvalid,
    StoreError,
    did_you_mean,
    quoted,
)
from regfs.findings import Code, Finding
from regfs.names import name_problem, natural, tag_problem
from regfs.stores import FileKind, Report, Store, ignore, stat_or_none
from regfs.tree.inventory import INCOMPLETE, LinkContent

SHORTEST: Final = 7
"""Hexadecimal digits a shortened digest must have at least."""
_SHORT = re.compile(rf"(?:(sha256|sha384|sha512):)?([0-9a-f]{{{SHORTEST},128}})")
_SCHEMES: Final = ("docker://", "oci://")
"""What other programs write before a reference to a registry."""
_ALIKE: Final = 5000
"""Names in a folder among which one like a mistyped name is looked for."""
_FURTHEST: Final = 128
"""Characters of a number of steps back: a longer one is a typing error."""
_DEEPEST: Final = 10
"""Components of a mistyped name that are looked at."""


_Set = TypeVar("_Set", bound=tuple[Any, ...])
"""A digest, when a tag was set to it, and what else is known of that."""


class Target(NamedTuple):
    """What a reference given by a person means in this tree."""

    name: str | None
    """The repository; None for a bare digest."""
    tag: str | None
    digest: Digest | None
    """None when only a repository was named."""

    def __str__(self) -> str:
        if self.name is None:
            return str(self.digest)
        if self.tag is not None:
            return f"{self.name}:{self.tag}"
        return self.name if self.digest is None else f"{self.name}@{self.digest}"


def newest_first(history: Iterable[_Set], current: Digest | None) -> list[_Set]:
    """Return what a tag has pointed to, as (digest, time, ...), the last set first.

    In a copied tree all times are alike: what it points to now was set last.
    """
    return sorted(history, key=lambda one: (-one[1], one[0] != current, one[0]))


def is_pattern(text: str) -> bool:
    """Return whether a reference is one to several things: a glob, or `team/`."""
    return "*" in text or (text.endswith("/") and text != "/")


class References(ABC):
    """Finds what references mean; `Registry` says what there is."""

    store: Store
    report: Report

    @abstractmethod
    def repositories(self) -> Iterator[str]:
        """Yield the name of every repository."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Return whether there is such a repository."""

    @abstractmethod
    def tags(self, name: str) -> dict[str, float]:
        """Return the tags of a repository, and when each was set."""

    @abstractmethod
    def tag(self, name: str, tag: str) -> Digest:
        """Return what a tag points to."""

    @abstractmethod
    def history(self, name: str, tag: str) -> list[tuple[Digest, float]]:
        """Return what a tag has pointed to, and when it was last set to it, newest first."""

    @abstractmethod
    def holds(self, name: str, digest: Digest) -> bool:
        """Return whether a repository has a link to this manifest or blob."""

    @abstractmethod
    def link(self, path: str) -> LinkContent:
        """Read one link."""

    def find(self, text: str) -> Target:
        """Return what a person means by a reference to one thing.

        A digest may be cut to its first `SHORTEST` or more hexadecimal digits, with
        or without its algorithm. With a tag and a digest, both must agree. What a tag
        pointed to before is meant by its digest: it is not what the tag means now.

        Raises:
            ReferenceInvalid: it is no reference, or one to several things.
            ReferenceAmbiguous: a shortened digest fits several; they are listed.
            NameUnknown, ManifestUnknown, BlobUnknown: it is well formed and not there.
            StoreError: what it means cannot be read.
        """
        plain = text
        for scheme in _SCHEMES:
            plain = plain.removeprefix(scheme)
        try:
            return self._find(plain)
        except (NameUnknown, ReferenceInvalid):
            rest = self._without_host(plain)
            if rest is None:
                raise
            return self._find(rest)

    def find_all(self, text: str) -> list[Target]:
        """Return all that a reference or a pattern means, each once, in natural order.

        Nobody pastes patterns: from those no host is left out.

        Raises:
            NameUnknown, ManifestUnknown: no repository, or no tag, matches the pattern.
            ReferenceInvalid, Unknown, StoreError: as `find`.
        """
        return self._matches(text) if is_pattern(text) else [self.find(text)]

    def _without_host(self, text: str) -> str | None:
        """Return a reference without the host that it begins with; None if it begins with none.

        What lies in this tree is no host: in a mirror, `docker.io/app` is not `app`.
        """
        host, _, rest = text.partition("/")
        looks = "." in host.strip(".") or ":" in host or host == "localhost"
        if not rest or not looks or "@" in host or self._is_namespace(host):
            return None
        return rest

    def _is_namespace(self, name: str) -> bool:
        """Return whether repositories may lie below a folder of that name."""
        try:
            return stat_or_none(self.store, layout.repository_folder(name)) is not None
        except LayoutInvalid:
            return False

    def _matches(self, text: str) -> list[Target]:
        """Return the repositories or tags that match a pattern."""
        name, colon, tag = text.rpartition(":")
        if not colon or "/" in tag:
            name, tag = text, ""
        try:
            # "team/" is what lies below it, and not a repository "team" itself.
            names = glob(f"{name}*/**" if name.endswith("/") else name)
            tags = glob(tag) if tag else None
        except ValueError as error:
            raise ReferenceInvalid(f"{quoted(text)} {error}") from None
        there = self.repositories()
        found = sorted((one for one in there if names.fullmatch(f"/{one}")), key=natural)
        if not found:
            raise NameUnknown(f"no repository matches {quoted(name)}")
        if tags is None:
            return [Target(one, None, None) for one in found]
        matching = [
            target
            for one in found
            for each in self.tags(one)
            if tags.fullmatch(f"/{each}") and (target := self._tagged(one, each)) is not None
        ]
        if not matching:
            raise ManifestUnknown(f"no tag matches {quoted(text)}")
        return matching

    def _tagged(self, name: str, tag: str) -> Target | None:
        """Return a tag that a pattern matches; report it if what it points to cannot be told."""
        path = layout.path_of(layout.TagCurrent(name, tag))
        link = self.link(path)
        if link.digest is None:
            self.report(Finding(Code.PATH_UNREADABLE, path, actual=link.text))
            return None
        return Target(name, tag, link.digest)

    def _find(self, text: str) -> Target:
        if not text or text.startswith("/") or "\0" in text:
            raise ReferenceInvalid(f"not a reference: {quoted(text)}")
        name, at, digest = text.partition("@")
        if at:
            return self._find_pinned(name, digest)
        short = _SHORT.fullmatch(text) is not None
        if self._is_repository(text, perhaps=short):
            return Target(text, None, None)
        name, colon, tag = text.rpartition(":")
        # `sha256:1234567` can be a tag of a repository that is called sha256.
        if short and not (self._is_repository(name, perhaps=True) and tag in self.tags(name)):
            return Target(None, None, self._complete(text, None))
        if not colon:
            self._need_repository(text)
        self._need_repository(name)
        return Target(name, tag, self._digest_of(name, tag))

    def _digest_of(self, name: str, tag: str) -> Digest:
        """Return what a tag points to; name one like it if there is none."""
        problem = tag_problem(tag)
        if problem is not None and tag not in self.tags(name):
            raise ReferenceInvalid(f"not a tag: {quoted(tag)}: {problem}")
        try:
            return self.tag(name, tag)
        except ManifestUnknown as error:
            tags = self.tags(name)
            if tag in tags:
                raise
            raise ManifestUnknown(f"{error}{did_you_mean(tag, tags)}") from None

    def find_content(self, text: str) -> tuple[Target, Digest]:
        """Return what a reference to one thing means; NAME alone means its tag `latest`.

        Raises:
            ReferenceInvalid: only a repository is named, and it has no such tag.
            ReferenceInvalid, Unknown, StoreError: as `find`.
        """
        target = self.find(text)
        if target.digest is not None:
            return target, target.digest
        name = str(target.name)
        tags = list(self.tags(name))
        if "latest" not in tags:
            some = ", ".join(tags[:10]) + (", ..." if len(tags) > 10 else "")
            raise ReferenceInvalid(f"{name} is a repository; name a tag: {some or 'it has none'}")
        digest = self.tag(name, "latest")
        return target._replace(tag="latest", digest=digest), digest

    def _find_pinned(self, name: str, digest: str) -> Target:
        """Find NAME@DIGEST, or NAME:TAG@DIGEST, where the tag must point to that digest.

        Or NAME:TAG@-N, what the tag pointed to N times before.
        """
        base, colon, tag = name.rpartition(":")
        if digest.startswith("-"):
            if not colon or "/" in tag:
                raise ReferenceInvalid(f"{quoted(f'{name}@{digest}')}: only a tag has a history")
            self._need_repository(base)
            now = Target(base, tag, self._digest_of(base, tag))
            former = self.earlier(now, digest)
            if not self.holds(base, former):
                raise ManifestUnknown(
                    f"{name}@{digest} was {former}, which {base} does not have any more: it was "
                    f"collected or deleted (regfs log {now})"
                )
            return Target(base, None, former)
        if not colon or "/" in tag or self._is_repository(name):
            return Target(name, None, self._find_in(name, digest))
        wanted = self._find_in(base, digest)
        current = self._digest_of(base, tag)
        if current != wanted:
            raise ManifestUnknown(
                f"{base}:{tag} points to {current}, not to {wanted}; for that manifest leave out "
                "the tag"
            )
        return Target(base, tag, current)

    def earlier(self, now: Target, steps: str) -> Digest:
        """Return what a tag pointed to before it was what it is `now`; `steps` is -1, -2 and so on.

        Raises:
            ReferenceInvalid: `steps` means nothing.
            ManifestUnknown: the tag never pointed to so many.
            StoreError: its history cannot be read.
        """
        count = int(steps[1:]) if steps[1:].isdecimal() and len(steps) < _FURTHEST else 0
        if not count:
            raise ReferenceInvalid(f"{steps}: give -1 for what it pointed to before, -2 and so on")
        digests = [digest for digest, _ in self.history(str(now.name), str(now.tag))]
        after = digests.index(now.digest) if now.digest in digests else -1
        if after + count >= len(digests):
            known = len(digests) - after - 1
            before = f"only {known} before that" if known else "nothing before that"
            raise ManifestUnknown(f"{now} has pointed to {before} (see regfs log {now})")
        return digests[after + count]

    def _find_in(self, name: str, digest: str) -> Digest:
        """Return the digest that is meant of the manifests and layers of a repository."""
        self._need_repository(name)
        if not _SHORT.fullmatch(digest):
            try:
                Digest.parse(digest)
            except AlgorithmUnsupported as error:
                raise ReferenceInvalid(str(error)) from None
            except DigestInvalid:
                raise ReferenceInvalid(
                    f"not a digest: {quoted(digest)}: at least {SHORTEST} hexadecimal digits are "
                    "needed"
                ) from None
        return self._complete(digest, name)

    def _is_repository(self, name: str, *, perhaps: bool = False) -> bool:
        """Return whether there is such a repository; `perhaps`: it may also mean something else."""
        try:
            return self.exists(name)
        except LayoutInvalid:
            return False
        except StoreError as error:
            if not perhaps:
                raise
            folder = layout.repository_folder(name)
            reason = str(error).removeprefix(f"{folder}: ")
            self.report(Finding(Code.PATH_UNREADABLE, folder, actual=reason))
            return False

    def _need_repository(self, name: str) -> None:
        if self._is_repository(name):
            return
        if is_pattern(name):
            raise ReferenceInvalid(f"{quoted(name)} can mean several repositories; name one")
        problem = name_problem(name)
        if problem is not None:
            raise ReferenceInvalid(f"not a repository name: {quoted(name)}: {problem}")
        raise NameUnknown(f"no such repository: {name}{did_you_mean(name, self._names_like(name))}")

    def _names_like(self, name: str) -> list[str]:
        """Return names of repositories, each component the same or much like that of a name."""
        from difflib import get_close_matches

        bases = [""]
        for component in name.split("/")[:_DEEPEST]:
            further: list[str] = []
            for base in bases[:3]:
                inside = self.folders(base)
                same = [component] if component in inside else []
                close = same or get_close_matches(component, inside)
                further.extend(f"{base}/{one}" if base else one for one in close)
            bases = further
        return [one for one in bases if self._is_repository(one, perhaps=True)]

    def folders(self, base: str = "") -> list[str]:
        """Return the names of up to 5000 folders in which repositories can lie below `base`."""
        folder = layout.repository_folder(base) if base else layout.REPOSITORIES
        entries = islice(self.store.list(folder, ignore), _ALIKE)
        names = (layout.name_of(one.path) for one in entries if one.kind is FileKind.FOLDER)
        return [name for name in names if not name.startswith("_")]

    def digests_from(self, algorithm: str, start: str) -> Iterator[Digest]:
        """Yield the blobs whose hexadecimal digits begin with `start`, at least two digits."""
        return self._beginning(algorithm, start, None, ignore)

    def _complete(self, text: str, name: str | None) -> Digest:
        """Return the one digest that `text` begins; of `name`'s manifests and layers if given."""
        match = cast("re.Match[str]", _SHORT.fullmatch(text))
        algorithms = [match[1]] if match[1] else list(ALGORITHMS)
        unread: list[Finding] = []
        found = {
            digest
            for algorithm in algorithms
            for digest in self._beginning(algorithm, match[2], name, unread.append)
        }
        hidden = next((one for one in unread if one.code in INCOMPLETE), None)
        if not found and hidden is not None:
            raise StoreError(f"{text}: cannot be looked for: {hidden.path}: {hidden.message}")
        for finding in unread:
            self.report(finding)  # another one may begin like this
        if len(found) == 1:
            return found.pop()
        if not found and name is not None:
            raise ManifestUnknown(f"no manifest or layer {text} in {name}")
        if not found:
            raise BlobUnknown(f"no such blob: {text}")
        shown = sorted(found)
        more = f" and {len(shown) - 10} more" if len(shown) > 10 else ""
        raise ReferenceAmbiguous(
            f"{text} is ambiguous, it begins {len(shown)} digests: {', '.join(shown[:10])}{more}"
        )

    def _beginning(
        self, algorithm: str, start: str, name: str | None, report: Report
    ) -> Iterator[Digest]:
        if name is None:
            folders = [(f"{layout.blobs_folder(algorithm)}/{start[:2]}", "data")]
        else:
            folders = [
                (layout.revisions_folder(name, algorithm), "link"),
                (layout.layers_folder(name, algorithm), "link"),
            ]
        for folder, leaf in folders:
            for encoded in self.store.leaves(folder, leaf, report).names:
                if encoded.startswith(start) and len(encoded) == ALGORITHMS[algorithm]:
                    yield Digest(f"{algorithm}:{encoded}")
